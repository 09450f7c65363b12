//! `restore --continue`: everything that can be restored is, and what is missing is listed with its statement.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use serde_json::Value;
use testkit::{PgServer, PgVersion, Tool, skip_unless};

use super::support::{assert_says, backup, client_dirs, configured, restore, try_restore, url};

/// A check that reads another table, whose rows come later in the dump, and names it without its schema.
const CHECKED: &str = "
    CREATE TABLE limits (m int); INSERT INTO limits VALUES (10);
    CREATE FUNCTION within(int) RETURNS boolean LANGUAGE plpgsql AS
        'BEGIN RETURN $1 <= coalesce((SELECT max(m) FROM limits), 0); END';
    CREATE TABLE checked (x int CHECK (within(x))); INSERT INTO checked VALUES (3), (4);
    CREATE TABLE last (one int PRIMARY KEY); INSERT INTO last SELECT generate_series(1, 100)";

/// An index and a materialized view over a function that names another one without its schema. Since version 17 servers
/// make neither.
const UNQUALIFIED: &str = "
    CREATE FUNCTION plus_one(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 1';
    CREATE FUNCTION unqualified(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT plus_one($1)';
    CREATE INDEX by_function ON last (unqualified(one));
    CREATE MATERIALIZED VIEW filled AS SELECT unqualified(one) AS two FROM last";

fn what_failed_is_tried_again(version: PgVersion) {
    let server = PgServer::start(version);
    server.create_database("shop");
    server.psql("shop", CHECKED);
    if version == PgVersion::V15 {
        server.psql("shop", UNQUALIFIED);
    }
    let config = configured(&server, "");
    backup(&config);
    let ran = try_restore(&config, "shop", &["--into", "strict"]).expect_code(1);
    assert_says(
        &ran.stderr,
        &["checked", "--continue", "strict was created by this restore and is incomplete"],
    );

    let done = restore(&config, "shop", &["--into", "copy", "--continue"]);
    assert_eq!(done["database"].get("missing"), None, "{done:#}");
    assert_eq!(server.row_counts("copy"), server.row_counts("shop"));
    assert_eq!(server.dump_text("copy"), server.dump_text("shop"));
}

#[test]
fn what_failed_is_tried_again_with_a_usual_search_path_on_15() {
    skip_unless!(Tool::Pg15);
    what_failed_is_tried_again(PgVersion::V15);
}

#[test]
fn what_failed_is_tried_again_with_a_usual_search_path_on_18() {
    skip_unless!(Tool::Pg18);
    what_failed_is_tried_again(PgVersion::V18);
}

fn missing<'a>(done: &'a Value, kind: &str, name: &str) -> Option<&'a Value> {
    let missing = done["database"]["missing"].as_array().expect("a list of what is missing");
    missing.iter().find(|entry| entry["type"] == kind && entry["name"] == name)
}

/// The file with the statements, which must be private.
fn statements(done: &Value) -> String {
    let path = Path::new(done["database"]["missing_file"].as_str().expect("a file"));
    assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(path.file_name().unwrap().to_str().unwrap().starts_with("tik-backup-missing-copy-"), "{path:?}");
    fs::read_to_string(path).unwrap()
}

#[test]
fn what_a_newer_server_refuses_is_listed_with_its_statement() {
    skip_unless!(Tool::Pg15, Tool::Pg18);
    let (server, newer) = (PgServer::start(PgVersion::V15), PgServer::start(PgVersion::V18));
    server.create_database("shop");
    server.psql("shop", CHECKED);
    server.psql("shop", UNQUALIFIED);
    // Version 17 no longer has it.
    server.psql(
        "shop",
        "CREATE EXTENSION old_snapshot; CREATE VIEW on_extension AS SELECT * FROM pg_old_snapshot_time_mapping()",
    );
    let config = configured(&server, &client_dirs(&PgVersion::ALL));
    backup(&config);
    let into = url(&newer, "postgres", "copy");
    let ran = try_restore(&config, "shop", &["--into", &into, "--continue"]).expect_code(3);
    let done = ran.json();
    let text = statements(&done);
    assert!(missing(&done, "INDEX", "by_function").is_some(), "{done:#}");
    assert_says(&text, &["CREATE INDEX by_function ON public.last", "INDEX public.by_function"]);
    for (kind, name) in
        [("EXTENSION", "old_snapshot"), ("VIEW", "on_extension"), ("MATERIALIZED VIEW DATA", "filled")]
    {
        let entry = missing(&done, kind, name).unwrap_or_else(|| panic!("no {kind} {name} in {done:#}"));
        assert!(!entry["reason"].as_str().unwrap().is_empty());
    }
    // One unknown extension's comment is no reason to end.
    assert!(missing(&done, "COMMENT", "EXTENSION old_snapshot").is_some(), "{done:#}");
    assert_says(&text, &["CREATE EXTENSION IF NOT EXISTS old_snapshot", "CREATE VIEW public.on_extension"]);
    // All else is there, and only that is counted.
    assert_eq!(newer.psql("copy", "SELECT count(*) FROM last"), "100");
    assert_eq!(newer.psql("copy", "SELECT sum(x) FROM checked"), "7");
    assert_eq!(newer.psql("copy", "SELECT count(*) FROM pg_constraint WHERE conname = 'last_pkey'"), "1");
    assert_eq!(done["database"]["rows"], 103);
    assert_eq!(done["database"]["tables"], 3);
}

#[test]
fn statements_with_passwords_stand_in_the_private_file_alone() {
    skip_unless!(Tool::Pg15);
    let (server, other) = (PgServer::start(PgVersion::V15), PgServer::start(PgVersion::V15));
    server.create_database("shop");
    server.psql(
        "shop",
        "CREATE ROLE gone; CREATE TABLE t AS SELECT 1 AS x; CREATE FOREIGN DATA WRAPPER w;
         CREATE SERVER s FOREIGN DATA WRAPPER w;
         CREATE USER MAPPING FOR gone SERVER s OPTIONS (password 'hunter2')",
    );
    let config = configured(&server, "");
    backup(&config);
    let into = url(&other, "postgres", "copy");
    let options = ["--into", &into, "--no-roles", "--continue"];
    let ran = try_restore(&config, "shop", &options).expect_code(3);
    assert!(
        !ran.stdout.contains("hunter2") && !ran.stderr.contains("hunter2"),
        "{}{}",
        ran.stdout,
        ran.stderr
    );
    let done = ran.json();
    let mapping = missing(&done, "USER MAPPING", "USER MAPPING gone SERVER s").expect("the user mapping");
    assert_eq!(mapping.get("reason"), None);
    assert_says(&statements(&done), &["CREATE USER MAPPING FOR gone SERVER s", "password 'hunter2'"]);
    assert_eq!(other.psql("copy", "SELECT count(*) FROM t"), "1");
}
