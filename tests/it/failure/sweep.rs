//! The process is killed at every single step that changes the repository.

use std::{collections::BTreeSet, os::unix::process::ExitStatusExt, path::PathBuf};

use testkit::{
    postgres_world::{Setup, World, fill, locks, temporary_files},
    shim::{Shim, kill_after},
};

/// A limit for a broken program: no run of this size makes this many calls.
const MOST: u32 = 300;

/// Runs `arguments`, killed at its first call, then at its second, and so on until it ends by itself. `prepare` gives it
/// something to do each time, `inspect` looks at what is left. Returns how often it was killed.
fn at_every_call(
    world: &World,
    shim: &Shim,
    arguments: &[&str],
    mut prepare: impl FnMut(u32),
    mut inspect: impl FnMut(),
) -> u32 {
    for call in 0..MOST {
        prepare(call);
        let run = shim.load(world.cmd().args(arguments), &world.repo(), &[kill_after(call)]).run();
        if run.status.signal() != Some(9) {
            run.ok();
            assert!(shim.hits().is_empty());
            return call;
        }
        inspect();
    }
    panic!("{arguments:?} does not end");
}

#[test]
fn dead_at_any_write_of_a_backup_or_a_prune_the_repository_is_sound() {
    let setup = Setup {
        tables: "[retention]\nkeep_last = 1\nkeep_daily = 0\nkeep_weekly = 0\nkeep_within = \"0s\"",
        ..Setup::default()
    };
    let Some(world) = World::with_repository(&["a", "b"], setup) else { return };
    let Some(shim) = Shim::build() else { return };
    let mut leftovers = 0;
    let change = |round: u32| fill(&world.server, "a", "small", 3_000, &format!("round {round}"));
    let kills = at_every_call(&world, &shim, &["backup"], change, || {
        leftovers += temporary_files(&world.repo()).len();
        // Every snapshot there is has all it needs, or this fails.
        world.clean_but_locked();
    });
    // A lock, packs of data and trees, an index, two snapshots: for each the file and its directory are synced.
    assert!(kills >= 10, "killed only {kills} times");
    assert!(leftovers > 0, "a killed write leaves its temporary file behind");
    assert_eq!(locks(&world.repo()), 0, "the locks of the dead are removed");
    world.all_whole(&mut BTreeSet::new());
    world.clean();

    // Each round leaves something to prune: the retention drops the snapshots of the round before.
    let kills = at_every_call(
        &world,
        &shim,
        &["prune"],
        |round| {
            change(1_000 + round);
            world.backup(&["pg/a"]).ok();
        },
        || world.clean_but_locked(),
    );
    assert!(kills >= 4, "killed only {kills} times");
    assert_eq!(temporary_files(&world.repo()), Vec::<PathBuf>::new());
    world.all_whole(&mut BTreeSet::new());
    world.spotless();
}
