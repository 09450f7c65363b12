//! After a restore: comparing the rows in the database with the manifest.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::{Restore, Restored, countable, fill::set_search_path, select::Selection};
use crate::{
    error::Result,
    source::{
        manifest::Object,
        postgres::{
            archive::{TocEntry, copy_target},
            code::SqlState,
            psql::{Psql, quote_ident},
        },
        restore::{Missing, Options},
    },
};

/// Counting a large table takes long.
const COUNT_WITHIN: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

/// Schema and name.
type Name = (String, String);

#[derive(Debug, Deserialize)]
struct Count {
    rows: u64,
}

/// A table of an extension, and which of its rows belong to the user and are dumped.
#[derive(Debug, Deserialize)]
struct OfExtension {
    schema: String,
    name: String,
    extension: String,
    version: String,
    /// `WHERE …`, or empty for all.
    condition: Option<String>,
}

/// A unit of counting: a table, or all partitions of a root through which their rows were loaded.
struct Counted {
    schema: String,
    name: String,
    /// Rows that were backed up.
    rows: u64,
    /// The tables that have them now.
    tables: Vec<Name>,
}

impl Restore<'_> {
    /// Counts the rows of every restored table, and compares sequences and large objects. A difference is an error; a restore
    /// with `--continue` lists it as missing instead. Entries that `failed` are already listed.
    pub(super) fn verify(
        &self,
        selection: &Selection,
        failed: &BTreeMap<i32, String>,
        done: &mut Restored,
    ) -> Result<()> {
        if !countable(self.manifest) {
            done.notes.push(
                "the rows could not be compared: the dump was not digested when it was made".to_owned(),
            );
            return Ok(());
        }
        let restored: Vec<&TocEntry> =
            selection.entries.iter().filter(|entry| !failed.contains_key(&entry.dump_id)).collect();
        let mut session = self.in_target()?;
        session.set_timeout(COUNT_WITHIN);
        if self.options.keep_going {
            // Servers before 17 may call functions of indexes when they plan a query.
            session.execute(
                set_search_path(&self.usual_search_path(&selection.entries)).trim_end_matches(";\n"),
            )?;
        }
        let mut wrong = Vec::new();
        self.verify_tables(&mut session, &restored, done, &mut wrong)?;
        if self.options.table.is_none() {
            self.verify_large_objects(&mut session, &mut wrong)?;
            self.verify_sequences(&mut session, &restored, done, &mut wrong)?;
        }
        if wrong.is_empty() {
            return Ok(());
        }
        if self.options.keep_going {
            done.missing.append(&mut wrong);
            return Ok(());
        }
        let sentence = |missing: &Missing| {
            let dot = if missing.schema.is_empty() { "" } else { "." };
            format!("{}{dot}{} {}", missing.schema, missing.name, missing.reason)
        };
        let shown = wrong.iter().take(5).map(sentence).collect::<Vec<_>>().join("; ");
        let more = wrong.len().saturating_sub(5);
        let rest = if more > 0 { format!("; and {more} more") } else { String::new() };
        Err(Options::wrong(&format!("{shown}{rest}")))
    }

    fn verify_tables(
        &self,
        session: &mut Psql,
        restored: &[&TocEntry],
        done: &mut Restored,
        wrong: &mut Vec<Missing>,
    ) -> Result<()> {
        let of_extensions = extension_tables(session)?;
        for table in self.counted(restored) {
            let (schema, name) = (table.schema.as_str(), table.name.as_str());
            if unreadable(schema) || unreadable(name) {
                done.notes.push(not_compared("table", schema, name, "its name is not valid UTF-8"));
                continue;
            }
            let extension = of_extensions.get(&(schema.to_owned(), name.to_owned()));
            let Some(condition) = condition(extension) else {
                done.notes.push(not_compared(
                    "table",
                    schema,
                    name,
                    "the extension does not say which of its rows are dumped",
                ));
                continue;
            };
            let rows = match count(session, &table.tables, condition) {
                Ok(rows) => rows,
                // Row-level security may hide rows even from an owner who is no superuser.
                Err(error) if SqlState::of(&error) == Some(SqlState::INSUFFICIENT_PRIVILEGE) => {
                    done.notes.push(not_compared(
                        "table",
                        schema,
                        name,
                        "this account may not read all its rows",
                    ));
                    continue;
                }
                Err(error) if SqlState::of(&error) == Some(SqlState::UNDEFINED_TABLE) => {
                    wrong.push(missing("TABLE DATA", schema, name, "is missing".to_owned()));
                    continue;
                }
                Err(error) => return Err(error),
            };
            if rows == table.rows {
                done.tables += table.tables.len() as u64;
                done.rows += rows;
            } else if let Some(other) = extension.filter(|extension| self.is_other_version(extension)) {
                let why = format!("the target has another version of the extension {}", other.extension);
                done.notes.push(not_compared("table", schema, name, &why));
            } else {
                let reason = format!("has {} instead of {}", crate::output::count(rows, "row"), table.rows);
                wrong.push(missing("TABLE DATA", schema, name, reason));
            }
        }
        Ok(())
    }

    /// The tables to count. Where the dump sends the rows of partitions to their root, these partitions are counted together:
    /// each server decides anew in which of them a row lies.
    fn counted(&self, restored: &[&TocEntry]) -> Vec<Counted> {
        let objects: BTreeMap<(&str, &str), &Object> = self
            .manifest
            .objects
            .iter()
            .map(|object| ((object.schema.as_deref().unwrap_or_default(), object.name.as_str()), object))
            .collect();
        let mut all: BTreeMap<Name, Counted> = BTreeMap::new();
        for entry in restored.iter().filter(|entry| entry.desc == "TABLE DATA") {
            let own = (entry.namespace.clone().unwrap_or_default(), entry.tag.clone());
            let Some(object) = objects.get(&(own.0.as_str(), own.1.as_str())) else { continue };
            let target = entry.copy_stmt.as_deref().and_then(copy_target);
            let into = target.map_or_else(
                || own.clone(),
                |(schema, name)| (schema.unwrap_or_else(|| own.0.clone()), name),
            );
            let (schema, name) = into.clone();
            let counted = all.entry(into).or_insert(Counted { schema, name, rows: 0, tables: Vec::new() });
            counted.rows += object.rows;
            counted.tables.push(own);
        }
        all.into_values().collect()
    }

    fn verify_large_objects(&self, session: &mut Psql, wrong: &mut Vec<Missing>) -> Result<()> {
        let expected = self.detail.large_objects.count;
        let counted: Count =
            session.query_one("SELECT count(*) AS rows FROM pg_catalog.pg_largeobject_metadata")?;
        if counted.rows != expected {
            let reason = format!("are {} instead of {expected}", counted.rows);
            wrong.push(missing("BLOBS", "", "large objects", reason));
        }
        Ok(())
    }

    fn verify_sequences(
        &self,
        session: &mut Psql,
        restored: &[&TocEntry],
        done: &mut Restored,
        wrong: &mut Vec<Missing>,
    ) -> Result<()> {
        #[derive(Debug, Deserialize)]
        struct At {
            value: i64,
            is_called: bool,
        }
        let set: BTreeSet<(&str, &str)> = restored
            .iter()
            .filter(|entry| entry.desc == "SEQUENCE SET")
            .map(|entry| (entry.namespace.as_deref().unwrap_or_default(), entry.tag.as_str()))
            .collect();
        for sequence in &self.detail.sequences {
            let (schema, name) = (sequence.schema.as_str(), sequence.name.as_str());
            if !set.contains(&(schema, name)) {
                continue;
            }
            if unreadable(schema) || unreadable(name) {
                done.notes.push(not_compared("sequence", schema, name, "its name is not valid UTF-8"));
                continue;
            }
            let quoted = format!("{}.{}", quote_ident(schema), quote_ident(name));
            let at: At =
                session.query_one(&format!("SELECT last_value AS value, is_called FROM {quoted}"))?;
            if (at.value, at.is_called) != (sequence.value, sequence.is_called) {
                let reason = format!("stands at {} instead of {}", at.value, sequence.value);
                wrong.push(missing("SEQUENCE SET", schema, name, reason));
            }
        }
        Ok(())
    }

    /// Whether the source had another version of the extension, which may mark other rows as user data.
    fn is_other_version(&self, table: &OfExtension) -> bool {
        let mut extensions = self.detail.extensions.iter();
        extensions.any(|known| known.name == table.extension && known.version != table.version)
    }
}

/// Rows of all these tables together.
fn count(session: &mut Psql, tables: &[Name], condition: &str) -> Result<u64> {
    let mut rows = 0_u64;
    for (schema, name) in tables {
        let quoted = format!("{}.{}", quote_ident(schema), quote_ident(name));
        let counted: Count =
            session.query_one(&format!("SELECT count(*) AS rows FROM ONLY {quoted} {condition}"))?;
        rows = rows.saturating_add(counted.rows);
    }
    Ok(rows)
}

/// The condition for the dumped rows of a table; `None` if it is not known.
fn condition(extension: Option<&OfExtension>) -> Option<&str> {
    match extension {
        None => Some(""),
        // The text comes from a catalog: psql must not interpret any of it as a command.
        Some(table) => table.condition.as_deref().filter(|text| !text.contains('\\')),
    }
}

fn missing(kind: &str, schema: &str, name: &str, reason: String) -> Missing {
    Missing { kind: kind.to_owned(), schema: schema.to_owned(), name: name.to_owned(), reason }
}

/// A name that is not valid UTF-8 contains U+FFFD in the manifest, and does not match any object.
fn unreadable(name: &str) -> bool {
    name.contains(char::REPLACEMENT_CHARACTER)
}

fn not_compared(what: &str, schema: &str, name: &str, why: &str) -> String {
    format!("not compared with the backup, because {why}: the {what} {schema}.{name}")
}

/// Tables that belong to an extension.
fn extension_tables(session: &mut Psql) -> Result<BTreeMap<Name, OfExtension>> {
    let tables: Vec<OfExtension> = session.query(
        "SELECT n.nspname AS schema, c.relname AS name, e.extname AS extension, e.extversion AS version, \
            (SELECT x.condition FROM unnest(e.extconfig, e.extcondition) x(id, condition) WHERE x.id = c.oid) AS condition \
         FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_class c ON c.oid = d.objid \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid \
         WHERE d.deptype = 'e' AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass \
           AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass",
    )?;
    Ok(tables.into_iter().map(|table| ((table.schema.clone(), table.name.clone()), table)).collect())
}
