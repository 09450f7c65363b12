//! Restores a snapshot to files in a directory. Everything is created below an open directory, one name at a time. Existing
//! files are not written to and links are not followed, so that a hostile snapshot cannot reach outside.

mod apply;
mod choice;
mod links;
mod place;
mod report;
mod sparse;
mod special;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod times;

use std::{
    ffi::{OsStr, OsString},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{Mode, OFlags, fstat, mkdirat, openat, syncfs},
    io::Errno,
};

pub(super) use self::choice::{Choice, concerns, in_directory, survey};
pub use self::report::{Escaped, FolderReport};
use self::{
    apply::Applier,
    links::Links,
    place::{Folders, OpenFolder, failed},
    report::{NAMED, WITH_PRIVILEGES},
    sparse::SparseWriter,
};
use crate::{
    error::{Error, Result},
    fs::open::{identity, open_folder},
    output::paths::{Listed, shown},
    source::{MANIFEST, layout::CONTENT},
    stream::{
        cancel::Cancel,
        digest::Digest128,
        files::{Attributes, Files, Node, NodeKind},
    },
};

/// The number of written files that are listed.
const LISTED: usize = 1000;
/// Names that are too long for the filesystem are cut to this many bytes, and get a hash.
const CUT: usize = 200;

/// Writes the files of a snapshot into the directory `into`, which must be empty or not exist. It is created if necessary,
/// and is closed to other users during the restore. With `faithful`, as for a directory, the tree is restored as it
/// was, without the manifest, and `into` itself gets the attributes of the backed-up directory. Everything else is
/// written with mode 0600, directories with 0700. `choice` selects files; their parent directories are created too.
/// Setuid and setgid bits, capabilities and devices are only restored if `privileged`: a user who could write
/// to the backed-up files must not gain the rights of root through a restore.
///
/// # Errors
/// Exit code 2: `into` is not empty. Otherwise: a file cannot be written, or not be read from the snapshot, or `cancel`
/// was set; the files written so far stay.
pub(super) fn restore(
    files: &dyn Files,
    into: &Path,
    faithful: bool,
    choice: &Choice,
    privileged: bool,
    cancel: &Cancel,
) -> Result<FolderReport> {
    let top = place::prepare(into, faithful)?;
    let sync = top.try_clone().map_err(|e| failed(into, &e))?;
    let stat = fstat(&top).map_err(|e| failed(into, &e.into()))?;
    let mut restore = Restore {
        into,
        faithful,
        choice,
        cancel,
        passed: Vec::new(),
        folders: Folders::new(top, identity(&stat)),
        links: Links::default(),
        privileged,
        applier: Applier::new(privileged),
        report: FolderReport::default(),
        not_made: Listed::new(NAMED),
        devices: Listed::new(NAMED),
        found: false,
    };
    files.walk_into(&|folder| choice.enters(folder), &mut |node| restore.node(&node))?;
    restore.finish()?;
    choice.check(&restore.report)?;
    syncfs(&sync).map_err(|e| failed(into, &e.into()))?;
    Ok(restore.report)
}

struct Restore<'a> {
    into: &'a Path,
    faithful: bool,
    choice: &'a Choice,
    cancel: &'a Cancel,
    /// Parent directories of the current entry that are not selected, and have not been created.
    passed: Vec<(PathBuf, Attributes)>,
    folders: Folders,
    links: Links,
    privileged: bool,
    applier: Applier,
    report: FolderReport,
    not_made: Listed,
    /// Devices that were left out.
    devices: Listed,
    /// Whether the snapshot contained files to restore.
    found: bool,
}

impl Restore<'_> {
    fn node(&mut self, node: &Node<'_>) -> Result<()> {
        self.cancel.check()?;
        if !node.path.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(Error::failed(format!("the snapshot contains an unsafe path: {}", shown(node.path))));
        }
        let below = if self.faithful {
            match node.path.strip_prefix(CONTENT) {
                Ok(below) => below,
                Err(_) if node.path == Path::new(MANIFEST) => return Ok(()),
                Err(_) => {
                    self.not_made.push(format!("{} (not part of the tree)", shown(node.path)));
                    return Ok(());
                }
            }
        } else {
            node.path
        };
        let Some(name) = below.file_name() else {
            self.found = true;
            self.folders.set_top(node.attributes.clone());
            return Ok(());
        };
        let above = below.parent().unwrap_or(Path::new(""));
        let is_folder = node.kind == NodeKind::Folder;
        self.passed.retain(|(passed, _)| above.starts_with(passed));
        if !self.choice.takes(node.path, is_folder) {
            if is_folder && self.choice.enters(node.path) {
                self.passed.push((below.to_owned(), node.attributes.clone()));
            }
            return Ok(());
        }
        for (folder, attributes) in std::mem::take(&mut self.passed) {
            self.leave_to(folder.parent().unwrap_or(Path::new("")))?;
            let name = folder.file_name().unwrap_or_default();
            self.folder(&folder, name, &attributes)?;
        }
        self.leave_to(above)?;
        match &node.kind {
            NodeKind::Folder => self.folder(below, name, node.attributes),
            NodeKind::File(bytes) => self.file(below, name, *bytes, node),
            NodeKind::Special(special) => self.special(below, name, special, node.attributes),
        }
    }

    /// Goes up to the directory `above`, and sets the attributes of the directories that are left.
    fn leave_to(&mut self, above: &Path) -> Result<()> {
        while !self.folders.is_at(above) {
            match self.folders.leave().map_err(|e| failed(&self.into.join(above), &e))? {
                Some(left) => self.folder_done(&left)?,
                None => {
                    return Err(Error::failed(format!(
                        "the snapshot lists what is in {} at another place",
                        shown(above)
                    )));
                }
            }
        }
        Ok(())
    }

    fn folder_done(&mut self, folder: &OpenFolder) -> Result<()> {
        if !self.faithful {
            return Ok(());
        }
        let path = self.into.join(folder.written());
        self.applier.apply(folder.fd()?, folder.attributes(), &path)
    }

    fn folder(&mut self, below: &Path, name: &OsStr, attributes: &Attributes) -> Result<()> {
        let path = self.into.join(below);
        let place = self.folders.fd()?;
        let made = self.made(below, name, &mut |name| mkdirat(place, name, Mode::RWXU))?;
        let fd = open_folder(place, made.as_os_str()).map_err(|e| failed(&path, &e.into()))?;
        let stat = fstat(&fd).map_err(|e| failed(&path, &e.into()))?;
        self.written_as(below, name, &made);
        self.folders.enter(fd, identity(&stat), below, made, attributes.clone());
        self.report.folders += 1;
        Ok(())
    }

    /// Creates an entry, under its own name or, if that is too long for the filesystem, another one. Returns the name.
    fn made(
        &self,
        below: &Path,
        name: &OsStr,
        make: &mut dyn FnMut(&OsStr) -> rustix::io::Result<()>,
    ) -> Result<OsString> {
        let name = match make(name) {
            Err(Errno::NAMETOOLONG) => {
                let name = place::shortened(name, CUT, Digest128::of(name.as_encoded_bytes()));
                make(&name).map(|()| name)
            }
            made => made.map(|()| name.to_owned()),
        };
        name.map_err(|error| failed(&self.into.join(below), &error.into()))
    }

    fn written_as(&mut self, below: &Path, stored: &OsStr, written: &OsStr) -> PathBuf {
        let path = self.into.join(self.folders.written()).join(written);
        if stored != written && self.report.escaped.len() < LISTED {
            self.report.escaped.push(Escaped { stored: listed(below), written: listed(&path) });
        }
        path
    }

    fn file(&mut self, below: &Path, name: &OsStr, bytes: u64, node: &Node<'_>) -> Result<()> {
        if !self.link(below, name, Some(bytes), node.attributes)? {
            self.content(below, name, bytes, node)?;
        }
        self.report.files += 1;
        self.report.bytes += bytes;
        self.found = true;
        Ok(())
    }

    fn content(&mut self, below: &Path, name: &OsStr, bytes: u64, node: &Node<'_>) -> Result<()> {
        let place = self.folders.fd()?;
        let mut file = None;
        let made = self.made(below, name, &mut |name| {
            file = Some(create(place, name)?);
            Ok(())
        })?;
        let path = self.written_as(below, name, &made);
        let Some(file) = file else { return Err(failed(&path, &Errno::BADF.into())) };
        let mut writer = SparseWriter::new(file, self.cancel);
        let copied = node.content.copy(&mut writer);
        if let Some(error) = writer.take_failure() {
            return Err(failed(&path, &error));
        }
        let copied = copied?;
        let file = writer.finish().map_err(|error| failed(&path, &error))?;
        if copied != bytes {
            return Err(Error::failed(format!("{} has {copied} bytes instead of {bytes}", shown(&path))));
        }
        if self.faithful {
            // restic's format omits zeros, and so the mode of a file without any permissions.
            let mode = node.attributes.mode.or(Some(0));
            self.applier.apply(file.as_fd(), &Attributes { mode, ..node.attributes.clone() }, &path)?;
            self.links.made(node.attributes, Some(bytes), self.folders.written().join(&made));
        }
        if self.report.written.len() < LISTED {
            self.report.written.push(listed(&path));
        }
        Ok(())
    }

    /// Sets the attributes of the directories that are still open, the one named by the user last.
    fn finish(&mut self) -> Result<()> {
        self.leave_to(Path::new(""))?;
        if !self.found && self.choice.is_all() {
            return Err(Error::failed("the snapshot holds no files"));
        }
        if self.faithful
            && let Some(attributes) = self.folders.top_attributes()
        {
            self.applier.apply(self.folders.top()?, attributes, self.into)?;
        }
        let mut notes = self.applier.notes();
        notes.extend(self.applier.times().notes());
        notes.extend(self.links.note());
        if self.not_made.count() > 0 {
            notes.push(format!("not restored: {}", self.not_made));
        }
        if self.devices.count() > 0 {
            notes.push(format!(
                "devices not restored, because they give access to hardware; {WITH_PRIVILEGES} restores them: {}",
                self.devices
            ));
        }
        if !self.report.escaped.is_empty() {
            notes.push("some names were too long for the filesystem and were cut".to_owned());
        }
        self.report.notes = notes;
        Ok(())
    }
}

/// Creates a new file.
fn create(place: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(place, name, flags, Mode::RUSR | Mode::WUSR)
}

/// A path as JSON can hold it.
fn listed(path: &Path) -> PathBuf {
    PathBuf::from(path.to_string_lossy().into_owned())
}
