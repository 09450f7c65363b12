//! Suspicious changes are reported, and older snapshots are held until the change is accepted.

use serde_json::{Value, json};
use testkit::site::{More, Site, fill, item, lines};

/// Two in the morning, `day` days after Monday 2026-01-05.
fn day(days: i64) -> String {
    let start: jiff::civil::DateTime = "2026-01-05T02:00:00".parse().unwrap();
    start.checked_add(jiff::Span::new().days(days)).unwrap().strftime("%Y-%m-%d %H:%M:%S").to_string()
}

#[test]
fn a_loss_of_rows_holds_retention_for_eight_weeks_until_it_is_accepted() {
    let (top, tables) = ("max_proof_age = \"never\"", "[anomalies]\nunchanged = \"0s\"");
    let more = More { top, tables, ..More::default() };
    let Some(site) = Site::new(&["shop", "calm"], more) else { return };
    for days in 0..10 {
        site.server.psql("shop", "INSERT INTO t SELECT i, 'more' FROM generate_series(1, 20) i");
        site.backup_at(&day(days)).ok();
    }
    assert_eq!(site.messages().len(), 0, "a steady growth is no anomaly");
    let before = site.snapshots("shop");

    site.server.psql("shop", "DELETE FROM t WHERE ctid IN (SELECT ctid FROM t LIMIT 720)");
    let report = site.backup_at(&day(10)).ok().json();
    let shop = report["items"].as_array().unwrap().iter().find(|item| item["item"] == "shop").unwrap();
    assert_eq!(
        shop["suspicious"],
        json!(["table public.t had 1200 rows and has 480 now (-60 %)"]),
        "{report:#}"
    );
    let told = site.messages();
    assert_eq!(lines(&told[0]["new"]), ["pg/shop: anomaly"]);
    assert!(told[0]["text"].as_str().unwrap().contains("tik-backup accept 'pg/shop'"), "{}", told[0]["text"]);

    // Eight weeks of daily runs: snapshots from before the loss are kept, those of the other database are removed as
    // usual.
    for days in 11..66 {
        site.backup_at(&day(days)).ok();
    }
    let held = site.snapshots("shop");
    assert!(before.iter().all(|id| held.contains(id)), "the last good snapshots are still there");
    assert!(site.snapshots("calm").len() <= 11, "retention works for what is not held");
    let ledger = site.status_at(&day(66));
    let shop = item(&ledger, "shop");
    assert_eq!((&shop["held"], &shop["state"]), (&json!(true), &json!("suspicious")));
    let reminders: Vec<Value> = site.messages();
    assert_eq!(reminders.len(), 55, "once a day, not more");
    assert!(reminders.iter().all(|message| message["purpose"] == "reminder"), "{reminders:#?}");

    let accepted = site.at(&day(66)).args(["--json", "accept", "pg/shop"]).run().ok().json();
    assert_eq!(
        accepted["accepted"][0]["changes"],
        json!(["table public.t had 1200 rows and has 480 now (-60 %)"])
    );
    site.backup_at(&day(67)).ok();
    let after = site.snapshots("shop");
    assert!(
        after.len() <= 11 && !after.contains(&before[0]),
        "after accepting, retention goes on: {}",
        after.len()
    );
    assert_eq!(site.check_at(&day(67)), Some(0));
    assert_eq!(site.messages().len(), 0, "who accepts is not told");
}

#[test]
fn lost_tables_schemas_and_size_are_found_and_what_returns_is_no_longer_held() {
    let more = More { tables: "[anomalies]\nmin_size = \"1KiB\"", ..More::default() };
    let Some(site) = Site::new(&["shop"], more) else { return };
    site.server
        .psql("shop", "CREATE SCHEMA extra; CREATE TABLE extra.a (i int); CREATE TABLE extra.b (i int)");
    fill(&site.server, "shop", "big", 5000);
    site.backup_at(&day(0)).ok();
    let saved = site.server.dump_custom("shop");
    site.server.psql("shop", "DROP SCHEMA extra CASCADE; DROP TABLE big; CREATE TABLE new (i int)");
    let report = site.backup_at(&day(1)).ok().json();
    let found: Vec<&str> = report["items"][0]["suspicious"]
        .as_array()
        .unwrap()
        .iter()
        .map(|text| text.as_str().unwrap())
        .collect();
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(found.contains(&"table public.big with 5000 rows is gone"), "{found:#?}");
    assert!(found.contains(&"2 tables without rows are gone: extra.a, extra.b"), "{found:#?}");
    assert!(found.iter().any(|text| text.starts_with("it was ")), "{found:#?}");
    assert_eq!(
        lines(&site.messages()[0]["new"]),
        ["pg/shop: anomaly"],
        "one line for the item, not one a table"
    );

    // The lost rows are restored.
    site.server.psql("postgres", "DROP DATABASE shop");
    site.server.create_database("shop");
    site.server.restore_custom("shop", &saved);
    site.server.psql("shop", "CREATE TABLE new (i int)");
    site.backup_at(&day(2)).ok();
    let told = site.messages();
    assert_eq!(
        (&told[0]["purpose"], lines(&told[0]["recovered"])),
        (&json!("recovery"), vec!["pg/shop: anomaly".to_owned()])
    );
    assert_eq!(item(&site.status_at(&day(2)), "shop")["held"], false);
}

#[test]
fn thresholds_are_configurable_and_a_first_run_is_no_anomaly() {
    let more =
        More { source: "anomalies = { rows_lost = 90, size_lost = 0, vanished = false }", ..More::default() };
    let Some(site) = Site::new(&["shop"], more) else { return };
    fill(&site.server, "shop", "gone", 500);
    site.backup_at(&day(0)).ok();
    site.server.psql("shop", "DELETE FROM t WHERE id > 200; DROP TABLE gone");
    site.backup_at(&day(1)).ok();
    assert_eq!(site.messages().len(), 0, "80 % are fewer than 90 %, and tables may go");
    site.server.psql("shop", "DELETE FROM t WHERE id > 50");
    site.backup_at(&day(2)).ok();
    assert_eq!(lines(&site.messages()[0]["new"]), ["pg/shop: anomaly"]);
}

#[test]
fn content_that_stands_still_although_it_never_did_is_told() {
    let more = More { top: "max_proof_age = \"never\"", ..More::default() };
    let Some(site) = Site::new(&["shop"], more) else { return };
    for days in 0..8 {
        site.server.psql("shop", &format!("INSERT INTO t VALUES ({days}, 'more')"));
        site.backup_at(&day(days)).ok();
    }
    for days in 8..15 {
        site.backup_at(&day(days)).ok();
    }
    assert_eq!(site.messages().len(), 0, "not yet longer than a week");
    site.backup_at(&day(15)).ok();
    let told = site.messages();
    assert_eq!(lines(&told[0]["new"]), ["pg/shop: anomaly"]);
    let text = told[0]["new"][0]["text"].as_str().unwrap();
    assert!(text.starts_with("its content has not changed for 8 days"), "{text}");
    site.server.psql("shop", "INSERT INTO t VALUES (0, 'moves again')");
    site.backup_at(&day(16)).ok();
    assert_eq!(lines(&site.messages()[0]["recovered"]), ["pg/shop: anomaly"]);
}

/// The history is lost while snapshots are held: the suspicious changes are found again in the manifests.
#[test]
fn a_lost_history_finds_again_what_is_held() {
    let Some(site) = Site::new(&["shop"], More::default()) else { return };
    for days in 0..9 {
        site.backup_at(&day(days)).ok();
    }
    let before = site.snapshots("shop");
    site.server.psql("shop", "DELETE FROM t WHERE id > 400");
    site.backup_at(&day(9)).ok();
    std::fs::remove_dir_all(site.config.state_dir()).unwrap();
    let said = site.backup_at(&day(10)).ok();
    assert!(said.stderr.contains("the history was rebuilt from 9 snapshots of 1 item;"), "{}", said.stderr);
    for days in 11..40 {
        site.backup_at(&day(days)).ok();
    }
    let held = site.snapshots("shop");
    assert!(before[1..].iter().all(|id| held.contains(id)), "{} of {}", held.len(), before.len());
    assert_eq!(item(&site.status_at(&day(40)), "shop")["held"], true);
    let note = site.status_at(&day(40))["notes"].to_string();
    assert!(note.contains("rebuilt from 9 snapshots"), "{note}");
}

/// The suspicious changes of `shop` that a run reported.
fn suspicious(site: &Site, moment: &str) -> Vec<String> {
    let report = site.backup_at(moment).ok().json();
    let shop = report["items"].as_array().unwrap().iter().find(|item| item["item"] == "shop").unwrap();
    let texts = shop["suspicious"].as_array().map(Vec::as_slice).unwrap_or_default();
    texts.iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// Three kinds of partitions of five days with 300 rows each: declared ones below partitions, tables that inherit, and tables
/// of a date in their names.
fn partition(site: &Site, of: i64) {
    let date = &day(of)[..10];
    let name = date.replace('-', "_");
    site.server.psql(
        "shop",
        &format!(
            "CREATE TABLE log_{name} PARTITION OF log FOR VALUES IN ('{date}') PARTITION BY HASH (id);
             CREATE TABLE log_{name}_0 PARTITION OF log_{name} FOR VALUES WITH (MODULUS 2, REMAINDER 0);
             CREATE TABLE log_{name}_1 PARTITION OF log_{name} FOR VALUES WITH (MODULUS 2, REMAINDER 1);
             INSERT INTO log SELECT '{date}', i FROM generate_series(1, 300) i;
             CREATE TABLE old_{name} () INHERITS (old);
             INSERT INTO old_{name} SELECT i FROM generate_series(1, 300) i;
             CREATE TABLE lone_{name} AS SELECT i FROM generate_series(1, 300) i"
        ),
    );
}

#[test]
fn partitions_that_rotate_are_no_anomaly_and_the_loss_of_all_is_one_line() {
    let more =
        More { top: "max_proof_age = \"never\"", tables: "[anomalies]\nsize_lost = 0", ..More::default() };
    let Some(site) = Site::new(&["shop"], more) else { return };
    site.server.psql(
        "shop",
        "CREATE TABLE log (day date, id int) PARTITION BY LIST (day); CREATE TABLE old (id int)",
    );
    (-4..0).for_each(|of| partition(&site, of));
    for days in 0..4 {
        partition(&site, days);
        let name = day(days - 5)[..10].replace('-', "_");
        site.server.psql("shop", &format!("DROP TABLE IF EXISTS log_{name}, old_{name}, lone_{name}"));
        assert_eq!(suspicious(&site, &day(days)), Vec::<String>::new(), "night {days}");
    }
    assert_eq!(site.messages().len(), 0);
    let before = site.snapshots("shop");

    site.server.psql(
        "shop",
        "TRUNCATE log, old; DO $$ DECLARE t text; BEGIN FOR t IN SELECT tablename FROM pg_tables WHERE tablename ~ '^lone_' \
         LOOP EXECUTE 'DROP TABLE ' || t; END LOOP; END $$",
    );
    let mut found = suspicious(&site, &day(4));
    found.sort();
    assert_eq!(
        found,
        [
            "partitioned table public.log had 1500 rows and has 0 now (-100 %)",
            "partitioned table public.old had 1500 rows and has 0 now (-100 %)",
            "table series public.lone_#_#_# with 1500 rows is gone",
        ]
    );
    assert_eq!(item(&site.status_at(&day(4)), "shop")["held"], true);
    site.at(&day(4)).args(["accept", "pg/shop"]).run().ok();
    assert_eq!(suspicious(&site, &day(5)), Vec::<String>::new(), "what was accepted is not told again");
    assert_eq!(item(&site.status_at(&day(5)), "shop")["held"], false);
    assert!(before.iter().all(|id| site.snapshots("shop").contains(id)), "all are of this week");
}

/// A cache that was small, lost rows and recovered twice before it grew: a total loss is still reported.
#[test]
fn a_table_that_dipped_while_it_was_small_is_told_when_it_is_emptied() {
    let Some(site) = Site::new(&["shop"], More::default()) else { return };
    site.server.psql("shop", "CREATE TABLE cache (id int)");
    for (days, rows) in (0..).zip([3, 1, 3, 0, 2000]) {
        site.server.psql(
            "shop",
            &format!("TRUNCATE cache; INSERT INTO cache SELECT i FROM generate_series(1, {rows}) i"),
        );
        assert_eq!(suspicious(&site, &day(days)), Vec::<String>::new(), "{rows}");
    }
    site.server.psql("shop", "TRUNCATE cache");
    let told = "table public.cache had 2000 rows and has 0 now (-100 %)";
    assert_eq!(suspicious(&site, &day(5)), [told]);
    assert_eq!(lines(&site.messages()[0]["new"]), ["pg/shop: anomaly"]);
    site.at(&day(5)).args(["accept", "pg/shop"]).run().ok();
    site.server.psql("shop", "INSERT INTO cache SELECT i FROM generate_series(1, 2000) i");
    assert_eq!(suspicious(&site, &day(6)), Vec::<String>::new());
    site.server.psql("shop", "TRUNCATE cache");
    assert_eq!(suspicious(&site, &day(7)), [told], "nor does one that was accepted");
}

#[test]
fn a_database_that_lost_all_its_tables_is_told() {
    let Some(site) = Site::new(&["shop"], More::default()) else { return };
    site.backup_at(&day(0)).ok();
    site.server.psql("shop", "DROP TABLE t");
    assert_eq!(
        suspicious(&site, &day(1)),
        ["table public.t with 1000 rows is gone (as is the whole of public)"]
    );
}
