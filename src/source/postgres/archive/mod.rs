//! A streaming reader for archives in PostgreSQL's custom format (`pg_dump -Fc`): their content, and digests of it.
//! The format is defined by PostgreSQL's `pg_backup_archiver.c` and `pg_backup_custom.c`.

mod data;
mod header;
mod routed;
mod rows;
mod schema;
mod search_path;
mod select;
#[cfg(test)]
mod tests;
mod toc;
mod truncate;
mod wire;

use std::collections::BTreeSet;

use serde::Serialize;

pub use data::{Block, LargeObjects};
pub use header::Compression;
pub use routed::{Routed, copy_target, routes};
pub use schema::{SchemaObject, SequenceValue, schema_digest, schema_objects};
pub use search_path::WithSearchPath;
pub use select::{LeftOut, entries_for_table, left_out_for_table};
pub use toc::{Section, TocEntry};
pub use truncate::truncating;

use self::{
    data::DataReader,
    header::Header,
    wire::{Cursor, Stop},
};
use crate::stream::digest::Digest128;

/// Memory limit for header and table of contents; real ones take a few megabytes.
const TOC_LIMIT: usize = 1 << 30;
/// The table of contents is parsed in steps of this many bytes, so that a large feed is not copied as a whole.
const TOC_STEP: usize = 64 * 1024;

/// Rows and digest of one table's data in the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableDigest {
    /// The table's schema.
    pub schema: String,
    /// The table's name.
    pub name: String,
    /// Number of rows.
    pub rows: u64,
    /// Bytes of the rows in `COPY` text format, without the newlines between them.
    pub bytes: u64,
    /// Sum of the hashes of the rows in `COPY` text format. The digest does not depend on the order of the columns
    /// for tables that inherit from another one, because a restore may change it, and for partitions that are loaded through the
    /// root and have different column orders (see [`Routed::by_column`]). That text depends on the session's `TimeZone`,
    /// `bytea_output` and `lc_monetary`, which `pg_dump` does not set: dumps to be compared need the same values.
    pub digest: Digest128,
}

/// Why an archive was not digested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Doubt {
    /// It is not an archive, damaged, or truncated: a restore cannot be relied on.
    Damaged,
    /// It seems intact, but has a version or form that this program does not support.
    Unknown,
}

/// The content of an archive.
#[derive(Debug, Clone, Serialize)]
pub struct ArchiveSummary {
    /// Version of the archive format (major, minor, revision), unless the bytes were no known archive.
    pub format: Option<(u8, u8, u8)>,
    /// Version of the server, as it reports it.
    pub server_version: String,
    /// Version of `pg_dump`.
    pub dump_version: String,
    /// The database's name.
    pub database: String,
    /// How the data is compressed.
    pub compression: Option<Compression>,
    /// The encoding of text in the archive.
    pub encoding: Option<String>,
    /// The table of contents, as far as it was read.
    pub toc: Vec<TocEntry>,
    /// One for each table with a data entry, in the order of the table of contents, also without rows. If the archive
    /// is not complete, only the tables whose data came to its end.
    pub tables: Vec<TableDigest>,
    /// Where the data of each entry is, as far as it was read.
    pub blocks: Vec<Block>,
    /// The large objects.
    pub large_objects: LargeObjects,
    /// The state of each sequence.
    pub sequences: Vec<SequenceValue>,
    /// Digest of all object definitions (see [`schema_digest`]), if the whole table of contents was read.
    pub schema_digest: Option<Digest128>,
    /// Whether the table of contents and all its data were read completely.
    pub complete: bool,
    /// Whether the archive is truncated: everything so far was valid, but more must follow.
    pub ends_early: bool,
    /// Why the data was not digested, or not completely.
    pub undigested: Option<String>,
    /// The consequence for the archive.
    pub doubt: Option<Doubt>,
    /// Bytes behind the last block of data.
    pub trailing: u64,
}

impl ArchiveSummary {
    /// The digest of every object definition, to name those that differ (see [`schema_objects`]).
    pub fn schema_objects(&self) -> Vec<SchemaObject> {
        schema_objects(&self.toc)
    }
}

#[derive(Debug)]
enum State {
    Header,
    Count,
    Toc { left: u32 },
    Data(Box<DataReader>),
}

/// Reads an archive in pieces. Invalid input is not an error: the summary reports it.
#[derive(Debug)]
pub struct ArchiveReader {
    state: State,
    // Set when the input cannot be parsed further: the rest is ignored.
    failure: Option<(Doubt, String)>,
    header: Option<Header>,
    toc: Vec<TocEntry>,
    with_data: Vec<bool>,
    // The incomplete header or entry, and the length that it must have before the next attempt to parse it.
    buffer: Vec<u8>,
    needed: usize,
    toc_memory: usize,
    toc_limit: usize,
    position: u64,
    // Only positions are of interest: nothing is digested.
    only_blocks: bool,
}

impl Default for ArchiveReader {
    fn default() -> Self {
        Self::new()
    }
}

impl ArchiveReader {
    /// A reader at the start of an archive.
    pub fn new() -> Self {
        Self::with_toc_limit(TOC_LIMIT)
    }

    /// A reader that finds blocks without digesting their content.
    pub fn of_positions() -> Self {
        Self { only_blocks: true, ..Self::new() }
    }

    fn with_toc_limit(toc_limit: usize) -> Self {
        Self {
            state: State::Header,
            failure: None,
            header: None,
            toc: Vec::new(),
            with_data: Vec::new(),
            buffer: Vec::new(),
            needed: 0,
            toc_memory: 0,
            toc_limit,
            position: 0,
            only_blocks: false,
        }
    }

    /// Parses the next bytes of the archive, in pieces of any size.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while self.failure.is_none() {
            if let State::Data(reader) = &mut self.state {
                if let Err(reason) = reader.feed(bytes) {
                    self.failure =
                        Some((Doubt::Damaged, format!("the archive's data cannot be read: {reason}")));
                }
                return;
            }
            if bytes.is_empty() {
                return;
            }
            let (step, rest) = bytes.split_at(bytes.len().min(TOC_STEP));
            bytes = rest;
            self.feed_toc(step);
        }
    }

    /// Whether the table of contents is complete, or cannot be read.
    pub fn has_toc(&self) -> bool {
        self.failure.is_some() || matches!(self.state, State::Data(_))
    }

    /// Whether it cannot be read further.
    pub fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// The entries that have data, if exactly the beginning of the archive was read: header and table of contents.
    pub fn awaited(&self) -> Option<BTreeSet<i32>> {
        match &self.state {
            State::Data(reader) if self.failure.is_none() => reader.awaited(),
            _ => None,
        }
    }

    /// Ends the archive and returns its summary.
    pub fn finish(self) -> ArchiveSummary {
        let toc_read = match &self.state {
            State::Data(reader) => Some(reader),
            _ => None,
        };
        let compressed = self.header.as_ref().map(|h| h.compression).filter(|c| *c != Compression::None);
        let complete = self.failure.is_none() && toc_read.is_some_and(|reader| reader.is_complete());
        let ends_early = self.failure.is_none() && !complete;
        let in_doubt = if let Some(failure) = self.failure {
            Some(failure)
        } else if let (Some(compression), true) = (compressed, complete) {
            Some((Doubt::Unknown, format!("the archive is compressed with {}", compression.name())))
        } else if !complete {
            Some((Doubt::Damaged, "the archive ends too early".into()))
        } else if toc_read.is_some_and(|reader| reader.has_inserts()) {
            Some((Doubt::Unknown, "rows were dumped as INSERT statements".into()))
        } else {
            None
        };
        let (doubt, undigested) = in_doubt.unzip();
        let table = |entry: &TocEntry| {
            let sum = toc_read?.rows_of(entry.dump_id)?;
            let (schema, name) = (entry.namespace.clone().unwrap_or_default(), entry.tag.clone());
            Some(TableDigest { schema, name, rows: sum.rows, bytes: sum.bytes, digest: sum.digest })
        };
        let header = self.header;
        ArchiveSummary {
            format: header.as_ref().map(|h| h.format),
            compression: header.as_ref().map(|h| h.compression),
            tables: self.toc.iter().filter_map(table).collect(),
            blocks: toc_read.map(|reader| reader.blocks().to_vec()).unwrap_or_default(),
            large_objects: toc_read.map(|reader| reader.large_objects()).unwrap_or_default(),
            schema_digest: toc_read.map(|_| schema_digest(&self.toc)),
            encoding: schema::encoding(&self.toc),
            sequences: schema::sequences(&self.toc),
            server_version: header.as_ref().map(|h| h.server_version.clone()).unwrap_or_default(),
            dump_version: header.as_ref().map(|h| h.dump_version.clone()).unwrap_or_default(),
            database: header.map(|h| h.database).unwrap_or_default(),
            toc: self.toc,
            complete,
            ends_early,
            undigested,
            doubt,
            trailing: toc_read.map(|reader| reader.trailing()).unwrap_or_default(),
        }
    }

    /// Buffers bytes of the header and the table of contents, and parses complete parts.
    fn feed_toc(&mut self, step: &[u8]) {
        self.toc_memory = self.toc_memory.saturating_add(step.len());
        self.buffer.extend_from_slice(step);
        if self.buffer.len() < self.needed {
            return self.check_memory();
        }
        let buffer = std::mem::take(&mut self.buffer);
        let mut used = 0;
        self.needed = loop {
            let rest = buffer.get(used..).unwrap_or_default();
            match self.take_part(rest) {
                Ok(len) => {
                    used += len;
                    self.position += len as u64;
                }
                Err(Stop::More(needed)) => break needed,
                Err(Stop::Bad(reason)) => {
                    let at = self.position;
                    let what = if at == 0 {
                        String::new()
                    } else {
                        format!("the part at byte {at} cannot be read: ")
                    };
                    self.failure = Some((Doubt::Damaged, format!("{what}{reason}")));
                    break 0;
                }
                Err(Stop::Unknown(reason)) => {
                    self.failure = Some((Doubt::Unknown, reason));
                    break 0;
                }
            }
            if let State::Data(reader) = &mut self.state {
                let rest = buffer.get(used..).unwrap_or_default();
                if let Err(reason) = reader.feed(rest) {
                    self.failure =
                        Some((Doubt::Damaged, format!("the archive's data cannot be read: {reason}")));
                }
                return;
            }
        };
        self.buffer = buffer;
        self.buffer.drain(..used);
        self.check_memory();
    }

    fn check_memory(&mut self) {
        if self.toc_memory > self.toc_limit {
            let limit = self.toc_limit;
            self.failure.get_or_insert_with(|| {
                (Doubt::Unknown, format!("the table of contents takes more than {limit} bytes of memory"))
            });
        }
        if self.failure.is_some() {
            self.buffer = Vec::new();
        }
    }

    /// Reads the next header, entry count or entry, and returns its length.
    fn take_part(&mut self, bytes: &[u8]) -> Result<usize, Stop> {
        let Some(header) = &self.header else {
            let mut cursor = Cursor::new(bytes, 1);
            self.header = Some(Header::parse(&mut cursor)?);
            self.state = State::Count;
            return Ok(cursor.pos());
        };
        let mut cursor = Cursor::new(bytes, header.int_size);
        let left = if let State::Toc { left } = self.state {
            let (entry, with_data) = TocEntry::parse(&mut cursor, header)?;
            self.toc_memory = self.toc_memory.saturating_add(TocEntry::overhead());
            self.toc.push(entry);
            self.with_data.push(with_data);
            left.saturating_sub(1)
        } else {
            let count = cursor.int()?;
            u32::try_from(count)
                .map_err(|_| Stop::Bad(format!("{count} entries in the table of contents")))?
        };
        self.state = if left == 0 {
            let digesting = header.compression == Compression::None && !self.only_blocks;
            let position = self.position + cursor.pos() as u64;
            let (toc, with_data) = (&self.toc, &self.with_data);
            State::Data(Box::new(DataReader::new(toc, with_data, position, header.int_size, digesting)))
        } else {
            State::Toc { left }
        };
        Ok(cursor.pos())
    }
}
