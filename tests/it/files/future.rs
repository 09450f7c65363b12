//! Snapshots dated in the future: the clock of this machine or of another host was wrong.

use std::fs;

use serde_json::Value;
use testkit::{
    Tool,
    reports::{assert_says, item},
    skip_unless,
};

use super::{
    hosts::{Shared, names},
    support::text,
};

#[test]
fn a_snapshot_dated_in_the_future_makes_nothing_look_well_and_can_be_removed() {
    skip_unless!(Tool::Faketime);
    let shared = Shared::new();
    let a = shared.host("a");
    a.at("2026-10-05 02:00:00", &["backup"]).ok();
    fs::write(a.folder.join("data/of-the-future"), "x").unwrap();
    a.at("2027-10-05 02:00:00", &["backup"]).ok();
    let listed = a.json(&["snapshots"]);
    let ids: Vec<&str> =
        listed["snapshots"].as_array().unwrap().iter().map(|s| s["id"].as_str().unwrap()).collect();
    let [first, future] = ids[..] else { panic!("{listed:#}") };

    let ledger = a.at("2026-10-09 02:00:00", &["--json", "status"]).ok().json();
    let entry = item(&ledger, "data");
    let age = entry["age_seconds"].as_i64().unwrap();
    assert!((345_000..346_000).contains(&age), "four days, not less than none: {age}");
    assert_eq!((&entry["snapshot"], &entry["state"]), (&first.into(), &"late".into()));
    let kinds: Vec<_> =
        entry["problems"].as_array().unwrap().iter().map(|problem| &problem["kind"]).collect();
    assert_eq!(kinds, ["future-snapshot", "late"]);
    assert_eq!(ledger["summary"]["backed_up"], 0);

    let moment = "2026-10-05 03:00:00";
    a.at(moment, &["status", "--check"]).expect_code(5);
    let text_of = a.at(moment, &["status"]).ok().stdout;
    assert_says(
        &text_of,
        &["dated in the future", &format!("tik-backup forget 'disk/data' --id {}", &future[..8])],
    );
    let (now, then) = (a.out("now"), a.out("then"));
    let ran = a.at(moment, &["restore", "disk/data", "--to", text(&now)]).ok();
    assert_says(&ran.stderr, &["is ignored because it is dated in the future", &future[..8]]);
    assert_eq!(names(&now), ["of-a"]);
    let ran = a.at(moment, &["restore", "disk/data", "--at", future, "--to", text(&then)]).ok();
    assert_says(&ran.stderr, &["is dated in the future", "a clock was wrong"]);
    assert_eq!(names(&then).len(), 2);
    let drilled = a.at(moment, &["--json", "drill", "disk/data"]).ok();
    assert_eq!(drilled.json()["items"][0]["snapshot"], *first);
    assert_says(&drilled.stderr, &["is ignored because"]);
    // Until it is removed, nothing older is.
    a.edit("[sources.disk]", "[retention]\nkeep_last = 1\nkeep_daily = 0\nkeep_weekly = 0\n[sources.disk]");
    let ran = a.at(moment, &["backup"]).ok();
    assert_says(&ran.stderr, &["dated in the future", "retention is held", "tik-backup forget"]);

    // Of what is still backed up only single snapshots can be removed, in two steps.
    let ran = a.at(moment, &["forget", "disk/data"]).expect_code(2);
    assert_says(&ran.stderr, &["still backed up", "--id"]);
    let shown = a.at(moment, &["--json", "forget", "disk/data", "--id", &future[..8]]).ok().json();
    assert_eq!((&shown["removed"], &shown["snapshots"][0]["id"]), (&false.into(), &future.into()));
    let code = shown["confirm"].as_str().unwrap();
    a.at(moment, &["forget", "disk/data", "--id", &future[..8], "--confirm", "00000000"]).expect_code(2);
    assert_eq!(a.json(&["snapshots"])["snapshots"].as_array().unwrap().len(), 3, "nothing was removed yet");
    let ran = a.at(moment, &["forget", "disk/data", "--id", &future[..8], "--confirm", code]).ok();
    assert_says(&ran.stdout, &["removed 1 snapshot of the host a"]);
    a.at(moment, &["status", "--check"]).ok();
}

#[test]
fn where_several_snapshots_are_dated_in_the_future_this_machines_clock_is_suspected() {
    skip_unless!(Tool::Faketime);
    let shared = Shared::new();
    let a = shared.host("a");
    for day in ["2027-10-05 02:00:00", "2027-10-06 02:00:00", "2027-10-07 02:00:00"] {
        a.at(day, &["backup"]).ok();
    }
    let moment = "2026-10-05 03:00:00";
    let said = |number: &str| format!("{number} snapshots are dated in the future, the last, ");
    let shown = a.at(moment, &["--json", "status"]).ok().json();
    let problem = &item(&shown, "data")["problems"][0];
    let (found, hint) = (problem["text"].as_str().unwrap(), problem["hint"].as_str().unwrap());
    assert_says(
        found,
        &[said("3").as_str(), "perhaps the clock of this machine is behind, it says 2026-10-05"],
    );
    assert_says(hint, &["set the clock of this machine"]);
    assert!(!hint.contains("tik-backup forget"), "{hint}");
    // The run says the same, and removes nothing.
    let ran = a.at(moment, &["backup"]).ok();
    assert_says(&ran.stderr, &[said("3").as_str(), "perhaps the clock of this machine is behind", hint]);
    assert!(!ran.stderr.contains("tik-backup forget"), "{}", ran.stderr);
    // With the right clock none of them is of the future.
    let shown = a.at("2027-10-07 03:00:00", &["--json", "status"]).ok().json();
    assert!(!shown["items"].to_string().contains("future-snapshot"), "{shown:#}");
}

#[test]
fn where_all_snapshots_are_dated_in_the_future_the_newest_is_used_with_a_warning() {
    skip_unless!(Tool::Faketime);
    let shared = Shared::new();
    let a = shared.host("a");
    a.at("2027-10-05 02:00:00", &["backup"]).ok();
    let ledger = a.at("2026-10-05 03:00:00", &["--json", "status"]).ok().json();
    let entry = item(&ledger, "data");
    assert_eq!(
        (&entry["age_seconds"], &entry["snapshots"], &entry["state"]),
        (&Value::Null, &1.into(), &"suspicious".into())
    );
    assert_eq!(ledger["summary"]["backed_up"], 0);
    let ran = a.at("2026-10-05 03:00:00", &["restore", "disk/data", "--to", text(&a.out("out"))]).ok();
    assert_says(&ran.stderr, &["is dated in the future"]);
    assert_eq!(names(&a.out("out")), ["of-a"]);
}
