//! A throwaway PostgreSQL server: on a Unix socket only, fast rather than safe, gone with whoever started it.

use std::{
    fs::{self, File},
    os::unix::fs::{DirBuilderExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use super::bound::{self, Owner};
use crate::{
    error::{Error, Result},
    source::postgres::{
        clients::{Client, Clients},
        connect::ConnectParams,
        psql::Psql,
    },
    stream::cancel::Cancel,
};

/// What a folder must hold for a server.
pub const SERVER_TOOLS: [&str; 2] = ["initdb", "postgres"];
/// The superuser of a scratch server; it needs no password.
pub const SUPERUSER: &str = "postgres";
/// The number in the socket's name; no port is opened.
const PORT: u16 = 5432;
/// The system's limit for the path of a socket.
const SOCKET_PATH: usize = 107;
/// Time a new server gets until it accepts connections, and `initdb` to end.
const START: Duration = Duration::from_secs(120);
/// Lines of a log that an error shows.
const LOG_LINES: usize = 10;
/// What may be lost in a crash is thrown away anyway. No port is opened.
const SETTINGS: [&str; 7] = [
    "listen_addresses=",
    "fsync=off",
    "full_page_writes=off",
    "synchronous_commit=off",
    "logging_collector=off",
    "log_destination=stderr",
    "unix_socket_permissions=0700",
];

/// The newest installation that has a server.
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

/// A running server. Dropping it stops it at once; if this process is killed, the kernel tells it to stop.
///
/// Its files are in a folder that the caller owns and removes after the server.
#[derive(Debug)]
pub struct PostgresServer {
    client: Client,
    dir: PathBuf,
    owner: Option<Owner>,
    child: Option<Child>,
}

impl PostgresServer {
    /// Creates an empty cluster (UTF-8, locale C) in `dir`, an existing folder, and starts it. Everyone who may open
    /// the socket is let in as anybody; only the server's user and root may. As root, the server runs as `postgres`,
    /// else as `nobody`, who must be able to reach `dir`. Fails with the last lines of the server's log.
    pub fn start(client: &Client, dir: &Path, cancel: &Cancel) -> Result<Self> {
        let mut server =
            Self { client: client.clone(), dir: dir.to_owned(), owner: bound::server_owner()?, child: None };
        let socket = server.socket_dir().join(format!(".s.PGSQL.{PORT}"));
        if socket.as_os_str().len() > SOCKET_PATH {
            return Err(Error::usage(format!("the path {} is too long for a socket", socket.display()))
                .hint("use a folder with a shorter path"));
        }
        server.create_dir(&server.socket_dir())?;
        server.create_dir(&server.data_dir())?;
        server.init(cancel)?;
        server.launch(cancel)?;
        Ok(server)
    }

    /// The folder of its socket: `host` in a configuration.
    pub fn socket_dir(&self) -> PathBuf {
        self.dir.join("socket")
    }

    /// Its data folder.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// The port, which is only a part of the socket's name.
    pub fn port(&self) -> u16 {
        PORT
    }

    /// Its tools and version.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// How to reach it as its superuser.
    pub fn params(&self) -> ConnectParams {
        ConnectParams {
            host: self.socket_dir().to_string_lossy().into_owned(),
            port: PORT,
            user: Some(SUPERUSER.to_owned()),
            ..ConnectParams::default()
        }
    }

    /// Opens a session as its superuser.
    pub fn session(&self, database: &str, cancel: &Cancel) -> Result<Psql> {
        Psql::connect(&self.client, &self.params().prepare(self.client.major)?, database, cancel)
    }

    /// Stops it in order, so that its data folder can be started again. Does nothing if it has stopped.
    pub fn stop(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        // PostgreSQL's fast, then its immediate shutdown.
        let steps = [(Signal::INT, Duration::from_secs(30)), (Signal::QUIT, Duration::from_secs(15))];
        let status = bound::stop(&mut child, &steps)
            .map_err(|error| Error::failed("cannot stop the scratch server").because(&error))?;
        if status.success() {
            Ok(())
        } else {
            Err(self.broken(&format!("the scratch server {}", bound::describe(status))))
        }
    }

    fn log_file(&self) -> PathBuf {
        self.dir.join("server.log")
    }

    fn create_dir(&self, dir: &Path) -> Result<()> {
        let made = fs::DirBuilder::new().mode(0o700).create(dir).and_then(|()| match self.owner {
            Some(Owner { uid, gid }) => chown(dir, Some(uid), Some(gid)),
            None => Ok(()),
        });
        made.map_err(|error| Error::failed(format!("cannot create {}", dir.display())).because(&error))
    }

    /// A tool with little of our environment: settings for libpq or the server must not reach it.
    fn command(&self, tool: &str) -> Result<Command> {
        let failed =
            |error| Error::failed(format!("cannot write {}", self.log_file().display())).because(&error);
        let log = File::options().create(true).append(true).open(self.log_file()).map_err(failed)?;
        let mut command = Command::new(self.client.tool(tool));
        command.env_clear().env("LC_ALL", "C").env("TZ", "UTC");
        for name in ["PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        command.arg("-D").arg(self.data_dir());
        command.stdin(Stdio::null()).stdout(log.try_clone().map_err(failed)?).stderr(log);
        Ok(command)
    }

    fn spawn(&self, command: Command, signal: Signal) -> Result<Child> {
        let program = command.get_program().to_string_lossy().into_owned();
        bound::start(command, self.owner, signal)
            .map_err(|error| Error::failed(format!("cannot start {program}")).because(&error))
    }

    fn init(&self, cancel: &Cancel) -> Result<()> {
        let mut command = self.command("initdb")?;
        command.args([
            "--username",
            SUPERUSER,
            "--auth=trust",
            "--encoding=UTF8",
            "--no-locale",
            "--no-sync",
        ]);
        let mut child = self.spawn(command, Signal::TERM)?;
        let begin = Instant::now();
        loop {
            let ended = child.try_wait().map_err(|e| Error::failed("cannot wait for initdb").because(&e))?;
            match ended {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(self.broken(&format!("initdb {}", bound::describe(status)))),
                None => {}
            }
            let late = begin.elapsed() > START;
            if late || cancel.is_cancelled() {
                let _ = bound::stop(&mut child, &[(Signal::TERM, Duration::from_secs(5))]);
                cancel.check()?;
                return Err(self.broken("initdb took too long"));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn launch(&mut self, cancel: &Cancel) -> Result<()> {
        let mut command = self.command("postgres")?;
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        // A list of folders: quoted, so that commas and blanks in the path are part of it.
        let socket_dir = self.socket_dir().to_string_lossy().replace('"', "\"\"");
        command.args(["-c".to_owned(), format!("unix_socket_directories=\"{socket_dir}\"")]);
        // SIGQUIT is PostgreSQL's immediate shutdown: it ends its own children too.
        self.child = Some(self.spawn(command, Signal::QUIT)?);
        let begin = Instant::now();
        while !self.is_ready() {
            cancel.check()?;
            let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            if let Some(status) = ended {
                self.child = None;
                return Err(self.broken(&format!("the scratch server {}", bound::describe(status))));
            }
            if begin.elapsed() > START {
                return Err(self.broken("the scratch server did not get ready"));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// The last line of the server's lock file says whether it accepts connections.
    fn is_ready(&self) -> bool {
        fs::read_to_string(self.data_dir().join("postmaster.pid"))
            .is_ok_and(|text| text.lines().nth(7).is_some_and(|state| state.trim() == "ready"))
    }

    /// An error with the end of the log.
    fn broken(&self, what: &str) -> Error {
        let log = fs::read(self.log_file()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
        let error =
            Error::failed(what).because_text(lines[lines.len().saturating_sub(LOG_LINES)..].join("\n"));
        if self.owner.is_some() && log.contains("Permission denied") {
            return error.hint(format!(
                "the server does not run as root: another user must be able to reach {}; name a folder elsewhere",
                self.dir.display()
            ));
        }
        error
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = bound::stop(&mut child, &[(Signal::QUIT, Duration::from_secs(15))]);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::print_stderr)]
mod tests {
    use super::*;
    use crate::drill::ScratchDir;

    #[derive(serde::Deserialize)]
    struct Answer {
        answer: i64,
    }

    #[test]
    fn a_server_answers_and_is_gone_when_dropped() {
        let clients = Clients::find(&[]);
        let Ok(client) = newest_server(&clients) else {
            eprintln!("SKIPPED: needs a PostgreSQL server");
            return;
        };
        let dir = ScratchDir::new(None).unwrap();
        let mut server = PostgresServer::start(client, dir.path(), &Cancel::new()).unwrap();
        let mut session = server.session("postgres", &Cancel::new()).unwrap();
        let answer: Answer = session.query_one("SELECT 42 AS answer").unwrap();
        assert_eq!(answer.answer, 42);
        let pid = server.child.as_ref().unwrap().id();
        assert!(Path::new(&format!("/proc/{pid}")).exists());
        drop(session);
        server.stop().unwrap();
        assert!(!server.data_dir().join("postmaster.pid").exists(), "stopped in order");
        server.launch(&Cancel::new()).unwrap();
        let pid = server.child.as_ref().unwrap().id();
        drop(server);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }

    #[test]
    fn a_server_that_cannot_start_says_why_and_a_cancelled_one_stops() {
        let clients = Clients::find(&[]);
        let Ok(client) = newest_server(&clients) else {
            eprintln!("SKIPPED: needs a PostgreSQL server");
            return;
        };
        let dir = ScratchDir::new(None).unwrap();
        let cancel = Cancel::new();
        cancel.cancel("enough");
        let error = PostgresServer::start(client, dir.path(), &cancel).unwrap_err();
        assert!(error.summary().contains("enough"), "{error}");

        let long = dir.path().join("x".repeat(100));
        let error = PostgresServer::start(client, &long, &Cancel::new()).unwrap_err();
        assert!(error.summary().contains("too long"), "{error}");
        assert!(!long.exists());
    }
}
