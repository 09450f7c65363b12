//! A repository behind restic's REST protocol, with the password in a file.

use std::{fs, path::PathBuf};

use testkit::{
    postgres::assert_same_dump,
    postgres_world::{Setup, World, cmd_with, fill},
    program::quoted,
};

use super::rest_server::RestServer;

/// A configuration whose location is in a file, because it has a password.
fn remote_config(world: &World, name: &str, location: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let file = world.config.dir().join(format!("{name}.location"));
    fs::write(&file, location).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let line = format!("location = {}", quoted(&world.repo().display().to_string()));
    let to = format!("location_file = {}", quoted(&file.display().to_string()));
    world.variant(name, &[(&line, &to)])
}

#[test]
fn a_rest_server_is_a_repository_like_any_other() {
    let setup = Setup {
        repository: "pack_size = \"4MiB\"\nverify_writes = true\noptions = { retry = \"2\" }",
        tables: "[retention]\nkeep_last = 1\nkeep_daily = 0\nkeep_weekly = 0\nkeep_within = \"0s\"",
        ..Setup::default()
    };
    let Some(world) = World::new(&["a", "b"], setup) else { return };
    // The server keeps its files where the world looks for them, so that both restics can look into them directly.
    let server = RestServer::start(&world.repo());
    let config = remote_config(&world, "remote.toml", &server.location());
    let cmd = |args: &[&str]| cmd_with(&config).args(args).run();
    let refused = cmd(&["backup"]).expect_code(4);
    assert!(refused.stderr.contains("→ `tik-backup init`"), "{}", refused.stderr);
    let said = [cmd(&["init"]).ok(), cmd(&["-vvv", "backup"]).ok()];
    for run in &said {
        assert!(!run.stderr.contains("secret") && !run.stdout.contains("secret"), "{run:?}");
    }
    world.clean();
    let stock =
        world.new.run(server.location().as_ref(), &world.config.password_file(), &["check", "--read-data"]);
    assert!(stock.status.success(), "{stock:?}");
    let first = world.snapshots("pg/a").pop_first().unwrap();
    world.whole(&first, "pg/a");
    cmd(&["check", "--read-data"]).ok();
    cmd(&["restore", "pg/a", "--into", "copy"]).ok();
    assert_same_dump(&world.server.dump_text("a"), &world.server.dump_text("copy"));

    // A temporary error of the server is retried, also for longer than the library itself retries; a permanent one ends the
    // run.
    fill(&world.server, "a", "small", 20_000, "changed");
    server.refuse("/data/", 500, 4);
    cmd(&["backup"]).ok();
    assert!(server.relent(), "the refusals were used");
    let second = world.snapshots("pg/a").pop_first().unwrap();
    assert_ne!(first, second);
    for (place, status) in [("/data/", 507), ("/index/", 403), ("/snapshots/", 500)] {
        fill(&world.server, "a", "small", 20_000, place);
        server.refuse(place, status, u32::MAX);
        let run = cmd(&["backup", "pg/a"]).expect_code(4);
        assert!(run.stderr.contains("pg/a: FAILED: cannot write to the repository"), "{}", run.stderr);
        assert!(!run.stderr.contains("secret"), "{}", run.stderr);
        server.relent();
        assert_eq!(world.snapshots("pg/a"), [second.clone()].into());
        world.clean();
    }
    pruned_in_two_phases(&world, &server, &cmd);

    let wrong = remote_config(&world, "wrong.toml", &server.location().replace("secret", "guess"));
    let run = cmd_with(&wrong).arg("backup").run().expect_code(4);
    assert!(!run.stderr.contains("guess"), "{}", run.stderr);
    let location = server.location();
    drop(server);
    let gone = remote_config(&world, "gone.toml", &location);
    let run = cmd_with(&gone).arg("backup").run().expect_code(4);
    assert!(!run.stderr.contains("secret"), "{}", run.stderr);
}

/// A storage without locks: nothing is deleted at once, because another process may be using it.
fn pruned_in_two_phases(world: &World, server: &RestServer, cmd: &dyn Fn(&[&str]) -> testkit::Ran) {
    cmd(&["backup"]).ok();
    server.requests();
    let report = cmd(&["--json", "prune"]).ok().json();
    assert_eq!(report["two_phase"], true);
    let deleted: Vec<_> =
        server.requests().into_iter().filter(|line| line.starts_with("DELETE /data/")).collect();
    assert!(deleted.is_empty(), "packs are only marked: {deleted:?}");
    for item in ["pg/a", "pg/b"] {
        world.whole(world.snapshots(item).first().unwrap(), item);
    }
    // A later run does not rely on marked packs.
    fill(&world.server, "a", "small", 20_000, "changed");
    cmd(&["backup"]).ok();
    cmd(&["prune"]).ok();
    for item in ["pg/a", "pg/b"] {
        world.whole(world.snapshots(item).first().unwrap(), item);
    }
    world.clean();
    cmd(&["check", "--read-data"]).ok();
}
