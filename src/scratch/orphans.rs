//! Processes that a scratch server left behind. In a process namespace of its own they end with the server. Without one they
//! become our children when their parent ends, and are killed here.

use std::{collections::BTreeSet, fs, os::unix::fs::MetadataExt};

use parking_lot::{Mutex, MutexGuard};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::stream::process::children;

/// The running servers, which are our children too.
static SERVERS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());
/// Killed processes may have had children: the maximum number of repetitions.
const ROUNDS: usize = 16;

fn servers() -> MutexGuard<'static, BTreeSet<i32>> {
    SERVERS.lock()
}

/// Starts a server and registers it, so that it is not treated as an orphan.
pub(crate) fn starting<T>(
    start: impl FnOnce() -> std::io::Result<T>,
    pid: impl Fn(&T) -> Pid,
) -> std::io::Result<T> {
    // The lock prevents `end` from treating the new process as an orphan before it is registered.
    let mut servers = servers();
    let started = start()?;
    servers.insert(pid(&started).as_raw_nonzero().get());
    Ok(started)
}

/// A server that has ended.
pub(crate) fn was_server(pid: Pid) {
    servers().remove(&pid.as_raw_nonzero().get());
}

/// Kills all our children that run as this user, except servers. No other processes run as this user.
pub(crate) fn end(uid: u32) {
    for _ in 0..ROUNDS {
        let orphans = orphans(uid);
        if orphans.is_empty() {
            return;
        }
        for orphan in orphans {
            let _ = kill_process(orphan, Signal::KILL);
            let _ = waitpid(Some(orphan), WaitOptions::empty());
        }
    }
}

fn orphans(uid: u32) -> Vec<Pid> {
    let servers = servers();
    let is_of_user = |pid: &Pid| {
        fs::metadata(format!("/proc/{}", pid.as_raw_nonzero())).is_ok_and(|meta| meta.uid() == uid)
    };
    let orphan = |pid: &Pid| !servers.contains(&pid.as_raw_nonzero().get()) && is_of_user(pid);
    children().into_iter().filter(orphan).collect()
}
