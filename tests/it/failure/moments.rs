//! Backups contain all rows although the application replaces its tables at the worst moment: after TRUNCATE, DROP with CREATE
//! and ALTER TABLE, an older snapshot shows an empty table.

use std::{
    fs,
    io::Write,
    process::{Child, Stdio},
    thread,
    time::Duration,
};

use rustix::process::Signal;
use serde_json::Value;
use testkit::{
    PgServer, PgVersion,
    postgres_world::{Setup, World, item},
    process::spawn_bound,
    stress,
};

/// Rows of the tables that are replaced.
const ROWS: u64 = 50;

/// A table as it is before, and as each statement of these tests leaves it.
const TABLE: &str = "CREATE TABLE prices AS SELECT i, 'price ' || i AS text FROM generate_series(1, 50) i; \
                     CREATE INDEX by_i ON prices (i); CREATE MATERIALIZED VIEW dear AS SELECT * FROM prices WHERE i > 40";
const RELOAD: &str = "BEGIN; TRUNCATE prices; INSERT INTO prices SELECT i, 'price ' || i FROM generate_series(1, 50) i; COMMIT";

/// Lets `sql` run beside the dumps of a database, each before `pg_dump` begins, for the first `times` of them.
fn before_dumps(world: &World, database: &str, times: u32, sql: &str) {
    let count = world.clients.path().join(format!("{database}.count"));
    let psql = PgVersion::V15.bin_dir().join("psql");
    world.clients.script(
        database,
        &format!(
            "n=$(($(cat '{count}' 2>/dev/null || echo 0) + 1)); echo $n >'{count}'
             if [ $n -le {times} ]; then
                 PGHOST='{host}' PGPORT={port} PGUSER=postgres PGOPTIONS='-c lock_timeout=2s' '{psql}' -Xq -d \"$database\" \
                     -v ON_ERROR_STOP=1 -c \"{sql}\" >/dev/null 2>&1
             fi
             dump \"$@\"",
            count = count.display(),
            host = world.server.socket_dir().display(),
            port = world.server.port(),
            psql = psql.display()
        ),
    );
}

/// How often a database was dumped.
fn dumps(world: &World, database: &str) -> u32 {
    let count = fs::read_to_string(world.clients.path().join(format!("{database}.count"))).unwrap();
    count.trim().parse().unwrap()
}

/// The manifest of the snapshot that a backup of a database makes.
#[track_caller]
fn backed_up(world: &World, database: &str) -> Value {
    let report = world.backup(&[&format!("pg/{database}")]).ok().json();
    let id = item(&report, "pg", database)["snapshot"].as_str().unwrap();
    let manifest = world.restic(&["--no-lock", "dump", id, &format!("/pg/{database}/manifest.json")]);
    serde_json::from_slice(&manifest).unwrap()
}

/// Rows of a table in a manifest.
#[track_caller]
fn rows(manifest: &Value, table: &str) -> u64 {
    let objects = manifest["objects"].as_array().unwrap();
    let found = objects.iter().find(|object| object["name"] == table);
    found.unwrap_or_else(|| panic!("no {table} in {objects:#?}"))["rows"].as_u64().unwrap()
}

fn world(databases: &[&str]) -> Option<World> {
    let world = World::with_repository(databases, Setup::default())?;
    for database in databases {
        world.server.psql(database, TABLE);
    }
    Some(world)
}

#[test]
fn tables_that_were_replaced_before_they_were_locked_are_read_again() {
    let databases = ["truncated", "recreated", "swapped", "rewritten", "column", "schema", "gone"];
    let Some(world) = world(&databases) else { return };
    for (database, sql) in [
        ("truncated", RELOAD),
        (
            "recreated",
            "BEGIN; ALTER TABLE prices RENAME TO old; CREATE TABLE prices AS TABLE old; DROP TABLE old CASCADE; COMMIT",
        ),
        // The old table stays, under another name.
        (
            "swapped",
            "BEGIN; CREATE TABLE new AS TABLE prices; ALTER TABLE prices RENAME TO old_$n; ALTER TABLE new RENAME TO prices; COMMIT",
        ),
        ("rewritten", "ALTER TABLE prices ALTER i TYPE bigint, ALTER text TYPE varchar(90)"),
        // No table is rewritten, but an older snapshot still shows the column without its data.
        (
            "column",
            "ALTER TABLE prices ADD COLUMN other text DEFAULT 'x'; ALTER TABLE prices DROP COLUMN text; \
             ALTER TABLE prices RENAME other TO text",
        ),
        (
            "schema",
            "BEGIN; CREATE SCHEMA next; CREATE TABLE next.prices AS TABLE prices; ALTER SCHEMA public RENAME TO old_$n; \
             ALTER SCHEMA next RENAME TO public; COMMIT",
        ),
    ] {
        if ["rewritten", "column"].contains(&database) {
            world.server.psql(database, "DROP MATERIALIZED VIEW dear");
        }
        before_dumps(&world, database, 2, sql);
        let manifest = backed_up(&world, database);
        assert_eq!(rows(&manifest, "prices"), ROWS, "{database}");
        assert_eq!(manifest["consistency"], "serializable", "{database}");
        let expected = if database == "rewritten" { 2 } else { 3 };
        assert_eq!(dumps(&world, database), expected, "{database}: the second ALTER TABLE changes nothing");
    }
    before_dumps(&world, "gone", 1, "DROP TABLE prices CASCADE");
    let manifest = backed_up(&world, "gone");
    assert!(manifest["objects"].as_array().unwrap().iter().all(|object| object["name"] != "prices"));
    world.clean();
}

#[test]
fn a_table_that_is_replaced_each_time_is_locked_first() {
    let Some(world) = world(&["busy"]) else { return };
    before_dumps(&world, "busy", u32::MAX, RELOAD);
    assert_eq!(rows(&backed_up(&world, "busy"), "prices"), ROWS);
    assert_eq!(dumps(&world, "busy"), 4, "three without locks, and one with them");
}

#[test]
fn tables_that_are_written_anew_with_all_their_rows_are_backed_up() {
    let Some(world) = world(&["clustered", "vacuumed", "refreshed"]) else { return };
    for (database, sql) in [
        ("clustered", "CLUSTER prices USING by_i"),
        ("vacuumed", "VACUUM FULL prices"),
        ("refreshed", "REFRESH MATERIALIZED VIEW dear"),
    ] {
        before_dumps(&world, database, u32::MAX, sql);
        assert_eq!(rows(&backed_up(&world, database), "prices"), ROWS, "{database}");
    }
    assert_eq!(dumps(&world, "refreshed"), 1, "views hold no rows of their own");
    world.clean();
}

#[test]
fn waiting_for_a_safe_snapshot_loses_nothing() {
    let Some(world) = world(&["shop"]) else { return };
    world.server.psql("shop", "CREATE TABLE w (a int)");
    let mut writer = script(
        &world.server,
        "shop",
        "BEGIN ISOLATION LEVEL SERIALIZABLE; INSERT INTO w VALUES (1); SELECT count(*) FROM w; SELECT pg_sleep(5); COMMIT;",
    );
    thread::sleep(Duration::from_secs(1));
    let backup = thread::scope(|scope| {
        let backup = scope.spawn(|| backed_up(&world, "shop"));
        thread::sleep(Duration::from_secs(2));
        world.server.psql("shop", RELOAD);
        backup.join().unwrap()
    });
    assert!(writer.wait().unwrap().success());
    assert_eq!(backup["consistency"], "serializable");
    assert_eq!(rows(&backup, "prices"), ROWS);
    assert_eq!(rows(&backup, "w"), 1);
}

/// A psql that runs a script.
fn script(server: &PgServer, database: &str, sql: &str) -> Child {
    let mut command = server.client("psql");
    command.args(["-Xq", "-v", "ON_ERROR_STOP=1", "-d", database]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = spawn_bound(command, Signal::KILL).unwrap();
    let mut input = child.stdin.take().unwrap();
    let sql = sql.to_owned();
    // It ends with psql, which may be stopped before it has read everything.
    thread::spawn(move || drop(input.write_all(sql.as_bytes())));
    child
}

#[test]
fn no_backup_beside_a_writer_that_replaces_everything_is_empty_and_none_fails() {
    let Some(world) = world(&["shop"]) else { return };
    world.server.psql(
        "shop",
        "DROP MATERIALIZED VIEW dear; CREATE TABLE made AS TABLE prices; CREATE TABLE typed AS TABLE prices",
    );
    let round = format!(
        "{RELOAD}; SELECT pg_sleep(0.02);
         BEGIN; DROP TABLE made; CREATE TABLE made AS TABLE prices; COMMIT; SELECT pg_sleep(0.02);
         ALTER TABLE typed ALTER i TYPE bigint; SELECT pg_sleep(0.02); ALTER TABLE typed ALTER i TYPE int; SELECT pg_sleep(0.24);\n"
    );
    let backups = if stress() { 200 } else { 8 };
    // A round takes a third of a second: this lasts longer than the backups.
    let mut writer = script(&world.server, "shop", &round.repeat(60 * backups));
    for backup in 1..=backups {
        let manifest = backed_up(&world, "shop");
        for table in ["prices", "made", "typed"] {
            assert_eq!(rows(&manifest, table), ROWS, "{table} of backup {backup}");
        }
    }
    assert!(writer.try_wait().unwrap().is_none(), "the writer wrote all the time");
    writer.kill().unwrap();
    writer.wait().unwrap();
    world.clean();
}
