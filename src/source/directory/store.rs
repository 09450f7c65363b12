//! Storing objects that need not be read: files that have not changed, links, pipes, sockets and devices.

use std::{
    ffi::CStr,
    io,
    os::{fd::BorrowedFd, unix::ffi::OsStringExt},
    path::Path,
};

use rustix::{
    fs::{FileType, Stat, readlinkat},
    io::Errno,
};

use super::{
    attributes::{Xattrs, attributes, ctime, mtime, xattrs_of_name},
    omissions::{ATTRIBUTES, kind},
    tally::Entry,
    walk::{REPLACED, Walk},
};
use crate::{
    error::Result,
    stream::files::{Attributes, Special},
};

impl Walk<'_> {
    /// Stores a file with its content in the previous snapshot if there is no sign of a change since.
    pub(super) fn take_over(
        &self,
        place: BorrowedFd<'_>,
        name: &CStr,
        path: &Path,
        stat: &Stat,
    ) -> Result<bool> {
        if self.settled.is_none_or(|settled| ctime(stat) >= settled) {
            return Ok(false);
        }
        let Some(previous) = self.sink.previous_file(path)? else { return Ok(false) };
        let then = &previous.attributes;
        let same = u64::try_from(stat.st_size) == Ok(previous.bytes)
            && then.mtime == Some(mtime(stat))
            && then.ctime == Some(ctime(stat))
            && then.inode == stat.st_ino
            && stat.st_ino != 0;
        if !same {
            return Ok(false);
        }
        let mut of = attributes(stat, &self.owners);
        let missing = self.set_xattrs(&mut of, xattrs_of_name(place, name));
        if missing == Some(Errno::NOENT) {
            self.tally.vanished(self.below(path));
            return Ok(true);
        }
        let Some(stored) = self.sink.reuse(path, &of)? else { return Ok(false) };
        self.without_xattrs(self.below(path), missing);
        let (path, tpe, content) = (self.below(path), FileType::RegularFile, &stored.content[..]);
        self.tally.stored(&Entry { path, tpe, attributes: &of, bytes: stored.bytes, content });
        self.tally.taken_over();
        Ok(true)
    }

    /// Stores an object that is neither file nor directory.
    pub(super) fn special(&self, place: BorrowedFd<'_>, name: &CStr, path: &Path, stat: &Stat) -> Result<()> {
        let tpe = FileType::from_raw_mode(stat.st_mode);
        let mut content = Vec::new();
        let special = match tpe {
            FileType::Symlink => match readlinkat(place, name, Vec::new()) {
                Ok(target) => {
                    content = target.into_bytes();
                    Special::Symlink(OsStringExt::from_vec(content.clone()))
                }
                Err(Errno::INVAL) => {
                    self.unreadable("link", self.below(path), &io::Error::other(REPLACED));
                    return Ok(());
                }
                Err(error) => {
                    self.missing("link", self.below(path), error);
                    return Ok(());
                }
            },
            FileType::Fifo => Special::Fifo,
            FileType::Socket => Special::Socket,
            FileType::CharacterDevice => Special::CharDevice(stat.st_rdev),
            FileType::BlockDevice => Special::BlockDevice(stat.st_rdev),
            FileType::RegularFile | FileType::Directory | FileType::Unknown => {
                let what = io::Error::other("its type is unknown");
                self.unreadable(kind(tpe), self.below(path), &what);
                return Ok(());
            }
        };
        if let Special::CharDevice(device) | Special::BlockDevice(device) = special {
            content = device.to_le_bytes().to_vec();
        }
        let mut of = attributes(stat, &self.owners);
        let missing = self.set_xattrs(&mut of, xattrs_of_name(place, name));
        if missing == Some(Errno::NOENT) {
            self.tally.vanished(self.below(path));
            return Ok(());
        }
        self.sink.special(path, &special, &of)?;
        self.without_xattrs(self.below(path), missing);
        let path = self.below(path);
        self.tally.stored(&Entry { path, tpe, attributes: &of, bytes: 0, content: &content });
        Ok(())
    }

    /// Adds extended attributes to the others, or gives the reason why they cannot be read.
    pub(super) fn set_xattrs(&self, of: &mut Attributes, found: rustix::io::Result<Xattrs>) -> Option<Errno> {
        let found = match found {
            Ok(found) => found,
            Err(error) => return Some(error),
        };
        if found.unnamed > 0 {
            self.tally.unnamed_xattrs(found.unnamed);
        }
        of.xattrs = found.known;
        None
    }

    /// Names an object that was stored without its extended attributes.
    pub(super) fn without_xattrs(&self, below: &Path, missing: Option<Errno>) {
        if let Some(error) = missing {
            self.unreadable(ATTRIBUTES, below, &error.into());
        }
    }
}
