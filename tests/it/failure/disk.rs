//! A storage without room.

use std::fs;

use testkit::postgres_world::{Setup, World, cmd_with, files, fill};

use super::mount::{Tmpfs, in_private_namespace};

#[test]
fn a_disk_that_fills_up_costs_only_what_did_not_fit() {
    in_private_namespace(|| {
        let setup = Setup { repository: "min_free = \"0B\"\npack_size = \"4MiB\"", ..Setup::default() };
        let Some(world) = World::new(&["small", "large"], setup) else { return };
        let point = world.config.dir().join("mnt");
        fs::create_dir(&point).unwrap();
        let _storage = Tmpfs::mount(&point, 16);
        let repo = point.join("repo");
        let config = world.relocated("full.toml", &repo);
        cmd_with(&config).arg("init").run().ok();
        cmd_with(&config).arg("backup").run().ok();
        let snapshots = || world.new.snapshots_json(&repo, &world.config.password_file());
        let before = snapshots();
        assert_eq!(before.len(), 2);

        // About 40 MB, of which half remains when compressed.
        fill(&world.server, "large", "more", 300_000, "large");
        let clean = || {
            for restic in [&world.old, &world.new] {
                // Its lock needs a little room itself, and there may be none.
                restic.ok(&repo, &world.config.password_file(), &["--no-lock", "check", "--read-data"]);
            }
        };
        let run = cmd_with(&config).args(["--json", "backup", "pg/large"]).run().expect_code(4);
        for text in [
            "pg/large: FAILED: cannot write to the repository (data)",
            "No space left",
            "the storage is full",
        ] {
            assert!(run.stderr.contains(text), "{text}: {}", run.stderr);
        }
        assert_eq!(run.json()["outcome"], "failed");
        assert_eq!(snapshots_ids(&snapshots()), snapshots_ids(&before));
        assert!(testkit::postgres_world::temporary_files(&repo).is_empty());
        clean();

        // Full to the last byte, not even the lock can be written.
        let filler = point.join("filler");
        let mut file = fs::File::create(&filler).unwrap();
        while std::io::Write::write_all(&mut file, &[0; 4096]).is_ok() {}
        let run = cmd_with(&config).arg("backup").run().expect_code(4);
        assert!(run.stderr.contains("No space left"), "{}", run.stderr);
        cmd_with(&config).arg("snapshots").run().ok();
        drop(file);
        fs::remove_file(&filler).unwrap();

        // What the failed run stored is no snapshot's, and makes room again.
        cmd_with(&config).arg("prune").run().ok();
        clean();
        cmd_with(&config).args(["backup", "pg/small"]).run().ok();
        clean();

        let demanding = world.config.dir().join("demanding.toml");
        let text = fs::read_to_string(&config).unwrap();
        fs::write(&demanding, text.replace("min_free = \"0B\"", "min_free = \"1GiB\"")).unwrap();
        let before = files(&repo);
        let run = cmd_with(&demanding).arg("backup").run().expect_code(4);
        assert!(run.stderr.contains("less than `repository.min_free` (1.0 GiB)"), "{}", run.stderr);
        assert_eq!(files(&repo), before, "nothing is written");
    });
}

fn snapshots_ids(snapshots: &[serde_json::Value]) -> Vec<&str> {
    snapshots.iter().map(|snapshot| snapshot["id"].as_str().unwrap()).collect()
}

#[test]
fn items_that_found_no_room_are_counted_once_and_without_their_source() {
    in_private_namespace(|| {
        let setup = Setup { repository: "min_free = \"0B\"\npack_size = \"4MiB\"", ..Setup::default() };
        let Some(world) = World::new(&["one", "two"], setup) else { return };
        for database in ["one", "two"] {
            fill(&world.server, database, "more", 60_000, database);
        }
        let point = world.config.dir().join("mnt");
        fs::create_dir(&point).unwrap();
        let _storage = Tmpfs::mount(&point, 3);
        let config = world.relocated("full.toml", &point.join("repo"));
        cmd_with(&config).arg("init").run().ok();
        let run = cmd_with(&config).arg("backup").run().expect_code(4);
        assert!(run.stdout.starts_with("0 items backed up, 2 FAILED"), "{}", run.stdout);
        assert!(!run.stderr.contains("\nerror: "), "said once: {}", run.stderr);
        let status = cmd_with(&config).args(["--json", "status"]).run().json();
        let items = status["items"].as_array().unwrap();
        let failed = items.iter().filter(|entry| entry["state"] == "failed");
        assert_eq!(failed.filter(|entry| entry["item"].is_null()).count(), 0, "{items:#?}");
        let text = cmd_with(&config).arg("status").run().stdout;
        assert!(text.starts_with("2 PROBLEMS"), "{text}");
    });
}
