//! What restores of all kinds have in common.

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
