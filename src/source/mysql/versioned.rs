//! Tables with system versioning (MariaDB), and whether the history of their rows is dumped.

use std::collections::BTreeMap;

use super::{
    Detail,
    clients::{Client, Flavour, Version},
    discover::Server,
    session::{Session, quote_literal},
};
use crate::error::Result;

/// The first version whose tool can dump the history, and whose server accepts it.
const WITH_HISTORY: Version = Version(10, 11, 0);

/// How a dump treats tables with system versioning.
pub(super) struct Versioned {
    /// All of them.
    tables: Vec<String>,
    /// Those with columns for the beginning and end of their rows.
    with_columns: Vec<String>,
    /// Tables versioned by transaction instead of time: the dump tool fails on their history.
    by_transaction: Vec<String>,
    /// Whether the history is dumped.
    history: bool,
}

impl Versioned {
    /// Queries the tables with system versioning of a database. `wanted` requests their history, if it can be dumped.
    pub(super) fn ask(
        session: &Session<'_>,
        server: &Server,
        client: &Client,
        database: &str,
        tables: &[String],
        wanted: bool,
    ) -> Result<Self> {
        let mut columns: BTreeMap<String, bool> = BTreeMap::new();
        if !tables.is_empty() {
            let rows: Vec<[String; 2]> = session.rows(&format!(
                "SELECT TABLE_NAME, DATA_TYPE FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = {} \
                 AND GENERATION_EXPRESSION = 'ROW START'",
                quote_literal(database)
            ))?;
            columns.extend(rows.into_iter().map(|[name, kind]| (name, kind == "bigint")));
        }
        let named = |transactions: bool| -> Vec<String> {
            let fitting = columns.iter().filter(|(_, by_transaction)| !transactions || **by_transaction);
            fitting.map(|(name, _)| name.clone()).filter(|name| tables.contains(name)).collect()
        };
        let (with_columns, by_transaction) = (named(false), named(true));
        let can = server.flavour == Flavour::Mariadb
            && server.version >= WITH_HISTORY
            && client.version >= WITH_HISTORY
            && by_transaction.is_empty();
        let history = wanted && can && !tables.is_empty();
        Ok(Self { tables: tables.to_vec(), with_columns, by_transaction, history })
    }

    /// The option for the dump tool.
    pub(super) fn options(&self) -> Option<&'static str> {
        self.history.then_some("--dump-history")
    }

    /// The tables whose history is dumped.
    pub(super) fn history(&self) -> &[String] {
        if self.history { &self.tables } else { &[] }
    }

    /// Notes for the operator.
    pub(super) fn note(&self) -> Option<String> {
        if self.tables.is_empty() || self.history {
            return None;
        }
        let why = if self.by_transaction.is_empty() {
            String::new()
        } else {
            format!(
                "; the dump tool cannot dump that of tables versioned by transaction: {}",
                self.by_transaction.join(", ")
            )
        };
        Some(format!(
            "only the current rows of tables with system versioning are dumped, not their history: {}{why}",
            self.tables.join(", ")
        ))
    }

    /// Records this in the manifest.
    pub(super) fn describe(self, detail: &mut Detail) {
        if self.history {
            detail.history = self.tables;
        } else {
            detail.row_times = self.with_columns;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_that_is_not_dumped_is_said() {
        let of = |by_transaction: &[&str], history| Versioned {
            tables: vec!["a".to_owned(), "b".to_owned()],
            with_columns: vec!["b".to_owned()],
            by_transaction: by_transaction.iter().map(|name| (*name).to_owned()).collect(),
            history,
        };
        assert_eq!(of(&[], true).note(), None);
        assert_eq!(of(&[], true).options(), Some("--dump-history"));
        let note = of(&["b"], false).note();
        assert!(note.is_some_and(|note| note.contains("history: a, b; the dump tool cannot")));
        assert!(of(&[], false).note().is_some_and(|note| note.ends_with("not their history: a, b")));
        assert_eq!(of(&[], false).options(), None);
    }
}
