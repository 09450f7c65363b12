//! Restoring with an account that is no superuser, as on managed servers.

use testkit::{
    Config, PgServer, PgVersion, Tool,
    extension::{create_test_extension, install_test_extension},
    skip_unless,
};

use super::support::{assert_says, backup, configured, exists, restore, rows, try_restore, url};

fn ground() -> (PgServer, Config) {
    let server = PgServer::start(PgVersion::V15);
    server
        .psql("postgres", "CREATE ROLE restorer LOGIN CREATEDB; CREATE ROLE shop_owner; CREATE ROLE reader");
    let config = configured(&server, "");
    (server, config)
}

#[test]
fn what_the_account_cannot_do_is_said_before_anything_is_done() {
    skip_unless!(Tool::Pg15);
    let (server, config) = ground();
    server.create_database("shop");
    server.psql(
        "shop",
        "CREATE TABLE t AS SELECT i FROM generate_series(1, 10) i; ALTER TABLE t OWNER TO shop_owner;
         GRANT SELECT ON t TO reader",
    );
    backup(&config);
    let into = |database: &str| url(&server, "restorer", database);
    // Owners that the account may not act for.
    let ran = try_restore(&config, "shop", &["--into", &into("a")]).expect_code(1);
    assert_says(&ran.stderr, &["restorer may not set the owner to the role", "--no-owner"]);
    assert!(!exists(&server, "a"));
    restore(&config, "shop", &["--into", &into("a"), "--no-owner", "--no-privileges"]);
    assert_eq!(server.psql("a", "SELECT tableowner FROM pg_tables WHERE tablename = 't'"), "restorer");
    assert_eq!(server.psql("a", "SELECT has_table_privilege('reader', 't', 'SELECT')"), "f");
    assert_eq!(
        server.psql("a", "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'a'"),
        "restorer"
    );
    restore(&config, "shop", &["--into", &into("b"), "--no-owner"]);
    assert_eq!(server.psql("b", "SELECT has_table_privilege('reader', 't', 'SELECT')"), "t");

    // Roles that the other server lacks.
    let other = PgServer::start(PgVersion::V15);
    other.psql("postgres", "CREATE ROLE restorer LOGIN CREATEDB");
    let there = url(&other, "restorer", "shop");
    let ran = try_restore(&config, "shop", &["--into", &there]).expect_code(1);
    assert_says(
        &ran.stderr,
        &["roles are missing", "shop_owner", "reader", "--no-owner and --no-privileges"],
    );
    assert!(!exists(&other, "shop"));
    restore(&config, "shop", &["--into", &there, "--no-owner", "--no-privileges"]);
    assert_eq!(rows(&other, "shop", "public", "t"), "10");
    assert_eq!(other.psql("postgres", "SELECT count(*) FROM pg_roles WHERE rolname = 'shop_owner'"), "0");
    let by_superuser = url(&other, "postgres", "again");
    let ran = try_restore(&config, "shop", &["--into", &by_superuser, "--no-roles"]).expect_code(1);
    assert_says(&ran.stderr, &["shop_owner does not exist on the target"]);
    assert!(!exists(&other, "again"));
    restore(&config, "shop", &["--into", &by_superuser]);
    assert_eq!(other.psql("again", "SELECT tableowner FROM pg_tables WHERE tablename = 't'"), "shop_owner");
}

#[test]
fn what_only_a_superuser_can_restore_is_named_or_left_out() {
    skip_unless!(Tool::Pg15);
    let (server, config) = ground();
    server.create_varied("original");
    if install_test_extension(&server) {
        create_test_extension(&server, "original");
    }
    // Further things only a superuser may make, and things that hang on them.
    server.psql(
        "original",
        "CREATE TEXT SEARCH TEMPLATE logic.own_template (lexize = dsimple_lexize);
         CREATE TEXT SEARCH DICTIONARY logic.on_it (TEMPLATE = logic.own_template);
         CREATE FUNCTION logic.sealed(int) RETURNS boolean LANGUAGE sql IMMUTABLE LEAKPROOF AS 'SELECT $1 > 0';
         CREATE VIEW logic.on_sealed AS SELECT logic.sealed(1) AS x;
         COMMENT ON VIEW logic.on_sealed IS 'goes with it'",
    );
    backup(&config);
    let into = url(&server, "restorer", "copy");
    let options = ["--into", &into, "--no-owner", "--no-privileges"];
    let ran = try_restore(&config, "original", &options).expect_code(1);
    let named = [
        "EVENT TRIGGER forbid new tables",
        "EXTENSION postgres_fdw",
        "PUBLICATION all of it",
        "--skip-superuser-objects",
    ];
    assert_says(&ran.stderr, &named);
    assert_says(&ran.stderr, &["restorer is no superuser", "nothing was changed"]);
    assert!(!exists(&server, "copy"));

    let all: Vec<&str> = options.into_iter().chain(["--skip-superuser-objects"]).collect();
    let ran = try_restore(&config, "original", &all).ok();
    assert_says(
        &ran.stderr,
        &[
            "left out",
            "EVENT TRIGGER forbid new tables",
            "SERVER elsewhere",
            "FOREIGN TABLE public.remote",
            "USER MAPPING tik_app SERVER elsewhere",
        ],
    );
    let notes = ran.json()["database"]["notes"].to_string();
    assert_says(&notes, &["not compared", "secrets"]);
    let mut expected = server.row_counts("original");
    expected.retain(|table, _| !table.starts_with("tik_test_settings."));
    assert_eq!(server.row_counts("copy"), expected, "all but what belongs to an extension that was left out");
    assert_eq!(server.psql("copy", "SELECT count(*) FROM pg_event_trigger"), "0");
    assert_eq!(server.psql("copy", "SELECT count(*) FROM pg_foreign_server"), "0");
    let sequences = "SELECT json_object_agg(schemaname || '.' || sequencename, last_value) FROM
                     (SELECT * FROM pg_sequences WHERE schemaname <> 'tik_test_settings' ORDER BY 1, 2) s";
    assert_eq!(server.psql("copy", sequences), server.psql("original", sequences));
    let large_objects = "SELECT count(*), sum(length(lo_get(oid))) FROM pg_largeobject_metadata";
    assert_eq!(server.psql("copy", large_objects), server.psql("original", large_objects));
}
