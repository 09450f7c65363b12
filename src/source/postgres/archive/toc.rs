//! The table of contents: one entry for each object, with the SQL that creates it.

use std::{fmt, mem};

use serde::Serialize;

use super::{
    header::Header,
    wire::{Cursor, Stop},
};

/// A limit on the dependencies of one entry, which no real object reaches.
const MAX_DEPENDENCIES: usize = 1_000_000;
/// The offset of the data is not known: `pg_dump` wrote to a pipe.
const OFFSET_NOT_SET: u8 = 1;
/// The offset of the data is given.
const OFFSET_SET: u8 = 2;
/// The entry has no data.
const OFFSET_NO_DATA: u8 = 3;

/// When an entry is restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Section {
    /// With the object it belongs to (comments, grants).
    None,
    /// Before the data.
    PreData,
    /// The data itself.
    Data,
    /// After the data: indexes, constraints, triggers.
    PostData,
}

/// One entry of the table of contents.
///
/// `defn` and `drop_stmt` are neither serialized nor shown by `Debug`: the SQL of a subscription or a user mapping
/// carries a password.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct TocEntry {
    /// Number of the entry in this archive.
    pub dump_id: i32,
    /// Whether a data block belongs to the entry.
    pub had_dumper: bool,
    /// OID of the object's catalog.
    pub table_oid: u32,
    /// OID of the object.
    pub oid: u32,
    /// The object's name, for some kinds after the name of its table.
    pub tag: String,
    /// The kind of entry: `TABLE`, `TABLE DATA`, `INDEX`, …
    pub desc: String,
    /// When it is restored.
    pub section: Section,
    /// The SQL that creates it; may be empty.
    #[serde(skip)]
    pub defn: String,
    /// The SQL that drops it; may be empty.
    #[serde(skip)]
    pub drop_stmt: String,
    /// The `COPY … FROM stdin` statement of a `TABLE DATA` entry, unless dumped as `INSERT`s.
    pub copy_stmt: Option<String>,
    /// The schema it is in.
    pub namespace: Option<String>,
    /// Its tablespace; empty is the default.
    pub tablespace: Option<String>,
    /// Its table access method.
    pub table_am: Option<String>,
    /// `pg_class.relkind` of tables (archives since 1.16).
    pub relkind: Option<char>,
    /// The owning role.
    pub owner: Option<String>,
    /// Dump ids of the entries it depends on.
    pub dependencies: Vec<i32>,
}

impl fmt::Debug for TocEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TocEntry")
            .field("dump_id", &self.dump_id)
            .field("desc", &self.desc)
            .field("namespace", &self.namespace)
            .field("tag", &self.tag)
            .field("owner", &self.owner)
            .field("had_dumper", &self.had_dumper)
            .field("dependencies", &self.dependencies)
            .finish_non_exhaustive()
    }
}

impl TocEntry {
    /// Reads one entry, and whether the archive must have a data block for it.
    pub(super) fn parse(cursor: &mut Cursor<'_>, header: &Header) -> Result<(Self, bool), Stop> {
        let dump_id = cursor.int()?;
        if dump_id <= 0 {
            return Err(Stop::Bad(format!("an entry of the table of contents has the number {dump_id}")));
        }
        let minor = header.format.1;
        let had_dumper = cursor.int()? != 0;
        let mut entry = Self {
            dump_id,
            had_dumper,
            table_oid: cursor.decimal()?.unwrap_or_default(),
            oid: cursor.decimal()?.unwrap_or_default(),
            tag: cursor.text()?,
            desc: cursor.text()?,
            section: section(cursor.int()?)?,
            defn: cursor.text()?,
            drop_stmt: cursor.text()?,
            copy_stmt: cursor.optional_text()?.filter(|statement| !statement.is_empty()),
            namespace: cursor.optional_text()?.filter(|name| !name.is_empty()),
            tablespace: cursor.optional_text()?,
            table_am: if minor >= 14 { cursor.optional_text()? } else { None },
            relkind: if minor >= 16 { relkind(cursor.int()?) } else { None },
            owner: cursor.optional_text()?,
            dependencies: Vec::new(),
        };
        // Whether the table has OIDs in its rows: "true" only in archives of very old servers.
        cursor.optional()?;
        while let Some(dependency) = cursor.decimal()? {
            if entry.dependencies.len() == MAX_DEPENDENCIES {
                return Err(Stop::Bad(format!(
                    "entry {dump_id} has more than {MAX_DEPENDENCIES} dependencies"
                )));
            }
            entry.dependencies.push(dependency);
        }
        let offset = cursor.byte()?;
        cursor.take(header.off_size)?;
        match offset {
            OFFSET_NOT_SET | OFFSET_SET => Ok((entry, had_dumper)),
            OFFSET_NO_DATA => Ok((entry, false)),
            other => Err(Stop::Bad(format!("entry {dump_id} has an offset of unknown kind {other}"))),
        }
    }

    /// Approximate memory of the entry beyond the text read from the archive.
    pub(super) const fn overhead() -> usize {
        mem::size_of::<Self>()
    }

    /// Whether the entry is in this schema and has this name.
    pub(super) fn is_named(&self, schema: &str, name: &str) -> bool {
        self.namespace.as_deref().unwrap_or_default() == schema && self.tag == name
    }
}

fn section(number: i32) -> Result<Section, Stop> {
    match number {
        1 => Ok(Section::None),
        2 => Ok(Section::PreData),
        3 => Ok(Section::Data),
        4 => Ok(Section::PostData),
        other => Err(Stop::Bad(format!("the table of contents names a section {other}"))),
    }
}

fn relkind(code: i32) -> Option<char> {
    u8::try_from(code).ok().filter(|code| *code != 0).map(char::from)
}
