//! What no server here does when asked, against one that keeps to a script: moments that are kept or lost, a primary that
//! steps down, a router, documents that are not valid, and definitions of indexes that are refused.

use mongodb::bson::{RawBsonRef, RawDocument, RawDocumentBuf, rawdoc};
use serde_json::Value;
use testkit::{
    Config,
    reports::{assert_says, backup, error_of, ids_of, manifest_of, ready, restore, try_backup, try_restore},
};

use super::{
    fake::{Databases, Fake, Trouble},
    support::{SOURCE, assert_stored, files_of, full, keeping, notes_of, numbered, source_of},
};

/// Enough for several batches: a scan is a find and four getMores.
const DOCUMENTS: i32 = 4500;

pub fn config(fake: &Fake, more: &str) -> Config {
    let builder = keeping();
    let lines = source_of(&builder, SOURCE, &fake.uri(), more);
    ready(builder.source(SOURCE, &lines))
}

fn filled() -> Fake {
    let fake = Fake::start();
    fake.fill("shop", "orders", &numbered(0..DOCUMENTS));
    fake
}

/// Takes the first document away: one that has been read already.
fn without_the_first(databases: &mut Databases) {
    databases.get_mut("shop").unwrap().get_mut("orders").unwrap().documents.remove(0);
}

fn consistency(config: &Config) -> Value {
    manifest_of(config, &full("shop"), "latest")["consistency"].clone()
}

#[test]
fn a_dump_shows_its_moment_whatever_is_written_meanwhile() {
    let fake = filled();
    fake.meanwhile("getMore", 1, 1, Trouble::None, |databases| {
        without_the_first(databases);
        let orders = databases.get_mut("shop").unwrap().get_mut("orders").unwrap();
        orders.documents[4000] = rawdoc! { "_id": "changed" }.into_bytes();
        orders.documents.push(rawdoc! { "_id": "later" }.into_bytes());
    });
    let config = config(&fake, "");
    assert_eq!(notes_of(&backup(&config), "shop"), "");
    assert_eq!(consistency(&config), "snapshot");
    assert_stored(&config, "shop", "orders", &numbered(0..DOCUMENTS));
}

#[test]
fn a_moment_that_is_lost_in_the_middle_is_no_mixture_of_two() {
    let fake = filled();
    fake.meanwhile("getMore", 2, 1, Trouble::Error(239, "SnapshotTooOld"), without_the_first);
    let config = config(&fake, "");
    // The rest of that moment is not to be had, and what was read of it does not go with what is there now.
    let report = backup(&config);
    assert_says(&notes_of(&report, "shop"), &["discarded the snapshot of the last attempt"]);
    assert_eq!(consistency(&config), "none");
    assert_stored(&config, "shop", "orders", &numbered(1..DOCUMENTS));
}

#[test]
fn a_moment_that_is_demanded_and_lost_is_a_failure_without_a_snapshot() {
    let fake = filled();
    let config = config(&fake, "consistency = \"snapshot\"");
    fake.fail("getMore", 2, u32::MAX, Trouble::Error(239, "SnapshotTooOld"));
    let report = try_backup(&config, &[]).expect_code(1).json();
    assert_says(
        error_of(&report, "shop"),
        &["shop.orders", "SnapshotTooOld", "239", "minSnapshotHistoryWindowInSeconds"],
    );
    assert!(ids_of(&config, &full("shop")).is_empty());
}

#[test]
fn a_cursor_that_is_lost_in_the_middle_leaves_no_gap() {
    let fake = filled();
    fake.fail("getMore", 2, 1, Trouble::Error(43, "CursorNotFound"));
    let config = config(&fake, "");
    let report = backup(&config);
    assert_says(&notes_of(&report, "shop"), &["reading orders was interrupted and restarted (1 time)"]);
    assert_eq!(consistency(&config), "snapshot");
    assert_stored(&config, "shop", "orders", &numbered(0..DOCUMENTS));

    // Without a moment the second scan may meet other documents: then the whole item is read again.
    let fake = filled();
    fake.meanwhile("getMore", 2, 1, Trouble::Error(43, "CursorNotFound"), without_the_first);
    let config = self::config(&fake, "consistency = \"none\"");
    let ran = try_backup(&config, &[]).ok();
    assert_says(
        &ran.stderr,
        &["orders was interrupted, and it was changed before it could be read again", "tried again"],
    );
    assert_eq!(ids_of(&config, &full("shop")).len(), 1);
    assert_stored(&config, "shop", "orders", &numbered(1..DOCUMENTS));
}

#[test]
fn a_primary_that_steps_down_in_the_middle_costs_nothing_but_time() {
    for (code, name) in [(11602, "InterruptedDueToReplStateChange"), (10107, "NotWritablePrimary")] {
        let fake = filled();
        fake.fail("getMore", 1, 1, Trouble::StepDown(code, name));
        // The first find asks for the moment, the second reads.
        fake.fail("find", 2, 1, Trouble::Error(10107, "NotWritablePrimary"));
        fake.fail("listIndexes", 1, 1, Trouble::StepDown(189, "PrimarySteppedDown"));
        let config = config(&fake, "");
        let report = backup(&config);
        assert_says(&notes_of(&report, "shop"), &["reading orders was interrupted and restarted"]);
        assert_eq!(consistency(&config), "snapshot");
        assert_stored(&config, "shop", "orders", &numbered(0..DOCUMENTS));
    }
}

#[test]
fn a_change_of_primary_that_lasts_is_waited_for() {
    let fake = filled();
    // The question is asked three times; then the item has its turn again.
    fake.fail("listCollections", 0, 3, Trouble::Error(11602, "InterruptedDueToReplStateChange"));
    let config = config(&fake, "");
    let ran = try_backup(&config, &[]).ok();
    assert_says(&ran.stderr, &["cannot list the collections of shop", "11602", "tried again"]);
    assert_stored(&config, "shop", "orders", &numbered(0..DOCUMENTS));
}

#[test]
fn a_sharded_cluster_is_told_from_a_replica_set() {
    let fake = Fake::start_sharded();
    fake.fill("shop", "orders", &numbered(0..DOCUMENTS));
    let config = config(&fake, "");
    let report = backup(&config);
    let manifest = manifest_of(&config, &full("shop"), "latest");
    assert_eq!(manifest["mongodb"]["topology"], "sharded", "{manifest:#}");
    assert_eq!(manifest["consistency"], "snapshot", "{manifest:#}");
    assert_says(&notes_of(&report, "shop"), &["shard keys", "not part of the dump"]);
    assert_stored(&config, "shop", "orders", &numbered(0..DOCUMENTS));
}

/// Documents that a driver neither makes nor reads: fields twice, texts and names of fields that are not valid UTF-8.
pub fn invalid() -> Vec<RawDocumentBuf> {
    let document = |fields: &[u8]| {
        let length = i32::try_from(fields.len() + 5).unwrap();
        let bytes = [&length.to_le_bytes()[..], fields, &[0]].concat();
        RawDocumentBuf::from_bytes(bytes).unwrap()
    };
    vec![
        document(b"\x10_id\0\x01\0\0\0\x10a\0\x01\0\0\0\x10a\0\x02\0\0\0\x0aa\0"),
        document(b"\x10_id\0\x02\0\0\0\x02text\0\x04\0\0\0\xff\xfe\xc3\0"),
        document(b"\x10_id\0\x03\0\0\0\x08\xc3(\0\x01\x10\xff\0\x07\0\0\0"),
        // An empty time stamp behind such a name.
        document(b"\x10_id\0\x04\0\0\0\x08\xff\0\x01\x11t\0\0\0\0\0\0\0\0\0"),
        document(b"\x02_id\0\x03\0\0\0\xed\xa0\0\x08x\0\x01"),
        // A document in a document, twice and not valid.
        document(b"\x10_id\0\x05\0\0\0\x03d\0\x12\0\0\0\x02\xff\0\x02\0\0\0\xff\0\x08\xff\0\0\0"),
    ]
}

#[test]
fn documents_that_are_not_valid_come_back_byte_for_byte() {
    let fake = Fake::start();
    let documents = invalid();
    // More than one batch of them, so that all ways are taken.
    let many: Vec<_> = documents.iter().cycle().take(2400).cloned().collect();
    fake.fill("shop", "odd", &many);
    let config = config(&fake, "");
    assert_eq!(notes_of(&backup(&config), "shop"), "");
    assert_stored(&config, "shop", "odd", &many);
    let target = Fake::start();
    let restored = restore(&config, &full("shop"), &["--into", &target.url("again"), "--verify"]);
    assert_eq!((&restored["rows"], &restored["compared"]), (&2400.into(), &true.into()), "{restored}");
    let wanted: Vec<_> = many.iter().map(|document| document.as_bytes().to_vec()).collect();
    assert!(target.kept("again", "odd").documents == wanted, "the documents differ");
}

#[test]
fn users_and_roles_are_stored_with_the_system_database_and_not_restored() {
    let fake = filled();
    fake.fill("admin", "system.users", &[rawdoc! { "_id": "shop.jane", "user": "jane" }]);
    fake.fill("admin", "ours", &numbered(0..3));
    let report = backup(&config(&fake, ""));
    assert_eq!(report["items"].as_array().unwrap().len(), 1, "no item claims to have them: {report:#}");
    let config = config(&fake, "include_system = true");
    backup(&config);
    let users = fake.kept("admin", "system.users").documents.concat();
    let folder = files_of(&config, "admin");
    let stored = std::fs::read(folder.path().join("admin/system.users.bson")).unwrap();
    assert!(stored == users, "users are stored as they are");
    let target = Fake::start();
    let restored = restore(&config, &full("admin"), &["--into", &target.url("copy"), "--verify"]);
    assert_eq!((&restored["rows"], &restored["compared"]), (&3.into(), &true.into()), "{restored:#}");
    assert_says(&restored["notes"].to_string(), &["not restored: system.users", "belongs to the server"]);
}

/// What a server of today refuses in the definition of an index.
fn refusal(spec: &RawDocument) -> Option<(i32, &'static str)> {
    let is_key = |value| match value {
        RawBsonRef::Int32(number) => number != 0,
        RawBsonRef::Double(number) => number != 0.0,
        RawBsonRef::String(text) => ["2d", "2dsphere", "hashed", "text"].contains(&text),
        _ => false,
    };
    let key = spec.get_document("key").unwrap();
    if !key.iter().all(|field| is_key(field.unwrap().1)) {
        return Some((67, "CannotCreateIndex"));
    }
    let known = ["v", "key", "name", "unique", "sparse", "background", "expireAfterSeconds"];
    let mut names = spec.iter().map(|field| field.unwrap().0.as_str());
    names.any(|name| !known.contains(&name)).then_some((197, "InvalidIndexSpecificationOption"))
}

/// A server with indexes of old versions, and those that newer ones have in their place.
pub fn old_indexes() -> (Fake, Vec<RawDocumentBuf>) {
    let fake = Fake::start();
    fake.fill("shop", "orders", &numbered(0..10));
    fake.index(
        "shop",
        "orders",
        &[
            rawdoc! { "v": 2, "key": { "good": -1 }, "name": "good", "unique": true },
            rawdoc! { "v": 1, "key": { "flag": true, "text": "" }, "name": "flag", "background": true },
            rawdoc! { "v": 2, "key": { "zero": 0 }, "name": "zero", "safe": null, "dropDups": true },
            rawdoc! { "v": 1, "key": { "place": "geoHaystack", "kind": 1 }, "name": "hay", "bucketSize": 5 },
        ],
    );
    let wanted = vec![
        rawdoc! { "v": 2, "key": { "_id": 1 }, "name": "_id_" },
        rawdoc! { "v": 2, "key": { "good": -1 }, "name": "good", "unique": true },
        rawdoc! { "key": { "flag": 1, "text": 1 }, "name": "flag", "background": true },
        rawdoc! { "v": 2, "key": { "zero": 1 }, "name": "zero" },
    ];
    (fake, wanted)
}

#[test]
fn indexes_that_a_newer_server_refuses_are_converted_or_named_as_missing() {
    let (fake, wanted) = old_indexes();
    let config = config(&fake, "");
    backup(&config);
    let target = Fake::start();
    target.refuse(refusal);
    let ran =
        try_restore(&config, &full("shop"), &["--into", &target.url("shop"), "--verify"]).expect_code(3);
    let restored = ran.json()["database"].clone();
    assert_eq!((&restored["rows"], &restored["compared"]), (&10.into(), &true.into()), "{restored:#}");
    let missing = &restored["missing"];
    assert_eq!(missing.as_array().unwrap().len(), 1, "{restored:#}");
    assert_eq!((&missing[0]["type"], &missing[0]["name"]), (&"INDEX".into(), &"orders.hay".into()));
    assert_says(missing[0]["reason"].as_str().unwrap(), &["geoHaystack", "5.0", "2dsphere"]);
    assert_says(
        &restored["notes"].to_string(),
        &[
            "the index flag of orders was converted",
            "key flag 1 instead of true",
            "the index zero of orders",
            "without safe",
        ],
    );
    assert!(!restored["notes"].to_string().contains("index good"), "{restored:#}");
    assert_eq!(target.kept("shop", "orders").indexes, wanted);

    // One that takes them as they are has them as they were.
    let target = Fake::start();
    let restored = restore(&config, &full("shop"), &["--into", &target.url("shop"), "--verify"]);
    assert_eq!((&restored["compared"], &restored["notes"]), (&true.into(), &Value::Array(Vec::new())));
    assert_eq!(target.kept("shop", "orders").indexes, fake.kept("shop", "orders").indexes);
    assert_eq!(target.asked("createIndexes"), 1);
}

#[test]
fn an_index_that_is_refused_for_another_reason_is_a_failure() {
    let (fake, _) = old_indexes();
    let config = config(&fake, "");
    backup(&config);
    for (code, name) in [(13, "Unauthorized"), (11000, "DuplicateKey")] {
        let target = Fake::start();
        target.fail("createIndexes", 0, u32::MAX, Trouble::Error(code, name));
        let ran = try_restore(&config, &full("shop"), &["--into", &target.url("shop")]).expect_code(1);
        assert_says(
            &ran.stderr,
            &["its documents are restored, but its indexes are not", name, "incomplete"],
        );
        assert_eq!(target.asked("createIndexes"), 1, "nothing else was tried");
    }
    // A definition that cannot be converted.
    let target = Fake::start();
    target.refuse(|spec| {
        spec.get_str("name").is_ok_and(|name| name == "good").then_some((67, "CannotCreateIndex"))
    });
    let ran = try_restore(&config, &full("shop"), &["--into", &target.url("shop")]).expect_code(1);
    assert_says(&ran.stderr, &["its indexes are not", "CannotCreateIndex"]);
    // The definitions are in the snapshot whatever becomes of them.
    let folder = files_of(&config, "shop");
    let stored = std::fs::read_to_string(folder.path().join("shop/orders.metadata.json")).unwrap();
    assert_says(&stored, &["geoHaystack", "dropDups", "\"flag\":true"]);
}
