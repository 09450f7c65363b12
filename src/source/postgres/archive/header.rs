//! The archive's header: format version, widths, compression, database and versions.

use serde::Serialize;

use super::wire::{Cursor, MAX_INT_SIZE, Stop};

const MAGIC: &[u8] = b"PGDMP";
/// The number of the custom format among the archive formats.
const FORMAT_CUSTOM: u8 = 1;
/// Written by PostgreSQL 9.0 and later.
const OLDEST_MINOR: u8 = 12;
/// Written by PostgreSQL 17 and 18.
const NEWEST_MINOR: u8 = 16;

/// How the data of an archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all (`-Z0`).
    None,
    /// zlib's deflate.
    Gzip,
    /// LZ4 frames.
    Lz4,
    /// Zstandard.
    Zstd,
    /// An algorithm this program does not know, by its number.
    Unknown(u8),
}

impl Compression {
    pub(super) fn name(self) -> String {
        match self {
            Self::None => "nothing".into(),
            Self::Gzip => "gzip".into(),
            Self::Lz4 => "lz4".into(),
            Self::Zstd => "zstd".into(),
            Self::Unknown(number) => format!("an unknown algorithm (number {number})"),
        }
    }
}

/// What the header says.
#[derive(Debug, Clone)]
pub(super) struct Header {
    pub(super) format: (u8, u8, u8),
    pub(super) int_size: usize,
    pub(super) off_size: usize,
    pub(super) compression: Compression,
    pub(super) database: String,
    pub(super) server_version: String,
    pub(super) dump_version: String,
}

impl Header {
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        for expected in MAGIC {
            if cursor.byte()? != *expected {
                return Err(Stop::Bad("the bytes are not an archive in PostgreSQL's custom format".into()));
            }
        }
        let format = (cursor.byte()?, cursor.byte()?, cursor.byte()?);
        let (major, minor, _) = format;
        if major != 1 || !(OLDEST_MINOR..=NEWEST_MINOR).contains(&minor) {
            return Err(Stop::Unknown(format!(
                "the archive has format version {major}.{minor}, known are 1.{OLDEST_MINOR} to 1.{NEWEST_MINOR}"
            )));
        }
        let int_size = usize::from(cursor.byte()?);
        let off_size = usize::from(cursor.byte()?);
        if !(1..=MAX_INT_SIZE).contains(&int_size) || !(1..=MAX_INT_SIZE).contains(&off_size) {
            return Err(Stop::Bad(format!("integers of {int_size} and offsets of {off_size} bytes")));
        }
        cursor.set_int_size(int_size);
        if cursor.byte()? != FORMAT_CUSTOM {
            return Err(Stop::Bad("the archive is not in the custom format (pg_dump -Fc)".into()));
        }
        let compression = if minor >= 15 {
            match cursor.byte()? {
                0 => Compression::None,
                1 => Compression::Gzip,
                2 => Compression::Lz4,
                3 => Compression::Zstd,
                number => Compression::Unknown(number),
            }
        } else {
            // A compression level; -1 is the default level.
            if cursor.int()? == 0 { Compression::None } else { Compression::Gzip }
        };
        for _time_part in 0..7 {
            cursor.int()?;
        }
        Ok(Self {
            format,
            int_size,
            off_size,
            compression,
            database: cursor.text()?,
            server_version: cursor.text()?,
            dump_version: cursor.text()?,
        })
    }
}
