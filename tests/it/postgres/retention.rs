//! Retention removes only old snapshots of items that succeeded.

use testkit::{Cmd, ConfigBuilder, PgServer, PgVersion, Restic, Tool, skip_unless};

use super::support::{
    SOURCE, as_account, assert_says, backup, edit, ids_of, item, ready, snapshot_of, snapshots, try_backup,
};

#[test]
fn old_snapshots_go_only_where_a_new_one_came() {
    skip_unless!(Tool::Pg15);
    let server = PgServer::start(PgVersion::V15);
    for name in ["shop", "breaks", "unnamed"] {
        server.create_database(name);
        server.psql(name, "CREATE TABLE t AS SELECT 1 AS x");
    }
    server.psql("postgres", "CREATE ROLE keeper LOGIN; GRANT pg_read_all_data TO keeper");
    let many = "[retention]\nkeep_last = 9\nkeep_daily = 0\nkeep_weekly = 0";
    let config = ready(ConfigBuilder::new().source(SOURCE, &as_account(&server, "keeper", "")).tables(many));
    backup(&config);
    let report = backup(&config);
    assert_eq!(report["forgotten"], 0);
    assert_eq!(ids_of(&config, "shop").len(), 2);

    // Snapshots of another program, one of them with the path of an item.
    let (repo, password) = (config.repo(), config.password_file());
    let restic = Restic::new_();
    if let Some(restic) = &restic {
        for name in ["foreign", "foreign", "pg/shop"] {
            restic.backup_stdin(&repo, &password, name, b"not ours");
        }
    }

    // Rows that a policy hides make a dump fail: what could not be backed up must not age out either.
    server.psql("breaks", "ALTER TABLE t ENABLE ROW LEVEL SECURITY");
    let old: Vec<_> = ["shop", "breaks", "unnamed", "@globals"].map(|name| ids_of(&config, name)).into();
    edit(&config, "keep_last = 9\nkeep_daily = 0", "keep_within = \"0s\"\nkeep_daily = 1");
    let report = try_backup(&config, &["pg/shop", "pg/breaks", "pg/@globals"]).expect_code(3).json();
    assert_says(item(&report, "breaks")["error"].as_str().unwrap(), &["row-level security"]);
    assert_eq!(report["forgotten"], 4, "two each of shop and @globals");
    assert_eq!(ids_of(&config, "shop"), [snapshot_of(&report, "shop")], "the newest of the day");
    assert_eq!(ids_of(&config, "@globals"), [snapshot_of(&report, "@globals")]);
    assert_eq!(ids_of(&config, "breaks"), old[1], "a failed item keeps all it has");
    assert_eq!(ids_of(&config, "unnamed"), old[2], "so does one that was not asked for");
    if let Some(restic) = &restic {
        let all = restic.snapshots_json(&repo, &password);
        assert_eq!(all.len(), snapshots(&config).len() + 3, "the foreign ones are there");
        restic.check(&repo, &password, true);
    }

    // A run without any success removes no snapshots.
    let before = snapshots(&config);
    try_backup(&config, &["pg/breaks"]).expect_code(1);
    assert_eq!(snapshots(&config), before);
}

#[test]
fn a_source_may_have_a_retention_of_its_own() {
    skip_unless!(Tool::Pg15);
    let server = PgServer::start(PgVersion::V15);
    server.create_database("shop");
    let own = "retention = { keep_last = 2, keep_daily = 0, keep_weekly = 0, keep_within = \"0s\" }";
    let config = ready(super::support::builder(&server, own).tables("[retention]\nkeep_last = 1"));
    let made: Vec<String> = (0..4).map(|_| snapshot_of(&backup(&config), "shop").to_owned()).collect();
    assert_eq!(ids_of(&config, "shop"), made[2..]);
}

#[test]
fn a_run_by_hand_removes_nothing_of_the_last_two_days_and_says_before_what_it_removes() {
    skip_unless!(Tool::Pg15);
    let server = PgServer::start(PgVersion::V15);
    server.create_database("shop");
    let config = ready(
        super::support::builder(&server, "globals = false")
            .tables("[retention]\nkeep_daily = 1\nkeep_weekly = 0"),
    );
    let all = || try_backup(&config, &["pg/shop"]).ok();
    let dry_run = |json: &str| Cmd::with(&config).args([json, "backup", "--dry-run", "pg/shop"]).run().ok();
    let first = snapshot_of(&all().json(), "shop").to_owned();
    let dry = dry_run("--json").json();
    assert_eq!(dry["removed"], serde_json::json!([]), "{dry:#}");
    let report = all().json();
    let second = snapshot_of(&report, "shop").to_owned();
    assert_eq!(report["forgotten"], 0, "the snapshot of the night stays");
    assert_eq!(ids_of(&config, "shop"), [first.clone(), second.clone()]);

    // Without that rule both go; a dry run shows it and removes nothing.
    edit(&config, "keep_daily = 1", "keep_daily = 1\nkeep_within = \"0s\"");
    let dry = dry_run("--json").json();
    let ids = |removed: &serde_json::Value| -> Vec<String> {
        let snapshots = removed["snapshots"].as_array().unwrap().iter();
        snapshots.map(|snapshot| snapshot["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(&dry["removed"][0]), [first.clone(), second.clone()], "{dry:#}");
    let shown = dry_run("-v");
    assert_says(&shown.stdout, &["pg/shop: retention would remove 2 snapshots:", &first[..8], &second[..8]]);
    assert_eq!(ids_of(&config, "shop"), [first.clone(), second.clone()]);
    let run = all();
    assert_says(&run.stderr, &["pg/shop: retention removes 2 snapshots:", &first[..8], &second[..8]]);
    let report = run.json();
    assert_eq!(report["forgotten"], 2);
    assert_eq!(ids_of(&config, "shop"), [snapshot_of(&report, "shop")]);
}
