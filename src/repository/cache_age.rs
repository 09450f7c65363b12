//! Removing the caches of repositories that are not used any more.

use std::{
    io,
    os::fd::OwnedFd,
    time::{Duration, SystemTime},
};

use rustix::{
    fs::{self as rfs, AtFlags, FileType, Mode, OFlags},
    io::Errno,
};

use super::{cache::Kind, local_files::entries};

/// After this time, the copies of another repository and drafts of killed processes are removed.
pub(super) const OBSOLETE: Duration = Duration::from_secs(30 * 86_400);

/// The time since a file was written; `None` if it is in the future.
pub(super) fn age_of(stat: &rfs::Stat) -> Option<Duration> {
    let written = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(stat.st_mtime).ok()?);
    written.elapsed().ok()
}

/// Removes the caches of other repositories that were not used for long.
pub(super) fn remove_obsolete(caches: &OwnedFd, used: &str) {
    for name in entries(caches, ".").unwrap_or_default().into_iter().filter(|name| name != used) {
        let found = rfs::statat(caches, &name, AtFlags::SYMLINK_NOFOLLOW).ok();
        let is_old = found
            .filter(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
            .and_then(|stat| age_of(&stat))
            .is_some_and(|age| age >= OBSOLETE);
        if is_old && let Err(error) = remove_cache(caches, &name) {
            tracing::debug!(cache = name, why = %error, "the cache of another repository was not removed");
        }
    }
}

/// Removes the cache of a repository: the files in the directories of the kinds, and these directories.
fn remove_cache(caches: &OwnedFd, name: &str) -> io::Result<()> {
    let open = |directory: &OwnedFd, name: &str| {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        rfs::openat(directory, name, flags, Mode::empty())
    };
    let cache = open(caches, name)?;
    for kind in Kind::ALL {
        let folder = match open(&cache, kind.folder()) {
            Err(Errno::NOENT) => continue,
            opened => opened?,
        };
        for file in entries(&folder, ".")? {
            rfs::unlinkat(&folder, &file, AtFlags::empty())?;
        }
        rfs::unlinkat(&cache, kind.folder(), AtFlags::REMOVEDIR)?;
    }
    Ok(rfs::unlinkat(caches, name, AtFlags::REMOVEDIR)?)
}
