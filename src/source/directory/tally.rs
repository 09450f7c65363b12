//! The result of a walk: counts and digest, unreadable objects, notes for the operator.

use std::{ffi::OsStr, fmt, io, path::Path};

use parking_lot::{Mutex, MutexGuard};
use rustix::fs::FileType;

use super::{
    detail::{Detail, Rule},
    omissions::Omissions,
};
use crate::stream::{digest::Digest128, files::Attributes};
use std::os::unix::ffi::OsStrExt;

/// The maximum number of names in a note.
const NAMED: usize = 20;

/// A path for messages: on one line, with bytes that are not UTF-8 escaped.
pub(crate) fn shown(path: &Path) -> String {
    match path.to_str() {
        Some(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => format!("{path:?}"),
    }
}

/// The names that [`shown`] writes as this text: the text itself, and the unescaped name, if there is one.
pub(crate) fn meant(text: &str) -> Vec<Vec<u8>> {
    let mut names = vec![text.as_bytes().to_vec()];
    names.extend(written_out(text));
    names
}

/// Parses the `Debug` form of a path.
fn written_out(text: &str) -> Option<Vec<u8>> {
    let mut name = Vec::new();
    let mut chars = text.strip_prefix('"')?.strip_suffix('"')?.chars();
    while let Some(c) = chars.next() {
        let c = match c {
            '\\' => chars.next()?,
            plain => {
                name.extend_from_slice(plain.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
        };
        let meant = match c {
            't' => '\t',
            'r' => '\r',
            'n' => '\n',
            'u' => {
                let code: String = chars.by_ref().skip(1).take_while(|c| *c != '}').collect();
                char::from_u32(u32::from_str_radix(&code, 16).ok()?)?
            }
            'x' => {
                let byte: String = chars.by_ref().take(2).collect();
                name.push(u8::from_str_radix(&byte, 16).ok()?);
                continue;
            }
            itself => itself,
        };
        name.extend_from_slice(meant.encode_utf8(&mut [0; 4]).as_bytes());
    }
    (shown(Path::new(OsStr::from_bytes(&name))) == text).then_some(name)
}

/// A count and the first few names.
#[derive(Debug)]
pub(crate) struct Listed {
    keep: usize,
    count: u64,
    first: Vec<String>,
}

impl Listed {
    /// Empty; keeps `keep` names.
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
        detail.not_entered = mounts.first;
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

    #[test]
    fn names_are_shown_on_one_line() {
        assert_eq!(shown(Path::new("a b/ü")), "a b/ü");
        assert_eq!(shown(Path::new("a\nb")), "\"a\\nb\"");
        assert_eq!(shown(Path::new(OsStr::from_bytes(b"\xff"))), "\"\\xFF\"");
    }

    #[test]
    fn names_are_known_again_by_what_is_shown_of_them() {
        for odd in [&b"a\nb"[..], b"\xff'\"\\ \xc3\xbc\xfe/x", b"\t\r\x01\x7f\xc2\x80", b"\n"] {
            let text = shown(Path::new(OsStr::from_bytes(odd)));
            assert_eq!(meant(&text), [text.as_bytes(), odd], "{text}");
        }
        for plain in ["a b/\u{fc}", "\"", "\"\"", "\"plain\"", "\"a\\u{d800}\"", "\"a\\\"", "\"a\\xZZ\"", ""]
        {
            assert_eq!(meant(plain), [plain.as_bytes()]);
        }
        assert!(meant("\"a\\nb\"").contains(&b"\"a\\nb\"".to_vec()), "there may be one of just this name");
    }
}
