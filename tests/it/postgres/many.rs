//! Many databases, and the same data twice: what a run costs the repository.

use std::{fmt::Write, thread};

use testkit::{PgServer, PgVersion, Restic, Tool, skip_unless};

use super::support::{backup, builder, configured, edit, ready, restore, snapshots, try_backup, usage};

const DATABASES: usize = 200;

fn create_many(server: &PgServer) {
    // Two at a time: each copies a template, which must have no other connections.
    thread::scope(|scope| {
        for half in 0..2 {
            scope.spawn(move || {
                let mut sql = String::new();
                for i in (0..DATABASES).filter(|i| i % 2 == half) {
                    writeln!(sql, "CREATE DATABASE d{i:03} TEMPLATE template0;").unwrap();
                }
                server.psql("postgres", &sql);
                for i in (0..DATABASES).filter(|i| i % 40 == half) {
                    server.psql(&format!("d{i:03}"), &format!("CREATE TABLE t AS SELECT {i} AS x"));
                }
            });
        }
    });
}

#[test]
fn two_hundred_databases_make_few_files() {
    skip_unless!(Tool::Pg15);
    let server = PgServer::start(PgVersion::V15);
    create_many(&server);
    let config = ready(builder(&server, "").top("jobs = 2"));
    let report = backup(&config);
    let items = report["items"].as_array().unwrap();
    assert_eq!(items.len(), DATABASES + 1);
    assert!(items.iter().all(|i| i["outcome"] == "ok" && i["snapshot"].is_string()));
    let stored = |folder: &str| usage(&config.repo().join(folder));
    let files = stored("data").1 + stored("index").1;
    assert!(files < 60, "{files} files in data/ and index/");
    assert_eq!(snapshots(&config).len(), DATABASES + 1);
    let (first, _) = usage(&config.repo());

    edit(&config, "jobs = 2", "jobs = 4");
    let report = backup(&config);
    assert_eq!(report["items"].as_array().unwrap().len(), DATABASES + 1);
    let (second, _) = usage(&config.repo());
    assert!(second - first < first, "{} bytes for the first run, {} for the second", first, second - first);
    let more = stored("data").1 + stored("index").1 - files;
    assert!(more < 60, "{more} further files in data/ and index/");
    if let Some(restic) = Restic::new_() {
        restic.check(&config.repo(), &config.password_file(), true);
        assert_eq!(restic.snapshots_json(&config.repo(), &config.password_file()).len(), 2 * (DATABASES + 1));
    }
    restore(&config, "d040", &["--into", "again"]);
    assert_eq!(server.psql("again", "SELECT x FROM t"), "40");
}

#[test]
fn the_same_data_is_stored_once() {
    skip_unless!(Tool::Pg15);
    let server = PgServer::start(PgVersion::V15);
    server.create_database("twin_1");
    server.psql(
        "twin_1",
        "CREATE TABLE t AS SELECT i, encode(sha512(i::text::bytea), 'base64') AS a FROM generate_series(1, 220000) i",
    );
    server.psql("postgres", "CREATE DATABASE twin_2 TEMPLATE twin_1");
    let size = |config: &testkit::Config| usage(&config.repo().join("data")).0;

    let config = configured(&server, "globals = false");
    let first = try_backup(&config, &["pg/twin_1"]).ok().json();
    assert!(first["items"][0]["bytes_read"].as_u64().unwrap() > 20_000_000);
    let one = size(&config);
    assert!(one > 10_000_000, "random data does not compress away: {one}");
    let second = try_backup(&config, &["pg/twin_2"]).ok().json();
    let two = size(&config);
    // The chunk with the table of contents differs, and may have up to 8 MiB: half of all, and no less, is safe to say.
    assert!(two - one < one / 2, "{one} bytes for the first, {} for the second", two - one);
    assert!(second["items"][0]["bytes_added"].as_u64().unwrap() < one / 2);

    // Both in one run, streamed at the same time.
    let config = configured(&server, "globals = false");
    backup(&config);
    let both = size(&config);
    assert!(both < one + one / 2, "{one} bytes for one of them, {both} for both in one run");
}
