//! Clients and servers of different versions: the right client is chosen, and what cannot work is said beforehand.

use testkit::{
    Cmd, Config, PgServer, PgVersion, Tool,
    postgres::{assert_same_dump, dbname},
    process::run_ok,
    skip_unless,
};

use super::support::{
    SOURCE, assert_says, backup, client_dirs, configured, exists, item, manifest_of, restore, snapshots,
    try_restore, url,
};

/// Runs a backup that finds no clients but those that the configuration names.
fn backup_with_no_other_clients(config: &Config) -> testkit::Ran {
    let empty = tempfile::tempdir().unwrap();
    Cmd::with(config).args(["--json", "backup"]).env("PATH", empty.path()).run()
}

#[test]
fn the_client_of_the_servers_version_is_taken() {
    skip_unless!(Tool::Pg15, Tool::Pg18);
    for version in PgVersion::ALL {
        let server = PgServer::start(version);
        server.create_database("shop");
        for order in [[PgVersion::V15, PgVersion::V18], [PgVersion::V18, PgVersion::V15]] {
            let config = configured(&server, &client_dirs(&order));
            backup(&config);
            let manifest = manifest_of(&config, "shop", "latest");
            let tool = &manifest["tools"][0];
            let start = format!("{}.", version.major());
            assert_eq!(tool["name"], "pg_dump");
            assert!(tool["version"].as_str().unwrap().starts_with(&start), "{tool} for server {version:?}");
            assert!(manifest["server_version"].as_str().unwrap().starts_with(&start));
        }
    }
}

#[test]
fn a_server_newer_than_all_clients_is_refused_by_name_of_the_package() {
    skip_unless!(Tool::Pg15, Tool::Pg18);
    let server = PgServer::start(PgVersion::V18);
    server.create_database("shop");
    let config = configured(&server, &client_dirs(&[PgVersion::V15]));
    let ran = backup_with_no_other_clients(&config).expect_code(1);
    let report = ran.json();
    let error = report["items"][0]["error"].as_str().unwrap();
    assert_says(error, &["PostgreSQL 18", "postgresql-client-18", "pkgs.postgresql_18"]);
    assert!(snapshots(&config).is_empty());
    let discovered = Cmd::with(&config).args(["--json", "discover"]).run();
    assert_says(&discovered.expect_code(1).stdout, &["postgresql-client-18"]);
}

/// Some builds of the server note things in column options that a foreign `pg_dump` writes down and no server accepts.
#[test]
fn a_newer_client_makes_a_dump_that_can_be_loaded_or_none() {
    skip_unless!(Tool::Pg15, Tool::Pg18);
    let server = PgServer::start(PgVersion::V15);
    server.create_database("shop");
    server.psql("shop", "CREATE TABLE t (x int, y text); INSERT INTO t VALUES (1, 'one')");
    let config = configured(&server, &client_dirs(&[PgVersion::V18]));
    let mut newer = std::process::Command::new(PgVersion::V18.bin_dir().join("pg_dump"));
    newer
        .env("PGHOST", server.socket_dir())
        .env("PGPORT", server.port().to_string())
        .env("PGUSER", "postgres");
    let text = run_ok(newer.arg("-d").arg(dbname("shop")), b"");
    let poisoned = String::from_utf8_lossy(&text).contains("SET (pg_attver=");

    let ran = backup_with_no_other_clients(&config);
    if poisoned {
        let report = ran.expect_code(3).json();
        let failed = item(&report, "shop");
        assert_eq!(failed["outcome"], "failed");
        assert_says(failed["error"].as_str().unwrap(), &["cannot be restored", "postgresql-client-15"]);
        assert!(snapshots(&config).iter().all(|s| s["item"] != "shop"));
    } else {
        let report = ran.ok().json();
        assert_says(&item(&report, "shop")["notes"].to_string(), &["client of version 18"]);
    }
}

#[test]
fn a_dump_moves_to_a_newer_server_and_not_to_an_older_one() {
    skip_unless!(Tool::Pg15, Tool::Pg18);
    let (old, new) = (PgServer::start(PgVersion::V15), PgServer::start(PgVersion::V18));
    let both = client_dirs(&PgVersion::ALL);
    old.create_varied("moved");
    let config = configured(&old, &both);
    backup(&config);
    restore(&config, "moved", &["--into", &url(&new, "postgres", "moved")]);
    assert_eq!(old.row_counts("moved"), new.row_counts("moved"));
    let settings =
        "SELECT s FROM pg_db_role_setting JOIN pg_database d ON d.oid = setdatabase, unnest(setconfig) s
                    WHERE datname = 'moved' AND setrole = 0 ORDER BY s";
    assert_eq!(old.psql("postgres", settings), new.psql("postgres", settings));

    let config = configured(&new, &both);
    backup(&config);
    let ran = try_restore(&config, "moved", &["--into", &url(&old, "postgres", "back")]).expect_code(1);
    assert_says(&ran.stderr, &["18", "15", "older server"]);
    assert!(!exists(&old, "back"), "refused before anything was made");
    // Through the files and the new server's own tools it is still no lock-in.
    restore(&config, "moved", &["--into", "again"]);
    assert_same_dump(&new.dump_text("moved"), &new.dump_text("again"));
    assert_eq!(
        snapshots(&config).iter().filter(|s| s["source"] == SOURCE && s["item"] == "moved").count(),
        1
    );
}
