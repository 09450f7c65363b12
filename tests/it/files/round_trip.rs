//! Unusual properties of files are stored in a snapshot and restored.

use std::{collections::BTreeMap, fs};

use testkit::{
    Cmd, Restic, Tool,
    reports::{assert_proven, assert_says, backup, snapshot_of, try_restore},
    skip_unless, tree,
};

use super::support::{FULL, ITEM, World, text};

type Tree = BTreeMap<Vec<u8>, String>;

/// Without what restic does not bring back: sockets; and with the old one the exact target of a link that is not UTF-8,
/// and the extended attributes of links, which it gives to what they point to.
fn as_restic_restores(tree: &Tree, old: bool) -> Tree {
    let mut tree = tree.clone();
    tree.retain(|_, text| {
        // Of a mode in octal, the first digits tell the type.
        let (socket, link) = (text.starts_with("mode 140"), text.starts_with("mode 120"));
        let raw = text.contains("\\x") || text.contains('\u{fffd}');
        !(socket || (old && link && raw))
    });
    if old {
        tree.values_mut().for_each(|text| *text = text.replace(" trusted.of-a-link=only root", ""));
    }
    tree
}

#[test]
fn a_tree_comes_back_through_restic_and_through_us() {
    skip_unless!(Tool::Restic, Tool::ResticNew);
    let (Some(old), Some(new)) = (Restic::old(), Restic::new_()) else { return };
    let world = World::new("");
    tree::build(&world.root());
    let before = tree::describe(&world.root());
    let report = backup(&world.config);
    let snapshot = snapshot_of(&report, ITEM);
    tree::assert_same(&before, &tree::describe(&world.root()));
    assert_proven(&world.config);

    let into = world.out("ours");
    let restored =
        try_restore(&world.config, FULL, &["--to", text(&into), "--with-setuid-and-devices"]).ok().json();
    tree::assert_same(&before, &tree::describe(&into));
    let detail = world.detail(&new, snapshot);
    assert_eq!(restored["folder"]["files"], detail["files"]);
    assert_eq!(restored["folder"]["bytes"], detail["bytes"]);

    for (restic, is_old, name) in [(&old, true, "old"), (&new, false, "new")] {
        restic.check(&world.config.repo(), &world.config.password_file(), true);
        let target = world.restic_restore(restic, snapshot, name);
        let restored = tree::describe(&target);
        tree::assert_same(&as_restic_restores(&before, is_old), &as_restic_restores(&restored, is_old));
    }
}

#[test]
fn a_second_run_reads_nothing_again_and_only_what_changed_is_read_then() {
    let Some(restic) = Restic::new_() else { return };
    let world = World::new("");
    tree::build(&world.root());
    world.settle();
    let first = backup(&world.config);
    let first = world.detail(&restic, snapshot_of(&first, ITEM));

    let second = backup(&world.config);
    let read = second["items"][0]["bytes_read"].as_u64().unwrap();
    assert!(read < 10_000, "{read} bytes read for a manifest");
    let detail = world.detail(&restic, snapshot_of(&second, ITEM));
    assert_eq!((&detail["taken_over"], &detail["digest"]), (&first["files"], &first["digest"]));

    fs::write(world.path("contents/empty"), "no more").unwrap();
    let third = backup(&world.config);
    let snapshot = snapshot_of(&third, ITEM);
    let detail = world.detail(&restic, snapshot);
    assert_eq!(detail["taken_over"].as_u64().unwrap() + 1, first["files"].as_u64().unwrap());
    assert_ne!(detail["digest"], first["digest"]);
    restic.check(&world.config.repo(), &world.config.password_file(), true);
    let into = world.out("third");
    try_restore(&world.config, FULL, &["--at", snapshot, "--to", text(&into), "--with-setuid-and-devices"])
        .ok();
    tree::assert_same(&tree::describe(&world.root()), &tree::describe(&into));
}

#[test]
fn what_is_excluded_is_not_in_the_snapshot_and_told_in_its_manifest() {
    let Some(restic) = Restic::new_() else { return };
    let world = World::new("exclude = [\"*.tmp\", \"/cache/\", \"a/**/skip\"]");
    for path in ["cache/x", "a/cache/keep", "a/b/c/skip", "a/skip", "b/skip", "a/x.tmp", "y.tmp/z"] {
        fs::create_dir_all(world.path(path).parent().unwrap()).unwrap();
        fs::write(world.path(path), "x").unwrap();
    }
    let report = backup(&world.config);
    let into = world.out("out");
    try_restore(&world.config, FULL, &["--to", text(&into)]).ok();
    let found = tree::describe(&into);
    let names: Vec<_> = found.keys().map(|path| String::from_utf8_lossy(path)).collect();
    assert_eq!(names, ["", "a", "a/b", "a/b/c", "a/cache", "a/cache/keep", "b", "b/skip"]);
    let detail = world.detail(&restic, snapshot_of(&report, ITEM));
    let counts: Vec<_> = detail["excluded"].as_array().unwrap().iter().map(|rule| &rule["entries"]).collect();
    assert_eq!(counts, [2, 1, 2]);
}

#[test]
fn a_folder_that_is_not_empty_is_not_restored_into() {
    let world = World::new("");
    fs::write(world.path("a"), "x").unwrap();
    backup(&world.config);
    let refused = Cmd::with(&world.config).args(["restore", FULL, "--to", text(&world.root())]).run();
    assert_says(&refused.expect_code(2).stderr, &["is not empty"]);
}

#[test]
fn items_are_told_before_anything_is_stored() {
    let world = World::new("");
    let found = testkit::reports::discover(&world.config, 0);
    assert_eq!(found.items, [ITEM]);
}
