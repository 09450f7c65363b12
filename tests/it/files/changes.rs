//! Directories that change during the backup, and filesystems that are mounted or not.

use std::{fs, io::Write, thread, time::Duration};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
pub use testkit::namespace::in_private_namespace;
use testkit::{
    Cmd, Restic,
    program::quoted,
    reports::{assert_says, backup, error_of, item, snapshot_of, try_backup, try_restore},
    tree,
};

use super::support::{FULL, ITEM, World, text};

#[test]
fn a_log_that_grows_all_the_time_is_stored_up_to_some_moment_and_named() {
    let Some(restic) = Restic::new_() else { return };
    let world = World::new("");
    let mut log = fs::File::create(world.path("log")).unwrap();
    log.write_all(&vec![b'x'; 30_000_000]).unwrap();
    fs::write(world.path("quiet"), "quiet").unwrap();
    let run = thread::scope(|scope| {
        let run = scope.spawn(|| try_backup(&world.config, &[]));
        while !run.is_finished() {
            log.write_all(b"y").unwrap();
            thread::sleep(Duration::from_millis(1));
        }
        run.join().unwrap()
    });
    let report = run.ok().json();
    assert_says(&item(&report, ITEM)["notes"].to_string(), &["written to while they were read", "log"]);
    assert_eq!(world.detail(&restic, snapshot_of(&report, ITEM))["changed"], 1);
    let into = world.out("out");
    try_restore(&world.config, FULL, &["--to", text(&into)]).ok();
    let (stored, now) = (fs::read(into.join("log")).unwrap(), fs::read(world.path("log")).unwrap());
    assert!(stored.len() >= 30_000_000 && now.starts_with(&stored));
}

#[test]
fn other_filesystems_are_not_entered_unless_that_is_wanted() {
    let Some(restic) = Restic::new_() else { return };
    in_private_namespace(|| {
        let world = World::new("");
        for name in ["other", "proc"] {
            fs::create_dir(world.path(name)).unwrap();
        }
        fs::write(world.path("own"), "x").unwrap();
        mount("tmpfs", world.path("other"), "tmpfs", MountFlags::empty(), c"size=1m").unwrap();
        mount("proc", world.path("proc"), "proc", MountFlags::empty(), None).unwrap();
        fs::write(world.path("other/foreign"), "x").unwrap();

        let report = backup(&world.config);
        assert_says(&item(&report, ITEM)["notes"].to_string(), &["mounted here", "other, proc"]);
        let detail = world.detail(&restic, snapshot_of(&report, ITEM));
        assert_eq!(
            (&detail["mounts"], &detail["not_entered"]),
            (&2.into(), &serde_json::json!(["other", "proc"]))
        );
        assert_eq!((&detail["files"], &detail["folders"]), (&1.into(), &2.into()), "as empty folders");

        testkit::reports::edit(
            &world.config,
            "kind = \"directory\"",
            "kind = \"directory\"\none_file_system = false",
        );
        let report = backup(&world.config);
        let detail = world.detail(&restic, snapshot_of(&report, ITEM));
        assert_eq!(detail["not_entered"], serde_json::json!(["proc"]), "what the kernel makes up never is");
        assert_eq!(detail["files"], 2);
        let into = world.out("out");
        try_restore(&world.config, FULL, &["--to", text(&into)]).ok();
        assert_eq!(fs::read(into.join("other/foreign")).unwrap(), b"x");
    });
}

#[test]
fn a_filesystem_that_is_not_mounted_any_more_is_not_an_empty_folder() {
    in_private_namespace(|| {
        let world = World::new("");
        mount("tmpfs", world.root(), "tmpfs", MountFlags::empty(), c"size=1m").unwrap();
        fs::write(world.path("a"), "x").unwrap();
        backup(&world.config);
        unmount(world.root(), UnmountFlags::empty()).unwrap();
        let failed = try_backup(&world.config, &[]).expect_code(1).json();
        assert_says(
            error_of(&failed, ITEM),
            &["is empty now; it had 1 file", "mount its filesystem", text(&world.root())],
        );
        // What is left is the snapshot from before.
        let into = world.out("out");
        try_restore(&world.config, FULL, &["--to", text(&into)]).ok();
        assert_eq!(fs::read(into.join("a")).unwrap(), b"x");
    });
}

#[test]
fn a_full_disk_ends_the_restore_and_names_the_file() {
    in_private_namespace(|| {
        let world = World::new("");
        let noise: Vec<u8> =
            (0..3_000_000_u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
        fs::write(world.path("large"), noise).unwrap();
        backup(&world.config);
        let small = world.out("small");
        fs::create_dir(&small).unwrap();
        mount("tmpfs", &small, "tmpfs", MountFlags::empty(), c"size=1m").unwrap();
        let failed =
            Cmd::with(&world.config).args(["restore", FULL, "--to", text(&small)]).run().expect_code(1);
        assert_says(
            &failed.stderr,
            &["cannot write", text(&small.join("large")), "No space left", "make space"],
        );
        unmount(&small, UnmountFlags::empty()).unwrap();
    });
}

#[test]
fn several_folders_are_several_items() {
    let world = World::new("");
    let other = world.out("other");
    fs::create_dir_all(other.join(ITEM)).unwrap();
    fs::create_dir(world.out("third")).unwrap();
    let paths: Vec<_> =
        [world.root(), other.join(ITEM), world.out("third")].iter().map(|p| quoted(text(p))).collect();
    let one = format!("paths = [{}]", quoted(text(&world.root())));
    testkit::reports::edit(&world.config, &one, &format!("paths = [{}]", paths.join(", ")));
    let report = backup(&world.config);
    let mut names: Vec<_> =
        report["items"].as_array().unwrap().iter().map(|item| item["item"].as_str().unwrap()).collect();
    names.sort_unstable();
    let mut expected = [text(&world.root()), text(&other.join(ITEM)), "third"].map(str::to_owned);
    expected.sort_unstable();
    assert_eq!(names, expected);
    let into = world.out("out");
    let full = format!("disk/{}", text(&world.root()));
    try_restore(&world.config, &full, &["--to", text(&into)]).ok();
    tree::assert_same(&tree::describe(&world.root()), &tree::describe(&into));
}
