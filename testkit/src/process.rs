//! Child processes of tests: servers that cannot outlive them, commands that cannot hang, the users of servers.

use std::{
    fs,
    io::{self, Write},
    os::unix::process::CommandExt,
    process::{Child, Command, Output, Stdio},
    sync::{
        Mutex, OnceLock,
        mpsc::{self, Sender},
    },
    thread,
    time::Duration,
};

use rustix::process::{Signal, geteuid, getpid, getppid, kill_process, set_parent_process_death_signal};

/// A user and a group by number.
pub type Owner = (u32, u32);

/// The user of a server: PostgreSQL refuses to run as root, so for a test as root it is `postgres`, else `nobody`.
/// `None` if the test itself runs as a normal user.
pub fn unprivileged() -> Option<Owner> {
    if !geteuid().is_root() {
        return None;
    }
    let passwd = fs::read_to_string("/etc/passwd").expect("/etc/passwd");
    let find = |name: &str| {
        let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2).map(|field| field.parse().ok());
        Some((fields.next()??, fields.next()??))
    };
    Some(find("postgres").or_else(|| find("nobody")).expect("a user postgres or nobody in /etc/passwd"))
}

/// Makes the command run as the user of [`unprivileged`], in a directory that this user may access.
pub fn as_unprivileged(command: &mut Command) -> &mut Command {
    if let Some((uid, gid)) = unprivileged() {
        command.uid(uid).gid(gid);
    }
    command.current_dir("/")
}

type Job = (Command, Sender<io::Result<Child>>);

/// Starts a server that gets a signal to quit when this test process ends, for any reason.
///
/// The kernel's parent-death signal does it even after SIGKILL, where no `Drop` and no handler runs, and without
/// a watchdog process that could itself be left behind. It is bound to the *thread* that started the child, and
/// a test's thread may end before a server that several tests share: one thread that never ends starts them all.
pub fn spawn_bound(mut command: Command, signal: Signal) -> io::Result<Child> {
    static STARTER: OnceLock<Mutex<Sender<Job>>> = OnceLock::new();
    let parent = getpid();
    // SAFETY: between fork and exec only system calls are made; nothing allocates or locks. The closure runs
    // after the change of user, which would otherwise clear the setting.
    unsafe {
        command.pre_exec(move || {
            set_parent_process_death_signal(Some(signal))?;
            // The parent may have ended before the line above: then the signal would never be sent.
            if getppid() == Some(parent) { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
        });
    }
    let starter = STARTER.get_or_init(|| {
        let (jobs, queue) = mpsc::channel::<Job>();
        thread::spawn(move || {
            for (mut command, answer) in queue {
                answer.send(command.spawn()).ok();
            }
        });
        Mutex::new(jobs)
    });
    let (answer, result) = mpsc::channel();
    let jobs = starter.lock().unwrap().clone();
    jobs.send((command, answer)).expect("the starting thread lives");
    result.recv().expect("the starting thread answers")
}

/// Runs a command with this stdin, and returns its output.
///
/// # Panics
/// If it cannot be started or has not ended after `limit`; it is killed then.
pub fn run(command: &mut Command, stdin: &[u8], limit: Duration) -> Output {
    let shown = format!("{command:?}");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {shown}: {error}"));
    let pid = rustix::process::Pid::from_child(&child);
    let mut input = child.stdin.take().unwrap();
    let stdin = stdin.to_vec();
    // A child that ends without reading its input is not a write error: its exit status counts.
    thread::spawn(move || input.write_all(&stdin).ok());
    let (done, ended) = mpsc::channel();
    thread::spawn(move || done.send(child.wait_with_output()).ok());
    match ended.recv_timeout(limit) {
        Ok(output) => output.unwrap(),
        Err(_) => {
            kill_process(pid, Signal::KILL).ok();
            let output = ended.recv_timeout(Duration::from_secs(10)).ok().and_then(Result::ok);
            let stderr = output.map(|o| String::from_utf8_lossy(&o.stderr).into_owned()).unwrap_or_default();
            panic!("still running after {limit:?}: {shown}\n{stderr}");
        }
    }
}

/// Stdout of a command that must succeed.
///
/// # Panics
/// With its stderr if it fails or takes more than five minutes.
pub fn run_ok(command: &mut Command, stdin: &[u8]) -> Vec<u8> {
    let output = run(command, stdin, Duration::from_secs(300));
    assert!(
        output.status.success(),
        "{command:?} failed: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}
