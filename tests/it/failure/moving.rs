//! Servers that change during a run: temporary failures are waited for, and a removed database is not a failure.

use serde_json::{Value, json};
use testkit::{
    postgres_world::{Setup, World, fill, item},
    running::Hold,
};

/// Stops the next dump of a database before it begins.
fn hold_before(world: &World, database: &str) -> Hold {
    let hold = Hold::new(world.clients.path(), database);
    world.clients.script(database, &format!("{}; dump \"$@\"", hold.script()));
    hold
}

/// Stops the next dump of a database in the middle; it ends as `pg_dump` does.
fn hold_within(world: &World, database: &str) -> Hold {
    let hold = Hold::new(world.clients.path(), database);
    let status = world.clients.path().join(format!("{database}.status"));
    world.clients.script(
        database,
        &format!(
            "{{ dump \"$@\"; echo $? >'{status}'; }} | {{ head -c 3000; {}; cat; }}; exit $(cat '{status}')",
            hold.script(),
            status = status.display()
        ),
    );
    hold
}

#[test]
fn a_server_that_restarts_during_the_run_is_waited_for() {
    let Some(mut world) = World::with_repository(&["shop", "crm"], Setup::default()) else { return };
    let hold = hold_within(&world, "shop");
    let mut backup = world.start_backup(&[]);
    hold.wait_reached_within(&mut backup, &world.config.state_dir(), "pg/shop");
    world.server.restart();
    world.clients.heal("shop");
    // Unless it was ended already, because the server is gone.
    hold.release_if_there();
    let ended = backup.finish().expect_code(0);
    assert!(
        ended.stderr.contains("pg/shop: ") && ended.stderr.contains("it is tried again in 1 s"),
        "{}",
        ended.stderr
    );
    assert!(ended.stdout.contains("all 2 items backed up"), "{}", ended.stdout);
    for database in ["shop", "crm"] {
        let name = format!("pg/{database}");
        world.whole(world.snapshots(&name).first().unwrap(), &name);
    }
    world.clean();
}

#[test]
fn a_database_that_is_dropped_or_renamed_during_the_run_has_vanished() {
    let setup = Setup { source: "jobs = 1", ..Setup::default() };
    let Some(world) = World::with_repository(&["held", "dropped", "renamed", "new"], setup) else { return };
    // The largest is dumped first.
    fill(&world.server, "held", "large", 20_000, "x");
    world.backup(&["pg/held", "pg/dropped", "pg/renamed"]).ok();
    // While pg_dump waits for a reader, PostgreSQL does not allow a database to be dropped.
    let hold = hold_before(&world, "held");
    let mut backup = testkit::running::Running::start(world.cmd().args(["--json", "backup"]).into_command());
    hold.wait_reached_within(&mut backup, &world.config.state_dir(), "pg/held");
    for name in ["dropped", "new"] {
        world.server.psql("postgres", &format!("DROP DATABASE {name}"));
    }
    world.server.psql("postgres", "ALTER DATABASE renamed RENAME TO other");
    hold.release();
    let ended = backup.finish().expect_code(0);
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(report["outcome"], "ok");
    assert_eq!(item(&report, "pg", "held")["outcome"], "ok");
    for name in ["dropped", "renamed", "new"] {
        let gone = item(&report, "pg", name);
        assert_eq!((&gone["outcome"], &gone["error"]), (&json!("vanished"), &json!(null)), "{gone:#}");
        assert!(ended.stderr.contains(&format!("pg/{name}: VANISHED")), "{}", ended.stderr);
    }
    let status = world.cmd().args(["--json", "status"]).run().ok().json();
    let entries = status["items"].as_array().unwrap();
    let entry = |name: &str| entries.iter().find(|entry| entry["item"] == name).unwrap();
    for name in ["dropped", "renamed", "new"] {
        assert_eq!(entry(name)["state"], "vanished", "{:#}", entry(name));
    }
    // Of what was never stored nothing is lost.
    assert_eq!(entry("new")["problems"], json!([]));
    assert_eq!(entry("dropped")["problems"][0]["kind"], "vanished");
    assert_eq!(world.snapshots("pg/dropped").len(), 1, "its snapshots are kept");
}
