//! Comparison with MongoDB's own tools: the dumps are identical, and the tools restore our dumps.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use mongodb::bson::{doc, rawdoc};
use testkit::{
    MongoServer, Restic, Tool,
    process::run_ok,
    reports::{backup, snapshot_of},
    skip_unless,
};

use super::{
    golden::{assert_equal_dumps, load},
    link::{assert_same, link, mixed},
    support::{configured, files_of, numbered},
};

/// One of the stock tools, with the connection of a server.
fn stock(name: &str, server: &MongoServer) -> Command {
    let mut command = Command::new(Tool::MongoTools.path().unwrap().join(name));
    command.args(["--quiet", "--uri", &server.uri()]);
    command
}

/// Runs stock mongorestore on the parent directory of the database `from` into the database `to`.
fn mongorestore(server: &MongoServer, folder: &Path, from: &str, to: &str) {
    let mut command = stock("mongorestore", server);
    command.arg("--bypassDocumentValidation").arg("--stopOnError");
    command.args(["--nsFrom", &format!("{from}.*"), "--nsTo", &format!("{to}.*")]).arg(folder);
    run_ok(&mut command, b"");
}

#[test]
fn stock_tools_write_what_we_write_and_read_what_we_wrote() {
    skip_unless!(Tool::Mongo, Tool::MongoTools, Tool::Restic);
    let server = MongoServer::start();
    let link = link(&server);
    load(&link, "shop");
    link.insert("shop", "many", &numbered(0..5000));
    link.insert("shop", &format!("long {}", "ü".repeat(90)), &numbered(0..3));
    link.create(
        "shop",
        "clustered",
        &rawdoc! {
            "clusteredIndex": { "key": { "_id": 1 }, "unique": true, "name": "own" }
        },
    );
    let validator =
        rawdoc! { "mail": { "$regex": "@example\\.com$", "$options": "i" }, "x": { "$type": "int" } };
    link.create("shop", "patterns", &rawdoc! { "validator": validator });
    link.insert("shop", "clustered", &numbered(0..10));
    let before = mixed(link.content("shop"));
    let config = configured(&server, "");
    let snapshot = snapshot_of(&backup(&config), "shop").to_owned();
    let ours = files_of(&config, "shop");

    let theirs = tempfile::tempdir().unwrap();
    run_ok(stock("mongodump", &server).args(["--db", "shop", "--out"]).arg(theirs.path()), b"");
    assert_equal_dumps(&ours.path().join("shop"), &theirs.path().join("shop"));
    // The server is the same, so that even what differs between servers must not.
    for name in super::support::names_in(&theirs.path().join("shop")) {
        if name != "prelude.json" {
            let read = |folder: &Path| std::fs::read(folder.join("shop").join(&name)).unwrap();
            assert!(read(ours.path()) == read(theirs.path()), "{name}");
        }
    }

    mongorestore(&server, ours.path(), "shop", "from_files");
    assert_same(&mixed(link.content("from_files")), &before);

    // By the way that the documents describe for those who have not got this program.
    let restic = Restic::old().unwrap();
    let (repo, password) = (config.repo(), config.password_file());
    let target = tempfile::tempdir().unwrap();
    restic.restore_verify(&repo, &password, &snapshot, target.path());
    mongorestore(&server, &target.path().join("mg/shop"), "shop", "from_restic");
    assert_same(&mixed(link.content("from_restic")), &before);

    // A file alone, out of the repository.
    let dumped = tempfile::tempdir().unwrap();
    let folder: PathBuf = dumped.path().join("one");
    std::fs::create_dir(&folder).unwrap();
    for file in ["orders.bson", "orders.metadata.json"] {
        let content = restic.dump(&repo, &password, &snapshot, &format!("/mg/shop/shop/{file}"));
        std::fs::write(folder.join(file), content).unwrap();
    }
    mongorestore(&server, dumped.path(), "one", "one_collection");
    let found = mixed(link.content("one_collection"));
    assert_eq!(found.len(), 1);
    assert_eq!(found["orders"], before["orders"]);
    server.command("shop", doc! { "dropDatabase": 1 });
    mongorestore(&server, theirs.path(), "shop", "shop");
    assert_same(&mixed(link.content("shop")), &before);
}
