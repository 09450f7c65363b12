//! All items are discovered, stored once, and restored.

use std::{collections::BTreeMap, path::Path, path::PathBuf, time::SystemTime};

use serde_json::Value;
use testkit::{
    Cmd, Config,
    reports::{Found, backup, discover, files_below, ids_of, item, try_backup, try_restore},
};

use super::{
    on_each_kind,
    subject::{SOURCE, Subject, configured, offered, texts},
};

on_each_kind!(what_exists_is_found_and_comes_back, what_is_printed_keeps_its_fields);

fn what_exists_is_found_and_comes_back(subject: &dyn Subject) {
    subject.create("shop", &texts(1_000));
    subject.create_empty("empty");
    let exclusion = excluded(subject);
    let odd = subject.odd_names();
    odd.iter().for_each(|name| subject.create(name, &texts(1)));
    let line = exclusion.as_ref().map_or("", |(line, _)| line.as_str());
    let config = configured(subject, line, "[retention]\nkeep_last = 9");

    let found = discover(&config, 0);
    let mut expected: Vec<_> =
        [&odd[..], &["shop", "empty"]].concat().into_iter().map(|name| subject.name(name)).collect();
    expected.extend(subject.has_globals().then(|| "@globals".to_owned()));
    assert_exclusions(subject, &found, exclusion.as_ref().map(|(_, rule)| rule.as_str()));
    assert_eq!(sorted(found.items), sorted(expected.clone()));

    let before = snapshot_of_folder(config.dir());
    let dry = Cmd::with(&config).args(["--json", "backup", "--dry-run"]).run().ok().json();
    assert_eq!(sorted(names(&dry["sources"][0]["items"])), sorted(expected.clone()));
    assert_eq!(snapshot_of_folder(config.dir()), before, "a dry run writes nothing");

    let first = backup(&config);
    assert_eq!(sorted(names(&first["items"])), sorted(expected));
    for name in odd.iter().chain(&["shop", "empty"]) {
        let target = format!("{name}2");
        let done = restore(subject, &config, name, &target, &[]);
        let report = subject.report();
        if let Some(key) = report.target {
            assert_eq!((&done[key], &done["created"]), (&subject.name(&target).into(), &true.into()));
        }
        assert_eq!(subject.content(&target), subject.content(name), "{name:?}");
        let texts = match *name {
            "shop" => 1_005,
            "empty" => 0,
            _ => 6,
        };
        assert_eq!(done[report.rows], subject.rows(texts), "{name:?}");
        subject.remove(&target);
    }

    subject.create("tomorrow", &texts(1));
    subject.remove("empty");
    let second = backup(&config);
    assert_eq!(item(&second, &subject.name("tomorrow"))["outcome"], "ok", "a new one joins by itself");
    assert_eq!(ids_of(&config, &subject.full("empty")).len(), 1, "one that is gone keeps what it has");
    let added = |report: &Value| item(report, &subject.name("shop"))["bytes_added"].as_u64().unwrap();
    let added = (added(&first), added(&second));
    assert!(added.0 > 60_000 && (added.1 < 8_000 || !subject.repeats_itself()), "{added:?}");

    older_states_can_be_restored(subject, &config);
    if exclusion.is_some() {
        let ran = try_backup(&config, &[&subject.full("scratch-1")]).expect_code(1);
        assert!(ran.stdout.contains("it is excluded"), "{}", ran.stdout);
    }
    // A wrong name is reported before anything is done.
    let (shop, wrong) = (subject.full("shop"), subject.full("shp"));
    let ran = try_backup(&config, &[&shop, &wrong]).expect_code(2);
    assert!(ran.stderr.contains("no such item") && ran.stderr.contains(&shop), "{}", ran.stderr);
}

/// Creates an item for a pattern to exclude; the line that does so, and its rule.
fn excluded(subject: &dyn Subject) -> Option<(String, String)> {
    let exclusion = offered("items that are excluded by name", subject.exclusion("scratch-*"))?;
    subject.create("scratch-1", &texts(1));
    Some(exclusion)
}

/// The excluded items are listed with their rules.
fn assert_exclusions(subject: &dyn Subject, found: &Found, rule: Option<&str>) {
    let all = &found.excluded;
    if let Some(rule) = rule {
        assert!(all.contains(&(subject.name("scratch-1"), rule.to_owned())), "{all:?}");
    }
    if let Some(rule) = offered("something that is never backed up", subject.never_backed_up()) {
        assert!(all.iter().any(|(_, text)| text.starts_with(rule)), "{all:?}");
    }
}

/// A new row is backed up, and the state before it can still be restored. Two snapshots of the item exist.
fn older_states_can_be_restored(subject: &dyn Subject, config: &Config) {
    subject.add("shop", "one more");
    backup(config);
    let ids = ids_of(config, &subject.full("shop"));
    assert_eq!(ids.len(), 3);
    let digest = |id: &String| subject.manifest(config, "shop", id)["objects"][0]["digest"].clone();
    let digests: Vec<_> = ids.iter().map(digest).collect();
    assert!(digests.iter().all(Value::is_string), "{digests:?}");
    assert!(digests[0] == digests[1] && digests[1] != digests[2], "{digests:?}");
    restore(subject, config, "shop", "then", &["--at", &ids[1][..10]]);
    assert!(!subject.content("then").contains("one more") && subject.content("shop").contains("one more"));
    let code = subject.code_if_occupied();
    try_restore(config, &subject.full("shop"), &[&subject.into("then")]).expect_code(code);
    assert!(!subject.content("then").contains("one more"), "what is there is never written over");
}

/// Restores an item into another one; the part of the report about it.
fn restore(subject: &dyn Subject, config: &Config, item: &str, into: &str, options: &[&str]) -> Value {
    let into = subject.into(into);
    let options = [&[into.as_str()][..], options].concat();
    try_restore(config, &subject.full(item), &options).ok().json()[subject.report().part].clone()
}

/// Programs read these fields: removing one or changing its type breaks them.
fn what_is_printed_keeps_its_fields(subject: &dyn Subject) {
    subject.create("shop", &texts(1));
    let line = excluded(subject).map(|(line, _)| line).unwrap_or_default();
    let config = configured(subject, &line, "");
    let (name, full) = (subject.name("shop"), subject.full("shop"));
    let found = Cmd::with(&config).args(["--json", "discover"]).run().ok().json();
    let source = &found["sources"][0];
    assert_eq!((&source["source"], &source["kind"]), (&SOURCE.into(), &subject.kind().into()));
    let listed = source["items"].as_array().unwrap().iter().find(|item| item["item"] == name).unwrap();
    let estimate = &listed["estimate"];
    assert!(if subject.has_estimates() { estimate.is_u64() } else { estimate.is_null() }, "{listed}");
    assert!(listed["problem"].is_null(), "{listed}");
    assert!(source["excluded"][0]["item"].is_string() && source["excluded"][0]["rule"].is_string());
    assert!(found["failed"].as_array().unwrap().is_empty());

    let report = backup(&config);
    assert!(report["run"].is_string() && report["seconds"].is_f64() && report["error"].is_null());
    assert_eq!((&report["outcome"], &report["forgotten"]), (&"ok".into(), &0.into()));
    let shop = item(&report, &name);
    assert_eq!([&shop["source"], &shop["kind"], &shop["outcome"]], [SOURCE, subject.kind(), "ok"]);
    assert!(shop["bytes_read"].as_u64().unwrap() > 0 && shop["bytes_added"].as_u64().unwrap() > 0);
    assert!(shop["seconds"].is_f64() && shop["error"].is_null());

    let listed = Cmd::with(&config).args(["--json", "snapshots", &full]).run().ok().json();
    let snapshot = &listed["snapshots"][0];
    assert_eq!([&snapshot["source"], &snapshot["item"]], [SOURCE, &name]);
    assert_eq!(snapshot["id"], shop["snapshot"]);
    assert_eq!(listed["snapshots"].as_array().unwrap().len(), 1);
    // RFC 3339, and without the name of a zone behind it, which only few parsers take.
    for time in [&snapshot["time"], &report["started"]] {
        let text = time.as_str().unwrap();
        assert!(text.parse::<jiff::Timestamp>().is_ok() && !text.contains('['), "{text}");
    }

    let done = try_restore(&config, &full, &[&subject.into("copy")]).ok().json();
    assert_eq!([&done["source"], &done["item"]], [SOURCE, &name]);
    assert!(done["snapshot"] == shop["snapshot"] && done["time"].is_string() && done["seconds"].is_f64());
    let report = subject.report();
    let restored = &done[report.part];
    assert_eq!(restored[report.rows], subject.rows(6), "{done}");
    if let Some(tables) = report.tables {
        assert_eq!(restored[tables], 1, "{done}");
    }
    assert!(restored["bytes"].as_u64().unwrap() > 0 && restored["notes"].is_array());
    let folder = config.dir().join("files");
    let done = try_restore(&config, &full, &["--to", folder.to_str().unwrap()]).ok().json();
    let mut files: Vec<_> =
        done["files"].as_array().unwrap().iter().map(|file| PathBuf::from(file.as_str().unwrap())).collect();
    files.sort();
    let mut there = files_below(&folder);
    there.sort();
    assert_eq!(files, there);
    assert_eq!(files.contains(&folder.join("manifest.json")), !subject.is_restored_as_it_was());
    assert!(files.len() >= 2);
}

fn names(items: &Value) -> Vec<String> {
    items.as_array().unwrap().iter().map(|item| item["item"].as_str().unwrap().to_owned()).collect()
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

/// All files below a directory, with the properties that a write would change.
fn snapshot_of_folder(folder: &Path) -> BTreeMap<PathBuf, (u64, SystemTime)> {
    let stat = |file: &PathBuf| file.metadata().map(|data| (data.len(), data.modified().unwrap())).unwrap();
    files_below(folder).into_iter().map(|file| (file.clone(), stat(&file))).collect()
}
