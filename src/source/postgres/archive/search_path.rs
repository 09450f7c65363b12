//! Replaces the search path in an archive that is streamed to `pg_restore`.
//!
//! `pg_dump` writes an entry that empties the search path, and `pg_restore` runs it. No option of `pg_restore`
//! overrides that.

use std::io::{self, Write};

use super::{
    header::Header,
    toc::TocEntry,
    wire::{Cursor, Stop, counted},
};

/// A writer that replaces only the statement that sets the search path. Data that is not an archive passes unchanged.
#[derive(Debug)]
pub struct WithSearchPath<W> {
    out: W,
    /// The replacement.
    statement: String,
    header: Option<Header>,
    /// Number of remaining entries of the table of contents, once known.
    left: Option<u32>,
    // The incomplete part, and the length that it must have before the next attempt to parse it.
    buffer: Vec<u8>,
    needed: usize,
    /// The replacement is done; the rest passes unchanged.
    done: bool,
}

impl<W: Write> WithSearchPath<W> {
    /// `statement` replaces the one that sets the search path.
    pub fn new(out: W, statement: String) -> Self {
        Self { out, statement, header: None, left: None, buffer: Vec::new(), needed: 0, done: false }
    }

    /// Writes the buffered data, so that a truncated archive is not shortened further.
    pub fn finish(mut self) -> io::Result<()> {
        let rest = std::mem::take(&mut self.buffer);
        self.out.write_all(&rest)?;
        self.out.flush()
    }

    /// Writes complete parts.
    fn pass_on(&mut self) -> io::Result<()> {
        if self.buffer.len() < self.needed {
            return Ok(());
        }
        let buffer = std::mem::take(&mut self.buffer);
        let mut used = 0;
        while !self.done {
            let rest = buffer.get(used..).unwrap_or_default();
            match self.take_part(rest) {
                Ok((len, replaced)) => {
                    let part = rest.get(..len).unwrap_or_default();
                    self.out.write_all(replaced.as_deref().unwrap_or(part))?;
                    used += len;
                }
                Err(Stop::More(needed)) => {
                    self.needed = needed;
                    break;
                }
                Err(Stop::Bad(_) | Stop::Unknown(_)) => self.done = true,
            }
        }
        let rest = buffer.get(used..).unwrap_or_default();
        if self.done {
            return self.out.write_all(rest);
        }
        self.buffer = rest.to_vec();
        Ok(())
    }

    /// The length of the header, entry count or entry at the start, and what to write in its place.
    fn take_part(&mut self, bytes: &[u8]) -> Result<(usize, Option<Vec<u8>>), Stop> {
        let Some(header) = &self.header else {
            let mut cursor = Cursor::new(bytes, 1);
            self.header = Some(Header::parse(&mut cursor)?);
            return Ok((cursor.pos(), None));
        };
        let mut cursor = Cursor::new(bytes, header.int_size);
        let Some(left) = self.left else {
            let count = u32::try_from(cursor.int()?).unwrap_or_default();
            self.left = Some(count);
            self.done = count == 0;
            return Ok((cursor.pos(), None));
        };
        let (entry, _) = TocEntry::parse(&mut cursor, header)?;
        self.left = Some(left.saturating_sub(1));
        self.done = left <= 1;
        if entry.desc != "SEARCHPATH" {
            return Ok((cursor.pos(), None));
        }
        self.done = true;
        let part = bytes.get(..cursor.pos()).unwrap_or_default();
        let before = counted(&entry.defn, header.int_size);
        let Some(at) = memchr::memmem::find(part, &before) else { return Ok((cursor.pos(), None)) };
        let mut replaced = part.get(..at).unwrap_or_default().to_vec();
        replaced.extend(counted(&self.statement, header.int_size));
        replaced.extend_from_slice(part.get(at + before.len()..).unwrap_or_default());
        Ok((cursor.pos(), Some(replaced)))
    }
}

impl<W: Write> Write for WithSearchPath<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.done {
            return self.out.write(data);
        }
        self.buffer.extend_from_slice(data);
        self.pass_on()?;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{super::ArchiveReader, *};

    const PG15: &[u8] = include_bytes!("../../../../tests/fixtures/pg15-sample.dump");
    const PG18: &[u8] = include_bytes!("../../../../tests/fixtures/pg18-sample.dump");

    fn rewritten(archive: &[u8], statement: &str, piece: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = WithSearchPath::new(&mut out, statement.to_owned());
        archive.chunks(piece).for_each(|piece| writer.write_all(piece).unwrap());
        writer.finish().unwrap();
        out
    }

    #[test]
    fn only_the_search_path_changes_however_the_archive_is_cut() {
        let statement = "SELECT pg_catalog.set_config('search_path', 'public, \"it''s\"', false);\n";
        for archive in [PG15, PG18] {
            let whole = rewritten(archive, statement, archive.len());
            assert_eq!(rewritten(archive, statement, 1), whole);
            assert_eq!(rewritten(archive, statement, 1000), whole);
            let read = |bytes: &[u8]| {
                let mut reader = ArchiveReader::new();
                reader.feed(bytes);
                reader.finish()
            };
            let (before, after) = (read(archive), read(&whole));
            assert_eq!(after.undigested, before.undigested);
            assert_eq!((after.tables, after.large_objects), (before.tables, before.large_objects));
            let mut expected = before.toc;
            let path = expected.iter_mut().find(|entry| entry.desc == "SEARCHPATH").unwrap();
            path.defn = statement.to_owned();
            assert_eq!(after.toc, expected);
        }
    }

    #[test]
    fn what_is_no_archive_or_ends_early_passes_unchanged() {
        assert_eq!(rewritten(b"-- a script", "x", 3), b"-- a script");
        assert_eq!(rewritten(&PG15[..40], "x", 7), &PG15[..40]);
        assert_eq!(rewritten(b"", "x", 7), b"");
    }
}
