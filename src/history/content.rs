//! The content of a backup as the history stores it.

use crate::{source::manifest::Omitted, stream::digest::Digest128};

/// Content of one backup.
#[derive(Debug, Clone, Default)]
pub struct Content {
    /// The time of the data, in milliseconds since 1970.
    pub time: i64,
    /// Bytes of the content, read now or reused from the parent snapshot.
    pub bytes: u64,
    /// Rows, documents or files, if they were counted.
    pub rows: Option<u64>,
    /// Tables, collections and the like; empty if they were not counted.
    pub objects: Vec<Counted>,
    /// Equal for equal content; absent if the content was not digested.
    pub fingerprint: Option<Digest128>,
    /// Why it could not be checked, if so.
    pub unchecked: Option<String>,
    /// Unreadable objects that the backup lacks, by kind and name, each once; absent if unknown.
    pub omitted: Option<Vec<Omitted>>,
    /// Names of objects excluded by a rule.
    pub excluded: Vec<String>,
    /// Notes for the operator.
    pub notes: Vec<String>,
}

/// A table, collection, … of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// Its key.
    pub key: Key,
    /// Rows of it.
    pub rows: u64,
    /// Digest of the rows.
    pub digest: Digest128,
    /// The partitioned table that it is a part of; loss of rows and removal are judged for that table.
    pub part_of: Option<String>,
}

/// The key of an object within its item.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// `table`, `collection`, …
    pub kind: String,
    /// Schema; may be empty.
    pub schema: String,
    /// Name.
    pub name: String,
}

impl Key {
    /// `schema.name` or the name.
    pub fn name(&self) -> String {
        if self.schema.is_empty() { self.name.clone() } else { format!("{}.{}", self.schema, self.name) }
    }
}

impl Content {
    /// Whether its objects were counted, even if there are none: then earlier objects are gone.
    pub(super) fn is_counted(&self) -> bool {
        self.rows.is_some() || self.fingerprint.is_some()
    }

    /// Unreadable objects that the backup lacks, if known.
    pub fn omitted(&self) -> &[Omitted] {
        self.omitted.as_deref().unwrap_or_default()
    }

    /// Whether an object is missing from the backup because it is unreadable or excluded, and therefore not gone.
    pub(super) fn omits(&self, key: &Key) -> bool {
        let (kind, name) = (key.kind.as_str(), key.name());
        self.omitted()
            .binary_search_by(|o| (o.kind.as_str(), o.name.as_str()).cmp(&(kind, name.as_str())))
            .is_ok()
            || self.excluded.contains(&name)
    }
}

/// A name without its numbers: partitions named by date belong together.
pub(super) fn pattern(name: &str) -> String {
    let mut pattern = String::with_capacity(name.len());
    for c in name.chars() {
        let c = if c.is_ascii_digit() { '#' } else { c };
        if c != '#' || !pattern.ends_with('#') {
            pattern.push(c);
        }
    }
    pattern
}
