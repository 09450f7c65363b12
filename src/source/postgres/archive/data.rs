//! The part of an archive after the table of contents: data blocks, each in chunks.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::{
    routed::routes,
    rows::CopyRows,
    toc::TocEntry,
    wire::{MAX_INT_SIZE, decode_int},
};
use crate::stream::digest::{Digest128, PieceHasher, RowDigest};

/// Where the data of an entry is in the archive, including the head of the block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// The number of the entry ([`TocEntry::dump_id`]).
    pub entry: i32,
    /// Position of the first byte.
    pub start: u64,
    /// Position after the last byte.
    pub end: u64,
}

const BLOCK_DATA: u8 = 1;
const BLOCK_LARGE_OBJECTS: u8 = 3;

/// The large objects of an archive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct LargeObjects {
    /// How many there are.
    pub count: u64,
    /// The bytes of all their contents.
    pub bytes: u64,
    /// Sum of the hashes of each one's OID (4 bytes, little-endian) followed by its content.
    pub digest: Digest128,
}

/// The state of the parser between two bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// All data was read. Further bytes are ignored: some versions of `pg_dump` append a second table of contents when their
    /// output is a file.
    End,
    BlockType,
    BlockId(u8),
    ObjectId,
    ChunkLength,
    Chunk(usize),
}

/// How the chunks of the current block are treated.
#[derive(Debug)]
enum Sink {
    Skip,
    Rows(CopyRows),
    LargeObject(PieceHasher),
}

/// One entry that has a data block.
#[derive(Debug)]
struct Expected {
    is_table: bool,
    copy_stmt: Option<String>,
    by_column: bool,
    seen: bool,
    digest: Option<RowDigest>,
}

/// Reads the data blocks and digests them.
#[derive(Debug)]
pub(super) struct DataReader {
    at: At,
    int_size: usize,
    digesting: bool,
    // The bytes of an integer that was split between two feeds.
    partial: [u8; MAX_INT_SIZE + 1],
    partial_len: usize,
    in_large_objects: bool,
    sink: Sink,
    block_id: i32,
    expected: HashMap<i32, Expected>,
    // How many of the expected blocks have not ended yet.
    missing: usize,
    large_objects: LargeObjects,
    inserts: bool,
    trailing: u64,
    // The position in the archive behind the bytes of the current feed.
    position: u64,
    block_start: u64,
    blocks: Vec<Block>,
}

impl DataReader {
    /// A reader for the data of these entries, which begins at this position of the archive; `with_data` says which of them
    /// have data.
    pub(super) fn new(
        toc: &[TocEntry],
        with_data: &[bool],
        position: u64,
        int_size: usize,
        digesting: bool,
    ) -> Self {
        let inheriting: HashSet<i32> = toc
            .iter()
            .filter(|e| e.desc == "TABLE" && e.defn.contains("\nINHERITS ("))
            .map(|e| e.dump_id)
            .collect();
        let moving: HashSet<i32> =
            routes(toc).into_iter().filter(|routed| routed.by_column).map(|routed| routed.dump_id).collect();
        let expect = |entry: &TocEntry| Expected {
            is_table: entry.desc == "TABLE DATA",
            copy_stmt: entry.copy_stmt.clone(),
            by_column: moving.contains(&entry.dump_id)
                || entry.dependencies.iter().any(|id| inheriting.contains(id)),
            seen: false,
            digest: None,
        };
        let expected = toc.iter().zip(with_data).filter(|(_, with_data)| **with_data);
        let expected: HashMap<i32, Expected> =
            expected.map(|(entry, _)| (entry.dump_id, expect(entry))).collect();
        Self {
            at: if expected.is_empty() { At::End } else { At::BlockType },
            int_size,
            digesting,
            partial: [0; MAX_INT_SIZE + 1],
            partial_len: 0,
            in_large_objects: false,
            sink: Sink::Skip,
            block_id: 0,
            missing: expected.len(),
            expected,
            large_objects: LargeObjects::default(),
            inserts: false,
            trailing: 0,
            position,
            block_start: position,
            blocks: Vec::new(),
        }
    }

    /// The entries that have data, if none of it was read.
    pub(super) fn awaited(&self) -> Option<BTreeSet<i32>> {
        let is_at_start =
            self.blocks.is_empty() && self.position == self.block_start && self.at == At::BlockType;
        is_at_start.then(|| self.expected.keys().copied().collect())
    }

    /// The blocks that ended, in the order of the archive.
    pub(super) fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Whether every expected block was read completely.
    pub(super) fn is_complete(&self) -> bool {
        self.at == At::End
    }

    /// Bytes that came after the last block.
    pub(super) fn trailing(&self) -> u64 {
        self.trailing
    }

    /// Whether rows came as `INSERT` statements, which are not digested.
    pub(super) fn has_inserts(&self) -> bool {
        self.inserts
    }

    /// The digest of one table's data, once its block ended.
    pub(super) fn rows_of(&self, dump_id: i32) -> Option<RowDigest> {
        self.expected.get(&dump_id)?.digest
    }

    pub(super) fn large_objects(&self) -> LargeObjects {
        self.large_objects
    }

    /// Parses the next bytes. An error says why they are not a valid archive; the reader must not be used after that.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        self.position += bytes.len() as u64;
        loop {
            match self.at {
                At::Chunk(left) => {
                    let (chunk, rest) = bytes.split_at(left.min(bytes.len()));
                    match &mut self.sink {
                        Sink::Rows(rows) => rows.push(chunk),
                        Sink::LargeObject(hasher) => hasher.push(chunk),
                        Sink::Skip => {}
                    }
                    bytes = rest;
                    if chunk.len() < left {
                        self.at = At::Chunk(left - chunk.len());
                        return Ok(());
                    }
                    self.at = At::ChunkLength;
                }
                At::ChunkLength => match self.int(&mut bytes)? {
                    None => return Ok(()),
                    Some(0) => self.end_of_chunks(bytes.len())?,
                    Some(length) => {
                        let length =
                            usize::try_from(length).map_err(|_| "a data chunk of negative length")?;
                        self.at = At::Chunk(length);
                    }
                },
                At::ObjectId => match self.int(&mut bytes)? {
                    None => return Ok(()),
                    Some(0) => self.end_of_block(None, bytes.len()),
                    Some(oid) => self.start_large_object(oid),
                },
                At::End => {
                    self.trailing += bytes.len() as u64;
                    return Ok(());
                }
                At::BlockType => match bytes.split_first() {
                    None => return Ok(()),
                    Some((kind @ (&BLOCK_DATA | &BLOCK_LARGE_OBJECTS), rest)) => {
                        self.block_start = self.position - bytes.len() as u64;
                        self.at = At::BlockId(*kind);
                        bytes = rest;
                    }
                    Some((kind, _)) => return Err(format!("a data block of unknown kind {kind}")),
                },
                At::BlockId(kind) => match self.int(&mut bytes)? {
                    None => return Ok(()),
                    Some(id) => self.start_block(kind, id)?,
                },
            }
        }
    }

    /// Reads an integer, or keeps its first bytes for the next feed.
    #[inline]
    fn int(&mut self, bytes: &mut &[u8]) -> Result<Option<i32>, String> {
        let width = 1 + self.int_size;
        let value = if self.partial_len == 0 && bytes.len() >= width {
            let (int, rest) = bytes.split_at(width);
            *bytes = rest;
            decode_int(int)
        } else {
            let (more, rest) = bytes.split_at(bytes.len().min(width - self.partial_len));
            for byte in more {
                self.partial[self.partial_len] = *byte;
                self.partial_len += 1;
            }
            *bytes = rest;
            if self.partial_len < width {
                return Ok(None);
            }
            self.partial_len = 0;
            decode_int(&self.partial[..width])
        };
        value.map(Some).ok_or_else(|| "an integer between the data is out of range".into())
    }

    fn start_block(&mut self, kind: u8, id: i32) -> Result<(), String> {
        let entry =
            self.expected.get_mut(&id).ok_or_else(|| format!("a data block for an unknown entry {id}"))?;
        if entry.seen {
            return Err(format!("a second data block for entry {id}"));
        }
        self.block_id = id;
        self.in_large_objects = kind == BLOCK_LARGE_OBJECTS;
        self.at = if self.in_large_objects { At::ObjectId } else { At::ChunkLength };
        let is_table = entry.is_table && !self.in_large_objects;
        self.sink = match &entry.copy_stmt {
            Some(copy_stmt) if is_table && self.digesting => {
                Sink::Rows(if entry.by_column { CopyRows::by_column(copy_stmt) } else { CopyRows::new() })
            }
            _ => Sink::Skip,
        };
        self.inserts |= is_table && entry.copy_stmt.is_none();
        Ok(())
    }

    fn start_large_object(&mut self, oid: i32) {
        if self.digesting {
            let mut hasher = PieceHasher::new();
            hasher.push(&oid.to_le_bytes());
            self.sink = Sink::LargeObject(hasher);
        }
        self.at = At::ChunkLength;
    }

    /// `left` bytes of the feed have not been parsed.
    fn end_of_chunks(&mut self, left: usize) -> Result<(), String> {
        match std::mem::replace(&mut self.sink, Sink::Skip) {
            Sink::LargeObject(mut hasher) => {
                self.large_objects.count += 1;
                self.large_objects.bytes += hasher.len().saturating_sub(4);
                self.large_objects.digest += hasher.finish(b"");
                self.at = At::ObjectId;
            }
            Sink::Rows(rows) => {
                let digest = rows.finish();
                self.end_of_block(digest, left);
                if digest.is_none() {
                    return Err(format!("the rows of entry {} end without an end marker", self.block_id));
                }
            }
            Sink::Skip if self.in_large_objects => self.at = At::ObjectId,
            Sink::Skip => self.end_of_block(None, left),
        }
        Ok(())
    }

    fn end_of_block(&mut self, digest: Option<RowDigest>, left: usize) {
        let end = self.position - left as u64;
        self.blocks.push(Block { entry: self.block_id, start: self.block_start, end });
        if let Some(entry) = self.expected.get_mut(&self.block_id) {
            entry.seen = true;
            entry.digest = digest;
        }
        self.missing = self.missing.saturating_sub(1);
        self.at = if self.missing == 0 { At::End } else { At::BlockType };
    }
}
