//! Single files of a snapshot: listed by `ls`, restored by `--path`.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    io::Read,
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, symlink},
    },
    path::Path,
    process::{Command, Stdio},
};

use rustix::mount::{UnmountFlags, unmount};
use serde_json::Value;
use testkit::{
    Cmd, Ran,
    reports::{assert_says, backup, try_restore},
    skip, tree,
};

use super::{
    changes::in_private_namespace,
    support::{FULL, World, text},
};

/// A directory with all types of entries, backed up.
fn world() -> World {
    let world = World::new("");
    for (path, content) in [
        ("uploads/2026/one.jpg", "one"),
        ("uploads/2026/two.jpg", "two"),
        ("uploads/2026/three.pdf", "three"),
        ("uploads/four.jpg", "four"),
        ("other/five.pdf", "five"),
        ("other/a*", "the star"),
        ("other/ab", "no star"),
        ("other/line\nfeed", "odd"),
        ("plain", "plain"),
    ] {
        fs::create_dir_all(world.path(path).parent().unwrap()).unwrap();
        fs::write(world.path(path), content).unwrap();
    }
    fs::write(world.path("other").join(OsStr::from_bytes(b"raw\xff")), "raw").unwrap();
    symlink("../plain", world.path("other/link")).unwrap();
    fs::create_dir(world.path("empty")).unwrap();
    fs::set_permissions(world.path("uploads"), std::os::unix::fs::PermissionsExt::from_mode(0o2750)).unwrap();
    backup(&world.config);
    world
}

/// What is in a directory: files with their content, directories and links without.
fn found(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    tree::each(folder, &mut |path| {
        let name = path.strip_prefix(folder).unwrap().to_string_lossy().into_owned();
        let meta = fs::symlink_metadata(path).unwrap();
        let content = if meta.is_file() { fs::read_to_string(path).unwrap() } else { String::new() };
        found.insert(name, content);
    });
    found
}

fn names(folder: &Path) -> Vec<String> {
    found(folder).into_keys().collect()
}

/// `restore --path` of each of these into a new directory.
#[track_caller]
fn restored(world: &World, into: &str, paths: &[&str]) -> (Value, Vec<String>) {
    let into = world.out(into);
    let mut options = vec!["--to", text(&into)];
    options.extend(paths.iter().flat_map(|path| ["--path", *path]));
    let report = try_restore(&world.config, FULL, &options).ok().json();
    (report, names(&into))
}

fn ls(world: &World, arguments: &[&str]) -> Ran {
    Cmd::with(&world.config).args(["ls", FULL]).args(arguments).run()
}

#[test]
fn a_file_a_folder_or_a_pattern_comes_back_in_its_place() {
    let world = world();
    let (report, written) = restored(&world, "file", &["uploads/2026/one.jpg"]);
    assert_eq!(written, ["uploads", "uploads/2026", "uploads/2026/one.jpg"]);
    assert_eq!((&report["folder"]["files"], &report["folder"]["bytes"]), (&1.into(), &3.into()));
    let (before, after) =
        (fs::metadata(world.path("uploads")).unwrap(), fs::metadata(world.out("file/uploads")).unwrap());
    assert_eq!((before.mode(), before.mtime_nsec()), (after.mode(), after.mtime_nsec()), "folders above it");

    let below =
        ["uploads", "uploads/2026", "uploads/2026/one.jpg", "uploads/2026/three.pdf", "uploads/2026/two.jpg"];
    for (number, folder) in ["uploads/2026", "/uploads/2026/", "./uploads/2026"].into_iter().enumerate() {
        assert_eq!(restored(&world, &format!("folder {number}"), &[folder]).1, below, "{folder}");
    }
    assert_eq!(restored(&world, "glob", &["uploads/*.jpg"]).1, ["uploads", "uploads/four.jpg"]);
    assert_eq!(
        restored(&world, "deep", &["**/*.pdf", "plain"]).1,
        ["other", "other/five.pdf", "plain", "uploads", "uploads/2026", "uploads/2026/three.pdf"]
    );
    assert_eq!(restored(&world, "empty", &["empty"]).1, ["empty"]);
    assert_eq!(restored(&world, "all", &["/"]).1, names(&world.root()));
}

#[test]
fn a_name_that_exists_goes_before_a_pattern_and_links_are_links() {
    let world = world();
    assert_eq!(restored(&world, "star", &["other/a*"]).1, ["other", "other/a*"]);
    assert_eq!(restored(&world, "escaped", &[r"other/a\*"]).1, ["other", "other/a*"]);
    assert_eq!(restored(&world, "link", &["other/link"]).1, ["other", "other/link"]);
    assert_eq!(fs::read_link(world.out("link/other/link")).unwrap(), Path::new("../plain"));
    assert_eq!(restored(&world, "odd", &["other/line\nfeed"]).1, ["other", "other/line\nfeed"]);
    let into = world.out("raw");
    Cmd::with(&world.config)
        .args(["restore", FULL, "--to", text(&into), "--path"])
        .arg(OsStr::from_bytes(b"other/raw\xff"))
        .run()
        .ok();
    assert_eq!(fs::read(into.join("other").join(OsStr::from_bytes(b"raw\xff"))).unwrap(), b"raw");
}

#[test]
fn the_text_names_files_on_one_line_each_and_counts_what_is_none() {
    let world = world();
    let written = |into: &str, path: &str| {
        let into = world.out(into);
        let ran =
            Cmd::with(&world.config).args(["restore", FULL, "--to", text(&into), "--path", path]).run().ok();
        ran.stdout
    };
    let text = written("other", "other");
    assert_says(&text, &["other/line\\nfeed\n", "\n  and 1 symbolic link\n"]);
    assert_eq!(text.lines().count(), 7, "a heading, five files, and what else there is:\n{text}");
    assert_says(&written("link", "other/link"), &[": no files, 1 folder, 1 symbolic link, 0 B, "]);
    assert_says(&written("empty", "empty"), &[": no files, 1 folder, 0 B, "]);
}

#[test]
fn names_of_one_file_that_are_chosen_are_one_file() {
    let world = World::new("");
    fs::create_dir(world.path("z")).unwrap();
    fs::write(world.path("a"), "linked").unwrap();
    for name in ["b", "z/c"] {
        fs::hard_link(world.path("a"), world.path(name)).unwrap();
    }
    backup(&world.config);
    assert_eq!(restored(&world, "two", &["b", "z/c"]).1, ["b", "z", "z/c"]);
    let inode = |path: &str| fs::metadata(world.out(path)).unwrap().ino();
    assert_eq!(inode("two/b"), inode("two/z/c"));
    assert_eq!(restored(&world, "one", &["z"]).1, ["z", "z/c"]);
    assert_eq!(fs::read(world.out("one/z/c")).unwrap(), b"linked");
}

#[test]
fn what_is_not_there_is_an_error_and_nothing_is_written() {
    let world = world();
    let into = world.out("out");
    for (path, says) in [
        ("uploads/2026/ones.jpg", "did you mean 'uploads/2026/one.jpg'?"),
        ("uplods/2026", "did you mean 'uploads'?"),
        ("*.gif", "nothing that matches '*.gif'"),
        ("plain/", "nothing that matches 'plain/'"),
        ("../data/plain", "`..` cannot be used: names begin at the top of what was backed up"),
    ] {
        // One that is there does not make up for it.
        let ran = try_restore(&world.config, FULL, &["--to", text(&into), "--path", "plain", "--path", path]);
        assert_says(&ran.expect_code(1).stderr, &[says, "tik-backup ls 'disk/data'"]);
        assert!(!into.exists());
        assert_says(&ls(&world, &[path]).expect_code(1).stderr, &[says]);
    }
    let ran = try_restore(&world.config, FULL, &["--to", text(&into), "--path", ""]);
    assert_says(&ran.expect_code(2).stderr, &["--path is empty"]);
    let ran = try_restore(&world.config, FULL, &["--to", text(&into), "--path", "plain", "--table", "x"]);
    ran.expect_code(2);
}

#[test]
fn ls_lists_names_as_they_are_in_the_source() {
    let world = world();
    let all = ls(&world, &[]).ok().stdout;
    assert_eq!(all.lines().count(), names(&world.root()).len());
    assert_says(&all, &["  uploads/\n", "  uploads/2026/one.jpg\n", "  other/link -> ../plain\n"]);
    assert_says(&all, &["  other/line\\nfeed\n", "  other/raw\\xff\n", "  empty/\n"]);
    assert!(!all.contains("manifest.json"), "it is no part of the directory:\n{all}");

    let document = Cmd::with(&world.config).args(["--json", "ls", FULL, "uploads/2026"]).run().ok().json();
    let keys: Vec<_> = document.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["source", "item", "snapshot", "time", "entries"]);
    let entries = document["entries"].as_array().unwrap();
    let listed: Vec<_> = entries.iter().map(|entry| entry["path"].as_str().unwrap()).collect();
    let expected = ["uploads/2026", "uploads/2026/one.jpg", "uploads/2026/three.pdf", "uploads/2026/two.jpg"];
    assert_eq!(listed, expected);
    assert_eq!((&entries[0]["type"], &entries[0]["bytes"]), (&"directory".into(), &Value::Null));
    assert_eq!((&entries[1]["type"], &entries[1]["bytes"]), (&"file".into(), &3.into()));
    let modified: jiff::Timestamp = entries[1]["modified"].as_str().unwrap().parse().unwrap();
    assert_eq!(modified.as_second(), fs::metadata(world.path("uploads/2026/one.jpg")).unwrap().mtime());

    let only = ls(&world, &["**/*.pdf"]).ok().stdout;
    assert_eq!(only.lines().count(), 2, "{only}");
    // An older state stays as it was.
    let first = document["snapshot"].as_str().unwrap().to_owned();
    fs::remove_file(world.path("plain")).unwrap();
    backup(&world.config);
    ls(&world, &["plain"]).expect_code(1);
    ls(&world, &["plain", "--at", &first]).ok();
    assert_says(&ls(&world, &["plain", "--at", "0123abcd"]).expect_code(1).stderr, &["0123abcd"]);
    Cmd::with(&world.config).args(["ls", "disk"]).run().expect_code(2);
}

#[test]
fn a_list_of_an_empty_directory_is_a_document_too() {
    let world = World::new("");
    backup(&world.config);
    let document = Cmd::with(&world.config).args(["--json", "ls", FULL]).run().ok().json();
    assert_eq!(document["entries"], serde_json::json!([]));
    assert_eq!(ls(&world, &[]).ok().stdout, "");
}

#[test]
fn who_has_seen_enough_may_stop_reading() {
    let world = World::new("");
    for number in 0..20_000 {
        fs::write(world.path(&format!("a file with a name that is not short, number {number}")), "").unwrap();
    }
    backup(&world.config);
    let mut command = Cmd::with(&world.config).args(["ls", FULL]).into_command();
    let mut run = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 100];
    // The rest is never read.
    run.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let ended = run.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(0), "{}", String::from_utf8_lossy(&ended.stderr));
    assert!(!String::from_utf8_lossy(&ended.stderr).contains("error"));
}

/// A file system that counts seconds up to 2038: ext4 whose inodes have no room for more.
#[test]
fn times_that_the_target_cannot_hold_are_noted() {
    in_private_namespace(|| {
        let world = World::new("");
        for (name, second, nanosecond) in [("late", 4_102_444_800, 0), ("exact", 981_173_106, 500_000_000)] {
            fs::write(world.path(name), name).unwrap();
            tree::set_times(&world.path(name), second, nanosecond);
        }
        tree::set_times(&world.root(), 981_173_106, 0);
        let held = fs::metadata(world.path("late")).unwrap().mtime();
        if held != 4_102_444_800 {
            return skip("a file system for temporary files that holds times after 2038");
        }
        backup(&world.config);
        let (image, target) = (world.out("image"), world.out("small inodes"));
        fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
        fs::create_dir(&target).unwrap();
        let ran = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
        if !ran(Command::new("mkfs.ext4").args(["-q", "-F", "-I", "128"]).arg(&image))
            || !ran(Command::new("mount").args(["-o", "loop"]).args([&image, &target]))
        {
            return skip("mkfs.ext4 and the right to mount an image");
        }
        let into = target.join("out");
        let report = try_restore(&world.config, FULL, &["--to", text(&into)]);
        let again = target.join("again");
        let shown = Cmd::with(&world.config).args(["restore", FULL, "--to", text(&again)]).run();
        unmount(&target, UnmountFlags::empty()).unwrap();
        let shown = shown.ok();
        let both = format!("{}{}", shown.stdout, shown.stderr);
        assert_eq!(
            both.matches("cannot hold 1 modification time ").count(),
            1,
            "each note is told once:\n{both}"
        );
        let report = report.ok().json();
        let notes = report["folder"]["notes"].to_string();
        assert_says(
            &notes,
            &["cannot hold 1 modification time ", "late (was 2100-01-01T00:00:00Z, is 2038-"],
        );
        assert_says(&notes, &["1 modification time differs by less than two seconds"]);
    });
}
