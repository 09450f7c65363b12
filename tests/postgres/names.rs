//! Databases whose names need care everywhere: in SQL, connection strings, paths, arguments.

use std::process::Command;

use crate::{
    common::{PgServer, PgVersion, Restic, Tool, process::run_ok, skip_unless},
    support::{SOURCE, backup, configured, exists, item, restore, snapshot_of, snapshots, url},
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

fn restic_reads(
    server: &PgServer,
    restic: &Restic,
    config: &crate::common::Config,
    snapshot: &str,
) -> String {
    let (repo, password) = (config.repo(), config.password_file());
    let listed = restic.ok(&repo, &password, &["ls", "--json", snapshot]);
    let nodes: Vec<serde_json::Value> =
        String::from_utf8(listed).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let files: Vec<_> =
        nodes.iter().filter(|n| n["type"] == "file").map(|n| n["path"].as_str().unwrap()).collect();
    assert_eq!(files.len(), 2, "{files:?}");
    for file in &files {
        assert_eq!(file.matches('/').count(), 3, "source, item and file are one step each: {file:?}");
    }
    let dump = files.iter().find(|file| file.ends_with("/database.dump")).unwrap();
    let archive = restic.dump(&repo, &password, snapshot, dump);
    let listing = run_ok(Command::new(server.bin("pg_restore")).arg("-l"), &archive);
    assert!(String::from_utf8_lossy(&listing).contains("TABLE DATA public t"));
    nodes[0]["paths"][0].as_str().unwrap().to_owned()
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
    let restics: Vec<_> = [Restic::new_(), Restic::old()].into_iter().flatten().collect();
    let mut paths = std::collections::BTreeSet::new();
    for (number, name) in names.iter().enumerate() {
        let id = snapshot_of(&report, name);
        assert!(listed.iter().any(|s| s["item"] == *name && s["id"] == id), "{name:?} is listed");
        if let Some(restic) = restics.get(number % 2) {
            let path = restic_reads(&server, restic, &config, id);
            assert!(paths.insert(path.clone()), "{path:?} is the path of two items");
        }
        let copy = copy_of(name);
        let done = restore(&config, name, &[&format!("--into={}", destination(&server, &copy))]);
        assert_eq!(done["database"]["database"], copy);
        assert!(exists(&server, &copy), "{copy:?}");
        assert_eq!(server.psql(&copy, "SELECT number FROM t"), number.to_string(), "{name:?}");
        let original = server.psql(name, "SELECT number FROM t");
        assert_eq!(original, number.to_string(), "{name:?} itself is untouched");
    }
}

/// Never may a database be mistaken for the item that holds the roles, and be lost without a word.
#[test]
fn a_database_called_like_the_globals_is_not_lost_in_silence() {
    skip_unless!(Tool::Pg15);
    let server = PgServer::start(PgVersion::V15);
    server.create_database("@globals");
    server.create_database("shop");
    for globals in ["globals = true", "globals = false"] {
        let config = configured(&server, globals);
        let report = crate::support::try_backup(&config, &[]).expect_code(3).json();
        assert_eq!(item(&report, "shop")["outcome"], "ok");
        let items = report["items"].as_array().unwrap();
        let failed: Vec<_> = items.iter().filter(|i| i["outcome"] == "failed").collect();
        assert_eq!(failed.len(), 1, "{report:#}");
        assert_eq!((&failed[0]["source"], &failed[0]["item"]), (&SOURCE.into(), &"@globals".into()));
        assert!(failed[0]["error"].as_str().unwrap().contains("database"), "{report:#}");
    }
}
