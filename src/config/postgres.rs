//! `kind = "postgres"`: how to reach a PostgreSQL server and what to take from it.

use std::path::PathBuf;

use super::{
    patterns::Patterns,
    reader::Reader,
    secret::SecretFile,
    server::{self, Host, RootCertificates, SslMode},
};

/// A PostgreSQL server.
#[derive(Debug, Clone, PartialEq)]
pub struct PostgresConfig {
    /// Where the server listens.
    pub host: Host,
    /// TCP port, or the number in the socket's file name.
    pub port: u16,
    /// Role to connect as. `None` only for sockets: the name of the user that runs the program, as libpq has it.
    pub user: Option<String>,
    /// File with the role's password.
    pub password_file: Option<SecretFile>,
    /// Database to connect to for discovery.
    pub maintenance_db: String,
    /// TLS demand; `None` for sockets.
    pub sslmode: Option<SslMode>,
    /// Certificates that the server's one is checked against.
    pub sslrootcert: Option<RootCertificates>,
    /// Client certificate; set together with `sslkey`.
    pub sslcert: Option<PathBuf>,
    /// Key of the client certificate.
    pub sslkey: Option<PathBuf>,
    /// Databases to back up.
    pub databases: Patterns,
    /// Databases to leave out.
    pub exclude: Patterns,
    /// Whether the built-in databases are backed up too.
    pub include_system: bool,
    /// Folders to search for `pg_dump` and its like; empty: the usual places.
    pub client_dirs: Vec<PathBuf>,
    /// Whether roles and tablespaces are backed up as `@globals`.
    pub globals: bool,
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

/// Reads the keys of this kind.
pub(super) fn read(reader: &mut Reader<'_>) -> Option<PostgresConfig> {
    let host = server::read_host(reader, "/run/postgresql", "the folder of a socket");
    let user = reader.string("user");
    if user.is_none() && matches!(host, Some(Host::Tcp(_))) {
        reader.missing("user", "a connection over TCP needs the name of a role");
    }
    let port = reader.integer("port", 1..=65_535).and_then(|port| port.try_into().ok()).unwrap_or(5432);
    let password_file = reader.secret_file("password_file");
    let maintenance_db = reader.string("maintenance_db").unwrap_or_else(|| "postgres".into());
    let (sslmode, sslrootcert) = server::read_tls(reader, host.as_ref());
    let (sslcert, sslkey) = server::read_certificate(reader);
    let databases = server::read_databases(reader);
    let role_passwords = [("auto", RolePasswords::Auto), ("never", RolePasswords::Never)];
    Some(PostgresConfig {
        host: host?,
        port,
        user,
        password_file,
        maintenance_db,
        sslmode,
        sslrootcert,
        sslcert,
        sslkey,
        databases,
        exclude: reader.patterns("exclude").unwrap_or_default(),
        include_system: reader.boolean("include_system", false),
        client_dirs: reader.paths("client_dirs"),
        globals: reader.boolean("globals", true),
        role_passwords: reader.choice("role_passwords", &role_passwords).unwrap_or(RolePasswords::Auto),
    })
}
