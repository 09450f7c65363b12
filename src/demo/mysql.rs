//! The second server of the demo: MariaDB or MySQL, if one is installed.

use std::{io::Write, path::PathBuf};

use super::environment::{Environment, Ran};
use crate::{
    error::{Error, Result},
    scratch::Rules,
    source::mysql::{
        clients::{Client, Clients},
        connect::Connection,
        scratch::{ADMINISTRATOR, MysqlServer, ServerPrograms},
    },
    stream::{cancel::Cancel, child::into_error},
};

/// Articles of a wiki, with objects that a dump could miss: a view, a routine, a trigger.
const WIKI: &str = "
CREATE DATABASE wiki CHARACTER SET utf8mb4;
USE wiki;
CREATE TABLE articles (
    id int PRIMARY KEY AUTO_INCREMENT,
    title varchar(200) NOT NULL,
    body mediumtext NOT NULL,
    changed timestamp NOT NULL
) ENGINE=InnoDB;
INSERT INTO articles (title, body, changed)
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
    SELECT CONCAT('Über Thema ', i), REPEAT(CONCAT(MD5(i), '\\n'), 1 + i % 40), '2026-01-01' + INTERVAL i HOUR FROM n;
CREATE VIEW newest AS SELECT id, title, changed FROM articles ORDER BY changed DESC LIMIT 10;
CREATE FUNCTION words(t mediumtext) RETURNS int DETERMINISTIC NO SQL
    RETURN LENGTH(t) - LENGTH(REPLACE(t, ' ', '')) + 1;
CREATE TRIGGER touched BEFORE UPDATE ON articles FOR EACH ROW SET NEW.changed = CURRENT_TIMESTAMP;
";

/// A summary of the wiki in one line, which is equal only if the content is.
pub(super) const WIKI_QUERY: &str = "SELECT COUNT(*) AS articles, SUM(LENGTH(body)) AS bytes, MAX(changed) AS last_change, \
     SUM(words(title)) AS words FROM articles";

/// The server and how to reach it.
pub(super) struct MysqlPart {
    client: Client,
    connection: Connection,
    server: MysqlServer,
}

impl MysqlPart {
    /// Starts a server with the wiki. `None` if none is installed.
    pub(super) fn start(env: &Environment, cancel: &Cancel) -> Result<Option<Self>> {
        let clients = Clients::find(&[]);
        let found = clients.all().ok().and_then(|all| {
            all.into_iter().find_map(|client| Some((client, ServerPrograms::find(client).ok()?)))
        });
        let Some((client, programs)) = found else { return Ok(None) };
        let folder = env.subfolder("mysql")?;
        let server = MysqlServer::start(&programs, &folder, &Rules::for_own_content(), cancel)?;
        let connection = server.params().prepare(client)?;
        let part = Self { client: client.clone(), connection, server };
        let mut input =
            part.connection.sql().arg("--default-character-set=utf8mb4").cancel(cancel).spawn_input()?;
        input.write_all(WIKI.as_bytes()).map_err(into_error)?;
        input.finish()?;
        Ok(Some(part))
    }

    /// Name and version of the server.
    pub(super) fn version(&self) -> String {
        format!("{} {}", self.client.flavour, self.client.version)
    }

    /// Its socket.
    pub(super) fn socket(&self) -> PathBuf {
        self.server.socket()
    }

    /// Its part of the configuration.
    pub(super) fn config(&self) -> String {
        let socket = toml::Value::String(self.socket().to_string_lossy().into_owned()).to_string();
        format!("\n[sources.wiki-server]\nkind = \"mysql\"\nhost = {socket}\nuser = \"{ADMINISTRATOR}\"\n")
    }

    /// Runs one statement in the SQL client.
    pub(super) fn query(&self, env: &Environment, database: &str, sql: &str) -> Result<Ran> {
        let name = self.client.sql.file_name().unwrap_or_default().to_string_lossy().into_owned();
        env.run(&name, self.connection.sql(), &["-u", ADMINISTRATOR, "-t", "-e", sql, database])
    }

    /// Stops the server.
    pub(super) fn stop(&mut self) -> Result<()> {
        self.server.stop().map_err(|error: Error| error.context("the second server"))
    }
}
