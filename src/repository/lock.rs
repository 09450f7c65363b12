//! Locks in restic's format: a JSON file in `locks/`, encrypted like every file of the repository.
//! Writers hold a shared lock, `prune` an exclusive one. A held lock is renewed every few minutes. Locks of dead processes are
//! removed instead of blocking backups for days.

use std::{
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use parking_lot::{Condvar, Mutex};
use serde::Serialize;

use super::{
    crypto::{Cipher, hash},
    errors::hint,
    local::{LocalStorage, refused},
    lock_file::LockFile,
    refusal::Refusal,
    storage::Storage,
};
use crate::{
    error::{Error, Result},
    stream::cancel::Cancel,
};

/// Time between renewals.
const RENEW_EVERY: Duration = Duration::from_secs(5 * 60);
/// Time until the next attempt after a failed renewal.
const RENEW_AGAIN: Duration = Duration::from_secs(15);
/// After this time without a renewal our own lock counts as lost: others will soon remove it.
const VALID_FOR: Duration = Duration::from_secs(25 * 60);
/// Time between writing a lock and listing the locks again, on storages that may show a file only some time after it was stored.
const SETTLE: Duration = Duration::from_millis(200);
/// Time between two checks of another process's lock.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Options for taking a lock.
pub struct LockOptions<'a> {
    /// Whether the lock is exclusive.
    pub exclusive: bool,
    /// How long to wait for other locks.
    pub wait: Duration,
    /// Ends the waiting, and is set when a held lock is lost.
    pub cancel: &'a Cancel,
    /// Gets messages about locks that are waited for or removed.
    pub notice: &'a dyn Fn(&str),
}

/// A held lock; dropping it removes the file. Storages that are not local have no lock files; their guard is empty.
pub struct LockGuard {
    held: Option<Arc<Held>>,
    renewer: Option<JoinHandle<()>>,
}

struct Held {
    storage: Storage,
    cipher: Cipher,
    exclusive: bool,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    name: String,
    /// The time in the file. It is taken before the file is written, which may take long.
    renewed: Timestamp,
    over: bool,
    lost: bool,
}

impl LockGuard {
    /// Takes a lock, waiting for others as the options allow.
    pub(super) fn acquire(
        storage: &Storage,
        cipher: &Cipher,
        options: &LockOptions<'_>,
    ) -> Result<Self, Refusal> {
        let Some(local) = storage.local() else { return Ok(Self { held: None, renewer: None }) };
        let deadline = Instant::now() + options.wait;
        let mut told = false;
        let (name, renewed) = loop {
            options.cancel.check()?;
            let Some(other) = blocking(local, cipher, options, None)? else {
                let (name, time) = write(local, cipher, options.exclusive, false)?;
                if !local.lists_at_once() {
                    // As restic does: locks that others wrote at the same time should be visible after this.
                    std::thread::sleep(SETTLE);
                }
                // Another process may have checked and written at the same time: now both see each other's lock.
                match blocking(local, cipher, options, Some(&name)) {
                    Ok(None) => break (name, time),
                    Ok(Some(other)) => {
                        remove(local, &name)?;
                        if Instant::now() >= deadline {
                            return Err(locked(&other).into());
                        }
                        // Both may have removed their locks: random waits keep them from colliding again and again.
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
        tracing::debug!(lock = &name[..8], exclusive = options.exclusive, "repository lock acquired");
        let held = Arc::new(Held {
            storage: storage.clone(),
            cipher: cipher.clone(),
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

    /// Whether the file exists and no other process may treat it as stale. Uses the wall clock, which continues during suspend.
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

    /// Renews the lock until it is released. A lock that another process has removed as stale is lost for good: data that we rely
    /// on may have been pruned since. A renewal writes a new file before it removes the old one.
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
            match write(local, &self.cipher, self.exclusive, true) {
                Ok((name, time)) if held && self.file_is_there(&state) && self.is_young(&state) => {
                    tracing::debug!(lock = &name[..8], "repository lock renewed");
                    // If the removal fails, the old file becomes stale in half an hour.
                    let _ = remove(local, &std::mem::replace(&mut state.name, name));
                    state.renewed = time;
                    // The time of writing it is part of its lifetime.
                    let age = Timestamp::now().duration_since(time).unsigned_abs();
                    wait = RENEW_EVERY.saturating_sub(age).max(RENEW_AGAIN);
                }
                Ok((name, _)) => {
                    let _ = remove(local, &name);
                    state.lost = true;
                }
                // Retried soon, as long as the present file is valid.
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
            // If the removal fails, the lock becomes stale when this process ends.
            let removed = remove(local, &held.state().name).is_ok();
            tracing::debug!(removed, "repository lock released");
        }
    }
}

/// The first conflicting lock; stale ones are removed.
fn blocking(
    local: &LocalStorage,
    cipher: &Cipher,
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
            cipher.decrypt_file(&data).and_then(|json| serde_json::from_slice::<LockFile>(&json).ok())
        else {
            if data.is_empty() || !options.exclusive {
                // It is left from a crash, or was written with another key; it does not conflict with a shared lock.
                (options.notice)(&format!("ignoring an unreadable lock file {name}"));
                continue;
            }
            return Err(Error::repository(format!(
                "the repository has a lock file that cannot be read: {name}"
            ))
            .hint("if nothing else uses the repository, remove it from the directory `locks`"));
        };
        if let Some(why) = lock.stale(Timestamp::now(), local.lock_age(&name)) {
            (options.notice)(&format!("removing {}: {why}", lock.describe()));
            // It is ignored whether or not it could be removed.
            if let Err(error) = remove(local, &name) {
                (options.notice)(&format!("it is left in place: {}", error.summary()));
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
    cipher: &Cipher,
    exclusive: bool,
    is_renewal: bool,
) -> Result<(String, Timestamp), Refusal> {
    let lock = LockFile::ours(exclusive);
    let json = serde_json::to_vec(&lock).map_err(|e| Error::failed("cannot write a lock").because(&e))?;
    let encrypted = cipher.encrypt_file(&json)?;
    let name = hash(&encrypted).to_hex().as_str().to_owned();
    local.write_lock(&name, &encrypted, is_renewal).map_err(|e| {
        let hint = hint(&e).unwrap_or("check the storage and its mount");
        Refusal::of(refused(Error::repository("cannot write a lock file"), &e).hint(hint), &e)
    })?;
    Ok((name, lock.time))
}

fn remove(local: &LocalStorage, name: &str) -> Result<()> {
    local.remove_lock(name).map_err(|e| refused(Error::repository("cannot remove a lock file"), &e))
}

/// A lock in the repository.
#[derive(Debug, Clone, Serialize)]
pub struct FoundLock {
    /// Name of its file.
    pub name: String,
    /// Its owner, as text.
    pub owner: String,
    /// Why it is stale, if it is.
    pub stale: Option<&'static str>,
}

/// All locks of a storage with lock files.
pub(super) fn found(storage: &Storage, cipher: &Cipher) -> Result<Vec<FoundLock>> {
    let Some(local) = storage.local() else { return Ok(Vec::new()) };
    let unreadable = |e: std::io::Error| refused(Error::repository("cannot read the repository's locks"), &e);
    let mut all = Vec::new();
    for name in local.locks().map_err(unreadable)? {
        let Some(data) = local.read_lock(&name).map_err(unreadable)? else { continue };
        let age = local.lock_age(&name);
        let lock = cipher.decrypt_file(&data).and_then(|json| serde_json::from_slice::<LockFile>(&json).ok());
        all.push(match lock {
            Some(lock) => {
                FoundLock { stale: lock.stale(Timestamp::now(), age), owner: lock.describe(), name }
            }
            None => FoundLock {
                stale: data.is_empty().then_some("it is empty: writing it was interrupted"),
                owner: "a lock file that cannot be read".to_owned(),
                name,
            },
        });
    }
    Ok(all)
}

/// Removes a lock.
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
    Error::repository("the repository's lock was lost: another program removed it, or it could not be renewed")
        .hint("check the storage, and what else uses the repository (`tik-backup unlock --all` and `restic unlock` remove locks in use); the run was ended because a prune on another host could damage it")
        .that_stops()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "lock_tests.rs"]
mod tests;
