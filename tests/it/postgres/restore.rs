//! Where a restore goes, which snapshot it takes, and what it refuses without touching anything.

use std::{fs, os::unix::fs::PermissionsExt};

use testkit::{
    Cmd, Config, PgOptions, PgServer, PgVersion, Tool, postgres::dbname, process::run_ok, skip_unless,
};

use super::support::{
    SOURCE, assert_says, backup, configured, exists, restore, snapshot_of, snapshots, try_restore,
};

fn shop(server: &PgServer) -> Config {
    server.create_database("shop");
    server.psql("shop", "CREATE TABLE t AS SELECT i, 'first' AS t FROM generate_series(1, 100) i");
    configured(server, "")
}

#[test]
fn a_target_is_new_or_empty() {
    skip_unless!(Tool::Pg15);
    let server = PgServer::start(PgVersion::V15);
    let config = shop(&server);
    backup(&config);
    let contents = [
        ("CREATE TABLE keep AS SELECT 1 AS x", "table public.keep"),
        ("CREATE FUNCTION keep() RETURNS int LANGUAGE sql AS 'SELECT 1'", "function public.keep()"),
        ("CREATE TYPE keep AS ENUM ('x')", "type public.keep"),
        ("CREATE SCHEMA \"Keep me\"", "schema \"Keep me\""),
        ("CREATE TYPE keep AS (x int)", "type public.keep"),
        ("CREATE VIEW keep AS SELECT 1 AS x", "view public.keep"),
        ("CREATE SEQUENCE keep", "sequence public.keep"),
        ("CREATE TABLE keep (x int) PARTITION BY LIST (x)", "table public.keep"),
        ("SELECT lo_create(4711)", "large object 4711"),
    ];
    server.create_database("taken");
    for (sql, what) in contents {
        server.psql("taken", sql);
        let before = server.dump_text_with("taken", &["--create"]);
        let ran = try_restore(&config, "shop", &["--into", "taken"]).expect_code(1);
        assert_says(&ran.stderr, &["taken is not empty", &what.replace('"', "\\\""), "does not exist yet"]);
        assert_eq!(server.dump_text_with("taken", &["--create"]), before, "not touched");
        server.psql("postgres", "DROP DATABASE taken");
        server.create_database("taken");
    }
    // Neither a setting nor an extension that came with the template makes it full.
    server.psql(
        "taken",
        "CREATE EXTENSION hstore; CREATE EXTENSION dblink; CREATE SCHEMA own; CREATE EXTENSION citext SCHEMA own;
         COMMENT ON DATABASE taken IS 'mine'",
    );
    let done = restore(&config, "shop", &["--into", "taken"]);
    assert_eq!(done["database"]["created"], false);
    assert_eq!(done["database"]["rows"], 100);
    assert_eq!(server.psql("taken", "SELECT count(*) FROM t"), "100");
    // Once it is filled, it is not empty.
    try_restore(&config, "shop", &["--into", "taken"]).expect_code(1);
    try_restore(&config, "shop", &["--into", "shop"]).expect_code(1);
    assert_eq!(server.psql("shop", "SELECT count(*) FROM t"), "100");

    server.psql("postgres", "CREATE DATABASE other TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'");
    let ran = try_restore(&config, "shop", &["--into", "other"]).expect_code(1);
    assert_says(&ran.stderr, &["LATIN1", "UTF8"]);
}

#[test]
fn an_older_snapshot_is_had_by_id_and_by_time() {
    skip_unless!(Tool::Pg15);
    let server = PgServer::start(PgVersion::V15);
    let config = shop(&server);
    super::support::edit(&config, "[sources", "[retention]\nkeep_last = 9\n\n[sources");
    let first = backup(&config);
    server.psql("shop", "UPDATE t SET t = 'second'");
    let second = backup(&config);
    let (first, second) = (snapshot_of(&first, "shop"), snapshot_of(&second, "shop"));
    assert_ne!(first, second);
    let listed = snapshots(&config);
    let time = |id: &str| listed.iter().find(|s| s["id"] == id).unwrap()["time"].as_str().unwrap().to_owned();
    let cases = [
        ("a", first.to_owned(), "first"),
        ("b", first[..8].to_owned(), "first"),
        ("c", second[..8].to_owned(), "second"),
        ("d", "latest".to_owned(), "second"),
        ("e", time(first), "first"),
        ("f", time(second), "second"),
        ("g", "2999-12-31".to_owned(), "second"),
    ];
    for (target, at, value) in &cases {
        let done = restore(&config, "shop", &["--at", at, "--into", target]);
        assert_eq!(done["snapshot"], if *value == "first" { first } else { second }, "--at {at}");
        assert_eq!(server.psql(target, "SELECT DISTINCT t FROM t"), *value, "--at {at}");
    }
    let ran = try_restore(&config, "shop", &["--at", "2001-01-01", "--into", "x"]).expect_code(1);
    assert_says(&ran.stderr, &["no snapshot from 2001-01-01", "snapshots"]);
    let ran = try_restore(&config, "shop", &["--at", "deadbeef", "--into", "x"]).expect_code(1);
    assert_says(&ran.stderr, &["no snapshot whose id begins with deadbeef"]);
    try_restore(&config, "shop", &["--at", "some day", "--into", "x"]).expect_code(2);
    let ran = try_restore(&config, "shopp", &["--into", "x"]).expect_code(2);
    assert_says(&ran.stderr, &["did you mean pg/shop"]);
    assert!(!exists(&server, "x"));
}

#[test]
fn files_are_for_the_databases_own_tools() {
    skip_unless!(Tool::Pg15);
    let server = PgServer::start(PgVersion::V15);
    let config = shop(&server);
    backup(&config);
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("new/folder");
    let done = restore(&config, "shop", &["--to", folder.to_str().unwrap()]);
    let mut files: Vec<_> = done["files"].as_array().unwrap().iter().map(|f| f.as_str().unwrap()).collect();
    files.sort_unstable();
    let expected = ["database.dump", "manifest.json"].map(|name| folder.join(name));
    assert_eq!(files, expected.iter().map(|path| path.to_str().unwrap()).collect::<Vec<_>>());
    for path in expected.iter().chain([&folder]) {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o077, 0, "{path:?} is ours alone");
    }
    server.create_database("by hand");
    let mut pg_restore = server.client("pg_restore");
    run_ok(pg_restore.args(["--exit-on-error", "-d"]).arg(dbname("by hand")).arg(&expected[0]), b"");
    assert_eq!(server.dump_text("by hand"), server.dump_text("shop"));

    let ran = try_restore(&config, "shop", &["--to", folder.to_str().unwrap()]).expect_code(2);
    assert_says(&ran.stderr, &["not empty"]);
    let empty = tempfile::tempdir().unwrap();
    restore(&config, "shop", &["--to", empty.path().to_str().unwrap()]);
}

#[test]
fn passwords_come_from_files_and_never_show() {
    skip_unless!(Tool::Pg15);
    let server = PgOptions::new(PgVersion::V15).tcp().start();
    let config = shop(&server);
    backup(&config);
    let by_port = |database: &str| format!("postgresql://postgres@127.0.0.1:{}/{database}", server.port());
    let file = server.password_file();
    restore(&config, "shop", &["--into", &by_port("good"), "--password-file", file.to_str().unwrap()]);
    assert_eq!(server.psql("good", "SELECT count(*) FROM t"), "100");

    let wrong = config.dir().join("wrong");
    fs::write(&wrong, "open sesame\n").unwrap();
    fs::set_permissions(&wrong, fs::Permissions::from_mode(0o600)).unwrap();
    let ran = try_restore(
        &config,
        "shop",
        &["--into", &by_port("bad"), "--password-file", wrong.to_str().unwrap()],
    )
    .expect_code(1);
    assert_says(&ran.stderr, &["password authentication failed", "password is wrong"]);
    assert!(!ran.stderr.contains("open sesame") && !exists(&server, "bad"));

    fs::set_permissions(&wrong, fs::Permissions::from_mode(0o644)).unwrap();
    let ran = try_restore(
        &config,
        "shop",
        &["--into", &by_port("bad"), "--password-file", wrong.to_str().unwrap()],
    );
    assert_ne!(ran.code(), Some(0), "a secret that others can read is refused");
    assert!(!ran.stderr.contains("open sesame"));

    for url in ["postgresql://me:hunter2@localhost/x", "postgresql://me@localhost/x?password=hunter2"] {
        let ran = try_restore(&config, "shop", &["--into", url]).expect_code(2);
        assert_says(&ran.stderr, &["--password-file"]);
        assert!(!ran.stderr.contains("hunter2") && !ran.stdout.contains("hunter2"));
    }
    try_restore(&config, "shop", &["--into", "mysql://me@localhost/x"]).expect_code(2);
    try_restore(&config, "shop", &[]).expect_code(2);
    try_restore(&config, "shop", &["--into", "x", "--to", "/tmp/x"]).expect_code(2);
    let ran = Cmd::with(&config).args(["restore", SOURCE, "--into", "x"]).run().expect_code(2);
    assert_says(&ran.stderr, &["SOURCE/ITEM"]);
}

/// A source that is no longer configured can still be restored, to where the operator says.
#[test]
fn a_source_that_left_the_configuration_can_be_restored() {
    skip_unless!(Tool::Pg15);
    let server = PgServer::start(PgVersion::V15);
    let config = shop(&server);
    backup(&config);
    super::support::edit(&config, "[sources.\"pg\"]", "[sources.\"renamed\"]");
    let ran = try_restore(&config, "shop", &["--into", "copy"]).expect_code(2);
    assert_says(&ran.stderr, &["not configured", "postgresql://"]);
    restore(&config, "shop", &["--into", &super::support::url(&server, "postgres", "copy")]);
    assert_eq!(server.psql("copy", "SELECT count(*) FROM t"), "100");
}
