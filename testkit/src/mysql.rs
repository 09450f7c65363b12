//! Temporary MySQL and MariaDB servers: started from a copied data directory, removed with the test.

use std::{
    fs,
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{
    MyFlavour, MyOptions,
    mysql_options::template,
    postgres_options::{copy_tree, free_port, give, make_certificates},
    process::{as_unprivileged, run, run_ok, spawn_bound, unprivileged},
    program::quoted,
};

/// A running server; killed and removed when dropped, or when the test process ends in any other way.
#[derive(Debug)]
pub struct MyServer {
    options: MyOptions,
    child: Option<Child>,
    port: u16,
    // Dropped last: the server must have stopped before its directory goes.
    dir: TempDir,
}

impl MyServer {
    /// The password of the account `backup`, with every character that an option file, a URL or SQL must escape.
    pub const PASSWORD: &str = r#"p:a\s's "w%20o@r/d?#;= é"#;

    /// Starts one that listens on a Unix socket only; see [`MyOptions`] for more.
    ///
    /// # Panics
    /// With the server's log if it does not start.
    pub fn start(flavour: MyFlavour) -> Self {
        MyOptions::new(flavour).start()
    }

    pub(crate) fn start_with(options: MyOptions) -> Self {
        // Not the temporary directory of the environment: a socket's path may have only 107 bytes.
        let dir = tempfile::Builder::new().prefix("tik-my-").tempdir_in("/tmp").unwrap();
        give(dir.path(), None, 0o755);
        for folder in ["socket", "tmp"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
            give(&dir.path().join(folder), unprivileged(), 0o755);
        }
        let data = dir.path().join("data");
        copy_tree(&template(options.flavour), &data, unprivileged());
        if options.tls {
            make_certificates(dir.path(), &data);
        }
        let password_file = dir.path().join("password");
        fs::write(&password_file, Self::PASSWORD).unwrap();
        give(&password_file, None, 0o600);
        let mut server = Self { options, child: None, port: 3306, dir };
        for attempt in 1.. {
            if server.options.tcp {
                server.port = free_port();
            }
            match server.launch() {
                Ok(()) => break,
                // Another process has taken the port.
                Err(log) if server.options.tcp && attempt < 10 && log.contains("Bind on TCP/IP port") => {}
                Err(log) => panic!("{:?} did not start:\n{log}", server.options.flavour),
            }
        }
        if server.options.flavour == MyFlavour::Mariadb1011 {
            // These come without a password.
            let host = server.sql(None, "SELECT @@hostname");
            for host in ["127.0.0.1", "::1", &host.to_lowercase()] {
                server.sql(None, &format!("DROP USER IF EXISTS root@{}", text(host)));
            }
        }
        server
    }

    /// Starts the server process and waits until it accepts connections.
    fn launch(&mut self) -> Result<(), String> {
        let log = fs::File::create(self.dir.path().join("log")).unwrap();
        let mut command = Command::new(self.bin("mysqld"));
        command.args(self.options.arguments(self.dir.path(), self.port));
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        as_unprivileged(&mut command);
        let mut child = spawn_bound(command, Signal::KILL).map_err(|error| error.to_string())?;
        let begin = Instant::now();
        let ready = loop {
            if self.log().contains("ready for connections") && UnixStream::connect(self.socket()).is_ok() {
                break true;
            }
            if child.try_wait().unwrap().is_some() || begin.elapsed() > Duration::from_secs(60) {
                break false;
            }
            thread::sleep(Duration::from_millis(20));
        };
        self.child = Some(child);
        if !ready {
            self.end(Signal::KILL);
            return Err(self.log());
        }
        Ok(())
    }

    fn end(&mut self, signal: Signal) {
        let Some(mut child) = self.child.take() else { return };
        kill_process(Pid::from_child(&child), signal).ok();
        let begin = Instant::now();
        while child.try_wait().unwrap().is_none() {
            if begin.elapsed() > Duration::from_secs(30) {
                child.kill().ok();
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Shuts it down normally; [`Self::restart`] starts it again. Does nothing if it has stopped.
    pub fn stop(&mut self) {
        self.end(Signal::TERM);
    }

    /// Starts it again after [`Self::stop`], with the same data and port.
    ///
    /// # Panics
    /// With the server's log if it does not start.
    pub fn restart(&mut self) {
        self.stop();
        if let Err(log) = self.launch() {
            panic!("{:?} did not start again:\n{log}", self.options.flavour);
        }
    }

    /// Its flavour.
    pub fn flavour(&self) -> MyFlavour {
        self.options.flavour
    }

    /// Its Unix socket: what `host` is in a configuration.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("socket/my.sock")
    }

    /// Its port, if it was started with one.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// A file of mode 0600 that holds [`Self::PASSWORD`].
    pub fn password_file(&self) -> PathBuf {
        self.dir.path().join("password")
    }

    /// The certificate of the authority that signed the server's, if it was started with TLS.
    pub fn ca_file(&self) -> Option<PathBuf> {
        self.options.tls.then(|| self.dir.path().join("ca.crt"))
    }

    /// Its log since the last start.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.dir.path().join("log")).unwrap()).into_owned()
    }

    /// The path of one of its programs; see [`MyFlavour::bin`].
    pub fn bin(&self, name: &str) -> PathBuf {
        self.options.flavour.bin(name)
    }

    /// One of its client programs, set up to connect as `root` over the socket.
    pub fn client(&self, name: &str) -> Command {
        let mut command = Command::new(self.bin(name));
        command.args(["--no-defaults", "--user=root", "--default-character-set=utf8mb4"]);
        command.arg(format!("--socket={}", self.socket().display()));
        command.env_remove("MYSQL_PWD").env_remove("MYSQL_HOST").env("LC_ALL", "C.UTF-8");
        command
    }

    /// Runs SQL and returns its rows: a line each, fields separated by tabs, special characters escaped.
    ///
    /// # Panics
    /// With the client's stderr at the first statement that fails.
    pub fn sql(&self, database: Option<&str>, sql: &str) -> String {
        self.try_sql(database, sql).unwrap_or_else(|stderr| panic!("SQL failed in {database:?}:\n{stderr}"))
    }

    /// As [`Self::sql`], but a failure is the client's stderr.
    pub fn try_sql(&self, database: Option<&str>, sql: &str) -> Result<String, String> {
        let output = self.run_client(database, &["--batch", "--skip-column-names"], sql.as_bytes())?;
        let text = String::from_utf8(output).expect("the client writes UTF-8");
        Ok(text.strip_suffix('\n').map(str::to_owned).unwrap_or(text))
    }

    /// Runs a script, such as a dump, in a database.
    ///
    /// # Panics
    /// With the client's stderr at the first statement that fails.
    pub fn load(&self, database: &str, script: &[u8]) {
        if let Err(stderr) = self.run_client(Some(database), &["--batch", "--binary-mode"], script) {
            panic!("cannot load into {database:?}:\n{stderr}");
        }
    }

    fn run_client(&self, database: Option<&str>, options: &[&str], input: &[u8]) -> Result<Vec<u8>, String> {
        let mut client = self.client("mysql");
        client.args(options).args(database.map(|name| format!("--database={name}")));
        let output = run(&mut client, input, Duration::from_secs(300));
        if output.status.success() {
            Ok(output.stdout)
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// Creates an empty database.
    pub fn create_database(&self, name: &str) {
        self.sql(None, &format!("CREATE DATABASE {}", quote(name)));
    }

    /// A dump by the server's own tool, without differences between two databases with the same content.
    pub fn dump_text(&self, database: &str) -> String {
        let mut dump = self.client("mysqldump");
        dump.args(["--skip-comments", "--single-transaction", "--skip-lock-tables", "--no-tablespaces"]);
        dump.args(["--routines", "--triggers", "--events", "--hex-blob", "--order-by-primary"]);
        if self.options.flavour == MyFlavour::Mysql97 {
            dump.arg("--set-gtid-purged=OFF");
        }
        let dump = String::from_utf8(run_ok(dump.arg("--").arg(database), b"")).expect("a dump in UTF-8");
        // The one statement that names the database: it stands before routines of another collation.
        dump.replace(&format!("ALTER DATABASE {} ", quote(database)), "ALTER DATABASE `…` ")
    }

    /// Creates the account `backup` with [`Self::PASSWORD`] and the least privileges to back up everything.
    pub fn create_backup_account(&self) {
        let mut privileges = "SELECT, SHOW VIEW, TRIGGER, EVENT".to_owned();
        if self.options.flavour == MyFlavour::Mysql97 {
            privileges += ", SHOW_ROUTINE";
        }
        for host in ["localhost", "127.0.0.1"] {
            let account = format!("backup@{}", text(host));
            self.sql(None, &format!("CREATE USER {account} IDENTIFIED BY {}", text(Self::PASSWORD)));
            self.sql(None, &format!("GRANT {privileges} ON *.* TO {account}"));
        }
    }

    /// The lines of a source in a configuration that reach it over the socket as `backup`.
    pub fn config_toml(&self) -> String {
        let path = |path: PathBuf| quoted(&path.display().to_string());
        format!(
            "kind = \"mysql\"\nhost = {}\nuser = \"backup\"\npassword_file = {}\nclient_dirs = [{}]",
            path(self.socket()),
            path(self.password_file()),
            path(self.options.flavour.client_dir())
        )
    }
}

impl Drop for MyServer {
    fn drop(&mut self) {
        self.end(Signal::KILL);
    }
}

/// A name quoted for SQL.
pub fn quote(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A text quoted for SQL.
pub fn text(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}
