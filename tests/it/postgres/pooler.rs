//! A connection pooler between us and the server: rows are read with the settings that their digests need, or not at all.

use std::{fs, os::unix::fs::PermissionsExt, process::Child, thread, time::Duration};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use testkit::{
    Config, ConfigBuilder, PgOptions, PgServer, PgVersion, Tool,
    postgres::answers,
    process::{as_unprivileged, spawn_bound, unprivileged},
    program::quoted,
    skip_unless,
};

use super::support::{
    assert_says, backup, client_dirs, digest, item, manifest_of, ready, snapshot_of, try_backup,
};

/// A pgbouncer that drops `options`, as those that are made for many kinds of clients do.
struct Pooler {
    child: Child,
    dir: TempDir,
}

impl Pooler {
    fn start(server: &PgServer) -> Self {
        let dir = tempfile::Builder::new().prefix("tik-pool-").tempdir_in("/tmp").unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        if let Some((uid, gid)) = unprivileged() {
            std::os::unix::fs::chown(dir.path(), Some(uid), Some(gid)).unwrap();
        }
        let ini = dir.path().join("pgbouncer.ini");
        fs::write(
            &ini,
            format!(
                "[databases]\n* = host={} port={} user=postgres\n[pgbouncer]\nlisten_addr =\nlisten_port = 6432\n\
                 unix_socket_dir = {}\nauth_type = any\nignore_startup_parameters = options\npool_mode = session\n",
                server.socket_dir().display(),
                server.port(),
                dir.path().display()
            ),
        )
        .unwrap();
        let mut command = std::process::Command::new(Tool::Pgbouncer.path().unwrap());
        command.arg("-q").arg(&ini).stderr(std::process::Stdio::null()).stdout(std::process::Stdio::null());
        let child = spawn_bound(
            {
                as_unprivileged(&mut command);
                command
            },
            Signal::KILL,
        )
        .unwrap();
        let pooler = Self { child, dir };
        for _ in 0..500 {
            if answers(&pooler.dir.path().join(".s.PGSQL.6432")) {
                return pooler;
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("pgbouncer does not accept connections");
    }

    /// A source that is the server behind it.
    fn source(&self, more: &str) -> String {
        format!(
            "kind = \"postgres\"\nhost = {}\nport = 6432\nuser = \"postgres\"\nglobals = false\n{}\n{more}",
            quoted(&self.dir.path().display().to_string()),
            client_dirs(&[PgVersion::V15])
        )
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn a_pooler_that_drops_options_changes_no_digest() {
    skip_unless!(Tool::Pg15, Tool::Pgbouncer);
    let server = PgOptions::new(PgVersion::V15)
        .setting("timezone", "Asia/Kolkata")
        .setting("bytea_output", "escape")
        .start();
    for database in ["times", "bytes"] {
        server.create_database(database);
    }
    server.psql("times", "CREATE TABLE t (at timestamptz); INSERT INTO t VALUES ('2026-01-01 12:00+00')");
    server.psql("bytes", r"CREATE TABLE b (b bytea[]); INSERT INTO b VALUES (ARRAY['\x00ff'::bytea])");
    let pooler = Pooler::start(&server);
    let pooled = pooler.source("");
    let direct = format!("{}\nglobals = false", client_dirs(&[PgVersion::V15]));
    // `pg` is the name that the helpers ask for: once it is the pooler, once the server.
    let through = ready(ConfigBuilder::new().source("pg", &pooled));
    let beside = ready(ConfigBuilder::new().postgres("pg", &server, &direct));

    let of_server = backup(&beside);
    let report = try_backup(&through, &[]).expect_code(3).json();
    let of = |config: &Config, report: &Value, table: &str, name: &str| {
        let manifest = manifest_of(config, name, snapshot_of(report, name));
        digest(&manifest, "public", table).to_owned()
    };
    assert_eq!(of(&through, &report, "t", "times"), of(&beside, &of_server, "t", "times"));

    // What the pooler cannot be made to pass on is not stored with digests that would be called wrong later.
    let failed = item(&report, "bytes");
    assert_eq!(failed["outcome"], "failed", "{report:#}");
    let error = failed["error"].as_str().unwrap();
    assert_says(error, &["bytea_output is escape", "pooler", "ALTER ROLE"]);
    server.psql("postgres", "ALTER ROLE postgres SET bytea_output = 'hex'");
    drop(pooler);
    let pooler = Pooler::start(&server);
    let again = ready(ConfigBuilder::new().source("pg", &pooler.source("")));
    let report = backup(&again);
    assert_eq!(of(&again, &report, "b", "bytes"), of(&beside, &of_server, "b", "bytes"));
}
