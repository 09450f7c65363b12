//! The commands for each kind of source: with stock restic and the native client, and with this program.

use super::{
    Commands, Page,
    items::{Piece, is_globals_of},
};
use crate::{
    config::{Host, ServerConfig, SourceConfig, SourceKind},
    output::{
        printable,
        shell::{unless_set, word},
    },
    source::{manifest::Object, mysql, postgres},
};

/// So many of the largest tables are counted.
const COUNTED: usize = 3;

/// How the items of a source are reached, by its kind.
pub(super) enum Reach<'a> {
    Postgres { prefix: String, server: &'a ServerConfig },
    Mysql { prefix: String },
    Mongodb { prefix: String },
    Storage,
    Directory,
}

impl<'a> Reach<'a> {
    pub(super) fn new(source: &'a SourceConfig) -> Self {
        let prefix: String = source
            .name
            .as_str()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' })
            .collect();
        // A variable does not begin with a digit.
        let prefix =
            if prefix.starts_with(|c: char| c.is_ascii_digit()) { format!("S{prefix}") } else { prefix };
        match &source.kind {
            SourceKind::Postgres(kind) => Self::Postgres { prefix, server: &kind.server },
            SourceKind::Mysql(_) => Self::Mysql { prefix },
            SourceKind::Mongodb(_) => Self::Mongodb { prefix },
            SourceKind::AzureStorage(_) => Self::Storage,
            SourceKind::Directory(_) => Self::Directory,
        }
    }

    pub(super) fn opening(&self, page: &mut Page, source: &SourceConfig) {
        let text = match self {
            Self::Postgres { prefix, .. } => format!(
                "PostgreSQL. Where to: set `{prefix}_HOST`, `{prefix}_PORT` and `{prefix}_USER` before, if it is not the old place; \
                 the user is a superuser, or on a managed server its administrator. Its password: in `~/.pgpass`."
            ),
            Self::Mysql { prefix } => format!(
                "MySQL or MariaDB: a dump of one goes into a server of the same family. Where to: in an options file that only you \
                 can read, `[client]` with `host`, `user` and `password`. Set `{prefix}_OPTIONS` to it if it is not `~/.my.cnf`, and \
                 `{prefix}_CLIENT` to `mysql` if the client is Oracle's. Tables whose definition names a folder or a tablespace \
                 (`DATA DIRECTORY`, `INDEX DIRECTORY`, `TABLESPACE`) need it on the target, or the clause taken out of the script."
            ),
            Self::Mongodb { prefix } => format!(
                "MongoDB. Its Database Tools are needed (`mongorestore`, 100.5 or newer). Where to: in a file that only you can read, \
                 one line `uri: mongodb://…`. Set `{prefix}_CONFIG` to it if it is not `~/mongorestore.yaml`. Users and roles are not \
                 part of the backup: make them anew."
            ),
            Self::Storage => "Containers and file shares of Azure. `rclone` brings them back (or `azcopy`); make a remote `azure` (for \
                 shares `azure-files`) with `rclone config` first. Types and metadata of blobs stand in `blobs.jsonl`, attributes of \
                 files in `files.jsonl`; names that no file system holds have `%XX` in them."
                .to_owned(),
            Self::Directory => {
                let paths: Vec<_> = match &source.kind {
                    SourceKind::Directory(directory) => {
                        directory.paths.iter().map(|path| format!("`{}`", path.display())).collect()
                    }
                    _ => Vec::new(),
                };
                format!("Folders: {}. As root, so that owners come back.", paths.join(", "))
            }
        };
        page.line(&text);
        page.line("");
        let setup = self.setup();
        if !setup.is_empty() {
            page.code("sh", &setup);
        }
    }

    /// What all items of the source need before.
    fn setup(&self) -> Vec<String> {
        match self {
            Self::Postgres { prefix, server } => {
                let host = match &server.host {
                    Host::Tcp(host) => host.clone(),
                    Host::Socket(path) => path.display().to_string(),
                };
                let host = if host.is_empty() {
                    format!("export PGHOST=\"${{{prefix}_HOST:-set-{prefix}_HOST-first.invalid}}\"")
                } else {
                    format!(
                        "{}; export PGHOST=\"${prefix}_HOST\"",
                        unless_set(&format!("{prefix}_HOST"), &host)
                    )
                };
                let rest = format!(
                    "export PGPORT=\"${{{prefix}_PORT:-{}}}\" PGUSER=\"${{{prefix}_USER:-postgres}}\"",
                    server.port
                );
                vec![host, rest]
            }
            Self::Mysql { prefix } => vec![
                unless_set(&format!("{prefix}_CLIENT"), "mariadb"),
                format!("export {prefix}_OPTIONS=\"${{{prefix}_OPTIONS:-$HOME/.my.cnf}}\""),
                format!(
                    "client_{prefix}() {{ \"${prefix}_CLIENT\" --defaults-extra-file=\"${prefix}_OPTIONS\" --binary-mode \
                     --local-infile=0 --max-allowed-packet=1G \"$@\"; }}"
                ),
            ],
            Self::Mongodb { prefix } => {
                vec![format!("export {prefix}_CONFIG=\"${{{prefix}_CONFIG:-$HOME/mongorestore.yaml}}\"")]
            }
            Self::Storage | Self::Directory => Vec::new(),
        }
    }

    /// All that brings one item back.
    pub(super) fn commands(&self, piece: &Piece<'_>) -> Commands {
        let mut commands = self.of(piece);
        commands.stock.splice(0..0, self.setup());
        commands
    }

    pub(super) fn piece(&self, page: &mut Page, piece: &Piece<'_>) {
        let commands = self.of(piece);
        page.code("sh", &commands.stock);
        page.line("With this program:");
        page.line("");
        page.code("console", &commands.ours);
    }

    fn of(&self, piece: &Piece<'_>) -> Commands {
        let (mut stock, ours) = match self {
            Self::Postgres { .. } if is_globals_of(piece) => postgres_globals(piece),
            Self::Postgres { server, .. } => postgres_database(piece, server),
            Self::Mysql { prefix } if is_globals_of(piece) => {
                mysql_globals(piece, &format!("client_{prefix}"))
            }
            Self::Mysql { prefix } => mysql_database(piece, &format!("client_{prefix}")),
            Self::Mongodb { prefix } => mongodb_database(piece, prefix),
            Self::Storage => storage(piece),
            Self::Directory => directory(piece),
        };
        if let (Self::Postgres { .. } | Self::Mysql { .. }, Some(server)) = (self, piece.server()) {
            let server = printable(server);
            stock.insert(
                0,
                format!("# It was on the server {server}: connect to the one that takes its place."),
            );
        }
        Commands { stock, ours }
    }
}

type Lines = (Vec<String>, Vec<String>);

fn postgres_globals(piece: &Piece<'_>) -> Lines {
    (
        vec![
            "# Into a new server. It sets the passwords and attributes of roles as they were: on one that is in use, run only the".to_owned(),
            "# CREATE ROLE lines that are missing. Roles that are there already are reported; nothing else should be.".to_owned(),
            format!("{} | psql -X -q -d postgres", piece.dump(postgres::GLOBALS_SQL)),
        ],
        vec![
            format!("$ {}", piece.ours("--to /root/globals")),
            "$ psql -X -q -d postgres -f /root/globals/globals.sql; rm -r /root/globals".to_owned(),
        ],
    )
}

fn postgres_database(piece: &Piece<'_>, server: &ServerConfig) -> Lines {
    let name = piece.name();
    // A name with a `=` in it, or one that looks like a URL, would be taken for more than a name.
    let connection = if name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        name.to_owned()
    } else {
        word(&format!("dbname='{}'", name.replace('\\', "\\\\").replace('\'', "\\'")))
    };
    // An administrator who is no superuser cannot give things to others, and roles that nobody stored cannot own them.
    let managed = matches!(&server.host, Host::Tcp(host) if host.ends_with(".database.azure.com"));
    let plain =
        if managed || server.azure.is_some() || !server.globals { " --no-owner --no-privileges" } else { "" };
    let mut stock = vec![
        "# --create makes the database with its owner, encoding, locale, settings and privileges. Under another name:".to_owned(),
        "# createdb --template template0 OTHER, and in place of --create --dbname postgres: --dbname OTHER".to_owned(),
        "# With --no-owner --no-privileges everything belongs to who restores it: for administrators of managed servers, and".to_owned(),
        "# where roles are missing.".to_owned(),
        format!("{} | pg_restore --exit-on-error{plain} --create --dbname postgres", piece.dump(postgres::DUMP)),
        format!("psql -X -q -d {connection} -c ANALYZE"),
    ];
    for object in largest(piece) {
        let schema = object
            .schema
            .as_deref()
            .map(|schema| format!("{}.", postgres::psql::quote_ident(schema)))
            .unwrap_or_default();
        let sql = format!("SELECT count(*) FROM {schema}{}", postgres::psql::quote_ident(&object.name));
        stock.push(format!(
            "psql -X -At -d {connection} -c {}      # {} at the time of the backup",
            word(&sql),
            object.rows
        ));
    }
    (stock, vec![format!("$ {}", piece.ours(&into("postgresql", name, "postgres@SERVER")))])
}

fn mysql_globals(piece: &Piece<'_>, client: &str) -> Lines {
    (
        vec![
            "# Accounts that are there stay as they are; --force goes on after an error and reports it."
                .to_owned(),
            format!("{} | {client} --force", piece.dump(mysql::GLOBALS_SQL)),
        ],
        vec![
            format!("$ {}", piece.ours("--to /root/globals")),
            "$ mariadb --force < /root/globals/globals.sql; rm -r /root/globals".to_owned(),
            "# Or the accounts and all databases at once, into a server that has none of them:".to_owned(),
            format!("$ {}", piece.ours_together("--into mysql://root@SERVER")),
        ],
    )
}

/// The views in a dump, for `sed -n`.
const VIEWS: &str = "/^-- Final view structure/,/SET TIME_ZONE=@OLD/{/SET TIME_ZONE=@OLD/!p}";

fn mysql_database(piece: &Piece<'_>, client: &str) -> Lines {
    let name = piece.name();
    let detail = piece
        .manifest()
        .and_then(|manifest| manifest.mysql.as_ref())
        .and_then(|detail| detail.database.as_ref());
    let with = match detail {
        Some(database) => format!(" CHARACTER SET {} COLLATE {}", database.charset, database.collation),
        None => String::new(),
    };
    let create = format!("CREATE DATABASE {}{with}", mysql::session::quote_ident(name));
    let others =
        piece.manifest().and_then(|manifest| manifest.mysql.as_ref()).map(|detail| &detail.refers_to);
    let others = others.filter(|others| !others.is_empty());
    let force = if others.is_some() { " --force" } else { "" };
    let mut stock = vec![
        "# Nothing is loaded where the database is already: the dump would replace its tables.".to_owned(),
        format!("{client} -e {} &&", word(&create)),
        format!("    {} | {client}{force} {}", piece.dump(mysql::DUMP), database_argument(name)),
    ];
    if let Some(others) = others {
        let list = others.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let list: String = list.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        stock.push(format!("# It reads other databases: {list}. Views fail until these are there too: run the next line again then,"));
        stock.push("# for each of these databases, until it reports nothing.".to_owned());
        stock.push(format!(
            "{} | sed -n {} | {client} --force {}",
            piece.dump(mysql::DUMP),
            word(VIEWS),
            database_argument(name)
        ));
    }
    for object in largest(piece) {
        let sql = format!(
            "SELECT COUNT(*) FROM {}.{}",
            mysql::session::quote_ident(name),
            mysql::session::quote_ident(&object.name)
        );
        stock.push(format!("{client} -N -e {}      # {} at the time of the backup", word(&sql), object.rows));
    }
    (stock, vec![format!("$ {}", piece.ours(&into("mysql", name, "root@SERVER")))])
}

/// The name of a database as an argument: it may begin like an option.
fn database_argument(name: &str) -> String {
    word(&format!("--database={name}"))
}

fn mongodb_database(piece: &Piece<'_>, prefix: &str) -> Lines {
    let stock = vec![
        "# Its exit code is 0 even if documents failed to restore: read the line that counts them."
            .to_owned(),
        piece.restore(),
        format!("mongorestore --config \"${prefix}_CONFIG\" --bypassDocumentValidation {}", piece.folder("")),
        format!("rm -r {}", piece.folder("")),
    ];
    (stock, vec![format!("$ {}", piece.ours(&into("mongodb", piece.name(), "SERVER")))])
}

fn storage(piece: &Piece<'_>) -> Lines {
    let name = piece.name();
    let (below, target) = match name.strip_prefix("share:") {
        Some(share) => ("/files", format!("azure-files:{share}")),
        None => ("/blobs", format!("azure:{name}")),
    };
    let stock = vec![
        piece.restore(),
        format!("rclone copy --checksum {} {}", piece.folder(below), word(&target)),
        format!("rm -r {}", piece.folder("")),
    ];
    let into = format!("--into {}", word(piece.item));
    (stock, vec![format!("$ {}", piece.ours(&into)), one_file(piece, &into)])
}

fn directory(piece: &Piece<'_>) -> Lines {
    let stock = vec![
        piece.restore(),
        format!("ls -la {}", piece.folder("/files")),
        "# Look at it, then put it in place:  cp -a --reflink=auto … /its/place  (or mv, on the same file system)".to_owned(),
    ];
    let to = "--to /srv/restored";
    (stock, vec![format!("$ {}", piece.ours(to)), one_file(piece, to)])
}

/// The command for a part of what it holds.
fn one_file(piece: &Piece<'_>, destination: &str) -> String {
    format!(
        "$ {}      # one file, one folder, or a pattern such as '**/*.pdf'",
        piece.ours(&format!("{destination} --path PATH"))
    )
}

fn into(scheme: &str, name: &str, server: &str) -> String {
    let encoded = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC).to_string();
    // Those are harmless and easier to read as they are.
    let readable = encoded.replace("%5F", "_").replace("%2D", "-").replace("%2E", ".");
    format!("--into {}", word(&format!("{scheme}://{server}/{readable}")))
}

/// The tables with the most rows.
fn largest<'a>(piece: &'a Piece<'_>) -> Vec<&'a Object> {
    let mut tables: Vec<_> = piece
        .manifest()
        .map(|manifest| manifest.objects.iter().filter(|object| object.kind == "table").collect())
        .unwrap_or_default();
    tables.sort_by_key(|object| std::cmp::Reverse(object.rows));
    tables.truncate(COUNTED);
    tables
}
