//! A throwaway MySQL or MariaDB server: on a Unix socket only, fast rather than safe, gone with whoever started it.

use std::{
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

use rustix::process::Signal;

use super::daemon::Daemon;
use crate::{
    config::Host,
    error::{Error, Result},
    source::mysql::{
        clients::{Client, Flavour},
        connect::ConnectParams,
    },
    stream::cancel::Cancel,
};

/// The administrator of a scratch server; it needs no password.
pub const ADMINISTRATOR: &str = "root";
/// Folders beside `PATH` that distributions put servers in.
const WELL_KNOWN: [&str; 6] = [
    "/usr/sbin",
    "/usr/bin",
    "/usr/libexec",
    "/usr/local/mysql/bin",
    "/usr/local/sbin",
    "/run/current-system/sw/bin",
];
/// What may be lost in a crash is thrown away anyway. No port is opened.
const SETTINGS: [&str; 7] = [
    "--skip-networking",
    "--skip-log-bin",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-flush-method=nosync",
    "--innodb-doublewrite=0",
    "--secure-file-priv=",
    "--max-allowed-packet=1G",
];

/// The server programs of an installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerPrograms {
    server: PathBuf,
    /// MariaDB creates its system tables by a script.
    install: Option<PathBuf>,
}

impl ServerPrograms {
    /// Those that go with a client: beside it, in `PATH` or in the usual folders.
    pub fn find(client: &Client) -> Result<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let beside = client.dump.parent().map(Path::to_owned);
        let mut dirs: Vec<PathBuf> = beside.into_iter().collect();
        dirs.extend(std::env::split_paths(&path));
        dirs.extend(WELL_KNOWN.map(PathBuf::from));
        let find = |name: &str| dirs.iter().map(|dir| dir.join(name)).find(|file| file.is_file());
        let found = match client.flavour {
            Flavour::Mariadb => find("mariadbd")
                .and_then(|server| Some(Self { server, install: Some(find("mariadb-install-db")?) })),
            Flavour::Mysql => find("mysqld")
                // Often a link to MariaDB's.
                .filter(|server| std::fs::canonicalize(server).is_ok_and(|file| !file.ends_with("mariadbd")))
                .map(|server| Self { server, install: None }),
        };
        found.ok_or_else(|| {
            Error::failed(format!("no {} server is installed on this machine", client.flavour)).hint(
                match client.flavour {
                    Flavour::Mariadb => "install `mariadb-server` (Debian) or `pkgs.mariadb` (NixOS)",
                    Flavour::Mysql => "install `mysql-server-core` (Debian) or `pkgs.mysql84` (NixOS)",
                },
            )
        })
    }
}

/// A running server. Dropping it stops it at once; if this process is killed, the kernel tells it to stop.
///
/// Its files are in a folder that the caller owns and removes after the server.
#[derive(Debug)]
pub struct MysqlServer {
    programs: ServerPrograms,
    daemon: Daemon,
}

impl MysqlServer {
    /// Creates an empty server in `dir`, an existing folder, and starts it. Everyone who may open the socket is let in as
    /// [`ADMINISTRATOR`]; only the server's user and root may. Fails with the last lines of the server's log.
    pub fn start(programs: &ServerPrograms, dir: &Path, cancel: &Cancel) -> Result<Self> {
        let mut server = Self { programs: programs.clone(), daemon: Daemon::new(dir, Signal::KILL)? };
        Daemon::require_short(&server.socket())?;
        server.daemon.create_dir(&dir.join("socket"))?;
        server.daemon.create_dir(&dir.join("tmp"))?;
        server.daemon.create_dir(&server.data_dir())?;
        server.init(cancel)?;
        server.launch(cancel)?;
        Ok(server)
    }

    /// Its socket: `host` in a configuration.
    pub fn socket(&self) -> PathBuf {
        self.daemon.dir().join("socket/mysql.sock")
    }

    /// How to reach it as its administrator.
    pub fn params(&self) -> ConnectParams {
        ConnectParams {
            host: Host::Socket(self.socket()),
            port: 3306,
            user: Some(ADMINISTRATOR.to_owned()),
            password: None,
            sslmode: None,
            sslrootcert: None,
            sslcert: None,
            sslkey: None,
        }
    }

    /// Stops it in order. Does nothing if it has stopped.
    pub fn stop(&mut self) -> Result<()> {
        self.daemon.stop(Signal::TERM)
    }

    fn data_dir(&self) -> PathBuf {
        self.daemon.dir().join("data")
    }

    fn option(name: &str, path: &Path) -> std::ffi::OsString {
        let mut option = std::ffi::OsString::from(format!("--{name}="));
        option.push(path);
        option
    }

    fn init(&self, cancel: &Cancel) -> Result<()> {
        let data = Self::option("datadir", &self.data_dir());
        let tmp = Self::option("tmpdir", &self.daemon.dir().join("tmp"));
        match &self.programs.install {
            Some(install) => {
                let mut command = self.daemon.command(install)?;
                command.arg("--no-defaults").arg(data).arg(tmp).args([
                    "--auth-root-authentication-method=normal",
                    "--skip-test-db",
                    "--skip-name-resolve",
                ]);
                self.daemon.prepare("mariadb-install-db", command, cancel)
            }
            None => {
                let mut command = self.daemon.command(&self.programs.server)?;
                command.arg("--no-defaults").arg("--initialize-insecure").arg(data).arg(tmp);
                self.daemon.prepare("mysqld --initialize-insecure", command, cancel)
            }
        }
    }

    fn launch(&mut self, cancel: &Cancel) -> Result<()> {
        let mut command = self.daemon.command(&self.programs.server)?;
        command
            .arg("--no-defaults")
            .arg(Self::option("datadir", &self.data_dir()))
            .arg(Self::option("tmpdir", &self.daemon.dir().join("tmp")))
            .arg(Self::option("socket", &self.socket()))
            .arg(Self::option("pid-file", &self.daemon.dir().join("socket/mysql.pid")))
            .args(SETTINGS);
        if self.programs.install.is_none() {
            command.arg("--mysqlx=OFF");
        }
        let socket = self.socket();
        self.daemon.start(command, || UnixStream::connect(&socket).is_ok(), cancel)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::print_stderr)]
mod tests {
    use super::*;
    use crate::{
        drill::ScratchDir,
        source::mysql::{clients::Clients, session::Session},
    };

    #[test]
    fn a_server_answers_and_is_gone_when_dropped() {
        let clients = Clients::find(&[]);
        let found = clients.all().ok().and_then(|all| {
            all.into_iter().find_map(|client| Some((client, ServerPrograms::find(client).ok()?)))
        });
        let Some((client, programs)) = found else {
            eprintln!("SKIPPED: needs a MySQL or MariaDB server");
            return;
        };
        let dir = ScratchDir::new(None).unwrap();
        let mut server = MysqlServer::start(&programs, dir.path(), &Cancel::new()).unwrap();
        let connection = server.params().prepare(client).unwrap();
        let cancel = Cancel::new();
        let [answer] = Session::new(&connection, &cancel).row("SELECT 42").unwrap();
        assert_eq!(answer, "42");
        let pid = server.daemon.id().unwrap();
        assert!(Path::new(&format!("/proc/{pid}")).exists());
        server.stop().unwrap();
        server.launch(&Cancel::new()).unwrap();
        let pid = server.daemon.id().unwrap();
        drop(server);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }
}
