//! Failing storage: temporary errors are retried, permanent ones end the run soon, and nothing is committed whose data is not
//! stored.

use rustix::io::Errno;
use testkit::{
    Cmd,
    postgres_world::{Setup, World, files, fill, locks, temporary_files},
    running::{Ended, Running},
    shim::{Shim, always, flip, sometimes},
};

use super::place::Place;

#[test]
fn temporary_errors_are_retried() {
    let setup = Setup { repository: "pack_size = \"4MiB\"\nverify_writes = true", ..Setup::default() };
    let Some(world) = World::with_repository(&["a", "b"], setup) else { return };
    let Some(shim) = Shim::build() else { return };
    fill(&world.server, "a", "more", 100_000, "a");
    let rules = [
        sometimes("write", "*", Errno::INTR, 1, 3),
        sometimes("write", "*", Errno::AGAIN, 2, 5),
        sometimes("fsync", "*", Errno::INTR, 1, 2),
        sometimes("fsync", "*", Errno::AGAIN, 1, 3),
        sometimes("read", "/data/", Errno::INTR, 1, 3),
        always("dirsync", "*", Errno::INVAL),
    ];
    shim.load(world.cmd().arg("backup"), &world.repo(), &rules).run().ok();
    let hits = shim.hits();
    for what in ["write 4 /data/", "write 11 /data/", "fsync ", "read 4 /data/", "dirsync 22 /snapshots"] {
        assert!(hits.iter().any(|hit| hit.starts_with(what)), "{what}: {hits:?}");
    }
    world.spotless();
    for item in ["pg/a", "pg/b"] {
        world.whole(world.snapshots(item).first().unwrap(), item);
    }
    shim.load(world.cmd().arg("prune"), &world.repo(), &rules[..4]).run().ok();
    world.spotless();
}

/// The error of a network file system while it reconnects.
#[test]
fn a_connection_that_breaks_costs_nothing() {
    let setup = Setup { repository: "verify_writes = true", ..Setup::default() };
    let Some(world) = World::with_repository(&["a", "b"], setup) else { return };
    let Some(shim) = Shim::build() else { return };
    let once = |call: &str, place: &str, errno| sometimes(call, place, errno, 1, 0);
    let rules = [
        once("read", "/config", Errno::IO),
        once("write", "/locks/", Errno::HOSTDOWN),
        once("write", "/data/", Errno::IO),
        once("fsync", "/data/", Errno::STALE),
        once("read", "/data/", Errno::NOTCONN),
        once("fsync", "/index/", Errno::IO),
        once("write", "/snapshots/", Errno::TIMEDOUT),
    ];
    shim.load(world.cmd().arg("backup"), &world.repo(), &rules).run().ok();
    assert_eq!(shim.hits().len(), rules.len(), "{:?}", shim.hits());
    world.spotless();
    for item in ["pg/a", "pg/b"] {
        world.whole(world.snapshots(item).first().unwrap(), item);
    }
    shim.load(world.cmd().args(["check", "--read-data"]), &world.repo(), &rules[..1]).run().ok();
    shim.load(world.cmd().arg("prune"), &world.repo(), &rules[..2]).run().ok();
    world.spotless();
}

#[test]
fn items_that_failed_in_a_long_outage_are_retried_once() {
    let Some(world) = World::with_repository(&["a", "b"], Setup::default()) else { return };
    let Some(shim) = Shim::build() else { return };
    // There are seven attempts within the waiting time of one second.
    let rules = [sometimes("write", "/index/", Errno::IO, 8, 0)];
    let run = shim.load(world.cmd().args(["--json", "backup"]), &world.repo(), &rules).run().ok();
    assert!(
        run.stderr.contains("2 items failed for reasons that may be temporary, and are tried again"),
        "{}",
        run.stderr
    );
    let document = run.json();
    assert_eq!(document["outcome"], "ok");
    let items = document["items"].as_array().unwrap();
    assert_eq!(items.len(), 2, "each is counted once: {document}");
    assert!(items.iter().all(|item| item["outcome"] == "ok" && item["error"].is_null()), "{document}");
    for name in ["a", "b"] {
        let item = testkit::postgres_world::item(&document, "pg", name);
        let ids = world.snapshots(&format!("pg/{name}"));
        assert_eq!(ids, [item["snapshot"].as_str().unwrap().to_owned()].into());
    }
    world.cmd().arg("prune").run().ok();
    world.spotless();
}

/// Nothing is known of a backup then, regardless of the storage's later answers.
#[test]
fn a_drill_during_a_long_outage_has_no_verdict() {
    let Some(place) = Place::backed_up(1) else { return };
    let Some(shim) = Shim::build() else { return };
    let drill = |rules: &[String]| {
        let run = shim.load(Cmd::with(&place.config).args(["--json", "drill"]), &place.repo(), rules).run();
        let item = run.json()["items"][0].clone();
        assert!(!item.is_null(), "{run:?}");
        item
    };
    // The repository can still be opened.
    let away = drill(&[always("read", "/data/", Errno::HOSTDOWN)]);
    assert!(!shim.hits().is_empty());
    assert_eq!(away["outcome"], "unproven", "{away:#}");
    assert!(away["error"].as_str().unwrap().contains("os error 112"), "{away:#}");
    // A single unreadable file of a storage that answers is a different case.
    let pack = place.largest_pack();
    let name = &pack.file_name().unwrap().to_str().unwrap()[..16];
    let broken = drill(&[always("read", name, Errno::IO)]);
    assert_eq!(broken["outcome"], "failed", "{broken:#}");
    assert!(broken["error"].as_str().unwrap().contains("the storage answers"), "{broken:#}");
    assert_eq!(drill(&[])["outcome"], "proven");
}

#[test]
fn refusals_of_the_storage_are_not_retried() {
    let setup = Setup { repository: "retry_for = \"10m\"", ..Setup::default() };
    let Some(world) = World::with_repository(&["a"], setup) else { return };
    let Some(shim) = Shim::build() else { return };
    for errno in [Errno::NOSPC, Errno::DQUOT, Errno::ROFS, Errno::ACCESS, Errno::PERM] {
        let rules = [always("write", "/data/", errno)];
        let run = shim.load(world.cmd().arg("backup"), &world.repo(), &rules).run().expect_code(4);
        assert!(!run.stderr.contains("trying again") && !run.stderr.contains("once more"), "{}", run.stderr);
    }
}

#[test]
fn lasting_errors_end_the_run_and_nothing_is_committed() {
    let Some(world) = World::with_repository(&["a", "b"], Setup::default()) else { return };
    let Some(shim) = Shim::build() else { return };
    world.backup(&[]).ok();
    let before = [world.snapshots("pg/a"), world.snapshots("pg/b")];
    let places = [
        ("/data/", "repository (data)"),
        ("/index/", "repository (index)"),
        ("/snapshots/", "repository (snapshots)"),
        ("/locks/", "lock file"),
    ];
    for (round, (place, named)) in places.into_iter().enumerate() {
        for call in ["write", "fsync"] {
            fill(&world.server, "a", "small", 3_000, &format!("{round} {call}"));
            let rules = [always(call, place, Errno::IO)];
            let run = shim.load(world.cmd().arg("backup"), &world.repo(), &rules).run().expect_code(4);
            assert!(!shim.hits().is_empty());
            assert!(
                run.stderr.contains(named) && run.stderr.contains("os error 5"),
                "{call} {place}: {}",
                run.stderr
            );
            assert_eq!([world.snapshots("pg/a"), world.snapshots("pg/b")], before, "{call} {place}");
            assert_eq!(temporary_files(&world.repo()), Vec::<std::path::PathBuf>::new(), "{call} {place}");
            assert_eq!(locks(&world.repo()), 0, "{call} {place}");
        }
    }
    world.clean();
    world.backup(&[]).ok();
    world.cmd().arg("prune").run().ok();
    world.spotless();
}

/// An endless stream shows that the run does not wait for it.
#[test]
fn a_lasting_error_stops_the_streams() {
    let setup = Setup { repository: "pack_size = \"4MiB\"", ..Setup::default() };
    let Some(world) = World::with_repository(&["endless", "finite"], setup) else { return };
    let Some(shim) = Shim::build() else { return };
    world.clients.script("endless", "dump \"$@\"; cat /dev/urandom");
    let ended = failing_run(&world, &shim, "/data/", &["pg/endless"]);
    assert!(
        ended.stderr.contains("pg/endless: FAILED: cannot write to the repository (data)"),
        "{}",
        ended.stderr
    );
    // Here the error occurs when the other item is committed; the endless one has no new data to store.
    world.clients.script("endless", "dump \"$@\"; while :; do head -c 100000 /dev/zero; sleep 0.1; done");
    let ended = failing_run(&world, &shim, "/index/", &[]);
    // A cause is reported once.
    assert!(ended.stderr.contains(": FAILED: cannot write to the repository (index)"), "{}", ended.stderr);
    for item in ["endless", "finite"] {
        assert!(ended.stderr.contains(&format!("pg/{item}: FAILED")), "{}", ended.stderr);
    }
}

fn failing_run(world: &World, shim: &Shim, place: &str, items: &[&str]) -> Ended {
    let cmd =
        shim.load(world.cmd().arg("backup").args(items), &world.repo(), &[always("write", place, Errno::IO)]);
    let ended = Running::start(cmd.into_command()).finish().expect_code(4);
    assert!(testkit::running::processes_naming(world.clients.path()).is_empty(), "the endless tool is ended");
    assert!(world.snapshots("pg/endless").is_empty() && world.snapshots("pg/finite").is_empty());
    world.clean();
    ended
}

#[test]
fn writes_are_verified_where_it_is_asked_for() {
    let Some(world) = World::with_repository(&["a"], Setup::default()) else { return };
    let Some(shim) = Shim::build() else { return };
    let verifying =
        world.variant("verifying.toml", &[("[repository]", "[repository]\nverify_writes = true")]);
    let verify = || testkit::postgres_world::cmd_with(&verifying).arg("backup");
    for call in ["write", "read"] {
        let run = shim.load(verify(), &world.repo(), &[flip(call, "/data/")]).run().expect_code(4);
        assert!(!shim.hits().is_empty());
        assert!(run.stderr.contains("other data than was written"), "{}", run.stderr);
        assert!(world.snapshots("pg/a").is_empty());
    }
    verify().run().ok();
    world.whole(world.snapshots("pg/a").first().unwrap(), "pg/a");

    // Without the option, the same fault is not detected before the data is read.
    fill(&world.server, "a", "small", 3_000, "other");
    shim.load(world.cmd().arg("backup"), &world.repo(), &[flip("write", "/data/")]).run().ok();
    let before = files(&world.repo()).len();
    let damaged = world.cmd().args(["check", "--read-data"]).run().expect_code(1);
    assert!(damaged.stdout.contains("DAMAGED"), "{}", damaged.stdout);
    assert_eq!(files(&world.repo()).len(), before, "a check changes nothing");
}
