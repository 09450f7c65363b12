//! What `pg_restore` gets to read: the whole dump, or only its beginning and the data of chosen entries.
//!
//! `pg_restore` reads a dump in custom format from a pipe from its beginning to the last entry that it restores, and skips the
//! data of other entries. Header, table of contents and the data of the wanted entries are enough for it.

use std::{
    collections::{BTreeSet, HashMap},
    io::{self, Write},
    ops::Range,
};

use crate::{
    error::{Error, Result},
    source::{
        manifest::Manifest,
        postgres::{
            DUMP, Detail,
            archive::{ArchiveReader, Block},
        },
    },
    stream::{cancel::Cancel, files::Files},
};

/// The largest beginning of a dump that is kept in memory, in bytes. That of 100,000 tables has about 100 MB.
const HEAD: u64 = 256 << 20;

/// The dump of a database.
pub(super) struct Feed<'a> {
    files: &'a dyn Files,
    bytes: u64,
    parts: Option<Parts>,
}

/// The parts of a dump.
struct Parts {
    /// Header and table of contents.
    head: Vec<u8>,
    /// The data of each entry, in the order of the dump.
    blocks: Vec<Block>,
    /// The place of each entry's block in this list.
    places: HashMap<i32, usize>,
}

impl<'a> Feed<'a> {
    /// The dump of this manifest, in parts if the manifest says where they are.
    ///
    /// # Errors
    /// Its beginning cannot be read.
    pub(super) fn new(files: &'a dyn Files, manifest: &Manifest, detail: &Detail) -> Result<Self> {
        let bytes = manifest.files.iter().filter(|file| file.path == DUMP).map(|file| file.bytes).sum();
        let mut feed = Self { files, bytes, parts: None };
        feed.set_blocks(&detail.blocks)?;
        Ok(feed)
    }

    /// Whether the data of entries can be read separately.
    pub(super) fn is_divided(&self) -> bool {
        self.parts.is_some()
    }

    /// Reads the dump to find its parts, if they are not known: earlier versions did not record them.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn divide(&mut self, cancel: &Cancel) -> Result<()> {
        if self.is_divided() {
            return Ok(());
        }
        let mut scan = Scan { archive: ArchiveReader::of_positions(), cancel };
        let copied = self.files.copy(DUMP, &mut scan);
        cancel.check()?;
        if scan.archive.has_failed() {
            return Ok(());
        }
        copied?;
        let summary = scan.archive.finish();
        if summary.complete { self.set_blocks(&summary.blocks) } else { Ok(()) }
    }

    /// Uses these blocks, unless they cannot be those of the dump.
    fn set_blocks(&mut self, blocks: &[Block]) -> Result<()> {
        let ordered = blocks.iter().all(|block| block.start < block.end)
            && blocks.windows(2).all(|pair| pair[0].end <= pair[1].start);
        let (Some(first), Some(last)) = (blocks.first(), blocks.last()) else { return Ok(()) };
        if !ordered || last.end > self.bytes || first.start > HEAD {
            return Ok(());
        }
        let mut head = Vec::new();
        self.files.copy_range(DUMP, 0..first.start, &mut head)?;
        // They begin where the table of contents ends, and are those that it names.
        let mut archive = ArchiveReader::of_positions();
        archive.feed(&head);
        let entries: BTreeSet<i32> = blocks.iter().map(|block| block.entry).collect();
        if entries.len() != blocks.len() || archive.awaited() != Some(entries) {
            return Ok(());
        }
        let places = blocks.iter().enumerate().map(|(place, block)| (block.entry, place)).collect();
        self.parts = Some(Parts { head, blocks: blocks.to_vec(), places });
        Ok(())
    }

    /// Bytes of the whole dump.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Header and table of contents, if the dump is divided.
    pub(super) fn head(&self) -> Option<&[u8]> {
        self.parts.as_ref().map(|parts| parts.head.as_slice())
    }

    /// The data of an entry; `None` if it has none, or the dump is not divided.
    pub(super) fn block(&self, entry: i32) -> Option<Range<u64>> {
        let parts = self.parts.as_ref()?;
        let block = parts.blocks.get(*parts.places.get(&entry)?)?;
        Some(block.start..block.end)
    }

    /// The blocks of these entries in the order of the dump.
    fn blocks(&self, entries: &[i32]) -> Vec<Range<u64>> {
        let mut blocks: Vec<Range<u64>> = entries.iter().filter_map(|entry| self.block(*entry)).collect();
        blocks.sort_unstable_by_key(|block| block.start);
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for block in blocks {
            match ranges.last_mut() {
                Some(last) if last.end == block.start => last.end = block.end,
                _ => ranges.push(block),
            }
        }
        ranges
    }

    /// Writes what is needed to restore these entries, or all: if the dump is not divided, all of it. `head` replaces the
    /// beginning.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub(super) fn copy(
        &self,
        entries: Option<&[i32]>,
        head: Option<&[u8]>,
        target: &mut dyn Write,
    ) -> Result<()> {
        let Some(parts) = &self.parts else {
            return self.files.copy(DUMP, target).map(drop);
        };
        target
            .write_all(head.unwrap_or(&parts.head))
            .map_err(|error| Error::from_io(format!("cannot write {DUMP}"), error))?;
        let Some(entries) = entries else {
            return self.files.copy_range(DUMP, parts.head.len() as u64..self.bytes, target);
        };
        for range in self.blocks(entries) {
            self.files.copy_range(DUMP, range, target)?;
        }
        Ok(())
    }
}

/// Finds the parts of a dump that is written to it.
struct Scan<'a> {
    archive: ArchiveReader,
    cancel: &'a Cancel,
}

impl Write for Scan<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.archive.has_failed() || self.cancel.is_cancelled() {
            return Err(io::Error::other("the rest is not read"));
        }
        self.archive.feed(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use parking_lot::Mutex;

    use super::*;
    use crate::source::manifest::File;

    const PG18: &[u8] = include_bytes!("../../../../tests/fixtures/pg18-sample.dump");

    /// A dump, and which parts of it were read.
    #[derive(Default)]
    struct Dump(Mutex<Vec<Range<u64>>>);

    impl Files for Dump {
        fn list(&self) -> Result<Vec<(String, u64)>> {
            Ok(vec![(DUMP.to_owned(), PG18.len() as u64)])
        }

        fn read(&self, _path: &str) -> Result<Vec<u8>> {
            Ok(PG18.to_vec())
        }

        fn copy(&self, path: &str, target: &mut dyn Write) -> Result<u64> {
            self.copy_range(path, 0..PG18.len() as u64, target)?;
            Ok(PG18.len() as u64)
        }

        fn copy_range(&self, _path: &str, range: Range<u64>, target: &mut dyn Write) -> Result<()> {
            let part = &PG18[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()];
            self.0.lock().push(range);
            target.write_all(part).map_err(|error| Error::from_io("cannot write", error))
        }
    }

    fn manifest() -> Manifest {
        let mut manifest = Manifest::begin("pg", "shop", "postgres");
        manifest.files.push(File { path: DUMP.to_owned(), bytes: PG18.len() as u64 });
        manifest
    }

    fn read(archive: &[u8]) -> crate::source::postgres::archive::ArchiveSummary {
        let mut reader = ArchiveReader::new();
        reader.feed(archive);
        reader.finish()
    }

    #[test]
    fn only_the_beginning_and_the_data_of_the_wanted_entries_are_read() {
        let whole = read(PG18);
        let detail = Detail { blocks: whole.blocks.clone(), ..Detail::default() };
        let dump = Dump::default();
        let feed = Feed::new(&dump, &manifest(), &detail).unwrap();
        let chosen: Vec<Block> = whole.blocks.iter().step_by(3).copied().collect();
        let ids: Vec<i32> = chosen.iter().map(|block| block.entry).collect();
        let mut copied = Vec::new();
        feed.copy(Some(&ids), None, &mut copied).unwrap();
        let bytes: u64 = chosen.iter().map(|block| block.end - block.start).sum();
        let head = whole.blocks[0].start;
        assert_eq!(copied.len() as u64, head + bytes);
        assert_eq!(dump.0.lock().iter().map(|range| range.end - range.start).sum::<u64>(), head + bytes);
        // The blocks are whole: all that is read of this archive is what the whole one has of these tables.
        let part = read(&copied);
        assert_eq!(part.toc, whole.toc);
        assert!(!part.tables.is_empty() && part.tables.iter().all(|table| whole.tables.contains(table)));
        let mut all = Vec::new();
        feed.copy(None, None, &mut all).unwrap();
        assert_eq!(all, PG18);
    }

    #[test]
    fn the_parts_of_an_older_dump_are_found() {
        let dump = Dump::default();
        let mut feed = Feed::new(&dump, &manifest(), &Detail::default()).unwrap();
        assert!(!feed.is_divided());
        feed.divide(&Cancel::new()).unwrap();
        for block in read(PG18).blocks {
            assert_eq!(feed.block(block.entry), Some(block.start..block.end));
        }
    }

    #[test]
    fn positions_that_cannot_be_right_are_not_used() {
        let blocks = read(PG18).blocks;
        let mut overlapping = blocks.clone();
        overlapping[1].start -= 1;
        let mut beyond = blocks.clone();
        beyond.last_mut().unwrap().end = PG18.len() as u64 + 1;
        let backwards = blocks.iter().rev().copied().collect();
        let lacking = blocks[..blocks.len() - 1].to_vec();
        let mut late = blocks.clone();
        late[0].start += 1;
        let mut other = blocks.clone();
        other[0].entry = i32::MAX;
        for blocks in [overlapping, beyond, backwards, lacking, late, other] {
            let detail = Detail { blocks, ..Detail::default() };
            let (dump, mut copied) = (Dump::default(), Vec::new());
            let feed = Feed::new(&dump, &manifest(), &detail).unwrap();
            assert!(!feed.is_divided());
            feed.copy(Some(&[1]), None, &mut copied).unwrap();
            assert_eq!(copied, PG18);
        }
    }
}
