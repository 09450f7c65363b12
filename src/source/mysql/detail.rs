//! The part of a manifest that is specific to MySQL and MariaDB.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::clients::Flavour;
use crate::{
    source::{kind::Kind, manifest, restore::Missing},
    stream::digest::Digest128,
};

/// The part of a manifest that is specific to MySQL and MariaDB.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Detail {
    /// The family of the server.
    pub flavour: Flavour,
    /// How the server treats upper case in the names of tables: 0 distinguishes, 1 stores lower case, 2 compares lower
    /// case.
    pub lower_case_table_names: u32,
    /// Of a database: what it is created with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<Database>,
    /// Tables, views, routines, triggers and events with the digest of their definition.
    #[serde(default)]
    pub schema_objects: Vec<SchemaObject>,
    /// Values of `AUTO_INCREMENT` and of sequences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub counters: Vec<Counter>,
    /// Tables whose rows may be from another moment, because their engine has no transactions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_transactional: Vec<String>,
    /// Tables with system versioning (MariaDB) whose history is in the dump: row counts include it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<String>,
    /// Tables with explicit `ROW START` and `ROW END` columns (MariaDB) that are dumped without their history: the target
    /// server writes new times into these columns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub row_times: Vec<String>,
    /// Other databases that views read, or that tables take values from.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub refers_to: BTreeSet<String>,
    /// Of `@globals`: users and roles.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<Account>,
}

impl manifest::Detail for Detail {
    fn kind(&self) -> &'static dyn Kind {
        &super::kind::KIND
    }

    fn boxed(&self) -> Box<dyn manifest::Detail> {
        Box::new(self.clone())
    }

    fn forget(&mut self, is_omitted: &dyn Fn(&str, &str, &str) -> bool) {
        self.schema_objects.retain(|object| !is_omitted(&object.kind, "", &object.name));
    }

    fn content(&self, visit: &mut dyn FnMut(&dyn erased_serde::Serialize)) {
        visit(&self.schema_objects);
        visit(&self.accounts);
    }
}

impl Detail {
    /// The same without the views that a restore could not create.
    pub(crate) fn without_views(&self, missing: &[Missing]) -> Self {
        let mut detail = self.clone();
        detail.schema_objects.retain(|object| {
            object.kind != "view" || missing.iter().all(|missing| missing.name != object.name)
        });
        detail
    }
}

/// A database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Database {
    /// Default character set.
    pub charset: String,
    /// Default collation.
    pub collation: String,
    /// Comment (MariaDB).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Whether it is `READ ONLY` (MySQL).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
    /// Whether new tables are encrypted by default (MySQL).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub encrypted: bool,
}

/// An object with a definition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SchemaObject {
    /// `table`, `view`, `procedure`, `function`, `trigger`, `event`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Digest of its definition.
    pub digest: Digest128,
    /// Its definer, `user@host`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definer: Option<String>,
}

/// A counter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Counter {
    /// The table or sequence.
    pub name: String,
    /// Its value in the dump: the next value, for a sequence also its round.
    pub next: String,
}

/// A user or role.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Account {
    /// Its name.
    pub user: String,
    /// The host it may come from; empty for a role of MariaDB.
    pub host: String,
    /// A role of MariaDB. MySQL's roles are users that are locked.
    pub role: bool,
}
