//! Storages without locks: snapshots count only after the end of the run has checked that their data still exists. And uploads
//! whose answer is lost.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, atomic::AtomicU64},
};

use testkit::Ran;
use tik_backup::{backup, config::Config, outcome::ItemReport, stream::cancel::Cancel};

use super::{place::Place, pruned_beside, rest_server::RestServer};

/// Two items. A prune breaks the one that is committed first, just before its snapshot is written.
fn broken_first() -> Option<(Place, RestServer, PathBuf)> {
    let (place, server, config) = pruned_beside::forgotten()?;
    in_two(&place, &config);
    server.before_upload("/snapshots/", pruned_beside::prune(place.repo(), place.config.password_file()));
    Some((place, server, config))
}

/// Makes two items of the directory.
fn in_two(place: &Place, config: &Path) {
    let folder = place.folder();
    let text = fs::read_to_string(config).unwrap();
    let (one, two) = (folder.join("first"), folder.join("more"));
    let from = format!("paths = [\"{}\"]", folder.display());
    assert!(text.contains(&from), "{text}");
    let to = format!("paths = [\"{}\", \"{}\"]", one.display(), two.display());
    fs::write(config, text.replace(&from, &to)).unwrap();
}

/// Exactly one item is reported with the snapshot that was removed; no success was reported for it.
#[track_caller]
fn one_was_removed_again(run: &Ran) {
    let report = run.json();
    let items = report["items"].as_array().unwrap();
    assert_eq!(items.len(), 2, "{report}");
    let is_removed = |item: &&serde_json::Value| {
        item["outcome"] == "failed" && item["error"].as_str().unwrap().contains("was removed again")
    };
    let removed: Vec<_> = items.iter().filter(is_removed).collect();
    assert_eq!(removed.len(), 1, "{report}");
    let name = format!("files/{}", removed[0]["item"].as_str().unwrap());
    assert!(!run.stderr.contains(&format!("{name}: ok")), "{}", run.stderr);
    assert_eq!(run.stderr.matches(&format!("{name}: FAILED")).count(), 1, "{}", run.stderr);
}

#[test]
fn a_snapshot_that_is_removed_again_is_no_success_although_the_storage_has_failed_since() {
    let Some((place, server, config)) = broken_first() else { return };
    let faults = server.faults();
    // The other item's.
    server.before_upload("/snapshots/", move || faults.refuse("/snapshots/", 507, u32::MAX));
    let run = place.run_remote(&config, &["--json", "backup"]).expect_code(4);
    assert!(server.acted());
    one_was_removed_again(&run);
    assert!(place.files_of("snapshots").is_empty());
    server.relent();
    place.run_remote(&config, &["backup"]).ok();
    place.clean();
    place.all_restorable(2);
}

#[test]
fn a_snapshot_that_a_failed_writer_could_not_look_at_is_looked_at_by_the_next_one() {
    let Some((place, server, config)) = broken_first() else { return };
    let faults = server.faults();
    // The library asks twice.
    server.before_upload("/snapshots/", move || faults.away_until("/data/", 2));
    let run = place.run_remote(&config, &["--json", "backup"]).expect_code(3);
    assert!(server.acted());
    one_was_removed_again(&run);
    assert_eq!(place.files_of("snapshots").len(), 1);
    place.clean();
    place.all_restorable(1);
    place.run_remote(&config, &["backup"]).ok();
    place.clean();
    place.all_restorable(3);
}

#[test]
fn an_upload_whose_answer_is_lost_is_carried_out() {
    let Some(place) = Place::backed_up(1) else { return };
    let server = RestServer::start(&place.repo());
    let config = place.remote(&server.location());
    for (number, kind) in ["/data/", "/index/", "/snapshots/"].into_iter().enumerate() {
        place.add(kind.trim_matches('/'));
        server.lose_answer(kind);
        place.run_remote(&config, &["backup"]).ok();
        assert!(server.is_answer_lost());
        place.clean();
        place.all_restorable(number + 2);
    }
}

struct Silent;

impl backup::Observer for Silent {
    fn notice(&self, _: &str) {}
    fn started(&self, _: &str, _: Option<u64>, _: Arc<AtomicU64>) {}
    fn finished(&self, item: &ItemReport) {
        SEEN.lock().unwrap().push(item.name());
    }
}

static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());

#[test]
fn a_storage_that_fails_ends_the_run_and_nothing_that_comes_after_it() {
    let Some(place) = Place::backed_up(0) else { return };
    let server = RestServer::start(&place.repo());
    let path = place.remote(&server.location());
    server.refuse("/data/", 507, u32::MAX);
    let config = Config::load(Some(&path)).unwrap();
    let cancel = Cancel::new();
    let report = backup::run(&config, &[], &Silent, &cancel).unwrap();
    assert!(report.error.is_some(), "{report:?}");
    assert_eq!(SEEN.lock().unwrap().len(), 1, "the item is told once");
    // Otherwise the alert would be sent with a short time limit.
    assert!(!cancel.is_cancelled(), "nobody wants the program to end: {cancel:?}");
}
