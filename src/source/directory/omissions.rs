//! Unreadable objects of a walk: the snapshot is stored without them and names them.

use std::{ffi::CStr, io, os::fd::BorrowedFd, path::Path};

use rustix::{fs::FileType, io::Errno};

use super::walk::{Folder, Walk};
use crate::{
    error::{Error, Result},
    fs::open::stat_name,
    output::paths::shown,
    source::{self, manifest::Omitted},
};

/// The maximum number named in an error.
const SHOWN: usize = 5;

/// The kind of an object that is stored without its extended attributes.
pub(super) const ATTRIBUTES: &str = "attributes";

/// The word for a type of file.
pub(super) fn kind(tpe: FileType) -> &'static str {
    match tpe {
        FileType::Directory => "folder",
        FileType::Symlink => "link",
        FileType::Fifo => "pipe",
        FileType::Socket => "socket",
        FileType::CharacterDevice | FileType::BlockDevice => "device",
        FileType::RegularFile | FileType::Unknown => "file",
    }
}

impl Walk<'_> {
    /// An object of this kind cannot be read, or was removed since its directory was listed.
    pub(super) fn missing(&self, kind: &'static str, below: &Path, error: Errno) {
        if error == Errno::NOENT {
            self.tally.vanished(below);
        } else {
            self.unreadable(kind, below, &error.into());
        }
    }

    /// A listed object can no longer be opened or read. It may have been removed; a failed mount also reports
    /// this, and a missing server reports it for every object.
    pub(super) fn lost(
        &self,
        kind: &'static str,
        place: BorrowedFd<'_>,
        name: &CStr,
        below: &Path,
        error: &io::Error,
    ) {
        let doubtful = matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::STALE));
        if doubtful && matches!(stat_name(place, name), Err(Errno::NOENT)) {
            self.tally.vanished(below);
        } else {
            self.unreadable(kind, below, error);
        }
    }

    /// An object of this kind cannot be read and is left out, unless this process is the reason: then everything else
    /// would be left out too.
    pub(super) fn unreadable(&self, kind: &'static str, below: &Path, error: &io::Error) {
        let hint = match Errno::from_io_error(error) {
            Some(Errno::MFILE | Errno::NFILE) => "raise the limit of open files (LimitNOFILE=)",
            Some(Errno::NOMEM) => "the system is out of memory: find the process that uses it",
            _ => return self.tally.omitted(kind, below, error),
        };
        self.stop(Error::failed(format!("cannot read {}", shown(below))).because(error).hint(hint));
    }

    /// Names a directory that was not read completely.
    pub(super) fn lost_on_the_way(&self, folder: &Folder, error: &io::Error) {
        let below = self.below(&folder.path);
        match Errno::from_io_error(error) {
            Some(error) => self.missing("folder", below, error),
            None => self.unreadable("folder", below, error),
        }
    }
}

/// The omitted objects, and their reasons.
#[derive(Debug)]
pub(super) struct Omissions {
    all: source::omissions::Omissions,
    /// The number of objects that are not stored: all but attributes.
    objects: u64,
    /// Reasons with a hint.
    denied: bool,
    damaged: bool,
}

impl Omissions {
    /// None yet.
    pub(super) fn new() -> Self {
        Self { all: source::omissions::Omissions::new("files"), objects: 0, denied: false, damaged: false }
    }

    /// Adds an object at `path` below the directory that is backed up.
    pub(super) fn add(&mut self, kind: &str, path: &Path, error: &io::Error) {
        let name = if path.as_os_str().is_empty() { ".".to_owned() } else { shown(path) };
        match Errno::from_io_error(error) {
            Some(Errno::ACCESS | Errno::PERM) => self.denied = true,
            Some(Errno::IO | Errno::UCLEAN) => self.damaged = true,
            _ => {}
        }
        let reason = match kind {
            ATTRIBUTES => format!("its extended attributes cannot be read: {error}"),
            _ => error.to_string(),
        };
        self.objects += u64::from(kind != ATTRIBUTES);
        self.all.add(kind, &name, reason);
    }

    /// Hints for the operator, for common reasons.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.denied {
            notes.push(
                "the account that runs the backup may not read some of the objects: run it as root or with \
                 CAP_DAC_READ_SEARCH, or exclude them with `exclude`"
                    .to_owned(),
            );
        }
        if self.damaged {
            notes.push(
                "some of the objects cannot be read from disk, and the disk may be failing: check the system's log"
                .to_owned(),
            );
        }
        notes
    }

    /// For the manifest.
    pub(super) fn finish(self) -> Vec<Omitted> {
        self.all.into_list()
    }

    /// Whether nothing is missing.
    pub(super) fn is_empty(&self) -> bool {
        self.all.count() == 0
    }

    /// Fails if no file was read although objects are unreadable: most likely permission is missing. A backup of directories and
    /// links alone would not protect the files.
    pub(super) fn require(&self, path: &Path, files: u64) -> Result<()> {
        if files > 0 || self.objects == 0 {
            return Ok(());
        }
        let objects = self.all.named().filter(|omitted| omitted.kind != ATTRIBUTES);
        let few: Vec<String> =
            objects.take(SHOWN).map(|omitted| format!("{} ({})", omitted.name, omitted.reason)).collect();
        let more = match self.objects.saturating_sub(few.len() as u64) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let cannot = if self.objects == 1 {
            "1 file or directory".to_owned()
        } else {
            format!("{} files or directories", self.objects)
        };
        let error = Error::failed(format!(
            "no file in {} could be read; {cannot} cannot be read: {}{more}",
            path.display(),
            few.join(", ")
        ));
        Err(error.hint(match (self.denied, self.damaged) {
            (true, _) => {
                "let the account that runs the backup read them (as root, or with CAP_DAC_READ_SEARCH), or exclude them \
                 with `exclude`"
            }
            (_, true) => "the disk may be failing: check the system's log, and copy the readable data elsewhere",
            _ => "check the filesystem and the system's log, or exclude them with `exclude`",
        }))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn without_a_single_file_it_is_a_failure_with_a_hint() {
        let mut omissions = Omissions::new();
        assert!(omissions.is_empty() && omissions.require(Path::new("/srv"), 0).is_ok());
        for number in (0..7).rev() {
            omissions.add("file", Path::new(&format!("f{number}")), &Errno::ACCESS.into());
        }
        assert!(!omissions.is_empty() && omissions.require(Path::new("/srv"), 1).is_ok());
        let text = omissions.require(Path::new("/srv"), 0).unwrap_err().to_string();
        assert!(text.contains("7 files or directories cannot be read: f0 (Permission denied"), "{text}");
        assert!(text.contains(" and 2 more") && text.contains("CAP_DAC_READ_SEARCH"), "{text}");
        assert!(omissions.notes()[0].contains("CAP_DAC_READ_SEARCH"));
        assert_eq!(omissions.finish()[0].reason, "Permission denied (os error 13)");
    }

    #[test]
    fn attributes_are_named_and_nothing_is_missing_without_them() {
        let mut only = Omissions::new();
        only.add(ATTRIBUTES, Path::new(""), &Errno::IO.into());
        assert!(only.require(Path::new("/srv"), 0).is_ok() && !only.is_empty());
        assert!(only.notes()[0].contains("log"));
        let list = only.finish();
        assert_eq!((list[0].kind.as_str(), list[0].name.as_str()), ("attributes", "."));
        assert_eq!(list[0].reason, "its extended attributes cannot be read: Input/output error (os error 5)");
    }
}
