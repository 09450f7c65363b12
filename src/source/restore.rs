//! What restores of all kinds have in common.

use crate::error::Error;

/// How to restore.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Only this table (`schema.name`) or collection.
    pub table: Option<String>,
    /// Do not give objects to their owners; they belong to the connecting account.
    pub no_owner: bool,
    /// Do not restore GRANT and REVOKE.
    pub no_privileges: bool,
    /// Everything goes to the default tablespace.
    pub no_tablespaces: bool,
    /// Do not create missing roles.
    pub no_roles: bool,
    /// Leave out what only a superuser can restore.
    pub skip_superuser: bool,
    /// Replace blobs and files of the same names.
    pub overwrite: bool,
    /// Only definitions, no rows (PostgreSQL).
    pub definitions: bool,
}

/// What a restore did.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct Restored {
    /// Database restored into.
    pub database: String,
    /// Was it created?
    pub created: bool,
    /// Bytes of the dump.
    pub bytes: u64,
    /// Are they collections of documents?
    #[serde(skip)]
    pub collections: bool,
    /// Tables or collections whose rows or documents were counted and found equal.
    pub tables: u64,
    /// Rows or documents of these.
    pub rows: u64,
    /// Roles that were created without login.
    pub roles_created: Vec<String>,
    /// What an operator should know.
    pub notes: Vec<String>,
}

/// Says with an error in what state the database was left.
pub(super) fn incomplete(error: Error, database: &str, created: bool) -> Error {
    let advice = if created {
        format!(
            "the database {database} was created by this restore and is incomplete: drop it before the next try"
        )
    } else {
        format!("the database {database} may hold a part of the data: empty it before the next try")
    };
    match error.hint_text() {
        Some(hint) => Error::new(error.kind(), error.summary()).hint(format!("{hint}; {advice}")),
        None => error.hint(advice),
    }
}
