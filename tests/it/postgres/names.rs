//! Databases whose names need care everywhere: in SQL, connection strings, paths, arguments.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
    thread,
};

use serde_json::Value;
use testkit::{Config, PgServer, PgVersion, Restic, Tool, process::run_ok, skip_unless};

use super::support::{
    SOURCE, backup, configured, exists, item, restore, snapshot_of, snapshots, try_backup, url,
};

const MORE: [&str; 12] = [
    "UPPER",
    " spaces at both ends ",
    "50%25 off",
    "new\nline\tand tab",
    "-leading dash",
    "postgresql://user:secret@host/x?y=z",
    "dbname=x host=nowhere",
    "../../etc",
    "..",
    "`id`; $(id) && 'x'",
    "größer 東京 é",
    "a63456789012345678901234567890123456789012345678901234567890123",
];

/// A name for the copy, no less odd.
fn copy_of(name: &str) -> String {
    if name.len() < 60 { format!("{name} 2") } else { "copy of the long one".to_owned() }
}

/// Names that look like a URL can be written as a part of one.
fn destination(server: &PgServer, name: &str) -> String {
    if name.contains("://") { url(server, "postgres", name) } else { name.to_owned() }
}

/// The directory of each snapshot that holds a dump, as restic finds it.
fn folders(restic: &Restic, config: &Config) -> BTreeMap<String, String> {
    let found = restic.ok(&config.repo(), &config.password_file(), &["find", "--json", "database.dump"]);
    let found: Vec<Value> = serde_json::from_slice(&found).unwrap();
    let folder = |snapshot: &Value| {
        let matches = snapshot["matches"].as_array().unwrap();
        assert_eq!(matches.len(), 1, "{snapshot}");
        let path = matches[0]["path"].as_str().unwrap();
        assert_eq!(path.matches('/').count(), 3, "source, item and file are one step each: {path:?}");
        (
            snapshot["snapshot"].as_str().unwrap().to_owned(),
            path.strip_suffix("/database.dump").unwrap().to_owned(),
        )
    };
    found.iter().map(folder).collect()
}

/// `restic dump … | pg_restore -l`
fn dump_is_listed(server: &PgServer, restic: &Restic, config: &Config, snapshot: &str, folder: &str) {
    let path = format!("{folder}/database.dump");
    let archive = restic.dump(&config.repo(), &config.password_file(), snapshot, &path);
    let listing = run_ok(Command::new(server.bin("pg_restore")).arg("-l"), &archive);
    assert!(String::from_utf8_lossy(&listing).contains("TABLE DATA public t"), "{path:?}");
}

fn comes_back(server: &PgServer, config: &Config, name: &str, number: usize) {
    let copy = copy_of(name);
    let done = restore(config, name, &[&format!("--into={}", destination(server, &copy))]);
    assert_eq!(done["database"]["database"], copy);
    assert!(exists(server, &copy), "{copy:?}");
    for database in [name, &copy] {
        assert_eq!(server.psql(database, "SELECT number FROM t"), number.to_string(), "{database:?}");
    }
}

#[test]
fn databases_with_odd_names_are_backed_up_and_come_back() {
    skip_unless!(Tool::Pg15);
    let server = PgServer::start(PgVersion::V15);
    let names: Vec<&str> = PgServer::HOSTILE_DATABASES.into_iter().chain(MORE).collect();
    for (number, name) in names.iter().enumerate() {
        server.create_database(name);
        server.psql(name, &format!("CREATE TABLE t AS SELECT {number} AS number"));
    }
    let config = configured(&server, "");
    let report = backup(&config);
    assert_eq!(report["items"].as_array().unwrap().len(), names.len() + 1, "and @globals");
    let listed = snapshots(&config);
    for name in &names {
        let id = snapshot_of(&report, name);
        assert!(listed.iter().any(|s| s["item"] == *name && s["id"] == id), "{name:?} is listed");
    }
    for (restic, start) in [(Restic::new_(), 0), (Restic::old(), 3)] {
        let Some(restic) = restic else { continue };
        let folders = folders(&restic, &config);
        assert_eq!(folders.len(), names.len());
        assert_eq!(
            folders.values().collect::<BTreeSet<_>>().len(),
            names.len(),
            "no two share one: {folders:?}"
        );
        for name in names.iter().skip(start).step_by(6) {
            let id = snapshot_of(&report, name);
            dump_is_listed(&server, &restic, &config, id, &folders[id]);
        }
    }
    // Two at a time: most of a restore is waiting.
    let (server, config, names) = (&server, &config, &names);
    thread::scope(|scope| {
        for half in 0..2 {
            scope.spawn(move || {
                for (number, name) in names.iter().enumerate().skip(half).step_by(2) {
                    comes_back(server, config, name, number);
                }
            });
        }
    });
}

/// A database must never be mistaken for the item with the roles, and be lost silently.
#[test]
fn a_database_called_like_the_globals_is_not_lost_in_silence() {
    skip_unless!(Tool::Pg15);
    let server = PgServer::start(PgVersion::V15);
    server.create_database("@globals");
    server.create_database("shop");
    for globals in ["globals = true", "globals = false"] {
        let config = configured(&server, globals);
        let report = try_backup(&config, &[]).expect_code(3).json();
        assert_eq!(item(&report, "shop")["outcome"], "ok");
        let items = report["items"].as_array().unwrap();
        let failed: Vec<_> = items.iter().filter(|i| i["outcome"] == "failed").collect();
        assert_eq!(failed.len(), 1, "{report:#}");
        assert_eq!((&failed[0]["source"], &failed[0]["item"]), (&SOURCE.into(), &"@globals".into()));
        assert!(failed[0]["error"].as_str().unwrap().contains("database"), "{report:#}");
    }
}
