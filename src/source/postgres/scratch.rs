//! A temporary PostgreSQL server: on a Unix socket only, without crash safety, stopped when its owner ends.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use rustix::process::Signal;

use super::{
    clients::{Client, Clients},
    connect::ConnectParams,
    lacks::Refusal,
    psql::Psql,
};
use crate::{
    error::{Error, Result},
    scratch::{
        daemon::Daemon,
        sandbox::{Rules, owner::Owner},
    },
    stream::cancel::Cancel,
};

/// The programs that a directory must contain for a server.
pub const SERVER_TOOLS: [&str; 2] = ["initdb", "postgres"];
/// The superuser of a scratch server; it needs no password.
pub const SUPERUSER: &str = "postgres";
/// The number in the socket's name; no port is opened.
const PORT: u16 = 5432;
/// Settings of a temporary server: without crash safety, without a port.
const SETTINGS: [&str; 16] = [
    "listen_addresses=",
    // In the data directory: the sandbox has no /dev/shm.
    "dynamic_shared_memory_type=mmap",
    "wal_level=minimal",
    "max_wal_senders=0",
    "autovacuum=off",
    "max_wal_size=1GB",
    "shared_buffers=256MB",
    "maintenance_work_mem=256MB",
    "fsync=off",
    "full_page_writes=off",
    "synchronous_commit=off",
    // After a crash it would lack the rows of unlogged tables and the last transactions: it must end instead.
    "restart_after_crash=off",
    "logging_collector=off",
    "log_destination=stderr",
    // With the SQLSTATE of errors, which `pg_restore` does not report.
    "log_line_prefix=%m [%p] %e ",
    "unix_socket_permissions=0700",
];

/// Number of bytes at the end of the log that are searched for refused statements.
const LOG_END: u64 = 1 << 20;

/// The newest installation with server programs.
pub fn newest_server(clients: &Clients) -> Result<&Client> {
    if let Some(client) = clients.all().iter().find(|client| client.has(&SERVER_TOOLS)) {
        return Ok(client);
    }
    let missing = "no PostgreSQL server (initdb, postgres) is installed on this machine";
    let error = match clients.newest() {
        Ok(client) => {
            Error::failed(missing).because_text(format!("{} has only clients", client.dir.display()))
        }
        Err(error) => Error::failed(missing).because(&error),
    };
    Err(error.hint("install `postgresql` (Debian, NixOS) or `postgresql-server` (Fedora)"))
}

/// A running server. Dropping it stops it at once; if this process is killed, the kernel sends it a signal to stop.
///
/// Its files are in a directory that the caller owns and removes after the server.
#[derive(Debug)]
pub struct PostgresServer {
    client: Client,
    superuser: String,
    settings: BTreeMap<String, String>,
    daemon: Daemon,
}

impl PostgresServer {
    /// Creates an empty cluster (UTF-8, locale C) in `dir`, an existing directory, and starts it. Any process that can open
    /// the socket can log in as any role; only the server's user and root can. If this process is root, the server runs as a
    /// user without privileges, who needs access to `dir`. Fails with the last lines of the server's log.
    pub fn start(client: &Client, dir: &Path, rules: &Rules, cancel: &Cancel) -> Result<Self> {
        let mut server = Self::create(client, dir, SUPERUSER, rules, cancel)?;
        server.launch(cancel)?;
        Ok(server)
    }

    /// Creates an empty cluster, as [`Self::start`] does, with a first superuser of this name.
    pub(in crate::source) fn create(
        client: &Client,
        dir: &Path,
        superuser: &str,
        rules: &Rules,
        cancel: &Cancel,
    ) -> Result<Self> {
        // SIGQUIT is PostgreSQL's immediate shutdown: it ends its own children too.
        Daemon::require_short(&socket_dir(dir).join(format!(".s.PGSQL.{PORT}")))?;
        let daemon = Daemon::new(dir, Signal::QUIT, rules, None)?;
        let (client, superuser) = (client.clone(), superuser.to_owned());
        let mut server = Self { client, superuser, settings: BTreeMap::new(), daemon };
        server.daemon.create_dir(&server.socket_dir())?;
        server.daemon.create_dir(&server.data_dir())?;
        server.daemon.create_dir(&server.tablespaces())?;
        server.init(cancel)?;
        Ok(server)
    }

    /// Starts a server that was only created, with further settings.
    pub(in crate::source) fn run(
        &mut self,
        settings: BTreeMap<String, String>,
        cancel: &Cancel,
    ) -> Result<()> {
        self.settings = settings;
        self.launch(cancel)
    }

    /// The directory of its socket: `host` in a configuration.
    pub fn socket_dir(&self) -> PathBuf {
        socket_dir(self.daemon.dir())
    }

    /// Its data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.daemon.dir().join("data")
    }

    /// The directory for tablespaces, the only other one that it can write to.
    pub fn tablespaces(&self) -> PathBuf {
        self.daemon.dir().join("tablespaces")
    }

    /// The user it runs as; `None` for the current user.
    pub(in crate::source) fn owner(&self) -> Option<Owner> {
        self.daemon.owner()
    }

    /// Whether it is fully confined.
    pub fn is_confined(&self) -> bool {
        self.daemon.unconfined().is_empty()
    }

    /// Its parts that are not confined.
    pub(in crate::source) fn unconfined(&self) -> &[String] {
        self.daemon.unconfined()
    }

    /// The port, which is only used in the socket's name.
    pub fn port(&self) -> u16 {
        PORT
    }

    /// Its tools and version.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Its first superuser.
    pub(in crate::source) fn superuser(&self) -> &str {
        &self.superuser
    }

    /// How to reach it as its superuser.
    pub fn params(&self) -> ConnectParams {
        ConnectParams {
            host: self.socket_dir().to_string_lossy().into_owned(),
            port: PORT,
            user: Some(self.superuser.clone()),
            ..ConnectParams::default()
        }
    }

    /// Opens a session as its superuser.
    pub fn session(&self, database: &str, cancel: &Cancel) -> Result<Psql> {
        Psql::connect(&self.client, &self.params().prepare(self.client.major)?, database, cancel)
    }

    /// Shuts it down cleanly, so that its data directory can be started again. Does nothing if it has stopped.
    pub fn stop(&mut self) -> Result<()> {
        // PostgreSQL's fast shutdown.
        self.daemon.stop(Signal::INT)
    }

    /// The current end of its log; see [`Self::refused_since`].
    pub(in crate::source) fn log_end(&self) -> u64 {
        fs::metadata(self.daemon.log_file()).map_or(0, |log| log.len())
    }

    /// The statements refused since that position of the log.
    pub(in crate::source) fn refused_since(&self, end: u64) -> Vec<Refusal> {
        let Ok(mut log) = fs::File::open(self.daemon.log_file()) else { return Vec::new() };
        let start = end.max(self.log_end().saturating_sub(LOG_END));
        let mut text = Vec::new();
        let read = log.seek(SeekFrom::Start(start)).and_then(|_| log.take(LOG_END).read_to_end(&mut text));
        if read.is_err() {
            return Vec::new();
        }
        String::from_utf8_lossy(&text).lines().filter_map(Refusal::of_line).collect()
    }

    /// Whether it has ended.
    pub(in crate::source) fn is_dead(&self) -> bool {
        self.daemon.is_dead()
    }

    /// Why it is no longer running, if it has ended.
    pub(in crate::source) fn death(&mut self) -> Option<Error> {
        self.daemon.death()
    }

    fn init(&self, cancel: &Cancel) -> Result<()> {
        let mut command = self.daemon.command(&self.client.tool("initdb"))?;
        command.arg("-D").arg(self.data_dir()).args([
            "--username",
            &self.superuser,
            "--auth=trust",
            "--encoding=UTF8",
            "--no-locale",
            "--no-sync",
        ]);
        if self.client.major >= 18 {
            // Otherwise every page that is read for the first time is written to the log.
            command.arg("--no-data-checksums");
        }
        self.daemon.prepare("initdb", command, cancel)
    }

    fn launch(&mut self, cancel: &Cancel) -> Result<()> {
        let mut command = self.daemon.command(&self.client.tool("postgres"))?;
        command.arg("-D").arg(self.data_dir());
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        for (name, value) in &self.settings {
            command.args(["-c".to_owned(), format!("{name}={value}")]);
        }
        if self.client.major >= 17 {
            // Login event triggers must not fire: they could block the session.
            command.args(["-c", "event_triggers=off"]);
        }
        // A list of directories: quoted, so that commas and blanks are part of the path.
        let socket_dir = self.socket_dir().to_string_lossy().replace('"', "\"\"");
        command.args(["-c".to_owned(), format!("unix_socket_directories=\"{socket_dir}\"")]);
        // The last line of the server's lock file says whether it accepts connections.
        let lock_file = self.data_dir().join("postmaster.pid");
        let ready = || {
            fs::read_to_string(&lock_file)
                .is_ok_and(|text| text.lines().nth(7).is_some_and(|state| state.trim() == "ready"))
        };
        self.daemon.start(command, ready, cancel)
    }
}

fn socket_dir(dir: &Path) -> PathBuf {
    dir.join("socket")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::print_stderr)]
mod tests {
    use super::*;
    use crate::scratch::ScratchDir;

    #[derive(serde::Deserialize)]
    struct Answer {
        answer: i64,
    }

    #[test]
    fn a_server_answers_and_is_gone_when_dropped() {
        let clients = Clients::find(&[]);
        let Ok(client) = newest_server(&clients) else {
            return testkit::skip("a PostgreSQL server");
        };
        let dir = ScratchDir::new(None).unwrap();
        let mut server =
            PostgresServer::start(client, dir.path(), &Rules::for_own_content(), &Cancel::new()).unwrap();
        let mut session = server.session("postgres", &Cancel::new()).unwrap();
        let answer: Answer = session.query_one("SELECT 42 AS answer").unwrap();
        assert_eq!(answer.answer, 42);
        let end = server.log_end();
        session.execute("SELECT 1/0").unwrap_err();
        let refused = Refusal { state: "22012".to_owned(), message: "division by zero".to_owned() };
        assert_eq!(server.refused_since(end), [refused]);
        let pid = server.daemon.id().unwrap();
        assert!(Path::new(&format!("/proc/{pid}")).exists());
        drop(session);
        server.stop().unwrap();
        assert!(!server.data_dir().join("postmaster.pid").exists(), "stopped in order");
        server.launch(&Cancel::new()).unwrap();
        let pid = server.daemon.id().unwrap();
        drop(server);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }

    #[test]
    fn a_server_that_cannot_start_says_why_and_a_cancelled_one_stops() {
        let clients = Clients::find(&[]);
        let Ok(client) = newest_server(&clients) else {
            return testkit::skip("a PostgreSQL server");
        };
        let dir = ScratchDir::new(None).unwrap();
        let cancel = Cancel::new();
        cancel.cancel("enough");
        let error =
            PostgresServer::start(client, dir.path(), &Rules::for_own_content(), &cancel).unwrap_err();
        assert!(error.summary().contains("enough"), "{error}");

        let long = dir.path().join("x".repeat(100));
        let error =
            PostgresServer::start(client, &long, &Rules::for_own_content(), &Cancel::new()).unwrap_err();
        assert!(error.summary().contains("too long"), "{error}");
        assert!(!long.exists());
    }
}
