//! `kind = "postgres"`: a PostgreSQL server.

use crate::{
    settings::reader::Reader,
    source::server::{self, Defaults, ServerConfig},
};

/// A PostgreSQL server.
#[derive(Debug, Clone, PartialEq)]
pub struct PostgresConfig {
    /// How to reach it and what to take from it.
    pub server: ServerConfig,
    /// Database to connect to for discovery.
    pub maintenance_db: String,
    /// Whether the built-in databases are backed up too.
    pub include_system: bool,
    /// Whether the roles' password hashes are part of `@globals`.
    pub role_passwords: RolePasswords,
}

/// What to do about the password hashes of roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RolePasswords {
    /// Take them if the backup role may read them.
    Auto,
    /// Never take them.
    Never,
}

impl PostgresConfig {
    /// What is configured of a source, if it is of this kind.
    pub(crate) fn of<'a>(config: &'a (dyn crate::source::KindConfig + 'static)) -> Option<&'a Self> {
        (config as &dyn std::any::Any).downcast_ref()
    }
}

/// Reads the keys of this kind.
pub(super) fn read(reader: &mut Reader<'_>) -> Option<PostgresConfig> {
    let defaults =
        Defaults { socket: "/run/postgresql", path: "the folder of a socket", port: 5432, account: "a role" };
    let server = server::read(reader, &defaults);
    let maintenance_db = reader.string("maintenance_db").unwrap_or_else(|| "postgres".into());
    let role_passwords = [("auto", RolePasswords::Auto), ("never", RolePasswords::Never)];
    let include_system = reader.boolean("include_system", false);
    let role_passwords = reader.choice("role_passwords", &role_passwords).unwrap_or(RolePasswords::Auto);
    Some(PostgresConfig { server: server?, maintenance_db, include_system, role_passwords })
}
