//! The mount guard: a backup must never fill the disk underneath a storage that is not mounted.

use std::{
    ffi::OsStr,
    io,
    os::{fd::AsFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
};

use rustix::fs::{self as rfs, AtFlags, CWD, StatxAttributes, StatxFlags};

use super::transient::passes;
use crate::error::{Error, Passing, Result};

/// File system type of an automount point on which nothing is mounted yet.
const AUTOFS_MAGIC: i64 = 0x0187;

/// Identifies the directory and the file system of a handle.
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

    /// Fails unless `path` still resolves to this directory, and `mount` is still mounted.
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
    // Reading it triggers an automount. It is done first, and only once: a storage that refuses is not asked again.
    let inside = mount.join(".");
    let refused = |e| marked(not_mounted(mount).because(&io::Error::from(e)), e);
    let stat = rfs::stat(&inside).map_err(refused)?;
    let below = |path: &Path| real(path).starts_with(real(mount));
    if !below(location) {
        return Err(Error::usage(format!(
            "`repository.location` {} is not below `repository.mount` {}",
            location.display(),
            mount.display()
        )));
    }
    let statfs = rfs::statfs(&inside).map_err(refused)?;
    if statfs.f_type == AUTOFS_MAGIC
        || !is_mount_root(mount, stat.st_dev)
        || is_bound_onto_itself(&real(mount))
    {
        return Err(not_mounted(mount));
    }
    Ok(())
}

/// The path with symbolic links resolved, as far as it exists.
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
    // Kernels before 5.8 do not report it; a mount point is then a directory on another device than its parent.
    mount.parent().is_none_or(|parent| rfs::stat(parent).is_ok_and(|above| above.st_dev != device))
}

/// Whether the mount at `path` is only the directory itself, bound onto its own path. A service for which systemd makes the
/// directory writable (`ReadWritePaths=`) sees it that way: it looks like a mount, but no storage is mounted.
fn is_bound_onto_itself(path: &Path) -> bool {
    // If the list cannot be read, the other checks must suffice.
    std::fs::read_to_string("/proc/self/mountinfo").is_ok_and(|list| binds_onto_itself(&list, path))
}

/// One line of mountinfo, see proc_pid_mountinfo(5).
#[derive(Clone, Copy)]
struct Mounted<'a> {
    id: &'a str,
    parent: &'a str,
    device: &'a str,
    /// The mounted directory of the file system, as written in mountinfo.
    root: &'a str,
    point: &'a str,
}

fn binds_onto_itself(list: &str, path: &Path) -> bool {
    let entries: Vec<_> = list
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            let mut field = || fields.next();
            Some(Mounted {
                id: field()?,
                parent: field()?,
                device: field()?,
                root: field()?,
                point: field()?,
            })
        })
        .collect();
    // Of several mounts at the same point, the last one covers the others.
    let Some(mut top) =
        entries.iter().rev().find(|entry| Path::new(OsStr::from_bytes(&plain(entry.point))) == path)
    else {
        return false;
    };
    loop {
        let Some(below) = entries.iter().find(|entry| entry.id == top.parent) else { return false };
        let Some(rest) = top.point.strip_prefix(below.point.trim_end_matches('/')) else { return false };
        let underneath = format!("{}{rest}", below.root.trim_end_matches('/'));
        if below.device != top.device || underneath.trim_end_matches('/') != top.root.trim_end_matches('/') {
            return false;
        }
        if below.point != top.point {
            return true;
        }
        top = below;
    }
}

/// A path of mountinfo, in which blanks, tabs, newlines and backslashes are written as three octal digits.
fn plain(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.filter(|_| *first == b'\\').and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    bytes
}

fn not_mounted(mount: &Path) -> Error {
    Error::repository(format!("nothing is mounted at {}", mount.display()))
        .hint(format!("mount the storage (`mount {}`) and try again; nothing was written", mount.display()))
}

fn unreadable(path: &Path, errno: rustix::io::Errno) -> Error {
    let error = Error::repository(format!("cannot read {}", path.display())).because(&io::Error::from(errno));
    marked(error, errno)
}

/// The error, marked if its cause is temporary.
pub(super) fn marked(error: Error, errno: rustix::io::Errno) -> Error {
    if passes(&errno.into()) { error.passes(Passing::Storage) } else { error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_bound_onto_itself_is_told_from_a_storage() {
        let system = "21 1 254:1 / / rw - ext4 /dev/vda rw\n30 21 0:50 / /tmp rw - tmpfs tmpfs rw\n";
        let cases = [
            // systemd's ReadWritePaths= with nothing mounted, also where a subvolume is the root.
            ("40 21 254:1 /mnt/my\\040box /mnt/my\\040box rw - ext4 /dev/vda rw\n", true),
            // A storage, a storage covered by such a bind, and a directory of the same disk bound to another place.
            ("40 21 0:60 / /mnt/my\\040box rw - cifs //box/backup rw\n", false),
            (
                "40 21 0:60 / /mnt/my\\040box rw - cifs //box rw\n41 40 0:60 / /mnt/my\\040box rw - cifs //box rw\n",
                false,
            ),
            ("40 21 254:1 /srv/box /mnt/my\\040box rw - ext4 /dev/vda rw\n", false),
            ("", false),
        ];
        for (lines, expected) in cases {
            let list = format!("{system}{lines}");
            assert_eq!(binds_onto_itself(&list, Path::new("/mnt/my box/")), expected, "{lines}");
        }
        let subvolumes =
            "21 1 0:30 /@ / rw - btrfs /dev/vda rw\n40 21 0:30 /@/mnt/b /mnt/b rw - btrfs /dev/vda rw\n";
        assert!(binds_onto_itself(subvolumes, Path::new("/mnt/b")));
        let twice = format!("{system}40 21 254:1 /b /b rw - ext4 d rw\n41 40 254:1 /b /b rw - ext4 d rw\n");
        assert!(binds_onto_itself(&twice, Path::new("/b")));
    }
}
