//! Servers bound to this process: however it ends, the kernel tells them to stop, by the signal that suits them.
//!
//! The kernel watches the *thread* that started a child, so one thread that never ends starts them all.

use std::{
    fs, io,
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Child, Command, ExitStatus},
    sync::{
        Mutex, OnceLock, PoisonError,
        mpsc::{Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::error::{Error, Result};

/// Users a server runs as if we are root, the first that exists: servers refuse to run as root.
const UNPRIVILEGED: [&str; 2] = ["postgres", "nobody"];

/// A user and its group by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Whom servers run as; `None` stands for the user we are.
pub(crate) fn server_owner() -> Result<Option<Owner>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let passwd = fs::read_to_string("/etc/passwd")
        .map_err(|error| Error::failed("cannot read /etc/passwd").because(&error))?;
    UNPRIVILEGED.iter().find_map(|name| find_user(&passwd, name)).map(Some).ok_or_else(|| {
        Error::failed("a database server does not run as root, and there is no user `postgres` or `nobody`")
            .hint("create a user `postgres`, or run this as a user without privileges")
    })
}

fn find_user(passwd: &str, name: &str) -> Option<Owner> {
    let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut numbers = line.split(':').skip(2).map(|field| field.parse().ok());
    Some(Owner { uid: numbers.next()??, gid: numbers.next()?? })
}

type Order = (Command, Sender<io::Result<Child>>);

/// Whether a server may use the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Network {
    /// As everybody else.
    Shared,
    /// None at all, not even the loopback address, where the kernel lets us: it is reached by a socket in a folder, and what
    /// was restored into it (foreign tables, event jobs) reaches nobody.
    None,
}

#[cfg(target_os = "linux")]
impl Owner {
    /// Makes the calling process, which has one thread, one of this user.
    fn become_it(self) -> io::Result<()> {
        use rustix::{
            fs::{Gid, Uid},
            thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid},
        };
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        set_thread_groups(&[])?;
        set_thread_res_gid(gid, gid, gid)?;
        Ok(set_thread_res_uid(uid, uid, uid)?)
    }
}

/// How a process leaves the network, prepared before it is forked.
#[cfg(target_os = "linux")]
struct Lonely {
    /// As root it needs nothing else; anybody else needs a user namespace in which to do it, where they stay who they are.
    users: Option<(String, String)>,
}

#[cfg(target_os = "linux")]
impl Lonely {
    fn new(owner: Option<Owner>) -> Self {
        let map = |id: u32| format!("{id} {id} 1");
        let users = owner
            .is_none()
            .then(|| (map(rustix::process::geteuid().as_raw()), map(rustix::process::getegid().as_raw())));
        Self { users }
    }

    /// Leaves it. Where that is not allowed the process merely keeps the network.
    fn enter(&self) {
        use rustix::thread::{UnshareFlags, unshare_unsafe};
        let mut flags = UnshareFlags::NEWNET;
        if self.users.is_some() {
            flags |= UnshareFlags::NEWUSER;
        }
        // SAFETY: this process has a single thread, and has opened nothing that depends on these namespaces.
        let left = unsafe { unshare_unsafe(flags) };
        if let (Ok(()), Some((uid, gid))) = (left, &self.users) {
            for (file, text) in [
                (c"/proc/self/setgroups", "deny"),
                (c"/proc/self/uid_map", uid.as_str()),
                (c"/proc/self/gid_map", gid.as_str()),
            ] {
                let opened = rustix::fs::open(file, rustix::fs::OFlags::WRONLY, rustix::fs::Mode::empty());
                if let Ok(file) = opened {
                    let _ = rustix::io::write(&file, text.as_bytes());
                }
            }
        }
    }
}

/// Starts `command` in a process group of its own, as `owner`; it gets `signal` when we end in whatever way.
pub(crate) fn start(
    mut command: Command,
    owner: Option<Owner>,
    signal: Signal,
    network: Network,
) -> io::Result<Child> {
    static ORDERS: OnceLock<Mutex<Option<Sender<Order>>>> = OnceLock::new();
    // A Ctrl-C at the terminal is for us: we stop our servers in order.
    command.process_group(0).current_dir("/");
    #[cfg(not(target_os = "linux"))]
    if let Some(Owner { uid, gid }) = owner {
        command.uid(uid).gid(gid);
    }
    #[cfg(target_os = "linux")]
    {
        let us = rustix::process::getpid();
        let lonely = (network == Network::None).then(|| Lonely::new(owner));
        let bind_to_us = move || {
            if let Some(lonely) = &lonely {
                lonely.enter();
            }
            if let Some(owner) = owner {
                owner.become_it()?;
            }
            // After the change of user, which would clear it.
            rustix::process::set_parent_process_death_signal(Some(signal))?;
            // We may have ended before the line above took effect.
            if rustix::process::getppid() == Some(us) {
                Ok(())
            } else {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        };
        // SAFETY: between fork and exec the closure only makes system calls; it neither allocates nor locks.
        unsafe { command.pre_exec(bind_to_us) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (signal, network);
    let orders = {
        let mut slot = ORDERS.get_or_init(|| Mutex::new(None)).lock().unwrap_or_else(PoisonError::into_inner);
        match &*slot {
            Some(orders) => orders.clone(),
            None => {
                let (sender, receiver) = channel::<Order>();
                thread::Builder::new().name("server-starter".into()).spawn(move || {
                    for (mut command, reply) in receiver {
                        // A caller always waits for the reply.
                        let _ = reply.send(command.spawn());
                    }
                })?;
                slot.insert(sender).clone()
            }
        }
    };
    let gone = || io::Error::other("the thread that starts servers has ended");
    let (reply, answer) = channel();
    orders.send((command, reply)).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}

/// Sends each signal in turn until the child has ended within the time that goes with it; the last resort is SIGKILL.
pub(crate) fn stop(child: &mut Child, signals: &[(Signal, Duration)]) -> io::Result<ExitStatus> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    for (signal, limit) in signals {
        let begin = Instant::now();
        // Only a child that was not reaped still owns its number.
        if let (Some(pid), None) = (pid, child.try_wait()?) {
            let _ = kill_process(pid, *signal);
        }
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            if begin.elapsed() >= *limit {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
    child.kill()?;
    child.wait()
}

/// How it ended, for a message.
pub(crate) fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit status {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_their_whole_name() {
        let passwd = "root:x:0:0::/root:/bin/sh\nnobody2:x:7:8::/:/bin/sh\nnobody:x:65534:65533::/:/bin/false\nbad:x:y:z\n";
        assert_eq!(find_user(passwd, "nobody"), Some(Owner { uid: 65534, gid: 65533 }));
        assert_eq!(find_user(passwd, "postgres"), None);
        assert_eq!(find_user(passwd, "bad"), None);
    }

    #[test]
    fn a_child_that_ignores_the_first_signal_gets_the_next() {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "trap '' INT; echo ready; while :; do sleep 0.05; done"]);
        command.stdout(std::process::Stdio::piped());
        let mut child = start(command, None, Signal::KILL, Network::None).unwrap();
        let mut ready = [0; 6];
        io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut ready).unwrap();
        let steps = [(Signal::INT, Duration::from_millis(100)), (Signal::TERM, Duration::from_secs(10))];
        let status = stop(&mut child, &steps).unwrap();
        assert_eq!(status.signal(), Some(Signal::TERM.as_raw()), "{}", describe(status));
    }

    #[test]
    fn a_child_that_ends_by_itself_is_not_waited_for() {
        let mut child = start(Command::new("/bin/true"), None, Signal::KILL, Network::Shared).unwrap();
        let begin = Instant::now();
        stop(&mut child, &[(Signal::TERM, Duration::from_secs(60))]).unwrap();
        assert!(begin.elapsed() < Duration::from_secs(10));
    }
}
