//! What a database holds as its snapshot shows it, to be held against what `pg_dump` wrote: an exit status of 0 is no proof
//! that everything is there.

use std::collections::HashSet;

use serde::Deserialize;

use super::{
    archive::{ArchiveSummary, Doubt},
    discover::Server,
    psql::Psql,
};
use crate::error::{Error, Result};

/// So many missing objects are named.
const NAMED: usize = 5;

/// What a dump must hold, and what it cannot.
pub(super) struct Inventory {
    objects: Vec<Listed>,
    large_objects: u64,
    /// What is there and not in the dump, in sentences.
    pub(super) left_out: Vec<String>,
}

/// An object with a table of its own kind of catalog and its number there, as tables of contents have them.
#[derive(Debug, Deserialize)]
struct Listed {
    catalog: u32,
    oid: u32,
    what: String,
    name: String,
    /// Must there be rows?
    data: bool,
}

/// Objects of extensions come with the extension, and so do the sequences of their identity columns. Functions that belong to a type come with the type. On a standby the rows
/// of unlogged tables are not there.
const OBJECTS: &str = "SELECT 1259 AS catalog, c.oid::bigint AS oid, \
        CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'S' THEN 'sequence' \
            WHEN 'f' THEN 'foreign table' ELSE 'table' END AS what, \
        quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name, \
        c.relkind = 'r' AND NOT (c.relpersistence = 'u' AND pg_catalog.pg_is_in_recovery()) AS data \
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND c.relpersistence <> 't' \
        AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' \
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass \
            AND d.objid = c.oid AND d.deptype = 'e') \
        AND NOT (c.relkind = 'S' AND EXISTS (SELECT FROM pg_catalog.pg_depend o JOIN pg_catalog.pg_depend e \
            ON e.classid = o.refclassid AND e.objid = o.refobjid AND e.deptype = 'e' \
            WHERE o.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND o.objid = c.oid AND o.deptype = 'i' \
            AND o.refclassid = o.classid)) \
    UNION ALL SELECT 1255, p.oid::bigint, 'function', quote_ident(n.nspname) || '.' || quote_ident(p.proname), false \
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
    WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' \
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass \
            AND d.objid = p.oid AND d.deptype IN ('e', 'i'))";

/// User mappings whose options the account may not see: `pg_dump` writes them without. The rule is that of the view
/// `pg_user_mappings`.
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

/// What was made in schemas whose names are reserved for the system: `pg_dump` takes it for the system's.
const RESERVED: &str = "SELECT 'the rows of ' || quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS what \
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.oid >= 16384 AND c.relkind IN ('r', 'p', 'm', 'f') AND c.relpersistence <> 't' \
        AND (n.nspname ~ '^pg_' AND n.nspname !~ '^pg_(toast|temp)' OR n.nspname = 'information_schema') \
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass \
            AND d.objid = c.oid AND d.deptype = 'e') ORDER BY 1";

impl Inventory {
    /// Asks in the session's transaction, and so by its snapshot.
    pub(super) fn ask(session: &mut Psql, server: &Server) -> Result<Self> {
        #[derive(Deserialize)]
        struct Count {
            count: u64,
        }
        let objects = session.query(OBJECTS)?;
        let large: Count =
            session.query_one("SELECT count(*) AS count FROM pg_catalog.pg_largeobject_metadata")?;
        #[derive(Deserialize)]
        struct Left {
            what: String,
            why: String,
        }
        let mut parts = vec![
            (HIDDEN_MAPPINGS, "which this account may not read (a superuser or the owner of the server may)"),
            (HIDDEN_SUBSCRIPTIONS, "which only a superuser may read"),
            (RESERVED, "whose schema pg_dump takes for a part of the system: move it to another schema"),
        ];
        if server.standby {
            parts.push((UNLOGGED, "which a standby does not have: back the primary up for them"));
        }
        let query =
            |(query, why): (&str, &str)| format!("(SELECT what, '{why}' AS why FROM ({query}) found)");
        let all: Vec<String> = parts.into_iter().map(query).collect();
        let found: Vec<Left> = session.query(&all.join(" UNION ALL "))?;
        let left_out =
            found.into_iter().map(|left| format!("not in the dump: {}, {}", left.what, left.why)).collect();
        Ok(Self { objects, large_objects: large.count, left_out })
    }

    /// Fails unless the dump is an archive, whole, and holds everything. A good archive of an unknown version passes: of
    /// that, nothing can be said.
    pub(super) fn require_whole(&self, summary: &ArchiveSummary, said: &str) -> Result<()> {
        const AGAIN: &str = "run the backup again; if it happens again, look at the server's log";
        if summary.ends_early {
            return Err(Error::failed("pg_dump exited successfully, but its archive has no end")
                .because_text(said)
                .hint(AGAIN));
        }
        match (summary.doubt, &summary.undigested) {
            (Some(Doubt::Unknown), _) => return Ok(()),
            (Some(Doubt::Damaged), reason) => {
                return Err(Error::failed("pg_dump exited successfully, but what it wrote is damaged or no archive")
                    .because_text(reason.clone().unwrap_or_default())
                    .because_text(said)
                    .hint("see that `pg_dump` is PostgreSQL's own and not a script that writes something else; run the backup again"));
            }
            (None, _) => {}
        }
        if summary.trailing > 0 {
            return Err(Error::failed(format!(
                "pg_dump exited successfully, but its archive has {} bytes behind its end",
                summary.trailing
            ))
            .because_text(said)
            .hint(AGAIN));
        }
        let there: HashSet<(u32, u32)> =
            summary.toc.iter().map(|entry| (entry.table_oid, entry.oid)).collect();
        let data: HashSet<u32> =
            summary.toc.iter().filter(|entry| entry.desc == "TABLE DATA").map(|entry| entry.oid).collect();
        let missing = |object: &&Listed| {
            !there.contains(&(object.catalog, object.oid)) || (object.data && !data.contains(&object.oid))
        };
        let mut missing: Vec<String> = self
            .objects
            .iter()
            .filter(missing)
            .map(|object| format!("{} {}", object.what, object.name))
            .collect();
        if summary.large_objects.count < self.large_objects {
            missing.push(format!(
                "{} of {} large objects",
                self.large_objects - summary.large_objects.count,
                self.large_objects
            ));
        }
        if missing.is_empty() {
            return Ok(());
        }
        let more = missing.len().saturating_sub(NAMED);
        missing.truncate(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        Err(Error::failed(format!(
            "pg_dump exited successfully, but the dump lacks what the server has: {}{more}",
            missing.join(", ")
        ))
        .because_text(said)
        .hint("the account may lack a privilege on them; run the backup again as a superuser to compare"))
    }
}
