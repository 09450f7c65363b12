//! Dumping one database: a transaction of ours exports its snapshot, `pg_dump` and our own questions see the same data.

use std::time::Duration;

use super::{
    DUMP, Database, Detail, Extension, LargeObjectCount, Postgres, SchemaObject, Sequence,
    archive::ArchiveSummary, clients::Client, discover::Server, hints, psql::Psql, tap::ArchiveTap,
};
use crate::{
    error::{Error, Result},
    source::manifest::{Consistency, Digested, File, Manifest, Object, Tool},
    stream::{cancel::Cancel, sink::Sink},
};

/// How long to wait for a moment at which a serializable snapshot cannot conflict with others.
const SAFE_SNAPSHOT_WAIT: Duration = Duration::from_secs(10 * 60);

/// Encodings in which every byte is a character that UTF-8 has too: nothing is lost when the dump is in UTF-8, and names
/// in it can be read. The text of other encodings is dumped as it is, for it may hold what cannot be converted.
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

/// Streams a database into `sink`.
pub(super) fn dump(
    source: &Postgres,
    server: &Server,
    database: &str,
    sink: &dyn Sink,
    cancel: &Cancel,
) -> Result<Manifest> {
    let (client, connection) = source.tools(server)?;
    let mut manifest = Manifest::begin(&source.name, database, "postgres");
    let mut session = Psql::connect(client, &connection, database, cancel)?;
    let snapshot = export_snapshot(&mut session, server, &mut manifest, || {
        Psql::connect(client, &connection, database, cancel)
    })?;
    let described: Database = session.query_one(&database_query(server))?;
    let extensions: Vec<Extension> = session.query(EXTENSIONS)?;

    let mut command = connection
        .command(client.tool("pg_dump"))
        .args(["--format=custom", "--compress=0", "--no-password"])
        .arg(format!("--snapshot={snapshot}"))
        .arg(format!("--lock-wait-timeout={}", source.idle_timeout.as_millis()))
        .arg("--dbname")
        .arg(connection.conninfo(database)?)
        // What these are at the server or the role must not change the bytes of the same rows.
        .env("PGOPTIONS", connection.options("-c timezone=UTC -c bytea_output=hex -c lc_monetary=C"))
        .item(source.item_name(database))
        .idle_timeout(source.idle_timeout)
        .cancel(cancel);
    if CONVERTIBLE.contains(&described.encoding.as_str()) {
        command = command.arg("--encoding=UTF8");
    }
    let mut tap = ArchiveTap::new(command.spawn_output()?);
    let stored = sink.store(DUMP, &mut tap).map_err(hints::explain)?;
    let (summary, output) = tap.finish();
    if stored.bytes == 0 {
        return Err(
            Error::failed("pg_dump ended well but gave nothing at all").because_text(output.messages())
        );
    }
    if summary.ends_early {
        return Err(Error::failed("pg_dump ended well but its archive has no end")
            .because_text(output.messages())
            .hint("run the backup again; if it happens again, look at the server's log"));
    }
    require_loadable(&summary, client, server)?;
    let warnings = output.messages();
    if client.major != server.major {
        manifest.notes.push(format!(
            "dumped with the client of version {}: only a server of that version or a newer one can load it",
            client.major
        ));
    }
    manifest.notes.extend(warnings.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned));
    manifest.ended = jiff::Zoned::now();
    manifest.server_version.clone_from(&server.version);
    manifest.tools.push(Tool { name: "pg_dump".to_owned(), version: client.version_text.clone() });
    manifest.files.push(File { path: DUMP.to_owned(), bytes: stored.bytes });
    describe(&mut manifest, summary, described, extensions);
    Ok(manifest)
}

/// Refuses a dump that no server could load. Some builds of the server keep notes of their own in an option of every
/// column; only their own `pg_dump` knows to leave it out.
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

/// Starts the transaction whose snapshot all readers share, and gives the snapshot's name.
fn export_snapshot(
    session: &mut Psql,
    server: &Server,
    manifest: &mut Manifest,
    again: impl FnOnce() -> Result<Psql>,
) -> Result<String> {
    #[derive(serde::Deserialize)]
    struct Exported {
        snapshot: String,
    }
    let export = |session: &mut Psql| -> Result<String> {
        let exported: Exported = session.query_one("SELECT pg_export_snapshot() AS snapshot")?;
        Ok(exported.snapshot)
    };
    if server.standby {
        manifest.consistency = Consistency::Snapshot;
        manifest
            .notes
            .push("a hot standby has no serializable snapshots: repeatable read was used".to_owned());
    } else {
        session.set_timeout(SAFE_SNAPSHOT_WAIT);
        session.execute("BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE")?;
        match export(session) {
            Ok(snapshot) => {
                manifest.consistency = Consistency::Serializable;
                return Ok(snapshot);
            }
            // 57014: the wait was cancelled, by us or by the server.
            Err(error) if session.last_sqlstate().is_some_and(|state| state != "57014") => return Err(error),
            Err(_) => {
                *session = again()?;
                manifest.consistency = Consistency::Snapshot;
                manifest.notes.push(format!(
                    "no serializable snapshot could be had within {} minutes of other transactions: repeatable read \
                     was used",
                    SAFE_SNAPSHOT_WAIT.as_secs() / 60
                ));
            }
        }
    }
    session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
    export(session)
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
            d.datacl IS NULL AS default_grants \
         FROM pg_catalog.pg_database d WHERE d.datname = current_database()"
    )
}

/// Writes what the archive held into the manifest.
fn describe(
    manifest: &mut Manifest,
    summary: ArchiveSummary,
    database: Database,
    extensions: Vec<Extension>,
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
    manifest.postgres = Some(Detail {
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
        ..Detail::default()
    });
}
