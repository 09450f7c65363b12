//! Existing objects of the target database: extensions that an administrator created beforehand, and their members.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::{
    error::Result,
    source::postgres::{archive::TocEntry, psql::Psql},
};

/// The existing objects; empty for a database that does not exist yet.
#[derive(Debug, Default)]
pub(super) struct Present {
    /// Installed extensions and their versions.
    pub(super) extensions: BTreeMap<String, String>,
    /// Schemas, and whether this account may act as their owner.
    schemas: BTreeMap<String, bool>,
    /// Tables and sequences of extensions, and whether this account may write to them.
    of_extensions: BTreeMap<(String, String), bool>,
}

#[derive(Deserialize)]
struct Installed {
    name: String,
    version: String,
}

#[derive(Deserialize)]
struct Schema {
    name: String,
    owned: bool,
}

#[derive(Deserialize)]
struct Member {
    schema: String,
    name: String,
    writable: bool,
}

const EXTENSIONS: &str = "SELECT extname AS name, extversion AS version FROM pg_catalog.pg_extension";

const SCHEMAS: &str = "SELECT nspname AS name, pg_catalog.pg_has_role(nspowner, 'USAGE') AS owned \
     FROM pg_catalog.pg_namespace WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'public')";

/// Setting a sequence needs another privilege than inserting rows.
const MEMBERS: &str = "SELECT n.nspname AS schema, c.relname AS name, \
        CASE WHEN c.relkind = 'S' THEN pg_catalog.has_sequence_privilege(c.oid, 'UPDATE') \
             ELSE pg_catalog.has_table_privilege(c.oid, 'INSERT') END \
        AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') AS writable \
     FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_class c ON c.oid = d.objid \
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     WHERE d.deptype = 'e' AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass \
       AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND c.relkind IN ('r', 'p', 'S')";

impl Present {
    /// Queries the database.
    pub(super) fn ask(session: &mut Psql) -> Result<Self> {
        let extensions = session.query::<Installed>(EXTENSIONS)?;
        let schemas = session.query::<Schema>(SCHEMAS)?;
        let members = session.query::<Member>(MEMBERS)?;
        Ok(Self {
            extensions: extensions.into_iter().map(|row| (row.name, row.version)).collect(),
            schemas: schemas.into_iter().map(|row| (row.name, row.owned)).collect(),
            of_extensions: members.into_iter().map(|row| ((row.schema, row.name), row.writable)).collect(),
        })
    }

    /// Whether the entry contains rows or the sequence value of a member of an installed extension.
    pub(super) fn is_content_of_extension(&self, entry: &TocEntry) -> bool {
        self.member(entry).is_some()
    }

    /// The same, if this account may not write to the member.
    pub(super) fn is_closed(&self, entry: &TocEntry) -> bool {
        self.member(entry) == Some(false)
    }

    fn member(&self, entry: &TocEntry) -> Option<bool> {
        if !matches!(entry.desc.as_str(), "TABLE DATA" | "SEQUENCE SET") {
            return None;
        }
        let name = (entry.namespace.clone().unwrap_or_default(), entry.tag.clone());
        self.of_extensions.get(&name).copied()
    }

    /// The entries that need not be restored because their object exists, and notes about them.
    pub(super) fn has_already(&self, entries: &[TocEntry]) -> (BTreeSet<i32>, Vec<String>) {
        let mut there = BTreeSet::new();
        let (mut extensions, mut schemas, mut foreign) = (Vec::new(), Vec::new(), Vec::new());
        for entry in entries {
            match entry.desc.as_str() {
                "EXTENSION" if self.extensions.contains_key(&entry.tag) => {
                    there.insert(entry.dump_id);
                    extensions.push(entry.tag.as_str());
                }
                // An empty schema that contains an extension.
                "SCHEMA" if self.schemas.contains_key(&entry.tag) => {
                    there.insert(entry.dump_id);
                    schemas.push(entry.tag.as_str());
                }
                "COMMENT" | "ACL" => {
                    let schema = entry.tag.strip_prefix("SCHEMA ");
                    if schema.is_some_and(|name| self.schemas.get(name) == Some(&false)) {
                        there.insert(entry.dump_id);
                        foreign.push(entry.tag.as_str());
                    }
                }
                _ => {}
            }
        }
        let mut notes = Vec::new();
        if !extensions.is_empty() {
            notes.push(format!(
                "extensions that the database has already stay as they are: {}",
                extensions.join(", ")
            ));
        }
        if !schemas.is_empty() {
            notes.push(format!(
                "schemas that the database has already stay as they are: {}",
                schemas.join(", ")
            ));
        }
        if !foreign.is_empty() {
            notes.push(format!(
                "comments and grants on what belongs to another role were left out: {}",
                foreign.join(", ")
            ));
        }
        (there, notes)
    }
}
