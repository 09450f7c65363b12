//! A temporary MySQL or MariaDB server: on a Unix socket only, without crash safety, stopped when its owner ends.

use std::{
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::Signal;

use super::{
    clients::{Client, Flavour, Version},
    connect::ConnectParams,
};
use crate::{
    error::{Error, Result},
    scratch::{daemon::Daemon, sandbox::Rules},
    settings::Host,
    stream::{
        cancel::Cancel,
        child::{Command as ToolCommand, run_capture},
    },
};

/// Time limit for a program to print its version.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// The administrator of a scratch server; it needs no password.
pub const ADMINISTRATOR: &str = "root";
/// Directories beside `PATH` that distributions put servers in.
const WELL_KNOWN: [&str; 6] = [
    "/usr/sbin",
    "/usr/bin",
    "/usr/libexec",
    "/usr/local/mysql/bin",
    "/usr/local/sbin",
    "/run/current-system/sw/bin",
];
/// Options of a temporary server: without crash safety, without a port.
const SETTINGS: [&str; 9] = [
    "--skip-networking",
    // Restored data must not change by itself.
    "--event-scheduler=OFF",
    "--skip-log-bin",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-flush-method=nosync",
    "--innodb-doublewrite=0",
    "--innodb-buffer-pool-size=256M",
    "--secure-file-priv=",
    "--max-allowed-packet=1G",
];

/// The server programs of an installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerPrograms {
    server: PathBuf,
    /// MariaDB's script that creates the system tables.
    install: Option<PathBuf>,
}

impl ServerPrograms {
    /// The server programs for a client: beside it, in `PATH` or in the usual directories.
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
                // Often a symbolic link to MariaDB's.
                .filter(|server| std::fs::canonicalize(server).is_ok_and(|file| !file.ends_with("mariadbd")))
                .map(|server| Self { server, install: None }),
        };
        found.ok_or_else(|| {
            Error::failed(format!("no {} server is installed on this machine", client.flavour))
                .hint(package(client.flavour))
        })
    }

    /// The server programs of a release series (`8.4`, `10.11`), in these directories, in `PATH` or in the usual ones.
    pub fn of_line(flavour: Flavour, version: Version, dirs: &[PathBuf]) -> Result<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut all: Vec<PathBuf> = dirs.to_vec();
        all.extend(std::env::split_paths(&path));
        all.extend(WELL_KNOWN.map(PathBuf::from));
        let name = if flavour == Flavour::Mariadb { "mariadbd" } else { "mysqld" };
        let mut others = Vec::new();
        for dir in &all {
            let server = dir.join(name);
            let Some((found, is)) = identify(&server) else { continue };
            if found != flavour {
                continue;
            }
            if is.line() != version.line() {
                others.push(format!("{} ({is})", server.display()));
                continue;
            }
            let install = || all.iter().map(|dir| dir.join("mariadb-install-db")).find(|file| file.is_file());
            let install = match flavour {
                // The one of the same package, before any other.
                Flavour::Mariadb => {
                    let beside = dir.parent().map(|up| up.join("bin/mariadb-install-db"));
                    match beside.filter(|file| file.is_file()).or_else(install) {
                        Some(install) => Some(install),
                        None => continue,
                    }
                }
                Flavour::Mysql => None,
            };
            return Ok(Self { server, install });
        }
        let (major, minor) = version.line();
        let error =
            Error::failed(format!("no server of {flavour} {major}.{minor} is installed on this machine"));
        let error = if others.is_empty() {
            error
        } else {
            error.because_text(format!("there are only others: {}", others.join(", ")))
        };
        let hint = format!(
            "{} of version {major}.{minor}, or name its directory in `drill.server_dirs`",
            package(flavour)
        );
        Err(error.hint(hint))
    }
}

/// What to install.
fn package(flavour: Flavour) -> &'static str {
    match flavour {
        Flavour::Mariadb => "install `mariadb-server` (Debian) or `pkgs.mariadb` (NixOS)",
        Flavour::Mysql => "install `mysql-server-core` (Debian) or `pkgs.mysql84` (NixOS)",
    }
}

/// Family and version of a server program: `mysqld  Ver 8.4.3 for …`, `mariadbd  Ver 10.11.14-MariaDB-… for …`.
fn identify(server: &Path) -> Option<(Flavour, Version)> {
    if !server.is_file() {
        return None;
    }
    let command = ToolCommand::new(server).args(["--no-defaults", "--version"]).idle_timeout(ANSWER_TIME);
    let text = String::from_utf8(run_capture(command, 4096).ok()?).ok()?;
    let version = text.split_once(" Ver ").and_then(|(_, rest)| Version::find(rest))?;
    Some((Flavour::of(&text), version))
}

/// A running server. Dropping it stops it at once; if this process is killed, the kernel sends it a signal to stop.
///
/// Its files are in a directory that the caller owns and removes after the server.
#[derive(Debug)]
pub struct MysqlServer {
    programs: ServerPrograms,
    /// A value for `lower_case_table_names`, if not the default.
    lower_case_table_names: Option<u32>,
    daemon: Daemon,
}

impl MysqlServer {
    /// Creates an empty server in `dir`, an existing directory, and starts it. Any process that can open the socket can log in
    /// as [`ADMINISTRATOR`]; only the server's user and root can. Fails with the last lines of the server's log.
    pub fn start(programs: &ServerPrograms, dir: &Path, rules: &Rules, cancel: &Cancel) -> Result<Self> {
        Self::start_with(programs, None, dir, rules, cancel)
    }

    /// As [`Self::start`], with a setting of `lower_case_table_names`.
    pub fn start_with(
        programs: &ServerPrograms,
        lower_case_table_names: Option<u32>,
        dir: &Path,
        rules: &Rules,
        cancel: &Cancel,
    ) -> Result<Self> {
        Daemon::require_short(&socket(dir))?;
        let daemon = Daemon::new(dir, Signal::KILL, rules, None)?;
        let mut server = Self { programs: programs.clone(), lower_case_table_names, daemon };
        server.daemon.create_dir(&dir.join("socket"))?;
        server.daemon.create_dir(&server.data_dir())?;
        server.init(cancel)?;
        server.launch(cancel)?;
        Ok(server)
    }

    /// Its socket: `host` in a configuration.
    pub fn socket(&self) -> PathBuf {
        socket(self.daemon.dir())
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

    /// Shuts it down cleanly. Does nothing if it has stopped.
    pub fn stop(&mut self) -> Result<()> {
        self.daemon.stop(Signal::TERM)
    }

    /// Its parts that are not confined.
    pub(in crate::source) fn unconfined(&self) -> &[String] {
        self.daemon.unconfined()
    }

    /// Whether it has ended.
    pub(in crate::source) fn is_dead(&self) -> bool {
        self.daemon.is_dead()
    }

    /// Why it is no longer running, if it has ended.
    pub(in crate::source) fn death(&mut self) -> Option<Error> {
        self.daemon.death()
    }

    fn case_option(&self) -> Option<String> {
        self.lower_case_table_names.map(|how| format!("--lower-case-table-names={how}"))
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
        let tmp = Self::option("tmpdir", &self.daemon.temporary());
        match &self.programs.install {
            Some(install) => {
                let mut command = self.daemon.command(install)?;
                command.arg("--no-defaults").arg(data).arg(tmp).args(self.case_option()).args([
                    "--auth-root-authentication-method=normal",
                    "--skip-test-db",
                    "--skip-name-resolve",
                ]);
                self.daemon.prepare("mariadb-install-db", command, cancel)
            }
            None => {
                let mut command = self.daemon.command(&self.programs.server)?;
                command.arg("--no-defaults").arg("--initialize-insecure").arg(data).arg(tmp);
                command.args(self.case_option());
                self.daemon.prepare("mysqld --initialize-insecure", command, cancel)
            }
        }
    }

    fn launch(&mut self, cancel: &Cancel) -> Result<()> {
        let mut command = self.daemon.command(&self.programs.server)?;
        command
            .arg("--no-defaults")
            .arg(Self::option("datadir", &self.data_dir()))
            .arg(Self::option("tmpdir", &self.daemon.temporary()))
            .arg(Self::option("socket", &self.socket()))
            .arg(Self::option("pid-file", &self.daemon.dir().join("socket/mysql.pid")))
            .args(SETTINGS)
            .args(self.case_option());
        if self.programs.install.is_none() {
            // Version 8.4 has the old authentication disabled; other versions may not have the option.
            command.args(["--mysqlx=OFF", "--loose-mysql-native-password=ON"]);
        }
        let socket = self.socket();
        self.daemon.start(command, || UnixStream::connect(&socket).is_ok(), cancel)
    }
}

fn socket(dir: &Path) -> PathBuf {
    dir.join("socket/mysql.sock")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::print_stderr)]
mod tests {
    use super::*;
    use crate::{
        scratch::ScratchDir,
        source::mysql::{clients::Clients, session::Session},
    };

    #[test]
    fn a_server_answers_and_is_gone_when_dropped() {
        let clients = Clients::find(&[]);
        let found = clients.all().ok().and_then(|all| {
            all.into_iter().find_map(|client| Some((client, ServerPrograms::find(client).ok()?)))
        });
        let Some((client, programs)) = found else {
            return testkit::skip("a MySQL or MariaDB server");
        };
        let dir = ScratchDir::new(None).unwrap();
        let mut server =
            MysqlServer::start(&programs, dir.path(), &Rules::for_own_content(), &Cancel::new()).unwrap();
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
