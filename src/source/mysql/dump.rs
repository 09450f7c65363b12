//! Dumping one database with the server family's own dump tool, and checking that the dump is complete.

use std::{
    io::{self, Read},
    sync::Arc,
};

use parking_lot::Mutex;

use super::{
    Counter, DUMP, Database, Detail, LEFT_OUT, Mysql, SchemaObject,
    broken::LeftOut,
    clients::{Client, Flavour, Version},
    code::{complaint, lacks_masking_policies},
    connect::Connection,
    discover::Server,
    ends::Ends,
    events::{self, Appended},
    exact::{self, Exact},
    hints,
    inventory::{Inventory, Objects, listed},
    script::{Head, ScriptReader, ScriptSummary, Substitute},
    session::{Session, quote_literal},
    shares::{self, Share},
    versioned::Versioned,
};
use crate::{
    error::{Error, Result},
    source::manifest::{Consistency, Digested, File, Manifest, Object, Tool},
    stream::{cancel::Cancel, child::Command, process::ToolMessages, sink::Sink},
};

/// Options for all dump tools.
const OPTIONS: [&str; 10] = [
    "--single-transaction",
    "--quick",
    "--routines",
    "--triggers",
    "--hex-blob",
    "--no-tablespaces",
    "--default-character-set=utf8mb4",
    "--max-allowed-packet=1G",
    // MariaDB cannot load its own dump of a table that draws its default from a sequence under these locks.
    "--skip-add-locks",
    // Unchanged data must give the same bytes, so that the repository stores it once.
    "--skip-dump-date",
];
/// The GTID history belongs to the server, not to a database; the target creates new histograms.
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
    let unreadable = source.unreadable(database);
    let left_out = LeftOut::find(&session, server, database, &source.exclude_tables, &unreadable)?;
    let before = Inventory::ask(&session, database)?.without(&left_out);
    let versioned = Versioned::ask(&session, server, client, database, &before.versioned, source.history)?;
    let plan = Plan::make(&session, server, database, &described)?;
    let mut inexact = exact::Plan::ask(&session, server, database, versioned.history())?;
    inexact.leave_out(|name| left_out.has(name));
    // The dump may take hours.
    session.pause();
    let dump = Dump { source, client, connection: &connection, database, left_out: &left_out, cancel, sink };
    let history = versioned.options();
    let streamed = match source.shares {
        1 => dump.run(&Share::All, plan, inexact, history)?,
        number => {
            let shares = shares::of(&session, database, &before, number)?;
            session.pause();
            shares::run(&dump, &shares, &plan, &inexact, history)?
        }
    };
    manifest.left_out.extend(streamed.inexact.iter().cloned());
    manifest.notes.extend(streamed.inexact);
    let after = Inventory::ask(&session, database)?.without(&left_out);
    require_whole(&streamed.summary, &before.objects, &after.objects)?;
    note_warnings(&mut manifest, &streamed.warnings);
    manifest.files.push(File { path: DUMP.to_owned(), bytes: streamed.bytes });
    if let Some(definitions) = left_out.script(database) {
        let stored = sink.store(LEFT_OUT, &mut definitions.as_bytes())?;
        manifest.files.push(File { path: LEFT_OUT.to_owned(), bytes: stored.bytes });
    }
    left_out.describe(&mut manifest);
    manifest.ended = jiff::Zoned::now();
    manifest.server_version.clone_from(&server.version_text);
    manifest.tools.push(Tool { name: client.dump_name().to_owned(), version: client.version.to_string() });
    manifest.notes.extend(versioned.note());
    consistency(&mut manifest, &before.not_transactional);
    describe(&mut manifest, streamed.summary, server, described, before.not_transactional);
    if let Some(detail) = manifest.detail_mut::<Detail>() {
        versioned.describe(detail);
    }
    Ok(manifest)
}

/// The result of a stored, complete dump.
pub(super) struct Streamed {
    pub(super) bytes: u64,
    pub(super) summary: ScriptSummary,
    /// The messages of the tool.
    pub(super) warnings: String,
    /// Notes about values that may not be exact.
    pub(super) inexact: Vec<String>,
}

/// A dump of a database.
pub(super) struct Dump<'a> {
    source: &'a Mysql,
    client: &'a Client,
    connection: &'a Connection,
    database: &'a str,
    left_out: &'a LeftOut,
    cancel: &'a Cancel,
    sink: &'a dyn Sink,
}

impl Dump<'_> {
    /// Stores the output of the tool, with the parts that it cannot write correctly.
    pub(super) fn run(
        &self,
        share: &Share,
        plan: Plan,
        mut inexact: exact::Plan,
        history: Option<&'static str>,
    ) -> Result<Streamed> {
        let Self { source, client, connection, database, left_out, cancel, sink } = *self;
        inexact.leave_out(|name| !share.has(name));
        let item = source.item_name(database);
        let exact = Exact::begin(inexact, connection, database, &item, source.idle_timeout, cancel)?;
        let command = connection
            .dump()
            .args(OPTIONS)
            .args(plan.options(client.flavour))
            .args(history)
            .args(left_out.arguments(database))
            .args(share.options(database))
            .item(item)
            .idle_timeout(source.idle_timeout)
            .cancel(cancel);
        let first = Complaint::default();
        let child = first.watch(command).arg("--").arg(database).args(share.tables()).spawn_output()?;
        let child = Ends::new(Head::new(child, client.flavour == Flavour::Mariadb), plan.open_ends);
        let fault = exact.unreadable();
        let exact = exact.is_needed().then_some(exact);
        let mut tap = ScriptTap::new(Appended::new(Substitute::new(child, exact), plan.events));
        let stored = sink.store(DUMP, &mut tap).map_err(|error| {
            let read = fault.lock().take();
            source.found_unreadable(database, read, hints::explain(error))
        })?;
        let ScriptTap { stream, script } = tap;
        let summary = script.finish();
        let (child, exact) = stream.into_inner().into_parts();
        let warnings = child.into_inner().into_inner().messages();
        require_complete(&summary, client, &warnings)?;
        first.require_none(client)?;
        let inexact = exact.map(|exact| exact.notes()).unwrap_or_default();
        Ok(Streamed { bytes: stored.bytes, summary, warnings, inexact })
    }
}

/// Parts of a database that the dump tool cannot write correctly.
#[derive(Clone)]
pub(super) struct Plan {
    /// Events that it cannot write, as the end of the script; empty if it can.
    events: Vec<u8>,
    /// Whether the tool writes the events.
    tool_writes_events: bool,
    /// Whether it writes delimiters into comments.
    open_ends: bool,
}

impl Plan {
    fn make(session: &Session<'_>, server: &Server, database: &str, like: &Database) -> Result<Self> {
        let mysql = server.flavour == Flavour::Mysql;
        let ours = events::need_care(session, server.flavour, database)?;
        Ok(Self {
            events: if ours { events::script(session, database, &like.collation)? } else { Vec::new() },
            tool_writes_events: !ours,
            open_ends: mysql && events::have_open_ends(session, database)?,
        })
    }

    /// Of a dump of tables only.
    pub(super) fn of_tables(&self) -> Self {
        Self { events: Vec::new(), tool_writes_events: false, open_ends: self.open_ends }
    }

    fn options(&self, flavour: Flavour) -> impl Iterator<Item = &'static str> {
        let events = self.tool_writes_events.then_some("--events");
        let of_family: &'static [&'static str] = if flavour == Flavour::Mysql { &MYSQL_OPTIONS } else { &[] };
        events.into_iter().chain(of_family.iter().copied())
    }
}

/// The first line of a dump tool that reports a failure; the tool may exit with code 0 all the same.
#[derive(Default)]
struct Complaint(Arc<Mutex<Option<String>>>);

impl Complaint {
    fn watch(&self, command: Command) -> Command {
        let first = Arc::clone(&self.0);
        command.observe(move |line| {
            if let Some(line) = complaint(line) {
                let mut first = first.lock();
                first.get_or_insert_with(|| line.to_owned());
            }
        })
    }

    fn require_none(&self, client: &Client) -> Result<()> {
        match self.0.lock().take() {
            None => Ok(()),
            Some(line) => Err(hints::explain(
                Error::failed(format!("{} exited successfully but reported an error", client.dump_name()))
                    .because_text(line.as_str())
                    .with(ToolMessages::new(line)),
            )
            .hint("run the backup again; if it happens again, see the server's log")),
        }
    }
}

/// Fails if a dump is truncated, or reports that something is missing.
fn require_complete(summary: &ScriptSummary, client: &Client, warnings: &str) -> Result<()> {
    if !summary.complete {
        return Err(Error::failed(format!(
            "{} exited successfully but its dump is truncated",
            client.dump_name()
        ))
        .because_text(warnings)
        .hint("run the backup again; if it happens again, see the server's log"));
    }
    match summary.complaints.first() {
        None => Ok(()),
        Some(complaint) => Err(hints::explain(
            Error::failed(format!("{} could not dump everything", client.dump_name()))
                .because_text(complaint)
                .with(ToolMessages::new(complaint)),
        )),
    }
}

/// Adds the messages of the tool as notes. Missing privileges for masking policies get a clearer text.
fn note_warnings(manifest: &mut Manifest, warnings: &str) {
    const MASKING: &str = "not in the dump: masking policies, if there are any, which this account may not read: GRANT SELECT ON \
                           mysql.column_masking_policy TO …";
    for line in warnings.lines().filter(|line| !line.trim().is_empty()) {
        if lacks_masking_policies(line) {
            manifest.left_out.push(MASKING.to_owned());
            manifest.notes.push(MASKING.to_owned());
        } else {
            manifest.notes.push(line.to_owned());
        }
    }
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

/// The first versions of MySQL that encrypt databases by default, and that make them read only.
const DEFAULT_ENCRYPTION: Version = Version(8, 0, 16);
const READ_ONLY: Version = Version(8, 0, 22);
/// The first version of MariaDB whose databases have comments.
const COMMENTS: Version = Version(10, 5, 0);

fn describe_database(session: &Session<'_>, server: &Server, database: &str) -> Result<Database> {
    let since = |flavour: Flavour, version: Version, column: &'static str| {
        if server.flavour == flavour && server.version >= version { column } else { "''" }
    };
    let comment = since(Flavour::Mariadb, COMMENTS, "s.SCHEMA_COMMENT");
    let encryption = since(Flavour::Mysql, DEFAULT_ENCRYPTION, "s.DEFAULT_ENCRYPTION");
    let options = since(
        Flavour::Mysql,
        READ_ONLY,
        "IFNULL((SELECT e.OPTIONS FROM information_schema.SCHEMATA_EXTENSIONS e WHERE e.SCHEMA_NAME = s.SCHEMA_NAME), '')",
    );
    let rows: Vec<[String; 5]> = session.rows(&format!(
        "SELECT s.DEFAULT_CHARACTER_SET_NAME, s.DEFAULT_COLLATION_NAME, {comment}, {encryption}, {options} \
         FROM information_schema.SCHEMATA s WHERE s.SCHEMA_NAME = {}",
        quote_literal(database)
    ))?;
    let [charset, collation, comment, encryption, options] = rows.into_iter().next().ok_or_else(|| {
        Error::failed("the database does not exist")
            .hint("it was dropped or renamed meanwhile; run the backup again")
    })?;
    Ok(Database {
        charset,
        collation,
        comment: Some(comment).filter(|text| !text.is_empty()),
        read_only: options.contains("READ ONLY=1"),
        encrypted: encryption == "YES",
    })
}

/// Fails unless every object that existed before and after the dump is in it.
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
    Err(Error::failed(format!("objects of the server are missing from the dump: {}", listed(missing)))
        .hint("the account may lack a privilege on them, or they may be damaged on the server"))
}

fn consistency(manifest: &mut Manifest, not_transactional: &[String]) {
    if not_transactional.is_empty() {
        manifest.consistency = Consistency::Snapshot;
        return;
    }
    manifest.consistency = Consistency::None;
    manifest.notes.push(format!(
        "tables outside the consistent snapshot, because their engine has no transactions: {}",
        not_transactional.join(", ")
    ));
}

/// Describes the dump in the manifest.
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
    manifest.set_detail(Detail {
        flavour: server.flavour,
        lower_case_table_names: server.lower_case_table_names,
        database: Some(database),
        schema_objects,
        counters,
        not_transactional,
        history: Vec::new(),
        row_times: Vec::new(),
        refers_to,
        accounts: Vec::new(),
    });
}
