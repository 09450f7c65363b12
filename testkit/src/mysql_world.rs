//! Servers with their accounts, configurations for them, and scripted dump tools.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::{
    Config, ConfigBuilder, MyFlavour, MyOptions, MyServer,
    mysql::{quote, text},
    process::run_ok,
    program::quoted,
    reports::ready,
    running::Hold,
};

/// The name of the source in configurations made here.
pub const SOURCE: &str = "my";

/// A server on a socket with an account that may back up everything.
pub fn server(flavour: MyFlavour) -> MyServer {
    started(MyOptions::new(flavour))
}

/// As [`server`], started in another way.
pub fn started(options: MyOptions) -> MyServer {
    let server = options.start();
    server.create_backup_account();
    for host in ["localhost", "127.0.0.1"] {
        // MariaDB's dump of a view that calls a function takes EXECUTE.
        server.sql(None, &format!("GRANT SHOW DATABASES, EXECUTE ON *.* TO backup@'{host}'"));
    }
    server
}

/// A configuration whose source [`SOURCE`] is this server, with a repository that exists.
pub fn configured(server: &MyServer, more: &str) -> Config {
    ready(ConfigBuilder::new().mysql(SOURCE, server, more))
}

/// The full name of an item.
pub fn full(item: &str) -> String {
    format!("{SOURCE}/{item}")
}

/// A file of mode 0600 that holds this.
pub fn secret(config: &Config, name: &str, content: &str) -> PathBuf {
    let path = config.dir().join(name);
    fs::write(&path, content).unwrap();
    let mode = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o600);
    fs::set_permissions(&path, mode).unwrap();
    path
}

/// The lines of a source that reaches the server's socket as another account.
pub fn as_account(server: &MyServer, account: &str, password_file: &Path, more: &str) -> String {
    let path = |path: &Path| quoted(&path.display().to_string());
    format!(
        "kind = \"mysql\"\nhost = {}\nuser = {}\npassword_file = {}\nclient_dirs = [{}]\n{more}",
        path(&server.socket()),
        quoted(account),
        path(password_file),
        path(&server.flavour().client_dir())
    )
}

/// A URL for `--into`, over the server's socket, as `root`.
pub fn url(server: &MyServer, database: &str) -> String {
    url_as(server, "root", database)
}

/// A URL for `--into`, over the server's socket.
pub fn url_as(server: &MyServer, account: &str, database: &str) -> String {
    let escape = |text: &str| {
        percent_encoding::percent_encode(text.as_bytes(), percent_encoding::NON_ALPHANUMERIC).to_string()
    };
    let socket = server.socket();
    format!(
        "mysql://{}@localhost/{}?socket={}",
        escape(account),
        escape(database),
        escape(socket.to_str().unwrap())
    )
}

/// A dump by the server's own tool without irrelevant differences: the database's name, which the
/// default values of MariaDB's sequences have, and a character set that MySQL shows beside the collation once it was
/// loaded, but not before.
pub fn dump_of(server: &MyServer, database: &str) -> String {
    let dump = server.dump_text(database).replace(&format!("nextval({}.", quote(database)), "nextval(`…`.");
    dump.replace(" CHARACTER SET utf8mb4 COLLATE utf8mb4_", " COLLATE utf8mb4_")
}

/// Does the server have this database?
pub fn exists(server: &MyServer, database: &str) -> bool {
    let query =
        format!("SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = {}", text(database));
    server.sql(None, &query) == "1"
}

/// Client tools with a dump tool that runs a script for each database.
pub struct FakeClients {
    dir: TempDir,
}

impl FakeClients {
    /// All databases are dumped normally until [`Self::script`] sets a script.
    pub fn new(flavour: MyFlavour) -> Self {
        let (dump, sql) = names(flavour);
        Self::telling(flavour, &format!("exec '{}' --version", flavour.bin("mysqldump").display()), dump, sql)
    }

    /// Tools that report another version: the dump tool prints `version`.
    pub fn of_version(flavour: MyFlavour, version: &str) -> Self {
        let (dump, sql) = names(flavour);
        Self::telling(flavour, &format!("echo '{version}'; exit"), dump, sql)
    }

    fn telling(flavour: MyFlavour, version: &str, dump: &str, sql: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("tik-clients-").tempdir().unwrap();
        let (real, here) = (flavour.client_dir(), dir.path().display().to_string());
        let client = format!("#!/bin/sh\nexec '{}' \"$@\"\n", flavour.bin("mysql").display());
        let text = format!(
            "#!/bin/sh\n\
             case \"$*\" in *--version*) {version};; esac\n\
             dump() {{ '{real}/{dump}' \"$@\"; }}\n\
             for database; do :; done\n\
             if [ -e '{here}'/\"$database.sh\" ]; then . '{here}'/\"$database.sh\"; exit; fi\n\
             exec '{real}/{dump}' \"$@\"\n",
            real = real.display()
        );
        for (name, text) in [(dump, text), (sql, client)] {
            let draft = dir.path().join("draft");
            fs::write(&draft, text).unwrap();
            // Copied by another process: a file this one had open for writing may be "busy" while it forks.
            run_ok(Command::new("install").args(["-m", "755"]).arg(&draft).arg(dir.path().join(name)), b"");
        }
        Self { dir }
    }

    /// The directory, for `client_dirs`.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The script that the dump tool runs from now on for a database; `dump "$@"` in it is the real tool.
    pub fn script(&self, database: &str, script: &str) {
        fs::write(self.dir.path().join(format!("{database}.sh")), script.to_owned() + "\n").unwrap();
    }

    /// Stops in the middle of the dump until released.
    pub fn hold(&self, database: &str) -> Hold {
        let hold = Hold::new(self.dir.path(), database);
        self.script(database, &format!("dump \"$@\" | {{ head -c 3000; {}; cat; }}", hold.script()));
        hold
    }

    /// The configuration's text with these tools instead of the real ones.
    pub fn instead(&self, flavour: MyFlavour, toml: &str) -> String {
        let real = quoted(&flavour.client_dir().display().to_string());
        assert!(toml.contains(&real), "{toml}");
        toml.replace(&real, &quoted(&self.path().display().to_string()))
    }
}

fn names(flavour: MyFlavour) -> (&'static str, &'static str) {
    match flavour {
        MyFlavour::Mysql97 => ("mysqldump", "mysql"),
        MyFlavour::Mariadb1011 => ("mariadb-dump", "mariadb"),
    }
}
