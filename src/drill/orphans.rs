//! Processes that a scratch server left behind. In a process namespace of its own they end with the server. Without one they
//! come to us when their parent ends, and are ended here.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, waitpid};

/// The servers that run: they are our children too.
static SERVERS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());
/// What ends may have had children: it is looked again so often at most.
const ROUNDS: usize = 16;

fn servers() -> MutexGuard<'static, BTreeSet<i32>> {
    SERVERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes processes ours whose parent ends.
pub(super) fn adopt() -> std::io::Result<()> {
    Ok(set_child_subreaper(Some(getpid()))?)
}

/// Starts a server, which is not taken for an orphan.
pub(super) fn starting<T>(
    start: impl FnOnce() -> std::io::Result<T>,
    pid: impl Fn(&T) -> Pid,
) -> std::io::Result<T> {
    // The lock keeps `end` from taking the new process for an orphan before it is registered.
    let mut servers = servers();
    let started = start()?;
    servers.insert(pid(&started).as_raw_nonzero().get());
    Ok(started)
}

/// A server that has ended.
pub(super) fn was_server(pid: Pid) {
    servers().remove(&pid.as_raw_nonzero().get());
}

/// Ends all children of ours that run as this user, which is that of servers alone, and are no server.
pub(super) fn end(uid: u32) {
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
    let us = getpid().as_raw_nonzero().get();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let servers = servers();
    entries
        .flatten()
        .filter_map(|entry| {
            let number: i32 = entry.file_name().to_str()?.parse().ok()?;
            let is_of_user = entry.metadata().is_ok_and(|meta| meta.uid() == uid);
            (is_of_user && !servers.contains(&number) && parent(number) == Some(us)).then_some(number)
        })
        .filter_map(Pid::from_raw)
        .collect()
}

/// The parent of a process.
fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Its name is in parentheses, and may hold anything.
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}
