//! The self-test subjects: MySQL and MariaDB servers with known content.

use std::{
    fs,
    io::Write,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use super::{
    DUMP, Mysql,
    clients::{Client, Clients},
    config::MysqlConfig,
    scratch::{ADMINISTRATOR, MysqlServer, ServerPrograms},
};
use crate::{
    error::{Error, Result},
    scratch::Rules,
    settings::{DrillConfig, Host, Patterns},
    source::{
        Source,
        subject::{Named, Subject, Target},
        verify::{scratch_server, scratch_source},
    },
    stream::{cancel::Cancel, child::into_error},
};

const CONTENT: &str = "
CREATE DATABASE `self test` CHARACTER SET utf8mb4;
USE `self test`;
CREATE TABLE accounts (
    id int PRIMARY KEY AUTO_INCREMENT,
    name varchar(100) NOT NULL,
    amount decimal(12, 2) NOT NULL,
    KEY by_name (name)
) ENGINE=InnoDB;
CREATE TABLE numbers (n int PRIMARY KEY);
INSERT INTO numbers VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9);
INSERT INTO accounts (name, amount)
    SELECT CONCAT('account ', SHA2(a.n + b.n * 10 + c.n * 100, 224)), a.n + b.n FROM numbers a, numbers b, numbers c;
CREATE VIEW rich AS SELECT * FROM accounts WHERE amount > 10;
CREATE PROCEDURE nothing() SELECT 1;
CREATE TRIGGER checked BEFORE INSERT ON accounts FOR EACH ROW SET NEW.name = TRIM(NEW.name);
CREATE USER 'keeper'@'localhost' IDENTIFIED BY 'of a self-test';
CREATE ROLE reader;
GRANT SELECT ON `self test`.* TO reader;
GRANT reader TO 'keeper'@'localhost';
GRANT SELECT (id, name), UPDATE (name) ON `self test`.accounts TO 'keeper'@'localhost';
GRANT EXECUTE ON PROCEDURE `self test`.nothing TO 'keeper'@'localhost';
";

const CHANGE: &str = "
UPDATE `self test`.accounts SET amount = amount + 1 WHERE id % 3 = 0;
INSERT INTO `self test`.accounts (name, amount)
    SELECT CONCAT('new ', SHA2(a.n + b.n * 10, 224)), a.n FROM `self test`.numbers a, `self test`.numbers b;
";

const DAMAGES: &[(Target, &str, &str)] = &[
    (Target::Item, "one changed cell", "UPDATE accounts SET amount = amount + 0.01 WHERE id = 7"),
    (Target::Item, "one deleted row", "DELETE FROM accounts WHERE id = 7"),
    (Target::Item, "one added row", "INSERT INTO accounts (id, name, amount) VALUES (900000, 'x', 1)"),
    (
        Target::Item,
        "two values swapped between rows",
        "UPDATE accounts a JOIN accounts b ON b.id = 3 - a.id SET a.name = CONCAT('account ', SHA2(IF(a.id = 1, 1, 0), 224)) \
         WHERE a.id IN (1, 2)",
    ),
    (Target::Item, "a dropped index", "DROP INDEX by_name ON accounts"),
    (Target::Item, "a changed sequence", "ALTER TABLE accounts AUTO_INCREMENT = 500000"),
    (
        Target::Item,
        "a changed view",
        "CREATE OR REPLACE VIEW rich AS SELECT * FROM accounts WHERE amount > 11",
    ),
    (Target::Item, "a dropped procedure", "DROP PROCEDURE nothing"),
    (Target::Item, "a dropped trigger", "DROP TRIGGER checked"),
    (Target::Item, "another character set", "ALTER DATABASE CHARACTER SET latin1"),
    (Target::Globals, "a missing user", "DROP USER 'keeper'@'localhost'"),
    (Target::Globals, "a missing role", "DROP ROLE reader"),
    (Target::Globals, "a revoked grant", "REVOKE SELECT ON `self test`.* FROM reader"),
    (
        Target::Globals,
        "a revoked grant on a column",
        "REVOKE UPDATE (name) ON `self test`.accounts FROM 'keeper'@'localhost'",
    ),
    (Target::Globals, "another password", "ALTER USER 'keeper'@'localhost' IDENTIFIED BY 'another'"),
];

/// The content that was read is returned in an error message.
const ATTACKS: &[(&str, &str)] = &[
    (
        "the server reads a file (LOAD_FILE)",
        "SELECT EXTRACTVALUE(1, CONCAT('~', COALESCE(LOAD_FILE('{canary}'), 'nothing')))",
    ),
    (
        "the server reads a file (LOAD DATA)",
        "CREATE TEMPORARY TABLE loot (line text); LOAD DATA INFILE '{canary}' INTO TABLE loot; \
         SELECT EXTRACTVALUE(1, CONCAT('~', (SELECT MAX(line) FROM loot)))",
    ),
    (
        "the client sends a file (LOAD DATA LOCAL)",
        "SET GLOBAL local_infile = 1; CREATE TEMPORARY TABLE loot (line text); \
         LOAD DATA LOCAL INFILE '{canary}' INTO TABLE loot; \
         SELECT EXTRACTVALUE(1, CONCAT('~', (SELECT MAX(line) FROM loot)))",
    ),
    (
        "the server makes a table outside (DATA DIRECTORY)",
        "CREATE TABLE outside (a int) ENGINE=MyISAM DATA DIRECTORY='{folder}' INDEX DIRECTORY='{folder}'; \
         CREATE TABLE outside_too (a int) ENGINE=InnoDB DATA DIRECTORY='{folder}'",
    ),
    (
        "the server makes a tablespace outside (DATA DIRECTORY)",
        "CREATE TABLE outside (a int) ENGINE=InnoDB DATA DIRECTORY='{folder}'",
    ),
    ("the server writes a file (INTO OUTFILE)", "SELECT 'x' INTO OUTFILE '{marker}'"),
    (
        "the server gets itself a library (UDF)",
        "SET @put = CONCAT('SELECT 0x7f454c46 INTO DUMPFILE ''', @@plugin_dir, 'tik_backup_self_test.so'''); \
         PREPARE put FROM @put; EXECUTE put; SELECT EXTRACTVALUE(1, CONCAT('~', '{first}', '{second}'))",
    ),
];

struct Server {
    source: Mysql,
    server: MysqlServer,
    client: Client,
    cancel: Cancel,
}

/// A server of each family that is installed.
pub(super) fn subjects(drill: &DrillConfig, dir: &Path, cancel: &Cancel) -> Vec<Named> {
    let (named, usual) = (Clients::find(&drill.server_dirs), Clients::find(&[]));
    let all: Vec<&Client> = match (named.all(), usual.all()) {
        (Ok(named), Ok(usual)) => named.into_iter().chain(usual).collect(),
        (Ok(all), Err(_)) | (Err(_), Ok(all)) => all,
        (Err(_), Err(error)) => return vec![("mysql".to_owned(), Err(error))],
    };
    let mut subjects: Vec<Named> = Vec::new();
    let mut lacking = None;
    for client in all {
        let name = client.flavour.to_string();
        match ServerPrograms::of_line(client.flavour, client.version, &drill.server_dirs) {
            Ok(_) if subjects.iter().any(|(known, _)| *known == name) => {}
            Ok(programs) => {
                let rules = Rules::of(drill);
                let subject = subject(client, &programs, &dir.join(name.to_lowercase()), &rules, cancel);
                subjects.push((name, subject));
            }
            Err(error) => lacking = Some(error),
        }
    }
    if subjects.is_empty() {
        let error = lacking.unwrap_or_else(|| Error::failed("no MySQL or MariaDB server is installed"));
        subjects.push(("mysql".to_owned(), Err(error)));
    }
    subjects
}

fn subject(
    client: &Client,
    programs: &ServerPrograms,
    dir: &Path,
    rules: &Rules,
    cancel: &Cancel,
) -> Result<Box<dyn Subject>> {
    fs::DirBuilder::new()
        .mode(0o755)
        .create(dir)
        .map_err(|error| Error::from_io(format!("cannot create {}", dir.display()), error))?;
    let server = MysqlServer::start(programs, dir, rules, cancel)?;
    let mut config = MysqlConfig {
        server: scratch_server(
            Host::Socket(server.socket()),
            3306,
            ADMINISTRATOR,
            client.dump.parent().map(PathBuf::from).into_iter().collect(),
        ),
        exclude_tables: Patterns::default(),
    };
    config.server.databases = Patterns::all();
    let source = Mysql::new(&scratch_source(), &config)?;
    let server = Server { source, server, client: client.clone(), cancel: cancel.clone() };
    server.script(CONTENT)?;
    Ok(Box::new(server))
}

impl Server {
    fn script(&self, sql: &str) -> Result<()> {
        let connection = self.server.params().prepare(&self.client)?;
        let mut input =
            connection.sql().arg("--default-character-set=utf8mb4").cancel(&self.cancel).spawn_input()?;
        input.write_all(sql.as_bytes()).map_err(into_error)?;
        input.finish().map(drop)
    }
}

impl Subject for Server {
    fn name(&self) -> String {
        format!("{} {}", self.client.flavour, self.client.version)
    }

    fn source(&self) -> &dyn Source {
        &self.source
    }

    fn change(&self) -> Result<()> {
        self.script(CHANGE)
    }

    fn damages(&self) -> &'static [(Target, &'static str, &'static str)] {
        DAMAGES
    }

    fn file(&self) -> &'static str {
        DUMP
    }

    fn attacks(&self) -> &'static [(&'static str, &'static str)] {
        ATTACKS
    }
}
