//! Helpers to run the program on a source and to read its results, for kinds other than PostgreSQL.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{Cmd, Config, ConfigBuilder, Ran};

/// Writes the configuration and creates its repository.
pub fn ready(builder: ConfigBuilder) -> Config {
    let config = builder.build();
    Cmd::with(&config).arg("init").run().ok();
    config
}

/// Replaces a text in a configuration, as an operator edits it.
#[track_caller]
pub fn edit(config: &Config, from: &str, to: &str) {
    let text = std::fs::read_to_string(config.path()).unwrap();
    assert!(text.contains(from), "{from:?} is not in {text}");
    std::fs::write(config.path(), text.replace(from, to)).unwrap();
}

/// `backup --json` of everything, or of the named items.
pub fn try_backup(config: &Config, what: &[&str]) -> Ran {
    Cmd::with(config).args(["--json", "backup"]).args(what).run()
}

/// The report of a backup that must succeed as a whole.
#[track_caller]
pub fn backup(config: &Config) -> Value {
    try_backup(config, &[]).ok().json()
}

/// Everything stored is proven to restore.
#[track_caller]
pub fn assert_proven(config: &Config) {
    let report = Cmd::with(config).args(["--json", "drill", "--all"]).run().ok().json();
    let items = report["items"].as_array().unwrap();
    assert!(!items.is_empty() && items.iter().all(|item| item["outcome"] == "proven"), "{report:#}");
}

/// An item of a backup's report.
#[track_caller]
pub fn item<'a>(report: &'a Value, name: &str) -> &'a Value {
    let items = report["items"].as_array().expect("a list of items");
    items.iter().find(|item| item["item"] == name).unwrap_or_else(|| panic!("no item {name:?} in {report:#}"))
}

/// The error of an item that failed and left no snapshot.
#[track_caller]
pub fn error_of<'a>(report: &'a Value, name: &str) -> &'a str {
    let item = item(report, name);
    assert_eq!((&item["outcome"], &item["snapshot"]), (&"failed".into(), &Value::Null), "{report:#}");
    item["error"].as_str().expect("an error")
}

/// The snapshot of an item of a backup's report.
#[track_caller]
pub fn snapshot_of<'a>(report: &'a Value, name: &str) -> &'a str {
    item(report, name)["snapshot"]
        .as_str()
        .unwrap_or_else(|| panic!("{name:?} has no snapshot in {report:#}"))
}

/// The ids of the snapshots of an item (`source/item`), oldest first.
pub fn ids_of(config: &Config, name: &str) -> Vec<String> {
    let listed = Cmd::with(config).args(["--json", "snapshots"]).run().ok().json();
    let all = listed["snapshots"].as_array().expect("a list of snapshots");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let of_item = all.iter().filter(|s| format!("{}/{}", text(&s["source"]), text(&s["item"])) == name);
    of_item.map(|s| text(&s["id"])).collect()
}

/// `restore --json` of an item (`source/item`).
pub fn try_restore(config: &Config, name: &str, options: &[&str]) -> Ran {
    Cmd::with(config).args(["--json", "restore"]).arg(name).args(options).run()
}

/// The database's entry in the report of a restore that must succeed.
#[track_caller]
pub fn restore(config: &Config, name: &str, options: &[&str]) -> Value {
    try_restore(config, name, options).ok().json()["database"].clone()
}

/// An item's manifest.
#[track_caller]
pub fn manifest_of(config: &Config, name: &str, at: &str) -> Value {
    let folder = tempfile::tempdir().unwrap();
    try_restore(config, name, &["--at", at, "--to", folder.path().to_str().unwrap()]).ok();
    serde_json::from_slice(&std::fs::read(folder.path().join("manifest.json")).unwrap()).unwrap()
}

/// The items that `discover` lists as protected and as excluded (with the rule), and its failures.
pub struct Found {
    pub items: Vec<String>,
    pub excluded: Vec<(String, String)>,
    pub failed: String,
}

/// `discover --json` of a configuration with one source, which must end with this exit code.
#[track_caller]
pub fn discover(config: &Config, code: i32) -> Found {
    let document = Cmd::with(config).args(["--json", "discover"]).run().expect_code(code).json();
    let list = |key: &str| document["sources"][0][key].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let healthy = |item: &Value| item["problem"].is_null();
    let failed = document["failed"].as_array().unwrap().iter();
    Found {
        items: list("items").iter().filter(|i| healthy(i)).map(|item| text(&item["item"])).collect(),
        excluded: list("excluded").iter().map(|item| (text(&item["item"]), text(&item["rule"]))).collect(),
        failed: failed.map(|f| format!("{}: {}\n", text(&f["source"]), text(&f["error"]))).collect(),
    }
}

/// All files below a directory.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            files.extend(files_below(&entry.path()));
        } else {
            files.push(entry.path());
        }
    }
    files
}

/// Bytes of the files below a directory.
pub fn usage(folder: &Path) -> u64 {
    files_below(folder).iter().map(|file| file.metadata().unwrap().len()).sum()
}

/// Fails unless every text occurs.
#[track_caller]
pub fn assert_says(text: &str, wanted: &[&str]) {
    for part in wanted {
        assert!(text.contains(part), "{part:?} is not said in:\n{text}");
    }
}
