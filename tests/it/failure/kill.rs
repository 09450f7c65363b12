//! The program is killed or terminated: committed snapshots stay complete, and nothing that is left blocks later runs.

use std::{
    collections::BTreeSet,
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use testkit::{
    postgres_world::{Setup, World, fill, locks, temporary_files},
    running::{processes_naming, wait_until},
};

const ROUNDS: u32 = 20;
/// About 140 bytes each.
const ROWS: u32 = 25_000;

/// SIGKILL at moments spread over the time a run takes, with data that changes from run to run.
#[test]
fn killed_at_any_moment_it_leaves_only_whole_snapshots() {
    let setup = Setup { tables: "[retention]\nkeep_last = 3\nkeep_within = \"0s\"", ..Setup::default() };
    let Some(world) = World::with_repository(&["a", "b", "c", "d"], setup) else { return };
    let databases = ["a", "b", "c", "d"];
    for database in databases {
        for table in ["one", "two"] {
            fill(&world.server, database, table, ROWS, database);
        }
    }
    let change = |round: u32| {
        let database = databases[round as usize % databases.len()];
        fill(&world.server, database, "two", ROWS, &format!("{database} {round}"));
    };
    world.backup(&[]).ok();
    change(0);
    let begin = Instant::now();
    world.backup(&[]).ok();
    let whole_run = begin.elapsed();

    let mut seen = BTreeSet::new();
    world.all_whole(&mut seen);
    let mut killed = 0;
    for round in 0..ROUNDS {
        change(round + 1);
        let mut run = world.start_backup(&[]);
        // Three rounds go through the run, so that neighbouring rounds are far apart; the moment is what is tested.
        let moment = f64::from(round * 3 % ROUNDS) + 0.5;
        thread::sleep(whole_run.mul_f64(moment / f64::from(ROUNDS)));
        killed += u32::from(!run.has_ended());
        run.kill();
        wait_until("no child is left", || processes_naming(world.clients.path()).is_empty());
        if round % 10 == 8 {
            world.all_whole(&mut seen);
        }
        if round % 7 == 3 {
            world.clean_but_locked();
        }
        if round % 5 == 4 {
            world.backup(&[]).ok();
            assert_eq!(locks(&world.repo()), 0, "stale locks are removed");
        }
    }
    assert!(killed >= ROUNDS / 2, "only {killed} of {ROUNDS} runs were killed before their end");
    change(ROUNDS + 1);
    let run = world.backup(&[]).ok();
    world.all_whole(&mut seen);
    for item in run.json()["items"].as_array().unwrap() {
        let (id, database) = (item["snapshot"].as_str().unwrap(), item["item"].as_str().unwrap());
        let dump = world.whole(id, &format!("pg/{database}"));
        assert!(memchr::memmem::find(&dump, b"COPY public.two").is_some());
        assert_eq!(
            dump.len(),
            world.server.dump_custom(database).len(),
            "the snapshot shows the database as it is"
        );
    }
    world.clean();
    world.cmd().arg("prune").run().ok();
    assert_eq!(temporary_files(&world.repo()), Vec::<std::path::PathBuf>::new());
    world.spotless();
}

#[test]
fn terminated_it_ends_in_order() {
    let Some(world) = World::with_repository(&["done", "stuck"], Setup::default()) else { return };
    for (signal, name) in [(Signal::TERM, "SIGTERM"), (Signal::INT, "SIGINT")] {
        let hold = world.clients.hold("stuck");
        let mut run = world.start_backup(&["pg/stuck"]);
        hold.wait_reached_within(&mut run, &world.config.state_dir(), "pg/stuck");
        assert_eq!(locks(&world.repo()), 1);
        run.signal(signal);
        let ended = run.finish().expect_code(1);
        assert!(
            ended.stderr.contains("pg/stuck: FAILED: ") && ended.stderr.contains(name),
            "{}",
            ended.stderr
        );
        nothing_is_left(&world);
        assert!(world.snapshots("pg/stuck").is_empty());
    }
    // What was streamed to its end before the signal is whole, and kept.
    let hold = world.clients.hold("stuck");
    let mut run = world.start_backup(&[]);
    hold.wait_reached_within(&mut run, &world.config.state_dir(), "pg/stuck");
    run.signal(Signal::TERM);
    let ended = run.finish();
    let kept = world.snapshots("pg/done");
    assert_eq!(ended.status.code(), Some(if kept.is_empty() { 1 } else { 3 }), "{}", ended.stderr);
    for id in kept {
        world.whole(&id, "pg/done");
    }
    nothing_is_left(&world);
    assert!(world.snapshots("pg/stuck").is_empty());
    world.clients.heal("stuck");
    world.backup(&[]).ok();
    world.cmd().arg("prune").run().ok();
    world.spotless();
}

#[test]
fn a_tool_that_ignores_signals_does_not_outlive_the_run() {
    let Some(world) = World::with_repository(&["stuck"], Setup::default()) else { return };
    let hold = testkit::running::Hold::new(world.clients.path(), "deaf");
    world
        .clients
        .script("stuck", &format!("trap '' TERM INT HUP; {}; while :; do sleep 1; done", hold.script()));
    let mut run = world.start_backup(&[]);
    hold.wait_reached_within(&mut run, &world.config.state_dir(), "pg/stuck");
    hold.release();
    let begin = Instant::now();
    run.signal(Signal::TERM);
    run.finish().expect_code(1);
    assert!(begin.elapsed() < Duration::from_secs(60));
    nothing_is_left(&world);
}

fn nothing_is_left(world: &World) {
    wait_until("no child is left", || processes_naming(world.clients.path()).is_empty());
    assert_eq!(locks(&world.repo()), 0, "the lock is removed");
    assert_eq!(temporary_files(&world.repo()), Vec::<std::path::PathBuf>::new());
}
