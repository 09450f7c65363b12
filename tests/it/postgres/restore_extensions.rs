//! Restoring as an ordinary owner into a database in which an administrator has created the extensions.

use testkit::{
    PgServer, PgVersion, Tool,
    extension::{create_test_extension, install_test_extension},
    skip_unless,
};

use super::support::{assert_says, backup, configured, restore, try_restore, url};

#[test]
fn extensions_made_beforehand_are_no_content_and_what_uses_them_is_restored() {
    skip_unless!(Tool::Pg15);
    let server = PgServer::start(PgVersion::V15);
    server.psql("postgres", "CREATE ROLE restorer LOGIN CREATEDB");
    server.create_database("shop");
    server.psql(
        "shop",
        "CREATE EXTENSION dblink; CREATE TABLE t (k dblink_pkey_results);
         INSERT INTO t VALUES (ROW(1, 'a')), (ROW(2, 'b'))",
    );
    let config = configured(&server, "");
    backup(&config);
    let options =
        |into: &str| [url(&server, "restorer", into), "--no-owner".into(), "--no-privileges".into()];
    let run = |into: &str| {
        let [url, owner, privileges] = options(into);
        try_restore(&config, "shop", &["--into", &url, &owner, &privileges])
    };
    // Without the extension it takes a superuser to make it.
    let ran = run("bare").expect_code(1);
    assert_says(&ran.stderr, &["EXTENSION dblink", "nothing was changed", "beforehand"]);

    server.psql("postgres", "CREATE DATABASE managed OWNER restorer TEMPLATE template0");
    server.psql("managed", "CREATE EXTENSION dblink");
    let done = run("managed").ok().json();
    assert_says(&done["database"]["notes"].to_string(), &["stay as they are: dblink"]);
    assert_eq!(server.psql("managed", "SELECT (k).colname FROM t ORDER BY 1"), "a\nb");
    assert_eq!(done["database"]["rows"], 2);
}

#[test]
fn of_an_extensions_own_tables_only_the_rows_that_were_dumped_count() {
    skip_unless!(Tool::Pg15);
    let server = PgServer::start(PgVersion::V15);
    if !install_test_extension(&server) {
        return;
    }
    server.psql("postgres", "CREATE ROLE restorer LOGIN CREATEDB");
    server.create_database("shop");
    server.psql("shop", "CREATE TABLE t AS SELECT 1 AS x");
    create_test_extension(&server, "shop");
    let config = configured(&server, "");
    backup(&config);
    // One row of `t`, two and three of the extension's; the one it ships is not in the dump.
    let done = restore(&config, "shop", &["--into", "copy"]);
    assert_eq!(done["database"]["rows"], 6, "{done:#}");
    assert_eq!(done["database"]["tables"], 3, "{done:#}");
    assert_eq!(server.psql("copy", "SELECT count(*) FROM tik_test_settings.entry"), "3");

    server.psql("postgres", "CREATE DATABASE managed OWNER restorer TEMPLATE template0");
    server.psql("managed", "CREATE SCHEMA tik_test_settings; CREATE EXTENSION tik_test_settings");
    let into = url(&server, "restorer", "managed");
    let options = ["--into", &into, "--no-owner", "--no-privileges"];
    // Rows that this account may not write are not left out silently.
    let ran = try_restore(&config, "shop", &options).expect_code(1);
    assert_says(&ran.stderr, &["TABLE DATA tik_test_settings.entry", "nothing was changed"]);
    assert_eq!(server.psql("managed", "SELECT to_regclass('public.t') IS NULL"), "t");
    server.psql(
        "managed",
        "GRANT USAGE ON SCHEMA tik_test_settings TO restorer;
         GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA tik_test_settings TO restorer;
         GRANT SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA tik_test_settings TO restorer",
    );
    let done = try_restore(&config, "shop", &options).ok().json();
    assert_eq!(done["database"]["rows"], 6, "{done:#}");
    assert_eq!(done["database"]["tables"], 3, "{done:#}");
    assert_says(&done["database"]["notes"].to_string(), &["schemas that the database has already"]);
    assert_eq!(server.psql("managed", "SELECT count(*) FROM tik_test_settings.entry"), "3");
    assert_eq!(server.psql("managed", "SELECT tableowner FROM pg_tables WHERE tablename = 't'"), "restorer");
}
