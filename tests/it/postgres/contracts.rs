//! The fields of every JSON document and the exit codes: programs build on them.

use serde_json::Value;
use testkit::{Cmd, ConfigBuilder, PgServer, PgVersion, Ran, Tool, program::quoted, skip_unless};

use super::support::{assert_says, backup, builder, ready, restore, try_backup, try_restore};

/// The keys of an object, in the order in which they are written.
#[track_caller]
fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap_or_else(|| panic!("{value} is no object")).keys().map(String::as_str).collect()
}

#[test]
fn documents_have_the_promised_fields() {
    skip_unless!(Tool::Pg15);
    let server = PgServer::start(PgVersion::V15);
    server.create_database("shop");
    let config = ready(builder(&server, ""));
    let document = Cmd::with(&config).args(["--json", "discover"]).run().ok().json();
    assert_eq!(keys(&document), ["sources", "failed"]);
    assert_eq!(keys(&document["sources"][0]), ["source", "kind", "items", "excluded"]);
    assert_eq!(keys(&document["sources"][0]["items"][0]), ["item", "estimate", "problem"]);
    assert_eq!(keys(&document["sources"][0]["excluded"][0]), ["item", "rule"]);

    let report = backup(&config);
    let fields =
        ["run", "outcome", "started", "seconds", "items", "discovered", "forgotten", "error", "alerts"];
    assert_eq!(keys(&report), fields);
    assert_eq!(keys(&report["alerts"]), ["sent", "failed"]);
    let fields =
        ["source", "item", "kind", "outcome", "snapshot", "bytes_read", "bytes_added", "seconds", "error"];
    for item in report["items"].as_array().unwrap() {
        assert_eq!(keys(item), fields);
        assert_eq!(item["error"], Value::Null);
        assert!(item["seconds"].is_number() && item["bytes_added"].is_u64());
        assert!(item["snapshot"].as_str().is_some_and(|id| id.len() == 64));
    }

    let ledger = Cmd::with(&config).args(["--json", "status"]).run().ok().json();
    let fields = [
        "at",
        "host",
        "summary",
        "items",
        "problems",
        "sources",
        "running",
        "alerts",
        "repository",
        "notes",
        "causes",
    ];
    assert_eq!(keys(&ledger), fields);
    let fields = [
        "ok",
        "items",
        "expected",
        "backed_up",
        "proven",
        "restore_seconds",
        "restore_unmeasured",
        "problems",
        "states",
    ];
    assert_eq!(keys(&ledger["summary"]), fields);
    let fields = [
        "source",
        "item",
        "kind",
        "state",
        "since",
        "why",
        "problems",
        "held",
        "last_backup",
        "age_seconds",
        "max_age_seconds",
        "snapshot",
        "snapshots",
        "last_proof",
        "proof_age_seconds",
        "restore_seconds",
        "bytes",
        "rows",
        "seconds",
        "trend",
        "notes",
        "omitted",
        "next",
    ];
    assert_eq!(keys(&ledger["items"][0]), fields);
    let listed = Cmd::with(&config).args(["--json", "snapshots", "pg/shop"]).run().ok().json();
    assert_eq!(listed["snapshots"].as_array().unwrap().len(), 1, "only what was asked for");
    assert_eq!(keys(&listed["snapshots"][0]), ["source", "item", "kind", "id", "time", "host", "bytes"]);
    assert_eq!(listed["snapshots"][0]["id"], report["items"][1]["snapshot"]);

    let held = Cmd::with(&config).args(["--json", "ls", "pg/shop"]).run().ok().json();
    assert_eq!(keys(&held), ["source", "item", "snapshot", "time", "entries"]);
    let paths: Vec<_> = held["entries"].as_array().unwrap().iter().map(|entry| &entry["path"]).collect();
    assert_eq!(paths, ["database.dump", "manifest.json"], "of a database, the files of its dump");
    assert_eq!(keys(&held["entries"][0]), ["path", "type", "bytes", "modified"]);
    let one = try_restore(&config, "shop", &["--to", "/nonexistent/x", "--path", "database.dump"]);
    assert!(one.expect_code(2).stderr.contains("--table"), "a dump is restored as a whole");

    let done = restore(&config, "shop", &["--into", "copy"]);
    assert_eq!(keys(&done), ["source", "item", "snapshot", "time", "seconds", "database"]);
    let fields = ["database", "created", "bytes", "tables", "rows", "roles_created", "notes"];
    assert_eq!(keys(&done["database"]), fields);
    assert_eq!(done["time"], listed["snapshots"][0]["time"]);
    let folder = tempfile::tempdir().unwrap();
    let done = restore(&config, "shop", &["--to", folder.path().to_str().unwrap()]);
    assert_eq!(keys(&done), ["source", "item", "snapshot", "time", "seconds", "folder", "files"]);

    // An error is a document as well, and stdout stays empty.
    let ran = try_restore(&config, "nothing", &["--into", "x"]).expect_code(2);
    let error: Value = serde_json::from_str(ran.stderr.lines().last().unwrap()).unwrap();
    assert_eq!(keys(&error), ["error", "hint"]);
    assert_eq!(ran.stdout, "");
    // For people the same is text.
    let text = Cmd::with(&config).args(["snapshots"]).run().ok().stdout;
    assert_says(&text, &["ID", "TIME", "pg/shop", "pg/@globals"]);
    let text = Cmd::with(&config).args(["backup"]).run().ok();
    assert_says(&text.stdout, &["all 3 items backed up"]);
    assert_says(&text.stderr, &["pg/shop: ok", "pg/copy: ok"]);
}

#[test]
fn exit_codes_tell_what_kind_of_thing_went_wrong() {
    skip_unless!(Tool::Pg15);
    let server = PgServer::start(PgVersion::V15);
    server.create_database("shop");
    let down = "kind = \"postgres\"\nhost = \"/nonexistent\"\nuser = \"x\"";
    let config = ready(builder(&server, "").source("down", down));
    let run = |args: &[&str]| -> Ran { Cmd::with(&config).args(args).run() };
    run(&["backup", "pg"]).expect_code(0);
    run(&["backup", "down"]).expect_code(1);
    let ran = run(&["backup", "pg/nothing"]).expect_code(2);
    assert_says(&ran.stderr, &["no such item", "discover pg"]);
    run(&["backup"]).expect_code(3);
    run(&["backup", "pg/shop", "pg/nothing"]).expect_code(2);
    let ran = run(&["backup", "nowhere"]).expect_code(2);
    assert_says(&ran.stderr, &["no source `nowhere`", "pg"]);
    run(&["backup", "pg/"]).expect_code(2);
    run(&["backup", "--nonsense"]).expect_code(2);
    run(&["nonsense"]).expect_code(2);
    run(&["snapshots"]).expect_code(0);
    run(&["--help"]).expect_code(0);

    let missing = ConfigBuilder::new().postgres("pg", &server, "").build();
    try_backup(&missing, &[]).expect_code(4);
    assert!(!missing.repo().exists(), "a repository is created by init only");
    Cmd::with(&missing).arg("snapshots").run().expect_code(4);
    let unreadable = ConfigBuilder::new().postgres("pg", &server, "pasword_file = \"x\"").build();
    let ran = try_backup(&unreadable, &[]).expect_code(2);
    assert_says(&ran.stderr, &["pasword_file", "password_file"]);
    Cmd::new().args(["--config", "/nonexistent/config.toml", "backup"]).run().expect_code(2);
    let no_secret = format!("password_file = {}", quoted("/nonexistent/secret"));
    let config = ready(builder(&server, &no_secret));
    let ran = try_backup(&config, &[]);
    assert!(matches!(ran.code(), Some(1 | 2)), "{ran:?}");
    assert_says(&format!("{}{}", ran.stdout, ran.stderr), &["/nonexistent/secret"]);
}
