//! Time passes: items become late, reminders are sent, problems are resolved.

use serde_json::json;
use testkit::{
    Cmd,
    site::{More, Site, item, lines},
};

#[test]
fn a_missed_run_is_late_is_told_is_reminded_daily_and_recovers() {
    let Some(site) = Site::new(&["shop"], More::default()) else { return };
    site.backup_at("2026-10-05 02:00:00").ok();
    assert_eq!(site.messages(), Vec::<serde_json::Value>::new(), "all is well: nothing to tell");
    let shop = site.status_at("2026-10-06 13:00:00");
    assert_eq!(item(&shop, "shop")["state"], "protected");
    assert_eq!(item(&shop, "shop")["next"].as_str().unwrap()[..16], *"2026-10-07T02:00");
    assert_eq!(site.check_at("2026-10-06 13:59:00"), Some(0));

    // Due at 02:00 on the 6th; missed by more than half a day from 14:00 on.
    assert_eq!(site.check_at("2026-10-06 14:01:00"), Some(5));
    let late = site.status_at("2026-10-06 14:01:00");
    let shop = item(&late, "shop");
    assert_eq!(shop["state"], "late");
    assert_eq!(shop["last_backup"].as_str().unwrap()[..16], *"2026-10-05T02:00");
    assert_eq!(shop["since"].as_str().unwrap()[..16], *"2026-10-06T14:00");
    let watch = |moment: &str| site.at(moment).args(["--json", "watch"]).run();
    watch("2026-10-06 14:05:00").expect_code(5);
    let told = site.messages();
    assert_eq!(told.len(), 1);
    assert_eq!(
        (told[0]["purpose"].clone(), lines(&told[0]["new"])),
        (json!("problem"), vec!["pg/shop: late".to_owned()])
    );
    assert!(told[0]["text"].as_str().unwrap().contains("LATE"), "{}", told[0]["text"]);

    // An hourly `watch` does not repeat the alert; after a day there is a reminder.
    for hour in ["15:05", "20:05", "23:05"] {
        watch(&format!("2026-10-06 {hour}:00")).expect_code(5);
    }
    assert_eq!(site.messages().len(), 0, "an hour later nobody is told again");
    watch("2026-10-07 14:05:00").expect_code(5);
    let told = site.messages();
    assert_eq!(told.len(), 1);
    assert_eq!(
        (told[0]["purpose"].clone(), lines(&told[0]["persisting"])),
        (json!("reminder"), vec!["pg/shop: late".to_owned()])
    );

    site.backup_at("2026-10-08 02:00:00").ok();
    let told = site.messages();
    assert_eq!(told.len(), 1);
    assert_eq!(
        (told[0]["purpose"].clone(), lines(&told[0]["recovered"])),
        (json!("recovery"), vec!["pg/shop: late".to_owned()])
    );
    watch("2026-10-08 03:05:00").ok();
    assert_eq!(site.messages().len(), 0);
}

#[test]
fn a_limit_of_its_own_comes_before_the_schedule() {
    let more = More { source: "max_age = \"3h\"", ..More::default() };
    let Some(site) = Site::new(&["shop"], more) else { return };
    site.backup_at("2026-10-05 02:00:00").ok();
    assert_eq!(site.check_at("2026-10-05 04:59:00"), Some(0));
    assert_eq!(site.check_at("2026-10-05 05:01:00"), Some(5));
}

#[test]
fn without_a_proof_in_time_it_is_not_proven() {
    let more = More { top: "max_age = \"60d\"\nmax_proof_age = \"10d\"", ..More::default() };
    let Some(site) = Site::new(&["shop"], more) else { return };
    site.backup_at("2026-10-05 02:00:00").ok();
    let ledger = site.status_at("2026-10-05 03:00:00");
    assert_eq!(item(&ledger, "shop")["state"], "protected", "there is time yet");
    assert_eq!((&ledger["summary"]["backed_up"], &ledger["summary"]["proven"]), (&json!(1), &json!(0)));
    assert_eq!(site.check_at("2026-10-15 01:00:00"), Some(0));
    assert_eq!(item(&site.status_at("2026-10-15 03:00:00"), "shop")["state"], "not-proven");
    assert_eq!(site.check_at("2026-10-15 03:00:00"), Some(5));
    let text = site.at("2026-10-15 03:00:00").arg("status").run().ok().stdout;
    assert!(text.starts_with("1 PROBLEM: 1 of 1 item is backed up in time; 0 of 1 proven."), "{text}");
}

#[test]
fn a_source_that_never_ran_is_missing() {
    let Some(site) = Site::new(&["shop"], More::default()) else { return };
    let ledger = site.status_at("2026-10-05 03:00:00");
    let entry = &ledger["items"][0];
    assert_eq!(
        (&entry["source"], &entry["item"], &entry["state"]),
        (&json!("pg"), &json!(null), &json!("never-backed-up"))
    );
    assert_eq!(site.check_at("2026-10-05 03:00:00"), Some(5));
    site.at("2026-10-05 03:00:00").arg("watch").run().expect_code(5);
    assert_eq!(lines(&site.messages()[0]["new"]), ["pg: never-backed-up"]);
}

/// Ages come from the snapshots: modification times of files do not count.
#[test]
fn touched_files_make_nothing_young() {
    let Some(site) = Site::new(&["shop"], More::default()) else { return };
    site.backup_at("2026-10-05 02:00:00").ok();
    let touched = std::process::Command::new("find")
        .arg(site.config.repo())
        .args(["-exec", "touch", "-d", "2026-10-20", "{}", "+"])
        .status();
    assert!(touched.unwrap().success());
    assert_eq!(site.check_at("2026-10-20 12:00:00"), Some(5));
}

/// A snapshot removed by hand no longer counts as a backup.
#[test]
fn a_snapshot_that_is_gone_does_not_count() {
    let Some(site) = Site::new(&["shop"], More::default()) else { return };
    site.backup_at("2026-10-05 02:00:00").ok();
    let only = site.snapshots("shop").remove(0);
    std::fs::remove_file(site.config.repo().join("snapshots").join(only)).unwrap();
    let ledger = site.status_at("2026-10-05 03:00:00");
    assert_eq!(item(&ledger, "shop")["state"], "never-backed-up");
    assert_eq!(ledger["repository"]["snapshots"], 0);
}

#[test]
fn the_repository_being_away_is_said_and_told() {
    let Some(site) = Site::new(&["shop"], More::default()) else { return };
    site.backup_at("2026-10-05 02:00:00").ok();
    std::fs::rename(site.config.repo(), site.config.dir().join("away")).unwrap();
    let seen = site.at("2026-10-05 12:00:00").args(["--json", "status"]).run().expect_code(4);
    let ledger = seen.json();
    assert!(
        ledger["repository"]["error"].as_str().unwrap().contains("cannot open the repository"),
        "{ledger:#}"
    );
    assert_eq!(
        item(&ledger, "shop")["last_backup"].as_str().unwrap()[..10],
        *"2026-10-05",
        "as of the last time it could be read"
    );
    site.at("2026-10-05 12:00:00").arg("watch").run().expect_code(4);
    assert_eq!(lines(&site.messages()[0]["new"]), ["the repository: repository"]);
    // A run that cannot begin for the same cause sends no further message, and its failure lasts until a run succeeds.
    site.backup_at("2026-10-06 02:00:00").expect_code(4);
    let told = site.messages();
    assert!(told.iter().all(|message| lines(&message["new"]).is_empty()), "{told:#?}");
    std::fs::rename(site.config.dir().join("away"), site.config.repo()).unwrap();
    site.backup_at("2026-10-07 02:00:00").ok();
    let told = site.messages();
    assert_eq!(told[0]["purpose"], "recovery", "{told:#?}");
    assert_eq!(Cmd::with(&site.config).args(["snapshots", "pg/shop"]).run().ok().stdout.lines().count(), 3);
}

#[test]
fn a_database_that_a_run_of_another_finds_is_new_until_its_source_would_be_late() {
    let Some(site) = Site::new(&["shop"], More::default()) else { return };
    site.backup_at("2026-10-05 02:00:00").ok();
    site.server.create_database("fresh");
    site.at("2026-10-05 09:00:00").args(["backup", "pg/shop"]).run().ok();
    assert_eq!(site.messages(), Vec::<serde_json::Value>::new(), "nothing is wrong with what is not due yet");
    let ledger = site.status_at("2026-10-05 09:01:00");
    let fresh = item(&ledger, "fresh");
    assert_eq!((&fresh["state"], &fresh["problems"]), (&json!("new"), &json!([])));
    assert_eq!(fresh["next"].as_str().unwrap()[..16], *"2026-10-06T02:00");
    assert_eq!((&ledger["summary"]["backed_up"], &ledger["summary"]["expected"]), (&json!(1), &json!(2)));
    let text = site.at("2026-10-05 09:01:00").arg("status").run().ok().stdout;
    assert!(text.starts_with("1 of 2 items are backed up in time, 1 is new and not yet due;"), "{text}");
    let watched = site.at("2026-10-05 09:02:00").arg("watch").run().ok().stdout;
    assert_eq!(watched.trim_end(), "1 of 2 items is well, 1 is new and not yet due");
    assert_eq!(site.check_at("2026-10-06 13:59:00"), Some(0));

    // Half an interval after the run that should have backed it up.
    let ledger = site.status_at("2026-10-06 14:01:00");
    assert_eq!(item(&ledger, "fresh")["state"], "never-backed-up");
    assert_eq!(site.check_at("2026-10-06 14:01:00"), Some(5));

    // An item that a run has tried is no longer new.
    site.forbid("fresh");
    site.backup_at("2026-10-06 15:00:00").expect_code(3);
    assert_eq!(item(&site.status_at("2026-10-06 15:01:00"), "fresh")["state"], "failed");
    site.allow("fresh");
    site.backup_at("2026-10-06 16:00:00").ok();
    assert_eq!(item(&site.status_at("2026-10-06 16:01:00"), "fresh")["state"], "protected");
}
