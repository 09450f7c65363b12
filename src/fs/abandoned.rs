//! Directories that killed processes left behind.

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt,
    path::Path,
    time::Duration,
};

use rustix::fs::{FlockOperation, flock};

/// A directory younger than this may not have been locked by its creator yet.
pub(crate) const SETTLED: Duration = Duration::from_secs(60);

/// Removes the directories in `parent` whose names begin with `prefix` and whose owners are gone: they belong to this user, are
/// not locked, and are at least `settled` old ([`SETTLED`], except in tests).
/// Directories that contain a file named `kept` remain.
pub(crate) fn remove_abandoned(parent: &Path, prefix: &str, settled: Duration, kept: Option<&str>) {
    let uid = rustix::process::geteuid().as_raw();
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let abandoned = entry.file_name().to_string_lossy().starts_with(prefix)
            && fs::symlink_metadata(&path).is_ok_and(|meta| {
                let age = meta.modified().ok().and_then(|time| time.elapsed().ok());
                meta.is_dir() && meta.uid() == uid && age.is_some_and(|age| age >= settled)
            })
            && !kept.is_some_and(|name| path.join(name).exists())
            && File::open(&path)
                .is_ok_and(|dir| flock(&dir, FlockOperation::NonBlockingLockExclusive).is_ok());
        if abandoned {
            let _ = fs::remove_dir_all(&path);
        }
    }
}
