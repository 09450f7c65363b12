//! Tables and views that a dump leaves out: excluded ones, unreadable ones, and views that read any of them.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    LEFT_OUT,
    clients::{Flavour, Version},
    discover::Server,
    faults::faults,
    script::references,
    session::{Session, quote_ident, quote_literal},
};
use crate::{
    error::Result,
    settings::Patterns,
    source::manifest::{Manifest, Omitted},
};

/// Names shown in a note.
const SHOWN: usize = 5;
/// Since this version MySQL caches table statistics for a day by default.
const KEPT_STATISTICS: Version = Version(8, 0, 0);

/// The tables and views that a dump leaves out.
#[derive(Debug, Default)]
pub(super) struct LeftOut {
    /// Tables and views that the dump tool ignores.
    names: BTreeSet<String>,
    /// Excluded by the configuration.
    excluded: Vec<String>,
    /// Views that read an excluded table or view.
    dependent: Vec<String>,
    /// Unreadable tables and views, and views that read them.
    omitted: Vec<Omitted>,
    /// The definitions of objects that are left out without being excluded.
    definitions: String,
}

/// A table or view as the server lists it.
struct Relation {
    name: String,
    view: bool,
    /// Whether the server could not open it when it listed it; not known for tables of MySQL.
    suspect: bool,
}

impl LeftOut {
    /// Finds the tables and views of a database to leave out.
    pub(super) fn find(
        session: &Session<'_>,
        server: &Server,
        database: &str,
        exclude: &Patterns,
        unreadable: &BTreeMap<String, String>,
    ) -> Result<Self> {
        let mut left_out = Self::default();
        let relations = relations(session, server, database)?;
        let (excluded, kept): (Vec<Relation>, Vec<Relation>) =
            relations.into_iter().partition(|relation| is_excluded(exclude, database, &relation.name));
        left_out.excluded = excluded.into_iter().map(|relation| relation.name).collect();
        left_out.excluded.sort();
        left_out.names.extend(left_out.excluded.iter().cloned());
        for relation in &kept {
            if let Some(reason) = unreadable.get(&relation.name) {
                let kind = if relation.view { "view" } else { "table" };
                left_out.omit(session, database, kind, &relation.name, reason.clone())?;
            }
        }
        let tables: Vec<&str> = kept
            .iter()
            .filter(|relation| !relation.view && (relation.suspect || server.flavour == Flavour::Mysql))
            .map(|relation| relation.name.as_str())
            .collect();
        let select = |table: &str| format!("SELECT 1 FROM {} LIMIT 0", place(database, table));
        for (table, reason) in faults(session, &tables, select)? {
            if !left_out.has(table) {
                left_out.omit(session, database, "table", table, reason)?;
            }
        }
        left_out.omit_triggers(session, database)?;
        let views: Vec<&str> = kept
            .iter()
            .filter(|relation| relation.view && relation.suspect)
            .map(|relation| relation.name.as_str())
            .collect();
        let fields = |view: &str| format!("SHOW FIELDS FROM {}", place(database, view));
        for (view, reason) in faults(session, &views, fields)? {
            if !left_out.has(view) {
                left_out.omit(session, database, "view", view, reason)?;
            }
        }
        if !left_out.names.is_empty() {
            left_out.follow(session, database)?;
        }
        Ok(left_out)
    }

    /// Whether this table or view is left out.
    pub(super) fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// The arguments for the dump tool.
    pub(super) fn arguments(&self, database: &str) -> impl Iterator<Item = String> {
        self.names.iter().map(move |name| format!("--ignore-table={database}.{name}"))
    }

    /// The content of [`LEFT_OUT`], unless it is empty.
    pub(super) fn script(&self, database: &str) -> Option<String> {
        (!self.definitions.is_empty()).then(|| {
            format!(
                "-- Definitions that the dump of {} leaves out, as the server had them.\n-- Load them by hand once they can \
                 work again.\nSET NAMES utf8mb4;\n{}",
                in_comment(database),
                self.definitions
            )
        })
    }

    /// Records the omitted objects in the manifest.
    pub(super) fn describe(self, manifest: &mut Manifest) {
        if !self.excluded.is_empty() {
            let mut note = format!(
                "excluded by exclude_tables: {} {}: {}",
                self.excluded.len(),
                if self.excluded.len() == 1 { "table or view" } else { "tables and views" },
                shown(&self.excluded)
            );
            if !self.dependent.is_empty() {
                note.push_str(&format!(
                    "; with them views that read them, with their definitions in {LEFT_OUT}: {}",
                    shown(&self.dependent)
                ));
            }
            manifest.notes.push(note);
        }
        manifest.excluded = self.excluded.into_iter().chain(self.dependent).collect();
        manifest.omitted.extend(self.omitted);
    }

    fn omit(
        &mut self,
        session: &Session<'_>,
        database: &str,
        kind: &str,
        name: &str,
        reason: String,
    ) -> Result<()> {
        let definition = self.define(session, database, kind, name, &reason)?.then(|| LEFT_OUT.to_owned());
        self.names.insert(name.to_owned());
        self.omitted.push(Omitted { kind: kind.to_owned(), name: name.to_owned(), reason, definition });
        Ok(())
    }

    /// Adds the triggers of unreadable tables.
    fn omit_triggers(&mut self, session: &Session<'_>, database: &str) -> Result<()> {
        let tables: Vec<String> = self.omitted.iter().map(|omitted| omitted.name.clone()).collect();
        if tables.is_empty() {
            return Ok(());
        }
        let listed: Vec<String> = tables.iter().map(|table| quote_literal(table)).collect();
        let triggers: Vec<[String; 2]> = session.rows(&format!(
            "SELECT TRIGGER_NAME, EVENT_OBJECT_TABLE FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = {} \
             AND EVENT_OBJECT_TABLE IN ({})",
            quote_literal(database),
            listed.join(", ")
        ))?;
        for [name, table] in triggers {
            let reason = format!("its table {table} is left out");
            let definition =
                self.define(session, database, "trigger", &name, &reason)?.then(|| LEFT_OUT.to_owned());
            self.omitted.push(Omitted { kind: "trigger".to_owned(), name, reason, definition });
        }
        Ok(())
    }

    /// Adds views that read omitted objects: a restore could not create them.
    fn follow(&mut self, session: &Session<'_>, database: &str) -> Result<()> {
        let views: Vec<[String; 2]> = session.rows(&format!(
            "SELECT TABLE_NAME, VIEW_DEFINITION FROM information_schema.VIEWS WHERE TABLE_SCHEMA = {}",
            quote_literal(database)
        ))?;
        let unwanted: BTreeSet<String> = self.excluded.iter().cloned().collect();
        // In a view's definition servers qualify each object with its database.
        let reads = |definition: &str, name: &str| {
            let wanted = (Some(database.to_owned()), name.to_owned());
            references(definition.as_bytes(), true).contains(&wanted)
        };
        let mut reached: Vec<(String, bool)> =
            self.names.iter().map(|name| (name.clone(), unwanted.contains(name))).collect();
        while let Some((name, excluded)) = reached.pop() {
            for [view, definition] in &views {
                if self.has(view) || !reads(definition, &name) {
                    continue;
                }
                let reason = format!("it reads {name}, which is left out");
                if excluded {
                    self.define(session, database, "view", view, &reason)?;
                    self.names.insert(view.clone());
                    self.dependent.push(view.clone());
                } else {
                    self.omit(session, database, "view", view, reason)?;
                }
                reached.push((view.clone(), excluded));
            }
        }
        self.dependent.sort();
        self.omitted.sort();
        Ok(())
    }

    /// Adds a definition, if the server shows it.
    fn define(
        &mut self,
        session: &Session<'_>,
        database: &str,
        kind: &str,
        name: &str,
        reason: &str,
    ) -> Result<bool> {
        let Some(definition) = definition(session, database, kind, name)? else { return Ok(false) };
        self.definitions.push_str(&format!(
            "\n-- {kind} {}: {}\n{definition};\n",
            in_comment(&quote_ident(name)),
            in_comment(reason)
        ));
        Ok(true)
    }
}

/// The tables and views of a database, without sequences: tables depend on them.
fn relations(session: &Session<'_>, server: &Server, database: &str) -> Result<Vec<Relation>> {
    let fresh = if server.flavour == Flavour::Mysql && server.version >= KEPT_STATISTICS {
        "SET SESSION information_schema_stats_expiry = 0; "
    } else {
        ""
    };
    // For the number of rows a server has to open each table, and for the comment each view.
    let rows: Vec<[String; 5]> = session.rows(&format!(
        "{fresh}SELECT TABLE_NAME, TABLE_TYPE, IFNULL(ENGINE, ''), IFNULL(TABLE_ROWS, ''), IFNULL(TABLE_COMMENT, '') \
         FROM information_schema.TABLES WHERE TABLE_SCHEMA = {}",
        quote_literal(database)
    ))?;
    Ok(rows
        .into_iter()
        .filter(|[_, kind, ..]| kind != "SEQUENCE")
        .map(|[name, kind, engine, _, comment]| {
            let view = kind == "VIEW";
            Relation { name, view, suspect: if view { comment != "VIEW" } else { engine.is_empty() } }
        })
        .collect())
}

/// Whether a pattern `database.table` matches. Names may contain dots: a pattern is tried with a split at each of its dots.
fn is_excluded(exclude: &Patterns, database: &str, table: &str) -> bool {
    exclude.iter().any(|pattern| {
        let mut dots = pattern.match_indices('.').map(|(at, _)| at);
        dots.any(|at| {
            let matches = |part: &str, name: &str| {
                Patterns::new([part]).is_ok_and(|patterns| patterns.matched(name).is_some())
            };
            matches(&pattern[..at], database) && matches(&pattern[at + 1..], table)
        })
    })
}

/// The definition of a table or view. A server may show that of a view even if it cannot read the view.
fn definition(session: &Session<'_>, database: &str, kind: &str, name: &str) -> Result<Option<String>> {
    // For a trigger the first column is the SQL mode.
    let (what, column) = match kind {
        "view" => ("VIEW", 1),
        "trigger" => ("TRIGGER", 2),
        _ => ("TABLE", 1),
    };
    if let Ok(rows) = session.query(&format!("SHOW CREATE {what} {}", place(database, name)))
        && let Some(text) = rows.into_iter().next().and_then(|row| row.into_iter().nth(column))
    {
        return Ok(Some(text));
    }
    if kind != "view" {
        return Ok(None);
    }
    let found: Vec<[String; 1]> = session.rows(&format!(
        "SELECT VIEW_DEFINITION FROM information_schema.VIEWS WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {}",
        quote_literal(database),
        quote_literal(name)
    ))?;
    let text = found.into_iter().next().map(|[text]| text).filter(|text| !text.is_empty());
    Ok(text.map(|text| format!("CREATE VIEW {} AS {text}", place(database, name))))
}

fn place(database: &str, name: &str) -> String {
    format!("{}.{}", quote_ident(database), quote_ident(name))
}

/// A text for one comment line, without line breaks.
fn in_comment(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The first few of some names.
fn shown(names: &[String]) -> String {
    let first: Vec<&str> = names.iter().take(SHOWN).map(String::as_str).collect();
    let more = names.len() - first.len();
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{rest}", first.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dump_tool_is_told_what_to_ignore_and_the_manifest_what_is_missing() {
        let omitted = Omitted {
            kind: "view".to_owned(),
            name: "bad".to_owned(),
            reason: "its table is gone".to_owned(),
            definition: Some(LEFT_OUT.to_owned()),
        };
        let names = ["a", "b", "c", "d", "e", "f", "bad", "of_a"];
        let left_out = LeftOut {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            excluded: names[..6].iter().map(|name| (*name).to_owned()).collect(),
            dependent: vec!["of_a".to_owned()],
            omitted: vec![omitted.clone()],
            definitions: "\n-- view `bad`: its table is gone\nCREATE VIEW …;\n".to_owned(),
        };
        assert!(left_out.has("bad") && !left_out.has("good"));
        let arguments: Vec<String> = left_out.arguments("my.shop").collect();
        assert_eq!(arguments.len(), 8);
        assert!(arguments.contains(&"--ignore-table=my.shop.of_a".to_owned()), "{arguments:?}");
        assert!(
            left_out
                .script("a\nb")
                .is_some_and(|text| text.starts_with("-- Definitions that the dump of a b "))
        );
        let mut manifest = Manifest::begin("my", "shop", "mysql");
        left_out.describe(&mut manifest);
        assert_eq!(manifest.omitted, [omitted]);
        assert_eq!(
            manifest.notes,
            [
                "excluded by exclude_tables: 6 tables and views: a, b, c, d, e and 1 more; with them views that \
                 read them, with their definitions in left-out.sql: of_a"
            ]
        );
        assert_eq!(LeftOut::default().script("x"), None);
    }
}
