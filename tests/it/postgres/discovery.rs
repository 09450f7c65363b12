//! Every run discovers the existing databases and reports those that are not backed up; snapshots of vanished databases are kept.

use serde_json::{Value, json};
use testkit::{Cmd, ConfigBuilder, PgServer, PgVersion, Tool, program::quoted, skip_unless};

use super::support::{
    SOURCE, as_account, assert_says, backup, builder, configured, ids_of, item, ready, snapshots, try_backup,
};

/// The excluded databases with their rules.
fn excluded(source: &Value) -> Vec<(&str, &str)> {
    let text = |value: &'_ Value, key: &str| value[key].as_str().unwrap().to_owned().leak() as &str;
    source["excluded"].as_array().unwrap().iter().map(|e| (text(e, "item"), text(e, "rule"))).collect()
}

fn items(source: &Value) -> Vec<&str> {
    source["items"].as_array().unwrap().iter().map(|i| i["item"].as_str().unwrap()).collect()
}

#[test]
fn discover_shows_all_there_is_and_the_rules() {
    skip_unless!(Tool::Pg15);
    let server = PgServer::start(PgVersion::V15);
    for name in ["crm", "shop", "scratch_1", "scratch/2", "closed", "pattern"] {
        server.create_database(name);
    }
    server.psql(
        "postgres",
        "ALTER DATABASE closed ALLOW_CONNECTIONS false; ALTER DATABASE pattern IS_TEMPLATE true",
    );
    let config = configured(&server, "exclude = [\"nothing\", \"scratch?*\"]");
    let ran = Cmd::with(&config).args(["--json", "discover"]).run().ok();
    let document = ran.json();
    assert_eq!(document["failed"], json!([]));
    let source = &document["sources"][0];
    assert_eq!((&source["source"], &source["kind"]), (&json!(SOURCE), &json!("postgres")));
    assert_eq!(items(source), ["@globals", "crm", "shop"]);
    let rules = [
        ("closed", "it allows no connections"),
        ("pattern", "it is a template, and it is empty"),
        ("postgres", "built-in: system database, and it is empty"),
        ("scratch/2", "exclude = \"scratch?*\""),
        ("scratch_1", "exclude = \"scratch?*\""),
        ("template0", "it is a template"),
        ("template1", "it is a template, and it is empty"),
    ];
    assert_eq!(excluded(source), rules);
    let crm = &source["items"][1];
    assert!(crm["estimate"].as_u64().unwrap() > 1_000_000, "{crm}");
    assert_eq!(crm["problem"], Value::Null);
    let text = Cmd::with(&config).arg("discover").run().ok().stdout;
    assert_says(&text, &["pg/crm", "protected", "pg/closed", "excluded", "it allows no connections"]);

    // The same says what a run would do, and a run does it.
    let dry = Cmd::with(&config).args(["--json", "backup", "--dry-run"]).run().ok().json();
    assert_eq!(dry["sources"], document["sources"]);
    assert!(snapshots(&config).is_empty(), "a dry run stores nothing");
    let report = backup(&config);
    let names: Vec<_> =
        report["items"].as_array().unwrap().iter().map(|i| i["item"].as_str().unwrap()).collect();
    assert_eq!(names, ["@globals", "crm", "shop"]);

    // The other rules: a list, system databases, no globals.
    let config = configured(&server, "databases = [\"postgres\", \"c*\"]\nglobals = false");
    let document = Cmd::with(&config).args(["--json", "discover", SOURCE]).run().ok().json();
    let source = &document["sources"][0];
    assert_eq!(items(source), ["crm", "postgres"]);
    let rules = excluded(source);
    for rule in [
        ("@globals", "globals = false"),
        ("shop", "not in `databases`"),
        ("closed", "it allows no connections"),
    ] {
        assert!(rules.contains(&rule), "{rule:?} in {rules:?}");
    }
    Cmd::with(&config).args(["discover", "nowhere"]).run().expect_code(2);
    let ran = try_backup(&config, &["pg/shop", "pg/crm"]).expect_code(3).json();
    assert_says(item(&ran, "shop")["error"].as_str().unwrap(), &["excluded", "not in `databases`"]);
}

#[test]
fn what_is_kept_in_system_databases_and_templates_is_backed_up() {
    skip_unless!(Tool::Pg15);
    let server = PgServer::start(PgVersion::V15);
    for name in ["shop", "tenant_base", "empty base", "of an extension"] {
        server.create_database(name);
    }
    server.psql("postgres", "CREATE TABLE notes AS SELECT 1 AS a");
    server.psql("tenant_base", "CREATE TABLE plan AS SELECT 1 AS a");
    server.psql("of an extension", "CREATE EXTENSION pgcrypto");
    server.psql(
        "postgres",
        "UPDATE pg_database SET datistemplate = true WHERE datname IN ('tenant_base', 'empty base', 'of an extension')",
    );
    let config = configured(&server, "");
    let report = backup(&config);
    let names: Vec<_> =
        report["items"].as_array().unwrap().iter().map(|i| i["item"].as_str().unwrap()).collect();
    assert_eq!(names, ["@globals", "postgres", "shop", "tenant_base"]);
    for name in ["postgres", "tenant_base"] {
        let manifest = super::support::manifest_of(&config, name, "latest");
        assert_eq!(manifest["objects"][0]["rows"], 1, "{name}");
    }
    // A rule of the configuration counts, and so does a name in it.
    let document = |more: &str| {
        let config = configured(&server, more);
        Cmd::with(&config).args(["--json", "discover"]).run().ok().json()["sources"][0].clone()
    };
    let without = document("exclude = [\"postgres\", \"tenant_*\"]");
    assert_eq!(items(&without), ["@globals", "shop"]);
    assert!(excluded(&without).contains(&("postgres", "exclude = \"postgres\"")));
    let named = document("databases = [\"postgres\", \"empty base\", \"shop\"]");
    assert_eq!(items(&named), ["@globals", "empty base", "postgres", "shop"]);
}

#[test]
fn a_server_of_which_no_database_is_backed_up_is_no_success() {
    skip_unless!(Tool::Pg15);
    let server = PgServer::start(PgVersion::V15);
    backup(&configured(&server, ""));
    server.create_database("shop");
    server.create_database("crm");
    let config = configured(&server, "databases = [\"shopp*\"]");
    let ran = try_backup(&config, &[]).expect_code(3);
    assert_says(
        &ran.stderr,
        &["none of its databases is backed up: 2 databases are excluded", "`databases`"],
    );
    let status = Cmd::with(&config).args(["status", "--check"]).run().expect_code(5);
    assert_says(&status.stdout, &["FAILED", "none of its databases is backed up"]);
    Cmd::with(&config).arg("discover").run().expect_code(3);
    // The roles alone, as configured.
    try_backup(&config, &["pg/@globals"]).ok();
    backup(&configured(&server, "exclude = [\"*\"]"));
}

#[test]
fn new_databases_join_and_dropped_ones_keep_their_snapshots() {
    skip_unless!(Tool::Pg15);
    let server = PgServer::start(PgVersion::V15);
    server.create_database("stays");
    server.create_database("goes");
    let config = ready(
        builder(&server, "")
            .tables("[retention]\nkeep_last = 1\nkeep_daily = 0\nkeep_weekly = 0\nkeep_within = \"0s\""),
    );
    backup(&config);
    let kept = ids_of(&config, "goes");
    assert_eq!(kept.len(), 1);
    server.psql("postgres", "DROP DATABASE goes");
    server.create_database("new one");
    for _ in 0..2 {
        let report = backup(&config);
        assert_eq!(item(&report, "new one")["outcome"], "ok", "without any change of the configuration");
        assert!(report["items"].as_array().unwrap().iter().all(|i| i["item"] != "goes"));
    }
    assert_eq!(ids_of(&config, "goes"), kept, "what vanished is not aged out");
    assert_eq!(ids_of(&config, "stays").len(), 1, "while retention does its work on the others");
    let gone = try_backup(&config, &["pg/goes"]).expect_code(1).json();
    assert_says(item(&gone, "goes")["error"].as_str().unwrap(), &["no such item"]);
    assert_eq!(ids_of(&config, "goes"), kept);
    super::support::restore(&config, "goes", &["--into", "goes"]);
    assert!(super::support::exists(&server, "goes"), "and it can be had back");
}

#[test]
fn a_database_that_may_not_be_entered_fails_alone() {
    skip_unless!(Tool::Pg15);
    let server = PgServer::start(PgVersion::V15);
    server.create_database("open");
    server.create_database("Private \"one\"");
    server.psql(
        "postgres",
        "CREATE ROLE keeper LOGIN; GRANT pg_read_all_data TO keeper;
         REVOKE CONNECT ON DATABASE \"Private \"\"one\"\"\" FROM PUBLIC",
    );
    let config = ready(ConfigBuilder::new().source(SOURCE, &as_account(&server, "keeper", "")));
    let document = Cmd::with(&config).args(["--json", "discover"]).run().expect_code(3).json();
    assert_eq!(document["failed"][0]["source"], "pg/Private \"one\"");
    let item_of = |name: &str| {
        let items = document["sources"][0]["items"].as_array().unwrap();
        items.iter().find(|i| i["item"] == name).unwrap().clone()
    };
    assert_eq!(item_of("open")["problem"], Value::Null);
    let grant = "GRANT CONNECT ON DATABASE \"Private \"\"one\"\"\" TO";
    assert_says(item_of("Private \"one\"")["problem"].as_str().unwrap(), &["may not connect", grant]);

    let ran = try_backup(&config, &[]).expect_code(3);
    let report = ran.json();
    assert_eq!(report["outcome"], "partial");
    assert_eq!(item(&report, "open")["outcome"], "ok");
    assert_eq!(item(&report, "@globals")["outcome"], "ok");
    let failed = item(&report, "Private \"one\"");
    assert_eq!((&failed["outcome"], &failed["snapshot"]), (&json!("failed"), &Value::Null));
    assert_says(failed["error"].as_str().unwrap(), &["may not connect", grant]);
    assert_says(&ran.stderr, &["Private \"one\"", "FAILED"]);
    assert_eq!(snapshots(&config).len(), 2);
    try_backup(&config, &["pg/Private \"one\""]).expect_code(1);
}

#[test]
fn a_source_that_does_not_answer_leaves_the_others_alone() {
    skip_unless!(Tool::Pg15);
    let server = PgServer::start(PgVersion::V15);
    server.create_database("shop");
    let mut stopped = PgServer::start(PgVersion::V15);
    stopped.stop();
    let nowhere = "kind = \"postgres\"\nhost = \"127.0.0.1\"\nport = 1\nuser = \"postgres\"";
    let config = ready(builder(&server, "").postgres("stopped", &stopped, "").source("nowhere", nowhere));

    let ran = try_backup(&config, &[]).expect_code(3);
    let report = ran.json();
    assert_eq!(item(&report, "shop")["outcome"], "ok");
    let socket = quoted(stopped.socket_dir().to_str().unwrap());
    for (source, said) in [("stopped", socket.trim_matches('"')), ("nowhere", "127.0.0.1")] {
        let items = report["items"].as_array().unwrap();
        let of_source: Vec<_> = items.iter().filter(|i| i["source"] == source).collect();
        assert_eq!(of_source.len(), 1);
        assert_eq!((&of_source[0]["item"], &of_source[0]["outcome"]), (&Value::Null, &json!("failed")));
        assert_says(of_source[0]["error"].as_str().unwrap(), &[said, "→"]);
    }
    let none = try_backup(&config, &["stopped", "nowhere"]).expect_code(1);
    assert_eq!(none.json()["outcome"], "failed");
    assert_eq!(snapshots(&config).len(), 2, "shop and @globals of the first run");

    let document = Cmd::with(&config).args(["--json", "discover"]).run().expect_code(3).json();
    assert_eq!(document["sources"].as_array().unwrap().len(), 1);
    let failed: Vec<_> = document["failed"].as_array().unwrap().iter().map(|f| f["source"].clone()).collect();
    assert_eq!(failed, ["stopped", "nowhere"]);
    Cmd::with(&config).args(["discover", "nowhere"]).run().expect_code(1);
    Cmd::with(&config).args(["discover", SOURCE]).run().ok();
}
