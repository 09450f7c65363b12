//! Settings of a backup's own sessions, and settings of the server that a restore needs.

use serde::Deserialize;

use super::{ServerSetting, psql::Psql};
use crate::error::{Error, Result};

/// `PGOPTIONS` of sessions that read rows: the text of rows must not depend on settings of the server or the role.
pub(super) const OPTIONS: &str = "-c timezone=UTC -c bytea_output=hex -c lc_monetary=C";
/// `PGTZ` of these sessions: libpq sends the time zone as a separate parameter, which connection poolers pass on even if they
/// drop `PGOPTIONS`.
pub(super) const TIME_ZONE: &str = "UTC";

/// Names of the time zones with the offset `+00` all year.
const UTC: [&str; 12] = [
    "UTC",
    "Etc/UTC",
    "UCT",
    "Etc/UCT",
    "GMT",
    "Etc/GMT",
    "Universal",
    "Etc/Universal",
    "Zulu",
    "Etc/Zulu",
    "Greenwich",
    "Etc/Greenwich",
];

/// The settings in effect, and whether the database has columns that depend on them. 17 and 790 are the OIDs of `bytea` and
/// `money`; 16384 is the first OID of user objects.
const IN_EFFECT: &str = "WITH RECURSIVE shown(base, type) AS ( \
        SELECT oid, oid FROM pg_catalog.pg_type WHERE oid IN (17, 790) \
      UNION SELECT s.base, t.oid FROM shown s JOIN pg_catalog.pg_type t ON s.type IN (t.typbasetype, t.typelem)), \
      used AS (SELECT DISTINCT s.base FROM shown s JOIN pg_catalog.pg_attribute a ON a.atttypid = s.type \
        WHERE a.attrelid >= 16384 AND a.attnum > 0 AND NOT a.attisdropped) \
    SELECT pg_catalog.current_setting('TimeZone') AS timezone, \
        pg_catalog.current_setting('bytea_output') AS bytea_output, \
        pg_catalog.current_setting('lc_monetary') AS lc_monetary, \
        pg_catalog.current_setting('bytea_output') <> 'hex' \
            AND EXISTS (SELECT FROM used WHERE base = 17) AS has_bytea, \
        pg_catalog.current_setting('lc_monetary') NOT IN ('C', 'POSIX') \
            AND EXISTS (SELECT FROM used WHERE base = 790) AS has_money";

#[derive(Debug, Deserialize)]
struct InEffect {
    timezone: String,
    bytea_output: String,
    lc_monetary: String,
    has_bytea: bool,
    has_money: bool,
}

impl InEffect {
    /// Settings that would change the text of rows: name, value, and required value.
    fn wrong(&self) -> Vec<(&'static str, &str, &'static str)> {
        let mut wrong = Vec::new();
        if !UTC.iter().any(|name| name.eq_ignore_ascii_case(&self.timezone)) {
            wrong.push(("timezone", self.timezone.as_str(), "UTC"));
        }
        if self.has_bytea {
            wrong.push(("bytea_output", self.bytea_output.as_str(), "hex"));
        }
        if self.has_money {
            wrong.push(("lc_monetary", self.lc_monetary.as_str(), "C"));
        }
        wrong
    }
}

/// Properties that a dump depends on, in one query: with hundreds of small databases each query counts.
#[derive(Debug, Deserialize)]
pub(super) struct Basics {
    /// Are the required settings in effect?
    as_wanted: bool,
    /// Is it a template?
    pub(super) template: bool,
    /// Does it have partitioned tables?
    pub(super) partitioned: bool,
    /// Does it have foreign servers?
    pub(super) foreign_servers: bool,
    /// Does any database have subscriptions?
    pub(super) subscriptions: bool,
}

/// Queries them.
pub(super) fn basics(session: &mut Psql) -> Result<Basics> {
    let utc: Vec<_> = UTC.iter().map(|name| format!("'{name}'")).collect();
    session.query_one(&format!(
        "SELECT pg_catalog.current_setting('TimeZone') IN ({}) AND pg_catalog.current_setting('bytea_output') = 'hex' \
            AND pg_catalog.current_setting('lc_monetary') IN ('C', 'POSIX') AS as_wanted, datistemplate AS template, \
            EXISTS (SELECT FROM pg_catalog.pg_partitioned_table) AS partitioned, \
            EXISTS (SELECT FROM pg_catalog.pg_foreign_server) AS foreign_servers, \
            EXISTS (SELECT subdbid FROM pg_catalog.pg_subscription) AS subscriptions \
         FROM pg_catalog.pg_database WHERE datname = current_database()",
        utc.join(", ")
    ))
}

/// Fails unless the required settings took effect. The session must have been opened in the same way as `pg_dump`, with
/// [`OPTIONS`] and [`TIME_ZONE`], because `pg_dump` itself cannot be queried.
pub(super) fn require_settings(session: &mut Psql, basics: &Basics) -> Result<()> {
    if basics.as_wanted {
        return Ok(());
    }
    let in_effect: InEffect = session.query_one(IN_EFFECT)?;
    let wrong = in_effect.wrong();
    if wrong.is_empty() {
        return Ok(());
    }
    let is: Vec<_> = wrong.iter().map(|(name, is, _)| format!("{name} is {is}")).collect();
    let set: Vec<_> = wrong.iter().map(|(name, _, must)| format!("SET {name} = '{must}'")).collect();
    Err(Error::failed(format!(
        "the settings that rows are read with did not take effect ({}): digests of the rows could not be compared with \
         those of a restored database",
        is.join(", ")
    ))
    .hint(format!(
        "a connection pooler that drops PGOPTIONS is in between: give `host` and `port` of the server itself, or set them \
         for the backup role: ALTER ROLE … {}",
        set.join("; ALTER ROLE … ")
    )))
}

/// Parameters whose values are recorded: those that a server needs before a dump can be loaded, and none that could be secret.
const RECORDED: [&str; 6] = [
    "shared_preload_libraries",
    "session_preload_libraries",
    "local_preload_libraries",
    "max_locks_per_transaction",
    "cron.database_name",
    "timescaledb.license",
];

/// The settings of the server that the target of a restore needs: the values of a few, and the names of all parameters of
/// extensions with non-default values. Servers show preloaded libraries only to superusers and members of
/// `pg_read_all_settings`: for others they are absent.
pub(super) fn settings(session: &mut Psql) -> Result<Vec<ServerSetting>> {
    let recorded: Vec<_> = RECORDED.iter().map(|name| format!("'{name}'")).collect();
    let recorded = recorded.join(", ");
    session.query(&format!(
        "SELECT name, CASE WHEN name IN ({recorded}) THEN setting END AS value FROM pg_catalog.pg_settings \
         WHERE name IN ({recorded}) OR (strpos(name, '.') > 0 AND source <> 'default') ORDER BY name"
    ))
}

#[derive(Deserialize)]
struct Moves {
    moves: bool,
}

/// Whether rows may belong to other partitions on another server, so that `pg_dump` needs `--load-via-partition-root`: hash
/// partitions over types that are hashed by OID (enums, `reg…` types, and types that contain these), range partitions over
/// text in the order of the operating system or ICU, and partitions over text with nondeterministic collations. `major` is
/// the version of the server.
pub(super) fn rows_may_move(session: &mut Psql, major: u32) -> Result<bool> {
    if major < 12 {
        // Collations are all deterministic, and hash partitions over enums are dumped so by newer tools anyway.
        return Ok(false);
    }
    let multirange =
        if major >= 14 { "UNION ALL SELECT rngmultitypid, rngtypid FROM pg_catalog.pg_range" } else { "" };
    let provider = if major >= 15 { "datlocprovider = 'c'" } else { "true" };
    let (builtin, own) =
        if major >= 17 { ("OR datlocprovider = 'b'", "OR collprovider = 'b'") } else { ("", "") };
    // 100 is the collation `default`. Expression keys have no attribute: their type is that of the operator class.
    let found: Moves = session.query_one(&format!(
        "WITH RECURSIVE parts(type, part) AS ( \
            SELECT oid, typbasetype FROM pg_catalog.pg_type WHERE typbasetype <> 0 \
            UNION ALL SELECT oid, typelem FROM pg_catalog.pg_type WHERE typelem <> 0 \
            UNION ALL SELECT rngtypid, rngsubtype FROM pg_catalog.pg_range {multirange} \
            UNION ALL SELECT c.reltype, a.atttypid FROM pg_catalog.pg_class c \
                JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid \
                WHERE c.reltype <> 0 AND a.attnum > 0 AND NOT a.attisdropped AND c.oid >= 16384), \
         numbered(type) AS ( \
            SELECT oid FROM pg_catalog.pg_type WHERE typtype = 'e' OR typname LIKE 'reg%' AND typnamespace = 11 \
            UNION SELECT p.type FROM parts p JOIN numbered n ON p.part = n.type), \
         stable(coll) AS ( \
            SELECT oid FROM pg_catalog.pg_collation WHERE collname IN ('C', 'POSIX', 'ucs_basic') {own} \
            UNION SELECT 100 FROM pg_catalog.pg_database WHERE datname = current_database() \
                AND ({provider} AND datcollate IN ('C', 'POSIX', 'C.UTF-8', 'C.utf8') {builtin})), \
         keys AS ( \
            SELECT p.partstrat AS strategy, coalesce(a.atttypid, o.opcintype) AS type, k.coll, \
                   a.atttypid IS NULL AS expression \
            FROM pg_catalog.pg_partitioned_table p \
            CROSS JOIN LATERAL ROWS FROM (unnest(p.partattrs::pg_catalog.int2[]), unnest(p.partcollation::pg_catalog.oid[]), \
                unnest(p.partclass::pg_catalog.oid[])) AS k(attnum, coll, class) \
            LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = k.attnum AND k.attnum <> 0 \
            LEFT JOIN pg_catalog.pg_opclass o ON o.oid = k.class) \
         SELECT EXISTS (SELECT FROM keys WHERE \
            strategy = 'h' AND (type IN (SELECT type FROM numbered) OR expression AND type IN ( \
                SELECT oid FROM pg_catalog.pg_type WHERE typtype = 'p' OR typname IN ('oid', 'record'))) \
            OR strategy = 'r' AND coll <> 0 AND coll NOT IN (SELECT coll FROM stable) \
            OR coll IN (SELECT oid FROM pg_catalog.pg_collation WHERE NOT collisdeterministic)) AS moves"
    ))?;
    Ok(found.moves)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_settings_that_change_rows_of_this_database_matter() {
        let mut in_effect = InEffect {
            timezone: "etc/utc".to_owned(),
            bytea_output: "escape".to_owned(),
            lc_monetary: "en_US.UTF-8".to_owned(),
            has_bytea: false,
            has_money: false,
        };
        assert!(in_effect.wrong().is_empty());
        in_effect.has_bytea = true;
        in_effect.has_money = true;
        in_effect.timezone = "Asia/Kolkata".to_owned();
        let names: Vec<_> = in_effect.wrong().iter().map(|(name, ..)| *name).collect();
        assert_eq!(names, ["timezone", "bytea_output", "lc_monetary"]);
    }
}
