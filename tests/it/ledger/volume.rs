//! Ten thousand items and a year of daily history.

use std::fs;

use jiff::{Span, Zoned};
use rusqlite::Connection;
use tik_backup::{
    config::{AnomalyRules, Config},
    history::{Check, Content, History, RunBegin, RunEnd, builder, ledger::State},
    outcome::{ItemOutcome, ItemReport},
    source::{Discovery, Item},
    stream::digest::Digest128,
    survey::not_surveyed,
};

const ITEMS: usize = 10_000;
const DAYS: i64 = 365;

/// Tests the size of the history, and that everything is found again.
#[test]
fn a_year_of_ten_thousand_items_is_small_and_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let text = "state_dir = \"state\"\nmax_proof_age = \"never\"\n[repository]\nlocation = \"r\"\npassword_file = \"p\"\n\
                [sources.pg]\nkind = \"postgres\"\nschedule = \"02:00\"\n";
    let config = Config::parse(text, &dir.path().join("c.toml")).unwrap();
    let history = History::open(&config, Check::Full).unwrap();
    let begin: Zoned = "2026-01-01T02:00:00+00:00[UTC]".parse().unwrap();
    let items: Vec<String> = (0..ITEMS).map(|number| format!("tenant_{number:05}")).collect();
    let found = Discovery {
        items: items
            .iter()
            .map(|name| Item { name: name.clone(), estimate: Some(1 << 20), problem: None })
            .collect(),
        excluded: Vec::new(),
        ..Discovery::default()
    };
    let run = |day: i64| {
        let now = begin.checked_add(Span::new().days(day)).unwrap();
        let sources = [("pg".to_owned(), "postgres")];
        let name = format!("run {day}");
        let start = RunBegin {
            name: &name,
            kind: "backup",
            started: &now,
            host: "db1",
            sources: &sources,
            invocation: None,
        };
        let run = history.begin_run(&start).unwrap();
        run.discovered("pg", "postgres", &found, &now).unwrap();
        for (number, item) in items.iter().enumerate() {
            let (report, content) = report(number as u64, day as u64, item);
            run.item_finished(&report, Some(&content), &AnomalyRules::default(), &now).unwrap();
        }
        run.finish(&RunEnd { outcome: "ok", error: None, fails_sources: true, forgotten: 0 }, &now).unwrap();
    };
    run(0);
    run(1);
    // The days between are copies of the second with other ids, and each item has ten snapshots.
    let mut database = Connection::open(dir.path().join("state/history.db")).unwrap();
    let copy = database.transaction().unwrap();
    for day in 2..DAYS - 1 {
        let number = day + 1;
        copy.execute(
            "INSERT INTO run SELECT ?1, 'run ' || ?2, kind, host, invocation, started + (?2 - 1) * 86400000, \
             ended + (?2 - 1) * 86400000, outcome, error, forgotten, told FROM run WHERE id = 2",
            [number, day],
        )
        .unwrap();
        copy.execute(
            "INSERT INTO attempt SELECT ?1, item, began + ?2, took, outcome, bytes_read + ?2 * 777, bytes_added + ?2 * 7, \
             bytes + ?2 * 777, rows + ?2, random(), error FROM attempt WHERE run = 2",
            [number, day],
        )
        .unwrap();
    }
    copy.execute(
        "INSERT INTO snapshot (id, item, time, bytes, host, source) \
         SELECT randomblob(32), item, time + value * 86400000, bytes, host, source FROM snapshot, \
         json_each('[1,2,3,4,5,6,7,8]') WHERE time < 1767300000000",
        [],
    )
    .unwrap();
    copy.commit().unwrap();
    drop(database);
    run(DAYS - 1);
    let now = begin.checked_add(Span::new().days(DAYS - 1).hours(1)).unwrap();
    let input = builder::LedgerInput {
        config: &config,
        now: &now,
        repository: not_surveyed(&config),
        notes: Vec::new(),
    };
    let ledger = history.ledger(input).unwrap();
    assert_eq!(ledger.items.len(), ITEMS);
    let one = &ledger.items[4711];
    assert_eq!((one.state, one.trend.len(), one.snapshots), (State::Protected, 3, 11));
    assert_eq!(one.rows, Some(100_364));
    drop(history);
    let bytes = fs::metadata(dir.path().join("state/history.db")).unwrap().len();
    assert!(bytes < 200 << 20, "{} MiB", bytes >> 20);
}

fn report(number: u64, day: u64, item: &str) -> (ItemReport, Content) {
    let bytes = 50_000_000 + number * 1000 + day * 777;
    let mut id = Digest128::of(format!("{number} {day}").as_bytes()).to_string();
    id = id.repeat(2);
    let report = ItemReport {
        source: "pg".to_owned(),
        item: Some(item.to_owned()),
        kind: "postgres".to_owned(),
        outcome: ItemOutcome::Ok,
        snapshot: Some(id),
        bytes_read: bytes,
        bytes_added: bytes / 100,
        seconds: 1.234,
        error: None,
        notes: Vec::new(),
        known_items: None,
        suspicious: Vec::new(),
        omitted: Vec::new(),
    };
    let content = Content {
        time: 1_767_232_800_000 + i64::try_from(day).unwrap() * 86_400_000,
        bytes,
        rows: Some(100_000 + day),
        ..Content::default()
    };
    (report, content)
}
