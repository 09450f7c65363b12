//! What a restore refuses, and that every document arrives or the restore fails.

use mongodb::bson::{doc, rawdoc};
use testkit::{
    Cmd, Config, MongoServer, Tool,
    reports::{assert_says, backup, restore, try_restore},
    running::{Running, wait_until},
    skip_unless,
};

use super::{
    link::{assert_same, link},
    support::{configured, fail, full, heal, numbered, once_after, url},
};

const DOCUMENTS: i32 = 3000;

/// A server with a database and its backup.
fn backed_up() -> (MongoServer, Config) {
    let server = MongoServer::start_with_test_commands();
    let link = link(&server);
    link.insert("shop", "orders", &numbered(0..DOCUMENTS));
    link.insert("shop", "people", &numbered(0..20));
    link.index("shop", "orders", &[rawdoc! { "key": { "text": 1, "half": -1 }, "name": "by_text" }]);
    link.create("shop", "few", &rawdoc! { "viewOn": "people", "pipeline": [{ "$limit": 3 }] });
    let config = configured(&server, "");
    backup(&config);
    (server, config)
}

#[test]
fn a_restore_is_refused_before_anything_is_changed() {
    skip_unless!(Tool::Mongo);
    let (server, config) = backed_up();
    let link = link(&server);
    let shop = link.content("shop");
    link.insert("taken", "something", &numbered(0..5));
    link.create("views", "v", &rawdoc! { "viewOn": "x", "pipeline": [] });
    for (name, said) in [("shop", "few, orders, people"), ("taken", "something"), ("views", "v")] {
        let before = link.content(name);
        let ran = try_restore(&config, &full("shop"), &["--into", name]).expect_code(1);
        assert_says(&ran.stderr, &["not empty", said, "nothing was changed"]);
        assert_same(&link.content(name), &before);
    }
    for (options, said) in [
        (&["--into", "local"][..], "belongs to the servers"),
        (&["--into", "config"], "belongs to the servers"),
        (&["--into", "x", "--no-owner"], "--no-owner is not supported for MongoDB"),
        (&["--into", "x", "--jobs", "2"], "--jobs is not supported for MongoDB"),
        (&["--into", "x", "--continue"], "--continue is not supported for MongoDB"),
        (&["--into", "x", "--table", "order"], "did you mean orders?"),
        (&["--into", "mongodb://jane:Pw-19cc@127.0.0.1/x"], "--password-file"),
        (&["--into", "mongodb://db.example.com/x"], "tls=true"),
        (&["--into", "postgresql://127.0.0.1/x"], "of kind mongodb"),
    ] {
        let ran = try_restore(&config, &full("shop"), options).expect_code(2);
        assert_says(&ran.stderr, &[said]);
        assert!(!ran.stderr.contains("Pw-19cc"), "{}", ran.stderr);
    }
    assert!(!link.databases().contains(&"x".to_owned()));

    // An empty collection is something too; none at all is a place to restore to.
    link.create("hollow", "empty", &rawdoc! {});
    try_restore(&config, &full("shop"), &["--into", "hollow"]).expect_code(1);
    link.raw("hollow", rawdoc! { "drop": "empty" });
    let restored = restore(&config, &full("shop"), &["--into", "hollow", "--verify"]);
    assert_eq!(restored["compared"], true, "{restored}");
    assert_same(&link.content("hollow"), &shop);
}

#[test]
fn one_collection_or_view_alone_is_restored() {
    skip_unless!(Tool::Mongo);
    let (server, config) = backed_up();
    let link = link(&server);
    let shop = link.content("shop");
    let restored = restore(&config, &full("shop"), &["--into", "one", "--table", "orders"]);
    assert_eq!((&restored["rows"], &restored["tables"]), (&DOCUMENTS.into(), &1.into()), "{restored}");
    let found = link.content("one");
    assert_eq!(found.keys().collect::<Vec<_>>(), ["orders"]);
    assert_eq!(found["orders"], shop["orders"]);
    let restored = restore(&config, &full("shop"), &["--into", "seen", "--table", "few"]);
    assert_says(&restored["notes"].to_string(), &["the view few reads people"]);
    assert_eq!(link.content("seen")["few"].options, shop["few"].options);
}

#[test]
fn a_document_or_an_index_that_does_not_arrive_is_a_failure() {
    skip_unless!(Tool::Mongo);
    let (server, config) = backed_up();
    let link = link(&server);
    let shop = link.content("shop");
    let late = doc! { "code": 64, "errmsg": "waiting for replication timed out" };
    for (number, (command, how, said)) in [
        ("insert", doc! { "errorCode": 14031 }, "collection"),
        ("insert", doc! { "errorCode": 13 }, "readWriteAnyDatabase"),
        ("insert", doc! { "writeConcernError": late }, "the majority of the replica set has not confirmed"),
        ("create", doc! { "errorCode": 13 }, "cannot create it"),
        ("createIndexes", doc! { "errorCode": 11000 }, "its indexes are not"),
    ]
    .into_iter()
    .enumerate()
    {
        let into = format!("incomplete_{number}");
        fail(&server, command, once_after(0), how.clone());
        let ran = try_restore(&config, &full("shop"), &["--into", &into]).expect_code(1);
        assert_says(&ran.stderr, &[said, &into, "incomplete"]);
        assert!(ran.stdout.is_empty(), "{command} {how}: {}", ran.stdout);
    }
    // Lost connections and elections are survived, and double nothing.
    for (number, how) in
        [doc! { "closeConnection": true }, doc! { "errorCode": 10107 }].into_iter().enumerate()
    {
        fail(&server, "insert", once_after(0), how);
        let into = format!("survived_{number}");
        restore(&config, &full("shop"), &["--into", &into]);
        assert_same(&link.content(&into), &shop);
    }
}

/// The target is changed while it is being filled: the server refuses single documents.
#[test]
fn a_target_that_refuses_some_documents_makes_the_restore_fail() {
    skip_unless!(Tool::Mongo);
    let (server, config) = backed_up();
    let link = link(&server);
    fail(&server, "insert", "alwaysOn", doc! { "errorCode": 10107 });
    let command =
        Cmd::with(&config).args(["--json", "restore", "mg/shop", "--into", "meddled"]).into_command();
    let mut running = Running::start(command);
    // The numbers of halves are all different, the texts are not.
    let unique = rawdoc! { "key": { "text": 1 }, "name": "in the way", "unique": true };
    wait_until("the collection is there", || {
        assert!(!running.has_ended(), "{}", running.stderr());
        let listed = link.cursor("meddled", doc! { "listCollections": 1, "filter": { "name": "orders" } });
        !listed.is_empty() && link.try_index("meddled", "orders", std::slice::from_ref(&unique)).is_ok()
    });
    heal(&server);
    let ended = running.finish().expect_code(1);
    assert_says(&ended.stderr, &["collection orders", "refused", "documents", "meddled", "incomplete"]);
}

#[test]
fn a_restore_over_a_url_goes_to_another_server_or_says_why_not() {
    skip_unless!(Tool::Mongo);
    let (server, config) = backed_up();
    let mut other = MongoServer::start();
    restore(&config, &full("shop"), &["--into", &url(&other, "shop")]);
    assert_same(&link(&other).content("shop"), &link(&server).content("shop"));
    other.stop();
    let into = format!("{}&serverSelectionTimeoutMS=300", url(&other, "more"));
    let ran = try_restore(&config, &full("shop"), &["--into", &into]).expect_code(1);
    assert_says(&ran.stderr, &[&format!("127.0.0.1:{}", other.port()), "\"hint\""]);

    // The source need not be there, nor be configured any more.
    other.restart();
    let text = std::fs::read_to_string(config.path()).unwrap();
    let (without, _) = text.split_once("[sources.").unwrap();
    std::fs::write(config.path(), without).unwrap();
    drop(server);
    let ran = try_restore(&config, &full("shop"), &["--into", "by_name"]).expect_code(2);
    assert_says(&ran.stderr, &["not configured", "write a URL"]);
    restore(&config, &full("shop"), &["--into", &url(&other, "more")]);
    assert_same(&link(&other).content("more"), &link(&other).content("shop"));
}
