//! The history after interrupted runs, damage and other failures.

use std::{fs, os::unix::fs::PermissionsExt, thread};

use rusqlite::Connection;
use serde_json::json;
use testkit::{
    Cmd,
    running::{Running, wait_until},
    site::{More, Site, at, item, lines},
};

/// A backup that hangs in the dump of `shop`, held by a lock on its table.
fn hanging(site: &Site, moment: &str) -> (Running, std::process::Child) {
    let mut lock = site.server.client("psql");
    let sql = "BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(600)";
    let holder = lock.args(["-q", "-d", "shop", "-c", sql]).spawn().unwrap();
    wait_until("the table is locked", || {
        site.server
            .psql("postgres", "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock'")
            .trim()
            != "0"
    });
    let run = Running::start(at(Cmd::with(&site.config), moment).arg("backup").into_command());
    wait_until("the item is being read", || {
        let Ok(history) = Connection::open(site.history()) else { return false };
        let open = "SELECT count(*) FROM attempt WHERE outcome IS NULL";
        history.query_row(open, [], |row| row.get::<_, i64>(0)).is_ok_and(|open| open > 0)
    });
    (run, holder)
}

fn release(site: &Site, mut holder: std::process::Child) {
    site.server.psql("postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()");
    holder.wait().unwrap();
}

#[test]
fn a_killed_run_shows_as_interrupted_and_the_next_tells_the_truth() {
    let Some(site) = Site::new(&["shop"], More::default()) else { return };
    site.backup_at("2026-10-05 02:00:00").ok();
    let (run, holder) = hanging(&site, "2026-10-06 02:00:00");
    // While it runs it is shown as running, not as failed.
    let ledger = site.status_at("2026-10-06 02:01:00");
    assert_eq!(ledger["running"][0]["items"], json!(["pg/shop"]), "{ledger:#}");
    assert_eq!(item(&ledger, "shop")["state"], "protected");
    run.kill();
    release(&site, holder);
    let ledger = site.status_at("2026-10-06 02:10:00");
    assert_eq!(ledger["running"], json!([]));
    let shop = item(&ledger, "shop");
    assert_eq!(shop["state"], "failed", "{shop:#}");
    assert!(shop["why"].as_str().unwrap().contains("was interrupted"), "{shop:#}");
    assert_eq!(shop["snapshots"], 1);
    // The command that systemd starts when a unit fails sends one complete alert.
    let unit = ["alert", "unit-failed", "tik-backup.service"];
    site.at("2026-10-06 02:30:00").env("MONITOR_SERVICE_RESULT", "signal").args(unit).run().ok();
    let told = site.messages();
    assert_eq!(told.len(), 1);
    assert_eq!(lines(&told[0]["new"]), ["pg/shop: failed", "tik-backup.service: unit"]);
    site.at("2026-10-06 03:00:00").arg("watch").run().expect_code(5);
    assert_eq!(site.messages().len(), 0);
    let said = site.backup_at("2026-10-07 02:00:00").ok();
    assert_eq!(lines(&site.messages()[0]["recovered"]).len(), 1, "{}", said.stderr);
    assert_eq!(site.check_at("2026-10-07 03:00:00"), Some(0));
}

#[test]
fn a_terminated_run_tells_by_itself() {
    let Some(site) = Site::new(&["shop"], More::default()) else { return };
    let (run, holder) = hanging(&site, "2026-10-06 02:00:00");
    run.signal(rustix::process::Signal::TERM);
    let ended = run.finish();
    assert!(!ended.status.success());
    release(&site, holder);
    let told = site.messages();
    assert_eq!(told.len(), 1, "{}", ended.stderr);
    assert!(told[0]["text"].as_str().unwrap().contains("terminated (SIGTERM)"), "{}", told[0]["text"]);
}

#[test]
fn runs_beside_each_other_are_all_written_down() {
    let databases = ["a", "b", "c", "d"];
    let Some(site) = Site::new(&databases, More::default()) else { return };
    thread::scope(|scope| {
        for database in databases {
            let site = &site;
            scope.spawn(move || {
                site.at("2026-10-05 02:00:00").args(["backup", &format!("pg/{database}")]).run().ok();
            });
        }
    });
    let ledger = site.status_at("2026-10-05 03:00:00");
    for database in databases {
        assert_eq!(item(&ledger, database)["state"], "protected", "{database}");
    }
    let history = Connection::open(site.history()).unwrap();
    let runs = "SELECT count(*) FROM run WHERE outcome = 'ok'";
    assert_eq!(history.query_row(runs, [], |row| row.get::<_, i64>(0)).unwrap(), 4);
}

#[test]
fn a_damaged_history_is_set_aside_and_begun_anew_from_the_repository() {
    let Some(site) = Site::new(&["shop"], More::default()) else { return };
    site.backup_at("2026-10-05 02:00:00").ok();
    site.backup_at("2026-10-06 02:00:00").ok();
    for damage in ["garbage", "a page"] {
        let mut bytes = fs::read(site.history()).unwrap();
        match damage {
            "garbage" => bytes = b"this is no database at all".repeat(1000),
            _ => bytes[4096..20_000].fill(0xa5),
        }
        fs::write(site.history(), &bytes).unwrap();
        let ledger = site.status_at("2026-10-06 03:00:00");
        assert_eq!(item(&ledger, "shop")["state"], "protected", "{damage}");
        assert_eq!(item(&ledger, "shop")["trend"].as_array().unwrap().len(), 2, "{damage}");
        let (problems, notes) = (ledger["problems"].to_string(), ledger["notes"].to_string());
        assert!(problems.contains("set aside as"), "{damage}: {problems}");
        assert!(notes.contains("rebuilt from 2 snapshots"), "{damage}: {notes}");
    }
    let aside = fs::read_dir(site.config.state_dir()).unwrap();
    let aside = aside
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains("damaged"))
        .count();
    assert!(aside >= 1, "what was damaged is kept");
    site.backup_at("2026-10-07 02:00:00").ok();
}

#[test]
fn a_history_of_a_later_version_is_left_alone() {
    let Some(site) = Site::new(&["shop"], More::default()) else { return };
    site.backup_at("2026-10-05 02:00:00").ok();
    Connection::open(site.history()).unwrap().pragma_update(None, "user_version", 999).unwrap();
    let shown = site.at("2026-10-05 03:00:00").args(["status", "--check"]).run().expect_code(5);
    assert!(shown.stdout.contains("layout 999") && shown.stdout.contains("pg/shop"), "{}", shown.stdout);
    // The backup itself is made nevertheless and reports that it could not be recorded; no snapshot is removed.
    let run = site.backup_at("2026-10-06 02:00:00").expect_code(3);
    assert!(run.stderr.contains("the history cannot be written"), "{}", run.stderr);
    assert_eq!(site.snapshots("shop").len(), 2);
    assert_eq!(run.json()["items"][0]["outcome"], "ok");
}

#[test]
fn without_a_state_folder_everything_is_backed_up_and_the_run_fails() {
    let Some(site) = Site::new(&["shop"], More::default()) else { return };
    fs::write(site.config.state_dir(), "a file is in the way").unwrap();
    let run = site.backup_at("2026-10-05 02:00:00").expect_code(3);
    assert!(run.stderr.contains("state_dir"), "{}", run.stderr);
    assert_eq!(site.snapshots("shop").len(), 1);
    assert_eq!(run.json()["alerts"]["failed"], json!([]), "what went wrong is told without a history too");
}

#[test]
fn the_history_is_nobody_elses() {
    let Some(site) = Site::new(&["shop"], More::default()) else { return };
    site.backup_at("2026-10-05 02:00:00").ok();
    for path in [site.config.state_dir(), site.history()] {
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", path.display());
    }
}

/// The status of an empty installation makes no claims.
#[test]
fn before_the_first_run_nothing_is_said_to_be_well() {
    let Some(site) = Site::new(&["shop"], More::default()) else { return };
    let text = site.at("2026-10-05 01:00:00").arg("status").run().ok().stdout;
    assert!(text.starts_with("1 PROBLEM"), "{text}");
    assert!(text.contains("pg: this source has never been backed up"), "{text}");
}
