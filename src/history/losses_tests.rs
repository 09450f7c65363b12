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

#[test]
fn a_table_that_was_detached_is_told_when_it_is_dropped() {
    let mut nights = Nights::new();
    let parts = ["log/p_1", "log/p_2", "log/p_3"];
    none(nights.night(&parts.map(|part| (part, 1000))));
    none(nights.night(&[("p_1", 1000), ("log/p_2", 1000), ("log/p_3", 1000)]));
    assert_eq!(nights.night(&[("log/p_2", 1000), ("log/p_3", 1000)]), ["table s.p_1 with 1000 rows is gone"]);
}

/// Names of seven daily partitions, the last of this day.
fn week(root: &str, day: u64) -> Vec<String> {
    (day..day + 7).map(|day| format!("{root}p_{day:03}")).collect()
}

#[test]
fn partitions_that_rotate_are_judged_by_their_table() {
    let mut nights = Nights::new();
    let mut night = |parts: &[String], rows: u64| {
        let mut tables: Vec<_> = parts.iter().map(|part| (part.as_str(), rows)).collect();
        tables.push(("other", 1));
        nights.night(&tables)
    };
    for day in 100..120 {
        none(night(&week("log/", day), 1000));
    }
    let parts = week("log/", 119);
    assert_eq!(night(&parts, 100), ["partitioned table s.log had 7000 rows and has 700 now (-90 %)"]);
    assert_eq!(nights.accept(), 1);
    let mut night = |parts: &[String], rows: u64| {
        let mut tables: Vec<_> = parts.iter().map(|part| (part.as_str(), rows)).collect();
        tables.push(("other", 1));
        nights.night(&tables)
    };
    none(night(&parts, 100));
    let none_left = "partitioned table s.log had 700 rows and has 0 now (-100 %)";
    assert_eq!(night(&["log/".to_owned()], 0), [none_left], "one line for all of them");
    none(night(&parts, 1000));
    assert_eq!(night(&[], 0), ["partitioned table s.log with 7000 rows is gone"]);
}

#[test]
fn the_first_night_that_knows_of_partitions_judges_them_by_what_they_had() {
    let plain = |rows| week("", 1).into_iter().map(move |part| (part, rows)).collect::<Vec<_>>();
    let shown = |tables: &[(String, u64)]| -> Vec<String> {
        let mut nights = Nights::new();
        let before = plain(1000);
        none(nights.night(&before.iter().map(|(name, rows)| (name.as_str(), *rows)).collect::<Vec<_>>()));
        nights.night(&tables.iter().map(|(name, rows)| (name.as_str(), *rows)).collect::<Vec<_>>())
    };
    let parts = |rows| week("log/", 2).into_iter().map(move |part| (part, rows)).collect::<Vec<_>>();
    none(shown(&parts(1000)));
    assert_eq!(shown(&parts(0)), ["partitioned table s.log had 7000 rows and has 0 now (-100 %)"]);
    // A table becomes a partitioned one, and is emptied by it.
    let mut nights = Nights::new();
    none(nights.night(&[("log", 5000), ("a", 1)]));
    assert_eq!(nights.night(&[("log/p_1", 0), ("a", 1)]).len(), 1);
    let mut nights = Nights::new();
    none(nights.night(&[("log/p_1", 5000), ("a", 1)]));
    none(nights.night(&[("log", 5000), ("a", 1)]));
    assert_eq!(nights.night(&[("log", 0), ("a", 1)]).len(), 1);
}

#[test]
fn tables_with_a_date_in_the_name_lose_the_oldest_in_the_course_of_time() {
    let mut nights = Nights::new();
    let months = |from: u64, rows: u64| -> Vec<(String, u64)> {
        (from..from + 4).map(|month| (format!("events_2026_{month:02}"), rows)).collect()
    };
    let mut night = |tables: Vec<(String, u64)>| {
        let tables: Vec<_> = tables.iter().map(|(name, rows)| (name.as_str(), *rows)).collect();
        nights.night(&tables)
    };
    for from in 1..6 {
        none(night(months(from, 1000)));
        none(night(months(from, 1000)));
    }
    let without_middle: Vec<_> =
        months(5, 1000).into_iter().filter(|(name, _): &(String, u64)| name != "events_2026_06").collect();
    assert_eq!(night(without_middle), ["table s.events_2026_06 with 1000 rows is gone"]);
    none(night(months(5, 1000)));
    let one: Vec<(String, u64)> = vec![("events_2026_08".to_owned(), 1000)];
    assert_eq!(night(one), ["table series s.events_#_# had 4000 rows and has 1000 now (-75 %)"]);
    none(night(months(5, 1000)));
    assert_eq!(
        night(months(5, 0)),
        ["table series s.events_#_# had 4000 rows and has 0 now (-100 %)"],
        "one line for all of them"
    );
    none(night(months(5, 1000)));
    assert_eq!(night(vec![("other".to_owned(), 1)]), ["table series s.events_#_# with 4000 rows is gone"]);
}

#[test]
fn folders_that_stay_or_are_made_do_not_hide_that_files_are_gone() {
    let mut nights = Nights::new();
    none(nights.folder(100, 120));
    none(nights.folder(100, 120));
    assert_eq!(nights.folder(0, 120), ["folder /srv/e had 100 files and has 0 now (-100 %)"]);
    assert!(nights.is_held());
    none(nights.folder(0, 400));
    assert!(nights.is_held(), "empty folders bring no file back");
    none(nights.folder(100, 120));
    assert!(!nights.is_held());

    // One line, although there are fewer entries as well; once accepted, it is not reported as a loss of entries.
    none(nights.folder(1000, 120));
    assert_eq!(nights.folder(0, 120), ["folder /srv/e had 1000 files and has 0 now (-100 %)"]);
    none(nights.folder(0, 120));
    assert_eq!(nights.accept(), 1);
    none(nights.folder(0, 120));
    none(nights.folder(0, 120));
    // Directories and other entries that are not files are judged too.
    none(nights.folder(200, 1000));
    assert_eq!(nights.folder(200, 100), ["folder /srv/e had 1200 entries and has 300 now (-75 %)"]);
}

#[test]
fn a_history_that_counted_entries_alone_is_compared_by_them() {
    let before = |nights: &mut Nights| {
        let mut manifest = nights.folder_manifest(100, 150);
        // As an earlier version recorded it: without the object for the files.
        manifest.forget_detail();
        none(nights.finish(&manifest));
    };
    let mut nights = Nights::new();
    before(&mut nights);
    none(nights.folder(100, 150));
    assert_eq!(nights.folder(10, 150).len(), 1, "from then on the files are");
    let mut nights = Nights::new();
    before(&mut nights);
    assert_eq!(nights.folder(50, 10), ["folder /srv/e had 250 entries and has 60 now (-76 %)"]);
}

#[test]
fn a_loss_that_was_accepted_of_a_series_is_not_told_again_of_its_members() {
    let mut nights = Nights::new();
    none(nights.night(&[("log_2026_08", 2000), ("log_2026_09", 10)]));
    none(nights.night(&[("log_2026_08", 2000), ("log_2026_09", 10)]));
    let told = nights.night(&[("log_2026_08", 0), ("log_2026_09", 10)]);
    assert_eq!(told, ["table series s.log_#_# had 2010 rows and has 10 now (-100 %)"]);
    assert_eq!(nights.accept(), 1);
    none(nights.night(&[("log_2026_08", 0), ("log_2026_09", 10)]));
    none(nights.night(&[("log_2026_08", 0), ("log_2026_09", 11)]));
    assert!(!nights.is_held());
    // What comes later counts.
    none(nights.night(&[("log_2026_08", 0), ("log_2026_09", 3000)]));
    assert_eq!(nights.night(&[("log_2026_08", 0), ("log_2026_09", 0)]).len(), 1);

    // Nor of a partition that is detached afterwards.
    let mut nights = Nights::new();
    none(nights.night(&[("log/p_1", 1000), ("log/p_2", 1000)]));
    assert_eq!(nights.night(&[("log/p_1", 0), ("log/p_2", 500)]).len(), 1);
    assert_eq!(nights.accept(), 1);
    none(nights.night(&[("p_1", 0), ("log/p_2", 500)]));
}

#[test]
fn tables_without_rows_that_are_gone_are_one_line_and_none_after_an_acceptance() {
    let mut nights = Nights::new();
    none(nights.night(&[("a", 10), ("x", 0), ("y", 0), ("z", 0)]));
    assert_eq!(nights.night(&[("a", 10)]), ["3 tables without rows are gone: s.x, s.y, s.z"]);
    none(nights.night(&[("a", 10)]));
    none(nights.night(&[("a", 10), ("x", 0)]));
    assert_eq!(nights.night(&[("a", 10)]), ["table s.x with 0 rows is gone"]);

    let mut nights = Nights::new();
    none(nights.night(&[("a", 60), ("b", 70), ("c", 0)]));
    assert_eq!(nights.night(&[("a", 0), ("b", 0), ("c", 0)]).len(), 1);
    assert_eq!(nights.accept(), 1);
    none(nights.night(&[]));
    assert!(!nights.is_held());
}

#[test]
fn numbers_that_are_no_dates_make_no_series() {
    let mut nights = Nights::new();
    none(nights.night(&[("tenant_1", 1000), ("tenant_2", 1000), ("tenant_3", 1000)]));
    let found = nights.night(&[("tenant_2", 1000), ("tenant_3", 1000)]);
    assert_eq!(found, ["table s.tenant_1 with 1000 rows is gone"]);
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
