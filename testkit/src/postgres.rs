//! Temporary PostgreSQL servers: started from a copied cluster, removed with the test.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{
    PgOptions, PgVersion, fixture,
    postgres_options::{copy_tree, free_port, give, make_certificates, template},
    process::{as_unprivileged, run, run_ok, spawn_bound, unprivileged},
};

/// A running server; stopped and removed when dropped, or when the test process ends in any other way.
#[derive(Debug)]
pub struct PgServer {
    version: PgVersion,
    child: Option<Child>,
    port: u16,
    tls: bool,
    // Dropped last: the server must have stopped before its directory goes.
    dir: TempDir,
}

impl PgServer {
    /// The password of `postgres` where one is required, with every character that a pass file, a connection
    /// string or a URL must escape.
    pub const PASSWORD: &str = r#"p:a\s's "w%20o@r/d? é"#;

    /// Database names that need quoting in SQL, in shells, in patterns, in connection strings or in paths.
    pub const HOSTILE_DATABASES: [&str; 8] = [
        "Upper Case",
        "it's \"quoted\"",
        "a/b/../c",
        "größe 🐘",
        "--clean",
        "a=b dbname=c",
        "postgresql://x",
        "%s*?[a]\\",
    ];

    /// Starts one that listens on a Unix socket only; see [`PgOptions`] for more.
    ///
    /// # Panics
    /// With the server's log if it does not start.
    pub fn start(version: PgVersion) -> Self {
        PgOptions::new(version).start()
    }

    pub(crate) fn start_with(options: &PgOptions) -> Self {
        // Not the temporary directory of the environment: a socket's path may have only 107 bytes.
        let dir = tempfile::Builder::new().prefix("tik-pg-").tempdir_in("/tmp").unwrap();
        give(dir.path(), None, 0o755);
        let socket_dir = dir.path().join("socket");
        fs::create_dir(&socket_dir).unwrap();
        give(&socket_dir, unprivileged(), 0o755);
        let data = dir.path().join("data");
        copy_tree(&template(options.version), &data, unprivileged());
        fs::write(data.join("pg_hba.conf"), options.hba()).unwrap();
        if options.tls {
            make_certificates(dir.path(), &data);
        }
        let password_file = dir.path().join("password");
        fs::write(&password_file, Self::PASSWORD).unwrap();
        give(&password_file, None, 0o600);
        let conf = fs::read_to_string(data.join("postgresql.conf")).unwrap();
        let mut server = Self { version: options.version, child: None, port: 5432, tls: options.tls, dir };
        for attempt in 1.. {
            if options.tcp {
                server.port = free_port();
            }
            let ours = options.conf(&server.socket_dir(), server.port);
            fs::write(data.join("postgresql.conf"), conf.clone() + &ours).unwrap();
            match server.launch() {
                Ok(()) => break,
                // Another process has taken the port.
                Err(log) if options.tcp && attempt < 10 && log.contains("could not bind") => {}
                Err(log) => panic!("PostgreSQL {} did not start:\n{log}", options.version.major()),
            }
        }
        if options.tcp {
            let password = Self::PASSWORD.replace('\'', "''");
            server.psql(
                "postgres",
                &format!("ALTER ROLE postgres PASSWORD E'{}'", password.replace('\\', "\\\\")),
            );
        }
        server
    }

    /// Starts a hot standby of this server, with all that the server has by now.
    ///
    /// # Panics
    /// With the standby's log if it does not start.
    pub fn start_standby(&self) -> Self {
        let dir = tempfile::Builder::new().prefix("tik-pg-").tempdir_in("/tmp").unwrap();
        give(dir.path(), None, 0o755);
        for name in ["socket", "data"] {
            fs::create_dir(dir.path().join(name)).unwrap();
            give(&dir.path().join(name), unprivileged(), if name == "socket" { 0o755 } else { 0o700 });
        }
        let mut standby = Self { version: self.version, child: None, port: self.port, tls: false, dir };
        let mut copy = self.client("pg_basebackup");
        copy.args(["--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync", "-D"]);
        run_ok(as_unprivileged(copy.arg(standby.data_dir())), b"");
        let conf = standby.data_dir().join("postgresql.conf");
        let socket = format!("\nunix_socket_directories = '{}'\n", standby.socket_dir().display());
        fs::write(&conf, fs::read_to_string(&conf).unwrap() + &socket).unwrap();
        if let Err(log) = standby.launch() {
            panic!("the standby did not start:\n{log}");
        }
        standby
    }

    /// Starts the server process and waits until it accepts connections.
    fn launch(&mut self) -> Result<(), String> {
        let log = fs::File::create(self.dir.path().join("log")).unwrap();
        let mut command = Command::new(self.bin("postgres"));
        command.arg("-D").arg(self.data_dir());
        command.stdin(std::process::Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        without_pg_variables(as_unprivileged(&mut command));
        // SIGQUIT is PostgreSQL's immediate shutdown: it ends its own children too.
        let mut child = spawn_bound(command, Signal::QUIT).map_err(|error| error.to_string())?;
        let begin = Instant::now();
        let ready = loop {
            // The eighth line of the lock file says when the server is ready.
            let lock = fs::read_to_string(self.data_dir().join("postmaster.pid")).unwrap_or_default();
            if lock.lines().nth(7).is_some_and(|status| status.trim() == "ready") {
                break true;
            }
            if child.try_wait().unwrap().is_some() || begin.elapsed() > Duration::from_secs(60) {
                break false;
            }
            thread::sleep(Duration::from_millis(10));
        };
        self.child = Some(child);
        if !ready {
            self.stop();
            return Err(self.log());
        }
        Ok(())
    }

    /// Stops it at once, as a crash would; [`Self::restart`] starts it again. Does nothing if it has stopped.
    pub fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        kill_process(Pid::from_child(&child), Signal::QUIT).ok();
        let begin = Instant::now();
        while child.try_wait().unwrap().is_none() {
            if begin.elapsed() > Duration::from_secs(15) {
                child.kill().ok();
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Starts it again after [`Self::stop`], with the same data and port.
    ///
    /// # Panics
    /// With the server's log if it does not start.
    pub fn restart(&mut self) {
        self.stop();
        if let Err(log) = self.launch() {
            panic!("PostgreSQL did not start again:\n{log}");
        }
    }

    /// Its version.
    pub fn version(&self) -> PgVersion {
        self.version
    }

    /// The directory of its Unix socket: what `host` is in a configuration.
    pub fn socket_dir(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    /// Its port, also in the name of its socket.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A file of mode 0600 that holds [`Self::PASSWORD`].
    pub fn password_file(&self) -> PathBuf {
        self.dir.path().join("password")
    }

    /// The certificate of the authority that signed the server's, if it was started with TLS.
    pub fn ca_file(&self) -> Option<PathBuf> {
        self.tls.then(|| self.dir.path().join("ca.crt"))
    }

    /// Its data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Its log since the last start.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.dir.path().join("log")).unwrap()).into_owned()
    }

    /// The path of one of its programs, such as `pg_dump`.
    pub fn bin(&self, name: &str) -> PathBuf {
        self.version.bin_dir().join(name)
    }

    /// One of its client programs, set up to connect as `postgres` over the socket.
    pub fn client(&self, name: &str) -> Command {
        let mut command = Command::new(self.bin(name));
        without_pg_variables(&mut command)
            .env("PGHOST", self.socket_dir())
            .env("PGPORT", self.port.to_string())
            .env("PGUSER", "postgres")
            .env("PGCLIENTENCODING", "UTF8")
            .env("PGCONNECT_TIMEOUT", "30")
            .env("LC_ALL", "C.UTF-8");
        command
    }

    /// Runs SQL, or a psql script, and returns its rows: a line each, fields separated by `|`.
    ///
    /// # Panics
    /// With psql's stderr at the first statement that fails.
    pub fn psql(&self, database: &str, sql: &str) -> String {
        self.try_psql(database, sql).unwrap_or_else(|stderr| panic!("psql failed in {database:?}:\n{stderr}"))
    }

    /// As [`Self::psql`], but a failure is psql's stderr.
    fn try_psql(&self, database: &str, sql: &str) -> Result<String, String> {
        let mut psql = self.client("psql");
        psql.args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-f", "-", "-d"]).arg(dbname(database));
        let output = run(&mut psql, sql.as_bytes(), Duration::from_secs(300));
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let text = String::from_utf8(output.stdout).expect("psql writes UTF-8");
        Ok(text.strip_suffix('\n').map(str::to_owned).unwrap_or(text))
    }

    /// Creates an empty database.
    pub fn create_database(&self, name: &str) {
        self.psql("postgres", &format!("CREATE DATABASE {} TEMPLATE template0", quote(name)));
    }

    /// Loads `roles.sql`, unless it is loaded already.
    pub fn load_roles(&self) {
        if self.psql("postgres", "SELECT count(*) FROM pg_roles WHERE rolname = 'tik_app'") == "0" {
            self.psql("postgres", &fs::read_to_string(fixture("roles.sql")).unwrap());
        }
    }

    /// Creates a database that holds everything difficult: `roles.sql` and `varied.sql`.
    pub fn create_varied(&self, name: &str) {
        self.load_roles();
        self.create_database(name);
        self.psql(name, &fs::read_to_string(fixture("varied.sql")).unwrap());
    }

    /// A plain-text `pg_dump` without differences between two dumps of the same content.
    pub fn dump_text(&self, database: &str) -> String {
        self.dump_text_with(database, &[])
    }

    /// As [`Self::dump_text`], with more options, such as `--create`.
    pub fn dump_text_with(&self, database: &str, options: &[&str]) -> String {
        let mut dump = self.client("pg_dump");
        dump.args(options).arg("-d").arg(dbname(database));
        normalised(&run_ok(&mut dump, b""))
    }

    /// Roles, memberships, settings and tablespaces as `pg_dumpall --globals-only` writes them, normalised.
    pub fn globals_text(&self) -> String {
        normalised(&run_ok(self.client("pg_dumpall").arg("--globals-only"), b""))
    }

    /// A dump in pg_dump's custom format.
    pub fn dump_custom(&self, database: &str) -> Vec<u8> {
        run_ok(self.client("pg_dump").args(["-Fc", "-Z0", "-d"]).arg(dbname(database)), b"")
    }

    /// Restores a dump in custom format into an existing, empty database; the first error fails the test.
    pub fn restore_custom(&self, database: &str, dump: &[u8]) {
        run_ok(self.client("pg_restore").args(["--exit-on-error", "-d"]).arg(dbname(database)), dump);
    }

    /// The rows of every table that stores rows itself and of every filled materialised view, by `schema.table`
    /// quoted as SQL quotes it.
    pub fn row_counts(&self, database: &str) -> BTreeMap<String, u64> {
        let tables = self.psql(
            database,
            "SELECT coalesce(json_agg(format('%I.%I', n.nspname, c.relname)), '[]') FROM pg_class c
             JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'm') AND c.relispopulated
             AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_t'",
        );
        let tables: Vec<String> = serde_json::from_str(&tables).unwrap();
        let count = |table: &String| format!("(SELECT count(*) FROM ONLY {table})");
        let counts = tables.iter().map(count).collect::<Vec<_>>().join(",\n");
        let counts = self.psql(database, &format!("SELECT array_to_json(ARRAY[{counts}]::bigint[])"));
        let counts: Vec<u64> = serde_json::from_str(&counts).unwrap();
        tables.into_iter().zip(counts).collect()
    }
}

impl Drop for PgServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A name quoted for SQL.
pub fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A connection string that names only the database: a bare name with `=` in it would be taken for one itself.
pub fn dbname(database: &str) -> String {
    format!("dbname='{}'", database.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// Settings of the user who runs the tests must not reach servers or clients.
fn without_pg_variables(command: &mut Command) -> &mut Command {
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
        command.env_remove(name);
    }
    command
}

/// Takes out the lines with random keys, and those that name the versions of server and client.
fn normalised(dump: &[u8]) -> String {
    let differs = ["\\restrict ", "\\unrestrict ", "-- Dumped from ", "-- Dumped by "];
    let text = String::from_utf8(dump.to_vec()).expect("pg_dump writes UTF-8");
    text.split_inclusive('\n').filter(|line| !differs.iter().any(|start| line.starts_with(start))).collect()
}

/// Fails with the first line that differs, and what stands around it, rather than with two whole dumps.
pub fn assert_same_dump(original: &str, restored: &str) {
    if original == restored {
        return;
    }
    let pairs = original.lines().zip(restored.lines());
    let first = pairs.take_while(|(a, b)| a == b).count();
    let around =
        |text: &str| text.lines().skip(first.saturating_sub(5)).take(10).collect::<Vec<_>>().join("\n");
    panic!(
        "dumps differ at line {}\n--- original\n{}\n--- restored\n{}",
        first + 1,
        around(original),
        around(restored)
    );
}

/// Whether a path is a Unix socket on which a server accepts connections.
pub fn answers(socket: &Path) -> bool {
    std::os::unix::net::UnixStream::connect(socket).is_ok()
}
