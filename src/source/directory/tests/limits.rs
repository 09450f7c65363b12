//! Files that are long because of their holes.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use parking_lot::Mutex;

use super::super::testing::{Memory, dump, source};
use crate::{
    error::{Error, Result},
    stream::{
        files::Attributes,
        sink::{Mark, Sink, Stored},
        sparse::SparseRead,
    },
};

const TIB: u64 = 1 << 40;

/// Goes over holes as the repository does, and keeps the lengths of files alone.
#[derive(Default)]
struct Skipping {
    memory: Memory,
    lengths: Mutex<Vec<(PathBuf, u64)>>,
}

fn length(reader: &mut dyn SparseRead) -> io::Result<u64> {
    let mut length = 0;
    loop {
        let hole = reader.hole()?;
        if hole > 0 {
            reader.skip(hole)?;
        }
        let n = if hole > 0 { hole } else { reader.read(&mut [0; 1000])? as u64 };
        if n == 0 {
            return Ok(length);
        }
        length += n;
    }
}

impl Sink for Skipping {
    fn store(&self, path: &str, reader: &mut dyn Read) -> Result<Stored> {
        self.memory.store(path, reader)
    }

    fn put_marked(
        &self,
        path: &Path,
        _: &Attributes,
        reader: &mut dyn SparseRead,
        _: &dyn Fn() -> Option<Mark>,
    ) -> Result<Stored> {
        let bytes = length(reader).map_err(|error| Error::from_io("cannot read the stream", error))?;
        self.lengths.lock().push((path.to_owned(), bytes));
        Ok(Stored { bytes, ..Stored::default() })
    }
}

#[test]
fn a_file_of_more_than_8_tib_or_with_more_holes_than_4_is_left_out_and_named() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("short"), "x").unwrap();
    for (name, length) in [("hollow", 8 * TIB), ("longest", 4 * TIB), ("too long", 8 * TIB + 1)] {
        File::create(dir.path().join(name)).unwrap().set_len(length).unwrap();
    }
    let sink = Skipping::default();
    let manifest = dump(&source(dir.path(), &[]), &sink).unwrap();
    let mut lengths = sink.lengths.into_inner();
    lengths.sort_unstable();
    assert_eq!(lengths, [(PathBuf::from("files/longest"), 4 * TIB), (PathBuf::from("files/short"), 1)]);
    let named: Vec<_> = manifest.omitted.iter().map(|o| (o.name.as_str(), o.reason.as_str())).collect();
    assert_eq!(
        named,
        [
            ("hollow", "its holes and those of the files read before it exceed 4 TiB in total"),
            ("too long", "it is 8.0 TiB long, more than the maximum of 8 TiB"),
        ]
    );
}

#[test]
fn the_holes_of_many_files_are_no_longer_together_than_those_of_one_may_be() {
    let dir = tempfile::tempdir().unwrap();
    for number in 0..8 {
        File::create(dir.path().join(number.to_string())).unwrap().set_len(3 * TIB / 2).unwrap();
    }
    let sink = Skipping::default();
    let manifest = dump(&source(dir.path(), &[]), &sink).unwrap();
    assert_eq!((sink.lengths.into_inner().len(), manifest.omitted.len()), (2, 6));
    assert!(manifest.omitted.iter().all(|omitted| omitted.reason.contains("4 TiB in total")));
}
