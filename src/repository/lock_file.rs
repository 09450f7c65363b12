//! A lock file, and whether it is stale.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// A lock that was not renewed for this time is stale for restic.
const STALE_AFTER: SignedDuration = SignedDuration::from_mins(30);

/// A lock file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct LockFile {
    pub(super) time: Timestamp,
    #[serde(default)]
    pub(super) exclusive: bool,
    #[serde(default)]
    pub(super) hostname: String,
    #[serde(default)]
    pub(super) username: String,
    #[serde(default)]
    pub(super) pid: i32,
    #[serde(default)]
    pub(super) uid: u32,
    #[serde(default)]
    pub(super) gid: u32,
    /// Boot id and process namespace in which `pid` is valid. Stock restic neither writes nor reads this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) pid_scope: Option<String>,
}

/// `pid_scope` of this process.
fn pid_scope() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), namespace.display()))
}

impl LockFile {
    pub(super) fn ours(exclusive: bool) -> Self {
        Self {
            time: Timestamp::now(),
            exclusive,
            hostname: host_name(),
            username: std::env::var("USER").unwrap_or_default(),
            pid: rustix::process::getpid().as_raw_nonzero().get(),
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
            pid_scope: pid_scope(),
        }
    }

    /// Why the lock is stale, if it is. `age` is the age of its file by the storage's clock, if known: a renewal writes a new
    /// file. The time inside the lock comes from a host whose clock may be wrong.
    pub(super) fn stale(&self, now: Timestamp, age: Option<Duration>) -> Option<&'static str> {
        let age = age.map_or_else(
            || now.duration_since(self.time),
            |age| SignedDuration::try_from(age).unwrap_or(SignedDuration::MAX),
        );
        if age > STALE_AFTER {
            return Some("it was not renewed for 30 minutes");
        }
        let pid = rustix::process::Pid::from_raw(self.pid)?;
        let gone = matches!(rustix::process::test_kill_process(pid), Err(rustix::io::Errno::SRCH));
        // Without a scope, only the host name can be compared, as restic does.
        let here = match &self.pid_scope {
            Some(_) => self.pid_scope == pid_scope(),
            None => self.hostname == host_name() && self.hostname != "localhost",
        };
        (here && gone).then_some("its process is dead")
    }

    pub(super) fn describe(&self) -> String {
        let kind = if self.exclusive { "an exclusive" } else { "a shared" };
        format!("{kind} lock by process {} on {}, renewed {}", self.pid, self.hostname, self.time)
    }
}

/// This machine's name.
fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
