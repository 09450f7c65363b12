//! Proving containers, shares and folders: every content is read back from the repository.

use std::{os::unix::ffi::OsStrExt, path::Path, time::Instant};

use xxhash_rust::xxh3::xxh3_64;

use super::{Proof, Proven, ReadBack, Setup};
use crate::{source::manifest::Manifest, stream::files::Files};

/// The part of the files that a drill reads. As many drills as there are parts read all files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    /// Number of this part, from 0.
    pub(crate) number: u32,
    /// The number of parts.
    pub(crate) of: u32,
}

impl Part {
    /// All files.
    pub(crate) const WHOLE: Self = Self { number: 0, of: 1 };

    /// The part of this many percent that follows `last`.
    pub(crate) fn after(last: Option<u32>, percent: u8) -> Self {
        let of = 100_u32.div_ceil(u32::from(percent.clamp(1, 100)));
        let number = last.map_or(0, |last| (last + 1) % of);
        Self { number, of }
    }

    fn has(self, path: &Path) -> bool {
        self.of <= 1 || xxh3_64(path.as_os_str().as_bytes()) % u64::from(self.of) == u64::from(self.number)
    }
}

/// Reads the contents of this part of the files, and compares the names and lengths of all.
pub(crate) fn prove(
    kind: &dyn ReadBack,
    setup: &Setup<'_>,
    manifest: &Manifest,
    files: &dyn Files,
    part: Part,
) -> Proven {
    compare(kind, setup, manifest, files, part).map_err(|fault| fault.judged(|_| None))
}

fn compare(
    kind: &dyn ReadBack,
    setup: &Setup<'_>,
    manifest: &Manifest,
    files: &dyn Files,
    part: Part,
) -> Proven {
    let begin = Instant::now();
    let found = kind.read_back(manifest, files, &|path: &Path| part.has(path), setup.cancel)?;
    let mut notes = Vec::new();
    if part.of > 1 {
        notes.push(format!(
            "the contents of {} of {} were read, part {} of {}: the next drills read the others",
            found.read_files,
            crate::output::count(found.files, "file"),
            part.number + 1,
            part.of
        ));
    }
    let whole = found.read_bytes == found.bytes;
    // A restore takes at least as long as reading everything.
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
