//! An index that is lost or damaged, packs that were cut off, files under wrong names: each is reported, no recoverable
//! data is removed, and the repair restores it.

use std::fs;

use super::{place::Place, rest_server::RestServer};

fn cut(path: &std::path::Path, bytes: u64) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len().saturating_sub(bytes)).unwrap();
}

fn name(path: &std::path::Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn a_lost_index_stops_backup_and_prune_and_can_be_rebuilt() {
    let Some(place) = Place::backed_up(2) else { return };
    for index in place.files_of("index") {
        fs::remove_file(index).unwrap();
    }
    let before = place.content();
    for command in ["backup", "prune"] {
        let run = place.run(&[command]).expect_code(4);
        assert!(run.stderr.contains("the index is lost"), "{}", run.stderr);
        assert!(run.stderr.contains("→ `tik-backup repair index`"), "{}", run.stderr);
        assert_eq!(place.content(), before, "{command} changed something");
    }
    let check = place.run(&["check"]).expect_code(1);
    assert!(check.stdout.contains("DAMAGED: the index is lost"), "{}", check.stdout);
    assert!(check.stdout.contains("→ `tik-backup repair index`"), "{}", check.stdout);
    let target = place.config.dir().join("restored").display().to_string();
    let restore = place.run(&["restore", &item(&place), "--to", &target]);
    assert_ne!(restore.code(), Some(0), "{restore:?}");

    let report = place.run(&["--json", "repair", "index"]).ok().json();
    assert_eq!(report["indexed"], report["packs"], "{report}");
    place.clean();
    place.all_restorable(2);
    // Nothing is stored again: the existing data is known again.
    let backup = place.run(&["--json", "backup"]).ok().json();
    assert!(backup["items"][0]["bytes_added"].as_u64().unwrap() < 100_000, "{backup}");
    place.run(&["prune"]).ok();
    place.clean();
    place.all_restorable(3);
}

/// The only item.
fn item(place: &Place) -> String {
    let snapshots = place.run(&["--json", "snapshots"]).ok().json();
    let first = &snapshots["snapshots"][0];
    format!("{}/{}", first["source"].as_str().unwrap(), first["item"].as_str().unwrap())
}

#[test]
fn a_lost_part_of_the_index_is_found_by_every_command() {
    let Some(place) = Place::backed_up(3) else { return };
    let indexes = place.files_of("index");
    assert_eq!(indexes.len(), 3);
    let packs = place.files_of("data");
    for index in &indexes {
        let aside = place.config.dir().join("aside");
        fs::rename(index, &aside).unwrap();
        for (command, code) in [("backup", 4), ("prune", 4), ("check", 1)] {
            let run = place.run(&[command]).expect_code(code);
            let said = format!("{}{}", run.stdout, run.stderr);
            assert!(said.contains("a part of the index is lost"), "{command}: {said}");
            assert!(said.contains("tik-backup repair index"), "{command}: {said}");
        }
        assert_eq!(place.files_of("data"), packs);
        assert_eq!(place.files_of("index").len(), 2);
        fs::rename(&aside, index).unwrap();
    }
    fs::remove_file(&indexes[1]).unwrap();
    place.run(&["repair", "index"]).ok();
    place.clean();
    place.all_restorable(3);
}

#[test]
fn a_damaged_index_file_is_named_and_replaced() {
    let Some(place) = Place::backed_up(2) else { return };
    let index = place.files_of("index").remove(0);
    cut(&index, 10);
    for command in ["backup", "prune"] {
        let run = place.run(&[command]).expect_code(4);
        assert!(run.stderr.contains("`tik-backup repair index`"), "{}", run.stderr);
    }
    let check = place.run(&["check"]).expect_code(1);
    assert!(check.stdout.contains(&format!("index file {} is damaged", name(&index))), "{}", check.stdout);
    let report = place.run(&["--json", "repair", "index"]).ok().json();
    assert_eq!(report["damaged_indexes"], 1, "{report}");
    assert!(!index.exists());
    place.clean();
    place.all_restorable(2);
}

#[test]
fn packs_that_were_cut_off_count_as_missing_and_what_is_whole_of_them_is_kept() {
    let Some(place) = Place::backed_up(1) else { return };
    // Only the header is lost: every chunk is whole.
    let pack = place.largest_pack();
    cut(&pack, 10);
    let check = place.run(&["check"]).expect_code(1);
    assert!(check.stdout.contains(&name(&pack)[..8]), "{}", check.stdout);
    let run = place.run(&["backup"]).expect_code(3);
    assert!(run.stderr.contains("1 of") && run.stderr.contains("another size"), "{}", run.stderr);
    place.run(&["prune"]).ok();
    place.clean();
    place.all_restorable(2);

    // Nothing of it is left, but the source still has it.
    let pack = place.largest_pack();
    fs::write(&pack, "").unwrap();
    place.run(&["check"]).expect_code(1);
    let run = place.run(&["--json", "backup"]).expect_code(3);
    assert!(run.json()["items"][0]["bytes_added"].as_u64().unwrap() > 100_000, "{}", run.stdout);
    place.run(&["prune"]).ok();
    place.clean();
    place.all_restorable(3);

    // The index can be repaired without a backup; then it says what is lost.
    let pack = place.largest_pack();
    cut(&pack, fs::metadata(&pack).unwrap().len() / 2);
    let report = place.run(&["--json", "repair", "index"]).expect_code(1).json();
    assert_eq!(report["salvaged"], 1, "{report}");
    assert!(report["blobs_salvaged"].as_u64().unwrap() > 0, "{report}");
    assert!(report["blobs_lost"].as_u64().unwrap() > 0, "{report}");
    place.run(&["backup"]).ok();
    place.run(&["prune"]).ok();
    place.clean();
    place.all_restorable(4);
}

#[test]
fn a_damaged_pack_is_repaired_by_its_id() {
    let Some(place) = Place::backed_up(1) else { return };
    let pack = place.largest_pack();
    let mut bytes = fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&pack, &bytes).unwrap();
    let id = name(&pack);
    let check = place.run(&["check", "--read-data"]).expect_code(1);
    assert!(check.stdout.contains(&format!("pack {id}")), "{}", check.stdout);
    let wrong = place.run(&["repair", "packs", "0000000000"]).expect_code(2);
    assert!(wrong.stderr.contains("no pack"), "{}", wrong.stderr);
    // As long as it cannot be copied, nothing is changed.
    let copy = place.config.state_dir().join("damaged-packs").join(&id);
    fs::create_dir_all(&copy).unwrap();
    let before = place.content();
    let failed = place.run(&["repair", "packs", &id]).expect_code(1);
    assert!(failed.stderr.contains("cannot copy a damaged pack"), "{}", failed.stderr);
    assert_eq!(place.content(), before);
    fs::remove_dir(&copy).unwrap();
    // One chunk is lost, which the code says.
    let report = place.run(&["--json", "repair", "packs", &id]).expect_code(1).json();
    assert_eq!((&report["salvaged"], &report["blobs_lost"]), (&1.into(), &1.into()), "{report}");
    assert_eq!(report["moved"], 1, "{report}");
    assert!(!pack.exists());
    assert_eq!(fs::read(&copy).unwrap(), bytes);
    assert_eq!(fs::read_dir(copy.parent().unwrap()).unwrap().count(), 1, "nothing else is left there");
    // What is lost of it is stored again, which completes the older snapshot.
    place.run(&["backup"]).ok();
    place.clean();
    place.all_restorable(2);
}

#[test]
fn files_under_wrong_names_are_named() {
    let Some(place) = Place::backed_up(1) else { return };
    for folder in ["snapshots", "index", "keys"] {
        let path = place.files_of(folder).remove(0);
        let right = name(&path);
        // Another first digit, and every name has 64 of them.
        let first = if right.starts_with('0') { "1" } else { "0" };
        let wrong = path.with_file_name(format!("{first}{}", &right[1..]));
        fs::rename(&path, &wrong).unwrap();
        let check = place.run(&["check"]).expect_code(1);
        assert!(check.stdout.contains("has a wrong name"), "{folder}: {}", check.stdout);
        assert!(check.stdout.contains(&right) && check.stdout.contains(&name(&wrong)), "{}", check.stdout);
        fs::rename(&wrong, &path).unwrap();
    }
    place.clean();
}

#[test]
fn a_pack_that_an_interrupted_run_left_is_no_lost_index() {
    let Some(place) = Place::backed_up(1) else { return };
    let other = Place::backed_up(1).unwrap();
    // As a run that was killed leaves it: in no index, needed by no snapshot.
    let from = other.largest_pack();
    let to = place.repo().join("data").join(&name(&from)[..2]).join(name(&from));
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(from, &to).unwrap();
    place.run(&["backup"]).ok();
    let check = place.run(&["check"]).ok();
    assert!(check.stdout.contains("warning: 1 pack in no index file"), "{}", check.stdout);
    place.run(&["prune"]).ok();
    assert!(!to.exists());
    place.clean();
}

#[test]
fn unreadable_directories_do_not_count_as_stored() {
    let Some(place) = Place::backed_up(1) else { return };
    // The smallest pack is the one with the directories.
    let pack =
        place.files_of("data").into_iter().min_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    fs::write(&pack, vec![0; fs::metadata(&pack).unwrap().len() as usize]).unwrap();
    place.add("more");
    let run = place.run(&["backup"]).expect_code(1);
    assert!(run.stderr.contains("`tik-backup repair packs ID`"), "{}", run.stderr);
    assert_eq!(place.files_of("snapshots").len(), 1);
    let older = name(&place.files_of("snapshots")[0]);
    let check = place.run(&["check", "--read-data"]).expect_code(1);
    assert!(check.stdout.contains(&name(&pack)), "{}", check.stdout);
    let repair = place.run(&["repair", "packs", &name(&pack)]).expect_code(1);
    assert!(repair.stdout.contains("LOST: ") && repair.stdout.contains("run a backup"), "{}", repair.stdout);
    place.run(&["backup"]).ok();
    // The root of the older one was in that pack alone.
    place.new.ok(&place.repo(), &place.config.password_file(), &["forget", &older]);
    place.run(&["prune"]).ok();
    place.clean();
    place.all_restorable(1);
}

#[test]
fn packs_that_are_not_mounted_are_not_taken_out_of_the_index() {
    let Some(place) = Place::backed_up(2) else { return };
    let (data, aside) = (place.repo().join("data"), place.config.dir().join("data"));
    fs::rename(&data, &aside).unwrap();
    fs::create_dir(&data).unwrap();
    let before = place.content();
    for command in [&["repair", "index"][..], &["backup"], &["prune"]] {
        let run = place.run(command).expect_code(4);
        assert!(run.stderr.contains("is the storage mounted completely?"), "{command:?}: {}", run.stderr);
        assert!(run.stderr.contains("`tik-backup repair index --force`"), "{}", run.stderr);
        assert_eq!(place.content(), before, "{command:?} changed something");
    }
    fs::remove_dir(&data).unwrap();
    fs::rename(&aside, &data).unwrap();
    place.clean();

    // Lost indeed, it is said, and a backup stores again what the source has.
    for pack in place.files_of("data") {
        fs::remove_file(pack).unwrap();
    }
    let run = place.run(&["repair", "index", "--force"]).expect_code(1);
    assert!(run.stdout.contains("LOST: ") && !run.stdout.contains("complete"), "{}", run.stdout);
    let last = run.stdout.lines().last().unwrap();
    assert!(last.contains("are missing: run a backup"), "{}", run.stdout);
    place.run(&["backup"]).ok();
    let newest = place.new.snapshots_json(&place.repo(), &place.config.password_file()).pop().unwrap();
    let target = tempfile::tempdir().unwrap();
    let id = newest["id"].as_str().unwrap();
    place.new.restore_verify(&place.repo(), &place.config.password_file(), id, target.path());
}

#[test]
fn one_pack_that_is_gone_is_named_with_code_one_and_the_index_is_not_called_complete() {
    let Some(place) = Place::backed_up(2) else { return };
    fs::remove_file(place.largest_pack()).unwrap();
    let run = place.run(&["repair", "index"]).expect_code(1);
    assert!(run.stdout.contains("LOST: 1 pack that the index listed is not"), "{}", run.stdout);
    assert!(!run.stdout.contains("complete"), "{}", run.stdout);
    assert!(run.stdout.lines().last().unwrap().contains("1 pack is missing: run a backup"), "{}", run.stdout);
    place.run(&["backup"]).ok();
    let whole = place.run(&["repair", "index"]).ok();
    assert!(whole.stdout.starts_with("the index is complete: "), "{}", whole.stdout);
    place.clean();
    place.all_restorable(3);
}

/// Where there are no locks, a backup may store a pack and its index after the packs were listed.
#[test]
fn a_pack_that_a_backup_has_just_stored_is_not_taken_for_lost() {
    let Some(place) = Place::backed_up(2) else { return };
    let server = RestServer::start(&place.repo());
    let config = place.remote(&server.location());
    let pack = name(&place.largest_pack());
    for size in [None, Some(1000)] {
        let indexes = place.files_of("index");
        server.list_outdated(&pack, size);
        let report = place.run_remote(&config, &["--json", "repair", "index"]).ok().json();
        assert!(server.listed_outdated());
        assert_eq!((&report["lost"], &report["indexed"]), (&0.into(), &0.into()), "{report}");
        assert_eq!(place.files_of("index"), indexes);

        server.list_outdated(&pack, size);
        let run = place.run_remote(&config, &["backup"]).ok();
        assert!(server.listed_outdated());
        assert!(!run.stderr.contains("from the index"), "{}", run.stderr);
        assert!(indexes.iter().all(|index| index.exists()), "index files were replaced");
    }
    place.clean();
    place.all_restorable(4);
}
