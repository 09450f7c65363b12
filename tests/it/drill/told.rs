//! Results of drills are recorded, shown and alerted: items that do not restore, that were never proven, or that are proven again.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use testkit::{
    Cmd, Tool,
    site::{More, Site, item},
    skip_unless,
};

use super::drill_table;

fn drill_at(site: &Site, moment: &str) -> Value {
    site.at(moment).args(["--json", "drill"]).run().json()
}

/// The packs of a repository.
fn packs(repository: &Path) -> Vec<PathBuf> {
    let folders = fs::read_dir(repository.join("data")).unwrap().flatten();
    folders
        .flat_map(|folder| fs::read_dir(folder.path()).unwrap().flatten())
        .map(|entry| entry.path())
        .collect()
}

/// Changes a byte in the middle of the largest of these packs.
fn damage(mut packs: Vec<PathBuf>) {
    packs.sort_by_key(|pack| fs::metadata(pack).unwrap().len());
    let largest = packs.last().unwrap();
    let mut data = fs::read(largest).unwrap();
    let middle = data.len() / 2;
    data[middle] ^= 1;
    fs::remove_file(largest).unwrap();
    fs::write(largest, data).unwrap();
}

fn texts(messages: &[Value]) -> String {
    messages.iter().map(|message| message["text"].as_str().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

#[test]
fn what_does_not_restore_is_told_and_holds_older_snapshots() {
    let more = More {
        tables: &drill_table(""),
        source: "retention = { keep_within = \"0s\", keep_daily = 2, keep_weekly = 0 }",
        ..More::default()
    };
    let Some(site) = Site::new(&["shop"], more) else { return };
    site.backup_at("2026-10-05 02:00:00").ok();
    assert_eq!(drill_at(&site, "2026-10-05 06:00:00")["outcome"], "ok");
    assert_eq!(texts(&site.messages()), "");
    let before = packs(&site.config.repo());
    site.backup_at("2026-10-06 02:00:00").ok();
    damage(packs(&site.config.repo()).into_iter().filter(|pack| !before.contains(pack)).collect());
    let report = drill_at(&site, "2026-10-06 06:00:00");
    assert_eq!(
        (&report["outcome"], &report["items"][0]["outcome"]),
        (&"failed".into(), &"failed".into()),
        "{report:#}"
    );
    let told = texts(&site.messages());
    assert!(told.contains("A DRILL FOUND THAT IT DOES NOT RESTORE"), "{told}");
    let status = site.status_at("2026-10-06 07:00:00");
    let entry = item(&status, "shop");
    assert_eq!((&entry["state"], &entry["held"]), (&"not-proven".into(), &true.into()), "{entry:#}");
    assert_eq!(site.check_at("2026-10-06 07:00:00"), Some(5));
    assert!(entry["last_proof"].as_str().unwrap().starts_with("2026-10-05"), "{entry:#}");

    for day in 7..12 {
        site.backup_at(&format!("2026-10-{day:02} 02:00:00")).ok();
    }
    // The proven snapshot is held. The others follow the retention.
    let kept = site.snapshots("shop");
    assert_eq!(kept.len(), 3, "the proven one and two days: {kept:?}");

    // A later snapshot is proven.
    site.backup_at("2026-10-12 02:00:00").ok();
    site.messages();
    let report = drill_at(&site, "2026-10-12 06:00:00");
    assert_eq!(report["outcome"], "ok", "{report:#}");
    let told = texts(&site.messages());
    assert!(told.contains("resolved"), "{told}");
    site.backup_at("2026-10-13 02:00:00").ok();
    assert_eq!(site.snapshots("shop").len(), 2, "retention goes on");
}

#[test]
fn what_was_never_proven_or_long_ago_is_told() {
    let more = More { tables: &drill_table(""), top: "max_age = \"60d\"", ..More::default() };
    let Some(site) = Site::new(&["shop"], more) else { return };
    site.backup_at("2026-10-01 02:00:00").ok();
    assert_eq!(site.check_at("2026-10-15 03:00:00"), Some(0), "there is time yet");
    let problem = |moment: &str| {
        let status = site.status_at(moment);
        item(&status, "shop")["problems"][0]["text"].as_str().unwrap_or_default().to_owned()
    };
    assert!(problem("2026-10-17 03:00:00").contains("never proven"), "{}", problem("2026-10-17 03:00:00"));
    site.at("2026-10-17 03:00:00").arg("watch").run().expect_code(5);
    let told = texts(&site.messages());
    assert!(told.contains("never proven") && told.contains("tik-backup drill"), "{told}");

    // The first snapshot is proven now: there is no fresher one, so the proof is not fresh.
    let report = drill_at(&site, "2026-10-17 04:00:00");
    let verdict = &report["items"][0];
    // Neither the backup nor the drill begins at the very second.
    let age = verdict["age_seconds"].as_i64().unwrap() - (16 * 86_400 + 7200);
    assert!(verdict["outcome"] == "proven" && age.abs() < 120, "{verdict}");
    assert!(problem("2026-10-17 05:00:00").contains("last proven snapshot is 16 days old"));
    site.backup_at("2026-10-17 06:00:00").ok();
    drill_at(&site, "2026-10-17 07:00:00");
    assert_eq!(site.check_at("2026-10-17 08:00:00"), Some(0));
    let metrics = site.at("2026-10-17 08:00:00").args(["status", "--prometheus"]).run().ok().stdout;
    for name in ["tik_backup_item_last_proof_timestamp_seconds{", "tik_backup_item_restore_duration_seconds{"]
    {
        assert!(metrics.contains(name), "{metrics}");
    }
}

#[test]
fn a_late_backup_makes_no_fresh_proof() {
    let more = More { tables: &drill_table(""), ..More::default() };
    let Some(site) = Site::new(&["shop"], more) else { return };
    site.backup_at("2026-10-01 02:00:00").ok();
    assert_eq!(drill_at(&site, "2026-10-01 05:00:00")["items"][0]["fresh"], true);
    let report = drill_at(&site, "2026-10-03 05:00:00");
    assert_eq!(
        (&report["items"][0]["outcome"], &report["items"][0]["fresh"]),
        (&"proven".into(), &false.into())
    );
    let ran = site.at("2026-10-03 05:10:00").arg("drill").run().ok();
    assert!(ran.stderr.contains("NOT FRESH"), "{}", ran.stderr);
}

#[test]
fn passwords_of_roles_are_never_shown() {
    skip_unless!(Tool::Pg15);
    use testkit::{
        ConfigBuilder, PgServer, PgVersion,
        reports::{backup, ready},
    };
    let server = PgServer::start(PgVersion::V15);
    server.psql(
        "postgres",
        "SET password_encryption = 'scram-sha-256'; CREATE ROLE keeper LOGIN PASSWORD 'pl4nted-s3cret'",
    );
    let hash = server.psql("postgres", "SELECT rolpassword FROM pg_authid WHERE rolname = 'keeper'");
    // A name that no scratch server takes, so that the statement fails.
    let config = ready(ConfigBuilder::new().postgres("pg", &server, "").tables(&drill_table("")));
    server.psql("postgres", "ALTER ROLE keeper SET log_min_duration_statement = '5s'");
    backup(&config);
    let ran = Cmd::with(&config).args(["-v", "drill"]).run().ok();
    for text in [&ran.stdout, &ran.stderr] {
        assert!(!text.contains(&hash) && !text.contains("SCRAM-SHA-256$"), "{text}");
    }
    let history = fs::read(config.state_dir().join("history.db")).unwrap();
    assert!(!history.windows(14).any(|window| window == b"SCRAM-SHA-256$"));
}
