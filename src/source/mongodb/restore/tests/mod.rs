//! Restores into a real server, which `TIK_BACKUP_TEST_MONGO` names: the path of `secantusd-rs`. Without it they pass
//! over what they would show.

mod proxy;
mod world;

use std::{path::Path, sync::atomic::Ordering};

use mongodb::bson::{RawDocumentBuf, doc, rawdoc};

use self::{
    proxy::Proxy,
    world::{Folder, World, dump_of, expected},
};
use super::*;
use crate::source::mongodb::format::metadata::Metadata;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/mongodump-100.18");

#[test]
fn a_dump_of_stock_mongodump_comes_back_byte_for_byte() {
    let Some(world) = World::start() else { return };
    let done = world.restore(&Folder(GOLDEN.into()), "other_name", &Options::default()).unwrap();
    let wanted = expected(Path::new(GOLDEN));
    let found = world.dump("other_name");
    let names = |files: &[(String, Vec<u8>)]| files.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>();
    assert_eq!(names(&found), names(&wanted));
    for ((path, found), (_, wanted)) in found.iter().zip(&wanted) {
        assert!(
            found == wanted,
            "{path}: {} != {}",
            String::from_utf8_lossy(found),
            String::from_utf8_lossy(wanted)
        );
    }
    assert_eq!((done.database.as_str(), done.created, done.tables), ("other_name", true, 14));
    let bytes: usize =
        wanted.iter().filter(|(path, _)| path.ends_with(".bson")).map(|(_, data)| data.len()).sum();
    assert_eq!(done.bytes, bytes as u64);
    assert!(done.rows > 1000 && done.notes.is_empty(), "{done:?}");
}

#[test]
fn a_database_that_holds_something_is_left_alone() {
    let Some(world) = World::start() else { return };
    let golden = Folder(GOLDEN.into());
    let only = |table: &str| Options { table: Some(table.to_owned()), ..Options::default() };
    let error = world.restore(&golden, "shop", &only("order")).unwrap_err();
    assert_eq!(error.hint_text(), Some("did you mean orders?"));
    let done = world.restore(&golden, "shop", &only("names_fi")).unwrap();
    assert_eq!((done.tables, done.rows), (1, 4));
    let before = world.dump("shop");
    assert_eq!(before.len(), 2);
    let error = world.restore(&golden, "shop", &Options::default()).unwrap_err();
    assert!(error.to_string().contains("shop is not empty: names_fi"), "{error}");
    assert!(error.hint_text().unwrap().contains("nothing was changed"), "{error}");
    assert_eq!(world.dump("shop"), before);
    let view = world.restore(&golden, "views", &only("big_orders")).unwrap();
    assert!(view.notes[0].contains("reads orders"), "{view:?}");
}

#[test]
fn options_of_other_databases_are_refused() {
    let golden = Folder(GOLDEN.into());
    let manifest = Manifest::begin("mongo", "golden", "mongodb");
    let target = parse_url("mongodb://127.0.0.1:1/x").unwrap();
    let options = Options { no_owner: true, ..Options::default() };
    let error = restore(&manifest, &golden, &target, &options, &Cancel::new(), &|_| {}).unwrap_err();
    assert_eq!(error.kind(), crate::error::Kind::Usage);
    assert!(error.to_string().contains("--no-owner is not supported for MongoDB"), "{error}");
}

#[test]
fn a_single_document_that_is_not_restored_is_a_failure() {
    let Some(world) = World::start() else { return };
    let documents: Vec<_> = [1, 2, 3, 2].iter().map(|id| rawdoc! { "_id": *id, "x": "y" }).collect();
    let (_folder, files) = dump_of(&Metadata::named("orders".to_owned()), &documents);
    let options = Options::default();
    let error = world.restore(&files, "twice", &options).unwrap_err().to_string();
    assert!(error.contains("collection orders: the server refused 1 of 4 documents"), "{error}");
    assert!(
        error.contains("the database twice was created by this restore and is incomplete: drop it"),
        "{error}"
    );
}

#[test]
fn documents_of_all_sizes_and_empty_time_stamps_arrive() {
    let Some(world) = World::start() else { return };
    let stamp = mongodb::bson::Timestamp { time: 0, increment: 0 };
    let mut documents: Vec<_> = (0..30_000).map(|id| rawdoc! { "_id": id, "t": "x".repeat(500) }).collect();
    documents.push(rawdoc! { "_id": "stamp", "first": stamp, "more": 1 });
    documents.push(rawdoc! { "_id": "large", "t": "x".repeat(16 * 1024 * 1024 - 40) });
    documents.push(rawdoc! { "_id": "last" });
    let (folder, files) = dump_of(&Metadata::named("all".to_owned()), &documents);
    let done = world.restore(&files, "sizes", &Options::default()).unwrap();
    assert_eq!(done.rows, documents.len() as u64);
    let found = world.dump("sizes");
    let wanted = std::fs::read(folder.path().join("golden/all.bson")).unwrap();
    assert!(found[0].1 == wanted, "the documents differ");
}

#[test]
fn a_lost_connection_and_a_change_of_primary_lose_and_double_nothing() {
    let Some(world) = World::start() else { return };
    let documents: Vec<_> = (0..2_000).map(|id| rawdoc! { "_id": id }).collect();
    let (_folder, files) = dump_of(&Metadata::named("orders".to_owned()), &documents);
    for (database, failure) in
        [("lost", doc! { "closeConnection": true }), ("moved", doc! { "errorCode": 10107 })]
    {
        let mut data = doc! { "failCommands": ["insert"] };
        data.extend(failure);
        world.admin(doc! { "configureFailPoint": "failCommand", "mode": { "times": 2 }, "data": data });
        let done = world.restore(&files, database, &Options::default()).unwrap();
        assert_eq!(done.rows, 2_000);
    }
    let data = doc! { "failCommands": ["insert"], "errorCode": 14031, "errorMessage": "disk full" };
    world.admin(doc! { "configureFailPoint": "failCommand", "mode": "alwaysOn", "data": data });
    let error = world.restore(&files, "full", &Options::default()).unwrap_err().to_string();
    assert!(error.contains("collection orders: ") && error.contains("14031"), "{error}");
}

#[test]
fn a_damaged_file_and_a_stop_end_the_restore() {
    let Some(world) = World::start() else { return };
    let (folder, files) = dump_of(&Metadata::named("orders".to_owned()), &[rawdoc! { "_id": 1 }]);
    let path = folder.path().join("golden/orders.bson");
    let mut data = std::fs::read(&path).unwrap();
    data.extend([9, 0, 0]);
    std::fs::write(&path, data).unwrap();
    let error = world.restore(&files, "damaged", &Options::default()).unwrap_err().to_string();
    assert!(error.contains("collection orders: golden/orders.bson is damaged at byte 14"), "{error}");
    let (manifest, cancel) = (Manifest::begin("mongo", "golden", "mongodb"), Cancel::new());
    cancel.cancel("enough");
    let error = restore(&manifest, &files, &world.target("stopped"), &Options::default(), &cancel, &|_| {})
        .unwrap_err();
    assert!(error.to_string().contains("stopped: enough"), "{error}");
}

#[test]
fn search_indexes_that_the_server_cannot_have_are_told() {
    let Some(world) = World::start() else { return };
    let (folder, files) = dump_of(&Metadata::named("orders".to_owned()), &[rawdoc! { "_id": 1 }]);
    let search = r#"[{"id":"1","name":"by_text","latestDefinition":{"mappings":{"dynamic":true}}}]"#;
    std::fs::write(folder.path().join("golden/orders.searchIndexes.json"), search).unwrap();
    let done = world.restore(&files, "search", &Options::default()).unwrap();
    assert_eq!(done.rows, 1);
    assert!(done.notes[0].starts_with("not restored: the search indexes of orders (by_text)"), "{done:?}");
}

#[test]
fn what_the_server_drops_silently_is_missed() {
    let Some(world) = World::start() else { return };
    let mut metadata = Metadata::named("log".to_owned());
    metadata.options = rawdoc! { "capped": true, "size": 65536, "max": 2 };
    let documents: Vec<_> = (0..5).map(|id| rawdoc! { "_id": id }).collect();
    let (_folder, files) = dump_of(&metadata, &documents);
    let error = world.restore(&files, "capped", &Options::default()).unwrap_err().to_string();
    assert!(
        error.contains("collection log: ")
            && error.contains("5 documents were inserted and the server counts 2")
    );

    let (_folder, files) = dump_of(&Metadata::named("orders".to_owned()), &documents);
    let mut manifest = Manifest::begin("mongo", "golden", "mongodb");
    manifest.digested = crate::source::manifest::Digested::Yes;
    manifest.objects.push(crate::source::manifest::Object {
        kind: "collection".to_owned(),
        schema: None,
        name: "orders".to_owned(),
        rows: 6,
        bytes: 0,
        digest: crate::stream::digest::Digest128::ZERO,
    });
    let (options, cancel) = (Options::default(), Cancel::new());
    let error = restore(&manifest, &files, &world.target("fewer"), &options, &cancel, &|_| {}).unwrap_err();
    assert!(error.to_string().contains("its file has 5 documents instead of 6"), "{error}");
}

#[test]
fn a_clustered_collection_stays_clustered() {
    let Some(world) = World::start() else { return };
    let mut metadata = Metadata::named("orders".to_owned());
    let id = rawdoc! { "v": 2, "key": { "_id": 1 }, "name": "own name", "unique": true };
    metadata.options = rawdoc! { "clusteredIndex": id };
    metadata.indexes.push(rawdoc! {
        "v": 2, "key": { "_id": 1 }, "name": "own name", "unique": true, "clustered": true
    });
    let (_folder, files) = dump_of(&metadata, &[rawdoc! { "_id": 1 }]);
    world.restore(&files, "clustered", &Options::default()).unwrap();
    let found = Metadata::from_json(&world.dump("clustered")[1].1).unwrap();
    assert_eq!(found.options, metadata.options);
}

#[test]
fn what_had_arrived_when_the_reply_was_lost_is_not_doubled() {
    let Some(world) = World::start() else { return };
    let documents: Vec<_> = (0..2_000).map(|id| rawdoc! { "_id": id }).collect();
    let (folder, files) = dump_of(&Metadata::named("orders".to_owned()), &documents);
    let proxy = Proxy::start(world.0.port, 2);
    let target =
        |database| parse_url(&format!("mongodb://127.0.0.1:{}/{database}?directConnection=true", proxy.port));
    let (manifest, cancel) = (Manifest::begin("mongo", "golden", "mongodb"), Cancel::new());
    let again = |database| {
        restore(&manifest, &files, &target(database).unwrap(), &Options::default(), &cancel, &|_| {})
    };
    assert_eq!(again("lost").unwrap().rows, 2_000);
    assert_eq!(proxy.to_lose.load(Ordering::SeqCst), 0, "the replies were lost");
    let wanted = std::fs::read(folder.path().join("golden/orders.bson")).unwrap();
    assert!(world.dump("lost")[0].1 == wanted, "the documents differ");

    let no_ids = [rawdoc! { "x": 1 }, rawdoc! { "x": 2 }];
    std::fs::write(folder.path().join("golden/orders.bson"), no_ids.map(RawDocumentBuf::into_bytes).concat())
        .unwrap();
    proxy.to_lose.store(1, Ordering::SeqCst);
    let error = again("unknown").unwrap_err().to_string();
    assert!(error.contains("whether they arrived cannot be found out"), "{error}");
}
