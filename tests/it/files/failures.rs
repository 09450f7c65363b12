//! Unreadable files are left out and named; a backup is never silently incomplete.

use std::{
    fs,
    os::unix::fs::{FileExt, PermissionsExt},
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use rustix::{io::Errno, process::Signal};
use serde_json::Value;
use testkit::{
    Cmd, process,
    reports::{assert_says, backup, error_of, ids_of, item, snapshot_of, try_backup, try_restore},
    running::Running,
    shim::{Shim, always},
};

use super::support::{FULL, ITEM, World, text};

/// Kind and name of what the snapshot of a run lacks.
fn omitted(report: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let list = item(report, ITEM)["omitted"].as_array().cloned().unwrap_or_default();
    list.iter().map(|one| (text(&one["type"]), text(&one["name"]))).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(kind, name)| ((*kind).to_owned(), (*name).to_owned())).collect()
}

#[test]
fn files_whose_content_cannot_be_read_cost_only_themselves_until_they_are_accepted() {
    let Some(shim) = Shim::build() else { return };
    let world =
        World::new("retention = { keep_last = 1, keep_daily = 0, keep_weekly = 0, keep_within = \"0s\" }");
    for name in ["good", "broken one", "broken two", "zz"] {
        fs::write(world.path(name), name).unwrap();
    }
    let whole = snapshot_of(&backup(&world.config), ITEM).to_owned();
    for name in ["broken one", "broken two"] {
        fs::write(world.path(name), "now on damaged sectors").unwrap();
    }
    let rules = [always("read", "broken", Errno::IO)];
    let run = |code: i32| {
        let run = Cmd::with(&world.config).args(["--json", "backup"]);
        shim.load(run, &world.root(), &rules).run().expect_code(code).json()
    };
    run(3);
    let report = run(3);
    let data = item(&report, ITEM);
    assert_eq!(data["outcome"], "partial", "{report:#}");
    assert_says(
        data["error"].as_str().unwrap(),
        &[
            "file broken one (Input/output error (os error 5)), file broken two (",
            "`exclude = [\"/path\"]`",
            "tik-backup accept 'disk/data'",
        ],
    );
    assert_says(&data["notes"].to_string(), &["the disk may be failing"]);
    assert_eq!(omitted(&report), pairs(&[("file", "broken one"), ("file", "broken two")]));
    let snapshot = snapshot_of(&report, ITEM).to_owned();
    assert_eq!(ids_of(&world.config, FULL), [whole.clone(), snapshot], "the newest that has them stays");
    let status = Cmd::with(&world.config).arg("status").run().ok();
    assert_says(&status.stdout, &["PARTIAL", "file broken one (Input/output error"]);
    Cmd::with(&world.config).args(["status", "--check"]).run().expect_code(5);

    let proof = Cmd::with(&world.config).args(["--json", "drill"]).run().ok().json();
    assert_eq!(item(&proof, ITEM)["outcome"], "proven", "{proof:#}");
    assert_says(
        &item(&proof, ITEM)["notes"].to_string(),
        &["not in the backup: file broken two: Input/output"],
    );
    let into = world.out("out");
    let restored = try_restore(&world.config, FULL, &["--to", text(&into)]).ok();
    assert_eq!(restored.json()["omitted"].as_array().unwrap().len(), 2);
    assert_eq!(names_in(&into), ["good", "zz"]);
    let into = world.out("older");
    try_restore(&world.config, FULL, &["--at", &whole, "--to", text(&into)]).ok();
    assert_eq!(fs::read_to_string(into.join("broken one")).unwrap(), "broken one");

    Cmd::with(&world.config).args(["accept", FULL]).run().ok();
    let report = run(0);
    assert_eq!(item(&report, ITEM)["outcome"], "ok", "{report:#}");
    Cmd::with(&world.config).args(["status", "--check"]).run().ok();
    assert!(omitted(&backup(&world.config)).is_empty(), "read again as soon as that is possible");
}

fn names_in(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    names
}

/// Of a file that only its owner may read: the program runs as another user.
#[test]
fn what_may_not_be_read_is_named_excluding_it_helps_and_without_any_file_the_item_fails() {
    let Some((uid, gid)) = testkit::tools::root_or_skip() else { return };
    let world = World::new("");
    fs::create_dir(world.path("locked")).unwrap();
    for name in ["open", "secret", "locked/in it"] {
        fs::write(world.path(name), name).unwrap();
    }
    let chmod = |path: &Path, mode: u32| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    chmod(&world.path("open"), 0o600);
    chmod(&world.path("secret"), 0o600);
    chmod(&world.path("locked"), 0o700);
    chmod(world.root().parent().unwrap(), 0o755);
    chmod(&world.root(), 0o755);
    let mut give = Command::new("chown");
    process::run_ok(give.args(["-R", &format!("{uid}:{gid}")]).arg(world.config.dir()), b"");
    let run = |code: i32| -> Value {
        let mut command = Cmd::with(&world.config).args(["--json", "backup"]).into_command();
        let output = process::run(process::as_unprivileged(&mut command), b"", Duration::from_secs(60));
        assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    assert_says(
        error_of(&run(1), ITEM),
        &[
            "no file in",
            "3 files or directories cannot be read",
            "locked (Permission denied",
            "secret (Permission denied",
            "CAP_DAC_READ_SEARCH",
        ],
    );

    chmod(&world.path("open"), 0o644);
    let report = run(3);
    assert_eq!(item(&report, ITEM)["outcome"], "partial", "{report:#}");
    assert_eq!(omitted(&report), pairs(&[("file", "secret"), ("folder", "locked")]));
    assert_says(&item(&report, ITEM)["notes"].to_string(), &["CAP_DAC_READ_SEARCH", "`exclude`"]);

    let kind = "kind = \"directory\"";
    testkit::reports::edit(&world.config, kind, &format!("{kind}\nexclude = [\"secret\", \"/locked/\"]"));
    assert_eq!(item(&run(0), ITEM)["outcome"], "ok");
}

#[test]
fn a_folder_that_is_gone_fails_its_item_only() {
    let world = World::new("");
    let other = world.out("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("a"), "x").unwrap();
    testkit::reports::edit(&world.config, "paths = [", &format!("paths = [{:?}, ", text(&other)));
    fs::write(world.path("a"), "x").unwrap();
    backup(&world.config);
    fs::remove_dir_all(world.root()).unwrap();
    let report = try_backup(&world.config, &[]).expect_code(3).json();
    assert_says(error_of(&report, ITEM), &["No such file", "mount or create it"]);
    assert_eq!((ids_of(&world.config, FULL).len(), ids_of(&world.config, "disk/other").len()), (1, 2));
}

#[test]
fn a_run_that_is_told_to_stop_does_so_at_once_and_leaves_no_snapshot() {
    let world = World::new("");
    let large = fs::File::create(world.path("large")).unwrap();
    // A byte in each 256 KiB leaves no hole that need not be read: 20 GiB take longer than this test.
    for piece in 0..20 << 12 {
        large.write_all_at(b"x", piece << 18).unwrap();
    }
    let mut run = Running::start(Cmd::with(&world.config).arg("backup").into_command());
    thread::sleep(Duration::from_secs(1));
    assert!(!run.has_ended(), "{}", run.stderr());
    let begin = Instant::now();
    run.signal(Signal::TERM);
    let ended = run.finish();
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    assert_ne!(ended.status.code(), Some(0));
    assert_says(&ended.stderr, &["stopped"]);
    assert_eq!(ids_of(&world.config, FULL).len(), 0);
}
