//! What breaks off, changes or is refused: nothing is left out silently.

use super::*;

#[test]
fn a_scan_that_breaks_off_is_continued_without_a_gap() {
    let Some(server) = Server::start(&[]) else { return };
    let deployment = server.connect();
    let many = numbered(0..4500);
    deployment.insert("shop", "orders", many.clone());
    for how in [doc! { "errorCode": 43 }, doc! { "errorCode": 11602 }, doc! { "closeConnection": true }] {
        // The snapshot is one find, the dump another with four getMores.
        deployment.fail("getMore", 2, 1, how.clone());
        let (manifest, memory) = run(&server.source(), "shop");
        let manifest = manifest.unwrap_or_else(|error| panic!("{how}: {error}"));
        assert_eq!(memory.file("shop/orders.bson"), bytes_of(&many), "{how}");
        assert!(
            manifest.notes.iter().any(|note| note.contains("reading orders was interrupted")),
            "{:?}",
            manifest.notes
        );
    }
}

#[test]
fn a_snapshot_that_gets_too_old_is_left_only_if_nothing_changed() {
    let Some(server) = Server::start(&[]) else { return };
    let deployment = server.connect();
    let many = numbered(0..4500);
    deployment.insert("shop", "orders", many.clone());
    deployment.fail("getMore", 1, 1, doc! { "errorCode": 239 });
    let (manifest, memory) = run(&server.source(), "shop");
    let manifest = manifest.unwrap();
    assert_eq!(memory.file("shop/orders.bson"), bytes_of(&many));
    assert_eq!(manifest.consistency, Consistency::None);
    assert!(
        manifest.notes.iter().any(|note| note.contains("no snapshot (any more)")),
        "{:?}",
        manifest.notes
    );
    assert!(manifest.detail::<Detail>().unwrap().snapshot_time.is_none());

    let source = server.source_with(&server.uri(), MongodbConsistency::Snapshot);
    deployment.fail("getMore", 1, 1, doc! { "errorCode": 239 });
    let error = run(&source, "shop").0.unwrap_err();
    assert!(error.to_string().contains("239") && error.hint_text().is_some(), "{error}");
    assert!(source.unsteady().contains("shop"));
}

/// Changes the first document while the dump is under way.
struct Meddler<'a> {
    memory: Memory,
    deployment: &'a Deployment,
    command: Document,
}

impl Sink for Meddler<'_> {
    fn store(&self, path: &str, reader: &mut dyn Read) -> Result<Stored> {
        if path.ends_with("orders.bson") {
            let mut first = [0; 100];
            reader.read_exact(&mut first).map_err(|error| Error::from_io("reading", error))?;
            self.deployment.must("shop", self.command.clone());
            return self.memory.store(path, &mut first.as_slice().chain(reader));
        }
        self.memory.store(path, reader)
    }
}

#[test]
fn a_scan_that_breaks_off_after_a_change_is_a_failure() {
    let Some(server) = Server::start(&[]) else { return };
    let deployment = server.connect();
    deployment.insert("shop", "orders", numbered(0..4500));
    deployment.fail("getMore", 2, 1, doc! { "errorCode": 43 });
    let command = doc! { "delete": "orders", "deletes": [{ "q": { "_id": 7 }, "limit": 1 }] };
    let sink = Meddler { memory: Memory::default(), deployment: &deployment, command };
    let source = server.source_with(&server.uri(), MongodbConsistency::None);
    let error = dump(&source, "shop", &sink, &Cancel::new()).unwrap_err();
    assert!(error.to_string().contains("changed before it could be read again"), "{error}");
}

#[test]
fn a_collection_that_is_replaced_meanwhile_is_a_failure() {
    let Some(server) = Server::start(&[]) else { return };
    let deployment = server.connect();
    deployment.insert("shop", "orders", numbered(0..50));
    deployment.insert("shop", "other", numbered(0..50));
    let sink =
        Meddler { memory: Memory::default(), deployment: &deployment, command: doc! { "drop": "other" } };
    let error = dump(&server.source(), "shop", &sink, &Cancel::new()).unwrap_err();
    assert!(error.to_string().contains("shop.other was dropped"), "{error}");
}

#[test]
fn what_may_not_be_read_is_a_failure_that_names_it() {
    let Some(server) = Server::start(&[]) else { return };
    let deployment = server.connect();
    deployment.insert("shop", "orders", numbered(0..50));
    for (command, what) in [
        ("listIndexes", "cannot read the indexes of shop.orders"),
        ("listCollections", "cannot list the collections of shop"),
    ] {
        deployment.fail(command, 0, 1, doc! { "errorCode": 13 });
        let error = run(&server.source(), "shop").0.unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
        assert!(error.hint_text().is_some_and(|hint| hint.contains("readAnyDatabase")), "{error}");
    }
    let source = server.source_with(&server.uri(), MongodbConsistency::None);
    deployment.fail("find", 0, 1, doc! { "errorCode": 13 });
    let error = run(&source, "shop").0.unwrap_err();
    assert!(error.summary().starts_with("shop.orders: "), "{error}");
    deployment.fail("listDatabases", 0, 1, doc! { "errorCode": 13 });
    let error = source.discover(&Cancel::new()).unwrap_err();
    assert!(error.hint_text().is_some_and(|hint| hint.contains("readAnyDatabase")), "{error}");
}

#[test]
fn a_failed_collection_ends_the_others() {
    struct Broken(Memory);
    impl Sink for Broken {
        fn store(&self, path: &str, reader: &mut dyn Read) -> Result<Stored> {
            if path.ends_with("broken.bson") {
                Err(Error::repository("no space"))
            } else {
                self.0.store(path, reader)
            }
        }
    }
    let Some(server) = Server::start(&[]) else { return };
    let deployment = server.connect();
    deployment.insert("shop", "orders", numbered(0..4500));
    deployment.insert("shop", "broken", numbered(0..10));
    let block = doc! { "blockConnection": true, "blockTimeMS": 15_000 };
    deployment.fail("getMore", 0, 1, block);
    let start = Instant::now();
    let error = dump(&server.source(), "shop", &Broken(Memory::default()), &Cancel::new()).unwrap_err();
    assert!(error.summary().contains("shop.broken: no space"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
}

#[test]
fn nobody_there_or_not_let_in_says_what_to_check() {
    let Some(server) = Server::start(&["--auth"]) else { return };
    let uri = format!("mongodb://jane:hunter2@127.0.0.1:{}/?serverSelectionTimeoutMS=2000", server.0.port);
    let source = server.source_with(&uri, MongodbConsistency::Auto);
    let error = source.discover(&Cancel::new()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("authSource") && text.contains("127.0.0.1"), "{text}");
    assert!(!text.contains("hunter2") && !text.contains("jane"), "{text}");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let uri = format!("mongodb://jane:hunter2@127.0.0.1:{port}/?serverSelectionTimeoutMS=500");
    let source = server.source_with(&uri, MongodbConsistency::Auto);
    let error = source.discover(&Cancel::new()).unwrap_err();
    assert!(error.hint_text().is_some_and(|hint| hint.contains("nothing listens there")), "{error}");
}

#[test]
fn a_stopped_run_ends_at_once() {
    let Some(server) = Server::start(&[]) else { return };
    let deployment = server.connect();
    deployment.insert("shop", "orders", numbered(0..4500));
    let block = doc! { "blockConnection": true, "blockTimeMS": 20_000 };
    deployment.fail("getMore", 0, 1, block);
    let cancel = Cancel::new();
    let start = Instant::now();
    let stopper = cancel.clone();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(1500));
        stopper.cancel("interrupted");
    });
    let error = dump(&server.source(), "shop", &Memory::default(), &cancel).unwrap_err();
    assert!(error.to_string().contains("stopped: interrupted"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
}

#[test]
fn a_passing_failure_of_the_catalogue_is_asked_again() {
    let Some(server) = Server::start(&[]) else { return };
    let deployment = server.connect();
    deployment.insert("shop", "orders", numbered(0..5));
    deployment.fail("listIndexes", 1, 1, doc! { "closeConnection": true });
    assert_eq!(run(&server.source(), "shop").0.unwrap().rows(), 5);
}
