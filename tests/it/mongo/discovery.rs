//! What a run protects: every database there is, unless a rule says otherwise.

use std::{fs, os::unix::fs::PermissionsExt};

use mongodb::bson::{doc, rawdoc};
use testkit::{
    Cmd, Config, ConfigBuilder, MongoServer, Tool,
    program::quoted,
    reports::{assert_says, backup, discover, edit, error_of, ids_of, item, ready, try_backup},
    skip, skip_unless,
};

use super::{
    link::link,
    support::{SOURCE, configured, full, numbered, source_of},
};

#[test]
fn databases_join_by_themselves_and_what_is_left_out_has_a_rule() {
    skip_unless!(Tool::Mongo);
    let server = MongoServer::start();
    let link = link(&server);
    for name in ["shop", "größe", "scratch_1"] {
        link.insert(name, "c", &numbered(0..3));
    }
    link.create("hollow", "empty", &rawdoc! {});
    for name in ["admin", "config", "local"] {
        link.insert(name, "ours", &numbered(0..1));
    }
    let config = configured(&server, "exclude = [\"scratch_*\"]");
    let found = discover(&config, 0);
    let mut items = found.items.clone();
    items.sort();
    assert_eq!(items, ["größe", "hollow", "shop"]);
    let rule = |name: &str| found.excluded.iter().find(|(n, _)| n == name).map(|(_, rule)| rule.as_str());
    assert_eq!(rule("scratch_1"), Some("exclude = \"scratch_*\""));
    for name in ["admin", "config", "local"] {
        assert_eq!(rule(name), Some("built-in: system database"), "{:?}", found.excluded);
    }
    let report = backup(&config);
    assert_eq!(report["items"].as_array().unwrap().len(), 3, "{report:#}");

    // A new one is in the next run, one that is gone keeps its snapshots.
    link.insert("tomorrow", "c", &numbered(0..3));
    server.command("größe", doc! { "dropDatabase": 1 });
    let report = backup(&config);
    assert_eq!(item(&report, "tomorrow")["outcome"], "ok");
    assert_eq!(report["items"].as_array().unwrap().len(), 3, "{report:#}");
    assert_eq!(ids_of(&config, &full("größe")).len(), 1);

    edit(&config, "exclude =", "include_system = true\nexclude =");
    assert!(discover(&config, 0).items.contains(&"admin".to_owned()));
    edit(
        &config,
        "include_system = true\nexclude = [\"scratch_*\"]",
        "databases = [\"shop\", \"t*\", \"shopp\"]",
    );
    let report = try_backup(&config, &[]).expect_code(3).json();
    assert_says(error_of(&report, "shopp"), &["no such database", "correct the name"]);
    assert_eq!(item(&report, "tomorrow")["outcome"], "ok");
    let found = discover(&config, 3);
    assert!(found.excluded.contains(&("hollow".into(), "not in `databases`".into())), "{:?}", found.excluded);
}

/// What remains of a database after its last view was dropped, or where only the profiler has written: nothing of it can
/// be backed up, and an alarm every night would be a false one.
#[test]
fn a_database_with_nothing_but_the_servers_own_is_no_failure() {
    skip_unless!(Tool::Mongo);
    let server = MongoServer::start();
    let link = link(&server);
    link.insert("shop", "c", &numbered(0..3));
    let profiled =
        link.try_raw("profiled", rawdoc! { "create": "system.profile", "capped": true, "size": 4096 });
    if profiled.is_err() || !link.databases().contains(&"profiled".to_owned()) {
        skip(&format!("a server that makes a collection system.profile: {profiled:?}"));
        return;
    }
    let config = configured(&server, "");
    let report = try_backup(&config, &[]).expect_code(0).json();
    assert_eq!(item(&report, "shop")["outcome"], "ok");
}

#[test]
fn a_database_that_holds_nothing_is_no_failure() {
    skip_unless!(Tool::Mongo);
    let server = MongoServer::start();
    let link = link(&server);
    link.insert("shop", "c", &numbered(0..3));
    // Emptied in the ways that leave a database behind: its last collection dropped, its last view dropped.
    link.insert("emptied", "c", &numbered(0..3));
    link.raw("emptied", rawdoc! { "drop": "c" });
    link.create("unseen", "v", &rawdoc! { "viewOn": "x", "pipeline": [] });
    link.raw("unseen", rawdoc! { "drop": "v" });
    link.create("@globals", "c", &rawdoc! {});
    let config = configured(&server, "");
    let found = discover(&config, 3);
    assert_says(&found.failed, &["@globals", "rename the database or exclude it"]);
    server.command("@globals", doc! { "dropDatabase": 1 });
    let report = try_backup(&config, &[]).expect_code(0).json();
    assert_eq!(item(&report, "shop")["outcome"], "ok");
}

/// Runs something that must end with this exit code, say this and what to do, and show none of the connection string.
#[track_caller]
fn refused(config: &Config, args: &[&str], code: i32, said: &str) {
    let ran = Cmd::with(config).args(args).run().expect_code(code);
    let all = format!("{}{}", ran.stdout, ran.stderr);
    assert_says(&all, &[said, "→"]);
    assert!(!all.contains("62d0") && !all.contains("jane"), "{all}");
}

#[test]
fn a_connection_string_that_cannot_be_used_is_refused_without_showing_it() {
    let password = "Pw-62d0-hidden";
    for (uri, mode, said) in [
        (format!("mongodb://jane:{password}@127.0.0.1/"), 0o644, "chmod 600"),
        (format!("mongodb://jane:{password}@127.0.0.1:port/"), 0o600, "uri_file"),
        (format!("mongodb://jane:{password}/x@127.0.0.1/"), 0o600, "percent-encode"),
        (format!("mongodb://jane:{password}@127.0.0.1/?{password}=1"), 0o600, "uri_file"),
        (format!("mongodb://jane:{password}@127.0.0.1/?foo=bar"), 0o600, "the option foo is unknown"),
        (format!("mongodb://jane:{password}@127.0.0.1/?retryRead=true"), 0o600, "did you mean retryReads?"),
        (
            format!("mongodb://jane:{password}@127.0.0.1/?authMechanism=MONGODB-X509"),
            0o600,
            "takes no password",
        ),
        (format!("postgresql://jane:{password}@127.0.0.1/"), 0o600, "mongodb://"),
        (format!("jane:{password}"), 0o600, "mongodb://"),
        (String::new(), 0o600, "uri_file"),
        (format!("mongodb://jane:{password}@db.example.com/"), 0o600, "tls=true"),
        (format!("mongodb://jane:{password}@127.0.0.1,10.9.8.7/"), 0o600, "tls=true"),
    ] {
        let builder = ConfigBuilder::new();
        let lines = source_of(&builder, SOURCE, &uri, "");
        let file = builder.secret(&format!("uri of {SOURCE}"), &uri);
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let config = ready(builder.source(SOURCE, &lines));
        for command in ["discover", "backup"] {
            // The source has failed; others would have gone on.
            refused(&config, &["-v", command], 1, said);
        }
        refused(&config, &["-v", "restore", "mg/shop", "--into", "copy"], 2, said);
    }
    // With tls=false the connection may be unencrypted; here no server answers.
    let builder = ConfigBuilder::new();
    let uri = format!("mongodb://jane:{password}@192.0.2.1/?tls=false&serverSelectionTimeoutMS=200");
    let lines = source_of(&builder, SOURCE, &uri, "");
    let config = ready(builder.source(SOURCE, &lines));
    refused(&config, &["-v", "discover"], 1, "cannot connect to 192.0.2.1");
    let missing = ConfigBuilder::new().source(SOURCE, "kind = \"mongodb\"").build();
    let ran = Cmd::with(&missing).arg("discover").run().expect_code(2);
    assert_says(&ran.stderr, &["uri_file", "mongodb+srv://"]);
}

#[test]
fn a_deployment_that_does_not_answer_leaves_the_others_alone() {
    skip_unless!(Tool::Mongo);
    let server = MongoServer::start();
    link(&server).insert("shop", "c", &numbered(0..3));
    let builder = ConfigBuilder::new();
    // The port is taken, by one that never says a word.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let uri = format!("mongodb://127.0.0.1:{port}/?serverSelectionTimeoutMS=300&connectTimeoutMS=300");
    let mute = source_of(&builder, "mute", &uri, "");
    let nowhere = source_of(&builder, "nowhere", "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=300", "");
    let config =
        ready(builder.source("mute", &mute).source("nowhere", &nowhere).mongodb(SOURCE, &server, ""));
    let report = try_backup(&config, &[]).expect_code(3).json();
    assert_eq!(item(&report, "shop")["outcome"], "ok");
    for (source, address) in [("mute", format!("127.0.0.1:{port}")), ("nowhere", "127.0.0.1:1".to_owned())] {
        let items = report["items"].as_array().unwrap();
        let failed = items.iter().find(|item| item["source"] == source).unwrap();
        assert!(failed["item"].is_null() && failed["outcome"] == "failed", "{report:#}");
        assert_says(failed["error"].as_str().unwrap(), &["cannot connect to", &address, "→"]);
    }
    let unknown = quoted("nobody/shop");
    let ran = Cmd::with(&config).args(["backup", unknown.trim_matches('"')]).run().expect_code(2);
    assert_says(&ran.stderr, &["there is no source `nobody`"]);
}
