//! Consecutive nights of a database, as judged by its history.

use jiff::{Span, Zoned};

use super::*;
use crate::{
    history::{History, RunBegin, RunEnd},
    outcome::{ItemOutcome, ItemReport},
    source::{
        directory,
        manifest::{Digested, File, Manifest, Object, Partitioned, TableName},
        postgres::Detail,
    },
    stream::digest::Digest128,
};

#[path = "losses_series_tests.rs"]
mod series;

/// A database that is backed up every night.
struct Nights {
    history: History,
    night: i64,
    /// Bytes of the dump.
    bytes: u64,
}

impl Nights {
    fn new() -> Self {
        Self { history: History::in_memory().unwrap(), night: 0, bytes: 1 << 20 }
    }

    fn moment(&self) -> Zoned {
        let begin: Zoned = "2026-10-05T02:00:00+00:00[UTC]".parse().unwrap();
        begin.checked_add(Span::new().days(self.night)).unwrap()
    }

    /// Backs up tables with these row counts. `root/part` is the partition `part` of the table `root`; a name that ends
    /// with `/` is a partitioned table without partitions. Returns the anomalies.
    fn night(&mut self, tables: &[(&str, u64)]) -> Vec<String> {
        self.night += 1;
        let mut manifest = Manifest::begin("pg", "shop", "postgres");
        manifest.started = self.moment();
        manifest.digested = Digested::Yes;
        manifest.files = vec![File { path: "dump".into(), bytes: self.bytes }];
        let mut partitioned: Vec<Partitioned> = Vec::new();
        for (name, rows) in tables {
            let (root, name) = name.split_once('/').map_or((None, *name), |(root, name)| (Some(root), name));
            if let Some(root) = root {
                if !partitioned.iter().any(|other| other.name == root) {
                    let root = Partitioned { schema: "s".into(), name: root.into(), partitions: Vec::new() };
                    partitioned.push(root);
                }
                let root = partitioned.iter_mut().find(|other| other.name == root).unwrap();
                root.partitions.push(TableName { schema: "s".into(), name: name.into() });
            }
            if !name.is_empty() {
                manifest.objects.push(Object {
                    kind: "table".into(),
                    schema: Some("s".into()),
                    name: name.into(),
                    rows: *rows,
                    bytes: *rows,
                    digest: Digest128::of(format!("{name} {rows}").as_bytes()),
                });
            }
        }
        manifest.set_detail(Detail { partitioned, ..Detail::default() });
        self.finish(&manifest)
    }

    /// Backs up a folder of so many files and directories.
    fn folder(&mut self, files: u64, folders: u64) -> Vec<String> {
        let manifest = self.folder_manifest(files, folders);
        self.finish(&manifest)
    }

    fn folder_manifest(&mut self, files: u64, folders: u64) -> Manifest {
        self.night += 1;
        let mut manifest = Manifest::begin("pg", "shop", "directory");
        manifest.started = self.moment();
        manifest.digested = Digested::Yes;
        manifest.objects.push(Object {
            kind: "folder".into(),
            schema: None,
            name: "/srv/e".into(),
            rows: files + folders,
            bytes: files,
            digest: Digest128::of(format!("{files} {folders}").as_bytes()),
        });
        manifest.set_detail(directory::Detail {
            path: "/srv/e".into(),
            files,
            folders,
            ..Default::default()
        });
        manifest
    }

    fn finish(&self, manifest: &Manifest) -> Vec<String> {
        let (name, now) = (format!("run {}", self.night), self.moment());
        let report = ItemReport {
            source: "pg".into(),
            item: Some("shop".into()),
            kind: "postgres".into(),
            outcome: ItemOutcome::Ok,
            snapshot: None,
            bytes_read: 1,
            bytes_added: 1,
            seconds: 1.0,
            error: None,
            notes: Vec::new(),
            known_items: None,
            suspicious: Vec::new(),
            omitted: Vec::new(),
        };
        let sources = [("pg".to_owned(), "postgres")];
        let begin = RunBegin {
            name: &name,
            kind: "backup",
            started: &now,
            host: "db1",
            sources: &sources,
            invocation: None,
        };
        let run = self.history.begin_run(&begin).unwrap();
        let content = Content::of(manifest);
        let found = run.item_finished(&report, Some(&content), &AnomalyRules::default(), &now).unwrap();
        run.finish(&RunEnd { outcome: "ok", error: None, fails_sources: true, forgotten: 0 }, &now).unwrap();
        found.into_iter().map(|finding| finding.text).collect()
    }

    /// Accepts at noon of the day after the last night. Returns the number of accepted anomalies.
    fn accept(&self) -> usize {
        let noon = self.moment().checked_add(Span::new().hours(10)).unwrap();
        let accepted = self.history.accept(&|_, _| true, &noon).unwrap();
        accepted.into_iter().map(|item| item.changes.len()).sum()
    }

    fn is_held(&self) -> bool {
        self.history.held_from("pg", "shop").unwrap().is_some()
    }
}

fn none(found: Vec<String>) {
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn a_small_table_that_dipped_is_not_one_that_lives_that_way() {
    let mut nights = Nights::new();
    for rows in [3, 0, 3, 0, 3, 2000, 2000] {
        none(nights.night(&[("cache", rows), ("users", 10)]));
    }
    let found = nights.night(&[("cache", 0), ("users", 10)]);
    assert_eq!(found, ["table s.cache had 2000 rows and has 0 now (-100 %)"]);
    assert!(nights.is_held());
    none(nights.night(&[("cache", 0), ("users", 10)]));
    none(nights.night(&[("cache", 1990), ("users", 10)]));
    assert!(!nights.is_held(), "it is back");
    assert_eq!(nights.accept(), 0, "there is nothing to accept any more, and nothing is learned");
    assert_eq!(nights.night(&[("cache", 0), ("users", 10)]).len(), 1);
}

#[test]
fn an_accepted_loss_is_not_told_while_it_stays_and_covers_no_greater_one() {
    let mut nights = Nights::new();
    let mut night = |rows| nights.night(&[("sessions", rows), ("users", 10)]);
    none(night(2000));
    assert_eq!(night(800).len(), 1);
    assert_eq!(nights.accept(), 1);
    let mut night = |rows| nights.night(&[("sessions", rows), ("users", 10)]);
    for rows in [800, 800, 810, 700, 2000] {
        none(night(rows));
    }
    assert_eq!(night(800).len(), 1, "once is not usual");
    assert_eq!(nights.accept(), 1);
    let mut night = |rows| nights.night(&[("sessions", rows), ("users", 10)]);
    for rows in [2000, 800, 2000, 700, 2000] {
        none(night(rows));
    }
    assert_eq!(night(0), ["table s.sessions had 2000 rows and has 0 now (-100 %)"]);
    assert_eq!(nights.accept(), 1);
    let mut night = |rows| nights.night(&[("sessions", rows), ("users", 10)]);
    for rows in [0, 0, 2000] {
        none(night(rows));
    }
    assert_eq!(night(0).len(), 1, "a fall to nothing is always told");
}

#[test]
fn what_is_accepted_is_what_there_is_at_that_moment() {
    let mut nights = Nights::new();
    none(nights.night(&[("a", 1000), ("b", 10)]));
    assert_eq!(nights.night(&[("a", 400), ("b", 10)]).len(), 1);
    let worse = nights.night(&[("a", 0), ("b", 10)]);
    assert_eq!(worse, ["table s.a had 1000 rows and has 0 now (-100 %)"], "a greater loss is told again");
    assert!(nights.is_held());
    none(nights.night(&[("a", 0), ("b", 10)]));
    assert_eq!(nights.accept(), 1, "one, in its present state");
    none(nights.night(&[("a", 0), ("b", 10)]));
}

#[test]
fn a_slow_loss_is_found_and_a_table_that_is_back_empty_is_no_recovery() {
    let mut nights = Nights::new();
    let found: Vec<usize> = [1000, 900, 800, 700, 600, 490]
        .iter()
        .map(|rows| nights.night(&[("a", *rows), ("b", 10)]).len())
        .collect();
    assert_eq!(found, [0, 0, 0, 0, 0, 1]);
    let mut nights = Nights::new();
    none(nights.night(&[("a", 1000), ("b", 10)]));
    assert_eq!(nights.night(&[("b", 10)]), ["table s.a with 1000 rows is gone"]);
    assert_eq!(nights.night(&[("a", 0), ("b", 10)]), ["table s.a had 1000 rows and has 0 now (-100 %)"]);
    assert!(nights.is_held());
    none(nights.night(&[("a", 1000), ("b", 10)]));
    assert!(!nights.is_held());
    // A table whose removal was accepted is a new table when it is created again.
    assert_eq!(nights.night(&[("b", 10)]).len(), 1);
    assert_eq!(nights.accept(), 1);
    none(nights.night(&[("a", 1), ("b", 10)]));
    none(nights.night(&[("a", 1), ("b", 10)]));
}

#[test]
fn a_database_without_any_table_has_lost_all_of_them() {
    let mut nights = Nights::new();
    none(nights.night(&[("a", 5), ("b", 7)]));
    assert_eq!(nights.night(&[]).len(), 2);
    assert!(nights.is_held());
    let mut nights = Nights::new();
    none(nights.night(&[("a", 60), ("b", 70)]));
    assert_eq!(nights.night(&[("a", 0), ("b", 0)]), ["nothing is left of 130 rows in 2 tables"]);
    none(nights.night(&[("a", 0), ("b", 0)]));
    assert_eq!(nights.accept(), 1);
    none(nights.night(&[("a", 0), ("b", 0)]));
    assert!(!nights.is_held());
}

#[test]
fn a_size_in_doubt_that_recovered_is_no_measure() {
    let mut nights = Nights::new();
    let mut night = |bytes| {
        nights.bytes = bytes;
        nights.night(&[("a", 10)]).len()
    };
    assert_eq!([10 << 20, 10 << 20, 10 << 20].map(&mut night), [0, 0, 0]);
    assert_eq!([1 << 20; 6].map(&mut night), [1, 0, 0, 0, 0, 0]);
    assert_eq!(night(10 << 20), 0);
    assert_eq!(night(1 << 20), 1, "six nights in doubt made it no smaller");
}

#[test]
fn what_a_running_backup_brings_after_something_was_accepted_counts() {
    let mut nights = Nights::new();
    none(nights.night(&[("a", 2000), ("b", 10)]));
    assert_eq!(nights.night(&[("a", 0), ("b", 10)]).len(), 1);
    // The next backup has begun when the loss is accepted.
    let later = nights.moment().checked_add(Span::new().hours(30)).unwrap();
    assert_eq!(nights.history.accept(&|_, _| true, &later).unwrap().len(), 1);
    none(nights.night(&[("a", 2000), ("b", 10)]));
    assert_eq!(nights.night(&[("a", 0), ("b", 10)]).len(), 1);
}

/// Regardless of a table's past: a loss of more than half of the rows of the night before that was not accepted is
/// reported once, and stays open until the rows are back. A loss of all rows is reported regardless of acceptances.
#[test]
fn thousands_of_nights_have_no_loss_that_nobody_was_told_of() {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move |bound: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % bound
    };
    let rules = AnomalyRules::default();
    for _ in 0..200 {
        let mut nights = Nights::new();
        let (mut before, mut open, mut accepted) = (None, false, false);
        for _ in 0..12 {
            let rows = [0, 3, 90, 500, 1000, 2000, 5000][next(7) as usize];
            let found = nights.night(&[("a", rows), ("b", 10)]);
            let fell = before.is_some_and(|before| before >= rules.min_rows && lost(before, rows, 50));
            if fell && (!accepted || rows == 0) {
                assert!(!found.is_empty() || open, "{before:?} → {rows}");
                assert!(nights.is_held());
            }
            open = nights.is_held();
            if open && next(3) == 0 {
                assert!(nights.accept() > 0);
                (open, accepted) = (false, true);
            }
            before = Some(rows);
        }
    }
}
