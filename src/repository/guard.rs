//! The mount guard: a backup must never fill the disk underneath a storage that is not mounted.

use std::{
    io,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use rustix::fs::{self as rfs, AtFlags, CWD, StatxAttributes, StatxFlags};

use crate::error::{Error, Result};

/// File system type of an automount point on which nothing is mounted yet.
const AUTOFS_MAGIC: i64 = 0x0187;

/// Which directory on which file system a handle leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// Identity of an open directory.
    pub(super) fn of(dir: impl AsFd, path: &Path) -> Result<Self> {
        let stat = rfs::fstat(dir).map_err(|e| unreadable(path, e))?;
        Ok(Self { device: stat.st_dev, inode: stat.st_ino })
    }

    fn of_path(path: &Path) -> Result<Self> {
        let stat = rfs::stat(path).map_err(|e| unreadable(path, e))?;
        Ok(Self { device: stat.st_dev, inode: stat.st_ino })
    }

    /// Fails unless this directory is on the same file system as `mount`.
    pub(super) fn require_on(self, mount: &Path) -> Result<()> {
        if Self::of_path(mount)?.device == self.device {
            return Ok(());
        }
        Err(Error::repository(format!(
            "the repository is not on the file system mounted at {}",
            mount.display()
        ))
        .hint("set `repository.mount` to the mount point that holds `repository.location`"))
    }

    /// Fails unless `path` still leads to this directory, and `mount` is still mounted.
    pub(super) fn require_same(self, path: &Path, mount: Option<&Path>) -> Result<()> {
        if let Some(mount) = mount {
            require_mounted(mount, path)?;
        }
        if Self::of_path(path)? == self {
            return Ok(());
        }
        Err(Error::repository(format!(
            "{} is no longer the directory it was at the start of the run: the storage was unmounted or replaced",
            path.display()
        ))
        .hint("mount the storage again and repeat the backup"))
    }
}

/// Fails unless a file system is mounted at `mount` and `location` lies below it.
pub(super) fn require_mounted(mount: &Path, location: &Path) -> Result<()> {
    let below = |path: &Path| real(path).starts_with(real(mount));
    if !below(location) {
        return Err(Error::usage(format!(
            "`repository.location` {} is not below `repository.mount` {}",
            location.display(),
            mount.display()
        )));
    }
    // Looking inside makes an automount happen.
    let inside = mount.join(".");
    let stat = rfs::stat(&inside).map_err(|e| not_mounted(mount).because(&io::Error::from(e)))?;
    let statfs = rfs::statfs(&inside).map_err(|e| not_mounted(mount).because(&io::Error::from(e)))?;
    if statfs.f_type == AUTOFS_MAGIC || !is_mount_root(mount, stat.st_dev) {
        return Err(not_mounted(mount));
    }
    Ok(())
}

/// The path with symbolic links resolved as far as it exists.
fn real(path: &Path) -> PathBuf {
    let mut rest = PathBuf::new();
    let mut base = path;
    loop {
        if let Ok(real) = base.canonicalize() {
            return real.join(rest);
        }
        let (Some(parent), Some(name)) = (base.parent(), base.file_name()) else { return path.to_owned() };
        rest = if rest.as_os_str().is_empty() { PathBuf::from(name) } else { Path::new(name).join(rest) };
        base = parent;
    }
}

fn is_mount_root(mount: &Path, device: u64) -> bool {
    let statx = rfs::statx(CWD, mount, AtFlags::empty(), StatxFlags::BASIC_STATS);
    if let Ok(statx) = statx
        && statx.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT)
    {
        return statx.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
    }
    // Kernels before 5.8 do not say; a mount point is then a directory on another device than its parent.
    mount.parent().is_none_or(|parent| rfs::stat(parent).is_ok_and(|above| above.st_dev != device))
}

fn not_mounted(mount: &Path) -> Error {
    Error::repository(format!("nothing is mounted at {}", mount.display()))
        .hint(format!("mount the storage (`mount {}`) and try again; nothing was written", mount.display()))
}

fn unreadable(path: &Path, error: rustix::io::Errno) -> Error {
    Error::repository(format!("cannot read {}", path.display())).because(&io::Error::from(error))
}
