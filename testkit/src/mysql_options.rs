//! Which MySQL or MariaDB server a test wants and how it listens; the files that need to be in place before it starts.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    MyServer, Tool,
    postgres_options::{copy_tree, give},
    process::{as_unprivileged, run_ok, unprivileged},
};

/// A server that tests can start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MyFlavour {
    /// Oracle's MySQL 9.7.
    Mysql97,
    /// MariaDB 10.11, Debian's.
    Mariadb1011,
}

impl MyFlavour {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Mysql97, Self::Mariadb1011];

    /// The tool it needs, for `skip_unless!`.
    pub fn tool(self) -> Tool {
        match self {
            Self::Mysql97 => Tool::Mysql97,
            Self::Mariadb1011 => Tool::Mariadb,
        }
    }

    /// How its version starts.
    pub fn version(self) -> &'static str {
        match self {
            Self::Mysql97 => "9.7.",
            Self::Mariadb1011 => "10.11.",
        }
    }

    /// The path of one of its programs, by the name it has with MySQL: `mysqld`, `mysql`, `mysqldump`, `mysqladmin`.
    ///
    /// # Panics
    /// If it is not installed: call [`Tool::or_skip`] first.
    pub fn bin(self, name: &str) -> PathBuf {
        let tool = self.tool().path().unwrap_or_else(|| panic!("{} is not there", self.tool().name()));
        match (self, name) {
            (Self::Mysql97, name) => tool.join(name),
            (Self::Mariadb1011, "mysqld") => tool,
            (Self::Mariadb1011, "mysql") => clients(&tool).join("mariadb"),
            (Self::Mariadb1011, name) => clients(&tool).join(name.replace("mysql", "mariadb-")),
        }
    }

    /// The directory of its client programs.
    pub fn client_dir(self) -> PathBuf {
        self.bin("mysqldump").parent().unwrap().to_owned()
    }
}

/// MariaDB's clients are in `/usr/bin` where the server is `/usr/sbin/mariadbd`.
fn clients(server: &Path) -> PathBuf {
    server.ancestors().nth(2).unwrap().join("bin")
}

/// How a throwaway server is to be started.
#[derive(Debug, Clone)]
pub struct MyOptions {
    pub(crate) flavour: MyFlavour,
    pub(crate) tcp: bool,
    pub(crate) tls: bool,
    settings: Vec<String>,
}

impl MyOptions {
    /// On a Unix socket only.
    pub fn new(flavour: MyFlavour) -> Self {
        Self { flavour, tcp: false, tls: false, settings: Vec::new() }
    }

    /// Also on a free port of 127.0.0.1. `root` cannot come in there, the account of
    /// [`MyServer::create_backup_account`] can. MySQL offers TLS there with a certificate of its own.
    #[must_use]
    pub fn tcp(mut self) -> Self {
        self.tcp = true;
        self
    }

    /// Also on a port, and there only with TLS, with a certificate for `localhost` and 127.0.0.1 that the
    /// authority in [`MyServer::ca_file`] signed. Needs [`Tool::Openssl`].
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self.tcp()
    }

    /// With this argument besides, such as `gtid_mode=ON` or `log-bin=binlog`; a later one wins over an earlier one.
    #[must_use]
    pub fn setting(mut self, setting: &str) -> Self {
        self.settings.push(format!("--{setting}"));
        self
    }

    /// Starts it.
    ///
    /// # Panics
    /// With the server's log if it does not start.
    pub fn start(self) -> MyServer {
        MyServer::start_with(self)
    }

    /// The server's arguments: fast rather than safe, as nothing here survives a crash of the machine anyway.
    pub(crate) fn arguments(&self, dir: &Path, port: u16) -> Vec<String> {
        let place = |name: &str, below: &str| format!("--{name}={}", dir.join(below).display());
        let mut arguments = vec![
            "--no-defaults".to_owned(),
            place("datadir", "data"),
            place("socket", "socket/my.sock"),
            place("pid-file", "socket/my.pid"),
            place("tmpdir", "tmp"),
        ];
        let fast = [
            "secure-file-priv=",
            "skip-log-bin",
            "skip-name-resolve",
            "innodb-flush-log-at-trx-commit=2",
            "innodb-flush-method=nosync",
            "innodb-doublewrite=0",
            "innodb-buffer-pool-size=32M",
            "performance-schema=OFF",
            "max-allowed-packet=64M",
            "character-set-server=utf8mb4",
        ];
        arguments.extend(fast.map(|argument| format!("--{argument}")));
        arguments.push(match self.flavour {
            MyFlavour::Mysql97 => "--mysqlx=OFF".to_owned(),
            MyFlavour::Mariadb1011 => "--innodb-log-file-size=8M".to_owned(),
        });
        if self.tcp {
            arguments.extend(["--bind-address=127.0.0.1".to_owned(), format!("--port={port}")]);
        } else {
            arguments.push("--skip-networking".to_owned());
        }
        if self.tls {
            arguments.extend([
                "--ssl-cert=server.crt".to_owned(),
                "--ssl-key=server.key".to_owned(),
                "--require-secure-transport=ON".to_owned(),
            ]);
        }
        arguments.extend(self.settings.iter().cloned());
        arguments
    }
}

/// A fresh data directory that will be copied for each server: making one takes seconds, copying does not. One per
/// program version and user, shared by all test processes.
pub(crate) fn template(flavour: MyFlavour) -> PathBuf {
    let exact = run_ok(Command::new(flavour.bin("mysqld")).args(["--no-defaults", "--version"]), b"");
    let exact = String::from_utf8_lossy(&exact).replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let exact = exact.split_once("Ver-").map_or(exact.as_str(), |(_, version)| version).trim_matches('-');
    let base = crate::kept();
    let name = format!("{flavour:?}-{exact}-of-{}", rustix::process::geteuid().as_raw());
    let template = base.join(&name);
    let lock = fs::File::create(base.join(format!("{name}.lock"))).unwrap();
    lock.lock().unwrap();
    if !template.exists() {
        // The target directory may be closed to the user who must make it, so that happens elsewhere.
        let work = tempfile::Builder::new().prefix("tik-my-").tempdir_in("/tmp").unwrap();
        give(work.path(), unprivileged(), 0o700);
        let data = work.path().join("data");
        let mut install = match flavour {
            MyFlavour::Mysql97 => {
                let mut install = Command::new(flavour.bin("mysqld"));
                install.args(["--no-defaults", "--initialize-insecure", "--innodb-redo-log-capacity=8M"]);
                install
            }
            MyFlavour::Mariadb1011 => {
                let mut install = Command::new(flavour.client_dir().join("mariadb-install-db"));
                install.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
                install.arg("--innodb-log-file-size=8M");
                install
            }
        };
        install.args(["--skip-log-bin", "--innodb-flush-method=nosync"]);
        install.arg(format!("--datadir={}", data.display()));
        run_ok(as_unprivileged(&mut install), b"");
        // Or every server would have the same identity.
        fs::remove_file(data.join("auto.cnf")).ok();
        let partial = base.join(format!("{name}.partial"));
        fs::remove_dir_all(&partial).ok();
        copy_tree(&data, &partial, None);
        fs::rename(&partial, &template).unwrap();
    }
    template
}
