//! Dumping one database: a transaction exports its snapshot, so that `pg_dump` and the program's own queries see the same data.

use std::io::{self, Read};

use super::{
    DUMP, Database, Detail, Extension, LargeObjectCount, Postgres, SchemaObject, Sequence, ServerSetting,
    archive::ArchiveSummary,
    clients::Client,
    code,
    connect::Connection,
    detail,
    discover::Server,
    divide::{self, Division, Share},
    hints,
    inventory::Inventory,
    moment::{self, Moment, Used},
    psql::Psql,
    settings::{self, Basics},
    tap::ArchiveTap,
};
use crate::{
    error::{Error, Passing, Result},
    source::{
        Begun,
        manifest::{Digested, File, Manifest, Object, Tool},
    },
    stream::{
        cancel::Cancel,
        child::{ChildOutput, Command, into_error},
        process::ToolMessages,
        sink::Sink,
    },
};

/// Number of bytes that are inspected before the rest is streamed.
const FIRST_BYTES: usize = 64 * 1024;

/// Encodings that convert to UTF-8 without loss: such databases are dumped in UTF-8, so that names are readable. Text in other
/// encodings is dumped unconverted, because it may contain invalid characters.
const CONVERTIBLE: [&str; 14] = [
    "LATIN1",
    "LATIN2",
    "LATIN4",
    "LATIN5",
    "LATIN6",
    "LATIN7",
    "LATIN8",
    "LATIN9",
    "LATIN10",
    "ISO_8859_5",
    "KOI8R",
    "KOI8U",
    "WIN866",
    "WIN1256",
];

const EXTENSIONS: &str =
    "SELECT extname AS name, extversion AS version FROM pg_catalog.pg_extension ORDER BY extname";

/// A database whose dump has begun.
pub(super) struct DatabaseDump {
    manifest: Manifest,
    server: Server,
    client: Client,
    server_settings: Vec<ServerSetting>,
    begun: Reading,
    /// Set if one of several processes fails.
    stop: Cancel,
}

/// Begins the dump of a database. Rows that further processes of the `division` read are digested only.
pub(super) fn begin(
    source: &Postgres,
    server: &Server,
    database: &str,
    division: Division,
    cancel: &Cancel,
) -> Result<DatabaseDump> {
    let (client, connection) = source.tools(server)?;
    let connection = connection.for_reading();
    let mut manifest = Manifest::begin(&source.name, database, "postgres");
    let mut session = Psql::connect(client, &connection, database, cancel)?;
    // Before the snapshot is taken: changes between the snapshot and pg_dump's locks could be missed.
    let basics = settings::basics(&mut session)?;
    settings::require_settings(&mut session, &basics)?;
    let server_settings = source.settings(&mut session)?;
    let via_root =
        basics.partitioned && client.major >= 11 && settings::rows_may_move(&mut session, server.major)?;
    let template = basics.template;
    let stop = cancel.child();
    let dumping = Dumping {
        source,
        server,
        client,
        connection: &connection,
        database,
        basics,
        via_root,
        division,
        stop: &stop,
    };
    let (moment, begun) = moment::with_moment(&mut session, server, template, cancel, |session, moment| {
        dumping.begin(session, moment)
    })?;
    // One connection less while the rows are read.
    drop(session);
    manifest.started = moment.started;
    manifest.consistency = moment.consistency;
    manifest.notes = moment.notes;
    Ok(DatabaseDump {
        manifest,
        server: server.clone(),
        client: client.clone(),
        server_settings,
        begun,
        stop,
    })
}

impl Begun for DatabaseDump {
    fn store(self: Box<Self>, sink: &dyn Sink) -> Result<Manifest> {
        let Self { mut manifest, server, client, server_settings, begun, stop } = *self;
        let Reading { described, extensions, inventory, main, others } = begun;
        let mut tap = ArchiveTap::new(main);
        let (stored, parts) =
            divide::read(others, &stop, || sink.store(DUMP, &mut tap).map_err(hints::explain))?;
        let (mut summary, stream) = tap.finish();
        let (_, output) = stream.into_inner();
        let warnings = output.messages();
        if stored.bytes == 0 {
            return Err(
                Error::failed("pg_dump exited successfully but produced no output").because_text(warnings)
            );
        }
        divide::merge(&mut summary, parts)?;
        inventory.require_whole(&summary, &warnings)?;
        require_loadable(&summary, &client, &server)?;
        if client.major != server.major {
            manifest.notes.push(format!(
                "dumped with the client of version {}: only a server of that version or a newer one can load it",
                client.major
            ));
        }
        manifest.notes.extend(inventory.left_out.iter().cloned());
        manifest.left_out = inventory.left_out;
        manifest.notes.extend(warnings.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned));
        manifest.ended = jiff::Zoned::now();
        manifest.server_version.clone_from(&server.version);
        manifest.tools.push(Tool { name: "pg_dump".to_owned(), version: client.version_text.clone() });
        manifest.files.push(File { path: DUMP.to_owned(), bytes: stored.bytes });
        describe(&mut manifest, summary, described, extensions, server_settings);
        if let Some(postgres) = manifest.detail_mut::<Detail>() {
            postgres.partitioned = inventory.partitioned;
        }
        Ok(manifest)
    }
}

/// A database that is being dumped.
struct Dumping<'a> {
    source: &'a Postgres,
    server: &'a Server,
    client: &'a Client,
    connection: &'a Connection,
    database: &'a str,
    basics: Basics,
    /// Rows are loaded through the root table, because they may belong to another partition on another server.
    via_root: bool,
    division: Division,
    stop: &'a Cancel,
}

/// A database as its snapshot shows it.
#[derive(serde::Deserialize)]
struct Described {
    #[serde(flatten)]
    database: Database,
    large_objects: u64,
}

/// A running dump whose first bytes have arrived.
struct Reading {
    described: Database,
    extensions: Vec<Extension>,
    inventory: Inventory,
    main: Running,
    /// Further processes that read large tables.
    others: Vec<(Share, Running)>,
}

/// The output of a process whose first bytes have arrived.
pub(super) type Running = io::Chain<io::Cursor<Vec<u8>>, ChildOutput>;

/// Waits for the first bytes.
fn begun(mut output: ChildOutput) -> Result<Running> {
    let mut first = vec![0; FIRST_BYTES];
    loop {
        match output.read(&mut first) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(hints::explain(into_error(error))),
            Ok(length) => {
                first.truncate(length);
                return Ok(io::Cursor::new(first).chain(output));
            }
        }
    }
}

impl Dumping<'_> {
    /// Starts `pg_dump` on an exported snapshot and reads its first bytes, which it writes once it holds its locks.
    fn begin(&self, session: &mut Psql, moment: &Moment) -> Result<Used<Reading>> {
        let Described { database: described, large_objects } =
            session.query_one(&database_query(self.server))?;
        let shares = self.division.shares(session, self.server, is_utf8(&described))?;
        if !shares.is_empty() {
            tracing::debug!(processes = shares.len() + 1, "several processes read the database");
        }
        let start = |arguments: Vec<String>| self.command(moment, &described)?.args(arguments).spawn_output();
        let main = start(shares.iter().flat_map(Share::all_else).collect())?;
        let others: Vec<ChildOutput> =
            shares.iter().map(|share| start(share.only_these().collect())).collect::<Result<_>>()?;
        // Queried while pg_dump reads the catalogs.
        let extensions: Vec<Extension> = session.query(EXTENSIONS)?;
        let inventory = Inventory::ask(session, self.server, &self.basics, large_objects)?;
        let before = moment::seen(session)?;
        let read = begun(main).and_then(|main| {
            let others = others.into_iter().map(begun).collect::<Result<Vec<_>>>()?;
            Ok((main, shares.into_iter().zip(others).collect()))
        });
        // pg_dump has imported the snapshot; from now on the session sees the current state. A replaced table may also be why
        // pg_dump failed.
        let replaced = session
            .execute("COMMIT")
            .and_then(|()| moment::seen(session))
            .map(|now| moment::replaced(&before, &now));
        match (read, replaced) {
            (_, Ok(replaced)) if !replaced.is_empty() => Ok(Used::Replaced(replaced)),
            (Err(error), _) if moment.locked && could_not_lock(&error) => Ok(Used::Replaced(Vec::new())),
            (Err(error), _) => Err(error),
            (Ok(_), Err(error)) => Err(error),
            (Ok((main, others)), Ok(_)) => {
                Ok(Used::Whole(Reading { described, extensions, inventory, main, others }))
            }
        }
    }

    fn command(&self, moment: &Moment, described: &Database) -> Result<Command> {
        // Sessions that wait for a lock of ours are queued before pg_dump, which would wait forever.
        let lock_wait = if moment.locked { moment::LOCKED_DUMP_WAIT } else { self.source.idle_timeout };
        let mut command = self
            .connection
            .command(self.client.tool("pg_dump"))
            .args(["--format=custom", "--compress=0", "--no-password"])
            .arg(format!("--snapshot={}", moment.snapshot))
            .arg(format!("--lock-wait-timeout={}", lock_wait.as_millis()))
            .arg("--dbname")
            .arg(self.connection.conninfo(self.database)?)
            .item(self.source.item_name(self.database))
            .idle_timeout(self.source.idle_timeout)
            .cancel(self.stop);
        if CONVERTIBLE.contains(&described.encoding.as_str()) {
            command = command.arg("--encoding=UTF8");
        }
        if self.via_root {
            command = command.arg("--load-via-partition-root");
        }
        Ok(command)
    }
}

/// Whether tables changed before `pg_dump` had locked them, or it could not lock them in time.
fn could_not_lock(error: &Error) -> bool {
    error.passing() == Some(Passing::Changed) || code::failed_to_lock(ToolMessages::of(error))
}

/// Whether `pg_dump` writes, and expects, names in UTF-8.
fn is_utf8(described: &Database) -> bool {
    described.encoding == "UTF8" || CONVERTIBLE.contains(&described.encoding.as_str())
}

/// Refuses a dump that no server could load. Some builds of the server store internal data in an option of every column,
/// which only their own `pg_dump` leaves out.
fn require_loadable(summary: &ArchiveSummary, client: &Client, server: &Server) -> Result<()> {
    const INTERNAL: &str = "SET (pg_attver=";
    if client.major == server.major || !summary.toc.iter().any(|entry| entry.defn.contains(INTERNAL)) {
        return Ok(());
    }
    Err(Error::failed(format!(
        "pg_dump {} writes a dump of this server ({}) that cannot be restored: it contains the internal option \
         pg_attver",
        client.version_text, server.version
    ))
    .hint(format!(
        "install the client of the server's own version: `postgresql-client-{0}` (Debian) or `pkgs.postgresql_{0}` \
         (NixOS)",
        server.major
    )))
}

/// Describes the current database. Columns for the locale's provider came with versions 15, 16 and 17.
fn database_query(server: &Server) -> String {
    let provider = if server.major >= 15 { "d.datlocprovider::text" } else { "NULL" };
    let locale = match server.major {
        17.. => "d.datlocale",
        15.. => "d.daticulocale",
        _ => "NULL",
    };
    let rules = if server.major >= 16 { "d.daticurules" } else { "NULL" };
    format!(
        "SELECT pg_get_userbyid(d.datdba) AS owner, pg_encoding_to_char(d.encoding) AS encoding, \
            d.datcollate AS collate, d.datctype AS ctype, \
            (SELECT s.spcname FROM pg_catalog.pg_tablespace s WHERE s.oid = d.dattablespace) AS tablespace, \
            {provider} AS locale_provider, {locale} AS locale, \
            {rules} AS icu_rules, d.datconnlimit AS connection_limit, \
            shobj_description(d.oid, 'pg_database') AS comment, \
            coalesce((SELECT jsonb_agg(jsonb_build_object('role', r.rolname, \
                        'name', split_part(c, '=', 1), 'value', substr(c, strpos(c, '=') + 1)) ORDER BY r.rolname, c) \
                FROM pg_catalog.pg_db_role_setting s CROSS JOIN LATERAL unnest(s.setconfig) c \
                LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole WHERE s.setdatabase = d.oid), '[]'::jsonb) AS settings, \
            coalesce((SELECT jsonb_agg(jsonb_build_object('grantee', r.rolname, 'privilege', a.privilege_type, \
                        'grantable', a.is_grantable) ORDER BY r.rolname, a.privilege_type) \
                FROM aclexplode(d.datacl) a LEFT JOIN pg_catalog.pg_roles r ON r.oid = a.grantee \
                WHERE a.grantee = 0 OR r.oid IS NOT NULL), '[]'::jsonb) AS grants, \
            d.datacl IS NULL AS default_grants, \
            (SELECT count(*) FROM pg_catalog.pg_largeobject_metadata) AS large_objects \
         FROM pg_catalog.pg_database d WHERE d.datname = current_database()"
    )
}

/// Describes the archive in the manifest.
fn describe(
    manifest: &mut Manifest,
    summary: ArchiveSummary,
    database: Database,
    extensions: Vec<Extension>,
    server_settings: Vec<ServerSetting>,
) {
    let schema_objects = summary
        .schema_objects()
        .into_iter()
        .map(|o| SchemaObject { kind: o.desc, schema: o.schema, name: o.name, digest: o.digest })
        .collect();
    manifest.digested = match summary.undigested {
        None => Digested::Yes,
        Some(reason) => {
            manifest.notes.push(format!("not digested: {reason}"));
            Digested::No(reason)
        }
    };
    manifest.objects = summary
        .tables
        .into_iter()
        .map(|table| Object {
            kind: "table".to_owned(),
            schema: Some(table.schema),
            name: table.name,
            rows: table.rows,
            bytes: table.bytes,
            digest: table.digest,
        })
        .collect();
    manifest.set_detail(Detail {
        database: Some(database),
        extensions,
        sequences: summary
            .sequences
            .into_iter()
            .map(|s| Sequence { schema: s.schema, name: s.name, value: s.value, is_called: s.is_called })
            .collect(),
        large_objects: LargeObjectCount {
            count: summary.large_objects.count,
            bytes: summary.large_objects.bytes,
            digest: summary.large_objects.digest,
        },
        schema_digest: summary.schema_digest,
        schema_objects,
        by_column: detail::by_column(&summary.toc),
        server_settings,
        blocks: if summary.complete { summary.blocks } else { Vec::new() },
        ..Detail::default()
    });
}
