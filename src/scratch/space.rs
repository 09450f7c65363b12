//! Disk space for restored data: reserved in advance, and shared by restores that run at the same time.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use parking_lot::{Condvar, Mutex};

use crate::{
    error::{Error, Result},
    output::size,
    stream::cancel::Cancel,
};

/// The size of an empty server.
const SERVER: u64 = 256 << 20;
/// Free space that is plenty for an empty server.
const AMPLE: u64 = 4 * SERVER;
/// The size of a restored database with its indexes and logs, as a multiple of its dump.
const FACTOR: u64 = 2;

/// The disk space of a directory.
pub(crate) struct Space {
    dir: PathBuf,
    keep: u64,
    reserved: Mutex<u64>,
    freed: Condvar,
}

/// Disk space that is reserved until this is dropped.
pub(crate) struct Reserved<'a> {
    space: &'a Space,
    bytes: u64,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        *self.space.reserved.lock() -= self.bytes;
        self.space.freed.notify_all();
    }
}

impl Space {
    /// The disk space of `dir`, of which `keep` bytes stay free.
    pub(crate) fn new(dir: &Path, keep: u64) -> Self {
        Self { dir: dir.to_owned(), keep, reserved: Mutex::new(0), freed: Condvar::new() }
    }

    /// Whether there is plenty of space, so that a server that may not be needed takes none from others.
    pub(crate) fn is_ample(&self) -> bool {
        free(&self.dir).is_ok_and(|free| free > self.keep.saturating_add(AMPLE))
    }

    /// Waits until there is space for a dump of this many bytes. Fails if there is too little even without other reservations.
    pub(crate) fn reserve(&self, dump: u64, cancel: &Cancel) -> Result<Reserved<'_>> {
        let bytes = dump.saturating_mul(FACTOR).saturating_add(SERVER);
        let mut reserved = self.reserved.lock();
        loop {
            cancel.check()?;
            let free = free(&self.dir)?;
            // Data that other restores have written already is counted twice, which errs on the safe side.
            if bytes.saturating_add(self.keep).saturating_add(*reserved) <= free {
                *reserved += bytes;
                return Ok(Reserved { space: self, bytes });
            }
            if *reserved == 0 {
                return Err(Error::failed(format!(
                    "restoring it needs about {}, and {} must stay free, but {} has only {}",
                    size(bytes),
                    size(self.keep),
                    self.dir.display(),
                    size(free)
                ))
                .hint("name a directory with more room in `drill.dir`"));
            }
            self.freed.wait_for(&mut reserved, Duration::from_millis(500));
        }
    }
}

/// Free bytes of the filesystem of a directory.
fn free(dir: &Path) -> Result<u64> {
    let stat = rustix::fs::statvfs(dir).map_err(|error| {
        Error::failed(format!("cannot determine the free space of {}", dir.display())).because(&error)
    })?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_and_what_fits_later_waits() {
        let dir = tempfile::tempdir().unwrap();
        let cancel = Cancel::new();
        let has = free(dir.path()).unwrap();
        let none = Space::new(dir.path(), has);
        assert!(none.reserve(0, &cancel).is_err());
        // Space for one, not for two.
        let dump = (has / 4 * 3).saturating_sub(SERVER) / FACTOR;
        let space = Space::new(dir.path(), 0);
        let first = space.reserve(dump, &cancel).unwrap();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| space.reserve(dump, &cancel).is_ok());
            std::thread::sleep(Duration::from_millis(100));
            assert!(!second.is_finished());
            drop(first);
            assert!(second.join().unwrap());
        });
    }
}
