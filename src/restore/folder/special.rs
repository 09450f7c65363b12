//! Entries other than regular files: hard links, symbolic links, pipes, sockets and devices.

use std::{ffi::OsStr, path::Path};

use rustix::{
    fs::{FileType, Mode, mknodat, symlinkat},
    io::Errno,
};

use super::{LISTED, Restore, links, listed, place::failed};
use crate::{
    error::Result,
    output::paths::shown,
    stream::files::{Attributes, Special},
};

impl Restore<'_> {
    /// Makes a hard link if the same file was restored before. Returns false if it must be created anew.
    pub(super) fn link(
        &mut self,
        below: &Path,
        name: &OsStr,
        bytes: Option<u64>,
        attributes: &Attributes,
    ) -> Result<bool> {
        if !self.faithful {
            return Ok(false);
        }
        let Some(first) = self.links.first(attributes, bytes) else { return Ok(false) };
        let place = self.folders.fd()?;
        let top = self.folders.top()?;
        let linked = links::link(top, &first, place, name);
        match linked {
            Ok(()) => {
                let path = self.written_as(below, name, name);
                if bytes.is_some() && self.report.written.len() < LISTED {
                    self.report.written.push(listed(&path));
                }
                Ok(true)
            }
            Err(Errno::NOSPC | Errno::DQUOT | Errno::EXIST | Errno::IO | Errno::ROFS) => {
                linked.map_err(|error| failed(&self.into.join(below), &error.into())).map(|()| true)
            }
            // Too many links, a path that is too long, a directory that may no longer be entered, a filesystem without.
            Err(_) => {
                self.links.parted(attributes);
                Ok(false)
            }
        }
    }

    pub(super) fn special(
        &mut self,
        below: &Path,
        name: &OsStr,
        special: &Special,
        attributes: &Attributes,
    ) -> Result<()> {
        if !self.faithful {
            self.not_made.push(shown(below));
            return Ok(());
        }
        if !self.privileged && matches!(special, Special::CharDevice(_) | Special::BlockDevice(_)) {
            self.devices.push(shown(below));
            return Ok(());
        }
        let is_link = matches!(special, Special::Symlink(_));
        if self.link(below, name, None, attributes)? {
            self.count_special(is_link);
            return Ok(());
        }
        let place = self.folders.fd()?;
        let private = Mode::RUSR | Mode::WUSR;
        let mut refused = false;
        let made = self.made(below, name, &mut |name| match special {
            Special::Symlink(target) => symlinkat(target.as_os_str(), place, name),
            Special::Fifo => mknodat(place, name, FileType::Fifo, private, 0),
            Special::Socket => mknodat(place, name, FileType::Socket, private, 0),
            Special::CharDevice(device) | Special::BlockDevice(device) => {
                let block = matches!(special, Special::BlockDevice(_));
                let tpe = if block { FileType::BlockDevice } else { FileType::CharacterDevice };
                match mknodat(place, name, tpe, private, *device) {
                    Err(Errno::PERM) => {
                        refused = true;
                        Ok(())
                    }
                    made => made,
                }
            }
        })?;
        if refused {
            self.not_made.push(format!("{} (only root may make a device)", shown(below)));
            return Ok(());
        }
        let path = self.written_as(below, name, &made);
        self.applier.apply_to_name(self.folders.fd()?, &made, is_link, attributes, &path)?;
        self.links.made(attributes, None, self.folders.written().join(&made));
        self.count_special(is_link);
        Ok(())
    }

    fn count_special(&mut self, is_link: bool) {
        let count = if is_link { &mut self.report.symlinks } else { &mut self.report.others };
        *count += 1;
    }
}
