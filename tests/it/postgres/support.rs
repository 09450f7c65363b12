//! Helpers to run the program and to inspect its results.

use std::path::Path;

use serde_json::Value;
pub use testkit::reports::{assert_says, backup, edit, item, ready, snapshot_of, try_backup};
use testkit::{Cmd, Config, ConfigBuilder, PgServer, PgVersion, Ran, postgres::quote, program::quoted};

/// The name of the source in the configurations of these tests.
pub const SOURCE: &str = "pg";

/// The key `client_dirs` with the tools of these versions.
pub fn client_dirs(versions: &[PgVersion]) -> String {
    let dirs: Vec<_> = versions.iter().map(|v| quoted(&v.bin_dir().display().to_string())).collect();
    format!("client_dirs = [{}]", dirs.join(", "))
}

/// A configuration whose source [`SOURCE`] is this server, with a repository that exists.
pub fn configured(server: &PgServer, more: &str) -> Config {
    ready(builder(server, more))
}

/// As [`configured`], to be added to before it is built with [`ready`].
pub fn builder(server: &PgServer, more: &str) -> ConfigBuilder {
    let dirs = if more.contains("client_dirs") { String::new() } else { client_dirs(&[server.version()]) };
    ConfigBuilder::new().postgres(SOURCE, server, &format!("{dirs}\n{more}"))
}

/// A source that is this server as another account.
pub fn as_account(server: &PgServer, account: &str, more: &str) -> String {
    format!(
        "kind = \"postgres\"\nhost = {}\nport = {}\nuser = {}\n{}\n{more}",
        quoted(&server.socket_dir().display().to_string()),
        server.port(),
        quoted(account),
        client_dirs(&[server.version()])
    )
}

/// What the program lists as stored.
pub fn snapshots(config: &Config) -> Vec<Value> {
    let listed = Cmd::with(config).args(["--json", "snapshots"]).run().ok().json();
    listed["snapshots"].as_array().expect("a list of snapshots").clone()
}

/// The ids of an item's snapshots, oldest first.
pub fn ids_of(config: &Config, name: &str) -> Vec<String> {
    let of_item = snapshots(config).into_iter().filter(|s| s["source"] == SOURCE && s["item"] == name);
    of_item.map(|s| s["id"].as_str().unwrap().to_owned()).collect()
}

/// `restore --json` of an item of [`SOURCE`].
pub fn try_restore(config: &Config, name: &str, options: &[&str]) -> Ran {
    let cmd = Cmd::with(config).in_folder(config.dir()).args(["--json", "restore"]);
    cmd.arg(format!("{SOURCE}/{name}")).args(options).run()
}

/// The report of a restore that must succeed.
#[track_caller]
pub fn restore(config: &Config, name: &str, options: &[&str]) -> Value {
    try_restore(config, name, options).ok().json()
}

/// A URL for `--into`, over the server's socket.
pub fn url(server: &PgServer, account: &str, database: &str) -> String {
    let escape = |text: &str| {
        percent_encoding::percent_encode(text.as_bytes(), percent_encoding::NON_ALPHANUMERIC).to_string()
    };
    format!(
        "postgresql://{}@/{}?host={}&port={}",
        escape(account),
        escape(database),
        escape(server.socket_dir().to_str().unwrap()),
        server.port()
    )
}

/// An item's files, restored into a new directory.
pub fn files_of(config: &Config, name: &str, at: &str, folder: &Path) {
    restore(config, name, &["--at", at, "--to", folder.to_str().unwrap()]);
}

/// An item's manifest.
pub fn manifest_of(config: &Config, name: &str, at: &str) -> Value {
    let folder = tempfile::tempdir().unwrap();
    files_of(config, name, at, folder.path());
    serde_json::from_slice(&std::fs::read(folder.path().join("manifest.json")).unwrap()).unwrap()
}

/// The manifest of the newest snapshot of `source/item`.
pub fn manifest_at(config: &Config, name: &str) -> Value {
    let folder = tempfile::tempdir().unwrap();
    Cmd::with(config).args(["restore", name, "--to"]).arg(folder.path()).run().ok();
    serde_json::from_slice(&std::fs::read(folder.path().join("manifest.json")).unwrap()).unwrap()
}

/// The digest of a table in a manifest.
#[track_caller]
pub fn digest<'a>(manifest: &'a Value, schema: &str, table: &str) -> &'a str {
    let objects = manifest["objects"].as_array().expect("a list of objects");
    let found = objects.iter().find(|o| o["schema"] == schema && o["name"] == table);
    found.and_then(|o| o["digest"].as_str()).unwrap_or_else(|| panic!("no {schema}.{table} in {objects:#?}"))
}

/// Everything about a database that is not in it: one line of JSON.
pub fn properties(server: &PgServer, database: &str) -> String {
    let locale = if server.version() == PgVersion::V15 { "daticulocale" } else { "datlocale" };
    server.psql(
        database,
        &format!(
            "SELECT json_build_array(pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datcollate, datctype,
                    datlocprovider, {locale}, datconnlimit, shobj_description(oid, 'pg_database'),
                    (SELECT json_agg(json_build_array(setrole::regrole, s) ORDER BY setrole::regrole::text, s)
                     FROM pg_db_role_setting, unnest(setconfig) s WHERE setdatabase = d.oid),
                    (SELECT json_agg(json_build_array(grantee::regrole, privilege_type, is_grantable, grantor::regrole)
                                     ORDER BY grantee::regrole::text, privilege_type, grantor::regrole::text)
                     FROM aclexplode(coalesce(datacl, acldefault('d', datdba)))))
             FROM pg_database d WHERE datname = current_database()"
        ),
    )
}

/// Does the server have this database?
pub fn exists(server: &PgServer, database: &str) -> bool {
    let literal = database.replace('\'', "''");
    let query = format!(
        "SET standard_conforming_strings = on; SELECT count(*) FROM pg_database WHERE datname = '{literal}'"
    );
    server.psql("postgres", &query) == "1"
}

/// A table's rows as the server counts them.
pub fn rows(server: &PgServer, database: &str, schema: &str, table: &str) -> String {
    server.psql(database, &format!("SELECT count(*) FROM {}.{}", quote(schema), quote(table)))
}

/// Bytes and number of the files below a directory.
pub fn usage(folder: &Path) -> (u64, usize) {
    let mut total = (0, 0);
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let of_entry = if entry.file_type().unwrap().is_dir() {
            usage(&entry.path())
        } else {
            (entry.metadata().unwrap().len(), 1)
        };
        total = (total.0 + of_entry.0, total.1 + of_entry.1);
    }
    total
}
