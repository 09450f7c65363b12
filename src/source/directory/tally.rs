//! The result of a walk: counts and digest, unreadable objects, notes for the operator.

use std::{io, path::Path};

use parking_lot::{Mutex, MutexGuard};
use rustix::fs::FileType;

use super::{detail::Detail, omissions::Omissions};
use crate::{
    output::paths::{Listed, shown},
    source::exclude::Rule,
    stream::{digest::Digest128, files::Attributes},
};
use std::os::unix::ffi::OsStrExt;

/// The maximum number of names in a note.
const NAMED: usize = 20;

/// A stored object.
pub(super) struct Entry<'a> {
    /// Below the directory that is backed up.
    pub(super) path: &'a Path,
    pub(super) tpe: FileType,
    pub(super) attributes: &'a Attributes,
    pub(super) bytes: u64,
    /// Identity of a file's content, target of a link, number of a device.
    pub(super) content: &'a [u8],
}

impl Entry<'_> {
    /// The digest of all its properties.
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
    protected: Listed,
    repositories: Listed,
    omissions: Omissions,
    unnamed_xattrs: u64,
}

/// The complete result of a walk.
pub(super) struct Findings {
    pub(super) detail: Detail,
    /// Notes for the operator.
    pub(super) notes: Vec<String>,
    /// Unreadable objects.
    pub(super) omissions: Omissions,
}

/// Collects from several threads.
pub(super) struct Tally(Mutex<Found>);

impl Tally {
    /// Nothing found yet in the directory `path`.
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
            protected: Listed::new(NAMED),
            repositories: Listed::new(NAMED),
            omissions: Omissions::new(),
            unnamed_xattrs: 0,
        }))
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.0.lock()
    }

    /// An object was stored.
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

    /// A stored file did not have to be read.
    pub(super) fn taken_over(&self) {
        self.found().detail.taken_over += 1;
    }

    /// A rule excluded an entry.
    pub(super) fn excluded(&self, rule: usize, entries: u64) {
        if let Some(rule) = self.found().detail.excluded.get_mut(rule) {
            rule.entries += entries;
        }
    }

    /// A protected directory is left out.
    pub(super) fn protected(&self, path: &Path, what: &str) {
        self.found().protected.push(format!("{} ({what})", shown(path)));
    }

    /// A directory is another repository than the configured one.
    pub(super) fn other_repository(&self, path: &Path) {
        self.found().repositories.push(shown(path));
    }

    /// A mount point is stored as an empty directory.
    pub(super) fn not_entered(&self, path: &Path) {
        self.found().mounts.push(shown(path));
    }

    /// An object was removed.
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

    /// An object cannot be read.
    pub(super) fn omitted(&self, kind: &'static str, path: &Path, error: &io::Error) {
        self.found().omissions.add(kind, path, error);
    }

    /// The results with notes.
    pub(super) fn finish(self) -> Findings {
        let found = self.0.into_inner();
        let Found {
            mut detail,
            vanished,
            changed,
            mounts,
            protected,
            repositories,
            omissions,
            unnamed_xattrs,
        } = found;
        let mut notes = Vec::new();
        if mounts.count() > 0 {
            notes.push(format!("mounted here and not in this backup: {mounts}"));
        }
        if protected.count() > 0 {
            notes.push(format!("not backed up into itself: {protected}"));
        }
        if repositories.count() > 0 {
            notes.push(format!(
                "this backup contains other restic repositories, and grows whenever they grow; exclude them with `exclude` if that \
                 is not wanted: {repositories}"
            ));
        }
        if changed.count() > 0 {
            notes.push(format!(
                "written to while they were read, so their content may be inconsistent: {changed}"
            ));
        }
        if vanished.count() > 0 {
            notes.push(format!("removed after they were listed, before they were read: {vanished}"));
        }
        if unnamed_xattrs > 0 {
            notes.push(format!(
                "{unnamed_xattrs} extended attributes whose names are not UTF-8 are not in this backup"
            ));
        }
        notes.extend(omissions.notes());
        detail.vanished = vanished.count();
        detail.changed = changed.count();
        detail.mounts = mounts.count();
        detail.not_entered = mounts.into_first();
        Findings { detail, notes, omissions }
    }
}

#[cfg(test)]
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
}
