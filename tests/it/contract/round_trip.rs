//! All items are discovered, stored once, and restored.

use std::{collections::BTreeMap, path::Path, path::PathBuf, time::SystemTime};

use serde_json::Value;
use testkit::{
    Cmd,
    reports::{backup, discover, files_below, ids_of, item, manifest_of, restore, try_backup, try_restore},
};

use super::{
    on_each_kind,
    subject::{SOURCE, Subject, configured, full, texts},
};

on_each_kind!(what_exists_is_found_and_comes_back, what_is_printed_keeps_its_fields);

fn what_exists_is_found_and_comes_back(subject: &dyn Subject) {
    subject.create("shop", &texts(1_000));
    subject.create_empty("empty");
    subject.create("scratch_1", &texts(1));
    let odd = subject.odd_names();
    odd.iter().for_each(|name| subject.create(name, &texts(1)));
    let config = configured(subject, "exclude = [\"scratch_*\"]", "[retention]\nkeep_last = 9");

    let found = discover(&config, 0);
    let mut expected: Vec<_> =
        [&odd[..], &["shop", "empty"]].concat().into_iter().map(str::to_owned).collect();
    expected.extend(subject.has_globals().then(|| "@globals".to_owned()));
    assert_eq!(sorted(found.items), sorted(expected.clone()));
    assert!(found.excluded.contains(&("scratch_1".to_owned(), "exclude = \"scratch_*\"".to_owned())));
    assert!(found.excluded.iter().any(|(_, rule)| rule.starts_with("built-in")), "{:?}", found.excluded);

    let before = snapshot_of_folder(config.dir());
    let dry = Cmd::with(&config).args(["--json", "backup", "--dry-run"]).run().ok().json();
    assert_eq!(sorted(names(&dry["sources"][0]["items"])), sorted(expected.clone()));
    assert_eq!(snapshot_of_folder(config.dir()), before, "a dry run writes nothing");

    let first = backup(&config);
    assert_eq!(sorted(names(&first["items"])), sorted(expected));
    for name in odd.iter().chain(&["shop", "empty"]) {
        let target = format!("{name}2");
        let done = restore(&config, &full(name), &[&format!("--into={}", subject.into(&target))]);
        assert_eq!((&done["database"], &done["created"]), (&target.as_str().into(), &true.into()));
        assert_eq!(subject.content(&target), subject.content(name), "{name:?}");
        let rows = match *name {
            "shop" => 1_005,
            "empty" => 0,
            _ => 6,
        };
        assert_eq!(done["rows"], rows, "{name:?}");
        subject.remove(&target);
    }

    subject.create("tomorrow", &texts(1));
    subject.remove("empty");
    let second = backup(&config);
    assert_eq!(item(&second, "tomorrow")["outcome"], "ok", "a new one joins by itself");
    assert_eq!(ids_of(&config, &full("empty")).len(), 1, "one that is gone keeps what it has");
    let added = |report: &Value| item(report, "shop")["bytes_added"].as_u64().unwrap();
    let added = (added(&first), added(&second));
    assert!(added.0 > 60_000 && (added.1 < 8_000 || !subject.repeats_itself()), "{added:?}");

    // A new row is backed up, and the older state can still be restored.
    subject.add("shop", "one more");
    backup(&config);
    let ids = ids_of(&config, &full("shop"));
    assert_eq!(ids.len(), 3);
    let digest = |id: &String| manifest_of(&config, &full("shop"), id)["objects"][0]["digest"].clone();
    let digests: Vec<_> = ids.iter().map(digest).collect();
    assert!(digests[0] == digests[1] && digests[1] != digests[2], "{digests:?}");
    restore(&config, &full("shop"), &["--into", &subject.into("then"), "--at", &ids[1][..10]]);
    assert!(!subject.content("then").contains("one more") && subject.content("shop").contains("one more"));
    try_restore(&config, &full("shop"), &["--into", &subject.into("then")]).expect_code(1);
    assert!(!subject.content("then").contains("one more"), "what is there is never written over");

    let ran = try_backup(&config, &["source/scratch_1"]).expect_code(1);
    assert!(ran.stdout.contains("it is excluded"), "{}", ran.stdout);
    // A wrong name is reported before anything is done.
    let ran = try_backup(&config, &["source/shop", "source/shp"]).expect_code(2);
    assert!(ran.stderr.contains("no such item") && ran.stderr.contains("source/shop"), "{}", ran.stderr);
}

/// Programs read these fields: removing one or changing its type breaks them.
fn what_is_printed_keeps_its_fields(subject: &dyn Subject) {
    subject.create("shop", &texts(1));
    let config = configured(subject, "exclude = [\"nothing\"]", "");
    let found = Cmd::with(&config).args(["--json", "discover"]).run().ok().json();
    let source = &found["sources"][0];
    assert_eq!((&source["source"], &source["kind"]), (&SOURCE.into(), &subject.kind().into()));
    let listed = source["items"].as_array().unwrap().iter().find(|item| item["item"] == "shop").unwrap();
    assert!(listed["estimate"].is_u64() && listed["problem"].is_null(), "{listed}");
    assert!(source["excluded"][0]["item"].is_string() && source["excluded"][0]["rule"].is_string());
    assert!(found["failed"].as_array().unwrap().is_empty());

    let report = backup(&config);
    assert!(report["run"].is_string() && report["seconds"].is_f64() && report["error"].is_null());
    assert_eq!((&report["outcome"], &report["forgotten"]), (&"ok".into(), &0.into()));
    let shop = item(&report, "shop");
    assert_eq!([&shop["source"], &shop["kind"], &shop["outcome"]], [SOURCE, subject.kind(), "ok"]);
    assert!(shop["bytes_read"].as_u64().unwrap() > 0 && shop["bytes_added"].as_u64().unwrap() > 0);
    assert!(shop["seconds"].is_f64() && shop["error"].is_null());

    let listed = Cmd::with(&config).args(["--json", "snapshots", "source/shop"]).run().ok().json();
    let snapshot = &listed["snapshots"][0];
    assert_eq!([&snapshot["source"], &snapshot["item"]], [SOURCE, "shop"]);
    assert_eq!(snapshot["id"], shop["snapshot"]);
    assert_eq!(listed["snapshots"].as_array().unwrap().len(), 1);
    // RFC 3339, and without the name of a zone behind it, which only few parsers take.
    for time in [&snapshot["time"], &report["started"]] {
        let text = time.as_str().unwrap();
        assert!(text.parse::<jiff::Timestamp>().is_ok() && !text.contains('['), "{text}");
    }

    let done = try_restore(&config, &full("shop"), &["--into", &subject.into("copy")]).ok().json();
    assert_eq!([&done["source"], &done["item"]], [SOURCE, "shop"]);
    assert!(done["snapshot"] == shop["snapshot"] && done["time"].is_string() && done["seconds"].is_f64());
    let database = &done["database"];
    assert_eq!((&database["tables"], &database["rows"]), (&1.into(), &6.into()));
    assert!(database["bytes"].as_u64().unwrap() > 0 && database["notes"].is_array());
    let folder = config.dir().join("files");
    let done = try_restore(&config, &full("shop"), &["--to", folder.to_str().unwrap()]).ok().json();
    let mut files: Vec<_> =
        done["files"].as_array().unwrap().iter().map(|file| PathBuf::from(file.as_str().unwrap())).collect();
    files.sort();
    let mut there = files_below(&folder);
    there.sort();
    assert_eq!(files, there);
    assert!(files.contains(&folder.join("manifest.json")) && files.len() >= 2);
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
