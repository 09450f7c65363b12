//! Stock restic and this program on the same repository.

use std::fs;

use serde_json::Value;
use testkit::{
    PgVersion, Restic,
    postgres_world::{Setup, World, fill},
    process::run_ok,
    running::processes_naming,
};

/// Bytes of all packs.
fn stored(world: &World) -> u64 {
    testkit::postgres_world::files(&world.repo().join("data")).into_iter().map(|(_, size)| size).sum()
}

#[test]
fn stock_restic_and_we_share_a_repository() {
    let setup = Setup {
        tables: "[retention]\nkeep_last = 1\nkeep_daily = 0\nkeep_weekly = 0\nkeep_within = \"0s\"",
        ..Setup::default()
    };
    let Some(world) = World::new(&["a"], setup) else { return };
    let (repo, password) = (world.repo(), world.config.password_file());
    for creator in [&world.old, &world.new] {
        fs::remove_dir_all(&repo).ok();
        creator.init(&repo, &password);
        assert_eq!(world.cmd().args(["--json", "init"]).run().ok().json()["created"], false);
        world.backup(&[]).ok();
        world.clean();
    }
    fill(&world.server, "a", "more", 50_000, "a");
    world.backup(&[]).ok();
    let first = world.snapshots("pg/a").pop_first().unwrap();
    let dump = world.whole(&first, "pg/a");
    assert!(dump.len() > 5_000_000);
    for restic in [&world.old, &world.new] {
        same_bytes_are_stored_once(&world, restic, &dump);
        restored_as_files(&world, restic, &first, &dump);
    }
    restored_as_database(&world);

    // Retention and prune leave alone what is not ours.
    fill(&world.server, "a", "more", 50_000, "changed");
    world.backup(&[]).ok();
    assert!(!world.snapshots("pg/a").contains(&first), "our own older snapshot is dropped");
    let before = stored(&world);
    world.cmd().arg("prune").run().ok();
    let theirs = world.snapshots("same bytes");
    assert_eq!(theirs.len(), 2);
    for id in theirs {
        assert!(
            world.old.dump(&repo, &password, &id, "/same bytes") == dump,
            "restic's snapshot has lost nothing"
        );
        world.restic(&["forget", &id]);
    }
    world.spotless();
    world.cmd().arg("prune").run().ok();
    assert!(stored(&world) < before * 3 / 4, "what nobody needs any more is gone");
    world.spotless();
    world.cmd().args(["check", "--read-data"]).run().ok();
}

/// Restic cuts the same bytes into the same blobs, finds them all, and adds only its own trees.
fn same_bytes_are_stored_once(world: &World, restic: &Restic, dump: &[u8]) {
    let before = stored(world);
    restic.backup_stdin(&world.repo(), &world.config.password_file(), "same bytes", dump);
    let added = stored(world) - before;
    assert!(added < 100_000, "{} added {added} bytes", restic.version());
}

fn restored_as_files(world: &World, restic: &Restic, id: &str, dump: &[u8]) {
    let target = tempfile::tempdir().unwrap();
    restic.restore_verify(&world.repo(), &world.config.password_file(), id, target.path());
    let folder = target.path().join("pg/a");
    let manifest: Value = serde_json::from_slice(&fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    let restored = fs::read(folder.join("database.dump")).unwrap();
    assert_eq!(manifest["files"][0]["bytes"], restored.len());
    assert!(restored == dump, "{} restores other bytes", restic.version());
    let listed = restic.ok(&world.repo(), &world.config.password_file(), &["ls", "--json", id]);
    let file = String::from_utf8(listed).unwrap();
    let file = file.lines().find(|line| line.contains("database.dump")).unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(file).unwrap()["size"],
        dump.len(),
        "the tree tells the true size"
    );
}

fn restored_as_database(world: &World) {
    world.cmd().args(["restore", "pg/a", "--into", "copy"]).run().ok();
    testkit::postgres::assert_same_dump(&world.server.dump_text("a"), &world.server.dump_text("copy"));
    let folder = world.config.dir().join("files");
    world.cmd().args(["restore", "pg/a", "--to"]).arg(&folder).run().ok();
    let dump = fs::read(folder.join("database.dump")).unwrap();
    fs::remove_dir_all(folder).unwrap();
    run_ok(std::process::Command::new(PgVersion::V15.bin_dir().join("pg_restore")).arg("-l"), &dump);
    world.server.psql("postgres", "DROP DATABASE copy");
}

#[test]
fn a_repository_that_cannot_be_used_is_refused_with_a_hint() {
    let Some(world) = World::new(&["a"], Setup::default()) else { return };
    let (repo, password) = (world.repo(), world.config.password_file());
    let refused = |why: &str, hint: &str| {
        for command in
            [&["backup"][..], &["check"], &["prune"], &["snapshots"], &["restore", "pg/a", "--into", "x"]]
        {
            let run = world.cmd().args(command).run().expect_code(4);
            assert!(
                run.stderr.contains(why) && run.stderr.contains("→") && run.stderr.contains(hint),
                "{}",
                run.stderr
            );
        }
    };
    refused("cannot open the repository at", "`tik-backup init` creates one");
    assert!(!repo.exists(), "only init creates something");
    fs::create_dir(&repo).unwrap();
    refused("there is no repository at", "`tik-backup init` creates one");
    assert_eq!(fs::read_dir(&repo).unwrap().count(), 0);

    world.new.ok(&repo, &password, &["init", "--repository-version", "1"]);
    let before = testkit::postgres_world::files(&repo);
    refused("format version 1", "restic migrate upgrade_repo_v2");
    world.cmd().arg("init").run().expect_code(4);
    assert_eq!(testkit::postgres_world::files(&repo), before);
    world.new.ok(&repo, &password, &["migrate", "upgrade_repo_v2"]);
    world.backup(&[]).ok();
    world.clean();

    let right = fs::read_to_string(&password).unwrap();
    fs::write(&password, "wrong").unwrap();
    refused("the password does not open the repository", "repository.password_file");
    assert_eq!(processes_naming(world.clients.path()), [""; 0], "no dump that was begun meanwhile is left");
    let run = world.cmd().arg("init").run().expect_code(4);
    assert!(run.stderr.contains("the password does not open"), "{}", run.stderr);
    fs::write(&password, right).unwrap();
    world.backup(&[]).ok();
}
