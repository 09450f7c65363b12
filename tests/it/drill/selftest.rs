//! The self-test finds every damage, for every kind.

use std::collections::BTreeSet;

use serde_json::Value;
use testkit::{Cmd, ConfigBuilder, MyFlavour, Tool, program::quoted, skip_unless};

use super::drill_table;

/// Runs it for sources of this kind, and returns the damages.
fn run(kind: &str) -> Vec<Value> {
    let scratch = tempfile::Builder::new().prefix("tik-self-").tempdir_in("/tmp").unwrap();
    let mode = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
    std::fs::set_permissions(scratch.path(), mode).unwrap();
    let dir = quoted(&scratch.path().display().to_string());
    let builder = ConfigBuilder::new().tables(&drill_table(&format!("dir = {dir}")));
    let file = quoted(&builder.secret("a file", "mongodb://localhost").display().to_string());
    // Only the kind of the source matters.
    let lines = match kind {
        "directory" => "paths = [\"/nonexistent\"]".to_owned(),
        "mongodb" => format!("uri_file = {file}"),
        "azure-storage" => {
            format!("tenant_id_file = {file}\nclient_id_file = {file}\nclient_secret_file = {file}")
        }
        _ => "host = \"/nonexistent\"\nuser = \"nobody\"".to_owned(),
    };
    let config = builder.source("one", &format!("kind = \"{kind}\"\n{lines}")).build();
    let test = Cmd::with(&config).args(["--json", "drill", "--self-test"]).run().ok().json();
    assert_eq!(test["outcome"], "ok", "{test:#}");
    assert!(test["untested"].as_array().unwrap().is_empty(), "{test:#}");
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0, "nothing is left");
    let mutations = test["mutations"].as_array().unwrap().clone();
    assert!(mutations.iter().all(|mutation| mutation["detected"] == true), "{test:#}");
    mutations
}

/// Checks that these damages were made, by their usual names.
fn assert_damaged(mutations: &[Value], wanted: &[&str]) {
    let found: BTreeSet<&str> = mutations.iter().map(|m| m["mutation"].as_str().unwrap()).collect();
    for mutation in wanted {
        assert!(found.contains(mutation), "{mutation} is not in {found:?}");
    }
}

/// These attacks were made, and were kept off by the server's confinement, not by a mistake in them.
fn assert_attacked(mutations: &[Value], wanted: &[&str]) {
    for attack in wanted {
        let name = format!("attack: {attack}");
        let made = mutations.iter().find(|m| m["mutation"] == name.as_str());
        let by = made.unwrap_or_else(|| panic!("{name} was not made"))["by"].as_str().unwrap();
        let reasons = [
            "No such file or directory",
            "Permission denied",
            "Read-only file system",
            "secure-file-priv",
            "secure_file_priv",
            "errcode: 2",
            "Errcode: 2",
            "Errcode: 13",
            "Errcode: 30",
            "child process exited",
            "program \"",
            "~nothing",
            "disabled the local infile capability",
            "LOAD DATA LOCAL INFILE file request rejected",
            "must be in a known directory",
            "errno: 168",
        ];
        assert!(reasons.iter().any(|reason| by.contains(reason)), "{name}: {by}");
        assert!(!by.contains("syntax error at"), "{name}: {by}");
    }
}

const EVERYWHERE: [&str; 4] =
    ["no damage", "a wrong manifest", "a flipped byte in a pack", "yesterday's snapshot in place of today's"];
const DATABASES: [&str; 8] = [
    "a truncated dump",
    "one changed cell",
    "one deleted row",
    "one added row",
    "two values swapped between rows",
    "a dropped index",
    "a missing role",
    "a changed sequence",
];

#[test]
fn of_postgresql() {
    skip_unless!(Tool::Pg15);
    let mutations = run("postgres");
    assert_damaged(&mutations, &EVERYWHERE);
    assert_damaged(&mutations, &DATABASES);
    assert_damaged(&mutations, &["a revoked grant", "a changed large object"]);
    assert_attacked(
        &mutations,
        &[
            "a program writes a file (COPY TO PROGRAM)",
            "a program reads a file (COPY FROM PROGRAM)",
            "the server reads a file (pg_read_file)",
            "the server writes a file (lo_export)",
            "a program reads another process (/proc)",
            "a program ends another process",
            "a program connects to a port",
        ],
    );
}

#[test]
fn of_mysql_and_mariadb() {
    skip_unless!(MyFlavour::Mysql97.tool(), MyFlavour::Mariadb1011.tool());
    let mutations = run("mysql");
    for family in ["MySQL", "MariaDB"] {
        let of: Vec<Value> =
            mutations.iter().filter(|m| m["kind"].as_str().unwrap().starts_with(family)).cloned().collect();
        assert_damaged(&of, &EVERYWHERE);
        assert_damaged(&of, &DATABASES);
        assert_damaged(&of, &["a revoked grant"]);
        assert_attacked(
            &of,
            &[
                "the server reads a file (LOAD_FILE)",
                "the server reads a file (LOAD DATA)",
                "the client sends a file (LOAD DATA LOCAL)",
                "the server makes a table outside (DATA DIRECTORY)",
                "the server makes a tablespace outside (DATA DIRECTORY)",
                "the server writes a file (INTO OUTFILE)",
                "the server gets itself a library (UDF)",
            ],
        );
    }
}

#[test]
fn of_mongodb() {
    skip_unless!(Tool::Mongo);
    let mutations = run("mongodb");
    assert_damaged(&mutations, &EVERYWHERE);
    assert_damaged(
        &mutations,
        &["a truncated dump", "one changed field", "one deleted document", "a dropped index"],
    );
}

#[test]
fn of_files() {
    for kind in ["directory", "azure-storage"] {
        let mutations = run(kind);
        assert_damaged(&mutations, &EVERYWHERE);
        assert_damaged(
            &mutations,
            &["a truncated file", "two contents swapped between files", "a file that is missing"],
        );
    }
}

#[test]
fn what_cannot_be_tested_is_said() {
    let config = ConfigBuilder::new()
        .tables("[drill]\nmongod = \"/nonexistent/mongod\"")
        .source("one", "kind = \"mongodb\"\nuri_file = \"/nonexistent\"")
        .build();
    let test = Cmd::with(&config).args(["--json", "drill", "--self-test"]).run().expect_code(1).json();
    assert_eq!((&test["outcome"], &test["untested"][0]["kind"]), (&"failed".into(), &"mongodb".into()));
    assert!(test["untested"][0]["reason"].as_str().unwrap().contains("/nonexistent/mongod"), "{test:#}");
}
