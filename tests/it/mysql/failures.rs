//! A failed dump leaves no snapshot, whatever the error, and does not affect other items.

use testkit::{
    ConfigBuilder, FakeClients, MyFlavour, MyServer,
    mysql_world::{SOURCE, configured, full, server},
    reports::{assert_says, backup, error_of, ids_of, item, manifest_of, ready, try_backup},
};

on_both!(
    no_failed_dump_is_committed,
    a_view_that_breaks_during_the_dump,
    tables_without_transactions_are_named
);

/// The ways to fail: database, what the dump tool does, what the error must say.
const FAILURES: [(&str, &str, &str); 8] = [
    ("before", "echo no such luck >&2; exit 1", "(my/before) failed with exit status 1"),
    (
        "midway",
        "dump \"$@\" | head -c 150000; echo no such luck >&2; exit 1",
        "(my/midway) failed with exit status 1",
    ),
    ("after", "dump \"$@\"; echo no such luck >&2; exit 3", "(my/after) failed with exit status 3"),
    ("killed", "dump \"$@\" | head -c 150000; kill -9 $$", "(my/killed) was ended by signal 9"),
    ("half", "dump \"$@\" | head -c 150000; exit 0", "its dump is truncated"),
    ("no_end", "dump \"$@\" | sed '$d' | sed '$d'; exit 0", "its dump is truncated"),
    ("nothing", "exit 0", ""),
    (
        "no_trigger",
        "dump \"$@\" | sed '/TRIGGER `\\{0,1\\}tr`\\{0,1\\} /{:a;/;;$/d;N;ba}'; exit 0",
        "trigger tr",
    ),
];

fn fill(server: &MyServer, database: &str) {
    server.create_database(database);
    server.sql(
        Some(database),
        "CREATE TABLE t (id int PRIMARY KEY AUTO_INCREMENT, x text);
         INSERT INTO t (x) VALUES (SHA2('a', 512)), (SHA2('b', 512)), (SHA2('c', 512)), (SHA2('d', 512));
         INSERT INTO t (x) SELECT SHA2(CONCAT(a.id, b.id, c.id, d.id, a.x), 512) FROM t a, t b, t c, t d;
         INSERT INTO t (x) SELECT SHA2(CONCAT(a.id, 'and', b.id), 512) FROM t a, t b WHERE b.id < 10;
         CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW SET @x = 1;",
    );
}

fn no_failed_dump_is_committed(flavour: MyFlavour) {
    let server = server(flavour);
    let names = || FAILURES.iter().map(|(name, ..)| *name).chain(["good", "good too"]);
    names().for_each(|name| fill(&server, name));
    let clients = FakeClients::of_mysql(flavour);
    let source = clients.instead(flavour, &server.config_toml());
    let retention = "[retention]\nkeep_last = 1\nkeep_daily = 0\nkeep_weekly = 0\nkeep_within = \"0s\"";
    let config = ready(ConfigBuilder::new().tables(retention).source(SOURCE, &source));
    backup(&config);
    let before: Vec<_> = names().map(|name| ids_of(&config, &full(name))).collect();
    assert!(before.iter().all(|ids| ids.len() == 1), "{before:?}");
    let size = item(&backup(&config), "midway")["bytes_read"].as_u64().unwrap();
    assert!(size > 300_000, "150000 bytes must be the middle: {size}");
    let before: Vec<_> = names().map(|name| ids_of(&config, &full(name))).collect();

    for (name, script, _) in FAILURES {
        clients.script(name, script);
    }
    let ran = try_backup(&config, &[]).expect_code(3);
    let report = ran.json();
    assert_eq!(report["outcome"], "partial");
    for (n, (name, script, message)) in FAILURES.into_iter().enumerate() {
        let error = error_of(&report, name);
        assert!(error.contains(message), "{name}: {error}");
        assert_eq!(error.contains("no such luck"), script.contains("luck"), "{name}: {error}");
        assert!(ran.stderr.contains(&format!("{}: FAILED", full(name))), "{}", ran.stderr);
        assert_eq!(
            ids_of(&config, &full(name)),
            before[n],
            "{name} keeps what it has, whatever the retention"
        );
    }
    for (name, old) in ["good", "good too"].iter().zip(&before[FAILURES.len()..]) {
        assert_eq!(item(&report, name)["outcome"], "ok");
        let ids = ids_of(&config, &full(name));
        assert!(
            ids.len() == 1 && ids != *old,
            "the others are committed, and their retention is applied: {ids:?}"
        );
    }
}

/// A view that was whole before the dump and is not when its turn comes fails its database alone.
fn a_view_that_breaks_during_the_dump(flavour: MyFlavour) {
    let server = server(flavour);
    for name in ["broken", "good"] {
        server.create_database(name);
        server.sql(
            Some(name),
            "CREATE TABLE t (x int); INSERT INTO t VALUES (1); CREATE VIEW of_t AS SELECT x FROM t",
        );
    }
    let clients = FakeClients::of_mysql(flavour);
    let drop = server.client("mysql");
    let words: Vec<String> = std::iter::once(drop.get_program())
        .chain(drop.get_args())
        .map(|word| format!("'{}'", word.to_str().unwrap()))
        .collect();
    let drop = format!("{} --execute='DROP TABLE IF EXISTS broken.t'", words.join(" "));
    let source = clients.instead(flavour, &server.config_toml());
    let config = ready(ConfigBuilder::new().source(SOURCE, &source));
    backup(&config);
    clients.script("broken", &format!("{drop}; dump \"$@\""));
    let report = try_backup(&config, &[]).expect_code(3).json();
    // The dump fails on it, and the next try of the same run goes without it.
    let broken = item(&report, "broken");
    assert_eq!(
        (&broken["outcome"], &broken["omitted"][0]["name"]),
        (&"partial".into(), &"of_t".into()),
        "{report:#}"
    );
    assert_eq!(broken["omitted"][0]["type"], "view", "{report:#}");
    assert_eq!(ids_of(&config, &full("broken")).len(), 2, "the last good one is kept");
    assert_eq!(item(&report, "good")["outcome"], "ok", "{report:#}");
}

/// Tables without transactions are named.
fn tables_without_transactions_are_named(flavour: MyFlavour) {
    let server = server(flavour);
    for name in ["good", "mixed"] {
        server.create_database(name);
        server.sql(
            Some(name),
            "CREATE TABLE t (x int); INSERT INTO t VALUES (1), (2); CREATE VIEW of_t AS SELECT x FROM t",
        );
    }
    server.sql(
        Some("mixed"),
        "CREATE TABLE `old ``one` (x int) ENGINE = MyISAM; INSERT INTO `old ``one` VALUES (1), (2), (3);
         CREATE TABLE fleeting (x int) ENGINE = MEMORY; INSERT INTO fleeting VALUES (1)",
    );
    let config = configured(&server, "");
    let report = backup(&config);
    for name in ["good", "mixed", "@globals"] {
        assert_eq!(item(&report, name)["outcome"], "ok", "{report:#}");
    }
    let manifest = manifest_of(&config, &full("mixed"), "latest");
    assert_eq!(manifest["consistency"], "none");
    assert_says(&manifest["notes"].to_string(), &["engine has no transactions: fleeting, old `one"]);
    assert_eq!(manifest["mysql"]["not_transactional"], serde_json::json!(["fleeting", "old `one"]));
    let rows: Vec<_> =
        manifest["objects"].as_array().unwrap().iter().map(|o| o["rows"].as_u64().unwrap()).collect();
    assert_eq!(rows, [1, 3, 2]);
    assert_says(&item(&report, "mixed")["notes"].to_string(), &["fleeting"]);
    assert_eq!(manifest_of(&config, &full("good"), "latest")["consistency"], "snapshot");
    testkit::reports::restore(
        &config,
        &full("mixed"),
        &["--into", &testkit::mysql_world::url(&server, "mixed 2")],
    );
    assert_eq!(server.sql(Some("mixed 2"), "SELECT COUNT(*) FROM `old ``one`"), "3");
}
