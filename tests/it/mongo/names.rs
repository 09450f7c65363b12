//! Unusual names of databases and collections that servers accept.

use std::collections::BTreeMap;

use mongodb::bson::rawdoc;
use testkit::{
    Cmd, MongoServer, Tool,
    reports::{backup, discover, ids_of, restore},
    skip_unless,
};

use super::{
    link::{assert_same, link},
    support::{configured, files_of, full, names_in, url},
};

/// Names of collections, and those of their files if they are worth writing down.
fn collections() -> Vec<(String, &'static str)> {
    let long = |end: &str| format!("{}{end}", "ü".repeat(99));
    vec![
        ("ünï☃𝄞".to_owned(), "%C3%BCn%C3%AF%E2%98%83%F0%9D%84%9E"),
        ("with space".to_owned(), "with+space"),
        ("with+plus".to_owned(), "with%2Bplus"),
        ("dots.in.name".to_owned(), "dots.in.name"),
        ("per%cent".to_owned(), "per%25cent"),
        ("per%25cent".to_owned(), "per%2525cent"),
        ("sla/sh".to_owned(), "sla%2Fsh"),
        ("../../up".to_owned(), ""),
        ("back\\slash".to_owned(), "back%5Cslash"),
        ("Orders".to_owned(), "Orders"),
        ("orders".to_owned(), "orders"),
        ("it's \"a\" `name`\n\ttoo".to_owned(), ""),
        ("prelude".to_owned(), "prelude"),
        ("manifest".to_owned(), "manifest"),
        ("x".to_owned(), "x"),
        ("x.bson".to_owned(), "x.bson"),
        ("x.metadata.json".to_owned(), "x.metadata.json"),
        ("x.searchIndexes.json".to_owned(), "x.searchIndexes.json"),
        ("x.gz".to_owned(), "x.gz"),
        ("system".to_owned(), "system"),
        ("n".repeat(200), ""),
        (long("1"), ""),
        (long("2"), ""),
        ("--option".to_owned(), "--option"),
        ("*?<>|:;(){}[]~#&!^,=@".to_owned(), ""),
    ]
}

#[test]
fn odd_names_of_collections_come_back() {
    skip_unless!(Tool::Mongo);
    let server = MongoServer::start();
    let link = link(&server);
    let mut files = BTreeMap::new();
    for (name, file) in collections() {
        // Names with a leading dot are none; a server that refuses more is not the one to be tested.
        if name.starts_with('.') && link.try_raw("odd", rawdoc! { "create": name.as_str() }).is_err() {
            continue;
        }
        link.insert("odd", &name, &[rawdoc! { "_id": 1, "in": name.as_str() }]);
        link.index("odd", &name, &[rawdoc! { "key": { "in": 1 }, "name": "by_in" }]);
        let end: String = name.chars().rev().take(40).collect();
        link.create("odd", &format!("V{end}"), &rawdoc! { "viewOn": name.as_str(), "pipeline": [] });
        files.insert(name, file);
    }
    let before = link.content("odd");
    assert_eq!(before.len(), files.len() * 2);
    let config = configured(&server, "");
    backup(&config);
    let folder = files_of(&config, "odd");
    let there = names_in(&folder.path().join("odd"));
    // One of data for each collection, one of metadata for each collection and view, and the prelude.
    assert_eq!(there.len(), files.len() * 3 + 1, "{there:?}");
    assert!(there.iter().all(|name| name.len() <= 255 && !name.contains('/')), "{there:?}");
    for file in files.values().filter(|file| !file.is_empty()) {
        for end in ["bson", "metadata.json"] {
            assert!(there.contains(&format!("{file}.{end}")), "{file}.{end} of {there:?}");
        }
    }
    restore(&config, &full("odd"), &["--into", "odd_again"]);
    assert_same(&link.content("odd_again"), &before);
    let other = MongoServer::start();
    for name in ["sla/sh", "it's \"a\" `name`\n\ttoo"] {
        restore(&config, &full("odd"), &["--into", &url(&other, "one"), "--table", name]);
        let found = super::link::link(&other).content("one");
        assert_eq!(found.keys().collect::<Vec<_>>(), [name]);
        other.command("one", mongodb::bson::doc! { "dropDatabase": 1 });
    }
}

#[test]
fn odd_names_of_databases_come_back() {
    skip_unless!(Tool::Mongo);
    let server = MongoServer::start();
    let link = link(&server);
    let names = [
        "ünï☃",
        "UPPER",
        "with-dash",
        "per%cent",
        "plus+sign",
        "it's",
        "a,b;c",
        "@at",
        "--option",
        "manifest",
        "(x)[y]{z}",
        "~tilde",
        "#hash",
        "q?x=1&y",
        "sixty_three_bytes_are_the_longest_that_servers_take_for_a_name_",
    ];
    for name in names {
        link.insert(name, "c", &[rawdoc! { "_id": 1, "in": name }]);
    }
    let config = configured(&server, "");
    let found = discover(&config, 0);
    let mut wanted = names.map(str::to_owned).to_vec();
    wanted.sort();
    let mut items = found.items;
    items.sort();
    assert_eq!(items, wanted);
    backup(&config);
    for (number, name) in names.iter().enumerate() {
        let again = format!("again_{number}");
        restore(&config, &full(name), &["--into", &again]);
        assert_same(&link.content(&again), &link.content(name));
        let files = files_of(&config, name);
        let mut wanted = vec![(*name).to_owned(), "manifest.json".to_owned()];
        wanted.sort();
        assert_eq!(names_in(files.path()), wanted);
    }
    // And back under its own name, by URL and by name alone.
    let config = configured(&server, "databases = [\"ünï☃\", \"q?x=1&y\"]");
    backup(&config);
    for (name, into) in [("ünï☃", "ünï☃".to_owned()), ("q?x=1&y", url(&server, "q?x=1&y"))] {
        let before = link.content(name);
        server.command(name, mongodb::bson::doc! { "dropDatabase": 1 });
        restore(&config, &full(name), &["--into", &into]);
        assert_same(&link.content(name), &before);
        assert_eq!(ids_of(&config, &full(name)).len(), 1);
    }
    let ran = Cmd::with(&config).args(["restore", "mg/@at", "--into", "x"]).run();
    ran.expect_code(1);
}
