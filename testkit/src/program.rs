//! The program as built: running it, and writing configurations for it.

use std::{
    env,
    ffi::OsStr,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{MongoServer, MyServer, PgServer, process::run};

/// The built program.
///
/// Only the tests' own crate could be compiled with its path, and no code of ours runs before a test that could hand it
/// on. So the runners say where it is: nextest (also where it runs an archive on another machine) and cargo. A test that is
/// started without either is in the directory `deps` beside the program.
///
/// # Panics
/// If it does not exist.
pub fn bin() -> PathBuf {
    let told = ["NEXTEST_BIN_EXE_tik-backup", "CARGO_BIN_EXE_tik-backup"].into_iter().find_map(env::var_os);
    let path = told.map(PathBuf::from).unwrap_or_else(|| {
        let test = env::current_exe().expect("the path of this test");
        let profile = test.parent().and_then(Path::parent).expect("a target directory");
        profile.join("tik-backup")
    });
    assert!(path.exists(), "the program is not built: there is no {}", path.display());
    path
}

/// A prepared run of the program.
#[derive(Debug)]
pub struct Cmd {
    command: Command,
    stdin: Vec<u8>,
    limit: Duration,
}

impl Cmd {
    /// Without a configuration, and without the environment variables that could set one.
    pub fn new() -> Self {
        let mut command = Command::new(bin());
        let ours = |name: &str| {
            ["PG", "MYSQL", "MARIADB", "RESTIC_", "RUSTIC_"].iter().any(|start| name.starts_with(start))
                || name == "TIK_BACKUP_CONFIG"
        };
        for (name, _) in env::vars_os().filter(|(name, _)| ours(&name.to_string_lossy())) {
            command.env_remove(name);
        }
        Self { command, stdin: Vec::new(), limit: Duration::from_secs(300) }
    }

    /// With this configuration.
    pub fn with(config: &Config) -> Self {
        Self::new().arg("--config").arg(config.path())
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.command.args(args);
        self
    }

    /// The directory in which it runs.
    #[must_use]
    pub fn in_folder(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// An environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Its stdin; empty unless set.
    #[must_use]
    pub fn stdin(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.stdin = input.into();
        self
    }

    /// How long it may take before it is killed and the test fails; five minutes unless set.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs it to its end.
    pub fn run(mut self) -> Ran {
        let output = run(&mut self.command, &self.stdin, self.limit);
        Ran {
            command: format!("{:?}", self.command),
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The command itself, for tests that start it and do something else meanwhile.
    pub fn into_command(self) -> Command {
        self.command
    }
}

impl Default for Cmd {
    fn default() -> Self {
        Self::new()
    }
}

/// The result of a run.
#[derive(Debug)]
pub struct Ran {
    command: String,
    /// Its exit status.
    pub status: ExitStatus,
    /// Its results.
    pub stdout: String,
    /// Its messages.
    pub stderr: String,
}

impl Ran {
    /// The exit code; `None` if a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Fails the test, with all it printed, unless it ended with this exit code.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert!(
            self.code() == Some(code),
            "{} ended with {}, not with code {code}\n--- stdout\n{}\n--- stderr\n{}",
            self.command,
            self.status,
            self.stdout,
            self.stderr
        );
        self
    }

    /// Fails the test unless it succeeded.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.expect_code(0)
    }

    /// Its stdout, which must be one JSON document.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| {
            panic!("{}: no JSON document on stdout: {error}\n{}", self.command, self.stdout)
        })
    }
}

/// Writes a configuration into a directory of its own.
#[derive(Debug)]
pub struct ConfigBuilder {
    dir: TempDir,
    top: String,
    repository: String,
    tables: String,
    password: String,
}

impl ConfigBuilder {
    /// A configuration with a repository (not yet created) and no source.
    pub fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            top: String::new(),
            repository: String::new(),
            tables: String::new(),
            password: "a repository password for tests".to_owned(),
        }
    }

    /// Lines of the top level, before any table.
    #[must_use]
    pub fn top(mut self, toml: &str) -> Self {
        self.top += &format!("{toml}\n");
        self
    }

    /// More lines of `[repository]`, such as `mount`.
    #[must_use]
    pub fn repository(mut self, toml: &str) -> Self {
        self.repository += &format!("{toml}\n");
        self
    }

    /// The repository's password.
    #[must_use]
    pub fn password(mut self, password: &str) -> Self {
        password.clone_into(&mut self.password);
        self
    }

    /// Whole tables, header and all.
    #[must_use]
    pub fn tables(mut self, toml: &str) -> Self {
        self.tables += &format!("\n{toml}\n");
        self
    }

    /// A source with these lines.
    #[must_use]
    pub fn source(self, name: &str, toml: &str) -> Self {
        let header = format!("[sources.{}]", quoted(name));
        self.tables(&format!("{header}\n{toml}"))
    }

    /// A source that is this server, over its socket, as `postgres`; with these further lines.
    #[must_use]
    pub fn postgres(self, name: &str, server: &PgServer, toml: &str) -> Self {
        let host = quoted(&server.socket_dir().display().to_string());
        let port = server.port();
        self.source(
            name,
            &format!("kind = \"postgres\"\nhost = {host}\nport = {port}\nuser = \"postgres\"\n{toml}"),
        )
    }

    /// A source that is this server, over its socket, as the account of [`MyServer::create_backup_account`]; with these
    /// further lines.
    #[must_use]
    pub fn mysql(self, name: &str, server: &MyServer, toml: &str) -> Self {
        self.source(name, &format!("{}\n{toml}", server.config_toml()))
    }

    /// A source that is this server; with these further lines. The connection string is in a file of mode 0600.
    #[must_use]
    pub fn mongodb(self, name: &str, server: &MongoServer, toml: &str) -> Self {
        let file = self.secret(&format!("uri of port {}", server.port()), &server.uri());
        let file = quoted(&file.display().to_string());
        self.source(name, &format!("kind = \"mongodb\"\nuri_file = {file}\n{toml}"))
    }

    /// Writes a file beside the configuration that only its owner may read, and returns its path.
    pub fn secret(&self, name: &str, content: &str) -> PathBuf {
        write_secret(&self.dir.path().join(name), content)
    }

    /// Writes the configuration.
    pub fn build(self) -> Config {
        let config = Config { dir: self.dir };
        write_secret(&config.password_file(), &self.password);
        // A storage that a test removes permanently is not waited for.
        let hasty = if self.repository.contains("retry_for") { "" } else { "retry_for = \"1s\"\n" };
        let text = format!(
            "state_dir = {}\n{}\n[repository]\nlocation = {}\npassword_file = {}\n{hasty}{}{}",
            quoted(&config.state_dir().display().to_string()),
            self.top,
            quoted(&config.repo().display().to_string()),
            quoted(&config.password_file().display().to_string()),
            self.repository,
            self.tables
        );
        fs::write(config.path(), text).unwrap();
        config
    }
}

impl Default for ConfigBuilder {
    fn default() -> Self {
        Self::new()
    }
}

/// A configuration on disk, removed with all its files when dropped.
#[derive(Debug)]
pub struct Config {
    dir: TempDir,
}

impl Config {
    /// The directory that holds everything below.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The configuration file.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("config.toml")
    }

    /// The repository, which may not exist yet.
    pub fn repo(&self) -> PathBuf {
        self.dir.path().join("repo")
    }

    /// The file with the repository's password.
    pub fn password_file(&self) -> PathBuf {
        self.dir.path().join("repository-password")
    }

    /// The state directory, which may not exist yet.
    pub fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }
}

/// A text as a TOML string.
pub fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn write_secret(path: &Path, content: &str) -> PathBuf {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    path.to_owned()
}
