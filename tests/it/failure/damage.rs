//! Damage of a repository is detected, and a missing pack is stored again.

use std::{fs, path::PathBuf};

use testkit::postgres_world::{Setup, World, fill};

/// The largest pack: one with data, not trees.
fn largest_pack(world: &World) -> PathBuf {
    let data = world.repo().join("data");
    let (path, _) = testkit::postgres_world::files(&data).into_iter().max_by_key(|(_, size)| *size).unwrap();
    data.join(path)
}

fn world() -> Option<World> {
    let setup = Setup {
        repository: "pack_size = \"4MiB\"",
        tables: "[retention]\nkeep_last = 9",
        ..Setup::default()
    };
    let world = World::with_repository(&["a", "b"], setup)?;
    fill(&world.server, "a", "more", 100_000, "a");
    world.backup(&[]).ok();
    Some(world)
}

#[test]
fn a_flipped_bit_is_found_by_reading() {
    let Some(world) = world() else { return };
    let sound = world.cmd().args(["--json", "check", "--read-data-subset", "5%"]).run().ok().json();
    assert!(sound["packs_read"].as_u64().unwrap() >= 1, "{sound}");
    let all = world.cmd().args(["--json", "check", "--read-data"]).run().ok().json();
    assert_eq!(all["packs_read"], all["packs"]);
    assert!(all["packs"].as_u64().unwrap() >= 3 && all["snapshots"] == 2, "{all}");

    let pack = largest_pack(&world);
    let mut bytes = fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&pack, bytes).unwrap();
    let id = pack.file_name().unwrap().to_str().unwrap();
    let found = world.cmd().args(["--json", "check", "--read-data"]).run().expect_code(1).json();
    let errors = found["errors"].to_string();
    assert!(errors.contains(&id[..8]), "the damaged pack {id} is named: {errors}");
    let text = world.cmd().args(["check", "--read-data"]).run().expect_code(1);
    assert!(
        text.stdout.contains("DAMAGED") && text.stdout.contains("tik-backup repair packs"),
        "{}",
        text.stdout
    );
    let folder = world.config.dir().join("files");
    let restore = world.cmd().args(["restore", "pg/a", "--to"]).arg(&folder).run();
    assert!(
        restore.code() == Some(4) || restore.code() == Some(1),
        "a damaged dump is not handed out: {restore:?}"
    );
    assert!(restore.stderr.contains("--read-data-subset 100%"), "{}", restore.stderr);
}

#[test]
fn a_missing_pack_is_found_and_stored_again() {
    let Some(world) = world() else { return };
    let older = world.snapshots_by_item();
    let dump = world.whole(older["pg/a"].first().unwrap(), "pg/a");
    let pack = largest_pack(&world);
    fs::remove_file(&pack).unwrap();
    let id = pack.file_name().unwrap().to_str().unwrap();
    let found = world.cmd().args(["--json", "check"]).run().expect_code(1).json();
    assert!(found["errors"].to_string().contains(&id[..8]), "the missing pack {id} is named: {found}");

    world.backup(&[]).expect_code(3);
    // Readers must find the data of the backup that has just succeeded.
    world.cmd().args(["restore", "pg/a", "--into", "copy"]).run().ok();
    testkit::postgres::assert_same_dump(&world.server.dump_text("a"), &world.server.dump_text("copy"));
    // Two dumps of the same data differ in the time in their headers alone.
    let now = world.snapshots("pg/a");
    let new: Vec<_> = now.difference(&older["pg/a"]).collect();
    assert_eq!((now.len(), new.len()), (2, 1));
    assert_eq!(world.whole(new[0], "pg/a").len(), dump.len());
    // The older ones may have lost the chunks with their own headers and manifests, and nothing can bring those back.
    for id in older.values().flatten() {
        world.restic(&["forget", id]);
    }
    world.clean();
    world.cmd().args(["check", "--read-data"]).run().ok();
}

#[test]
fn other_damage_is_found_without_reading_data() {
    let Some(world) = world() else { return };
    let file = |folder: &str| {
        let mut names: Vec<_> =
            fs::read_dir(world.repo().join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        names.remove(0)
    };
    for folder in ["index", "snapshots"] {
        let path = file(folder);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 10]).unwrap();
        let run = world.cmd().arg("check").run();
        assert!(matches!(run.code(), Some(1 | 4)), "a cut off file in {folder}: {run:?}");
        fs::write(&path, whole).unwrap();
    }
    let pack = largest_pack(&world);
    let whole = fs::read(&pack).unwrap();
    fs::write(&pack, &whole[..whole.len() - 10]).unwrap();
    world.cmd().arg("check").run().expect_code(1);
    fs::write(&pack, whole).unwrap();
    world.cmd().args(["check", "--read-data"]).run().ok();
}
