//! A history with all kinds of events: real backups of real directories and of a real server that is gone, a vanished
//! item, odd names, a thousand items with a year of history, and a run in progress.

use std::{fs, path::PathBuf};

use jiff::Zoned;
use rusqlite::Connection;
use serde_json::json;
use testkit::{Cmd, Config, ConfigBuilder, program::quoted};
use tik_backup::{
    config::AnomalyRules,
    error::Problem,
    history::{Check, History, RunBegin, RunEnd, RunRecord},
    outcome::{ItemOutcome, ItemReport},
    source::{Discovery, Excluded, Item},
};

/// A name that is markup, and a quote that would end an attribute.
pub const MARKUP: &str = "<img src=x onerror=alert(1)>\"'&amp; shop";
pub const ITEMS: usize = 1000;
const DAYS: i64 = 365;

pub struct House {
    pub config: Config,
    history: &'static History,
    /// Kept alive: a run in progress.
    _running: RunRecord<'static>,
}

impl House {
    pub fn build() -> Self {
        let folders = tempfile::tempdir().unwrap().keep();
        let folder = |name: &str| {
            let path = folders.join(name);
            fs::create_dir_all(path.join("inside")).unwrap();
            fs::write(path.join("inside/file"), name).unwrap();
            path
        };
        let paths = [folder("plain"), folder(&MARKUP.replace('/', "_")), folder("vanishing")];
        let list = |paths: &[PathBuf]| {
            let quoted: Vec<_> = paths.iter().map(|path| quoted(&path.display().to_string())).collect();
            format!("kind = \"directory\"\nschedule = \"daily\"\npaths = [{}]", quoted.join(", "))
        };
        let config = ConfigBuilder::new()
            .source("files", &list(&paths))
            .source(
                "gone",
                "kind = \"postgres\"\nhost = \"127.0.0.1\"\nport = 1\nuser = \"x\"\nschedule = \"02:00\"",
            )
            .source("tenants", &list(&(0..ITEMS).map(|number| folder(&tenant(number))).collect::<Vec<_>>()))
            .build();
        Cmd::with(&config).arg("init").run().ok();
        Cmd::with(&config).args(["backup", "files", "tenants"]).run().ok();
        Cmd::with(&config).args(["drill", "files/plain"]).run().ok();
        Cmd::with(&config).args(["backup", "gone"]).run().expect_code(1);
        // Remove one path from the configuration and one item from the source.
        let text = fs::read_to_string(config.path()).unwrap();
        fs::write(config.path(), text.replace(&list(&paths), &list(&paths[..2]))).unwrap();
        Cmd::with(&config).args(["backup", "files"]).run().ok();

        let ours = tik_backup::config::Config::load(Some(&config.path())).unwrap();
        let history: &'static History = Box::leak(Box::new(History::open(&ours, Check::Quick).unwrap()));
        a_year(history, &config);
        let running = going_on(history, &config);
        Self { config, history, _running: running }
    }

    pub fn history(&self) -> &History {
        self.history
    }
}

fn tenant(number: usize) -> String {
    format!("tenant_{number:04}")
}

/// Copies the real backup to every day of a year before it, with other numbers; then adds a run with a failure.
fn a_year(history: &History, config: &Config) {
    let mut database = Connection::open(config.state_dir().join("history.db")).unwrap();
    let copy = database.transaction().unwrap();
    let real: i64 = copy
        .query_row(
            "SELECT run FROM attempt JOIN item ON item.id = item WHERE source = 'tenants' LIMIT 1",
            [],
            |row| row.get(0),
        )
        .unwrap();
    // Runs are numbered in the order of their start.
    copy.execute_batch("UPDATE run SET id = id + 10000; UPDATE attempt SET run = run + 10000; UPDATE discovery SET run = run + 10000; \
                        UPDATE drill SET run = run + 10000;")
        .unwrap();
    for day in 1..DAYS {
        copy.execute(
            "INSERT INTO run (id, name, kind, host, started, ended, outcome, told) SELECT 9000 - ?1, 'day-' || ?1, kind, host, \
             started - ?1 * 86400000, ended - ?1 * 86400000, outcome, told FROM run WHERE id = ?2 + 10000",
            [day, real],
        )
        .unwrap();
        copy.execute(
            "INSERT INTO attempt SELECT 9000 - ?1, item, began, took + ?1 * 3, outcome, bytes_read + (365 - ?1) * 777, bytes_added, \
             bytes + (365 - ?1) * 777, rows, random(), error FROM attempt WHERE run = ?2 + 10000",
            [day, real],
        )
        .unwrap();
    }
    copy.commit().unwrap();
    drop(database);

    let now = Zoned::now();
    let sources = [("tenants".to_owned(), "directory")];
    let start = RunBegin {
        name: "last",
        kind: "backup",
        started: &now,
        host: "db1",
        sources: &sources,
        invocation: None,
    };
    let run = history.begin_run(&start).unwrap();
    let found = Discovery {
        items: (0..ITEMS)
            .map(|number| Item { name: tenant(number), estimate: None, problem: None })
            .collect(),
        excluded: vec![Excluded { name: "scratch_1".to_owned(), rule: "exclude: scratch_*".to_owned() }],
        ..Discovery::default()
    };
    run.discovered("tenants", "directory", &found, &now).unwrap();
    let report = ItemReport {
        source: "tenants".to_owned(),
        item: Some(tenant(7)),
        kind: "directory".to_owned(),
        outcome: ItemOutcome::Failed,
        snapshot: None,
        bytes_read: 1234,
        bytes_added: 0,
        seconds: 2.5,
        error: Some(
            Problem::new("permission denied for table <b>orders</b>")
                .hint("GRANT pg_read_all_data TO backup"),
        ),
        notes: Vec::new(),
        known_items: None,
        suspicious: Vec::new(),
        omitted: Vec::new(),
    };
    run.item_finished(&report, None, &AnomalyRules::default(), &now).unwrap();
    run.finish(&RunEnd { outcome: "partial", error: None, fails_sources: true, forgotten: 0 }, &now).unwrap();
}

/// A run of this process, with a progress file.
fn going_on(history: &'static History, config: &Config) -> RunRecord<'static> {
    let now = Zoned::now();
    let sources = [("tenants".to_owned(), "directory")];
    let start = RunBegin {
        name: "going-on",
        kind: "backup",
        started: &now,
        host: "db1",
        sources: &sources,
        invocation: None,
    };
    let run = history.begin_run(&start).unwrap();
    run.item_started("tenants", &tenant(1), "directory", &now).unwrap();
    let progress = json!({
        "at": now, "items": 1000, "done": 411, "failed": 2, "bytes": 7_516_192_768_u64, "bytes_per_second": 104_857_600.0,
        "running": [{"item": "tenants/tenant_0001", "bytes": 1_073_741_824, "estimate": 2_147_483_648_u64, "started": now}]
    });
    fs::write(config.state_dir().join("running/going-on.json"), progress.to_string()).unwrap();
    run
}
