//! Hard links: files with several names, which are restored as one file.

use std::{
    collections::HashMap,
    ffi::OsStr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use rustix::{
    fs::{AtFlags, Mode, OFlags, linkat, openat},
    io::Errno,
};

use crate::stream::files::Attributes;

/// The maximum number of files whose other names are still expected.
const REMEMBERED: usize = 100_000;

struct First {
    path: PathBuf,
    /// Names still to come.
    left: u64,
    bytes: Option<u64>,
    mtime: Option<Timestamp>,
}

/// Files whose other names are still expected.
#[derive(Default)]
pub(super) struct Links {
    firsts: HashMap<(u64, u64), First>,
    parted: u64,
}

impl Links {
    /// Records a restored file that has more names. `path` is as written, from the top.
    pub(super) fn made(&mut self, attributes: &Attributes, bytes: Option<u64>, path: PathBuf) {
        let Attributes { device, inode, links, mtime, .. } = *attributes;
        if links < 2 || inode == 0 || self.firsts.contains_key(&(device, inode)) {
            return;
        }
        if self.firsts.len() >= REMEMBERED {
            self.parted += 1;
            return;
        }
        self.firsts.insert((device, inode), First { path, left: links - 1, bytes, mtime });
    }

    /// The path where the same file was restored already.
    pub(super) fn first(&mut self, attributes: &Attributes, bytes: Option<u64>) -> Option<PathBuf> {
        let key = (attributes.device, attributes.inode);
        if attributes.links < 2 {
            return None;
        }
        let first = self.firsts.get_mut(&key)?;
        // The file was changed between the two reads of the backup: each name is restored as it was read.
        if first.bytes != bytes || first.mtime != attributes.mtime {
            self.parted += 1;
            return None;
        }
        first.left -= 1;
        if first.left > 0 {
            return Some(first.path.clone());
        }
        self.firsts.remove(&key).map(|first| first.path)
    }

    /// A link could not be created: this name gets a separate file, which later names can be linked to.
    pub(super) fn parted(&mut self, attributes: &Attributes) {
        self.firsts.remove(&(attributes.device, attributes.inode));
        self.parted += 1;
    }

    /// The note for the operator.
    pub(super) fn note(&self) -> Option<String> {
        (self.parted > 0).then(|| {
            format!(
                "{} of hard links, which may have been restored as separate files",
                crate::output::count(self.parted, "name")
            )
        })
    }
}

/// Makes `name` in `place` another hard link to the file at `first` below `top`. Symbolic links on the way are not followed.
pub(super) fn link(
    top: BorrowedFd<'_>,
    first: &Path,
    place: BorrowedFd<'_>,
    name: &OsStr,
) -> rustix::io::Result<()> {
    let mut folder: Option<OwnedFd> = None;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    for part in first.parent().into_iter().flat_map(Path::iter) {
        let from = folder.as_ref().map_or(top, AsFd::as_fd);
        folder = Some(openat(from, part, flags, Mode::empty())?);
    }
    let from = folder.as_ref().map_or(top, AsFd::as_fd);
    linkat(from, first.file_name().ok_or(Errno::INVAL)?, place, name, AtFlags::empty())
}
