//! The objects of a database as its snapshot shows them, to be compared with the output of `pg_dump`: an exit status of 0 does
//! not prove that the dump is complete.

use std::collections::HashSet;

use serde::Deserialize;

use super::{
    archive::{ArchiveSummary, Doubt},
    discover::Server,
    psql::Psql,
    settings::Basics,
};
use crate::{
    error::{Error, Result},
    source::manifest::{Partitioned, TableName},
};

/// At most this many missing objects are named.
const NAMED: usize = 5;

/// The objects that a dump must contain, and those that it cannot contain.
pub(super) struct Inventory {
    objects: Vec<Listed>,
    large_objects: u64,
    /// Objects that exist but are not in the dump, in sentences.
    pub(super) left_out: Vec<String>,
    /// Partitioned tables with their partitions.
    pub(super) partitioned: Vec<Partitioned>,
}

/// An object with its catalog and its OID there, as in the table of contents.
#[derive(Debug, Deserialize)]
struct Listed {
    catalog: u32,
    oid: u32,
    what: String,
    name: String,
    /// Must the dump contain rows of it?
    data: bool,
    /// Does `pg_dump` leave out its schema?
    reserved: bool,
    /// The table, if this is the sequence of an identity column.
    part_of: Option<u32>,
}

/// Tables, sequences and the like, and functions. Objects of extensions are created with the extension, functions that belong
/// to a type with the type. On a standby unlogged tables have no rows. `pg_dump` treats schemas with reserved names as part
/// of the system.
const OBJECTS: &str = "SELECT 1259 AS catalog, c.oid::bigint AS oid, \
        CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'S' THEN 'sequence' \
            WHEN 'f' THEN 'foreign table' ELSE 'table' END AS what, \
        quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name, \
        c.relkind = 'r' AND NOT (c.relpersistence = 'u' AND pg_catalog.pg_is_in_recovery()) AS data, \
        n.nspname ~ '^pg_' OR n.nspname = 'information_schema' AS reserved, \
        CASE WHEN c.relkind = 'S' THEN (SELECT d.refobjid FROM pg_catalog.pg_depend d \
            WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'i' \
            AND d.refclassid = d.classid LIMIT 1)::bigint END AS part_of \
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND c.relpersistence <> 't' AND c.oid >= 16384 \
        AND n.nspname !~ '^pg_(toast|temp)' \
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass \
            AND d.objid = c.oid AND d.deptype = 'e') \
    UNION ALL SELECT 1255, p.oid::bigint, 'function', quote_ident(n.nspname) || '.' || quote_ident(p.proname), false, false, NULL \
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
    WHERE p.oid >= 16384 AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' \
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass \
            AND d.objid = p.oid AND d.deptype IN ('e', 'i'))";

/// Root tables with their partitions at all levels; a partitioned table without partitions is listed alone. Inheriting tables
/// count as partitions only if their name contains a digit, as was common before declarative partitioning; a table with
/// several roots belongs to none.
const PARTITIONS: &str = "WITH RECURSIVE tree(root, oid) AS ( \
        SELECT c.oid, c.oid FROM pg_catalog.pg_class c \
        WHERE (c.relkind = 'p' OR (c.relkind = 'r' AND c.relhassubclass)) AND c.oid >= 16384 \
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhrelid = c.oid) \
        UNION SELECT tree.root, i.inhrelid FROM tree JOIN pg_catalog.pg_inherits i ON i.inhparent = tree.oid), \
    part(root, oid) AS (SELECT min(tree.root::bigint), tree.oid FROM tree WHERE tree.oid <> tree.root \
        GROUP BY tree.oid HAVING count(*) = 1) \
    SELECT rn.nspname AS root_schema, r.relname AS root_name, n.nspname AS schema, c.relname AS name \
    FROM (SELECT DISTINCT root FROM tree) t JOIN pg_catalog.pg_class r ON r.oid = t.root \
    JOIN pg_catalog.pg_namespace rn ON rn.oid = r.relnamespace \
    LEFT JOIN (part JOIN pg_catalog.pg_class c ON c.oid = part.oid AND c.relkind = 'r' \
            AND (c.relispartition OR c.relname ~ '[0-9]') \
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace) ON part.root = t.root::bigint \
    WHERE r.relkind = 'p' OR c.oid IS NOT NULL \
    ORDER BY rn.nspname, r.relname, n.nspname, c.relname";

/// User mappings whose options the account may not see: `pg_dump` writes the mappings without options. The rule is the one
/// of the view `pg_user_mappings`.
const HIDDEN_MAPPINGS: &str = "SELECT 'the options of the user mapping of ' || CASE m.umuser WHEN 0 THEN 'PUBLIC' \
        ELSE quote_ident(m.usename) END || ' for the server ' || quote_ident(m.srvname) AS what \
    FROM pg_catalog.pg_user_mappings m JOIN pg_catalog.pg_foreign_server s ON s.oid = m.srvid \
    WHERE m.umoptions IS NULL AND NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) \
        AND NOT (m.umuser <> 0 AND m.usename = current_user AND (pg_catalog.pg_has_role(s.srvowner, 'USAGE') \
            OR pg_catalog.has_server_privilege(s.oid, 'USAGE'))) \
        AND NOT (m.umuser = 0 AND pg_catalog.pg_has_role(s.srvowner, 'USAGE')) ORDER BY 1";

/// Subscriptions of the database, which only a superuser may dump.
const HIDDEN_SUBSCRIPTIONS: &str = "SELECT 'the subscription ' || quote_ident(subname) AS what \
    FROM pg_catalog.pg_subscription WHERE subdbid = (SELECT oid FROM pg_catalog.pg_database \
        WHERE datname = current_database()) \
        AND NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) ORDER BY 1";

/// Unlogged tables and sequences on a standby.
const UNLOGGED: &str = "SELECT CASE c.relkind WHEN 'S' THEN 'the state of the unlogged sequence ' \
        ELSE 'the rows of the unlogged table ' END || quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS what \
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relpersistence = 'u' AND c.relkind IN ('r', 'S') AND n.nspname !~ '^pg_' ORDER BY 1";

impl Inventory {
    /// Queries the objects in the session's transaction, and so in its snapshot. `large_objects` is their count in the same
    /// snapshot.
    pub(super) fn ask(
        session: &mut Psql,
        server: &Server,
        basics: &Basics,
        large_objects: u64,
    ) -> Result<Self> {
        const RESERVED: &str = "pg_dump takes its schema for a part of the system: move it to another schema";
        let all: Vec<Listed> = session.query(OBJECTS)?;
        let (reserved, objects): (Vec<_>, Vec<_>) = all.into_iter().partition(|object| object.reserved);
        let mut left_out: Vec<String> = reserved
            .into_iter()
            .map(|object| format!("not in the dump: the {} {}, {RESERVED}", object.what, object.name))
            .collect();
        left_out.extend(hidden(session, server, basics)?);
        let partitioned = partitioned(session)?;
        Ok(Self { objects, large_objects, left_out, partitioned })
    }

    /// Fails unless the dump is a complete archive with all objects. An intact archive of an unknown version passes, because
    /// its content cannot be checked.
    pub(super) fn require_whole(&self, summary: &ArchiveSummary, said: &str) -> Result<()> {
        require_archive(summary).map_err(|error| error.because_text(said))?;
        if summary.doubt == Some(Doubt::Unknown) {
            return Ok(());
        }
        let mut missing = self.missing(summary);
        if missing.is_empty() {
            return Ok(());
        }
        let more = missing.len().saturating_sub(NAMED);
        missing.truncate(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        Err(Error::failed(format!(
            "pg_dump exited successfully, but objects of the server are missing from the dump: {}{more}",
            missing.join(", ")
        ))
        .because_text(said)
        .hint("the account may lack a privilege on them; run the backup again as a superuser to compare"))
    }

    /// Objects of the snapshot that are missing from the dump.
    fn missing(&self, summary: &ArchiveSummary) -> Vec<String> {
        let there: HashSet<(u32, u32)> =
            summary.toc.iter().map(|entry| (entry.table_oid, entry.oid)).collect();
        let data: HashSet<u32> =
            summary.toc.iter().filter(|entry| entry.desc == "TABLE DATA").map(|entry| entry.oid).collect();
        let listed: HashSet<u32> = self.objects.iter().map(|object| object.oid).collect();
        let lacks = |object: &&Listed| {
            // A table that is not listed belongs to an extension, and so does its sequence.
            let expected = object.part_of.is_none_or(|table| listed.contains(&table));
            let there = there.contains(&(object.catalog, object.oid));
            expected && (!there || (object.data && !data.contains(&object.oid)))
        };
        let missing = self.objects.iter().filter(lacks);
        let mut missing: Vec<String> =
            missing.map(|object| format!("{} {}", object.what, object.name)).collect();
        let large_objects = self.large_objects.saturating_sub(summary.large_objects.count);
        if large_objects > 0 {
            missing.push(format!("{large_objects} of {} large objects", self.large_objects));
        }
        missing
    }
}

/// Fails unless the output is one complete archive, or an archive of an unknown version.
pub(super) fn require_archive(summary: &ArchiveSummary) -> Result<()> {
    const AGAIN: &str = "run the backup again; if it happens again, see the server's log";
    if summary.ends_early {
        return Err(Error::failed("pg_dump exited successfully, but its archive is truncated").hint(AGAIN));
    }
    if summary.doubt == Some(Doubt::Damaged) {
        return Err(Error::failed("pg_dump exited successfully, but its output is damaged or not an archive")
            .because_text(summary.undigested.clone().unwrap_or_default())
            .hint("check that `pg_dump` is PostgreSQL's own program and not a wrapper that writes something else; run the backup again"));
    }
    if summary.trailing > 0 {
        return Err(Error::failed(format!(
            "pg_dump exited successfully, but its archive has {} bytes after its end",
            summary.trailing
        ))
        .hint(AGAIN));
    }
    Ok(())
}

fn partitioned(session: &mut Psql) -> Result<Vec<Partitioned>> {
    #[derive(Deserialize)]
    struct Part {
        root_schema: String,
        root_name: String,
        schema: Option<String>,
        name: Option<String>,
    }
    let mut all: Vec<Partitioned> = Vec::new();
    for part in session.query::<Part>(PARTITIONS)? {
        if all.last().is_none_or(|last| last.schema != part.root_schema || last.name != part.root_name) {
            all.push(Partitioned { schema: part.root_schema, name: part.root_name, partitions: Vec::new() });
        }
        if let (Some(last), Some(schema), Some(name)) = (all.last_mut(), part.schema, part.name) {
            last.partitions.push(TableName { schema, name });
        }
    }
    Ok(all)
}

/// Objects that the account may not read, or that do not exist on a standby. The cheap queries were made before.
fn hidden(session: &mut Psql, server: &Server, basics: &Basics) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Left {
        what: String,
        why: String,
    }
    let mut parts = Vec::new();
    if basics.foreign_servers {
        parts.push((
            HIDDEN_MAPPINGS,
            "which this account may not read (a superuser or the owner of the server may)",
        ));
    }
    if basics.subscriptions {
        parts.push((HIDDEN_SUBSCRIPTIONS, "which only a superuser may read"));
    }
    if server.standby {
        parts.push((UNLOGGED, "which a standby does not have: back the primary up for them"));
    }
    if parts.is_empty() {
        return Ok(Vec::new());
    }
    let query = |(query, why): (&str, &str)| format!("(SELECT what, '{why}' AS why FROM ({query}) found)");
    let all: Vec<String> = parts.into_iter().map(query).collect();
    let found: Vec<Left> = session.query(&all.join(" UNION ALL "))?;
    Ok(found.into_iter().map(|left| format!("not in the dump: {}, {}", left.what, left.why)).collect())
}
