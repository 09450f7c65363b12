//! Directories found by patterns, and exclusions without a pattern.

use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

use testkit::{
    Cmd, Restic, process,
    program::quoted,
    reports::{assert_says, backup, discover, edit, error_of, item, snapshot_of, try_backup, try_restore},
};

use super::support::{FULL, ITEM, SOURCE, World, text};

/// Has the source of a world back up another path.
fn back_up_instead(world: &World, path: &Path) {
    let line = |path: &Path| format!("paths = [{}]", quoted(text(path)));
    edit(&world.config, &line(&world.root()), &line(path));
}

fn app(apps: &Path, name: &str) -> String {
    let uploads = apps.join(name).join("uploads");
    fs::create_dir_all(&uploads).unwrap();
    fs::write(uploads.join("file"), name).unwrap();
    text(&uploads).to_owned()
}

#[test]
fn an_application_that_is_new_is_in_the_next_backup_and_one_that_went_has_vanished() {
    let world = World::new("");
    let apps = world.out("apps").join("live");
    back_up_instead(&world, &apps.join("*/uploads"));
    let failed = try_backup(&world.config, &[]).expect_code(1).json();
    assert_says(
        error_of(&failed, text(&apps.join("*/uploads"))),
        &["no directory matches", "correct the pattern"],
    );

    let shown = Cmd::with(&world.config).args(["discover"]).run().expect_code(1).stdout;
    assert_says(&shown, &["/uploads  PROBLEM\n", ": FAILED: no directory matches"]);

    let (one, hidden) = (app(&apps, "one"), app(&apps, ".hidden"));
    symlink("one", apps.join("current")).unwrap();
    Cmd::with(&world.config).args(["config", "check"]).run().ok();
    let found = discover(&world.config, 0);
    assert_eq!(found.items, [hidden.clone(), one.clone()]);
    let current = text(&apps.join("current/uploads")).to_owned();
    assert_eq!(found.excluded, [(current, format!("is the same directory as {one}"))]);
    backup(&world.config);
    // The item of the pattern is gone; it has no snapshot, so its loss need not be accepted.
    let ledger = Cmd::with(&world.config).args(["--json", "status", "--all"]).run().ok().json();
    let pattern = item(&ledger, text(&apps.join("*/uploads")));
    assert_eq!((&pattern["state"], &pattern["problems"]), (&"vanished".into(), &serde_json::json!([])));
    Cmd::with(&world.config).args(["status", "--check"]).run().ok();

    let new = app(&apps, "new");
    let report = backup(&world.config);
    assert_eq!(item(&report, &new)["outcome"], "ok", "{report:#}");
    let full = format!("{SOURCE}/{new}");
    assert_eq!(try_backup(&world.config, &[&full]).ok().json()["items"].as_array().unwrap().len(), 1);
    let into = world.out("out");
    try_restore(&world.config, &full, &["--to", text(&into)]).ok();
    assert_eq!(fs::read_to_string(into.join("file")).unwrap(), "new");
    Cmd::with(&world.config).args(["status", "--check"]).run().ok();

    fs::remove_dir_all(apps.join(".hidden")).unwrap();
    backup(&world.config);
    let ledger = Cmd::with(&world.config).args(["--json", "status", "--all"]).run().ok().json();
    assert_eq!(item(&ledger, &hidden)["state"], "vanished", "{ledger:#}");
    Cmd::with(&world.config).args(["status", "--check"]).run().expect_code(5);
    try_restore(&world.config, &format!("{SOURCE}/{hidden}"), &["--to", text(&world.out("back"))]).ok();
}

#[test]
fn what_lies_on_a_filesystem_that_is_not_mounted_has_not_vanished() {
    let world = World::new("");
    let (data, aside) = (world.out("mnt").join("data"), world.out("aside"));
    back_up_instead(&world, &data.join("*/uploads"));
    let one = app(&data, "one");
    backup(&world.config);

    fs::rename(&data, &aside).unwrap();
    fs::create_dir(&data).unwrap();
    let failed = try_backup(&world.config, &[]).expect_code(1).json();
    assert_says(
        error_of(&failed, text(&data.join("*/uploads"))),
        &["no directory matches", "mount the filesystem"],
    );
    let ledger = Cmd::with(&world.config).args(["--json", "status", "--all"]).run().ok().json();
    assert_eq!(item(&ledger, &one)["state"], "protected", "{ledger:#}");
    Cmd::with(&world.config).args(["status", "--check"]).run().expect_code(5);
    let failed = try_backup(&world.config, &[&format!("{SOURCE}/{one}")]).expect_code(1).json();
    assert_says(error_of(&failed, &one), &["a part of the source did not answer"]);

    fs::remove_dir(&data).unwrap();
    fs::rename(&aside, &data).unwrap();
    backup(&world.config);
    Cmd::with(&world.config).args(["status", "--check"]).run().ok();
}

#[test]
fn the_repository_its_mirror_and_the_state_are_not_backed_up_into_themselves() {
    let Some(restic) = Restic::new_() else { return };
    let world = World::new("");
    let dir = world.config.dir().to_owned();
    back_up_instead(&world, &dir);
    let name = dir.file_name().unwrap().to_str().unwrap();
    let full = format!("{SOURCE}/{name}");
    fs::write(dir.join("kept"), "x").unwrap();
    backup(&world.config);

    let mut copy = Command::new("cp");
    process::run_ok(copy.arg("-a").arg(world.config.repo()).arg(dir.join("mirror")), b"");
    restic.init(&dir.join("other"), &world.config.password_file());
    let report = backup(&world.config);
    assert_says(
        &item(&report, name)["notes"].to_string(),
        &[
            "not backed up into itself: mirror (a copy of the repository), repo (the repository), state (the state directory)",
            "this backup contains other restic repositories",
            "not wanted: other",
        ],
    );
    let into = world.out("out");
    try_restore(&world.config, &full, &["--to", text(&into)]).ok();
    for absent in ["mirror", "repo", "state"] {
        assert!(!into.join(absent).exists(), "{absent}");
    }
    assert!(into.join("kept").exists() && into.join("other/config").exists());
    let found = discover(&world.config, 0);
    let excluded: Vec<_> = found.excluded.iter().map(|(name, _)| name.as_str()).collect();
    let real = |path: &Path| path.canonicalize().unwrap().display().to_string();
    assert_eq!(excluded, [real(&world.config.repo()), real(&world.config.state_dir())]);
    Cmd::with(&world.config).args(["config", "check"]).run().ok();
}

#[test]
fn a_mirror_of_the_repository_that_a_pattern_finds_is_excluded_and_one_that_is_named_fails() {
    let world = World::new("");
    let data = world.out("found");
    fs::create_dir_all(data.join("other")).unwrap();
    let mirror = data.join("mirror");
    back_up_instead(&world, &data.join("*"));
    backup(&world.config);
    process::run_ok(Command::new("cp").arg("-a").arg(world.config.repo()).arg(&mirror), b"");
    let found = discover(&world.config, 0);
    assert_eq!(found.items, [text(&data.join("other"))]);
    assert_eq!(found.excluded.len(), 1, "{:?}", found.excluded);
    assert_eq!(found.excluded[0].0, text(&mirror));
    assert_says(&found.excluded[0].1, &["mirror is a copy of the repository"]);
    backup(&world.config);
    Cmd::with(&world.config).args(["status", "--check"]).run().ok();

    let line = |path: &Path| format!("paths = [{}]", quoted(text(path)));
    let mut before = data.join("*");
    for (path, said) in [
        (mirror.clone(), "mirror is a copy of the repository"),
        (mirror.join("data"), "mirror/data lies in a copy of the repository"),
    ] {
        edit(&world.config, &line(&before), &line(&path));
        let name = path.file_name().unwrap().to_str().unwrap();
        let shown = Cmd::with(&world.config).args(["discover"]).run().expect_code(1);
        assert_says(&shown.stdout, &[said, "remove it from `paths`"]);
        assert_says(error_of(&try_backup(&world.config, &[]).expect_code(1).json(), name), &[said]);
        before = path;
    }
}

#[test]
fn a_folder_in_the_repository_is_refused_or_fails() {
    let world = World::new("");
    let link = world.out("link");
    symlink(world.config.repo().join("data"), &link).unwrap();
    back_up_instead(&world, &link);
    let refused = Cmd::with(&world.config).args(["config", "check"]).run().expect_code(2);
    assert_says(&refused.stderr, &["sources.disk.paths", "lies in the repository"]);
    let failed = try_backup(&world.config, &[]).expect_code(1).json();
    assert_says(error_of(&failed, "link"), &["lies in the repository", "remove it from `paths`"]);

    let line = |path: &Path| format!("paths = [{}]", quoted(text(path)));
    for (path, said) in [
        (world.config.repo(), "is the repository"),
        (world.config.state_dir().join("x"), "lies in the state directory"),
    ] {
        let text = fs::read_to_string(world.config.path()).unwrap();
        fs::write(world.config.path(), text.replace(&line(&link), &line(&path))).unwrap();
        let refused = Cmd::with(&world.config).args(["config", "check", "--offline"]).run().expect_code(2);
        assert_says(&refused.stderr, &["sources.disk.paths", said]);
        fs::write(world.config.path(), text).unwrap();
    }
}

#[test]
fn what_lies_in_caches_is_left_out_on_demand() {
    let Some(restic) = Restic::new_() else { return };
    let world = World::new("exclude_caches = true");
    fs::create_dir_all(world.path("cache/sub")).unwrap();
    for name in ["kept", "cache/a", "cache/sub/b"] {
        fs::write(world.path(name), name).unwrap();
    }
    fs::write(world.path("cache/CACHEDIR.TAG"), "Signature: 8a477f597d28d172789f06886806bc55\n").unwrap();
    let shown = Cmd::with(&world.config).args(["discover"]).run().ok().stdout;
    assert_says(&shown, &["  2 entries excluded by exclude_caches = true\n"]);
    let report = backup(&world.config);
    let detail = world.detail(&restic, snapshot_of(&report, ITEM));
    assert_eq!(detail["excluded"], serde_json::json!([{"pattern": "exclude_caches", "entries": 2}]));
    let into = world.out("out");
    try_restore(&world.config, FULL, &["--to", text(&into)]).ok();
    assert!(into.join("kept").exists() && into.join("cache/CACHEDIR.TAG").exists());
    assert!(!into.join("cache/a").exists() && !into.join("cache/sub").exists());
}
