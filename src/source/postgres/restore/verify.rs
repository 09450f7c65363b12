//! After a restore: the rows in the database must be those the manifest recorded.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::{Restore, Restored, Selection, countable, partitions::Partitions};
use crate::{
    error::{Error, Result},
    source::{
        manifest::Object,
        postgres::psql::{Psql, quote_ident, quote_literal},
    },
};

/// Counting a large table takes long.
const COUNT_WITHIN: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

#[derive(Debug, Deserialize)]
struct Count {
    rows: u64,
}

impl Restore<'_> {
    /// Counts the rows of every restored table, and compares sequences and large objects.
    pub(super) fn verify(&self, selection: &Selection, done: &mut Restored) -> Result<()> {
        if !countable(self.manifest) {
            done.notes.push(
                "the rows could not be compared: the dump was not digested when it was made".to_owned(),
            );
            return Ok(());
        }
        let mut session = Psql::connect(self.client, &self.connection, &self.target.database, self.cancel)?;
        session.set_timeout(COUNT_WITHIN);
        let of_extensions = extension_tables(&mut session)?;
        let mut wrong = Vec::new();
        let mut partitions = Partitions::of(&selection.entries);
        for table in self.restored_tables(selection) {
            let schema = table.schema.as_deref().unwrap_or_default();
            if unreadable(schema) || unreadable(&table.name) {
                partitions.take(schema, &table.name, table.rows, None);
                done.notes.push(not_compared("table", schema, &table.name));
                continue;
            }
            let name = format!("{}.{}", quote_ident(schema), quote_ident(&table.name));
            let counted = session.query_one(&format!("SELECT count(*) AS rows FROM ONLY {name}"));
            let counted: Count = match counted {
                // Row-level security may hide rows even from an owner who is no superuser.
                Err(_) if session.last_sqlstate() == Some("42501") => {
                    partitions.take(schema, &table.name, table.rows, None);
                    done.notes.push(format!("not compared with the backup, because this account may not read all its rows: the table {name}"));
                    continue;
                }
                counted => counted?,
            };
            // Of an extension's own table only the user's rows are dumped.
            let extension = of_extensions.contains(&(schema.to_owned(), table.name.clone()));
            let moves = partitions.take(schema, &table.name, table.rows, Some(counted.rows));
            if moves || counted.rows == table.rows || (extension && counted.rows >= table.rows) {
                done.tables += 1;
                done.rows += counted.rows;
            } else {
                wrong.push(format!("{name} has {} rows instead of {}", counted.rows, table.rows));
            }
        }
        wrong.extend(partitions.wrong());
        if self.options.table.is_none() {
            self.verify_large_objects(&mut session, &mut wrong)?;
            self.verify_sequences(&mut session, selection, done, &mut wrong)?;
        }
        if wrong.is_empty() {
            return Ok(());
        }
        let shown = wrong.iter().take(5).cloned().collect::<Vec<_>>().join("; ");
        let more = wrong.len().saturating_sub(5);
        let rest = if more > 0 { format!("; and {more} more") } else { String::new() };
        Err(Error::failed(format!("the restored database is not what was backed up: {shown}{rest}"))
            .hint("do not use it; see the server's log, and try an older snapshot with --at"))
    }

    fn restored_tables(&self, selection: &Selection) -> Vec<&Object> {
        let all = names_of(selection, "TABLE DATA");
        let restored =
            |o: &&Object| all.contains(&(o.schema.as_deref().unwrap_or_default(), o.name.as_str()));
        self.manifest.objects.iter().filter(restored).collect()
    }

    fn verify_large_objects(&self, session: &mut Psql, wrong: &mut Vec<String>) -> Result<()> {
        let expected = self.detail.large_objects.count;
        let counted: Count =
            session.query_one("SELECT count(*) AS rows FROM pg_catalog.pg_largeobject_metadata")?;
        if counted.rows != expected {
            wrong.push(format!("there are {} large objects instead of {expected}", counted.rows));
        }
        Ok(())
    }

    fn verify_sequences(
        &self,
        session: &mut Psql,
        selection: &Selection,
        done: &mut Restored,
        wrong: &mut Vec<String>,
    ) -> Result<()> {
        #[derive(Debug, Deserialize)]
        struct At {
            value: i64,
            is_called: bool,
        }
        let set = names_of(selection, "SEQUENCE SET");
        for sequence in &self.detail.sequences {
            if !set.contains(&(sequence.schema.as_str(), sequence.name.as_str())) {
                continue;
            }
            if unreadable(&sequence.schema) || unreadable(&sequence.name) {
                done.notes.push(not_compared("sequence", &sequence.schema, &sequence.name));
                continue;
            }
            let name = format!("{}.{}", quote_ident(&sequence.schema), quote_ident(&sequence.name));
            let at: At = session.query_one(&format!("SELECT last_value AS value, is_called FROM {name}"))?;
            if (at.value, at.is_called) != (sequence.value, sequence.is_called) {
                wrong.push(format!(
                    "the sequence {name} stands at {} instead of {}",
                    at.value, sequence.value
                ));
            }
        }
        Ok(())
    }
}

/// Schema and name of the selected entries of one kind.
fn names_of<'a>(selection: &'a Selection, desc: &str) -> BTreeSet<(&'a str, &'a str)> {
    let entries = selection.entries.iter().filter(|entry| entry.desc == desc);
    entries.map(|entry| (entry.namespace.as_deref().unwrap_or_default(), entry.tag.as_str())).collect()
}

/// A name that is not UTF-8 stands in the manifest with U+FFFD for what cannot be read: it finds nothing.
fn unreadable(name: &str) -> bool {
    name.contains(char::REPLACEMENT_CHARACTER)
}

fn not_compared(what: &str, schema: &str, name: &str) -> String {
    format!("not compared with the backup, because its name is not valid UTF-8: the {what} {schema}.{name}")
}

/// Tables that belong to an extension.
fn extension_tables(session: &mut Psql) -> Result<BTreeSet<(String, String)>> {
    #[derive(Deserialize)]
    struct Table {
        schema: String,
        name: String,
    }
    let tables: Vec<Table> = session.query(&format!(
        "SELECT n.nspname AS schema, c.relname AS name FROM pg_catalog.pg_depend d \
         JOIN pg_catalog.pg_class c ON c.oid = d.objid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE d.deptype = {} AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass",
        quote_literal("e")
    ))?;
    Ok(tables.into_iter().map(|table| (table.schema, table.name)).collect())
}
