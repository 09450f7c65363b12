//! What the manifest says of the moment that a dump shows, and what a dump holds while others write.

use std::{
    collections::BTreeSet,
    fs,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use mongodb::bson::{RawDocumentBuf, doc, rawdoc};
use testkit::{
    MongoServer, Tool,
    reports::{assert_says, backup, edit, error_of, manifest_of, try_backup},
    skip_unless,
};

use super::{
    link::{Link, link, split},
    support::{configured, fail, files_of, full, notes_of, numbered, once_after},
};

#[test]
fn the_manifest_tells_how_consistent_a_dump_is() {
    skip_unless!(Tool::Mongo);
    let server = MongoServer::start_with_test_commands();
    link(&server).insert("shop", "orders", &numbered(0..10));
    let config = configured(&server, "");
    let report = backup(&config);
    let manifest = manifest_of(&config, &full("shop"), "latest");
    assert_eq!(manifest["consistency"], "snapshot", "{manifest:#}");
    assert!(manifest["mongodb"]["snapshot_time"]["time"].as_u64().unwrap() > 1_500_000_000, "{manifest:#}");
    assert!(manifest["mongodb"]["topology"]["replica-set"].is_string(), "{manifest:#}");
    assert_eq!((manifest["kind"].as_str(), notes_of(&report, "shop").as_str()), (Some("mongodb"), ""));

    // A server that refuses: the dump is made without, and says so and why.
    for code in [72, 246, 20] {
        fail(&server, "find", once_after(0), doc! { "errorCode": code });
        let report = backup(&config);
        let manifest = manifest_of(&config, &full("shop"), "latest");
        assert_eq!((&manifest["consistency"], &manifest["objects"][0]["rows"]), (&"none".into(), &10.into()));
        let note = notes_of(&report, "shop");
        assert_says(&note, &["read without a snapshot", &code.to_string(), "may be in it twice"]);
        assert_says(&manifest["notes"].to_string(), &["read without a snapshot"]);
    }
    edit(&config, "kind = \"mongodb\"", "kind = \"mongodb\"\nconsistency = \"snapshot\"");
    fail(&server, "find", once_after(0), doc! { "errorCode": 72 });
    let report = try_backup(&config, &[]).expect_code(1).json();
    assert_says(error_of(&report, "shop"), &["a snapshot is required", "consistency = \"auto\""]);
    edit(&config, "consistency = \"snapshot\"", "consistency = \"none\"");
    assert_says(&notes_of(&backup(&config), "shop"), &["consistency = \"none\" is configured"]);
}

#[test]
fn a_standalone_server_is_backed_up_and_says_that_it_has_no_snapshots() {
    skip_unless!(Tool::Mongo);
    let server = MongoServer::start_with(&["--standalone"]);
    link(&server).insert("shop", "orders", &numbered(0..10));
    let config = configured(&server, "");
    let report = backup(&config);
    let manifest = manifest_of(&config, &full("shop"), "latest");
    assert_eq!(manifest["consistency"], "none");
    assert_eq!(manifest["mongodb"]["topology"], "standalone");
    assert!(manifest["mongodb"]["snapshot_time"].is_null());
    assert_says(&notes_of(&report, "shop"), &["not a member of a replica set", "one member"]);
    edit(&config, "kind = \"mongodb\"", "kind = \"mongodb\"\nconsistency = \"snapshot\"");
    let report = try_backup(&config, &[]).expect_code(1).json();
    assert_says(error_of(&report, "shop"), &["a snapshot is required", "not a member of a replica set"]);
}

/// Inserts, changes and deletes, but never what has an even id below the first.
fn write(link: &Link, first: i32, stop: &AtomicBool) -> i32 {
    let mut next = first;
    while !stop.load(Ordering::Relaxed) {
        let old = next - first;
        link.insert("shop", "orders", &numbered(next..next + 20));
        let odd = if old % 2 == 0 { old + 1 } else { old };
        let change = rawdoc! { "q": { "_id": odd % first }, "u": { "$set": { "changed": "much longer ".repeat(20) } } };
        link.raw("shop", rawdoc! { "update": "orders", "updates": [change] });
        let gone = rawdoc! { "q": { "_id": next + 1 }, "limit": 1 };
        link.raw("shop", rawdoc! { "delete": "orders", "deletes": [gone] });
        next += 20;
    }
    next - first
}

#[test]
fn what_nobody_touches_is_in_the_dump_once_whatever_others_write() {
    skip_unless!(Tool::Mongo);
    let server = MongoServer::start_with_test_commands();
    let first = 12_000;
    link(&server).insert("shop", "orders", &numbered(0..first));
    for consistency in ["auto", "none"] {
        let config = configured(&server, &format!("consistency = \"{consistency}\""));
        let stop = AtomicBool::new(false);
        let written = thread::scope(|scope| {
            let writer = scope.spawn(|| write(&link(&server), first, &stop));
            // In the middle of the dump there is time to write.
            fail(&server, "getMore", once_after(3), doc! { "blockConnection": true, "blockTimeMS": 1500 });
            backup(&config);
            stop.store(true, Ordering::Relaxed);
            writer.join().unwrap()
        });
        assert!(written > 0);
        let folder = files_of(&config, "shop");
        let documents = split(&fs::read(folder.path().join("shop/orders.bson")).unwrap());
        let ids: Vec<i32> = documents.iter().map(|document| document.get_i32("_id").unwrap()).collect();
        let different: BTreeSet<i32> = ids.iter().copied().collect();
        assert_eq!(different.len(), ids.len(), "no document is there twice");
        let untouched = |document: &&RawDocumentBuf| {
            let id = document.get_i32("_id").unwrap();
            id < first && id % 2 == 0
        };
        let found: Vec<_> = documents.iter().filter(untouched).cloned().collect();
        let wanted: Vec<_> = numbered(0..first).iter().filter(untouched).cloned().collect();
        assert!(found == wanted, "{} of {} documents that nobody touched", found.len(), wanted.len());
        assert!((0..first).all(|id| different.contains(&id)), "what was only changed is there as well");
        let manifest = manifest_of(&config, &full("shop"), "latest");
        assert_eq!(manifest["objects"][0]["rows"], ids.len());
        server.command("shop", doc! { "dropDatabase": 1 });
        link(&server).insert("shop", "orders", &numbered(0..first));
    }
}
