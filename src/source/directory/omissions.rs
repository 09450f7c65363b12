//! What a walk could not read: the snapshot is stored without it and names it.

use std::{collections::BTreeMap, io, path::Path};

use rustix::{fs::FileType, io::Errno};

use super::tally::shown;
use crate::{
    error::{Error, Result},
    source::manifest::Omitted,
};

/// So many are named at most.
const MOST: usize = 10_000;
/// So many bytes the names may have together.
const MOST_BYTES: usize = 16 << 20;
/// So many are named in an error.
const SHOWN: usize = 5;

/// The kind of what is stored, but without its extended attributes.
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

/// The first names in order, whatever the order in which they come, so that the same are named every night.
#[derive(Debug, Default)]
pub(super) struct Omissions {
    /// Reasons by kind and name.
    named: BTreeMap<(&'static str, String), String>,
    bytes: usize,
    /// How many were not named for lack of room.
    more: u64,
    /// How many are not stored, named or not: all but attributes.
    objects: u64,
    /// Reasons for which something can be done.
    denied: bool,
    damaged: bool,
}

impl Omissions {
    /// One more, which lies at `path` below the folder that is backed up.
    pub(super) fn add(&mut self, kind: &'static str, path: &Path, error: &io::Error) {
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
        let bytes = name.len() + reason.len();
        if self.named.insert((kind, name), reason).is_none() {
            self.bytes += bytes;
        }
        while self.named.len() > MOST || self.bytes > MOST_BYTES {
            let Some(((_, name), reason)) = self.named.pop_last() else { return };
            self.bytes = self.bytes.saturating_sub(name.len() + reason.len());
            self.more += 1;
        }
    }

    /// What an operator can do about it, if there is a usual reason.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.denied {
            notes.push(
                "some of what is not in the backup may not be read by the account that runs it: run it as root or with \
                 CAP_DAC_READ_SEARCH, or leave out with `exclude` what is not wanted"
                    .to_owned(),
            );
        }
        if self.damaged {
            notes.push(
                "some of what is not in the backup cannot be read from its disk, which may be failing: look at the system's \
                 log"
                .to_owned(),
            );
        }
        notes
    }

    /// For the manifest, in order.
    pub(super) fn finish(self) -> Vec<Omitted> {
        let omitted = |kind: &str, name: String, reason: String| Omitted {
            kind: kind.to_owned(),
            name,
            reason,
            definition: None,
        };
        let named = self.named.len();
        let mut all: Vec<Omitted> =
            self.named.into_iter().map(|((kind, name), reason)| omitted(kind, name, reason)).collect();
        if self.more > 0 {
            // The number belongs to the name: that one more cannot be read is not accepted with the others.
            let reason = format!("only {named} of what cannot be read are named");
            all.push(omitted("files", format!("({} more)", self.more), reason));
        }
        all.sort();
        all
    }

    /// Whether anything is missing.
    pub(super) fn is_empty(&self) -> bool {
        self.named.is_empty()
    }

    /// Fails if not one file was read although something cannot be: most likely nothing may be read. A backup of folders and
    /// links alone would say nothing about the files.
    pub(super) fn require(&self, path: &Path, files: u64) -> Result<()> {
        if files > 0 || self.objects == 0 {
            return Ok(());
        }
        let objects = self.named.iter().filter(|((kind, _), _)| *kind != ATTRIBUTES);
        let few: Vec<String> =
            objects.take(SHOWN).map(|((_, name), reason)| format!("{name} ({reason})")).collect();
        let more = match self.objects.saturating_sub(few.len() as u64) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let cannot = if self.objects == 1 {
            "1 file or folder".to_owned()
        } else {
            format!("{} files or folders", self.objects)
        };
        let error = Error::failed(format!(
            "not one file in {} could be read, and {cannot} cannot be read: {}{more}",
            path.display(),
            few.join(", ")
        ));
        Err(error.hint(match (self.denied, self.damaged) {
            (true, _) => {
                "let the account that runs the backup read them (as root, or with CAP_DAC_READ_SEARCH), or leave them out \
                 with `exclude`"
            }
            (_, true) => "the disk may be failing: look at the system's log, and save what can be read",
            _ => "find out what is wrong with them, or leave them out with `exclude`",
        }))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn denied(names: impl Iterator<Item = usize>) -> Omissions {
        let mut omissions = Omissions::default();
        for number in names {
            omissions.add("file", Path::new(&format!("f{number:06}")), &Errno::ACCESS.into());
        }
        omissions
    }

    #[test]
    fn the_same_names_are_kept_in_whatever_order_they_come() {
        let up = denied(0..MOST + 7).finish();
        let down = denied((0..MOST + 7).rev()).finish();
        assert_eq!(up, down);
        assert_eq!(up.len(), MOST + 1);
        assert_eq!((up[0].name.as_str(), up[MOST - 1].name.as_str()), ("f000000", "f009999"));
        let rest = &up[MOST];
        assert_eq!((rest.kind.as_str(), rest.name.as_str()), ("files", "(7 more)"));
        assert_eq!(up[0].reason, "Permission denied (os error 13)");
    }

    #[test]
    fn names_of_any_length_do_not_fill_the_memory() {
        let mut omissions = Omissions::default();
        for number in 0..300 {
            let path = format!("{number:03}{}", "x".repeat(100_000));
            omissions.add("file", Path::new(&path), &Errno::IO.into());
        }
        assert!(omissions.bytes <= MOST_BYTES && omissions.more > 100, "{}", omissions.bytes);
        assert!(omissions.finish()[0].name.starts_with("000x"));
    }

    #[test]
    fn without_a_single_file_it_is_a_failure_with_a_hint() {
        let omissions = denied(0..7);
        assert!(omissions.require(Path::new("/srv"), 1).is_ok());
        let text = omissions.require(Path::new("/srv"), 0).unwrap_err().to_string();
        assert!(text.contains("7 files or folders cannot be read: f000000 (Permission denied"), "{text}");
        assert!(text.contains(" and 2 more") && text.contains("CAP_DAC_READ_SEARCH"), "{text}");
        assert!(omissions.notes()[0].contains("CAP_DAC_READ_SEARCH"));
        let mut only = Omissions::default();
        only.add(ATTRIBUTES, Path::new(""), &Errno::IO.into());
        assert!(only.require(Path::new("/srv"), 0).is_ok(), "the folder itself was read");
        assert_eq!(only.finish()[0].name, ".");
    }
}
