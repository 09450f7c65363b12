//! Connections of the SFTP storage. The library starts an `ssh` that goes into the background and would outlive this program.
//! These processes are kept as descendants and ended with this program.

use std::{fs, time::Duration};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::stream::process::{adopt_orphans, children};

/// Makes this process the subreaper: orphaned descendants become its children.
pub(super) fn adopt() {
    // If the system does not support it, a connection may stay open for a while, which is not an error.
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
            // On a busy machine it may not have ended yet.
            let _ = kill_process(pid, Signal::KILL);
            has_ended(pid);
        }
    }
}

/// Waits for a child to end, for one second at most.
fn has_ended(pid: Pid) -> bool {
    (0..50).any(|_| {
        let ended = !matches!(waitpid(Some(pid), WaitOptions::NOHANG), Ok(None));
        if !ended {
            std::thread::sleep(Duration::from_millis(20));
        }
        ended
    })
}

/// Children of this process named `ssh`.
fn open_sessions() -> Vec<Pid> {
    let name = |pid: &Pid| fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_nonzero()));
    children().into_iter().filter(|pid| name(pid).is_ok_and(|name| name.trim() == "ssh")).collect()
}
