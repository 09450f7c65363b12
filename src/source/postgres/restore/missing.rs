//! Objects that a restore with `--continue` could not restore: the list, and a file with the statements.

use std::collections::BTreeMap;

use super::{Restore, fill::set_search_path, preflight::describe, select::Selection};
use crate::source::{
    postgres::{archive::TocEntry, psql::quote_ident},
    restore::{Missing, Restored, write_statements},
};

/// Kinds whose statements may contain passwords, which server messages may repeat.
const SECRET: [&str; 3] = ["USER MAPPING", "SUBSCRIPTION", "SERVER"];
/// Kinds with an owner. Their DROP statement names the object as `ALTER … OWNER TO` needs it.
const OWNED: [&str; 24] = [
    "AGGREGATE",
    "COLLATION",
    "CONVERSION",
    "DOMAIN",
    "EVENT TRIGGER",
    "FOREIGN DATA WRAPPER",
    "FOREIGN TABLE",
    "FUNCTION",
    "MATERIALIZED VIEW",
    "OPERATOR",
    "OPERATOR CLASS",
    "OPERATOR FAMILY",
    "PROCEDURAL LANGUAGE",
    "PROCEDURE",
    "PUBLICATION",
    "SCHEMA",
    "SEQUENCE",
    "SERVER",
    "STATISTICS",
    "SUBSCRIPTION",
    "TABLE",
    "TEXT SEARCH CONFIGURATION",
    "TEXT SEARCH DICTIONARY",
    "TYPE",
];

/// The entries that failed.
pub(super) fn list(selection: &Selection, failed: &BTreeMap<i32, String>) -> Vec<Missing> {
    let entries = selection.entries.iter();
    entries
        .filter_map(|entry| {
            let reason = failed.get(&entry.dump_id)?;
            let secret = SECRET.contains(&entry.desc.as_str());
            Some(Missing {
                kind: entry.desc.clone(),
                schema: entry.namespace.clone().unwrap_or_default(),
                name: entry.tag.clone(),
                reason: if secret { String::new() } else { reason.clone() },
            })
        })
        .collect()
}

impl Restore<'_> {
    /// Writes the statements of the missing objects into a file of mode 0600.
    pub(super) fn write_missing(
        &self,
        selection: &Selection,
        failed: &BTreeMap<i32, String>,
        done: &mut Restored,
    ) {
        let text = self.script(selection, failed, done);
        match write_statements(&self.target.database, text.as_bytes()) {
            Ok(path) => done.missing_file = Some(path),
            Err(error) => done.notes.push(format!(
                "the file with the statements of the missing objects could not be written ({error}); `pg_restore --file=-` \
                 shows them, from the files that --to DIR gives"
            )),
        }
    }

    fn script(&self, selection: &Selection, failed: &BTreeMap<i32, String>, done: &Restored) -> String {
        let item = one_line(&format!("{}/{}", self.manifest.source, self.manifest.item));
        let mut text = format!(
            "-- Missing in the database {} after a restore of {item}, in the order in which they depend on each\n\
             -- other. They come from the backup: read them before you run them. They may hold passwords.\n\n\
             SET client_encoding = 'UTF8';\nSET standard_conforming_strings = on;\nSET check_function_bodies = false;\n{}",
            one_line(&self.target.database),
            set_search_path(&self.usual_search_path(&selection.entries)),
        );
        for entry in &selection.entries {
            if let Some(reason) = failed.get(&entry.dump_id) {
                text.push_str(&format!("\n-- {}\n-- {}\n", one_line(&describe(entry)), one_line(reason)));
                text.push_str(&self.statements_of(entry));
            }
        }
        // Objects that were restored with differences have no statement.
        for missing in done.missing.iter().skip(list(selection, failed).len()) {
            let what = format!("{} {}.{}: {}", missing.kind, missing.schema, missing.name, missing.reason);
            text.push_str(&format!("\n-- {}\n", one_line(&what)));
        }
        text
    }

    fn statements_of(&self, entry: &TocEntry) -> String {
        if let Some(copy) = &entry.copy_stmt {
            return format!(
                "-- {}-- Its rows are in the dump: restore the files with --to DIR, then \
                 `pg_restore --data-only --table=… --dbname=… database.dump`.\n",
                // Each line of it is a comment.
                copy.trim_end().lines().collect::<Vec<_>>().join("\n-- ") + "\n"
            );
        }
        let mut text = entry.defn.trim_end().to_owned();
        text.push('\n');
        let owner = entry.owner.as_deref().filter(|owner| !owner.is_empty() && !self.options.no_owner);
        let named = entry.drop_stmt.trim_end().strip_prefix("DROP ").and_then(|rest| rest.strip_suffix(';'));
        if let (Some(owner), Some(named)) = (owner, named)
            && OWNED.contains(&entry.desc.as_str())
        {
            text.push_str(&format!("ALTER {named} OWNER TO {};\n", quote_ident(owner)));
        }
        text
    }
}

/// A text for one comment line, without line breaks.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_stay_comments() {
        assert_eq!(one_line("a\nDROP TABLE b;\r\t"), "a DROP TABLE b;  ");
    }
}
