//! Configurations for servers, documents to fill them with, and ways to make them fail.

use std::{
    fs,
    path::{Path, PathBuf},
};

use mongodb::bson::{Bson, Document, RawDocumentBuf, doc, rawdoc};
use serde_json::Value;
use tempfile::TempDir;
use testkit::{
    Config, ConfigBuilder, MongoServer,
    program::quoted,
    reports::{item, ready, snapshot_of, try_backup, try_restore},
};

use super::link::joined;

/// The name of the source in configurations made here.
pub const SOURCE: &str = "mg";

/// A configuration whose source [`SOURCE`] is this server, with a repository that exists.
pub fn configured(server: &MongoServer, more: &str) -> Config {
    ready(keeping().mongodb(SOURCE, server, more))
}

/// A configuration to be, which keeps every snapshot: with the defaults it would be one a day.
pub fn keeping() -> ConfigBuilder {
    ConfigBuilder::new().tables("[retention]\nkeep_last = 1000")
}

/// The full name of an item.
pub fn full(item: &str) -> String {
    format!("{SOURCE}/{item}")
}

/// The lines of a source with this connection string, in a file of mode 0600 beside the configuration.
pub fn source_of(builder: &ConfigBuilder, name: &str, uri: &str, more: &str) -> String {
    let file = builder.secret(&format!("uri of {name}"), uri);
    format!("kind = \"mongodb\"\nuri_file = {}\n{more}", quoted(&file.display().to_string()))
}

/// A URL for `--into`.
pub fn url(server: &MongoServer, database: &str) -> String {
    let escaped =
        percent_encoding::percent_encode(database.as_bytes(), percent_encoding::NON_ALPHANUMERIC).to_string();
    format!("mongodb://127.0.0.1:{}/{escaped}?directConnection=true", server.port())
}

/// Documents with these ids and something that differs.
pub fn numbered(range: std::ops::Range<i32>) -> Vec<RawDocumentBuf> {
    range
        .map(|n| rawdoc! { "_id": n, "text": "x".repeat((n % 90) as usize), "half": f64::from(n) / 2.0 })
        .collect()
}

/// Lets a command fail: `mode` is `"alwaysOn"`, or how often after how many that succeed.
#[track_caller]
pub fn fail(server: &MongoServer, command: &str, mode: impl Into<Bson>, how: Document) {
    let mut data = doc! { "failCommands": [command] };
    data.extend(how);
    server.command("admin", doc! { "configureFailPoint": "failCommand", "mode": mode.into(), "data": data });
}

/// Lets nothing fail any more.
pub fn heal(server: &MongoServer) {
    server.command("admin", doc! { "configureFailPoint": "failCommand", "mode": "off" });
}

/// Once, after that many that succeed.
pub fn once_after(skip: i32) -> Document {
    doc! { "skip": skip, "times": 1 }
}

/// The files of an item's newest snapshot, in a directory.
#[track_caller]
pub fn files_of(config: &Config, item: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    try_restore(config, &full(item), &["--to", folder.path().to_str().unwrap()]).ok();
    folder
}

/// Fails unless the item's newest snapshot has exactly these documents, in any order.
#[track_caller]
pub fn assert_stored(config: &Config, item: &str, collection: &str, wanted: &[RawDocumentBuf]) {
    let folder = files_of(config, item);
    let stored = fs::read(folder.path().join(item).join(format!("{collection}.bson"))).unwrap();
    assert!(stored == joined(wanted), "{item}.{collection} is not stored as it was");
}

/// A backup after which the named items, and no others, have failed and left no snapshot; all others have one.
#[track_caller]
pub fn backup_with_failures(config: &Config, failed: &[&str], code: i32) -> Value {
    let report = try_backup(config, &[]).expect_code(code).json();
    for one in report["items"].as_array().unwrap() {
        let name = one["item"].as_str().unwrap_or_default();
        let outcome = if failed.contains(&name) { "failed" } else { "ok" };
        assert_eq!(one["outcome"], outcome, "{name}: {report:#}");
        assert_eq!(one["snapshot"].is_null(), outcome == "failed", "{name}: {report:#}");
    }
    for name in failed {
        item(&report, name);
    }
    report
}

/// The notes of an item's report, one a line.
pub fn notes_of(report: &Value, name: &str) -> String {
    snapshot_of(report, name);
    let notes = item(report, name)["notes"].as_array().cloned().unwrap_or_default();
    notes.iter().map(|note| note.as_str().unwrap()).collect::<Vec<_>>().join("\n")
}

/// The names of the files in a directory, sorted.
pub fn names_in(folder: &Path) -> Vec<String> {
    let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| name(entry.unwrap().path())).collect();
    names.sort();
    names
}
