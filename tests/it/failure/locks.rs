//! Locks: stock restic honours ours, we honour its locks, and locks of dead processes are ignored.

use std::{
    fs::{self, File},
    process::Command,
    time::{Duration, SystemTime},
};

use rustix::process::Signal;
use testkit::{
    Tool,
    postgres_world::{Setup, World, cmd_with, fill, locks},
    running::{Running, wait_until},
    skip_unless,
};

/// A run of stock restic on the repository, stopped as soon as it holds a lock.
fn stopped_restic(world: &World, tool: Tool, args: &[&str]) -> Running {
    let before = locks(&world.repo());
    let mut restic = Command::new(tool.path().unwrap());
    restic.arg("--no-cache").arg("--repo").arg(world.repo());
    restic.arg("--password-file").arg(world.config.password_file());
    // Slow enough to be caught while it reads the data.
    restic.args(["--limit-download", "100"]).args(args);
    let mut running = Running::start(restic);
    wait_until("restic has its lock", || {
        assert!(!running.has_ended(), "it ended before: {}", running.stderr());
        locks(&world.repo()) > before
    });
    running.signal(Signal::STOP);
    running
}

#[test]
fn our_lock_keeps_stock_restic_from_pruning() {
    let Some(world) = World::with_repository(&["a", "b"], Setup::default()) else { return };
    world.backup(&["pg/b"]).ok();
    let hold = world.clients.hold("a");
    let mut run = world.start_backup(&["pg/a"]);
    hold.wait_reached_within(&mut run, &world.config.state_dir(), "pg/a");
    for restic in [&world.old, &world.new] {
        let (repo, password) = (world.repo(), world.config.password_file());
        let ids = String::from_utf8(restic.ok(&repo, &password, &["--no-lock", "list", "locks"])).unwrap();
        assert_eq!(ids.lines().count(), 1, "{ids}");
        let lock = restic.ok(&repo, &password, &["--no-lock", "cat", "lock", ids.trim()]);
        let lock: serde_json::Value = serde_json::from_slice(&lock).unwrap();
        assert_eq!((&lock["pid"], &lock["exclusive"]), (&run.id().into(), &false.into()), "{lock}");
        restic.ok(&repo, &password, &["unlock"]);
        assert_eq!(locks(&repo), 1, "restic's unlock leaves the lock of a living process alone");
        let refused = restic.run(&repo, &password, &["prune"]);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains("already locked"), "{said}");
        // Commands that only read or only add continue.
        restic.backup_stdin(&repo, &password, "theirs", b"meanwhile");
    }
    hold.release();
    run.finish().expect_code(0);
    assert_eq!(locks(&world.repo()), 0);
    world.clients.heal("a");
    world.restic(&["prune"]);
    world.clean();
}

#[test]
fn locks_of_stock_restic_are_honoured_until_their_owner_is_dead() {
    let setup = Setup { repository: "lock_wait = \"1s\"", ..Setup::default() };
    let Some(world) = World::with_repository(&["a"], setup) else { return };
    fill(&world.server, "a", "more", 30_000, "more");
    world.backup(&[]).ok();
    let patient = world.variant("patient.toml", &[("\"1s\"", "\"10m\"")]);
    for tool in [Tool::Restic, Tool::ResticNew] {
        // `check` locks exclusively.
        let restic = stopped_restic(&world, tool, &["check", "--read-data"]);
        let before = snapshots_without_lock(&world);
        for arguments in [&["backup"][..], &["prune"]] {
            let refused = world.cmd().args(arguments).run().expect_code(4);
            assert!(
                refused.stderr.contains("waiting for an exclusive lock by process"),
                "{}",
                refused.stderr
            );
            let named = format!("the repository is locked: an exclusive lock by process {}", restic.id());
            assert!(refused.stderr.contains(&named), "{}", refused.stderr);
        }
        assert_eq!(snapshots_without_lock(&world), before);
        let mut waiting = Running::start(cmd_with(&patient).arg("backup").into_command());
        waiting.wait_for("waiting for an exclusive lock");
        // The owner is dead, so the lock no longer blocks.
        let id = restic.id();
        restic.kill();
        let ended = waiting.finish().expect_code(0);
        let notice = format!("removing an exclusive lock by process {id}");
        assert!(
            ended.stderr.contains(&notice) && ended.stderr.contains("its process is dead"),
            "{}",
            ended.stderr
        );
        assert_eq!(locks(&world.repo()), 0);
    }
    // A lock that is released normally is waited for as well.
    let restic = stopped_restic(&world, Tool::ResticNew, &["check"]);
    let mut waiting = Running::start(cmd_with(&patient).arg("backup").into_command());
    waiting.wait_for("waiting for an exclusive lock");
    restic.signal(Signal::CONT);
    restic.finish().expect_code(0);
    waiting.finish().expect_code(0);
    world.clean();
}

#[test]
fn while_a_lock_is_waited_for_no_dump_is_held_open() {
    let setup = Setup { repository: "lock_wait = \"10m\"", ..Setup::default() };
    let Some(world) = World::with_repository(&["a"], setup) else { return };
    fill(&world.server, "a", "more", 30_000, "more");
    world.backup(&[]).ok();
    let before = world.snapshots("pg/a");
    let restic = stopped_restic(&world, Tool::ResticNew, &["check", "--read-data"]);
    let mut waiting = world.start_backup(&["pg/a"]);
    waiting.wait_for("waiting for an exclusive lock");
    let dumps = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pg_dump'";
    wait_until("the server has no session of a dump", || world.server.psql("postgres", dumps).trim() == "0");
    world.server.psql("a", "CREATE TABLE late AS SELECT 'written while it waits' AS text");
    restic.kill();
    waiting.finish().expect_code(0);
    let newest = world.snapshots("pg/a").into_iter().find(|id| !before.contains(id)).unwrap();
    let dump = world.whole(&newest, "pg/a");
    let there = memchr::memmem::find(&dump, b"written while it waits").is_some();
    assert!(there, "the dump begins when the lock is there");
    world.clean();
}

/// A backup that appears to run on another host, whose clock is a day ahead. It is killed and leaves its lock.
fn killed_elsewhere(world: &World) {
    let hold = world.clients.hold("a");
    let program = world.cmd().args(["backup", "pg/a"]).into_command();
    let mut elsewhere = Command::new("unshare");
    // Process ids differ there.
    elsewhere.args(["--pid", "--fork", "--kill-child"]).arg(program.get_program()).args(program.get_args());
    elsewhere.env("LD_PRELOAD", Tool::Faketime.path().unwrap()).env("FAKETIME", "+1d");
    elsewhere.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut run = Running::start(elsewhere);
    hold.wait_reached_within(&mut run, &world.config.state_dir(), "pg/a");
    // The dump begins while the repository is being opened.
    wait_until("the run has its lock", || locks(&world.repo()) == 1);
    run.kill();
    world.clients.heal("a");
    assert_eq!(locks(&world.repo()), 1);
}

#[test]
fn a_lock_with_a_wrong_time_counts_for_half_an_hour_by_the_clock_of_the_storage() {
    skip_unless!(Tool::Faketime);
    let setup = Setup { repository: "lock_wait = \"1s\"", ..Setup::default() };
    let Some(world) = World::with_repository(&["a"], setup) else { return };
    world.backup(&[]).ok();
    killed_elsewhere(&world);
    let refused = world.cmd().arg("prune").run().expect_code(4);
    assert!(refused.stderr.contains("a shared lock by process"), "{}", refused.stderr);
    assert!(refused.stderr.contains("`tik-backup unlock` shows all locks"), "{}", refused.stderr);
    let kept = world.cmd().arg("unlock").run().ok();
    assert!(
        kept.stdout.starts_with("kept a shared lock") && kept.stdout.contains("--all"),
        "{}",
        kept.stdout
    );
    assert_eq!(locks(&world.repo()), 1);

    // Simulates that half an hour has passed.
    let age = || {
        let entry = fs::read_dir(world.repo().join("locks")).unwrap().next().unwrap().unwrap();
        let file = File::options().write(true).open(entry.path()).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(31 * 60)).unwrap();
    };
    age();
    let pruned = world.cmd().arg("prune").run().ok();
    assert!(pruned.stderr.contains("it was not renewed for 30 minutes"), "{}", pruned.stderr);
    assert_eq!(locks(&world.repo()), 0);

    killed_elsewhere(&world);
    let all = world.cmd().args(["unlock", "--all"]).run().ok();
    assert!(all.stdout.contains("removed a shared lock") && all.stdout.contains("--all"), "{}", all.stdout);
    assert_eq!(locks(&world.repo()), 0);
    killed_elsewhere(&world);
    age();
    let document = world.cmd().args(["--json", "unlock"]).run().ok().json();
    assert_eq!(document["removed"][0]["stale"], "it was not renewed for 30 minutes", "{document}");
    assert_eq!((locks(&world.repo()), document["kept"].as_array().map(Vec::len)), (0, Some(0)));
    let none = world.cmd().arg("unlock").run().ok();
    assert_eq!(none.stdout.trim(), "there are no locks");
    assert_eq!(fs::read_dir(world.repo().join("locks")).unwrap().count(), 0, "nothing is left behind");
    world.clean();
}

#[test]
fn backups_may_overlap_and_prunes_may_not() {
    let setup = Setup { repository: "lock_wait = \"1s\"", ..Setup::default() };
    let Some(world) = World::with_repository(&["a", "b"], setup) else { return };
    let patient = world.variant("patient.toml", &[("\"1s\"", "\"10m\"")]);
    let patiently = |command: &str| Running::start(cmd_with(&patient).arg(command).into_command());
    let hold = world.clients.hold("a");
    let mut first = world.start_backup(&[]);
    hold.wait_reached_within(&mut first, &world.config.state_dir(), "pg/a");
    // The second runs from its beginning to its end while the first is in the middle of the same data.
    let healthy = world.server.bin("");
    let clients = [(world.clients.path().display().to_string(), healthy.display().to_string())];
    let second = world.variant("second.toml", &[(clients[0].0.as_str(), clients[0].1.as_str())]);
    cmd_with(&second).arg("backup").run().ok();
    let refused = world.cmd().arg("prune").run().expect_code(4);
    assert!(refused.stderr.contains("a shared lock by process"), "{}", refused.stderr);
    let mut prune = patiently("prune");
    prune.wait_for("waiting for a shared lock");
    assert_eq!(locks(&world.repo()), 1, "who waits holds no lock");
    hold.release();
    first.finish().expect_code(0);
    prune.finish().expect_code(0);
    world.clients.heal("a");
    for item in ["pg/a", "pg/b"] {
        let ids = world.snapshots(item);
        assert!(!ids.is_empty());
        ids.iter().for_each(|id| drop(world.whole(id, item)));
    }
    world.spotless();

    let together = [patiently("prune"), patiently("prune"), patiently("backup")];
    for ended in together.map(Running::finish) {
        ended.expect_code(0);
    }
    assert_eq!(locks(&world.repo()), 0);
    world.clean();
    let leftovers = fs::read_dir(world.repo().join("snapshots")).unwrap().count();
    assert!(leftovers >= 2);
}

/// Names of the snapshot files; works while another process has locked the repository.
fn snapshots_without_lock(world: &World) -> Vec<std::ffi::OsString> {
    let mut names: Vec<_> = fs::read_dir(world.repo().join("snapshots"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    names
}
