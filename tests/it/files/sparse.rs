//! Sparse files: holes are not read, and equal written zeros.

use std::{
    fs::{self, File},
    os::unix::fs::{FileExt, MetadataExt},
};

use testkit::{
    Restic,
    reports::{backup, item, snapshot_of, try_backup, try_restore},
};

use super::support::{FULL, ITEM, World, text};

const MIB: u64 = 1 << 20;

/// Writes the same pieces of data at the same places into a file with holes and into one without.
fn write(file: &File) {
    for (at, length) in [(0, 100), (3 * MIB + 17, 700_000), (3 * MIB + 900_000, 1), (20 * MIB - 1, 1)] {
        let piece: Vec<u8> = (0..length).map(|n: u64| (n * n % 251) as u8 + 1).collect();
        file.write_all_at(&piece, at).unwrap();
    }
}

#[test]
fn a_file_with_holes_equals_one_that_is_written_out() {
    let Some(restic) = Restic::new_() else { return };
    let world = World::new("");
    let sparse = File::create(world.path("sparse")).unwrap();
    sparse.set_len(40 * MIB + 5).unwrap();
    write(&sparse);
    assert!(sparse.metadata().unwrap().blocks() * 512 < 5 * MIB, "the file system knows no holes");
    backup(&world.config);

    let dense = File::create(world.path("dense")).unwrap();
    dense.write_all_at(&vec![0; (40 * MIB + 5) as usize], 0).unwrap();
    write(&dense);
    let report = backup(&world.config);
    let added = item(&report, ITEM)["bytes_added"].as_u64().unwrap();
    assert!(added < 20_000, "the same chunks, so nothing but lists is stored: {added}");

    let into = world.out("out");
    try_restore(&world.config, FULL, &["--to", text(&into)]).ok();
    let expected = fs::read(world.path("dense")).unwrap();
    for name in ["sparse", "dense"] {
        assert!(fs::read(into.join(name)).unwrap() == expected, "{name}");
    }
    assert!(fs::metadata(into.join("sparse")).unwrap().blocks() * 512 < 5 * MIB);
    let target = world.out("restic");
    restic.restore_verify(
        &world.config.repo(),
        &world.config.password_file(),
        snapshot_of(&report, ITEM),
        &target,
    );
}

#[test]
fn a_large_file_of_holes_is_not_read() {
    let world = World::new("");
    let file = File::create(world.path("disk.img")).unwrap();
    file.set_len(64 << 30).unwrap();
    file.write_all_at(b"end", (64 << 30) - 3).unwrap();
    let report = backup(&world.config);
    assert!(item(&report, ITEM)["bytes_read"].as_u64().unwrap() < 10 * MIB, "{report:#}");
    assert!(
        item(&report, ITEM)["seconds"].as_f64().unwrap() < 60.0,
        "reading 64 GiB takes longer: {report:#}"
    );
}

#[test]
fn a_file_that_is_all_but_endless_costs_only_itself() {
    let world = World::new("");
    fs::write(world.path("kept"), "x").unwrap();
    // Anybody may make one, at no cost; its chunks would have to be listed in memory.
    File::create(world.path("endless")).unwrap().set_len((8 << 40) + 1).unwrap();
    let report = try_backup(&world.config, &[]).expect_code(3).json();
    let data = item(&report, ITEM);
    assert_eq!(data["outcome"], "partial", "{report:#}");
    let omitted = data["omitted"].as_array().unwrap();
    assert_eq!((omitted.len(), &omitted[0]["name"]), (1, &"endless".into()));
    assert_eq!(omitted[0]["reason"], "it is 8.0 TiB long, more than the maximum of 8 TiB");
    let into = world.out("out");
    try_restore(&world.config, FULL, &["--to", text(&into)]).ok();
    assert!(into.join("kept").exists() && !into.join("endless").exists());
}
