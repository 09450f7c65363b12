//! What a dump holds, and what discovery finds.

use super::*;

#[test]
fn collections_come_out_as_they_went_in() {
    let Some(server) = Server::start(&[]) else { return };
    let deployment = server.connect();
    let many = numbered(0..3500);
    deployment.insert("shop", "orders", many.clone());
    deployment.insert("shop", "sla/sh %ü", numbered(0..1));
    deployment.must("shop", doc! { "create": "empty" });
    deployment
        .must("shop", doc! { "create": "big", "viewOn": "orders", "pipeline": [{ "$match": { "_id": 1 } }] });
    deployment.must(
        "shop",
        doc! { "createIndexes": "orders", "indexes": [{ "key": { "b": 1, "a": -1 }, "name": "ba" }] },
    );
    let (manifest, memory) = run(&server.source(), "shop");
    let manifest = manifest.unwrap();
    assert_eq!(memory.file("shop/orders.bson"), bytes_of(&many));
    assert_eq!(memory.file("shop/empty.bson"), b"");
    assert_eq!(memory.file("shop/sla%2Fsh+%25%C3%BC.bson"), bytes_of(&numbered(0..1)));
    assert_eq!(
        memory.paths(),
        [
            "shop/big.metadata.json",
            "shop/empty.bson",
            "shop/empty.metadata.json",
            "shop/orders.bson",
            "shop/orders.metadata.json",
            "shop/prelude.json",
            "shop/sla%2Fsh+%25%C3%BC.bson",
            "shop/sla%2Fsh+%25%C3%BC.metadata.json",
        ]
    );
    assert_eq!(manifest.digested, Digested::Yes);
    let mut digest = RowDigest::default();
    many.iter().for_each(|document| digest.add(document.as_bytes()));
    let orders = manifest.objects.iter().find(|object| object.name == "orders").unwrap();
    assert_eq!((orders.rows, orders.bytes, orders.digest), (3500, digest.bytes, digest.digest));
    let listed: Vec<_> = manifest.files.iter().map(|file| file.path.clone()).collect();
    assert_eq!(listed, memory.paths());
    for file in &manifest.files {
        assert_eq!(memory.file(&file.path).len() as u64, file.bytes, "{}", file.path);
    }
    let detail = manifest.detail::<Detail>().unwrap();
    let names: Vec<_> = detail.collections.iter().map(|c| (c.name.as_str(), c.kind.as_str())).collect();
    assert_eq!(
        names,
        [("big", "view"), ("empty", "collection"), ("orders", "collection"), ("sla/sh %ü", "collection")]
    );
    assert_eq!(detail.collections[2].indexes.len(), 2);
    assert_eq!(detail.collections[0].data, None);
    let json = manifest.to_json().unwrap();
    assert_eq!(Manifest::from_json(&json).unwrap().to_json().unwrap(), json);
}

#[test]
fn a_dump_of_stock_mongodump_comes_out_again() {
    let Some(server) = Server::start(&[]) else { return };
    let deployment = server.connect();
    let golden = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/mongodump-100.18/golden");
    let mut expected = BTreeMap::new();
    for entry in std::fs::read_dir(golden).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let content = std::fs::read(&path).unwrap();
        let Some(stem) = name.strip_suffix(".bson") else { continue };
        let collection = crate::source::mongodb::format::names::collection_name(stem).unwrap();
        deployment.must("golden", doc! { "create": &collection });
        for document in documents(&content) {
            let mut insert = mongodb::bson::rawdoc! { "insert": &*collection };
            let mut batch = mongodb::bson::RawArrayBuf::new();
            batch.push(document);
            insert.append(mongodb::bson::cstr!("documents"), batch);
            insert.append(mongodb::bson::cstr!("bypassEmptyTsReplacement"), true);
            let database = deployment.client.database("golden");
            let reply =
                deployment.ask(&Cancel::new(), async { database.run_raw_command(insert).await }).unwrap();
            assert_eq!(reply.get_i32("n").unwrap(), 1, "{name}: {reply}");
        }
        expected.insert(format!("golden/{name}"), content);
    }
    assert!(expected.len() > 10);
    let (manifest, memory) = run(&server.source(), "golden");
    manifest.unwrap();
    for (path, content) in expected {
        assert_eq!(memory.file(&path), content, "{path}");
    }
}

#[test]
fn all_collections_are_of_one_moment_where_the_server_can() {
    let Some(server) = Server::start(&[]) else { return };
    server.connect().insert("shop", "orders", numbered(0..2500));
    let (manifest, _) = run(&server.source(), "shop");
    let manifest = manifest.unwrap();
    assert_eq!(manifest.consistency, Consistency::Snapshot, "{:?}", manifest.notes);
    assert!(manifest.detail::<Detail>().unwrap().snapshot_time.is_some());
    assert_eq!(manifest.notes, [""; 0]);
    let source = server.source_with(&server.uri(), MongodbConsistency::None);
    let manifest = run(&source, "shop").0.unwrap();
    assert_eq!(manifest.consistency, Consistency::None);
    assert!(manifest.notes[0].contains("consistency = \"none\" is configured"), "{:?}", manifest.notes);
}

#[test]
fn a_standalone_server_is_dumped_without_a_snapshot_and_says_so() {
    let Some(server) = Server::start(&["--standalone"]) else { return };
    server.connect().insert("shop", "orders", numbered(0..10));
    let (manifest, memory) = run(&server.source(), "shop");
    let manifest = manifest.unwrap();
    assert_eq!(manifest.consistency, Consistency::None);
    assert!(manifest.notes[0].contains("not a member of a replica set"), "{:?}", manifest.notes);
    assert_eq!(memory.file("shop/orders.bson"), bytes_of(&numbered(0..10)));
    let source = server.source_with(&server.uri(), MongodbConsistency::Snapshot);
    let error = run(&source, "shop").0.unwrap_err();
    assert!(error.to_string().contains("a snapshot is required"), "{error}");
}

#[test]
fn search_indexes_are_missing_only_where_the_server_has_no_search() {
    let Some(server) = Server::start(&[]) else { return };
    let deployment = server.connect();
    deployment.insert("shop", "orders", numbered(0..5));
    for code in [59, 115, 31082, 40324, 6_047_401] {
        deployment.fail("aggregate", 0, 1, doc! { "errorCode": code });
        run(&server.source(), "shop").0.unwrap_or_else(|error| panic!("{code}: {error}"));
    }
    deployment.fail("aggregate", 0, 1, doc! { "errorCode": 13 });
    let error = run(&server.source(), "shop").0.unwrap_err();
    assert!(error.to_string().contains("cannot read the search indexes of shop.orders"), "{error}");
}

#[test]
fn the_largest_documents_pass() {
    let Some(server) = Server::start(&[]) else { return };
    let deployment = server.connect();
    // 16 MiB is the largest that a server takes.
    let text = "x".repeat((16 << 20) - 40);
    let large = RawDocumentBuf::try_from(&doc! { "_id": 1, "text": text }).unwrap();
    deployment.insert("shop", "orders", vec![large.clone()]);
    deployment.insert("shop", "orders", numbered(2..5));
    let (manifest, memory) = run(&server.source(), "shop");
    assert_eq!(manifest.unwrap().rows(), 4);
    assert_eq!(memory.file("shop/orders.bson")[..large.as_bytes().len()], *large.as_bytes());
}

#[test]
fn databases_are_discovered_with_their_sizes() {
    let Some(server) = Server::start(&[]) else { return };
    let deployment = server.connect();
    deployment.insert("shop", "orders", numbered(0..2000));
    deployment.insert("blog", "posts", numbered(0..1));
    let mut source = server.source();
    source.config.exclude = Patterns::new(["bl*"]).unwrap();
    source.config.databases = Patterns::new(["*", "gone"]).unwrap();
    let found = source.discover(&Cancel::new()).unwrap();
    let shop = found.items.iter().find(|item| item.name == "shop").unwrap();
    assert!(shop.problem.is_none() && shop.estimate.is_some_and(|size| size > 50_000), "{shop:?}");
    assert!(found.items.iter().any(|item| item.name == "gone" && item.problem.is_some()));
    assert!(found.excluded.iter().any(|item| item.name == "blog" && item.rule == "exclude = \"bl*\""));
}
