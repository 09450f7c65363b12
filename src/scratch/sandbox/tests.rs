//! The limits of a confined shell, as the user who runs the tests. `tests/it/drill/confined.rs` tries it with servers.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::{
    fs::Permissions,
    net::TcpListener,
    os::unix::net::UnixListener,
    process::{Command, Stdio},
};

use rustix::process::{Signal, getpid};

use super::*;
use crate::scratch::{ScratchDir, bound};

/// The output of a confined shell, and the directory that it may write to. `None`, with a visible skip, where it cannot be confined.
fn say(dir: &ScratchDir, script: &str) -> Option<String> {
    let rules = Rules { sandbox: SandboxRule::Required, files: Vec::new() };
    let sandbox = match Sandbox::new(&rules, dir.path(), None) {
        Ok(sandbox) => sandbox,
        Err(error) => {
            testkit::skip(&format!("a confinement for servers ({error})"));
            return None;
        }
    };
    let own = dir.path().join("own");
    let _ = fs::create_dir(&own);
    if let Some(owner) = sandbox.owner() {
        std::os::unix::fs::chown(&own, Some(owner.uid), Some(owner.gid)).unwrap();
    }
    let plan = sandbox.plan(Path::new("/bin/sh"), std::slice::from_ref(&own)).unwrap();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &format!("own='{}'; {script}", own.display())]);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut shell = bound::start(command, Signal::KILL, plan).unwrap();
    let mut said = String::new();
    io::Read::read_to_string(shell.stdout.as_mut().unwrap(), &mut said).unwrap();
    assert!(shell.wait().unwrap().success(), "{said}");
    Some(said)
}

/// A directory and a file that everyone may use.
fn outside() -> tempfile::TempDir {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("canary"), "a canary").unwrap();
    fs::set_permissions(outside.path(), Permissions::from_mode(0o777)).unwrap();
    outside
}

#[test]
fn it_reads_and_writes_its_own_folder_and_nothing_else() {
    let (dir, outside) = (ScratchDir::new(None).unwrap(), outside());
    let path = outside.path().display();
    let script = format!(
        "cat '{path}/canary'; echo x >'{path}/marker'; echo mine >$own/file && cat $own/file; cp /bin/true $own/run; \
         $own/run && echo ran; echo x >/dev/null && echo null; exit 0"
    );
    let Some(said) = say(&dir, &script) else { return };
    assert_eq!(said, "mine\nnull\n");
    assert!(!outside.path().join("marker").exists());
    assert_eq!(fs::read_to_string(dir.path().join("own/file")).unwrap(), "mine\n");
}

#[test]
fn it_sees_and_ends_no_other_process() {
    let dir = ScratchDir::new(None).unwrap();
    let us = getpid().as_raw_nonzero();
    let script = format!("kill -0 {us} && echo reached; cat /proc/{us}/environ && echo read; id -u; exit 0");
    let Some(said) = say(&dir, &script) else { return };
    let uid = owner::chosen().map_or(rustix::process::geteuid().as_raw(), |owner| owner.uid);
    assert_eq!(said, format!("{uid}\n"));
    assert_ne!(uid, 0);
}

#[test]
fn it_reaches_no_port_and_no_socket() {
    if !Path::new("/usr/bin/perl").exists() {
        return testkit::skip("perl");
    }
    let (dir, outside) = (ScratchDir::new(None).unwrap(), outside());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let path = outside.path().join("socket");
    let _socket = UnixListener::bind(&path).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
    let script = format!(
        "perl -MSocket -e 'socket(S, PF_INET, SOCK_STREAM, 0); print \"port\\n\" if \
         connect(S, sockaddr_in({}, inet_aton(\"127.0.0.1\"))); socket(U, PF_UNIX, SOCK_STREAM, 0); \
         print \"socket\\n\" if connect(U, sockaddr_un(\"{}\")); print \"tried\\n\"'",
        listener.local_addr().unwrap().port(),
        path.display()
    );
    let Some(said) = say(&dir, &script) else { return };
    // Without a mount namespace it runs as another user, who may use the socket.
    let hidden = probe::kernel(&dir.path().join(FOLDER).join("root")).mount;
    assert_eq!(said, if hidden { "tried\n" } else { "socket\ntried\n" });
}

#[test]
fn a_program_that_is_not_there_is_an_error_and_leaves_nothing() {
    let dir = ScratchDir::new(None).unwrap();
    let sandbox = match Sandbox::new(&Rules::for_own_content(), dir.path(), None) {
        Ok(sandbox) => sandbox,
        Err(error) => return testkit::skip(&format!("a confinement for servers ({error})")),
    };
    let plan = sandbox.plan(Path::new("/nonexistent"), &[]).unwrap();
    let error = bound::start(Command::new("/nonexistent"), Signal::KILL, plan).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

#[test]
fn what_ends_leaves_no_process_behind() {
    let dir = ScratchDir::new(None).unwrap();
    // A unique duration, which ends soon if the process is left behind.
    let time = format!("20.{}", std::process::id());
    let Some(said) = say(&dir, &format!("sleep {time} >/dev/null 2>&1 & echo started")) else { return };
    assert_eq!(said, "started\n");
    // It has a session of its own, whose number is that of the first process: only a process namespace ends the rest.
    let stage = dir.path().join(FOLDER).join("root");
    if !probe::kernel(&stage).pid {
        return;
    }
    let left = fs::read_dir("/proc").unwrap().flatten().filter(|process| {
        let line = fs::read_to_string(process.path().join("cmdline")).unwrap_or_default();
        line == format!("sleep\0{time}\0")
    });
    assert_eq!(left.count(), 0);
}

#[test]
fn what_is_not_confined_is_named() {
    let all = Kernel { mount: true, pid: true, net: true, ipc: true, ..Kernel::default() };
    assert!(open(&all, None, false).is_empty());
    let other = Owner { uid: 65_534, gid: 65_534, own: false };
    let own = Owner { own: true, ..other };
    let landlock = |landlock| Kernel { landlock, ..Kernel::default() };
    // As an ordinary user with Landlock alone, sockets in directories stay within reach; files can be emptied before version 3.
    assert_eq!(open(&landlock(7), None, false).len(), 2);
    assert_eq!(open(&landlock(2), None, false).len(), 4);
    assert_eq!(open(&landlock(7), Some(other), false).len(), 1, "what `nobody` leaves behind");
    assert_eq!(open(&landlock(4), Some(other), false).len(), 1, "processes of `nobody`");
    assert!(open(&landlock(4), Some(own), false).is_empty());
    assert_eq!(open(&Kernel::default(), Some(own), false).len(), 2);
    // A server that needs a port shares the network.
    let shared = Kernel { net: false, landlock: 2, ..all };
    assert!(open(&shared, None, true)[0].contains("Landlock of version 4"));
}
