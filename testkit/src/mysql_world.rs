//! Servers with their accounts, configurations for them, and scripted dump tools.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    Config, ConfigBuilder, MyFlavour, MyOptions, MyServer,
    mysql::{quote, text},
    program::quoted,
    reports::ready,
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
