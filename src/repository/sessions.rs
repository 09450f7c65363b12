//! Connections of the SFTP storage. The library below starts an `ssh` that goes into the background and would outlive
//! us; they are kept as our descendants and ended with us.

use std::{fs, time::Duration};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::stream::process::{adopt_orphans, children};

/// From now on a process that is left by its parent becomes a child of ours.
pub(super) fn adopt() {
    // Where the system cannot do it, a connection may stay open for a while: no reason to fail.
    let _ = adopt_orphans();
}

/// Ends the connections that are open. Called at the end of the program.
pub fn end_sessions() {
    let sessions = open_sessions();
    for pid in &sessions {
        let _ = kill_process(*pid, Signal::TERM);
    }
    for pid in sessions {
        if !has_ended(pid) {
            // On a busy machine it may not have come to end itself.
            let _ = kill_process(pid, Signal::KILL);
            has_ended(pid);
        }
    }
}

/// Waits a second for a child to end.
fn has_ended(pid: Pid) -> bool {
    (0..50).any(|_| {
        let ended = !matches!(waitpid(Some(pid), WaitOptions::NOHANG), Ok(None));
        if !ended {
            std::thread::sleep(Duration::from_millis(20));
        }
        ended
    })
}

/// Children of ours called `ssh`.
fn open_sessions() -> Vec<Pid> {
    let name = |pid: &Pid| fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_nonzero()));
    children().into_iter().filter(|pid| name(pid).is_ok_and(|name| name.trim() == "ssh")).collect()
}
