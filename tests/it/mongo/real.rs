//! What only MongoDB itself does. These tests need its own server, and are skipped where there is none.

use mongodb::bson::{DateTime, RawDocumentBuf, doc, rawdoc};
use testkit::{
    Cmd, Config, MongoServer, Tool,
    mongod::Cluster,
    program::quoted,
    reports::{assert_proven, assert_says, backup, discover, item, manifest_of, ready, restore, try_restore},
    running::Running,
    skip, skip_unless,
};

use super::{
    link::{assert_same, link},
    relay::Relay,
    scripted::{invalid, old_indexes},
    support::{
        SOURCE, assert_stored, configured, files_of, full, keeping, names_in, numbered, source_of, url,
    },
};

/// A configuration with which drills work as well.
fn drilled(server: &MongoServer, more: &str) -> Config {
    let program = Tool::Mongod.path().unwrap();
    let drill = format!("[drill]\nmin_free = \"1MiB\"\nmongod = {}", quoted(&program.display().to_string()));
    ready(keeping().mongodb(SOURCE, server, more).tables(&drill))
}

#[test]
fn a_time_series_comes_back_and_is_proven() {
    skip_unless!(Tool::Mongod);
    let server = MongoServer::start();
    if server.version() < (5, 0) {
        skip("MongoDB 5.0 or newer");
        return;
    }
    let link = link(&server);
    let series = rawdoc! { "timeseries": { "timeField": "t", "metaField": "m", "granularity": "minutes" } };
    link.create("shop", "weather", &series);
    let start = 1_700_000_000_000;
    let measured: Vec<_> = (0..3000)
        .map(|n| rawdoc! { "_id": n, "t": DateTime::from_millis(start + i64::from(n) * 60_000), "m": n % 7, "x": f64::from(n) / 3.0 })
        .collect();
    link.insert("shop", "weather", &measured);
    link.index("shop", "weather", &[rawdoc! { "key": { "m": 1, "t": -1 }, "name": "by sensor" }]);
    let before = link.content("shop");
    assert_eq!(before["weather"].documents.len(), measured.len());
    let config = drilled(&server, "");
    backup(&config);
    let manifest = manifest_of(&config, &full("shop"), "latest");
    assert_eq!(manifest["mongodb"]["collections"][0]["type"], "timeseries", "{manifest:#}");
    restore(&config, &full("shop"), &["--into", "again", "--verify"]);
    assert_same(&link.content("again"), &before);
    assert_proven(&config);
}

#[test]
fn indexes_of_all_kinds_come_back_and_are_proven() {
    skip_unless!(Tool::Mongod);
    let server = MongoServer::start();
    let link = link(&server);
    let places: Vec<_> = (0..100)
        .map(|n| {
            let at = [f64::from(n % 90), f64::from(n % 45)];
            rawdoc! { "_id": n, "words": format!("word{n} and"), "flat": [at[0], at[1]],
            "place": { "type": "Point", "coordinates": [at[0], at[1]] }, "when": DateTime::from_millis(1 << 45), "n": n }
        })
        .collect();
    link.insert("shop", "places", &places);
    let weights = rawdoc! { "words": 3, "title": 1 };
    let specs = [
        rawdoc! { "key": { "words": "text", "title": "text" }, "name": "text", "weights": weights,
        "default_language": "finnish", "language_override": "lang" },
        rawdoc! { "key": { "_id": "hashed" }, "name": "_id_hashed" },
        rawdoc! { "key": { "n": 1, "words": "hashed" }, "name": "with hashed" },
        rawdoc! { "key": { "flat": "2d" }, "name": "flat", "bits": 20, "min": -200.0, "max": 200.0 },
        rawdoc! { "key": { "place": "2dsphere", "n": 1 }, "name": "place" },
        rawdoc! { "key": { "$**": 1 }, "name": "wild", "wildcardProjection": { "n": 0 } },
        rawdoc! { "key": { "when": 1 }, "name": "expires", "expireAfterSeconds": 3600 },
        rawdoc! { "key": { "n": -1 }, "name": "some", "partialFilterExpression": { "n": { "$gt": 5 } }, "unique": true },
        rawdoc! { "key": { "title": 1 }, "name": "sparse", "sparse": true, "hidden": true },
        rawdoc! { "key": { "words": 1 }, "name": "finnish", "collation": { "locale": "fi", "strength": 2 } },
        rawdoc! { "v": 1, "key": { "n": 1 }, "name": "old" },
    ];
    for spec in specs {
        if let Err(error) = link.try_index("shop", "places", std::slice::from_ref(&spec)) {
            skip(&format!("a server that creates the index {}: {error}", spec.get_str("name").unwrap()));
        }
    }
    let before = link.content("shop");
    assert!(before["places"].indexes.len() > 8, "{:?}", before["places"].indexes);
    let config = drilled(&server, "");
    backup(&config);
    let restored = restore(&config, &full("shop"), &["--into", "again", "--verify"]);
    assert_eq!(restored["notes"].as_array().unwrap().len(), 0, "{restored:#}");
    assert_same(&link.content("again"), &before);
    assert_proven(&config);
}

#[test]
fn indexes_that_this_server_refuses_are_converted_or_named_as_missing() {
    skip_unless!(Tool::Mongod);
    let (fake, _) = old_indexes();
    let config = super::scripted::config(&fake, "");
    backup(&config);
    let server = MongoServer::start();
    // Version 4.4 has the old kinds still.
    let code = if server.version() < (5, 0) { 0 } else { 3 };
    let ran =
        try_restore(&config, &full("shop"), &["--into", &url(&server, "shop"), "--verify"]).expect_code(code);
    let restored = ran.json()["database"].clone();
    assert_eq!(restored["compared"], true, "{restored:#}");
    if code == 3 {
        assert_eq!(restored["missing"][0]["name"], "orders.hay", "{restored:#}");
    }
    assert_says(&restored["notes"].to_string(), &["the index zero of orders was converted", "without safe"]);
    let found = link(&server).content("shop")["orders"].indexes.clone();
    let zero = found.iter().find(|index| index.get_str("name").is_ok_and(|name| name == "zero")).unwrap();
    assert_eq!(zero.get_document("key").unwrap(), &*rawdoc! { "zero": 1 });
}

#[test]
fn documents_that_are_not_valid_come_back_from_mongodb_itself() {
    skip_unless!(Tool::Mongod);
    let server = MongoServer::start();
    let link = link(&server);
    link.insert("shop", "odd", &invalid());
    let before = link.documents("shop", "odd");
    let mut sent: Vec<_> = invalid().iter().map(|document| document.as_bytes().to_vec()).collect();
    let mut kept: Vec<_> = before.iter().map(|document| document.as_bytes().to_vec()).collect();
    sent.sort();
    kept.sort();
    assert!(kept == sent, "the server changes them on the way in");
    let config = drilled(&server, "");
    backup(&config);
    restore(&config, &full("shop"), &["--into", "again", "--verify"]);
    assert!(link.documents("again", "odd") == before, "the documents differ");
    assert_proven(&config);
}

#[test]
fn a_capped_collection_keeps_its_limits_and_its_order() {
    skip_unless!(Tool::Mongod);
    let server = MongoServer::start();
    let link = link(&server);
    link.create("shop", "log", &rawdoc! { "capped": true, "size": 65_536, "max": 100 });
    // The oldest are gone again, and what is left begins in the middle.
    let mut documents = numbered(0..150);
    documents.reverse();
    link.insert("shop", "log", &documents);
    let natural = |database: &str| link.cursor(database, doc! { "find": "log", "batchSize": 1000 });
    let before = natural("shop");
    assert_eq!(before.len(), 100);
    let config = drilled(&server, "");
    backup(&config);
    assert_stored(&config, "shop", "log", &before);
    restore(&config, &full("shop"), &["--into", "again", "--verify"]);
    assert!(natural("again") == before, "the order differs");
    assert_same(&link.content("again"), &link.content("shop"));
    link.insert("again", "log", [&rawdoc! { "_id": "one more" }]);
    assert_eq!(natural("again").len(), 100, "it is still capped");
}

#[test]
fn users_and_roles_are_in_the_system_database_alone() {
    skip_unless!(Tool::Mongod);
    let server = MongoServer::start();
    let link = link(&server);
    link.insert("shop", "orders", &numbered(0..10));
    let grant = doc! { "resource": { "db": "shop", "collection": "orders" }, "actions": ["find"] };
    server.command("shop", doc! { "createRole": "reader", "privileges": [grant], "roles": [] });
    server.command("shop", doc! { "createUser": "jane", "pwd": "Pw-70ab", "roles": ["reader"] });
    let config = configured(&server, "");
    let report = backup(&config);
    assert_eq!(report["items"].as_array().unwrap().len(), 1, "no item claims to have them: {report:#}");
    server.command("shop", doc! { "dropAllUsersFromDatabase": 1 });
    restore(&config, &full("shop"), &["--into", "again"]);
    for database in ["shop", "again"] {
        let users = server.command(database, doc! { "usersInfo": 1 });
        assert!(users.get_array("users").unwrap().is_empty(), "{users}");
    }

    server.command("shop", doc! { "createUser": "jane", "pwd": "Pw-70ab", "roles": ["reader"] });
    let config = configured(&server, "include_system = true");
    assert!(discover(&config, 0).items.contains(&"admin".to_owned()));
    let report = backup(&config);
    assert_eq!(item(&report, "admin")["outcome"], "ok", "{report:#}");
    let folder = files_of(&config, "admin");
    let names = names_in(&folder.path().join("admin"));
    for name in ["system.users.bson", "system.roles.bson"] {
        assert!(names.contains(&name.to_owned()), "{names:?}");
        assert!(folder.path().join("admin").join(name).metadata().unwrap().len() > 0, "{name}");
    }
    let restored = restore(&config, &full("admin"), &["--into", "admin_copy"]);
    assert_says(&restored["notes"].to_string(), &["not restored: system.users", "belongs to the server"]);
}

#[test]
fn a_dump_of_mongodb_itself_shows_its_moment_whatever_is_written_meanwhile() {
    skip_unless!(Tool::Mongod);
    let server = MongoServer::start();
    if server.version() < (5, 0) {
        skip("MongoDB 5.0 or newer");
        return;
    }
    let link = link(&server);
    link.insert("shop", "orders", &numbered(0..4500));
    let relay = Relay::start(server.port());
    let builder = keeping();
    let lines = source_of(&builder, SOURCE, &relay.uri(), "consistency = \"snapshot\"");
    let config = ready(builder.source(SOURCE, &lines));
    relay.hold(2);
    let mut running = Running::start(Cmd::with(&config).args(["--json", "backup"]).into_command());
    relay.wait_held(&mut running);
    link.insert("shop", "orders", &numbered(10_000..10_100));
    link.raw("shop", rawdoc! { "delete": "orders", "deletes": [{ "q": { "_id": 4400 }, "limit": 1 }] });
    relay.release();
    running.finish().expect_code(0);
    assert_stored(&config, "shop", "orders", &numbered(0..4500));
}

#[test]
fn a_sharded_cluster_is_backed_up_over_its_router() {
    skip_unless!(Tool::Mongod, Tool::Mongos);
    let cluster = Cluster::start();
    let link = super::atlas::connect(&cluster.uri());
    link.raw("admin", rawdoc! { "enableSharding": "shop" });
    link.raw("admin", rawdoc! { "shardCollection": "shop.orders", "key": { "_id": "hashed" } });
    let documents: Vec<RawDocumentBuf> = numbered(0..4500);
    link.insert("shop", "orders", &documents);
    let before = link.content("shop");
    let builder = keeping();
    let lines = source_of(&builder, SOURCE, &cluster.uri(), "");
    let config = ready(builder.source(SOURCE, &lines));
    let report = backup(&config);
    let manifest = manifest_of(&config, &full("shop"), "latest");
    assert_eq!(manifest["mongodb"]["topology"], "sharded", "{manifest:#}");
    assert_says(&item(&report, "shop")["notes"].to_string(), &["shard keys"]);
    restore(&config, &full("shop"), &["--into", "again", "--verify"]);
    assert_same(&link.content("again"), &before);
}
