//! What the service refuses of a restore. A refusal about one blob or file costs only that one; any other ends the restore.

use std::{
    collections::HashSet,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::Serialize;
use xxhash_rust::xxh3::xxh3_128;

use crate::{
    azure::failure::{Failure, Scope},
    error::{Error, Result},
    output,
};

/// So many are listed.
const LISTED: usize = 1000;

/// Something that could not be written although other things were. The field names are a promise.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Failed {
    /// `blob`, `file` or `directory`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Name of the blob, or path in the share.
    pub name: String,
    /// Why, in one sentence without a full stop.
    pub reason: String,
}

/// Collects from several threads.
#[derive(Default)]
pub(super) struct Refused {
    first: Mutex<Vec<Failed>>,
    count: AtomicU64,
    files: AtomicU64,
    bytes: AtomicU64,
    /// Hashes of directories, which are written twice.
    directories: Mutex<HashSet<u128>>,
}

impl Refused {
    /// A blob or file of this length could not be written.
    ///
    /// # Errors
    /// The failure is not about this one alone.
    pub(super) fn content(&self, kind: &str, name: &str, bytes: u64, failure: Failure) -> Result<()> {
        self.add(kind, name, failure)?;
        self.files.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// A directory could not be made, or not be given its attributes.
    ///
    /// # Errors
    /// The failure is not about this one alone.
    pub(super) fn directory(&self, name: &str, failure: Failure) -> Result<()> {
        if locked(&self.directories).insert(xxh3_128(name.as_bytes())) {
            self.add("directory", name, failure)?;
        }
        Ok(())
    }

    /// Whether this directory could not be made.
    pub(super) fn has_directory(&self, name: &str) -> bool {
        locked(&self.directories).contains(&xxh3_128(name.as_bytes()))
    }

    fn add(&self, kind: &str, name: &str, failure: Failure) -> Result<()> {
        if !matches!(failure.scope(), Scope::Object) {
            return Err(Error::from(failure).context(format!("{kind} {}", output::name(name))));
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        let mut first = locked(&self.first);
        if first.len() < LISTED {
            first.push(Failed { kind: kind.to_owned(), name: name.to_owned(), reason: failure.reason() });
        }
        Ok(())
    }

    /// How many blobs or files, and their bytes.
    pub(super) fn contents(&self) -> (u64, u64) {
        (self.files.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }

    /// How many there are, and the first of them in the order of their names.
    pub(super) fn into_list(self) -> (u64, Vec<Failed>) {
        let mut first = self.first.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        first.sort();
        (self.count.into_inner(), first)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
