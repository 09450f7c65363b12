//! Proving containers, shares and folders: every content is read back from the repository.

use std::{path::Path, time::Instant};

use xxhash_rust::xxh3::xxh3_64;

use super::{Fault, Proof, Proven, Setup};
use crate::{
    error::Error,
    source::{Files, azure, directory, manifest::Manifest},
};
use std::os::unix::ffi::OsStrExt;

/// Which part of the files is read: all of them over as many drills as there are parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::drill) struct Part {
    /// Number of this part, from 0.
    pub(in crate::drill) number: u32,
    /// How many there are.
    pub(in crate::drill) of: u32,
}

impl Part {
    /// All files.
    pub(in crate::drill) const WHOLE: Self = Self { number: 0, of: 1 };

    /// The part of so many percent that comes after `last`.
    pub(in crate::drill) fn after(last: Option<u32>, percent: u8) -> Self {
        let of = 100_u32.div_ceil(u32::from(percent.clamp(1, 100)));
        let number = last.map_or(0, |last| (last + 1) % of);
        Self { number, of }
    }

    fn has(self, path: &Path) -> bool {
        self.of <= 1 || xxh3_64(path.as_os_str().as_bytes()) % u64::from(self.of) == u64::from(self.number)
    }
}

/// Reads the contents of this part, and compares the names and lengths of all.
pub(in crate::drill) fn prove(
    setup: &Setup<'_>,
    manifest: &Manifest,
    files: &dyn Files,
    part: Part,
) -> Proven {
    let begin = Instant::now();
    let chosen = |path: &Path| part.has(path);
    let found = match &manifest.directory {
        Some(detail) => directory::verify::verify(files, detail, &chosen, setup.cancel)?,
        None if manifest.azure.is_some() => azure::verify::verify(manifest, files, &chosen, setup.cancel)?,
        None => return Err(Fault::Failed(Error::failed("the manifest says nothing of files"))),
    };
    let mut notes = Vec::new();
    if part.of > 1 {
        notes.push(format!(
            "the contents of {} of {} were read, part {} of {}: the others have their turn in the next drills",
            found.read_files,
            crate::output::count(found.files, "file"),
            part.number + 1,
            part.of
        ));
    }
    let whole = found.read_bytes == found.bytes;
    // Reading it all is what a restore takes at least.
    Proof {
        restore: whole.then(|| begin.elapsed()),
        objects: found.files,
        rows: found.files,
        bytes: found.read_bytes,
        notes,
    }
    .unless(found.differences)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_has_its_turn_once() {
        assert_eq!(Part::after(None, 100), Part::WHOLE);
        assert_eq!(Part::after(Some(3), 100), Part::WHOLE);
        for path in ["a", "b/c", "ü"].map(Path::new) {
            let (mut last, mut turns) = (None, 0);
            for _ in 0..4 {
                let part = Part::after(last, 25);
                turns += u32::from(part.has(path));
                last = Some(part.number);
            }
            assert_eq!(turns, 1, "{path:?}");
        }
        assert_eq!(Part::after(None, 30).of, 4, "all of it, not ninety percent");
    }
}
