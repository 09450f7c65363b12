//! Connections of the SFTP storage. The library below starts an `ssh` that goes into the background and would outlive
//! us; they are kept as our descendants and ended with us.

use std::{fs, time::Duration};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

/// From now on a process that is left by its parent becomes a child of ours.
pub(super) fn adopt() {
    // Where the system cannot do it, a connection may stay open for a while: no reason to fail.
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
}

/// Ends the connections that are open. Called at the end of the program.
pub fn end_sessions() {
    let sessions = open_sessions();
    for pid in &sessions {
        let _ = kill_process(*pid, Signal::TERM);
    }
    for pid in sessions {
        for _ in 0..50 {
            if !matches!(waitpid(Some(pid), WaitOptions::NOHANG), Ok(None)) {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Children of ours called `ssh`.
fn open_sessions() -> Vec<Pid> {
    let Ok(threads) = fs::read_dir("/proc/self/task") else { return Vec::new() };
    let children =
        threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    children
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<i32>>())
        .filter(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "ssh"))
        .filter_map(Pid::from_raw)
        .collect()
}
