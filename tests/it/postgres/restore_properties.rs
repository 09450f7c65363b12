//! What belongs to a database besides its content comes back as it was, or is said not to.

use std::fs;

use testkit::{PgServer, PgVersion, Tool, process::run_ok, skip_unless};

use super::support::{
    assert_says, backup, client_dirs, configured, exists, manifest_of, restore, try_restore, url,
};

#[test]
fn a_setting_that_the_target_does_not_know_loses_nothing_else() {
    skip_unless!(Tool::Pg15, Tool::Pg18);
    let (server, newer) = (PgServer::start(PgVersion::V15), PgServer::start(PgVersion::V18));
    server.create_database("shop");
    server.psql(
        "shop",
        "CREATE ROLE reader; CREATE TABLE t AS SELECT 1 AS x;
         ALTER DATABASE shop SET force_parallel_mode = on; ALTER DATABASE shop SET work_mem = '8MB';
         REVOKE CONNECT ON DATABASE shop FROM PUBLIC; GRANT CONNECT, CREATE ON DATABASE shop TO reader",
    );
    let config = configured(&server, &client_dirs(&PgVersion::ALL));
    backup(&config);
    let done = restore(&config, "shop", &["--into", &url(&newer, "postgres", "copy")]);
    assert_says(&done["database"]["notes"].to_string(), &["force_parallel_mode", "42704"]);
    let settings = "SELECT setconfig FROM pg_db_role_setting s JOIN pg_database d ON d.oid = setdatabase
                    WHERE datname = 'copy'";
    assert_eq!(newer.psql("postgres", settings), "{work_mem=8MB}");
    let may =
        "SELECT has_database_privilege('reader', 'copy', 'CREATE'), (SELECT count(*) FROM pg_database d,
               aclexplode(datacl) WHERE datname = 'copy' AND grantee = 0 AND privilege_type = 'CONNECT')";
    assert_eq!(newer.psql("postgres", may), "t|0");
}

fn memberships_come_back(version: PgVersion) {
    let (server, other) = (PgServer::start(version), PgServer::start(version));
    let (grant, columns) = match version {
        PgVersion::V15 => ("WITH ADMIN OPTION", "admin_option"),
        PgVersion::V18 => {
            ("WITH ADMIN TRUE, INHERIT FALSE, SET FALSE", "admin_option, inherit_option, set_option")
        }
    };
    server.create_database("shop");
    server.psql(
        "shop",
        &format!(
            "CREATE ROLE staff; CREATE ROLE app; CREATE ROLE plain; GRANT staff TO app {grant}; GRANT staff TO plain;
             CREATE TABLE t (x int); ALTER TABLE t OWNER TO app; GRANT SELECT ON t TO staff, plain"
        ),
    );
    let config = configured(&server, "");
    backup(&config);
    restore(&config, "shop", &["--into", &url(&other, "postgres", "shop")]);
    let members = format!(
        "SELECT member::regrole, {columns} FROM pg_auth_members WHERE roleid = 'staff'::regrole ORDER BY 1"
    );
    assert_eq!(other.psql("shop", &members), server.psql("shop", &members));
    assert_eq!(
        other.psql("shop", "SELECT count(*) FROM pg_auth_members WHERE roleid = 'staff'::regrole"),
        "2"
    );
}

#[test]
fn memberships_come_back_with_their_options_on_15() {
    skip_unless!(Tool::Pg15);
    memberships_come_back(PgVersion::V15);
}

#[test]
fn memberships_come_back_with_their_options_on_18() {
    skip_unless!(Tool::Pg18);
    memberships_come_back(PgVersion::V18);
}

#[test]
fn a_database_lies_in_its_tablespace_again_or_that_is_said() {
    skip_unless!(Tool::Pg15);
    let (server, other) = (PgServer::start(PgVersion::V15), PgServer::start(PgVersion::V15));
    server.psql("postgres", "SET allow_in_place_tablespaces = on; CREATE TABLESPACE fast LOCATION ''");
    server.psql("postgres", "CREATE DATABASE shop TEMPLATE template0 TABLESPACE fast");
    server.psql("shop", "CREATE TABLE t AS SELECT 1 AS x");
    let config = configured(&server, "");
    backup(&config);
    let manifest = manifest_of(&config, "shop", "latest");
    assert_eq!(manifest["postgres"]["database"]["tablespace"], "fast");
    let space = |server: &PgServer, database: &str| {
        let of = "SELECT spcname FROM pg_tablespace s JOIN pg_database d ON s.oid = dattablespace WHERE datname = ";
        server.psql("postgres", &format!("{of}'{database}'"))
    };
    restore(&config, "shop", &["--into", "copy"]);
    assert_eq!(space(&server, "copy"), "fast");
    restore(&config, "shop", &["--into", "plain", "--no-tablespaces"]);
    assert_eq!(space(&server, "plain"), "pg_default");

    let done = restore(&config, "shop", &["--into", &url(&other, "postgres", "shop")]);
    assert_says(&done["database"]["notes"].to_string(), &["default tablespace", "fast", "does not have it"]);
    assert_eq!(space(&other, "shop"), "pg_default");
}

#[test]
fn a_target_that_takes_no_changes_is_named_before_anything_is_tried() {
    skip_unless!(Tool::Pg15);
    let (server, mut other) = (PgServer::start(PgVersion::V15), PgServer::start(PgVersion::V15));
    server.create_database("shop");
    server.psql("shop", "CREATE ROLE only_here; CREATE TABLE t (x int); ALTER TABLE t OWNER TO only_here");
    let config = configured(&server, "");
    backup(&config);
    other.psql(
        "postgres",
        "CREATE ROLE reads SUPERUSER LOGIN; ALTER ROLE reads SET default_transaction_read_only = on",
    );
    let ran = try_restore(&config, "shop", &["--into", &url(&other, "reads", "copy")]).expect_code(1);
    assert_says(&ran.stderr, &["read-only", "default_transaction_read_only"]);
    assert!(!exists(&other, "copy"));
    assert_eq!(other.psql("postgres", "SELECT count(*) FROM pg_roles WHERE rolname = 'only_here'"), "0");

    other.stop();
    fs::write(other.data_dir().join("standby.signal"), "").unwrap();
    other.restart();
    let ran = try_restore(&config, "shop", &["--into", &url(&other, "postgres", "copy")]).expect_code(1);
    assert_says(&ran.stderr, &["is a standby", "primary"]);
}

#[test]
fn what_a_subscription_needs_is_said_before_it_is_restored() {
    skip_unless!(Tool::Pg15);
    let server = PgServer::start(PgVersion::V15);
    server.create_database("shop");
    server.psql(
        "shop",
        "CREATE ROLE keeper; CREATE TABLE t (x int); ALTER TABLE t OWNER TO keeper;
         CREATE SUBSCRIPTION feed CONNECTION 'host=/nonexistent dbname=x password=hunter2' PUBLICATION p
             WITH (connect = false)",
    );
    let config = configured(&server, "");
    backup(&config);
    let ran = try_restore(&config, "shop", &["--into", "copy"]).ok();
    assert_says(&ran.stderr, &["the subscription feed comes back disabled", "ENABLE"]);
    assert!(!ran.stderr.contains("hunter2") && !ran.stdout.contains("hunter2"));
    // Other owners make other definitions: these are loaded once more. That database is dropped although it has a
    // subscription too.
    restore(&config, "shop", &["--into", "verified", "--no-owner", "--verify"]);
    let left = "SELECT count(*) FROM pg_database WHERE datname LIKE 'tik_backup%'";
    assert_eq!(server.psql("postgres", left), "0");
}

/// Sessions of a restore must not fire what the dump brings.
#[test]
fn a_login_trigger_does_not_change_what_is_restored() {
    skip_unless!(Tool::Pg18);
    let server = PgServer::start(PgVersion::V18);
    server.create_database("shop");
    server.psql(
        "shop",
        "CREATE TABLE logins (at timestamptz); INSERT INTO logins VALUES (now()), (now());
         CREATE FUNCTION note_login() RETURNS event_trigger LANGUAGE plpgsql AS
             'BEGIN INSERT INTO public.logins VALUES (now()); END';
         CREATE EVENT TRIGGER at_login ON login EXECUTE FUNCTION note_login()",
    );
    let config = configured(&server, "");
    backup(&config);
    let manifest = manifest_of(&config, "shop", "latest");
    let rows = manifest["objects"][0]["rows"].as_u64().unwrap();
    let done = restore(&config, "shop", &["--into", "copy", "--verify"]);
    assert_eq!(done["database"]["rows"], rows);
    assert_eq!(done["database"]["compared"], true);
    let mut psql = server.client("psql");
    psql.env("PGOPTIONS", "-c event_triggers=off").args(["-XAtqc", "SELECT count(*) FROM logins", "copy"]);
    let counted = String::from_utf8(run_ok(&mut psql, b"")).unwrap();
    assert_eq!(counted.trim(), rows.to_string());
    assert_eq!(server.psql("copy", "SELECT count(*) FROM pg_event_trigger"), "1", "it is there");
}
