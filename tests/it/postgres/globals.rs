//! Roles, their memberships, settings and passwords: the item `@globals`.

use std::{fs, path::Path, time::Duration};

use testkit::{
    ConfigBuilder, PgServer, PgVersion, Tool, postgres::assert_same_dump, process::run, skip_unless,
};

use super::support::{
    SOURCE, as_account, assert_says, backup, configured, files_of, item, manifest_of, ready, try_restore,
};

fn script(config: &testkit::Config, folder: &Path) -> String {
    files_of(config, "@globals", "latest", folder);
    fs::read_to_string(folder.join("globals.sql")).unwrap()
}

fn roles_come_back(version: PgVersion) {
    let server = PgServer::start(version);
    server.load_roles();
    let config = configured(&server, "");
    backup(&config);
    let folder = tempfile::tempdir().unwrap();
    let sql = script(&config, folder.path());
    assert_says(
        &sql,
        &["CREATE ROLE \"tik/Größe 🐘\"", "SCRAM-SHA-256$", "GRANT \"tik Reader\" TO", "SET work_mem"],
    );

    let fresh = PgServer::start(version);
    let mut psql = fresh.client("psql");
    // The role that runs the script exists already, which is the one error to be expected.
    let output = run(
        psql.args(["-Xq", "-d", "postgres", "-f"]).arg(folder.path().join("globals.sql")),
        b"",
        Duration::from_secs(60),
    );
    let stderr = String::from_utf8_lossy(&output.stderr);
    let errors: Vec<_> = stderr.lines().filter(|line| line.contains("ERROR")).collect();
    assert_eq!(errors.len(), 1, "{stderr}");
    assert!(errors[0].contains("\"postgres\" already exists"), "{stderr}");
    assert_same_dump(&server.globals_text(), &fresh.globals_text());

    let manifest = manifest_of(&config, "@globals", "latest");
    assert_eq!(manifest["tools"][0]["name"], "pg_dumpall");
    assert_eq!(manifest["postgres"]["role_passwords"], true);
    let roles = manifest["postgres"]["roles"].as_array().unwrap();
    let app = roles.iter().find(|role| role["name"] == "tik_app").unwrap();
    assert_eq!((&app["login"], &app["member_of"]), (&true.into(), &serde_json::json!(["tik \"Writer\""])));

    // Roles are no database, and what to do instead is said.
    let ran = try_restore(&config, "@globals", &["--into", "x"]).expect_code(2);
    assert_says(&ran.stderr, &["globals.sql", "--to"]);
}

#[test]
fn roles_come_back_on_15() {
    skip_unless!(Tool::Pg15);
    roles_come_back(PgVersion::V15);
}

#[test]
fn roles_come_back_on_18() {
    skip_unless!(Tool::Pg18);
    roles_come_back(PgVersion::V18);
}

#[test]
fn roles_without_passwords_are_still_roles() {
    skip_unless!(Tool::Pg15);
    let server = PgServer::start(PgVersion::V15);
    server.load_roles();
    server.create_database("shop");
    server.psql("postgres", "CREATE ROLE keeper LOGIN PASSWORD 'x'");
    let managed = ConfigBuilder::new().source(SOURCE, &as_account(&server, "keeper", ""));
    for (config, why) in [
        (ready(managed), "may not read them"),
        (configured(&server, "role_passwords = \"never\""), "role_passwords = \"never\""),
    ] {
        let report = backup(&config);
        let note = item(&report, "@globals")["notes"][0].as_str().unwrap();
        assert_says(note, &["passwords are not included", why]);
        let manifest = manifest_of(&config, "@globals", "latest");
        assert_says(&manifest["notes"].to_string(), &["passwords are not included"]);
        assert_eq!(manifest["postgres"]["role_passwords"], false);
        let sql = script(&config, tempfile::tempdir().unwrap().path());
        assert_says(&sql, &["CREATE ROLE tik_app", "GRANT \"tik Reader\""]);
        assert!(!sql.contains("SCRAM-SHA-256"), "no password of any role");
    }

    let config = configured(&server, "globals = false");
    let report = backup(&config);
    let items: Vec<_> = report["items"].as_array().unwrap().iter().map(|i| i["item"].clone()).collect();
    assert_eq!(items, ["shop"]);
}
