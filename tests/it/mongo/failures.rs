//! Servers that fail in the middle: an item is whole or failed, and one that failed leaves no snapshot and harms no other.

use mongodb::bson::{RawDocumentBuf, doc, rawdoc};
use rustix::process::Signal;
use testkit::{
    Cmd, Config, ConfigBuilder, MongoServer, Tool,
    reports::{assert_says, error_of, ids_of, item, manifest_of, ready, try_backup},
    running::Running,
    skip_unless,
};

use super::{
    link::link,
    relay::Relay,
    support::{
        SOURCE, assert_stored, backup_with_failures, configured, fail, full, heal, keeping, notes_of,
        numbered, once_after, source_of,
    },
};

/// Enough for several batches: the dump sends a find and four getMores.
const DOCUMENTS: i32 = 4500;

/// A server with two databases, one after the other when backed up.
fn two_databases() -> (MongoServer, Config, Vec<RawDocumentBuf>) {
    let server = MongoServer::start_with_test_commands();
    let documents = numbered(0..DOCUMENTS);
    link(&server).insert("first", "docs", &documents);
    link(&server).insert("second", "docs", &documents);
    let config = configured(&server, "jobs = 1");
    (server, config, documents)
}

/// The names of the items that failed and of those that did not.
fn outcomes(report: &serde_json::Value) -> (Vec<String>, Vec<String>) {
    let names = |outcome: &str| {
        let items = report["items"].as_array().unwrap().iter().filter(|item| item["outcome"] == outcome);
        items.map(|item| item["item"].as_str().unwrap().to_owned()).collect()
    };
    (names("failed"), names("ok"))
}

#[test]
fn what_breaks_off_is_read_again_and_is_whole() {
    skip_unless!(Tool::Mongo);
    let (server, config, documents) = two_databases();
    for (command, skip, how) in [
        ("getMore", 0, doc! { "errorCode": 43 }),
        ("getMore", 2, doc! { "errorCode": 11602 }),
        ("getMore", 3, doc! { "closeConnection": true }),
        // The first asks for the moment, the second reads.
        ("find", 1, doc! { "closeConnection": true }),
    ] {
        fail(&server, command, once_after(skip), how.clone());
        let report = backup_with_failures(&config, &[], 0);
        let notes = format!("{}\n{}", notes_of(&report, "first"), notes_of(&report, "second"));
        assert_eq!(
            notes.matches("reading docs was interrupted and restarted (1 time)").count(),
            1,
            "{how}: {notes}"
        );
        assert_stored(&config, "first", "docs", &documents);
    }
    // What is asked besides the documents is asked again.
    for command in ["listCollections", "listIndexes"] {
        fail(&server, command, once_after(1), doc! { "closeConnection": true });
        backup_with_failures(&config, &[], 0);
    }
    heal(&server);
}

#[test]
fn a_hiccup_while_the_moment_is_chosen_is_no_failure() {
    skip_unless!(Tool::Mongo);
    let (server, config, _) = two_databases();
    for how in [doc! { "closeConnection": true }, doc! { "errorCode": 11602 }] {
        fail(&server, "find", once_after(0), how);
        backup_with_failures(&config, &[], 0);
    }
}

#[test]
fn a_lost_snapshot_is_told_or_is_a_failure_as_configured() {
    skip_unless!(Tool::Mongo);
    let (server, config, documents) = two_databases();
    fail(&server, "getMore", once_after(1), doc! { "errorCode": 239 });
    let report = backup_with_failures(&config, &[], 0);
    let lost = ["first", "second"].map(|name| {
        let manifest = manifest_of(&config, &full(name), "latest");
        let told = notes_of(&report, name).contains("no snapshot (any more) for some collections");
        assert_eq!(manifest["consistency"], if told { "none" } else { "snapshot" }, "{manifest:#}");
        assert_eq!(manifest["mongodb"]["snapshot_time"].is_null(), told, "{manifest:#}");
        assert_stored(&config, name, "docs", &documents);
        told
    });
    assert_eq!(lost.iter().filter(|told| **told).count(), 1, "{report:#}");

    testkit::reports::edit(&config, "jobs = 1", "jobs = 1\nconsistency = \"snapshot\"");
    let before = (ids_of(&config, "mg/first").len(), ids_of(&config, "mg/second").len());
    fail(&server, "getMore", once_after(1), doc! { "errorCode": 239 });
    let report = try_backup(&config, &[]).expect_code(3).json();
    let (failed, _) = outcomes(&report);
    assert_eq!(failed.len(), 1, "{report:#}");
    assert_says(error_of(&report, &failed[0]), &["docs", "239", "minSnapshotHistoryWindowInSeconds"]);
    let after = (ids_of(&config, "mg/first").len(), ids_of(&config, "mg/second").len());
    assert_eq!(before.0 + before.1 + 1, after.0 + after.1, "only the other one has a new snapshot");
}

#[test]
fn what_may_not_be_read_fails_its_item_alone() {
    skip_unless!(Tool::Mongo);
    let (server, config, _) = two_databases();
    let denied = || doc! { "errorCode": 13 };
    for (command, how, said) in [
        ("listCollections", denied(), "cannot list the collections of"),
        ("listIndexes", denied(), "cannot read the indexes of"),
        ("find", denied(), "cannot take a snapshot"),
        ("find", doc! { "errorCode": 26 }, ""),
    ] {
        fail(&server, command, once_after(0), how.clone());
        let before = ids_of(&config, "mg/first").len() + ids_of(&config, "mg/second").len();
        let report = try_backup(&config, &[]).expect_code(3).json();
        let (failed, done) = outcomes(&report);
        assert_eq!((failed.len(), done.len()), (1, 1), "{command} {how}: {report:#}");
        assert_says(error_of(&report, &failed[0]), &[said, "→"]);
        if how == denied() {
            assert_says(error_of(&report, &failed[0]), &["readAnyDatabase"]);
        }
        let after = ids_of(&config, "mg/first").len() + ids_of(&config, "mg/second").len();
        assert_eq!(after, before + 1, "{command}: no snapshot of what failed");
    }
    fail(&server, "getMore", "alwaysOn", denied());
    let report = backup_with_failures(&config, &["first", "second"], 1);
    assert_says(error_of(&report, "first"), &["first.docs", "code 13", "readAnyDatabase"]);
    heal(&server);

    // Databases that cannot be listed could be missed: that is a failure of the source.
    fail(&server, "listDatabases", "alwaysOn", denied());
    let ran = try_backup(&config, &[]).expect_code(1);
    assert_says(&ran.stdout, &["could be missing", "readAnyDatabase"]);
    heal(&server);
    backup_with_failures(&config, &[], 0);
}

/// A backup over a relay that holds it in the middle of reading.
fn held(config: &Config, relay: &Relay) -> Running {
    relay.hold(2);
    let mut running = Running::start(Cmd::with(config).args(["--json", "backup"]).into_command());
    relay.wait_held(&mut running);
    running
}

/// A configuration whose source [`SOURCE`] is reached over a relay.
fn relayed(relay: &Relay, more: &str) -> ConfigBuilder {
    let builder = keeping();
    let lines = source_of(&builder, SOURCE, &relay.uri(), more);
    builder.source(SOURCE, &lines)
}

#[test]
fn a_server_that_is_gone_in_the_middle_fails_its_items_and_no_others() {
    skip_unless!(Tool::Mongo);
    let mut server = MongoServer::start();
    let other = MongoServer::start();
    link(&server).insert("first", "docs", &numbered(0..DOCUMENTS));
    link(&other).insert("second", "docs", &numbered(0..DOCUMENTS));
    let relay = Relay::start(server.port());
    let config = ready(relayed(&relay, "").mongodb("other", &other, ""));
    let running = held(&config, &relay);
    server.kill();
    relay.release();
    let ended = running.finish().expect_code(3);
    let report = serde_json::from_str(&ended.stdout).unwrap();
    assert_says(error_of(&report, "first"), &["first.docs", "→"]);
    assert_eq!(item(&report, "second")["outcome"], "ok", "{report:#}");
    assert!(ids_of(&config, "mg/first").is_empty());

    server.restart();
    backup_with_failures(&config, &[], 0);
    assert_stored(&config, "first", "docs", &numbered(0..DOCUMENTS));
}

#[test]
fn a_server_that_comes_back_is_read_to_its_end() {
    skip_unless!(Tool::Mongo);
    let mut server = MongoServer::start();
    link(&server).insert("first", "docs", &numbered(0..DOCUMENTS));
    let relay = Relay::start(server.port());
    let config = ready(relayed(&relay, "consistency = \"none\""));
    let running = held(&config, &relay);
    server.restart();
    relay.release();
    let ended = running.finish().expect_code(0);
    let report = serde_json::from_str(&ended.stdout).unwrap();
    assert_says(&notes_of(&report, "first"), &["reading docs was interrupted and restarted"]);
    assert_stored(&config, "first", "docs", &numbered(0..DOCUMENTS));

    // If it was changed meanwhile, the two halves would be of different states: all of it is read again.
    let running = held(&config, &relay);
    server.restart();
    server.command("first", doc! { "delete": "docs", "deletes": [{ "q": { "_id": 7 }, "limit": 1 }] });
    relay.release();
    let ended = running.finish().expect_code(0);
    assert_says(&ended.stderr, &["first.docs", "changed before it could be read again", "tried again"]);
    assert_eq!(ids_of(&config, "mg/first").len(), 2);
    let rest: Vec<_> = numbered(0..DOCUMENTS)
        .into_iter()
        .filter(|document| !document.get_i32("_id").is_ok_and(|id| id == 7))
        .collect();
    assert_stored(&config, "first", "docs", &rest);
}

#[test]
fn what_happens_to_a_collection_while_it_is_read_is_told_or_fails() {
    skip_unless!(Tool::Mongo);
    let server = MongoServer::start();
    let link = link(&server);
    link.insert("first", "docs", &numbered(0..DOCUMENTS));
    link.insert("first", "other", &numbered(0..3));
    let relay = Relay::start(server.port());
    let config = ready(relayed(&relay, ""));
    let running = held(&config, &relay);
    link.index("first", "other", &[rawdoc! { "key": { "half": 1 }, "name": "late" }]);
    link.create("first", "new", &rawdoc! {});
    relay.release();
    let ended = running.finish().expect_code(0);
    let report = serde_json::from_str(&ended.stdout).unwrap();
    let said = [
        "the indexes of first.other were changed",
        "first.new was created during the dump and is not in the backup",
    ];
    assert_says(&notes_of(&report, "first"), &said);

    let running = held(&config, &relay);
    link.raw("first", rawdoc! { "drop": "other" });
    link.insert("first", "other", &numbered(0..3));
    relay.release();
    let ended = running.finish().expect_code(0);
    assert_says(&ended.stderr, &["first.other was dropped and created again", "tried again"]);
    assert_eq!(ids_of(&config, "mg/first").len(), 2, "the second attempt met the new one alone");
}

#[test]
fn a_stopped_run_leaves_nothing_behind() {
    skip_unless!(Tool::Mongo);
    let server = MongoServer::start();
    link(&server).insert("first", "docs", &numbered(0..DOCUMENTS));
    let relay = Relay::start(server.port());
    let config = ready(relayed(&relay, ""));
    let running = held(&config, &relay);
    running.signal(Signal::TERM);
    let ended = running.finish();
    assert_ne!(ended.status.code(), Some(0), "{ended:?}");
    assert!(ids_of(&config, "mg/first").is_empty());
    relay.release();
    backup_with_failures(&config, &[], 0);
}
