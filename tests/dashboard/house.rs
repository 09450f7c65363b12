//! A history in which everything that happens has happened: real backups of real folders and a real server that is gone,
//! something that vanished, odd names, a thousand items of a year, and a run that goes on.

use std::{fs, path::PathBuf};

use jiff::{Span, Zoned};
use rusqlite::Connection;
use serde_json::json;
use tik_backup::{
    backup::{ItemOutcome, ItemReport},
    config::AnomalyRules,
    history::{Content, History, Look, RunBegin, RunEnd, RunRecord},
    source::{Discovery, Excluded, Item},
    stream::digest::Digest128,
};

use crate::common::{Cmd, Config, ConfigBuilder, program::quoted};

/// A name that is markup, and a quote that would end an attribute.
pub const MARKUP: &str = "<img src=x onerror=alert(1)>\"'&amp; shop";
pub const ITEMS: usize = 1000;
const DAYS: i64 = 365;

pub struct House {
    pub config: Config,
    history: &'static History,
    /// Kept alive: a run that goes on.
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
            .source("tenants", "kind = \"postgres\"\nhost = \"/nowhere\"\nschedule = \"02:00\"")
            .build();
        Cmd::with(&config).arg("init").run().ok();
        Cmd::with(&config).args(["backup", "files"]).run().ok();
        Cmd::with(&config).args(["drill", "files/plain"]).run().ok();
        Cmd::with(&config).args(["backup", "gone"]).run().expect_code(1);
        // One path less in the configuration, one item less in the source.
        let text = fs::read_to_string(config.path()).unwrap();
        fs::write(config.path(), text.replace(&list(&paths), &list(&paths[..2]))).unwrap();
        Cmd::with(&config).args(["backup", "files"]).run().ok();

        let history: &'static History =
            Box::leak(Box::new(History::open(&config.state_dir(), Look::Brief).unwrap()));
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

fn a_year(history: &History, config: &Config) {
    let now = Zoned::now();
    let begin = now.checked_sub(Span::new().days(DAYS)).unwrap();
    let found = Discovery {
        items: (0..ITEMS)
            .map(|number| Item { name: tenant(number), estimate: Some(1 << 20), problem: None })
            .collect(),
        excluded: vec![Excluded { name: "scratch_1".to_owned(), rule: "exclude: scratch_*".to_owned() }],
    };
    let run = |day: i64| {
        let now = begin.checked_add(Span::new().days(day)).unwrap();
        let sources = [("tenants".to_owned(), "postgres")];
        let name = format!("year-{day}");
        let start = RunBegin {
            name: &name,
            kind: "backup",
            started: &now,
            host: "db1",
            sources: &sources,
            invocation: None,
        };
        let run = history.begin_run(&start).unwrap();
        run.discovered("tenants", "postgres", &found, &now).unwrap();
        for number in 0..ITEMS {
            let (report, content) = report(number, day, &now);
            run.item_finished(&report, Some(&content), &AnomalyRules::default(), &now).unwrap();
        }
        run.finish(&RunEnd { outcome: "partial", error: None, forgotten: 0 }, &now).unwrap();
    };
    run(1);
    // Those between are copies of the first with other numbers.
    let mut database = Connection::open(config.state_dir().join("history.db")).unwrap();
    let copy = database.transaction().unwrap();
    for day in 2..DAYS {
        copy.execute(
            "INSERT INTO run (name, kind, host, started, ended, outcome, told) SELECT 'year-' || ?1, kind, host, \
             started + (?1 - 1) * 86400000, ended + (?1 - 1) * 86400000, outcome, told FROM run WHERE name = 'year-1'",
            [day],
        )
        .unwrap();
        copy.execute(
            "INSERT INTO attempt SELECT ?1, item, began, took, outcome, bytes_read + ?2 * 777, bytes_added, \
             bytes + ?2 * 777, rows + ?2, random(), error FROM attempt WHERE run = (SELECT id FROM run WHERE name = 'year-1')",
            [copy.last_insert_rowid(), day],
        )
        .unwrap();
    }
    copy.commit().unwrap();
    drop(database);
    run(DAYS);
}

fn report(number: usize, day: i64, now: &Zoned) -> (ItemReport, Content) {
    let bytes = 50_000_000 + (number as u64) * 1000 + day.unsigned_abs() * 777;
    // One of them fails in the end.
    let failed = number == 7 && day == DAYS;
    let report = ItemReport {
        source: "tenants".to_owned(),
        item: Some(tenant(number)),
        kind: "postgres".to_owned(),
        outcome: if failed { ItemOutcome::Failed } else { ItemOutcome::Ok },
        snapshot: Some(Digest128::of(format!("{number} {day}").as_bytes()).to_string().repeat(2)),
        bytes_read: bytes,
        bytes_added: bytes / 100,
        seconds: 1.0 + (number % 60) as f64,
        error: failed.then(|| {
            "permission denied for table <b>orders</b>\n  → GRANT pg_read_all_data TO backup".to_owned()
        }),
        notes: Vec::new(),
        suspicious: Vec::new(),
    };
    let content = Content {
        time: now.timestamp().as_millisecond(),
        bytes,
        rows: Some(100_000 + day.unsigned_abs()),
        ..Content::default()
    };
    (report, content)
}

/// A run of this process, with what it would write down of how far it is.
fn going_on(history: &'static History, config: &Config) -> RunRecord<'static> {
    let now = Zoned::now();
    let sources = [("tenants".to_owned(), "postgres")];
    let start = RunBegin {
        name: "going-on",
        kind: "backup",
        started: &now,
        host: "db1",
        sources: &sources,
        invocation: None,
    };
    let run = history.begin_run(&start).unwrap();
    run.item_started("tenants", &tenant(1), "postgres", &now).unwrap();
    let progress = json!({
        "at": now, "items": 1000, "done": 411, "failed": 2, "bytes": 7_516_192_768_u64, "bytes_per_second": 104_857_600.0,
        "running": [{"item": "tenants/tenant_0001", "bytes": 1_073_741_824, "estimate": 2_147_483_648_u64, "started": now}]
    });
    fs::write(config.state_dir().join("running/going-on.json"), progress.to_string()).unwrap();
    run
}
