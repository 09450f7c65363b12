//! Failures of single subscriptions, accounts and shares do not affect others; and exclusions within items.

use std::{
    net::TcpListener,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use testkit::{
    Cmd, Config, Tool,
    azure::{FakeAzure, Fault},
    azurite::Azurite,
    reports::{assert_says, backup, error_of, ids_of, item, try_backup, try_restore},
    running::{Running, wait_until},
    skip_unless,
};

use super::support::{add_blob_account, blobs, put, storage};

/// Keeps what the runs of one day make.
const KEEP: &str = "retention = { keep_last = 10 }\n";

/// A tenant with the subscriptions `Test` and `Production` (their ids are returned in this order), an account in each,
/// `late` and `prompt`, and a share with a file in each account.
fn tenant(keys: &str) -> (FakeAzure, String, String, Config) {
    let azure = FakeAzure::start();
    let (test, production) = (azure.add_subscription("Test"), azure.add_subscription("Production"));
    for (account, subscription) in [("late", &test), ("prompt", &production)] {
        azure.add_account(azure.new_account(account, subscription));
        azure.add_share(account, "docs");
        azure.put_file(account, "docs", "plan.txt", format!("the plan of {account}"));
    }
    let config = storage(&azure, keys);
    (azure, test, production, config)
}

fn refuse(azure: &FakeAzure, subscription: &str) {
    let accounts = format!("/subscriptions/{subscription}/providers");
    azure.fault(Fault::answer("GET", &accounts, 403, "AuthorizationFailed").always());
}

fn names(report: &Value) -> Vec<&str> {
    let items = report["items"].as_array().unwrap();
    items.iter().map(|item| item["item"].as_str().unwrap()).collect()
}

#[test]
fn a_subscription_that_refuses_costs_only_itself() {
    let (azure, test, _, config) = tenant(KEEP);
    azure.add_share("prompt", "old");
    assert_eq!(names(&backup(&config)), ["late/share:docs", "prompt/share:docs", "prompt/share:old"]);

    refuse(&azure, &test);
    azure.change_share("prompt", "old", |share| share.deleted = true);
    let ran = try_backup(&config, &[]).expect_code(3);
    let report = ran.json();
    assert_eq!(names(&report), ["prompt/share:docs", "subscription:Test"]);
    assert_eq!(item(&report, "prompt/share:docs")["outcome"], "ok");
    assert_says(
        error_of(&report, "subscription:Test"),
        &["could not be listed", "AuthorizationFailed", "Reader"],
    );
    // Of the one nothing is known; the other has answered, and does not have the share any more.
    assert!(!ran.stderr.contains("late/share:docs: VANISHED"), "{}", ran.stderr);
    assert_says(&ran.stderr, &["storage/prompt/share:old: VANISHED"]);
    let status = Cmd::with(&config).args(["--json", "status"]).run().stdout;
    assert_says(&status, &["subscription:Test"]);
    // What is named and cannot be found is no item that does not exist.
    let ran = try_backup(&config, &["storage/late/share:docs"]).expect_code(1);
    assert_says(
        error_of(&ran.json(), "late/share:docs"),
        &["a part of the source did not answer", "tik-backup discover storage"],
    );

    azure.forget_faults();
    let ran = try_backup(&config, &[]).ok();
    assert_eq!(names(&ran.json()), ["late/share:docs", "prompt/share:docs"]);
    assert!(!ran.stderr.contains("VANISHED"), "{}", ran.stderr);
    assert_eq!(ids_of(&config, "storage/late/share:docs").len(), 2);
}

#[test]
fn a_disabled_subscription_is_named_as_such() {
    let (azure, test, _, config) = tenant("");
    azure.set_subscription_state(&test, "Disabled");
    let report = backup(&config);
    let late = item(&report, "late/share:docs");
    assert_eq!(late["outcome"], "ok");
    assert_says(&late["notes"].to_string(), &["the subscription Test is disabled (state Disabled)"]);
    assert!(!item(&report, "prompt/share:docs").to_string().contains("disabled"), "{report:#}");

    refuse(&azure, &test);
    let report = try_backup(&config, &[]).expect_code(3).json();
    assert_says(
        error_of(&report, "subscription:Test"),
        &["is disabled (state Disabled)", "NOT protected", "enable the subscription again"],
    );
    assert_eq!(item(&report, "prompt/share:docs")["outcome"], "ok");

    // Every one of them refuses: nothing is backed up, and that is no success.
    azure.forget_faults();
    azure.fault(Fault::answer("GET", "/providers", 403, "AuthorizationFailed").always());
    let report = try_backup(&config, &[]).expect_code(1).json();
    assert_eq!(names(&report), ["subscription:Production", "subscription:Test"]);
}

#[test]
fn what_a_disabled_subscription_shows_no_more_has_vanished() {
    let (azure, test, _, config) = tenant(KEEP);
    backup(&config);
    azure.set_subscription_state(&test, "Disabled");
    azure.remove_account("late");
    let ran = try_backup(&config, &[]).ok();
    assert_eq!(names(&ran.json()), ["prompt/share:docs"]);
    assert_says(&ran.stderr, &["storage/late/share:docs: VANISHED"]);
    let ledger = Cmd::with(&config).args(["--json", "status"]).run().json();
    assert_eq!(item(&ledger, "late/share:docs")["state"], "vanished", "{ledger:#}");
    let discovered = Cmd::with(&config).args(["discover", "storage"]).run().stdout;
    assert_says(
        &discovered,
        &["the subscription Test is disabled (state Disabled) and shows no storage accounts"],
    );
}

#[test]
fn a_restore_finds_its_account_although_another_subscription_refuses() {
    let (azure, test, _, config) = tenant("");
    refuse(&azure, &test);
    try_backup(&config, &[]).expect_code(3);
    try_restore(&config, "storage/prompt/share:docs", &["--into", "prompt/share:back"]).ok();
    assert!(azure.node("prompt", "back", "plan.txt").is_some());
    let ran =
        try_restore(&config, "storage/prompt/share:docs", &["--into", "late/share:back"]).expect_code(1);
    assert_says(&ran.stderr, &["the subscription Test could not be queried"]);
}

/// The address of a service that accepts connections and never says anything.
fn silent() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let mut held = Vec::new();
        for stream in listener.incoming().map_while(Result::ok) {
            held.push(stream);
        }
    });
    format!("http://127.0.0.1:{port}/late/")
}

#[test]
fn a_silent_account_keeps_nobody_waiting() {
    let (azure, _, _, config) = tenant(KEEP);
    backup(&config);
    azure.change_account("late", |account| {
        let address = silent();
        account.blob_endpoint = Some(address.clone());
        account.file_endpoint = Some(address);
    });

    // What was named has answered: the other account is of no interest.
    let begin = Instant::now();
    try_backup(&config, &["storage/prompt/share:docs"]).ok();
    assert!(begin.elapsed() < Duration::from_secs(45), "{:?}", begin.elapsed());

    let begin = Instant::now();
    let mut run = Running::start(Cmd::with(&config).args(["--json", "backup"]).into_command());
    run.wait_for("no answer yet from late");
    wait_until("the healthy account is backed up", || {
        ids_of(&config, "storage/prompt/share:docs").len() == 3
    });
    assert!(!run.has_ended(), "it does not wait for the silent one:\n{}", run.stderr());
    let ended = run.finish().expect_code(3);
    assert!(begin.elapsed() > Duration::from_secs(50), "it was given time: {:?}", begin.elapsed());
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(names(&report), ["late", "prompt/share:docs"], "one item for both of its services");
    assert_eq!(item(&report, "prompt/share:docs")["outcome"], "ok");
    assert_says(
        error_of(&report, "late"),
        &["neither its blob service nor its file service", "private endpoint"],
    );
    assert!(!ended.stderr.contains("VANISHED"), "{}", ended.stderr);
}

#[test]
fn an_account_that_answers_late_does_not_wait_for_one_that_is_busy() {
    let (azure, test, _, config) = tenant(KEEP);
    azure.add_account(azure.new_account("busy", &test));
    azure.add_share("busy", "docs");
    azure.fault(Fault::answer("GET", "/busy", 503, "ServerBusy").always());
    azure.fault(Fault::delay("GET", "/late", Duration::from_secs(13)));
    let mut run = Running::start(Cmd::with(&config).args(["--json", "backup"]).into_command());
    wait_until("the late account is backed up", || ids_of(&config, "storage/late/share:docs").len() == 1);
    assert!(!run.has_ended(), "the busy one is still tried:\n{}", run.stderr());
    assert_eq!(ids_of(&config, "storage/prompt/share:docs").len(), 1);
}

#[test]
fn a_share_that_is_deleted_during_the_run_is_vanished() {
    let (azure, _, _, config) = tenant("");
    azure.add_share("prompt", "doomed");
    azure.fault(Fault::delay("PUT", "/prompt/doomed", Duration::from_secs(3)));
    let run = Running::start(Cmd::with(&config).args(["--json", "backup"]).into_command());
    wait_until("both accounts have listed their shares", || azure.count("ListShares") >= 2);
    // The list has gone out before the snapshot is asked for.
    wait_until("another share is read", || azure.count("SnapshotShare") >= 1);
    azure.change_share("prompt", "doomed", |share| share.deleted = true);
    let ended = run.finish().expect_code(0);
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(item(&report, "prompt/share:doomed")["outcome"], "vanished");

    // One that is still listed has failed, whatever the service says of it.
    azure.fault(Fault::answer("PUT", "/prompt/docs", 404, "ShareNotFound").always());
    let report = try_backup(&config, &[]).expect_code(3).json();
    assert_says(error_of(&report, "prompt/share:docs"), &["ShareNotFound"]);
}

#[test]
fn discover_counts_what_patterns_leave_out() {
    skip_unless!(Tool::Azurite);
    let azurite = Azurite::start(&["acct"]);
    let (azure, _, production, config) = tenant("exclude = [\"*.tmp\", \"cache/\", \"nothing\"]\n");
    add_blob_account(&azure, &production, &azurite, "acct");
    let service = blobs(&azurite, "acct");
    for name in ["keep", "a.tmp", "x/b.tmp", "cache/1", "y/cache/2.tmp", "cache.d/3", "nothing.at.all"] {
        put(&service, "photos", name, b"x");
    }
    put(&service, "whole", "keep", b"x");
    for path in ["cache/one", "cache/two", "deep/er/x.tmp", "keep"] {
        azure.put_file("prompt", "docs", path, "x");
    }
    let found = Cmd::with(&config).args(["--json", "discover"]).run().ok().json();
    let within = |name: &str| item(&found["sources"][0], name)["excluded_within"].clone();
    let counts = |tmp: u64, cache: u64| serde_json::json!([{"pattern": "*.tmp", "entries": tmp}, {"pattern": "cache/", "entries": cache}]);
    assert_eq!(within("acct/photos"), counts(2, 2));
    assert_eq!(within("prompt/share:docs"), counts(1, 1), "a directory counts once");
    assert_eq!((within("acct/whole"), within("late/share:docs")), (Value::Null, Value::Null));
    let text = Cmd::with(&config).arg("discover").run().ok().stdout;
    assert_says(
        &text,
        &[
            "2 entries excluded by exclude = \"*.tmp\"; 2 entries excluded by exclude = \"cache/\"",
            "1 entry excluded",
        ],
    );
    // A share that cannot be walked is said.
    azure.fault(Fault::answer("GET", "/prompt/docs", 403, "AuthorizationFailure").always());
    let ran = Cmd::with(&config).arg("discover").run().expect_code(3);
    assert_says(&ran.stdout, &["storage/prompt/share:docs: FAILED: ", "could not be counted"]);
}
