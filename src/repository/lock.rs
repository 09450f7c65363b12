//! Locks that restic understands and honours: a JSON file in `locks/`, encrypted like every file of the repository.
//! Writers hold a shared lock, `prune` an exclusive one. While a lock is held it is renewed every few minutes, and
//! locks whose owner is dead are removed instead of stopping backups for days.

use std::{
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use parking_lot::{Condvar, Mutex};
use serde::{Deserialize, Serialize};

use super::{
    local::{LocalStorage, refused},
    refusal::Refusal,
    seal::{Sealer, hash},
    storage::{self, Storage},
};
use crate::{
    error::{Error, Result},
    stream::cancel::Cancel,
};

/// restic takes a lock for abandoned when it was not renewed for so long.
const STALE_AFTER: SignedDuration = SignedDuration::from_mins(30);
/// Time between renewals.
const RENEW_EVERY: Duration = Duration::from_secs(5 * 60);
/// Time to the next try after a renewal failed.
const RENEW_AGAIN: Duration = Duration::from_secs(15);
/// After this time without a renewal we do not trust our own lock any more: others will soon remove it.
const VALID_FOR: Duration = Duration::from_secs(25 * 60);
/// Time between writing a lock and looking for others'.
const SETTLE: Duration = Duration::from_millis(200);
/// Pause between two looks at somebody else's lock.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A lock file.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct LockFile {
    time: Timestamp,
    #[serde(default)]
    exclusive: bool,
    #[serde(default)]
    hostname: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    pid: i32,
    #[serde(default)]
    uid: u32,
    #[serde(default)]
    gid: u32,
    /// Which start of which machine, and which numbering of processes: only there does `pid` mean what it says. Stock
    /// restic neither writes nor minds this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pid_scope: Option<String>,
}

/// What `pid_scope` is for this process.
fn pid_scope() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), namespace.display()))
}

impl LockFile {
    fn ours(exclusive: bool) -> Self {
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

    /// Why the lock can be ignored, if it can. `age` is how long ago its file was written by the storage's own clock, if
    /// that tells: a lock is renewed as a new file. The time in the lock is that of a host whose clock may be wrong.
    fn stale(&self, now: Timestamp, age: Option<Duration>) -> Option<&'static str> {
        let age = age.map_or_else(
            || now.duration_since(self.time),
            |age| SignedDuration::try_from(age).unwrap_or(SignedDuration::MAX),
        );
        if age > STALE_AFTER {
            return Some("it was not renewed for 30 minutes");
        }
        let pid = rustix::process::Pid::from_raw(self.pid)?;
        let gone = matches!(rustix::process::test_kill_process(pid), Err(rustix::io::Errno::SRCH));
        // Without a scope there is only the host's name, as for restic itself.
        let here = match &self.pid_scope {
            Some(_) => self.pid_scope == pid_scope(),
            None => self.hostname == host_name() && self.hostname != "localhost",
        };
        (here && gone).then_some("its process is dead")
    }

    fn describe(&self) -> String {
        let kind = if self.exclusive { "an exclusive" } else { "a shared" };
        format!("{kind} lock by process {} on {}, renewed {}", self.pid, self.hostname, self.time)
    }
}

/// This machine's name.
pub(crate) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// How long to wait for others, and whom to tell about it.
pub struct LockOptions<'a> {
    /// Hold the repository alone?
    pub exclusive: bool,
    /// How long to wait for somebody else's lock.
    pub wait: Duration,
    /// Ends the waiting, and is triggered when a held lock is lost.
    pub cancel: &'a Cancel,
    /// Told what is being waited for and what was removed.
    pub notice: &'a dyn Fn(&str),
}

/// A held lock; dropping it removes the file. Storages that are not local have no lock files, the guard is empty.
pub struct LockGuard {
    held: Option<Arc<Held>>,
    renewer: Option<JoinHandle<()>>,
}

struct Held {
    storage: Storage,
    sealer: Sealer,
    exclusive: bool,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    name: String,
    /// The time in the file: before it was written, which may have taken long.
    renewed: Timestamp,
    over: bool,
    lost: bool,
}

impl LockGuard {
    /// Takes a lock, waiting for others as the options allow.
    pub(super) fn acquire(
        storage: &Storage,
        sealer: &Sealer,
        options: &LockOptions<'_>,
    ) -> Result<Self, Refusal> {
        let Some(local) = storage.local() else { return Ok(Self { held: None, renewer: None }) };
        let deadline = Instant::now() + options.wait;
        let mut told = false;
        let (name, renewed) = loop {
            options.cancel.check()?;
            let Some(other) = blocking(local, sealer, options, None)? else {
                let (name, time) = write(local, sealer, options.exclusive, false)?;
                // As restic does: what others wrote at the same time should be visible after this.
                std::thread::sleep(SETTLE);
                // Somebody may have looked and written at the same moment as we did: both see it now.
                match blocking(local, sealer, options, Some(&name)) {
                    Ok(None) => break (name, time),
                    Ok(Some(other)) => {
                        remove(local, &name)?;
                        if Instant::now() >= deadline {
                            return Err(locked(&other).into());
                        }
                        // Both may have stepped back: not to do so in step for ever, wait for different times.
                        std::thread::sleep(SETTLE * (1 + std::process::id() % 7));
                    }
                    Err(error) => {
                        remove(local, &name)?;
                        return Err(error.into());
                    }
                }
                continue;
            };
            if Instant::now() >= deadline {
                return Err(locked(&other).into());
            }
            if !told {
                (options.notice)(&format!("waiting for {}", other.describe()));
                told = true;
            }
            std::thread::sleep(LOOK_AGAIN.min(options.wait));
        };
        tracing::debug!(lock = &name[..8], exclusive = options.exclusive, "the repository's lock is taken");
        let held = Arc::new(Held {
            storage: storage.clone(),
            sealer: sealer.clone(),
            exclusive: options.exclusive,
            state: Mutex::new(State { name, renewed, over: false, lost: false }),
            changed: Condvar::new(),
        });
        let renewing = held.clone();
        let cancel = options.cancel.clone();
        let renewer = std::thread::Builder::new()
            .name("lock".to_owned())
            .spawn(move || renewing.keep(&cancel))
            .map_err(|e| Error::failed("cannot start a thread").because(&e))?;
        Ok(Self { held: Some(held), renewer: Some(renewer) })
    }

    /// Fails if others may ignore the lock: its file is gone, or it was not renewed for long.
    pub(super) fn require_valid(&self) -> Result<()> {
        match &self.held {
            Some(held) if !held.is_valid() => Err(lost()),
            _ => Ok(()),
        }
    }
}

impl Held {
    fn state(&self) -> parking_lot::MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Is the file there, and young enough for everybody? The wall clock counts: it goes on while a machine sleeps.
    fn is_valid(&self) -> bool {
        let state = self.state();
        !state.lost && self.is_young(&state) && self.file_is_there(&state)
    }

    fn is_young(&self, state: &State) -> bool {
        Timestamp::now().duration_since(state.renewed).unsigned_abs() <= VALID_FOR
    }

    fn file_is_there(&self, state: &State) -> bool {
        self.storage.local().is_none_or(|local| local.has_lock(&state.name))
    }

    /// Renews the lock until it is over. A lock that somebody took for abandoned and removed is lost for good: what
    /// we rely on may have been pruned since. Renewing writes a new file before it removes the old one.
    fn keep(&self, cancel: &Cancel) {
        let mut state = self.state();
        let mut wait = RENEW_EVERY;
        while !state.over {
            let timeout = self.changed.wait_for(&mut state, std::mem::replace(&mut wait, RENEW_EVERY));
            if state.over || !timeout.timed_out() {
                continue;
            }
            let Some(local) = self.storage.local() else { return };
            let held = self.file_is_there(&state) && self.is_young(&state);
            match write(local, &self.sealer, self.exclusive, true) {
                Ok((name, time)) if held && self.file_is_there(&state) && self.is_young(&state) => {
                    tracing::debug!(lock = &name[..8], "the repository's lock is renewed");
                    // If the removal fails, the old file is stale in half an hour.
                    let _ = remove(local, &std::mem::replace(&mut state.name, name));
                    state.renewed = time;
                    // What it took to write is part of the time for which it counts.
                    let age = Timestamp::now().duration_since(time).unsigned_abs();
                    wait = RENEW_EVERY.saturating_sub(age).max(RENEW_AGAIN);
                }
                Ok((name, _)) => {
                    let _ = remove(local, &name);
                    state.lost = true;
                }
                // Tried again soon, for as long as the present file counts.
                Err(refusal) => {
                    wait = RENEW_AGAIN;
                    let error = Error::from(refusal);
                    tracing::info!(
                        why = error.first_line(),
                        "the repository's lock could not be renewed yet"
                    );
                }
            }
            if state.lost || !self.is_young(&state) {
                state.lost = true;
                cancel.cancel(lost().summary());
                return;
            }
        }
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        let Some(held) = self.held.take() else { return };
        held.state().over = true;
        held.changed.notify_all();
        if let Some(renewer) = self.renewer.take() {
            let _ = renewer.join();
        }
        if let Some(local) = held.storage.local() {
            // If the removal fails the lock is stale as soon as this process has ended.
            let removed = remove(local, &held.state().name).is_ok();
            tracing::debug!(removed, "the repository's lock is given up");
        }
    }
}

/// The first lock that stands in the way; stale ones are removed.
fn blocking(
    local: &LocalStorage,
    sealer: &Sealer,
    options: &LockOptions<'_>,
    own: Option<&str>,
) -> Result<Option<LockFile>> {
    let unreadable = |e: std::io::Error| refused(Error::repository("cannot read the repository's locks"), &e);
    for name in local.locks().map_err(unreadable)? {
        if Some(name.as_str()) == own {
            continue;
        }
        let Some(data) = local.read_lock(&name).map_err(unreadable)? else { continue };
        let Some(lock) =
            sealer.unseal_file(&data).and_then(|json| serde_json::from_slice::<LockFile>(&json).ok())
        else {
            if data.is_empty() || !options.exclusive {
                // A crash left it behind, or somebody with another key; beside a shared lock it does no harm.
                (options.notice)(&format!("ignoring an unreadable lock file {name}"));
                continue;
            }
            return Err(Error::repository(format!(
                "the repository has a lock file that cannot be read: {name}"
            ))
            .hint("if nobody else uses the repository, remove it from the folder `locks`"));
        };
        if let Some(why) = lock.stale(Timestamp::now(), local.lock_age(&name)) {
            (options.notice)(&format!("removing {}: {why}", lock.describe()));
            // It counts for nothing, whether or not it lies there.
            if let Err(error) = remove(local, &name) {
                (options.notice)(&format!("it stays where it is: {}", error.summary()));
            }
        } else if lock.exclusive || options.exclusive {
            return Ok(Some(lock));
        }
    }
    Ok(None)
}

/// Writes a lock file. Returns its name and the time in it.
fn write(
    local: &LocalStorage,
    sealer: &Sealer,
    exclusive: bool,
    is_renewal: bool,
) -> Result<(String, Timestamp), Refusal> {
    let lock = LockFile::ours(exclusive);
    let json = serde_json::to_vec(&lock).map_err(|e| Error::failed("cannot write a lock").because(&e))?;
    let sealed = sealer.seal_file(&json)?;
    let name = hash(&sealed).to_hex().as_str().to_owned();
    local.write_lock(&name, &sealed, is_renewal).map_err(|e| {
        let hint = storage::hint(&e).unwrap_or("check the storage and its mount");
        Refusal::of(refused(Error::repository("cannot write a lock file"), &e).hint(hint), &e)
    })?;
    Ok((name, lock.time))
}

fn remove(local: &LocalStorage, name: &str) -> Result<()> {
    local.remove_lock(name).map_err(|e| refused(Error::repository("cannot remove a lock file"), &e))
}

/// A lock that lies in the repository.
#[derive(Debug, Clone, Serialize)]
pub struct FoundLock {
    /// Name of its file.
    pub name: String,
    /// Whose it is, for people.
    pub owner: String,
    /// Why it counts for nothing, if it does not.
    pub stale: Option<&'static str>,
}

/// All locks of a storage that has some.
pub(super) fn found(storage: &Storage, sealer: &Sealer) -> Result<Vec<FoundLock>> {
    let Some(local) = storage.local() else { return Ok(Vec::new()) };
    let unreadable = |e: std::io::Error| refused(Error::repository("cannot read the repository's locks"), &e);
    let mut all = Vec::new();
    for name in local.locks().map_err(unreadable)? {
        let Some(data) = local.read_lock(&name).map_err(unreadable)? else { continue };
        let age = local.lock_age(&name);
        let lock = sealer.unseal_file(&data).and_then(|json| serde_json::from_slice::<LockFile>(&json).ok());
        all.push(match lock {
            Some(lock) => {
                FoundLock { stale: lock.stale(Timestamp::now(), age), owner: lock.describe(), name }
            }
            None => FoundLock {
                stale: data.is_empty().then_some("it is empty: whoever began to write it was interrupted"),
                owner: "a lock file that cannot be read".to_owned(),
                name,
            },
        });
    }
    Ok(all)
}

/// Removes a lock that was found.
pub(super) fn remove_found(storage: &Storage, lock: &FoundLock) -> Result<()> {
    storage.local().map_or(Ok(()), |local| remove(local, &lock.name))
}

fn locked(lock: &LockFile) -> Error {
    Error::repository(format!("the repository is locked: {}", lock.describe())).hint(
        "wait until that process has ended; a lock whose process is dead, or that was not renewed for 30 minutes, is \
         removed by the next run; `tik-backup unlock` shows all locks",
    )
}

fn lost() -> Error {
    Error::repository("the repository's lock was lost: it was removed by somebody else, or could not be renewed")
        .hint("check the storage and who else uses the repository (`tik-backup unlock --all` and `restic unlock` remove locks in use); the run was ended so that a prune elsewhere cannot damage it")
        .that_stops()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "lock_tests.rs"]
mod tests;
