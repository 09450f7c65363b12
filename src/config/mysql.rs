//! `kind = "mysql"`: a MySQL or MariaDB server.

use super::{
    reader::Reader,
    server::{self, Defaults, ServerConfig},
};

/// A MySQL or MariaDB server.
#[derive(Debug, Clone, PartialEq)]
pub struct MysqlConfig {
    /// How to reach it and what to take from it.
    pub server: ServerConfig,
}

/// Reads the keys of this kind.
pub(super) fn read(reader: &mut Reader<'_>) -> Option<MysqlConfig> {
    let defaults = Defaults {
        socket: "/run/mysqld/mysqld.sock",
        path: "the path of a socket",
        port: 3306,
        account: "an account",
    };
    server::read(reader, &defaults).map(|server| MysqlConfig { server })
}
