//! The environment of the demo: a directory with servers, a configuration and a repository, and the commands that run there.

use std::{
    fs::{self, OpenOptions},
    io::{Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::{mongodb::MongodbPart, mysql::MysqlPart, receiver::Receiver};
use crate::{
    error::{Error, Result},
    scratch::{Rules, ScratchDir},
    source::postgres::{
        clients::Clients,
        connect::Connection,
        scratch::{PostgresServer, SUPERUSER, newest_server},
    },
    stream::{
        cancel::Cancel,
        child::{Command, into_error},
    },
};

/// The maximum size of a command's output, which is shown completely.
const OUTPUT: u64 = 1024 * 1024;

/// A command that was run: its command line and its output.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) line: String,
    pub(super) output: String,
}

/// The environment. Dropping it removes everything.
pub(super) struct Environment {
    program: PathBuf,
    connection: Connection,
    cancel: Cancel,
    // The servers must stop before their directory is removed: fields are dropped in this order.
    mysql: Option<MysqlPart>,
    mongodb: Option<MongodbPart>,
    server: PostgresServer,
    receiver: Receiver,
    folder: ScratchDir,
}

impl Environment {
    /// Starts the server and writes the configuration.
    pub(super) fn start(parent: Option<&Path>, cancel: &Cancel) -> Result<Self> {
        let program = std::env::current_exe()
            .map_err(|error| Error::failed("cannot find the program's own file").because(&error))?;
        let clients = Clients::find(&[]);
        let client = newest_server(&clients)?;
        let folder = ScratchDir::new(parent)?;
        let server = PostgresServer::start(client, folder.path(), &Rules::for_own_content(), cancel)?;
        let connection = server.params().prepare(client.major)?;
        let receiver = Receiver::start()?;
        let cancel = cancel.clone();
        let mut env =
            Self { program, connection, cancel, mysql: None, mongodb: None, server, receiver, folder };
        env.mysql = MysqlPart::start(&env, &env.cancel)?;
        env.mongodb = MongodbPart::start(&env, &env.cancel)?;
        write(&env.password_file(), "a password for the demo")?;
        write(&env.alert_file(), &env.receiver.url())?;
        write(&env.config_file(), &env.config())?;
        Ok(env)
    }

    /// The directory of the demo.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The version of the server as its tools print it.
    pub(super) fn server_version(&self) -> &str {
        &self.server.client().version_text
    }

    /// The configuration file.
    pub(super) fn config_file(&self) -> PathBuf {
        self.folder().join("config.toml")
    }

    fn password_file(&self) -> PathBuf {
        self.folder().join("repository-password")
    }

    fn alert_file(&self) -> PathBuf {
        self.folder().join("alert-url")
    }

    fn repository(&self) -> PathBuf {
        self.folder().join("repository")
    }

    /// The configuration's text.
    pub(super) fn config(&self) -> String {
        let quoted = |path: &Path| toml::Value::String(path.to_string_lossy().into_owned()).to_string();
        let mut config = format!(
            "state_dir = {}\n\n[repository]\nlocation = {}\npassword_file = {}\nmin_free = \"64MiB\"\n\n\
             [sources.main]\nkind = \"postgres\"\nhost = {}\nport = {}\nuser = \"{SUPERUSER}\"\nexclude = [\"scratch_*\"]\n",
            quoted(&self.folder().join("state")),
            quoted(&self.repository()),
            quoted(&self.password_file()),
            quoted(&self.server.socket_dir()),
            self.server.port(),
        );
        config.extend(self.mysql.as_ref().map(MysqlPart::config));
        config.extend(self.mongodb.as_ref().map(MongodbPart::config));
        config.push_str(&format!("\n[drill]\ndir = {}\n", quoted(self.folder())));
        // The drilled content is our own, so it may run unconfined.
        if !self.server.is_confined() || self.mongodb.as_ref().is_some_and(|part| !part.is_confined()) {
            config.push_str("sandbox = \"best-effort\"\n");
        }
        let mongod = self.mongodb.as_ref().map(MongodbPart::program);
        config.extend(mongod.map(|mongod| format!("mongod = {}\n", quoted(mongod))));
        config.push_str(&format!(
            "\n[[alerts]]\nkind = \"webhook\"\nname = \"team\"\nurl_file = {}\n",
            quoted(&self.alert_file())
        ));
        config
    }

    /// The MariaDB or MySQL server, if one is installed.
    pub(super) fn mysql(&self) -> Option<&MysqlPart> {
        self.mysql.as_ref()
    }

    /// The MongoDB server, if there is one.
    pub(super) fn mongodb(&self) -> Option<&MongodbPart> {
        self.mongodb.as_ref()
    }

    /// A new directory for another server, accessible to the user of the servers.
    pub(super) fn subfolder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder().join(name);
        fs::DirBuilder::new()
            .mode(0o755)
            .create(&folder)
            .map_err(|error| Error::failed(format!("cannot create {}", folder.display())).because(&error))?;
        Ok(folder)
    }

    /// The environment variables for running the shown commands by hand.
    pub(super) fn variables(&self) -> Vec<(&'static str, PathBuf)> {
        let mut variables = vec![
            ("TIK_BACKUP_CONFIG", self.config_file()),
            ("PGHOST", self.server.socket_dir()),
            ("PGUSER", SUPERUSER.into()),
            ("RESTIC_REPOSITORY", self.repository()),
            ("RESTIC_PASSWORD_FILE", self.password_file()),
        ];
        variables.extend(self.mysql.as_ref().map(|part| ("MYSQL_UNIX_PORT", part.socket())));
        variables
    }

    /// Runs SQL from a script; the first error ends it.
    pub(super) fn script(&self, database: &str, sql: &str) -> Result<()> {
        let mut input = self
            .connection
            .command(self.server.client().tool("psql"))
            .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-o", "/dev/null", "-f", "-", "--dbname"])
            .arg(self.connection.conninfo(database)?)
            .env("PGCLIENTENCODING", "UTF8")
            .cancel(&self.cancel)
            .spawn_input()?;
        input.write_all(sql.as_bytes()).map_err(into_error)?;
        input.finish().map(drop)
    }

    /// Runs this program with the demo's configuration.
    pub(super) fn program(&self, args: &[&str]) -> Result<Ran> {
        self.run("tik-backup", self.program_command(), args)
    }

    fn program_command(&self) -> Command {
        // The receiver of alerts is on this host, regardless of a configured proxy.
        Command::new(&self.program).env("TIK_BACKUP_CONFIG", self.config_file()).env("NO_PROXY", "127.0.0.1")
    }

    /// Runs one statement or query in psql.
    pub(super) fn psql(&self, database: &str, sql: &str) -> Result<Ran> {
        let psql = self.connection.command(self.server.client().tool("psql"));
        self.run("psql", psql.env("PGCLIENTENCODING", "UTF8"), &["-X", "-d", database, "-c", sql])
    }

    /// Runs stock restic on the repository.
    pub(super) fn restic(&self, program: &Path, args: &[&str]) -> Result<Ran> {
        let command = Command::new(program)
            .env("RESTIC_REPOSITORY", self.repository())
            .env("RESTIC_PASSWORD_FILE", self.password_file())
            .env("RESTIC_CACHE_DIR", self.folder().join("restic-cache"));
        self.run("restic", command, args)
    }

    /// Runs a command of the demo.
    pub(super) fn run(&self, name: &str, command: Command, args: &[&str]) -> Result<Ran> {
        let words: Vec<String> = args.iter().map(|arg| shell_word(arg)).collect();
        let line = format!("{name} {}", words.join(" "));
        let failed = |error: Error| error.context(format!("`{line}`"));
        let mut stdout = command.args(args).cancel(&self.cancel).spawn_output().map_err(failed)?;
        let mut text = Vec::new();
        let read = stdout.by_ref().take(OUTPUT).read_to_end(&mut text);
        // The output before the failure explains it, such as the list of a backup's items.
        read.map_err(|error| failed(into_error(error).because_text(String::from_utf8_lossy(&text))))?;
        let said = stdout.messages();
        let mut output = said.trim_end().to_owned();
        if !output.is_empty() {
            output.push('\n');
        }
        output.push_str(String::from_utf8_lossy(&text).trim_end());
        Ok(Ran { line, output })
    }

    /// The alerts that have arrived since the last call.
    pub(super) fn alerts(&self) -> Vec<String> {
        self.receiver.take()
    }

    /// Stops the servers. With `keep` the directory is kept, and its path is returned.
    pub(super) fn stop(mut self, keep: bool) -> Result<Option<PathBuf>> {
        if let Some(part) = &mut self.mysql {
            part.stop()?;
        }
        if let Some(part) = &mut self.mongodb {
            part.stop()?;
        }
        self.server.stop()?;
        if !keep {
            return Ok(None);
        }
        self.folder.keep()?;
        Ok(Some(self.folder().to_owned()))
    }
}

/// Writes a new file that only we can read.
pub(super) fn write(path: &Path, text: &str) -> Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| Error::failed(format!("cannot write {}", path.display())).because(&error))
}

/// A word, quoted for a shell.
pub(super) fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Stock restic, if there is one: `$TIK_BACKUP_DEMO_RESTIC`, else in `PATH`.
pub(super) fn find_restic() -> Option<PathBuf> {
    let named = std::env::var_os("TIK_BACKUP_DEMO_RESTIC").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).map(|dir| dir.join("restic")).collect::<Vec<_>>();
    named.into_iter().chain(in_path).find(|file| fs::metadata(file).is_ok_and(|meta| meta.is_file()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_can_be_pasted_into_a_shell() {
        assert_eq!(shell_word("main/shop"), "main/shop");
        assert_eq!(shell_word("it's \"x\" & $y"), r#"'it'\''s "x" & $y'"#);
        assert_eq!(shell_word(""), "''");
    }
}
