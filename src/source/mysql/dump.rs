//! Dumping one database with the server family's own dump tool, and making sure that nothing is missing from it.

use std::io::{self, Read};

use super::{
    Counter, DUMP, Database, Detail, Mysql, SchemaObject,
    clients::Flavour,
    discover::Server,
    hints,
    inventory::{Inventory, Objects, listed},
    script::{ScriptReader, ScriptSummary},
    session::{Session, quote_literal},
};
use crate::{
    error::{Error, Result},
    source::manifest::{Consistency, Digested, File, Manifest, Object, Tool},
    stream::{cancel::Cancel, sink::Sink},
};

/// What all dump tools are asked for.
const OPTIONS: [&str; 11] = [
    "--single-transaction",
    "--quick",
    "--routines",
    "--triggers",
    "--events",
    "--hex-blob",
    "--no-tablespaces",
    "--default-character-set=utf8mb4",
    "--max-allowed-packet=1G",
    // MariaDB cannot load its own dump of a table that draws its default from a sequence under these locks.
    "--skip-add-locks",
    // The same data gives the same bytes, which the repository then stores once.
    "--skip-dump-date",
];
/// The history of transactions belongs to the server, not to a database; histograms are made anew by the target.
const MYSQL_OPTIONS: [&str; 2] = ["--set-gtid-purged=OFF", "--column-statistics=0"];

/// Streams a database into `sink`.
pub(super) fn dump(
    source: &Mysql,
    server: &Server,
    database: &str,
    sink: &dyn Sink,
    cancel: &Cancel,
) -> Result<Manifest> {
    let client = source.clients.choose(server.flavour, server.version)?;
    let connection = source.params.prepare(client)?;
    let session = Session::new(&connection, cancel);
    let mut manifest = Manifest::begin(&source.name, database, "mysql");
    let described = describe_database(&session, server, database)?;
    let before = Inventory::ask(&session, database)?;

    let mut command = connection
        .dump()
        .args(OPTIONS)
        .item(source.item_name(database))
        .idle_timeout(source.idle_timeout)
        .cancel(cancel);
    if server.flavour == Flavour::Mysql {
        command = command.args(MYSQL_OPTIONS);
    }
    let mut tap = ScriptTap::new(command.arg("--").arg(database).spawn_output()?);
    let stored = sink.store(DUMP, &mut tap).map_err(hints::explain)?;
    let ScriptTap { stream, script } = tap;
    let summary = script.finish();
    let warnings = stream.messages();
    if !summary.complete {
        return Err(Error::failed(format!("{} ended well but its dump has no end", client.dump_name()))
            .because_text(warnings)
            .hint("run the backup again; if it happens again, look at the server's log"));
    }
    if let Some(complaint) = summary.complaints.first() {
        return Err(hints::explain(
            Error::failed(format!("{} could not dump everything", client.dump_name()))
                .because_text(complaint),
        ));
    }
    let after = Inventory::ask(&session, database)?;
    require_whole(&summary, &before.objects, &after.objects)?;
    manifest.notes.extend(warnings.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned));
    manifest.ended = jiff::Zoned::now();
    manifest.server_version.clone_from(&server.version_text);
    manifest.tools.push(Tool { name: client.dump_name().to_owned(), version: client.version.to_string() });
    manifest.files.push(File { path: DUMP.to_owned(), bytes: stored.bytes });
    if !before.versioned.is_empty() {
        manifest.notes.push(format!(
            "of tables with system versioning only the current rows are dumped, not their history: {}",
            before.versioned.join(", ")
        ));
    }
    consistency(&mut manifest, &before.not_transactional);
    describe(&mut manifest, summary, server, described, before.not_transactional);
    Ok(manifest)
}

/// A dump on its way to the sink.
struct ScriptTap<R> {
    stream: R,
    script: ScriptReader,
}

impl<R: Read> ScriptTap<R> {
    fn new(stream: R) -> Self {
        Self { stream, script: ScriptReader::new() }
    }
}

impl<R: Read> Read for ScriptTap<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.stream.read(buffer)?;
        self.script.feed(&buffer[..n]);
        Ok(n)
    }
}

fn describe_database(session: &Session<'_>, server: &Server, database: &str) -> Result<Database> {
    let name = quote_literal(database);
    // The column for a comment came with MariaDB 10.5.
    let comment = match server.flavour {
        Flavour::Mariadb if server.version >= super::clients::Version(10, 5, 0) => "SCHEMA_COMMENT",
        _ => "''",
    };
    let rows: Vec<[String; 3]> = session.rows(&format!(
        "SELECT DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME, {comment} FROM information_schema.SCHEMATA \
         WHERE SCHEMA_NAME = {name}"
    ))?;
    let [charset, collation, comment] = rows.into_iter().next().ok_or_else(|| {
        Error::failed("the database is not there")
            .hint("it was dropped or renamed meanwhile; run the backup again")
    })?;
    Ok(Database { charset, collation, comment: Some(comment).filter(|text| !text.is_empty()) })
}

/// Everything that was there before and after the dump must be in it.
fn require_whole(summary: &ScriptSummary, before: &Objects, after: &Objects) -> Result<()> {
    if summary.undigested.is_some() {
        return Ok(());
    }
    let tables = summary.tables.iter().map(|table| ("table".to_owned(), table.name.clone()));
    let others = summary.objects.iter().map(|object| (object.kind.to_owned(), object.name.clone()));
    let dumped: Objects = tables.chain(others).collect();
    let missing: Vec<_> = before.intersection(after).filter(|object| !dumped.contains(*object)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::failed(format!("the dump lacks what the server has: {}", listed(missing)))
        .hint("the account may lack a privilege on them, or they may be damaged on the server"))
}

fn consistency(manifest: &mut Manifest, not_transactional: &[String]) {
    if not_transactional.is_empty() {
        manifest.consistency = Consistency::Snapshot;
        return;
    }
    manifest.consistency = Consistency::None;
    manifest.notes.push(format!(
        "not from one moment, because their engine has no transactions: {}",
        not_transactional.join(", ")
    ));
}

/// Writes what the dump held into the manifest.
fn describe(
    manifest: &mut Manifest,
    summary: ScriptSummary,
    server: &Server,
    database: Database,
    not_transactional: Vec<String>,
) {
    manifest.digested = match summary.undigested {
        None => Digested::Yes,
        Some(reason) => {
            manifest.notes.push(format!("not digested: {reason}"));
            Digested::No(reason)
        }
    };
    let mut schema_objects: Vec<SchemaObject> = summary
        .tables
        .iter()
        .map(|table| SchemaObject {
            kind: "table".to_owned(),
            name: table.name.clone(),
            digest: table.schema_digest,
            definer: None,
        })
        .chain(summary.objects.into_iter().map(|object| SchemaObject {
            kind: object.kind.to_owned(),
            name: object.name,
            digest: object.digest,
            definer: object.definer,
        }))
        .collect();
    schema_objects.sort();
    let mut counters: Vec<Counter> =
        summary.auto_increments.into_iter().map(|(name, next)| Counter { name, next }).collect();
    counters.sort();
    manifest.objects = summary
        .tables
        .into_iter()
        .map(|table| Object {
            kind: "table".to_owned(),
            schema: None,
            name: table.name,
            rows: table.rows.rows,
            bytes: table.rows.bytes,
            digest: table.rows.digest,
        })
        .collect();
    let own = summary.database;
    let refers_to =
        summary.refers_to.into_iter().filter(|name| own.as_ref().is_none_or(|own| own != name)).collect();
    manifest.mysql = Some(Detail {
        flavour: server.flavour,
        lower_case_table_names: server.lower_case_table_names,
        database: Some(database),
        schema_objects,
        counters,
        not_transactional,
        refers_to,
        accounts: Vec::new(),
    });
}
