//! A PostgreSQL server that is backed up, a receiver of alerts, and a clock that is set for each command.

use std::path::PathBuf;

use serde_json::Value;

use crate::{
    Cmd, Config, ConfigBuilder, PgServer, PgVersion, Ran, Tool,
    postgres::quote,
    program::quoted,
    receiver::{Receiver, Request},
};

/// A value for secrets; it must never be printed.
pub const HOOK_SECRET: &str = "T0KEN-hook-5ecret";

pub struct Site {
    pub server: PgServer,
    pub config: Config,
    pub receiver: Receiver,
}

/// Additions of a test to the configuration.
#[derive(Default, Clone, Copy)]
pub struct More<'a> {
    /// Lines of the source.
    pub source: &'a str,
    /// Lines at the top.
    pub top: &'a str,
    /// Lines of the webhook.
    pub hook: &'a str,
    /// Further tables.
    pub tables: &'a str,
}

impl Site {
    /// The source `pg` with these databases, each with 1,000 rows in `t`, every day at two; its repository exists.
    /// `None`, with a visible skip, if a tool is missing.
    pub fn new(databases: &[&str], more: More<'_>) -> Option<Self> {
        if !Tool::Pg15.or_skip() || !Tool::Faketime.or_skip() {
            return None;
        }
        let server = PgServer::start(PgVersion::V15);
        for database in databases {
            server.create_database(database);
            fill(&server, database, "t", 1000);
        }
        server.psql("postgres", "CREATE ROLE reader LOGIN IN ROLE pg_read_all_data");
        let receiver = Receiver::start();
        let builder = ConfigBuilder::new().top(more.top);
        let url = builder.secret("hook-url", &receiver.url(&format!("/hooks/{HOOK_SECRET}")));
        let hook = format!(
            "[[alerts]]\nkind = \"webhook\"\nurl_file = {}\n{}\n",
            quoted(&url.display().to_string()),
            more.hook
        );
        let source = format!(
            "kind = \"postgres\"\nhost = {}\nport = {}\nuser = \"reader\"\nschedule = \"02:00\"\nglobals = false\n{}",
            quoted(&server.socket_dir().display().to_string()),
            server.port(),
            more.source
        );
        let config = builder.tables(&hook).tables(more.tables).source("pg", &source).build();
        Cmd::with(&config).arg("init").run().ok();
        Some(Self { server, config, receiver })
    }

    /// The program at this moment of its clock, such as `2026-10-05 02:00:00`, in UTC.
    pub fn at(&self, moment: &str) -> Cmd {
        at(Cmd::with(&self.config), moment)
    }

    /// Backs everything up at this moment.
    pub fn backup_at(&self, moment: &str) -> Ran {
        self.at(moment).args(["--json", "backup"]).run()
    }

    /// The ledger at this moment.
    pub fn status_at(&self, moment: &str) -> Value {
        self.at(moment).args(["--json", "status"]).run().ok().json()
    }

    /// The exit code of `status --check` at this moment.
    pub fn check_at(&self, moment: &str) -> Option<i32> {
        self.at(moment).args(["status", "--check"]).run().code()
    }

    /// The messages that arrived since the last time.
    pub fn messages(&self) -> Vec<Value> {
        self.receiver.take().iter().map(Request::json).collect()
    }

    /// Ids of the snapshots of a database, oldest first.
    pub fn snapshots(&self, database: &str) -> Vec<String> {
        let listed =
            Cmd::with(&self.config).args(["--json", "snapshots", &format!("pg/{database}")]).run().ok();
        let ids = |list: &Value| list["id"].as_str().unwrap().to_owned();
        listed.json()["snapshots"].as_array().unwrap().iter().map(ids).collect()
    }

    /// Revokes the backup account's right to connect to a database.
    pub fn forbid(&self, database: &str) {
        self.server.psql("postgres", &format!("REVOKE CONNECT ON DATABASE {} FROM PUBLIC", quote(database)));
    }

    /// Grants it again.
    pub fn allow(&self, database: &str) {
        self.server.psql("postgres", &format!("GRANT CONNECT ON DATABASE {} TO PUBLIC", quote(database)));
    }

    pub fn history(&self) -> PathBuf {
        self.config.state_dir().join("history.db")
    }
}

/// The same command under another clock, which runs on from there.
pub fn at(cmd: Cmd, moment: &str) -> Cmd {
    cmd.env("LD_PRELOAD", Tool::Faketime.path().unwrap())
        .env("FAKETIME", format!("@{moment}"))
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("TZ", "UTC")
}

/// Creates a table with this number of rows.
pub fn fill(server: &PgServer, database: &str, table: &str, rows: u64) {
    server.psql(
        database,
        &format!(
            "CREATE TABLE {table} AS SELECT i AS id, md5(i::text) AS text FROM generate_series(1, {rows}) i"
        ),
    );
}

/// The entry of an item in a ledger.
#[track_caller]
pub fn item<'v>(ledger: &'v Value, name: &str) -> &'v Value {
    let entries = ledger["items"].as_array().unwrap();
    let found = entries.iter().find(|entry| entry["item"] == name);
    found.unwrap_or_else(|| panic!("the ledger has no {name}: {ledger:#}"))
}

/// `subject: kind` of lines of a message.
pub fn lines(lines: &Value) -> Vec<String> {
    let one =
        |line: &Value| format!("{}: {}", line["subject"].as_str().unwrap(), line["kind"].as_str().unwrap());
    lines.as_array().unwrap().iter().map(one).collect()
}
