//! A database with every difficult case is restored unchanged, on the same server and on another one.

use std::collections::BTreeMap;

use serde_json::Value;
use testkit::{
    PgServer, PgVersion,
    extension::{create_test_extension, install_test_extension},
    postgres::{assert_same_dump, quote},
    skip_unless,
};

use super::support::{backup, configured, item, manifest_of, properties, restore, url};

/// The original, with properties of the database itself that are easily lost.
fn create_original(server: &PgServer) {
    server.create_varied("original");
    if install_test_extension(server) {
        create_test_extension(server, "original");
    }
    server.psql(
        "postgres",
        r#"ALTER DATABASE original OWNER TO tik_owner;
           ALTER DATABASE original CONNECTION LIMIT 42;
           REVOKE TEMPORARY ON DATABASE original FROM tik_owner;
           ALTER DATABASE original SET search_path = "$user", "Odd ""schema""/ü", public;
           ALTER ROLE tik_app IN DATABASE original SET search_path = '';
           ALTER ROLE "tik/Größe 🐘" IN DATABASE original SET DateStyle = 'German, DMY';
           ALTER DATABASE original SET "some.setting" = 'of an extension, not loaded';"#,
    );
}

/// The manifest's rows of every table are those the server counts.
fn assert_counts(server: &PgServer, manifest: &Value) {
    let tables = server.psql(
        "original",
        "SELECT json_agg(json_build_array(n.nspname, c.relname)) FROM pg_class c
         JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND n.nspname !~ '^pg_'
         AND n.nspname NOT IN ('information_schema', 'tik_test_settings')",
    );
    let tables: Vec<(String, String)> = serde_json::from_str(&tables).unwrap();
    let counts: Vec<_> = tables
        .iter()
        .map(|(schema, name)| format!("(SELECT count(*) FROM ONLY {}.{})", quote(schema), quote(name)))
        .collect();
    let counted = server.psql("original", &format!("SELECT to_json(ARRAY[{}])", counts.join(",\n")));
    let counted: Vec<u64> = serde_json::from_str(&counted).unwrap();
    let expected: BTreeMap<_, _> = tables.into_iter().zip(counted).collect();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let objects = manifest["objects"].as_array().unwrap().iter();
    let found: BTreeMap<_, _> = objects
        .filter(|o| o["schema"] != "tik_test_settings")
        .map(|o| ((text(&o["schema"]), text(&o["name"])), o["rows"].as_u64().unwrap()))
        .collect();
    assert_eq!(found, expected, "rows in the manifest, rows on the server");
    assert!(expected.len() > 30, "the fixture has many tables");
}

fn assert_counts_of_extension(server: &PgServer, manifest: &Value) {
    if server.psql("original", "SELECT count(*) FROM pg_extension WHERE extname = 'tik_test_settings'") == "0"
    {
        return;
    }
    let objects = manifest["objects"].as_array().unwrap();
    let rows = |table: &str| {
        let object = objects.iter().find(|o| o["schema"] == "tik_test_settings" && o["name"] == table);
        object.map(|o| o["rows"].as_u64().unwrap())
    };
    assert_eq!(rows("entry"), Some(2), "of an extension's table only what the operator added");
    assert_eq!(rows("kept_whole"), Some(3));
    assert_eq!(rows("not_configuration"), None);
}

/// What the other server must have after the restore: the roles, harmless.
fn assert_roles(other: &PgServer, report: &Value) {
    let created: Vec<_> = report["database"]["roles_created"].as_array().unwrap().iter().collect();
    let there = other.psql(
        "postgres",
        "SELECT json_agg(rolname ORDER BY rolname COLLATE \"C\") FROM pg_roles WHERE rolname !~ '^(pg_|postgres$)'",
    );
    let there: Vec<Value> = serde_json::from_str(&there).unwrap();
    assert_eq!(created, there.iter().collect::<Vec<_>>(), "all that are told are there, and no others");
    for needed in ["tik_owner", "tik Reader", "tik \"Writer\"", "tik/Größe 🐘", "tik_app", "tik_nobody"] {
        assert!(there.iter().any(|role| role == needed), "{needed} in {there:?}");
    }
    let powers =
        "SELECT count(*) FROM pg_roles WHERE rolname ~ '^tik' AND (rolcanlogin OR rolsuper OR rolcreatedb
                  OR rolcreaterole OR rolreplication OR rolbypassrls)";
    assert_eq!(other.psql("postgres", powers), "0", "created without login and other powers");
    let memberships = "SELECT count(*) FROM pg_auth_members WHERE roleid::regrole::text = '\"tik Reader\"'
                       AND member::regrole::text = '\"tik \"\"Writer\"\"\"'";
    assert_eq!(other.psql("postgres", memberships), "1", "memberships among them are restored");
}

fn round_trip(version: PgVersion) {
    let server = PgServer::start(version);
    create_original(&server);
    let config = configured(&server, "");
    let report = backup(&config);
    assert_eq!(report["outcome"], "ok");
    assert!(item(&report, "original")["bytes_read"].as_u64().unwrap() > 10_000_000);

    let manifest = manifest_of(&config, "original", "latest");
    assert_eq!(manifest["digested"], "yes", "{:#}", manifest["notes"]);
    assert_eq!(manifest["consistency"], "serializable");
    assert_counts(&server, &manifest);
    assert_counts_of_extension(&server, &manifest);

    let original = server.dump_text("original");
    let done = restore(&config, "original", &["--into", "The \"restored\" one"]);
    assert_eq!(done["database"]["created"], true);
    assert_eq!(done["database"]["roles_created"], serde_json::json!([]), "all are there");
    assert_eq!(done["database"]["tables"], manifest["objects"].as_array().unwrap().len());
    assert_same_dump(&original, &server.dump_text("The \"restored\" one"));
    assert_eq!(properties(&server, "original"), properties(&server, "The \"restored\" one"));
    assert_eq!(server.row_counts("original"), server.row_counts("The \"restored\" one"));

    let other = PgServer::start(version);
    let done = restore(&config, "original", &["--into", &url(&other, "postgres", "elsewhere")]);
    assert_roles(&other, &done);
    assert_same_dump(&original, &other.dump_text("elsewhere"));
    assert_eq!(properties(&server, "original"), properties(&other, "elsewhere"));
    assert_eq!(server.row_counts("original"), other.row_counts("elsewhere"));
}

#[test]
fn all_of_a_database_comes_back_on_15() {
    skip_unless!(PgVersion::V15.tool());
    round_trip(PgVersion::V15);
}

#[test]
fn all_of_a_database_comes_back_on_18() {
    skip_unless!(PgVersion::V18.tool());
    round_trip(PgVersion::V18);
}
