//! Reading a database by several `pg_dump` at once, all with the same snapshot.
//!
//! The first one dumps everything except the rows of some large tables, which the others read. Together they must give what one
//! alone would give: the digest of a table depends on its rows, and on definitions that only the first one writes. So tables for
//! which these matter stay with the first one, and the tables of contents are checked afterwards.

use std::{
    collections::{BTreeSet, HashSet},
    panic::resume_unwind,
    thread,
};

use parking_lot::Mutex;
use serde::Deserialize;

use super::{
    DUMP,
    archive::{ArchiveSummary, TocEntry},
    detail::by_column,
    discover::Server,
    dump::Running,
    hints, inventory, moment,
    psql::{Psql, quote_ident},
    tap::ArchiveTap,
};
use crate::{
    error::{Error, Result},
    source::verify::sink::NullSink,
    stream::{cancel::Cancel, sink::Sink},
};

/// The first server version with the functions that are used here.
const FIRST: u32 = 12;
/// A further process is started for this many bytes of tables at least, …
const LEAST: u64 = 16 << 20;
/// … and for this many for each relation of the database, because every process reads the whole catalog.
const LEAST_BY_RELATION: u64 = 16 << 10;
/// The OID of the catalog of tables.
const CATALOG: u32 = 1259;

/// Whether several processes read a database.
#[derive(Debug, Clone, Copy)]
pub(super) struct Division {
    /// The number of processes.
    pub(super) processes: usize,
    /// Whether tables of any size are divided among them.
    pub(super) eager: bool,
}

impl Division {
    /// One process reads everything.
    pub(super) const NONE: Self = Self { processes: 1, eager: false };

    /// The tables for each further process, as the session's snapshot shows them. `utf8`: whether `pg_dump` expects names in
    /// UTF-8.
    pub(super) fn shares(self, session: &mut Psql, server: &Server, utf8: bool) -> Result<Vec<Share>> {
        if self.processes < 2 || server.major < FIRST {
            return Ok(Vec::new());
        }
        let mut tables: Vec<Table> = session.query(&candidates())?;
        let Some(Table { total, relations, .. }) = tables.first() else { return Ok(Vec::new()) };
        let (total, relations) = (*total, *relations);
        // A name that is not valid UTF-8 contains U+FFFD.
        tables.retain(|table| {
            let name = format!("{}{}", table.schema, table.name);
            name.is_ascii() || (utf8 && !name.contains(char::REPLACEMENT_CHARACTER))
        });
        let least = if self.eager { 0 } else { LEAST.max(relations.saturating_mul(LEAST_BY_RELATION)) };
        Ok(divide(tables, total, self.processes, least))
    }
}

/// The largest tables whose rows any process may read. Not so the tables that inherit, and partitions of roots whose partitions
/// have columns in different orders: their digests depend on definitions. `pg_dump` decides about tables of extensions by the
/// extension.
fn candidates() -> String {
    let tables = moment::TABLES;
    format!(
        "WITH sized(oid, schema, name, part, bytes) AS ( \
            SELECT c.oid, n.nspname, c.relname, c.relispartition, coalesce(pg_catalog.pg_table_size(c.oid), 0) \
            FROM {tables} AND c.relkind = 'r'), \
         parts(oid, root, columns) AS ( \
            SELECT s.oid, pg_catalog.pg_partition_root(s.oid), (SELECT array_agg(a.attname ORDER BY a.attnum) \
                FROM pg_catalog.pg_attribute a WHERE a.attrelid = s.oid AND a.attnum > 0 AND NOT a.attisdropped) \
            FROM sized s WHERE s.part), \
         uniform(root) AS (SELECT p.root FROM parts p GROUP BY p.root HAVING count(DISTINCT p.columns) = 1) \
         SELECT s.oid::bigint AS oid, s.schema, s.name, s.bytes, \
            (SELECT sum(t.bytes) FROM sized t)::bigint AS total, \
            (SELECT count(*) FROM pg_catalog.pg_class) AS relations \
         FROM sized s LEFT JOIN parts p ON p.oid = s.oid \
         WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.objid = s.oid AND d.deptype = 'e' \
                AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass) \
            AND CASE WHEN s.part THEN p.root IN (SELECT u.root FROM uniform u) \
                ELSE NOT EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhrelid = s.oid) END \
         ORDER BY s.bytes DESC, s.oid LIMIT 200"
    )
}

/// A table, with the size of all tables and the number of relations.
#[derive(Debug, Clone, Deserialize)]
struct Table {
    oid: u32,
    schema: String,
    name: String,
    bytes: u64,
    total: u64,
    relations: u64,
}

impl Table {
    /// The pattern that matches only this table: no character is special within quotes.
    fn pattern(&self) -> String {
        format!("{}.{}", quote_ident(&self.schema), quote_ident(&self.name))
    }
}

/// The tables that a further process reads.
#[derive(Debug)]
pub(super) struct Share {
    tables: Vec<Table>,
}

impl Share {
    /// The arguments of `pg_dump` by which it reads the rows of these tables only.
    pub(super) fn only_these(&self) -> impl Iterator<Item = String> {
        let tables = self.tables.iter().map(|table| format!("--table={}", table.pattern()));
        ["--data-only", "--strict-names"].map(str::to_owned).into_iter().chain(tables)
    }

    /// The arguments of `pg_dump` by which it reads everything else.
    pub(super) fn all_else(&self) -> impl Iterator<Item = String> {
        self.tables.iter().map(|table| format!("--exclude-table-data={}", table.pattern()))
    }
}

/// Gives each large table to the process with the fewest bytes; the tables are in the order of their sizes, the largest first. The
/// first process, which has all small tables, is not in the result.
fn divide(tables: Vec<Table>, total: u64, processes: usize, least: u64) -> Vec<Share> {
    let small = if least == 0 { 0 } else { total / (4 * processes as u64) };
    let large: Vec<Table> = tables.into_iter().filter(|table| table.bytes > small).collect();
    let mut bytes = vec![0; processes];
    bytes[0] = total.saturating_sub(large.iter().map(|table| table.bytes).sum());
    let mut shares: Vec<Vec<Table>> = vec![Vec::new(); processes];
    for table in large {
        let fewest = (0..processes).min_by_key(|process| bytes[*process]).unwrap_or_default();
        bytes[fewest] += table.bytes;
        shares[fewest].push(table);
    }
    let others = shares.into_iter().zip(bytes).skip(1);
    let worth = others.filter(|(tables, bytes)| !tables.is_empty() && *bytes >= least);
    worth.map(|(tables, _)| Share { tables }).collect()
}

/// What a further process read.
pub(super) type Part = (Share, ArchiveSummary);

/// Reads the output of all processes at once; `main` reads that of the first one. If one fails, `stop` ends the others.
pub(super) fn read<T>(
    others: Vec<(Share, Running)>,
    stop: &Cancel,
    main: impl FnOnce() -> Result<T>,
) -> Result<(T, Vec<Part>)> {
    let first = Mutex::new(None);
    let failed = |error: Error| {
        first.lock().get_or_insert(error);
        stop.cancel("another process that reads the same database has failed");
    };
    let failed = &failed;
    let span = &tracing::Span::current();
    let (done, parts) = thread::scope(|scope| {
        let start = |(share, output): (Share, Running)| {
            scope.spawn(move || {
                let _span = span.enter();
                let mut tap = ArchiveTap::new(output);
                let read = NullSink::default().store(DUMP, &mut tap).map_err(hints::explain);
                read.map_err(failed).ok().map(|_| (share, tap.finish().0))
            })
        };
        let threads: Vec<_> = others.into_iter().map(start).collect();
        let done = main().map_err(failed).ok();
        let parts =
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
        (done, parts.collect::<Option<Vec<Part>>>())
    });
    match (first.into_inner(), done, parts) {
        (None, Some(done), Some(parts)) => Ok((done, parts)),
        (error, ..) => Err(error.unwrap_or_else(|| unlike("a process gave no result"))),
    }
}

/// Adds what the further processes read to the summary of the first one.
///
/// # Errors
/// The result would not be that of a single process.
pub(super) fn merge(summary: &mut ArchiveSummary, parts: Vec<Part>) -> Result<()> {
    if parts.is_empty() {
        return Ok(());
    }
    // There is no single dump in which they could be found.
    summary.blocks.clear();
    let mut divided = HashSet::new();
    for (share, part) in parts {
        inventory::require_archive(&part)?;
        if part.undigested != summary.undigested || part.encoding != summary.encoding {
            return Err(unlike("the outputs differ in their form"));
        }
        let wanted: BTreeSet<u32> = share.tables.iter().map(|table| table.oid).collect();
        let is_data = |entry: &TocEntry| entry.desc == "TABLE DATA";
        let data: Vec<TocEntry> = part.toc.into_iter().filter(is_data).collect();
        let found: BTreeSet<u32> = data.iter().map(|entry| entry.oid).collect();
        if found != wanted || data.len() != wanted.len() || part.tables.len() != wanted.len() {
            return Err(unlike("a process did not read exactly its tables"));
        }
        if summary.toc.iter().any(|entry| is_data(entry) && wanted.contains(&entry.oid)) {
            return Err(unlike("two processes read the same table"));
        }
        summary.toc.extend(data);
        summary.tables.extend(part.tables);
        divided.extend(wanted);
    }
    require_plain(&summary.toc, &divided)
}

/// Fails if a single process would have digested one of these tables in another way: with its columns in the order of their names.
fn require_plain(toc: &[TocEntry], divided: &HashSet<u32>) -> Result<()> {
    let by_column: HashSet<_> = by_column(toc).into_iter().map(|table| (table.schema, table.name)).collect();
    let of_definitions = |entry: &TocEntry| match entry.desc.as_str() {
        "TABLE" => entry.table_oid == CATALOG && entry.defn.contains("\nINHERITS ("),
        "TABLE DATA" => {
            let name = (entry.namespace.clone().unwrap_or_default(), entry.tag.clone());
            by_column.contains(&name)
        }
        _ => false,
    };
    if toc.iter().any(|entry| divided.contains(&entry.oid) && of_definitions(entry)) {
        return Err(unlike("the digest of a table depends on definitions"));
    }
    Ok(())
}

/// The error if the result is not that of a single process.
fn unlike(why: &str) -> Error {
    Error::failed("the database could not be read by several processes").because_text(why)
}

#[cfg(test)]
#[path = "divide_tests.rs"]
mod tests;
