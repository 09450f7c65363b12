//! Partitions, tables with a date or number in their names, and directories, as judged by their history.

use super::*;

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
