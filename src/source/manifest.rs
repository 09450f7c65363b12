//! `manifest.json`, the last file of every snapshot: what was dumped, with which tools, how consistent it is, and its
//! content. Later versions of the program must read it, so fields are only ever added.

mod detail;

use std::collections::HashSet;

use jiff::Zoned;
use serde::{Deserialize, Serialize};

pub use self::detail::Detail;
use self::detail::Own;
pub(super) use self::detail::read as read_detail;
use super::MANIFEST;
use crate::{
    error::{Error, Result},
    stream::{digest::Digest128, files::Files},
};

/// Version of the manifest's layout.
const FORMAT: u32 = 1;

/// The content of one snapshot.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Manifest {
    /// Version of the layout.
    pub format: u32,
    /// Program and version that made the snapshot.
    pub program: String,
    /// Source name.
    pub source: String,
    /// Item name.
    pub item: String,
    /// Kind of the source.
    pub kind: String,
    /// When the dump began: the data is from this moment or later.
    pub started: Zoned,
    /// When the last byte was read.
    pub ended: Zoned,
    /// How consistent the data is.
    pub consistency: Consistency,
    /// Notes for the operator, in sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Parts of the source that are missing from the snapshot, in sentences; they are also in the notes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    /// Unreadable objects, which are missing from the snapshot. A snapshot with any of them is *partial*: complete except
    /// for these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub omitted: Vec<Omitted>,
    /// Tables and views that a rule of the configuration leaves out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded: Vec<String>,
    /// Dump tools and their versions.
    pub tools: Vec<Tool>,
    /// Version of the server.
    pub server_version: String,
    /// The other files of the snapshot.
    pub files: Vec<File>,
    /// Were the contents digested? If not, why.
    pub digested: Digested,
    /// Tables, collections, … with the digest of their content.
    #[serde(default)]
    pub objects: Vec<Object>,
    /// The part specific to its kind, under the key of the kind.
    #[serde(flatten, skip_deserializing)]
    own: Own,
}

/// An unreadable object, which is missing from the snapshot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Omitted {
    /// `table`, `view`, `blob`, `file`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// Its name within the item; of a file or blob its path.
    pub name: String,
    /// Why it could not be read, in one sentence without a full stop.
    pub reason: String,
    /// The file of the snapshot that holds its definition, if the definition could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<String>,
}

/// At most this many omitted objects are named in notes; the manifest names all.
const NAMED: usize = 20;

impl Omitted {
    /// `view v (its table is gone)`
    pub fn text(&self) -> String {
        crate::output::name(&format!("{} {} ({})", self.kind, self.name, self.reason))
    }

    /// Some of them as one text, followed by the number of the others of `total`.
    pub(crate) fn listed(some: &[Self], total: u64) -> String {
        let more = total.saturating_sub(some.len() as u64);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{}{more}", some.iter().map(Self::text).collect::<Vec<_>>().join(", "))
    }

    /// Notes that name the omitted objects, at most [`NAMED`] of them.
    pub(crate) fn notes(omitted: &[Self]) -> Vec<String> {
        let note = |o: &Self| {
            crate::output::name(&format!("not in the backup: {} {}: {}", o.kind, o.name, o.reason))
        };
        let mut notes: Vec<String> = omitted.iter().take(NAMED).map(note).collect();
        let more = omitted.len().saturating_sub(NAMED);
        if more > 0 {
            notes.push(format!(
                "not in the backup: {}, which `omitted` in its manifest.json names",
                crate::output::count(more, "more object")
            ));
        }
        notes
    }
}

/// How consistent the data of a snapshot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Consistency {
    /// All of it from one moment, as if all transactions had run one after the other.
    Serializable,
    /// All of it from one moment.
    Snapshot,
    /// Not from one moment.
    None,
}

/// A dump tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// Its version, as it reports it.
    pub version: String,
}

/// A file of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Path below the item's directory.
    pub path: String,
    /// Length in bytes.
    pub bytes: u64,
}

/// Whether the dump could be parsed and digested.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Digested {
    /// All of it: every object has its row count and digest.
    Yes,
    /// Not at all, and why. The dump itself is stored all the same.
    No(String),
}

/// A table, collection, … and its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// `table`, `collection`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// Schema or other name space.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// Name.
    pub name: String,
    /// Rows or documents.
    pub rows: u64,
    /// Bytes of the rows in the dump.
    pub bytes: u64,
    /// Digest of the rows, independent of their order.
    pub digest: Digest128,
}

/// A table whose rows are in its partitions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partitioned {
    /// Schema.
    pub schema: String,
    /// Name.
    pub name: String,
    /// The tables with its rows, those of sub-partitions included.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partitions: Vec<TableName>,
}

/// A table by its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TableName {
    /// Schema.
    pub schema: String,
    /// Name.
    pub name: String,
}

impl Manifest {
    /// Removes the objects that `stored` lists as omitted from what was read back from a restored server. A restore may or
    /// may not create them from their definitions, which says nothing about the backup.
    pub(crate) fn forget_omitted(&mut self, stored: &Self) {
        if stored.omitted.is_empty() {
            return;
        }
        let names: HashSet<(String, &str)> =
            stored.omitted.iter().map(|o| (o.kind.to_lowercase(), o.name.as_str())).collect();
        let is_omitted = |kind: &str, schema: &str, name: &str| {
            let full = if schema.is_empty() { name.to_owned() } else { format!("{schema}.{name}") };
            names.contains(&(kind.to_lowercase(), full.as_str()))
        };
        self.objects.retain(|o| !is_omitted(&o.kind, o.schema.as_deref().unwrap_or_default(), &o.name));
        if let Some(detail) = self.any_detail_mut() {
            detail.forget(&is_omitted);
        }
    }

    /// A new manifest, to be filled while an item is dumped.
    pub fn begin(source: &str, item: &str, kind: &str) -> Self {
        let now = Zoned::now();
        Self {
            format: FORMAT,
            program: format!("tik-backup {}", env!("CARGO_PKG_VERSION")),
            source: source.to_owned(),
            item: item.to_owned(),
            kind: kind.to_owned(),
            started: now.clone(),
            ended: now,
            consistency: Consistency::None,
            notes: Vec::new(),
            left_out: Vec::new(),
            omitted: Vec::new(),
            excluded: Vec::new(),
            tools: Vec::new(),
            server_version: String::new(),
            files: Vec::new(),
            digested: Digested::No("not dumped yet".to_owned()),
            objects: Vec::new(),
            own: Own::default(),
        }
    }

    /// Serializes it for storage.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        let mut json = serde_json::to_vec_pretty(self)
            .map_err(|e| Error::failed("cannot write the manifest").because(&e))?;
        json.push(b'\n');
        Ok(json)
    }

    /// Reads a stored manifest.
    pub fn from_json(json: &[u8]) -> Result<Self> {
        let manifest: Self = serde_json::from_slice(json)
            .map_err(|e| Error::failed("cannot read the snapshot's manifest").because(&e))?;
        if manifest.format > FORMAT {
            return Err(Error::failed(format!(
                "the snapshot was made by {}, whose manifest (format {}) this version cannot read",
                manifest.program, manifest.format
            ))
            .hint("use a newer tik-backup, or restore with --to and the database's own tools"));
        }
        Ok(manifest)
    }

    /// Reads the manifest of a snapshot. Its source and item must match the snapshot's path: otherwise it does not describe
    /// the files beside it.
    pub fn of(files: &dyn Files, source: &str, item: &str) -> Result<Self> {
        let manifest = Self::from_json(&files.read(MANIFEST)?)?;
        if (manifest.source.as_str(), manifest.item.as_str()) == (source, item) {
            return Ok(manifest);
        }
        Err(Error::failed(format!(
            "the manifest in the snapshot of {source}/{item} is that of {}/{}",
            crate::output::name(&manifest.source),
            crate::output::name(&manifest.item)
        ))
        .hint("the manifest was put there from another snapshot: use another snapshot, and find out who can write to the repository"))
    }

    /// Total rows of all objects.
    pub fn rows(&self) -> u64 {
        self.objects.iter().map(|object| object.rows).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn omitted(kind: &str, name: &str) -> Omitted {
        Omitted {
            kind: kind.to_owned(),
            name: name.to_owned(),
            reason: "it cannot be read".to_owned(),
            definition: None,
        }
    }

    fn object(schema: Option<&str>, name: &str) -> Object {
        Object {
            kind: "table".to_owned(),
            schema: schema.map(str::to_owned),
            name: name.to_owned(),
            rows: 1,
            bytes: 1,
            digest: Digest128::ZERO,
        }
    }

    #[test]
    fn what_the_backup_lacks_is_not_looked_for_in_what_was_restored() {
        let mut stored = Manifest::begin("my", "shop", "mysql");
        stored.omitted = vec![omitted("table", "a"), omitted("TABLE", "s.b"), omitted("view", "c")];
        let mut again = Manifest::begin("my", "shop", "mysql");
        again.objects = vec![object(None, "a"), object(Some("s"), "b"), object(None, "b"), object(None, "c")];
        again.forget_omitted(&stored);
        let left: Vec<_> = again.objects.iter().map(|o| (o.schema.as_deref(), o.name.as_str())).collect();
        assert_eq!(left, [(None, "b"), (None, "c")], "of another schema or kind");
    }

    #[test]
    fn what_the_backup_lacks_is_named_a_few_of_many() {
        assert_eq!(
            Omitted::notes(&[omitted("view", "v\n")]),
            ["not in the backup: view v\\n: it cannot be read"]
        );
        let many: Vec<Omitted> = (0..50).map(|number| omitted("file", &number.to_string())).collect();
        let notes = Omitted::notes(&many);
        assert_eq!(notes.len(), NAMED + 1);
        assert!(notes[NAMED].contains("30 more objects"), "{}", notes[NAMED]);
    }

    #[test]
    fn manifests_without_the_field_are_read_and_whole_ones_do_not_have_it() {
        let manifest = Manifest::begin("my", "shop", "mysql");
        let json = serde_json::to_value(&manifest).ok();
        assert!(json.as_ref().is_some_and(|json| json.get("omitted").is_none()));
        let text = json.map(|json| json.to_string()).unwrap_or_default();
        assert!(Manifest::from_json(text.as_bytes()).is_ok_and(|manifest| manifest.omitted.is_empty()));
    }
}
