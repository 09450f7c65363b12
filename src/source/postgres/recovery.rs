//! Restoring its items with stock clients, for the recovery runbook.

use super::{DUMP, GLOBALS_SQL, psql::quote_ident};
use crate::{
    output::shell::{unless_set, word},
    settings::Host,
    source::{
        recovery::{Commands, Opening, Piece, into},
        server::ServerConfig,
    },
};

/// The preparation.
pub(super) fn opening(server: &ServerConfig, variables: &str) -> Opening {
    let text = format!(
        "PostgreSQL. Set `{variables}_HOST`, `{variables}_PORT` and `{variables}_USER` first if the target is not the original server; \
         the user is a superuser, or on a managed server its administrator. Its password: in `~/.pgpass`."
    );
    let host = match &server.host {
        Host::Tcp(host) => host.clone(),
        Host::Socket(path) => path.display().to_string(),
    };
    let host = if host.is_empty() {
        format!("export PGHOST=\"${{{variables}_HOST:-set-{variables}_HOST-first.invalid}}\"")
    } else {
        let default = unless_set(&format!("{variables}_HOST"), &host);
        format!("{default}; export PGHOST=\"${variables}_HOST\"")
    };
    let rest = format!(
        "export PGPORT=\"${{{variables}_PORT:-{}}}\" PGUSER=\"${{{variables}_USER:-postgres}}\"",
        server.port
    );
    Opening { text, setup: vec![host, rest] }
}

/// The commands that restore one item.
pub(super) fn commands(server: &ServerConfig, piece: &Piece<'_>) -> Commands {
    let mut commands = if piece.is_globals() { globals(piece) } else { database(piece, server) };
    piece.say_server(&mut commands);
    commands
}

fn globals(piece: &Piece<'_>) -> Commands {
    Commands {
        stock: vec![
            "# Into a new server. The script sets the passwords and attributes of roles: on a server in use, run only the".to_owned(),
            "# CREATE ROLE lines of missing roles. Errors about existing roles are expected, others are not.".to_owned(),
            format!("{} | psql -X -q -d postgres", piece.dump(GLOBALS_SQL)),
        ],
        ours: vec![
            format!("$ {}", piece.ours("--to /root/globals")),
            "$ psql -X -q -d postgres -f /root/globals/globals.sql; rm -r /root/globals".to_owned(),
        ],
    }
}

fn database(piece: &Piece<'_>, server: &ServerConfig) -> Commands {
    let name = piece.name();
    // A name with a `=`, or one that looks like a URL, would be parsed as a connection string.
    let connection = if name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        name.to_owned()
    } else {
        word(&format!("dbname='{}'", name.replace('\\', "\\\\").replace('\'', "\\'")))
    };
    // An administrator who is no superuser cannot set owners, and roles without a backup cannot own objects.
    let managed = matches!(&server.host, Host::Tcp(host) if host.ends_with(".database.azure.com"));
    let plain =
        if managed || server.azure.is_some() || !server.globals { " --no-owner --no-privileges" } else { "" };
    let mut stock = vec![
        "# --create makes the database with its owner, encoding, locale, settings and privileges. Under another name:".to_owned(),
        "# createdb --template template0 OTHER, and in place of --create --dbname postgres: --dbname OTHER".to_owned(),
        "# With --no-owner --no-privileges everything belongs to the restoring role: for administrators of managed servers, and".to_owned(),
        "# where roles are missing.".to_owned(),
        format!("{} | pg_restore --exit-on-error{plain} --create --dbname postgres", piece.dump(DUMP)),
        format!("psql -X -q -d {connection} -c ANALYZE"),
    ];
    for object in piece.largest() {
        let schema =
            object.schema.as_deref().map(|schema| format!("{}.", quote_ident(schema))).unwrap_or_default();
        let sql = format!("SELECT count(*) FROM {schema}{}", quote_ident(&object.name));
        stock.push(format!(
            "psql -X -At -d {connection} -c {}      # {} at the time of the backup",
            word(&sql),
            object.rows
        ));
    }
    Commands { stock, ours: vec![format!("$ {}", piece.ours(&into("postgresql", name, "postgres@SERVER")))] }
}
