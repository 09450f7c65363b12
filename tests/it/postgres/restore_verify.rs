//! `restore --verify` reads everything back: what was counted may still be something else.

use testkit::{Cmd, PgServer, PgVersion, Tool, skip_unless};

use super::support::{SOURCE, assert_says, backup, client_dirs, configured, restore, try_restore, url};

/// The check on the second table changes rows of the first one, which are loaded by then.
const CHANGES_ANOTHER: &str = "
    CREATE TABLE first (x int); INSERT INTO first VALUES (1);
    CREATE FUNCTION touch(int) RETURNS boolean LANGUAGE plpgsql AS
        'BEGIN UPDATE public.first SET x = x + 1; RETURN true; END';
    CREATE TABLE second (y int CHECK (touch(y))); INSERT INTO second VALUES (1)";

fn a_changed_row_is_found(version: PgVersion) {
    let server = PgServer::start(version);
    server.create_database("shop");
    server.psql("shop", CHANGES_ANOTHER);
    let config = configured(&server, "");
    backup(&config);
    let counted =
        Cmd::with(&config).args(["restore", &format!("{SOURCE}/shop"), "--into", "counted"]).run().ok();
    assert_says(&counted.stdout, &["2 rows counted in 2 tables, as many as in the backup"]);
    let ran = try_restore(&config, "shop", &["--into", "compared", "--verify"]).expect_code(1);
    assert_says(
        &ran.stderr,
        &["differs from the backup", "table public.first: the content of its 1 row differs", "do not use it"],
    );
    assert!(!ran.stderr.contains("public.second"), "{}", ran.stderr);
}

fn a_faithful_restore_is_equal(version: PgVersion) {
    let server = PgServer::start(version);
    server.create_varied("original");
    let config = configured(&server, "");
    backup(&config);
    let what = format!("{SOURCE}/original");
    let ran = Cmd::with(&config).args(["restore", &what, "--into", "copy", "--verify"]).run().ok();
    assert_says(&ran.stdout, &["rows counted in", "contents compared and equal"]);
    let done =
        restore(&config, "original", &["--into", "of_nobody", "--no-owner", "--no-privileges", "--verify"]);
    assert_eq!(done["database"]["compared"], true, "{done:#}");
    let left = "SELECT count(*) FROM pg_database WHERE datname LIKE 'tik_backup%'";
    assert_eq!(server.psql("postgres", left), "0", "what was made for comparison is gone");
}

#[test]
fn a_row_that_changed_during_the_restore_is_found_on_15() {
    skip_unless!(Tool::Pg15);
    a_changed_row_is_found(PgVersion::V15);
}

#[test]
fn a_row_that_changed_during_the_restore_is_found_on_18() {
    skip_unless!(Tool::Pg18);
    a_changed_row_is_found(PgVersion::V18);
}

#[test]
fn everything_difficult_is_equal_on_15() {
    skip_unless!(Tool::Pg15);
    a_faithful_restore_is_equal(PgVersion::V15);
}

#[test]
fn everything_difficult_is_equal_on_18() {
    skip_unless!(Tool::Pg18);
    a_faithful_restore_is_equal(PgVersion::V18);
}

#[test]
fn a_newer_server_that_writes_definitions_otherwise_is_no_difference() {
    skip_unless!(Tool::Pg15, Tool::Pg18);
    let (server, newer) = (PgServer::start(PgVersion::V15), PgServer::start(PgVersion::V18));
    server.create_database("shop");
    server.psql(
        "shop",
        "CREATE TABLE orders (id serial PRIMARY KEY, state varchar NOT NULL CHECK (state IN ('new', 'old')));
         INSERT INTO orders (state) VALUES ('new'), ('old'); CREATE VIEW fresh AS SELECT * FROM orders WHERE state = 'new';
         CREATE TABLE parts (day date NOT NULL) PARTITION BY RANGE (day);
         CREATE TABLE parts_2026 PARTITION OF parts FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
         INSERT INTO parts VALUES ('2026-05-05')",
    );
    let config = configured(&server, &client_dirs(&PgVersion::ALL));
    backup(&config);
    let done = restore(&config, "shop", &["--into", &url(&newer, "postgres", "copy"), "--verify"]);
    assert_eq!(done["database"]["compared"], true, "{done:#}");
    let one = restore(
        &config,
        "shop",
        &["--into", &url(&newer, "postgres", "one"), "--table", "public.orders", "--verify"],
    );
    assert_eq!(one["database"]["rows"], 2, "{one:#}");
    assert_eq!(one["database"]["compared"], true);
}
