//! What a walk found: counts and digest, what went wrong, what an operator should know.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard},
};

use rustix::{fs::FileType, io::Errno};

use super::detail::{Detail, Rule};
use crate::{
    error::{Error, Result},
    stream::{digest::Digest128, sink::Attributes},
};
use std::os::unix::ffi::OsStrExt;

/// So many of what cannot be read are named.
const PROBLEMS: usize = 5;
/// So many of everything else.
const NAMED: usize = 20;

/// A path as it can stand in a sentence: on one line, and with bytes that are no text written out.
pub(crate) fn shown(path: &Path) -> String {
    match path.to_str() {
        Some(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => format!("{path:?}"),
    }
}

/// Names, the first few of them kept.
#[derive(Debug)]
pub(crate) struct Listed {
    keep: usize,
    count: u64,
    first: Vec<String>,
}

impl Listed {
    /// None yet; `keep` are kept.
    pub(crate) fn new(keep: usize) -> Self {
        Self { keep, count: 0, first: Vec::new() }
    }

    /// One more.
    pub(crate) fn push(&mut self, name: String) {
        self.count += 1;
        if self.first.len() < self.keep {
            self.first.push(name);
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.first.join(", "))?;
        match self.count - self.first.len() as u64 {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// What was stored under a name.
pub(super) struct Entry<'a> {
    /// Below the folder that is backed up.
    pub(super) path: &'a Path,
    pub(super) tpe: FileType,
    pub(super) attributes: &'a Attributes,
    pub(super) bytes: u64,
    /// Identity of a file's content, target of a link, number of a device.
    pub(super) content: &'a [u8],
}

impl Entry<'_> {
    /// What everything about it amounts to.
    pub(super) fn digest(&self) -> Digest128 {
        let mut text = self.path.as_os_str().as_bytes().to_vec();
        text.push(0);
        text.push(match self.tpe {
            FileType::RegularFile => b'f',
            FileType::Directory => b'd',
            FileType::Symlink => b'l',
            FileType::Fifo => b'p',
            FileType::Socket => b's',
            FileType::CharacterDevice => b'c',
            FileType::BlockDevice => b'b',
            FileType::Unknown => b'?',
        });
        text.extend_from_slice(&self.attributes.mode.unwrap_or(0).to_le_bytes());
        text.extend_from_slice(&self.bytes.to_le_bytes());
        text.extend_from_slice(self.content);
        Digest128::of(&text)
    }
}

struct Found {
    detail: Detail,
    vanished: Listed,
    changed: Listed,
    mounts: Listed,
    problems: Listed,
    first_problem: Option<Errno>,
    unnamed_xattrs: u64,
}

/// Collects from several threads.
pub(super) struct Tally(Mutex<Found>);

impl Tally {
    /// Nothing found yet in the folder `path`.
    pub(super) fn new<'a>(
        path: &Path,
        one_file_system: bool,
        patterns: impl Iterator<Item = &'a str>,
    ) -> Self {
        let detail = Detail {
            path: path.to_string_lossy().into_owned(),
            one_file_system,
            files: 0,
            folders: 0,
            symlinks: 0,
            others: 0,
            bytes: 0,
            taken_over: 0,
            vanished: 0,
            changed: 0,
            excluded: patterns.map(|pattern| Rule { pattern: pattern.to_owned(), entries: 0 }).collect(),
            mounts: 0,
            not_entered: Vec::new(),
            digest: Digest128::ZERO,
        };
        Self(Mutex::new(Found {
            detail,
            vanished: Listed::new(NAMED),
            changed: Listed::new(NAMED),
            mounts: Listed::new(NAMED),
            problems: Listed::new(PROBLEMS),
            first_problem: None,
            unnamed_xattrs: 0,
        }))
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Something was stored.
    pub(super) fn stored(&self, entry: &Entry<'_>) {
        let digest = entry.digest();
        let detail = &mut self.found().detail;
        detail.digest += digest;
        match entry.tpe {
            FileType::RegularFile => {
                detail.files += 1;
                detail.bytes += entry.bytes;
            }
            FileType::Directory => detail.folders += 1,
            FileType::Symlink => detail.symlinks += 1,
            _ => detail.others += 1,
        }
    }

    /// A file that was stored had not to be read.
    pub(super) fn taken_over(&self) {
        self.found().detail.taken_over += 1;
    }

    /// A rule kept something out.
    pub(super) fn excluded(&self, rule: usize) {
        if let Some(rule) = self.found().detail.excluded.get_mut(rule) {
            rule.entries += 1;
        }
    }

    /// A mount point is stored as an empty folder.
    pub(super) fn not_entered(&self, path: &Path) {
        self.found().mounts.push(shown(path));
    }

    /// Something is gone.
    pub(super) fn vanished(&self, path: &Path) {
        self.found().vanished.push(shown(path));
    }

    /// A file kept changing.
    pub(super) fn changed(&self, path: &Path) {
        self.found().changed.push(shown(path));
    }

    /// Extended attributes had to be left out.
    pub(super) fn unnamed_xattrs(&self, count: u64) {
        self.found().unnamed_xattrs += count;
    }

    /// Something cannot be read: the item will fail once all such things are known.
    pub(super) fn problem(&self, path: &Path, error: &io::Error) {
        let mut found = self.found();
        let path = if path.as_os_str().is_empty() { PathBuf::from(".") } else { path.to_owned() };
        found.problems.push(format!("{} ({error})", shown(&path)));
        if found.first_problem.is_none() {
            found.first_problem = Errno::from_io_error(error);
        }
    }

    /// What was found, and notes about it.
    ///
    /// # Errors
    /// Something could not be read: a backup without it would be a smaller one.
    pub(super) fn finish(self) -> Result<(Detail, Vec<String>)> {
        let found = self.0.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        if found.problems.count() > 0 {
            return Err(unreadable(&found));
        }
        let Found { mut detail, vanished, changed, mounts, unnamed_xattrs, .. } = found;
        let mut notes = Vec::new();
        if mounts.count() > 0 {
            notes.push(format!("mounted here and not in this backup: {mounts}"));
        }
        if changed.count() > 0 {
            notes.push(format!(
                "written to while they were read, so that beginning and end may not fit together: {changed}"
            ));
        }
        if vanished.count() > 0 {
            notes.push(format!("gone between listing and reading: {vanished}"));
        }
        if unnamed_xattrs > 0 {
            notes.push(format!(
                "{unnamed_xattrs} extended attributes whose names are not UTF-8 are not in this backup"
            ));
        }
        detail.vanished = vanished.count();
        detail.changed = changed.count();
        detail.mounts = mounts.count();
        detail.not_entered = mounts.first;
        Ok((detail, notes))
    }
}

fn unreadable(found: &Found) -> Error {
    let count = found.problems.count();
    let what = if count == 1 { "1 file or folder".to_owned() } else { format!("{count} files or folders") };
    let error = Error::failed(format!("{what} cannot be read: {}", found.problems));
    error.hint(match found.first_problem {
        Some(Errno::ACCESS | Errno::PERM) => {
            "let the account that runs the backup read them (as root, or with CAP_DAC_READ_SEARCH), or leave them out \
             with `exclude`"
        }
        Some(Errno::IO) => {
            "the disk may be failing: look at the system's log, save what can be read, and leave out what cannot with \
             `exclude`"
        }
        Some(Errno::MFILE | Errno::NFILE) => "raise the limit of open files (LimitNOFILE=)",
        _ => "find out what is wrong with them, or leave them out with `exclude`",
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn digest(path: &str, tpe: FileType, mode: u32, bytes: u64, content: &[u8]) -> Digest128 {
        let attributes = Attributes { mode: Some(mode), ..Attributes::default() };
        Entry { path: Path::new(path), tpe, attributes: &attributes, bytes, content }.digest()
    }

    #[test]
    fn everything_that_matters_is_in_the_digest() {
        let of = digest("a", FileType::RegularFile, 0o644, 3, b"id");
        assert_eq!(of, digest("a", FileType::RegularFile, 0o644, 3, b"id"));
        assert_ne!(of, digest("b", FileType::RegularFile, 0o644, 3, b"id"));
        assert_ne!(of, digest("a", FileType::Symlink, 0o644, 3, b"id"));
        assert_ne!(of, digest("a", FileType::RegularFile, 0o600, 3, b"id"));
        assert_ne!(of, digest("a", FileType::RegularFile, 0o644, 4, b"id"));
        assert_ne!(of, digest("a", FileType::RegularFile, 0o644, 3, b"other"));
    }

    #[test]
    fn names_are_shown_on_one_line() {
        use std::ffi::OsStr;
        assert_eq!(shown(Path::new("a b/ü")), "a b/ü");
        assert_eq!(shown(Path::new("a\nb")), "\"a\\nb\"");
        assert_eq!(shown(Path::new(OsStr::from_bytes(b"\xff"))), "\"\\xFF\"");
    }

    #[test]
    fn the_first_problems_are_named_and_all_counted() {
        let tally = Tally::new(Path::new("/srv"), true, std::iter::empty());
        for number in 0..7 {
            tally.problem(&PathBuf::from(format!("f{number}")), &Errno::ACCESS.into());
        }
        let text = tally.finish().unwrap_err().to_string();
        assert!(text.starts_with("7 files or folders cannot be read: f0 (Permission denied"), "{text}");
        assert!(text.contains("and 2 more") && text.contains("CAP_DAC_READ_SEARCH"), "{text}");
    }
}
