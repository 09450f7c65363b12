//! The objects of a database as its server lists them, to be compared with the dump.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    broken::LeftOut,
    session::{Session, quote_literal},
};
use crate::error::Result;

/// The objects of a database: type and name. Types are those of [`super::script`].
pub(super) type Objects = BTreeSet<(String, String)>;

/// What a server lists.
pub(super) struct Inventory {
    /// Everything that a dump must contain.
    pub(super) objects: Objects,
    /// The table of each trigger.
    pub(super) triggers: BTreeMap<String, String>,
    /// Tables whose engine has no transactions.
    pub(super) not_transactional: Vec<String>,
    /// Tables with system versioning (MariaDB).
    pub(super) versioned: Vec<String>,
    /// The engine of each table, in upper case.
    pub(super) engines: BTreeMap<String, String>,
}

impl Inventory {
    /// Queries the server for one database.
    pub(super) fn ask(session: &Session<'_>, database: &str) -> Result<Self> {
        let name = quote_literal(database);
        let tables: Vec<[String; 4]> = session.rows(&format!(
            "SELECT t.TABLE_NAME, t.TABLE_TYPE, IFNULL(e.TRANSACTIONS, ''), UPPER(IFNULL(t.ENGINE, '')) \
             FROM information_schema.TABLES t \
             LEFT JOIN information_schema.ENGINES e ON e.ENGINE = t.ENGINE WHERE t.TABLE_SCHEMA = {name}"
        ))?;
        let others: Vec<[String; 3]> = session.rows(&format!(
            "SELECT LOWER(ROUTINE_TYPE), ROUTINE_NAME, '' FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = {name} \
             UNION ALL SELECT 'trigger', TRIGGER_NAME, EVENT_OBJECT_TABLE FROM information_schema.TRIGGERS \
                WHERE TRIGGER_SCHEMA = {name} \
             UNION ALL SELECT 'event', EVENT_NAME, '' FROM information_schema.EVENTS WHERE EVENT_SCHEMA = {name}"
        ))?;
        let triggers = others.iter().filter(|[kind, ..]| kind == "trigger");
        let triggers = triggers.map(|[_, name, table]| (name.clone(), table.clone())).collect();
        let mut objects: Objects = others.into_iter().map(|[kind, name, _]| (kind, name)).collect();
        if has_libraries(session)? {
            let found: Vec<[String; 1]> = session.rows(&format!(
                "SELECT LIBRARY_NAME FROM information_schema.LIBRARIES WHERE LIBRARY_SCHEMA = {name}"
            ))?;
            objects.extend(found.into_iter().map(|[name]| ("library".to_owned(), name)));
        }
        let (mut not_transactional, mut versioned, mut engines) = (Vec::new(), Vec::new(), BTreeMap::new());
        for [name, kind, transactions, engine] in tables {
            let kind = match kind.as_str() {
                "VIEW" => "view",
                "SEQUENCE" => "sequence",
                of_table => {
                    if of_table == "SYSTEM VERSIONED" {
                        versioned.push(name.clone());
                    }
                    if transactions != "YES" {
                        not_transactional.push(name.clone());
                    }
                    engines.insert(name.clone(), engine);
                    "table"
                }
            };
            objects.insert((kind.to_owned(), name));
        }
        not_transactional.sort();
        versioned.sort();
        Ok(Self { objects, triggers, not_transactional, versioned, engines })
    }

    /// Whether the engine of a table stores no rows: dump tools leave the rows out, and a count would count those of other tables.
    pub(super) fn is_rowless(&self, table: &str) -> bool {
        const ENGINES: [&str; 11] = [
            "BLACKHOLE",
            "CASSANDRA",
            "CONNECT",
            "FEDERATED",
            "MRG_ISAM",
            "MRG_MYISAM",
            "OQGRAPH",
            "SEQUENCE",
            "SPHINX",
            "SPIDER",
            "VP",
        ];
        self.engines.get(table).is_some_and(|engine| ENGINES.contains(&engine.as_str()))
    }

    /// The inventory without omitted tables and views, and their triggers.
    pub(super) fn without(mut self, left_out: &LeftOut) -> Self {
        let Self { triggers, objects, .. } = &mut self;
        objects.retain(|(kind, name)| match kind.as_str() {
            "table" | "view" => !left_out.has(name),
            "trigger" => !triggers.get(name).is_some_and(|table| left_out.has(table)),
            _ => true,
        });
        self.not_transactional.retain(|name| !left_out.has(name));
        self.versioned.retain(|name| !left_out.has(name));
        self
    }
}

/// Whether the server has libraries of code, as MySQL since 9.2.
fn has_libraries(session: &Session<'_>) -> Result<bool> {
    let [count] = session.row(
        "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'information_schema' AND TABLE_NAME = 'LIBRARIES'",
    )?;
    Ok(count != "0")
}

/// The first few objects, as text.
pub(super) fn listed<'a>(objects: impl IntoIterator<Item = &'a (String, String)>) -> String {
    const SHOWN: usize = 5;
    let all: Vec<_> = objects.into_iter().map(|(kind, name)| format!("{kind} {name}")).collect();
    match all.len().checked_sub(SHOWN) {
        None | Some(0) => all.join(", "),
        Some(more) => format!("{} and {more} more", all[..SHOWN].join(", ")),
    }
}
