//! A handle of `rustic_core` on a repository.

use rustic_core::{OpenStatus, RepositoryOptions};

use super::{errors::rustic_error, storage::Storage};
use crate::error::Result;

/// An opened repository of `rustic_core`.
pub(super) type Opened = rustic_core::Repository<OpenStatus>;

/// Threads that read snapshot files. These are small: reading them is mostly waiting for the storage.
pub(super) const READERS: usize = 8;

/// A handle that is not opened yet.
pub(super) fn new_handle(storage: &Storage) -> Result<rustic_core::Repository<()>> {
    // A cache would store copies of the repository's files on the local disk, for little gain.
    let options = RepositoryOptions::default().no_cache(true);
    rustic_core::Repository::new(&options, &storage.backends())
        .map_err(|e| rustic_error("cannot open the repository", e))
}
