//! The commit gate: a failed dump never leaves a snapshot and does not affect other items.

use std::fs;

use testkit::{
    ConfigBuilder, FakeClients, PgServer, PgVersion, Restic, Tool,
    postgres_world::{World, client_dirs, cmd_with, fill, item},
    running::lives,
    skip_unless,
};

/// The ways to fail: database, what `pg_dump` does, and what the error must say. The row of `words` before it is
/// written to stderr in each case.
const FAILURES: [(&str, &str, &str); 14] = [
    ("before", "words; exit 1", "pg_dump (pg/before) failed with exit status 1"),
    (
        "midway",
        "dump \"$@\" | head -c 150000; words; exit 1",
        "pg_dump (pg/midway) failed with exit status 1",
    ),
    ("after", "dump \"$@\"; words; exit 1", "pg_dump (pg/after) failed with exit status 1"),
    (
        "killed",
        "dump \"$@\" | head -c 150000; words; kill -9 $$",
        "pg_dump (pg/killed) was ended by signal 9 (SIGKILL)",
    ),
    ("half", "dump \"$@\" | head -c 150000; words; exit 0", "its archive is truncated"),
    ("one-less", "dump \"$@\" | head -c -1; words; exit 0", "its archive is truncated"),
    ("last-block", "dump \"$@\" | head -c $LAST_BLOCK; words; exit 0", "its archive is truncated"),
    ("nothing", "words; exit 0", "produced no output"),
    ("text", "echo '-- hello'; words; exit 0", "damaged or not an archive"),
    ("noise", "head -c 100000 /dev/urandom; words; exit 0", "damaged or not an archive"),
    (
        "no-tables",
        "dump \"$@\" --exclude-table='*'; words; exit 0",
        "are missing from the dump: table public.a",
    ),
    ("no-rows", "dump \"$@\" --schema-only; words; exit 0", "are missing from the dump: table public.a"),
    ("too-much", "dump \"$@\"; echo more; words; exit 0", "has 5 bytes after its end"),
    ("hangs", "dump \"$@\" | head -c 150000; words; stay", "nothing happened for"),
];

const RETENTION: &str = "[retention]\nkeep_last = 1\nkeep_daily = 0\nkeep_weekly = 0\nkeep_within = \"0s\"";

#[test]
fn no_failed_dump_is_committed_and_none_harms_another() {
    skip_unless!(Tool::Pg15, Tool::Restic, Tool::ResticNew);
    let Some(world) = world() else { return };
    let generous =
        world.variant("generous.toml", &[("keep_last = 1", "keep_last = 9"), ("\"1s\"", "\"10m\"")]);
    let thrifty = world.variant("thrifty.toml", &[("\"1s\"", "\"10m\"")]);
    world.cmd().arg("init").run().ok();
    for _ in 0..2 {
        cmd_with(&generous).arg("backup").run().ok();
    }
    let before = world.snapshots_by_item();
    assert!(before.len() == names().count() + 1 && before.values().all(|ids| ids.len() == 2), "{before:?}");

    let pids = sabotage(&world);
    let run = world.backup(&[]).expect_code(3);
    let document = run.json();
    assert_eq!(document["outcome"], "partial");
    let after = world.snapshots_by_item();
    for (name, _, message) in FAILURES {
        let full = name_in_source(name);
        let failed = item(&document, full.split('/').next().unwrap(), name);
        let error = failed["error"].as_str().unwrap();
        assert_eq!((&failed["outcome"], &failed["snapshot"]), (&"failed".into(), &serde_json::Value::Null));
        assert!(error.contains(message), "{name}: {error}");
        assert!(error.contains("line 30 of 30") && !error.contains("line 3 of 30"), "{name}: {error}");
        assert!(run.stderr.contains(&format!("{full}: FAILED")), "{}", run.stderr);
        assert_eq!(after[&full], before[&full], "a failed item keeps what it has, whatever the retention");
    }
    for good in ["good", "good too"] {
        let snapshot = item(&document, "pg", good)["snapshot"].as_str().unwrap().to_owned();
        let full = format!("pg/{good}");
        assert_eq!(
            after[&full],
            [snapshot.clone()].into(),
            "the others are committed, and their retention is applied"
        );
        assert!(!before[&full].contains(&snapshot));
        world.whole(&snapshot, &full);
    }
    assert!(after["pg/@globals"].len() == 1 && after["pg/@globals"].is_disjoint(&before["pg/@globals"]));
    let pids = fs::read_to_string(pids).unwrap();
    assert_eq!(pids.lines().count(), 2, "the script that hangs and its child have told who they are");
    assert!(!pids.lines().any(lives), "a tool that hangs is ended with all its children");
    assert_eq!(testkit::postgres_world::locks(&world.repo()), 0);
    world.clean();

    FAILURES.iter().for_each(|(name, ..)| world.clients.heal(name));
    let run = cmd_with(&thrifty).args(["--json", "backup"]).run().ok();
    assert_eq!(run.json()["outcome"], "ok");
    let healed = world.snapshots_by_item();
    for name in names().map(name_in_source) {
        assert!(healed[&name].len() == 1 && healed[&name].is_disjoint(&before[&name]), "{name}");
    }
    for name in ["pg/after", "pg/one-less", "slow/hangs"] {
        world.whole(healed[name].first().unwrap(), name);
    }
    world.clean();
}

#[test]
fn a_run_in_which_all_fail_has_exit_code_1() {
    let Some(world) = World::with_repository(&["only"], testkit::postgres_world::Setup::default()) else {
        return;
    };
    world.clients.script("only", "dump \"$@\"; echo no >&2; exit 7");
    let run = world.backup(&[]).expect_code(1);
    assert_eq!(run.json()["outcome"], "failed");
    assert!(world.snapshots("pg/only").is_empty());
    world.clean();
}

#[test]
fn a_dump_of_an_unknown_version_is_stored_and_is_a_problem() {
    let setup =
        testkit::postgres_world::Setup { tables: RETENTION, ..testkit::postgres_world::Setup::default() };
    let Some(world) = World::with_repository(&["only"], setup) else { return };
    world.backup(&[]).ok();
    // A version of the archive that is not yet known, and the rest as ever.
    world.clients.script("only", "dump \"$@\" | perl -0777 -pe 'substr($_, 6, 1) = chr(99)'");
    let run = world.backup(&[]).expect_code(3);
    let report = run.json();
    let stored = item(&report, "pg", "only");
    assert_eq!(stored["outcome"], "unchecked");
    assert!(stored["snapshot"].is_string());
    let error = stored["error"].as_str().unwrap();
    assert!(error.contains("format version 1.99") && error.contains("nothing in it was checked"), "{error}");
    assert!(run.stderr.contains("pg/only: UNCHECKED: "), "{}", run.stderr);
    assert_eq!(world.snapshots("pg/only").len(), 2, "the good one stays, whatever the retention");
    let status = world.cmd().args(["status", "--check"]).run().expect_code(5);
    assert!(status.stdout.contains("UNCHECKED"), "{}", status.stdout);

    world.clients.heal("only");
    world.backup(&[]).ok();
    assert_eq!(world.snapshots("pg/only").len(), 1);
    world.cmd().args(["status", "--check"]).run().ok();
}

fn names() -> impl Iterator<Item = &'static str> {
    FAILURES.iter().map(|(name, ..)| *name).chain(["good", "good too"])
}

/// The one that hangs is a source of its own: the short patience must not hit the others on a slow machine.
fn name_in_source(name: &str) -> String {
    let source = if name == "hangs" { "slow" } else { "pg" };
    format!("{source}/{name}")
}

fn world() -> Option<World> {
    let (old, new) = (Restic::old()?, Restic::new_()?);
    let server = PgServer::start(PgVersion::V15);
    for name in names() {
        server.create_database(name);
        fill(&server, name, "a", 2_000, name);
        server.psql(name, "CREATE TABLE last AS SELECT 'the only row of the last table' AS text");
    }
    let clients = FakeClients::of_postgres();
    let dirs = client_dirs(&clients);
    let config = ConfigBuilder::new()
        .tables(RETENTION)
        .postgres("pg", &server, &format!("exclude = [\"hangs\"]\n{dirs}"))
        .postgres(
            "slow",
            &server,
            &format!("globals = false\ndatabases = [\"hangs\"]\nidle_timeout = \"1s\"\n{dirs}"),
        )
        .build();
    Some(World { server, clients, config, old, new })
}

/// Makes every dump of [`FAILURES`] fail; returns the file in which the one that hangs and its child name themselves.
fn sabotage(world: &World) -> std::path::PathBuf {
    let pids = world.clients.path().join("pids");
    let stay = format!(
        "stay() {{ sleep 1000 & printf '%s\\n' $$ $! > '{}'; sleep 1000; }}\nLAST_BLOCK={}",
        pids.display(),
        last_block(&world.server)
    );
    let words = "words() { for n in $(seq 30); do echo \"line $n of 30\" >&2; done; }";
    for (name, script, _) in FAILURES {
        world.clients.script(name, &format!("{words}\n{stay}\n{script}"));
    }
    pids
}

/// Where the data of the last table begins in the dump of `last-block`: an archive cut off there ends between two
/// blocks, and only its table of contents tells that one is missing.
fn last_block(server: &PgServer) -> usize {
    let dump = server.dump_custom("last-block");
    let row = memchr::memmem::rfind(&dump, b"the only row of the last table").unwrap();
    // Before the row: the kind of block, the number of the entry and the length of the row, with a sign byte each.
    let block = row - 11;
    assert_eq!(dump[block], 1, "a block of data begins here");
    block
}
