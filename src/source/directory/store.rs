//! Storing what need not be read: files that have not changed, links, pipes, sockets and devices.

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
    tally::Entry,
    walk::Walk,
};
use crate::{
    error::Result,
    stream::sink::{Attributes, Special},
};

impl Walk<'_> {
    /// Stores a file with the content it had in the previous snapshot if nothing tells of a change since.
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
        match xattrs_of_name(place, name) {
            Ok(found) => self.set_xattrs(&mut of, found),
            Err(error) => {
                self.missing(self.below(path), error);
                return Ok(true);
            }
        }
        let Some(stored) = self.sink.take_over(path, &of)? else { return Ok(false) };
        let (path, tpe, content) = (self.below(path), FileType::RegularFile, &stored.content[..]);
        self.tally.stored(&Entry { path, tpe, attributes: &of, bytes: stored.bytes, content });
        self.tally.taken_over();
        Ok(true)
    }

    /// Stores what is neither file nor folder.
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
                    let what =
                        io::Error::other("replaced by something else while the backup ran; run it again");
                    self.tally.problem(self.below(path), &what);
                    return Ok(());
                }
                Err(error) => {
                    self.missing(self.below(path), error);
                    return Ok(());
                }
            },
            FileType::Fifo => Special::Fifo,
            FileType::Socket => Special::Socket,
            FileType::CharacterDevice => Special::CharDevice(stat.st_rdev),
            FileType::BlockDevice => Special::BlockDevice(stat.st_rdev),
            FileType::RegularFile | FileType::Directory | FileType::Unknown => {
                self.tally.problem(self.below(path), &io::Error::other("of a type that is not known"));
                return Ok(());
            }
        };
        if let Special::CharDevice(device) | Special::BlockDevice(device) = special {
            content = device.to_le_bytes().to_vec();
        }
        let mut of = attributes(stat, &self.owners);
        match xattrs_of_name(place, name) {
            Ok(found) => self.set_xattrs(&mut of, found),
            Err(error) => {
                self.missing(self.below(path), error);
                return Ok(());
            }
        }
        self.sink.special(path, &special, &of)?;
        let path = self.below(path);
        self.tally.stored(&Entry { path, tpe, attributes: &of, bytes: 0, content: &content });
        Ok(())
    }

    /// Adds extended attributes to the others.
    pub(super) fn set_xattrs(&self, of: &mut Attributes, found: Xattrs) {
        if found.unnamed > 0 {
            self.tally.unnamed_xattrs(found.unnamed);
        }
        of.xattrs = found.known;
    }
}
