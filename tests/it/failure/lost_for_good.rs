//! Permanent losses are reported until they are resolved: packs, directories together with their index, and whole snapshots.

use std::{collections::BTreeSet, fs, path::PathBuf};

use serde_json::Value;
use testkit::{Cmd, process::run_ok};

use super::place::Place;

fn status(place: &Place) -> Value {
    place.run(&["--json", "status"]).ok().json()
}

fn kinds(status: &Value) -> Vec<&str> {
    status["problems"].as_array().unwrap().iter().map(|problem| problem["kind"].as_str().unwrap()).collect()
}

fn smallest(packs: &[PathBuf]) -> &PathBuf {
    packs.iter().min_by_key(|path| fs::metadata(path).unwrap().len()).unwrap()
}

#[test]
fn a_loss_is_reported_until_the_incomplete_snapshots_are_removed_and_a_check_is_clean() {
    let Some(place) = Place::backed_up(1) else { return };
    assert!(kinds(&status(&place)).is_empty());
    fs::remove_file(place.largest_pack()).unwrap();
    // The source no longer has the data.
    for name in ["first", "backup 0"] {
        fs::remove_dir_all(place.folder().join(name)).unwrap();
    }
    place.add("other");
    let run = place.run(&["backup"]).expect_code(3);
    assert!(run.stderr.contains("1 pack of the repository was lost or cut off"), "{}", run.stderr);
    // The next run no longer detects it, and the problem stays.
    place.run(&["backup"]).ok();
    let after = status(&place);
    assert_eq!(kinds(&after), ["damage"], "{after}");
    place.run(&["status", "--check"]).expect_code(5);
    place.run(&["watch"]).expect_code(5);

    let found = place.run(&["--json", "check"]).expect_code(1).json();
    let incomplete = found["incomplete"].as_array().unwrap();
    assert_eq!(incomplete.len(), 1, "{found}");
    let id = incomplete[0]["id"].as_str().unwrap();
    let name =
        format!("{}/{}", incomplete[0]["source"].as_str().unwrap(), incomplete[0]["item"].as_str().unwrap());
    let text = place.run(&["check"]).expect_code(1).stdout;
    assert!(text.contains(&format!("INCOMPLETE: snapshot {} {name}", &id[..8])), "{text}");
    assert!(text.contains("`tik-backup forget ") && text.contains(&format!("--id {}`", &id[..8])), "{text}");
    assert_eq!(kinds(&status(&place)), ["damage"]);

    let listed = place.run(&["--json", "forget", &name, "--id", id]).ok().json();
    place.run(&["forget", &name, "--id", id, "--confirm", listed["confirm"].as_str().unwrap()]).ok();
    assert_eq!(kinds(&status(&place)), ["damage"], "only a check knows that nothing is missing");
    place.run(&["check"]).ok();
    let clean = status(&place);
    assert!(kinds(&clean).is_empty(), "{clean}");
    assert!(
        !clean["notes"].to_string().contains("gone"),
        "what was removed on purpose is not missed: {clean}"
    );
    place.clean();
    place.all_restorable(2);
}

#[test]
fn damage_that_reading_finds_is_reported_until_the_pack_is_repaired() {
    let Some(place) = Place::backed_up(1) else { return };
    let pack = place.largest_pack();
    let mut bytes = fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&pack, bytes).unwrap();
    place.run(&["check"]).ok();
    place.run(&["check", "--read-data"]).expect_code(1);
    // A check that reads nothing cannot detect it.
    place.run(&["check"]).ok();
    assert_eq!(kinds(&status(&place)), ["damage"]);
    let id = pack.file_name().unwrap().to_str().unwrap();
    place.run(&["repair", "packs", id]).expect_code(1);
    place.run(&["backup"]).ok();
    assert_eq!(kinds(&status(&place)), ["damage"]);
    place.run(&["check", "--read-data"]).ok();
    assert!(kinds(&status(&place)).is_empty());
}

#[test]
fn a_part_of_the_index_that_is_lost_together_with_directories_is_found() {
    let Some(place) = Place::backed_up(1) else { return };
    let (packs, indexes): (BTreeSet<_>, BTreeSet<_>) =
        (place.files_of("data").into_iter().collect(), place.files_of("index").into_iter().collect());
    place.add("more");
    place.run(&["backup"]).ok();
    let new: Vec<_> = place.files_of("data").into_iter().filter(|pack| !packs.contains(pack)).collect();
    assert!(new.len() > 1);
    for index in place.files_of("index").into_iter().filter(|index| !indexes.contains(index)) {
        fs::remove_file(index).unwrap();
    }
    // The smallest pack is the one with the directories.
    fs::remove_file(smallest(&new)).unwrap();
    let before = place.content();
    for command in ["backup", "prune", "drill"] {
        let run = place.run(&[command]).expect_code(4);
        assert!(run.stderr.contains("a part of the index is lost"), "{command}: {}", run.stderr);
        assert!(run.stderr.contains("→ `tik-backup repair index`"), "{command}: {}", run.stderr);
        assert_eq!(place.content(), before, "{command} changed something");
    }
    let check = place.run(&["check"]).expect_code(1);
    assert!(check.stdout.contains("a part of the index is lost"), "{}", check.stdout);
    assert!(!check.stdout.contains("no snapshot needs"), "{}", check.stdout);

    place.run(&["repair", "index"]).ok();
    let run = place.run(&["--json", "backup"]).ok();
    assert!(!run.stderr.contains("was interrupted"), "a drill that ended by itself: {}", run.stderr);
    let added = run.json()["items"][0]["bytes_added"].as_u64().unwrap();
    assert!(added < 1_000_000, "what was there was stored again: {added} bytes");
}

#[test]
fn snapshots_that_another_program_removed_are_reported() {
    let Some(place) = Place::backed_up(1) else { return };
    let older = place.config.dir().join("older");
    run_ok(std::process::Command::new("cp").arg("-a").arg(place.repo()).arg(&older), b"");
    for name in ["second", "third"] {
        place.add(name);
        place.run(&["backup"]).ok();
    }
    fs::remove_dir_all(place.repo()).unwrap();
    fs::rename(&older, place.repo()).unwrap();
    for _ in 0..2 {
        let seen = status(&place);
        assert_eq!(kinds(&seen), ["snapshots-gone"], "{seen}");
        assert!(
            seen["notes"].to_string().contains("2 snapshots that were in the repository are gone"),
            "{seen}"
        );
    }
    Cmd::with(&place.config).args(["status", "--check"]).run().expect_code(5);
    let run = place.run(&["backup"]).ok();
    assert!(run.stderr.contains("2 snapshots that were in the repository are gone"), "{}", run.stderr);
    let seen = status(&place);
    assert!(kinds(&seen).is_empty(), "there is a newer one: {seen}");
    place.clean();
    place.all_restorable(2);
}

#[test]
fn a_manifest_that_cannot_be_read_puts_the_previous_snapshot_in_doubt() {
    let Some(place) = Place::backed_up(1) else { return };
    let packs = place.files_of("data");
    let folders = smallest(&packs);
    for pack in packs.iter().filter(|pack| *pack != folders) {
        // The same number of bytes as before.
        fs::write(pack, vec![0; usize::try_from(fs::metadata(pack).unwrap().len()).unwrap()]).unwrap();
    }
    let run = place.run(&["--json", "backup"]);
    assert!(run.stdout.contains("the previous snapshot could not be read"), "{run:?}");
}
