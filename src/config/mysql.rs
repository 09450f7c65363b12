//! `kind = "mysql"`: how to reach a MySQL or MariaDB server and what to take from it.

use std::path::PathBuf;

use super::{
    patterns::Patterns,
    reader::Reader,
    secret::SecretFile,
    server::{self, Host, RootCertificates, SslMode},
};

/// A MySQL or MariaDB server.
#[derive(Debug, Clone, PartialEq)]
pub struct MysqlConfig {
    /// Where the server listens.
    pub host: Host,
    /// TCP port.
    pub port: u16,
    /// Account to connect as. `None` only for sockets: the name of the user that runs the program.
    pub user: Option<String>,
    /// File with the account's password.
    pub password_file: Option<SecretFile>,
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
    /// Folders to search for `mysqldump`, `mariadb-dump` and their like; empty: the usual places.
    pub client_dirs: Vec<PathBuf>,
    /// Whether users, roles and grants are backed up as `@globals`.
    pub globals: bool,
}

/// Reads the keys of this kind.
pub(super) fn read(reader: &mut Reader<'_>) -> Option<MysqlConfig> {
    let host = server::read_host(reader, "/run/mysqld/mysqld.sock", "the path of a socket");
    let user = reader.string("user");
    if user.is_none() && matches!(host, Some(Host::Tcp(_))) {
        reader.missing("user", "a connection over TCP needs the name of an account");
    }
    let port = reader.integer("port", 1..=65_535).and_then(|port| port.try_into().ok()).unwrap_or(3306);
    let password_file = reader.secret_file("password_file");
    let (sslmode, sslrootcert) = server::read_tls(reader, host.as_ref());
    let (sslcert, sslkey) = server::read_certificate(reader);
    Some(MysqlConfig {
        host: host?,
        port,
        user,
        password_file,
        sslmode,
        sslrootcert,
        sslcert,
        sslkey,
        databases: server::read_databases(reader),
        exclude: reader.patterns("exclude").unwrap_or_default(),
        client_dirs: reader.paths("client_dirs"),
        globals: reader.boolean("globals", true),
    })
}
