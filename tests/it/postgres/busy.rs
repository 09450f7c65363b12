//! Servers that are busy, move or have little to spare: what passes is waited for, what went away is no failure.

use testkit::{Cmd, ConfigBuilder, PgServer, PgVersion, Tool, skip_unless, stress};

use super::support::{
    SOURCE, as_account, assert_says, backup, client_dirs, configured, item, ready, try_backup,
};

#[test]
fn a_role_with_few_connections_gets_everything_backed_up() {
    skip_unless!(Tool::Pg15);
    let server = PgServer::start(PgVersion::V15);
    let databases = if stress() { 112 } else { 12 };
    for number in 0..databases {
        server.create_database(&format!("d{number}"));
    }
    server.psql("postgres", "CREATE ROLE few LOGIN CONNECTION LIMIT 3; GRANT pg_read_all_data TO few");
    let config = ready(ConfigBuilder::new().top("jobs = 4").source(SOURCE, &as_account(&server, "few", "")));
    let ran = try_backup(&config, &[]).ok();
    let items = ran.json()["items"].as_array().unwrap().clone();
    assert_eq!(items.len(), databases + 1, "all of them and the roles");
    assert!(items.iter().all(|item| item["outcome"] == "ok"));
    assert_says(&ran.stderr, &["too many connections for role \"few\"", "it is tried again in"]);

    if !testkit::tools::stress_or_skip() {
        return;
    }
    // What never passes is given up after three minutes, with what to do.
    server.psql("postgres", "ALTER ROLE few CONNECTION LIMIT 1");
    let failed = try_backup(&config, &["pg/d1"]).expect_code(1).json();
    let error = item(&failed, "d1")["error"].as_str().unwrap().to_owned();
    assert_says(
        &error,
        &["too many connections for role \"few\"", "each item needs two", "CONNECTION LIMIT"],
    );
}

#[test]
fn a_database_left_by_an_interrupted_drop_is_shown_as_such() {
    skip_unless!(Tool::Pg15);
    let server = PgServer::start(PgVersion::V15);
    server.create_database("good");
    server.create_database("half \"gone\"");
    server.psql(
        "postgres",
        "SET allow_system_table_mods = on; UPDATE pg_database SET datconnlimit = -2 WHERE datname LIKE 'half%'",
    );
    let config = configured(&server, "");
    let document = Cmd::with(&config).args(["--json", "discover"]).run().ok().json();
    let excluded = document["sources"][0]["excluded"].as_array().unwrap();
    let half = excluded.iter().find(|e| e["item"] == "half \"gone\"").unwrap();
    assert_says(half["rule"].as_str().unwrap(), &["interrupted", "DROP DATABASE \"half \"\"gone\"\"\""]);
    let report = backup(&config);
    assert!(report["items"].as_array().unwrap().iter().all(|item| item["item"] != "half \"gone\""));
}

#[test]
fn what_the_account_may_not_read_is_named() {
    skip_unless!(Tool::Pg15);
    let server = PgServer::start(PgVersion::V15);
    server.create_database("links");
    server.psql(
        "links",
        "CREATE EXTENSION postgres_fdw; CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'h');
         CREATE ROLE app LOGIN; CREATE ROLE reader LOGIN; GRANT pg_read_all_data TO reader; GRANT USAGE ON FOREIGN SERVER far TO reader;
         CREATE USER MAPPING FOR app SERVER far OPTIONS (user 'x', password 'hunter2');
         CREATE USER MAPPING FOR reader SERVER far;
         CREATE SUBSCRIPTION feed CONNECTION 'host=nowhere password=hunter3' PUBLICATION p WITH (connect = false)",
    );
    let more = format!("globals = false\n{}", client_dirs(&[PgVersion::V15]));
    let reader = as_account(&server, "reader", "");
    let config = ready(ConfigBuilder::new().source("reader", &reader).postgres("all", &server, &more));
    let ran = try_backup(&config, &[]).ok();
    let report = ran.json();
    let notes = |source: &str| {
        let items = report["items"].as_array().unwrap();
        let item = items.iter().find(|item| item["source"] == source && item["item"] == "links").unwrap();
        item["notes"].to_string()
    };
    assert_says(
        &notes("reader"),
        &[
            "the options of the user mapping of app for the server far",
            "the subscription feed",
            "only a superuser",
        ],
    );
    assert!(!notes("all").contains("not in the dump"), "{}", notes("all"));
    let manifest = super::support::manifest_at(&config, "reader/links");
    assert_eq!(manifest["left_out"].as_array().unwrap().len(), 2, "{manifest:#}");
    let status = Cmd::with(&config).args(["--json", "status"]).run().ok().json();
    let entry =
        status["items"].as_array().unwrap().iter().find(|e| e["source"] == "reader" && e["item"] == "links");
    assert_says(&entry.unwrap()["notes"].to_string(), &["the subscription feed"]);
    let drill = Cmd::with(&config).args(["--json", "drill", "reader/links"]).run().ok();
    assert_says(
        &drill.json()["items"][0]["notes"].to_string(),
        &["user mapping of app", "the subscription feed"],
    );
    for text in [&ran.stdout, &ran.stderr, &drill.stdout] {
        assert!(!text.contains("hunter"), "{text}");
    }
}
