//! One cause is reported once and counted by items: in the output of a run, in the ledger and in alerts.

use std::fs;

use serde_json::{Value, json};
use testkit::site::{More, Site, lines};

const DATABASES: [&str; 5] = ["a", "b", "c", "d", "kept"];

fn texts(causes: &Value) -> Vec<&str> {
    causes.as_array().unwrap().iter().map(|cause| cause["text"].as_str().unwrap()).collect()
}

#[track_caller]
fn one_cause(site: &Site, at: &str, kind: &str, title: &str) {
    let told = site.messages().remove(0);
    assert_eq!(lines(&told["new"]), ["a", "b", "c", "d"].map(|name| format!("pg/{name}: {kind}")));
    assert_eq!(texts(&told["causes"]).len(), 1, "{:#}", told["causes"]);
    assert!(told["title"].as_str().unwrap().contains(title), "{}", told["title"]);
    let text = told["text"].as_str().unwrap();
    assert!(text.contains("\n- 4 items (pg/a, pg/b, pg/c and 1 more): "), "{text}");
    let status = site.at(at).args(["--json", "status"]).run().ok().json();
    assert_eq!(texts(&status["causes"]).len(), 1, "{:#}", status["causes"]);
}

#[test]
fn databases_that_a_rule_excludes_since_a_run_are_said_by_it_and_are_one_cause() {
    let Some(site) = Site::new(&DATABASES, More::default()) else { return };
    site.backup_at("2026-10-05 02:00:00").ok();
    for name in ["a", "b", "c", "d"] {
        site.server.psql("postgres", &format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false"));
    }
    let run = site.at("2026-10-06 02:00:00").arg("backup").run().ok();
    assert!(
        run.stderr.contains("4 items (pg/a, pg/b, pg/c and 1 more): EXCLUDED since this run"),
        "{}",
        run.stderr
    );
    assert!(run.stdout.starts_with("1 item backed up, 4 EXCLUDED since this run: "), "{}", run.stdout);
    one_cause(&site, "2026-10-06 03:00:00", "excluded", ": 4 no longer backed up (");
    // It is alerted once.
    let run = site.at("2026-10-07 02:00:00").arg("backup").run().ok();
    assert!(!run.stderr.contains("EXCLUDED") && !run.stdout.contains("EXCLUDED"), "{}", run.stderr);
}

#[test]
fn databases_that_were_dropped_are_one_cause() {
    let Some(site) = Site::new(&DATABASES, More::default()) else { return };
    site.backup_at("2026-10-05 02:00:00").ok();
    // The items have different numbers of snapshots.
    site.at("2026-10-05 03:00:00").args(["backup", "pg/a"]).run().ok();
    for name in ["a", "b", "c", "d"] {
        site.server.psql("postgres", &format!("DROP DATABASE {name}"));
    }
    let run = site.backup_at("2026-10-06 02:00:00").ok();
    assert_eq!(run.json()["dropped"].as_array().unwrap().len(), 4);
    assert_eq!(run.json()["dropped"][0], json!({"source": "pg", "item": "a", "rule": null}));
    one_cause(&site, "2026-10-06 03:00:00", "vanished", ": 4 vanished (");
}

#[test]
fn items_that_are_late_are_one_cause_whatever_the_age_of_each() {
    let Some(site) = Site::new(&DATABASES, More::default()) else { return };
    for (number, name) in DATABASES.iter().enumerate() {
        site.at(&format!("2026-10-05 0{number}:00:00")).args(["backup", &format!("pg/{name}")]).run().ok();
    }
    site.messages();
    site.at("2026-10-09 00:00:00").arg("watch").run().expect_code(5);
    let told = site.messages().remove(0);
    assert_eq!(texts(&told["causes"]).len(), 1, "{:#}", told["causes"]);
    assert_eq!(told["causes"][0]["subjects"].as_array().unwrap().len(), 5);
}

#[test]
fn a_server_that_is_away_is_told_with_the_number_of_its_known_items() {
    let Some(mut site) = Site::new(&DATABASES, More::default()) else { return };
    site.backup_at("2026-10-05 02:00:00").ok();
    site.server.stop();
    let run = site.at("2026-10-06 02:00:00").arg("backup").run().expect_code(1);
    assert!(run.stderr.contains("(its 5 known items were not backed up)\n"), "{}", run.stderr);
    assert!(run.stdout.starts_with("0 items backed up, 5 FAILED: "), "{}", run.stdout);
    let told = site.messages().remove(0);
    assert!(told["title"].as_str().unwrap().ends_with(": 5 FAILED (pg)"), "{}", told["title"]);
    assert_eq!(told["causes"][0]["items"], 5);
    let status = site.at("2026-10-06 02:10:00").arg("status").run().ok().stdout;
    assert!(status.starts_with("5 PROBLEMS: 5 of 5 items are backed up in time"), "{status}");
    assert!(status.contains("pg (5 known items not backed up): "), "{status}");
    // A run of one named item would not have backed up any other.
    let run = site.at("2026-10-06 03:00:00").args(["backup", "pg/a"]).run().expect_code(1);
    assert!(run.stderr.contains("(its known item was not backed up)\n"), "{}", run.stderr);
}

#[test]
fn a_repository_that_refuses_is_one_cause_and_not_as_old_as_another_failure() {
    let Some(mut site) = Site::new(&DATABASES, More::default()) else { return };
    site.backup_at("2026-10-05 02:00:00").ok();
    site.server.stop();
    site.backup_at("2026-10-06 02:00:00").expect_code(1);
    site.messages();
    let away = site.config.dir().join("away");
    fs::rename(site.config.repo(), &away).unwrap();
    site.at("2026-10-06 03:00:00").args(["backup", "pg"]).run().expect_code(4);
    let told = site.messages().remove(0);
    let title = told["title"].as_str().unwrap();
    assert!(title.ends_with(": the repository refused: 5 items not backed up"), "{title}");
    let watch = site.at("2026-10-06 03:10:00").args(["--json", "watch"]).run().expect_code(4).json();
    let causes = watch["causes"].as_array().unwrap();
    assert_eq!(causes.len(), 1, "{causes:#?}");
    assert_eq!((&causes[0]["items"], &causes[0]["since"]), (&json!(5), &Value::Null));
    let text = site.at("2026-10-06 03:11:00").arg("watch").run().expect_code(4).stdout;
    assert!(text.starts_with("the repository refused, 5 items not backed up: "), "{text}");
    fs::rename(&away, site.config.repo()).unwrap();
}
