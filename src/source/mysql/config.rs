//! `kind = "mysql"`: a MySQL or MariaDB server.

use crate::{
    settings::{Patterns, reader::Reader},
    source::server::{self, Defaults, ServerConfig},
};

/// A MySQL or MariaDB server.
#[derive(Debug, Clone, PartialEq)]
pub struct MysqlConfig {
    /// The connection, and the selection of databases.
    pub server: ServerConfig,
    /// Tables and views to leave out, as `database.table`.
    pub exclude_tables: Patterns,
}

impl MysqlConfig {
    /// The configuration of a source, if it is of this kind.
    pub(crate) fn of<'a>(config: &'a (dyn crate::source::KindConfig + 'static)) -> Option<&'a Self> {
        (config as &dyn std::any::Any).downcast_ref()
    }
}

/// Reads the keys of this kind.
pub(super) fn read(reader: &mut Reader<'_>) -> Option<MysqlConfig> {
    let defaults = Defaults {
        socket: "/run/mysqld/mysqld.sock",
        path: "the path of a socket",
        port: 3306,
        account: "an account",
    };
    let exclude_tables = read_tables(reader);
    server::read(reader, &defaults).map(|server| MysqlConfig { server, exclude_tables })
}

/// Reads `exclude_tables`: each pattern has the name of the database in front, both without quotes.
fn read_tables(reader: &mut Reader<'_>) -> Patterns {
    let patterns = reader.patterns("exclude_tables").unwrap_or_default();
    for pattern in patterns.iter() {
        let what = if !pattern.contains('.') {
            format!(
                "{pattern:?} names no database: write \"DATABASE.TABLE\", for example \"shop.{pattern}\", or \"*.{pattern}\" \
                 for every database"
            )
        } else if pattern.starts_with('.') || pattern.ends_with('.') {
            format!(
                "{pattern:?} lacks the database or the table: write \"DATABASE.TABLE\", with * for all of them"
            )
        } else if pattern
            .split('.')
            .any(|part| part.len() > 1 && part.starts_with('`') && part.ends_with('`'))
        {
            format!(
                "{pattern:?} has quotes, which are not part of the names: write the names as they are, without quotes"
            )
        } else {
            continue;
        };
        reader.problem("exclude_tables", &what);
    }
    patterns
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::settings::{Host, SslMode, testing};

    fn mysql(keys: &str) -> MysqlConfig {
        testing::read(keys, read).unwrap()
    }

    #[test]
    fn a_mysql_source_has_the_same_words() {
        let socket = mysql("");
        assert_eq!(socket.server.host, Host::Socket("/run/mysqld/mysqld.sock".into()));
        assert_eq!((socket.server.port, socket.server.sslmode, socket.server.globals), (3306, None, true));
        let remote = mysql("host = \"db.example\"\nuser = \"u\"\nexclude = [\"tmp_*\"]\n");
        assert_eq!(remote.server.sslmode, Some(SslMode::VerifyFull), "a remote server is verified");
        assert_eq!(remote.server.exclude.matched("tmp_1"), Some("tmp_*"));
        assert!(socket.exclude_tables.is_empty());
        let some = mysql("exclude_tables = [\"shop.tmp_*\", \"*.cache\"]\n").exclude_tables;
        assert_eq!(some.matched("shop.tmp_1"), Some("shop.tmp_*"));
        assert_eq!(some.matched("any.cache"), Some("*.cache"));
        assert_eq!(some.matched("shop.cached"), None);
        assert_eq!(mysql("host = \"127.0.0.1\"\nuser = \"u\"\n").server.sslmode, Some(SslMode::Prefer));
    }
}
