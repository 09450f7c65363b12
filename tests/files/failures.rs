//! What cannot be read makes the item fail; a smaller backup is never made in silence.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use rustix::{io::Errno, process::Signal};

use crate::{
    common::{Cmd, process},
    reports::{assert_says, backup, error_of, ids_of, try_backup},
    running::Running,
    shim::{Shim, always},
    support::{FULL, ITEM, World, text},
};

#[test]
fn a_file_whose_content_cannot_be_read_fails_the_item() {
    let Some(shim) = Shim::build() else { return };
    let world = World::new("");
    for name in ["good", "broken one", "broken two", "zz"] {
        fs::write(world.path(name), name).unwrap();
    }
    let rules = [always("read", "broken", Errno::IO)];
    let run = Cmd::with(&world.config).args(["--json", "backup"]);
    let run = shim.load(run, &world.root(), &rules).run();
    let report = run.expect_code(1).json();
    assert_says(
        error_of(&report, ITEM),
        &["2 files or folders cannot be read", "broken one (", "broken two (", "the disk may be failing"],
    );
    assert_eq!(ids_of(&world.config, FULL).len(), 0);
}

/// Of one that only its owner may read: the program runs as somebody else.
#[test]
fn a_file_that_may_not_be_read_fails_the_item_and_excluding_it_helps() {
    let Some((uid, gid)) = process::unprivileged() else { return };
    let world = World::new("");
    fs::create_dir(world.path("locked")).unwrap();
    for name in ["open", "secret", "locked/in it"] {
        fs::write(world.path(name), name).unwrap();
    }
    fs::set_permissions(world.path("secret"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(world.path("locked"), fs::Permissions::from_mode(0o700)).unwrap();
    let open_to_all =
        |path: &std::path::Path| fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    open_to_all(world.root().parent().unwrap());
    open_to_all(&world.root());
    let mut give = Command::new("chown");
    process::run_ok(give.args(["-R", &format!("{uid}:{gid}")]).arg(world.config.dir()), b"");
    let run = || {
        let mut command = Cmd::with(&world.config).args(["--json", "backup"]).into_command();
        process::run(process::as_unprivileged(&mut command), b"", Duration::from_secs(60))
    };
    let output = run();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let report = serde_json::from_slice(&output.stdout).unwrap();
    assert_says(
        error_of(&report, ITEM),
        &[
            "2 files or folders cannot be read",
            "locked (Permission denied",
            "secret (Permission denied",
            "CAP_DAC_READ_SEARCH",
        ],
    );
    let kind = "kind = \"directory\"";
    crate::reports::edit(&world.config, kind, &format!("{kind}\nexclude = [\"secret\", \"/locked/\"]"));
    let output = run();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_folder_that_is_gone_fails_its_item_only() {
    let world = World::new("");
    let other = world.out("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("a"), "x").unwrap();
    crate::reports::edit(&world.config, "paths = [", &format!("paths = [{:?}, ", text(&other)));
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
    // Holes are read like anything else: a hundred gigabytes take longer than this test.
    large.set_len(100 << 30).unwrap();
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
