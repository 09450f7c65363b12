//! Executes the steps of docs/operations.md for a damaged repository literally and in order. Stock restic confirms afterwards
//! that no recoverable data is lost.

use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

use testkit::{bin, process::run_ok};

use super::place::Place;

/// All command blocks of a section, in order.
#[track_caller]
fn commands(heading: &str) -> String {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let text = fs::read_to_string(document).unwrap();
    let level = heading.chars().take_while(|c| *c == '#').count();
    let (mut inside, mut fence, mut script) = (false, None, String::new());
    for line in text.lines() {
        let bare = line.trim_start();
        match fence {
            None if bare == "```sh" => fence = Some(inside),
            // Another kind of block: nothing in it is a heading.
            None if bare.starts_with("```") => fence = Some(false),
            Some(_) if bare == "```" => fence = None,
            Some(true) => script.push_str(&format!("{bare}\n")),
            Some(false) => {}
            None if line == heading => inside = true,
            None if line.starts_with('#') => {
                inside &= line.chars().take_while(|c| *c == '#').count() > level;
            }
            None => {}
        }
    }
    assert!(script.contains("tik-backup"), "docs/operations.md has no commands under {heading}");
    script
}

/// Its backup ends with code 3.
const LOST_PACKS: &str = "## Missing or truncated packs";

/// Runs a section as an operator does in a shell. Every command must succeed, except for the repair of a pack, which ends with 1
/// because some data of the pack is lost.
#[track_caller]
fn follow(place: &Place, heading: &str, variables: &[(&str, String)]) {
    let programs = tempfile::tempdir().unwrap();
    symlink(bin(), programs.path().join("tik-backup")).unwrap();
    let path = format!("{}:{}", programs.path().display(), std::env::var("PATH").unwrap());
    let line = |line: &str| match line.starts_with("tik-backup repair packs ") {
        true => format!("code=0; {line} || code=$?; [ $code = 1 ]\n"),
        // The loss is reported even if all lost data is stored again.
        false if heading == LOST_PACKS && line == "tik-backup backup" => {
            format!("code=0; {line} || code=$?; [ $code = 3 ]\n")
        }
        false => format!("{line}\n"),
    };
    let script: String = commands(heading).lines().map(line).collect();
    let mut shell = Command::new("sh");
    shell.args(["-eux", "-c", &script]);
    shell.env("PATH", path).env("TIK_BACKUP_CONFIG", place.config.path()).env("REPO", place.repo());
    run_ok(shell.envs(variables.iter().map(|(name, value)| (*name, value.as_str()))), b"");
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn the_steps_for_a_lost_index_lose_nothing() {
    let Some(place) = Place::backed_up(2) else { return };
    for index in place.files_of("index") {
        fs::remove_file(index).unwrap();
    }
    follow(&place, "## The index is lost", &[]);
    place.clean();
    place.all_restorable(3);
}

#[test]
fn the_steps_for_packs_lose_nothing_that_the_sources_have() {
    let Some(place) = Place::backed_up(1) else { return };
    fs::remove_file(place.largest_pack()).unwrap();
    follow(&place, LOST_PACKS, &[]);
    place.clean();
    place.all_restorable(2);

    let pack = place.largest_pack();
    flip(&pack);
    follow(&place, "## Packs with changed bytes", &[("PACK", name(&pack))]);
    place.clean();
    place.all_restorable(3);
}

#[test]
fn the_steps_for_snapshot_files_keep_the_other_snapshots() {
    let Some(place) = Place::backed_up(2) else { return };
    let snapshots = place.files_of("snapshots");
    let right = name(&snapshots[0]);
    let wrong = format!("{}{}", if right.starts_with('0') { "1" } else { "0" }, &right[1..]);
    fs::rename(&snapshots[0], snapshots[0].with_file_name(&wrong)).unwrap();
    follow(&place, "## Files under wrong names", &[("WRONG", wrong), ("RIGHT", right.clone())]);
    place.all_restorable(2);

    flip(&snapshots[0]);
    place.run(&["prune"]).expect_code(4);
    follow(&place, "## Damaged snapshot files", &[("SNAPSHOT", right)]);
    place.clean();
    place.all_restorable(1);
}

#[test]
fn the_steps_for_a_full_disk_and_for_a_prune_beside_a_backup_can_be_followed() {
    let Some(place) = Place::backed_up(1) else { return };
    follow(&place, "### Too little space, or a full disk", &[]);
    follow(&place, "## A prune ran beside a backup", &[]);
    place.clean();
    place.all_restorable(3);
}
