//! The moment of a dump: an exported snapshot, and a check that the tables it shows can still be read.
//!
//! A snapshot protects rows, not the tables that contain them. TRUNCATE, DROP with CREATE and the forms of ALTER TABLE that write
//! a table anew are not MVCC-safe, and `pg_dump` reads tables and columns by their names: if a change of these commits after the
//! snapshot was taken and before `pg_dump` holds its locks, it finds another table, or an empty one. So once it has its locks,
//! files, names and columns of all tables as the snapshot shows them are compared with those of the present, and another
//! snapshot is taken if they differ.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use jiff::Zoned;
use serde::Deserialize;

use super::{code::SqlState, discover::Server, psql::Psql};
use crate::{
    error::{Error, Passing, Result},
    source::manifest::Consistency,
    stream::cancel::Cancel,
};

/// How long to wait for a safe serializable snapshot: at first, …
const FIRST_WAIT: Duration = Duration::from_secs(10 * 60);
/// … after a snapshot that could not be used, …
const NEXT_WAIT: Duration = Duration::from_secs(60);
/// … and while holding locks that other sessions wait for.
const LOCKED_WAIT: Duration = Duration::from_secs(5);
/// How long to wait for all locks together before the snapshot is taken.
const LOCK_WAIT: Duration = Duration::from_secs(20);
/// Time that an answer may take beyond the server's own limit.
const GRACE: Duration = Duration::from_secs(60);
/// At most this many tables are named.
const NAMED: usize = 5;
/// At most this many tables are locked by one statement.
const LOCKED_AT_ONCE: usize = 500;
/// A table was dropped, a lock was not available in time, a deadlock occurred, or the time limit was reached.
const LOCK_FAILED: [SqlState; 4] =
    [SqlState::UNDEFINED_TABLE, SqlState::LOCK_NOT_AVAILABLE, SqlState::DEADLOCK, SqlState::CANCELLED];

/// The relations that `pg_dump` reads: `c` is the relation and `n` its schema; a condition on the kind has to be added.
/// Tables of extensions are not dumped, except for those that the extension marks.
pub(super) const TABLES: &str = "pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' \
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass \
        AND d.objid = c.oid AND d.deptype = 'e' AND NOT EXISTS (SELECT FROM pg_catalog.pg_extension e \
            WHERE e.oid = d.refobjid AND c.oid = ANY (e.extconfig)))";

/// How a snapshot is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Without locks, waiting this long for a safe snapshot.
    Free(Duration),
    /// With all tables locked first, against a writer that keeps replacing them.
    Locked,
}

/// The first attempts. Locks help if getting a safe snapshot takes time.
const FIRST_TRIES: [Way; 5] =
    [Way::Free(FIRST_WAIT), Way::Free(NEXT_WAIT), Way::Free(NEXT_WAIT), Way::Locked, Way::Locked];
/// The number of further attempts, after pauses of varying length: a busy writer's lock requests are queued before those of
/// `pg_dump`, so only a moment without a writer helps.
const MORE_TRIES: usize = 20;
/// The longest of these pauses.
const PAUSE: Duration = Duration::from_millis(700);
/// How long `pg_dump` waits for its locks while other sessions wait for ours.
pub(super) const LOCKED_DUMP_WAIT: Duration = Duration::from_secs(5);

/// An exported snapshot, valid until the session's transaction ends.
pub(super) struct Moment {
    /// Its name.
    pub(super) snapshot: String,
    /// Are all tables locked by the session's transaction?
    pub(super) locked: bool,
    /// Its data is from this time or later.
    pub(super) started: Zoned,
    pub(super) consistency: Consistency,
    /// Notes for the operator.
    pub(super) notes: Vec<String>,
}

/// The result of an attempt.
pub(super) enum Used<T> {
    /// It succeeded.
    Whole(T),
    /// These tables were replaced before they were locked. Empty if the locks were not available.
    Replaced(Vec<String>),
}

/// Takes a snapshot and passes it to `attempt`, again with a new one while tables are replaced in between. The attempt may end
/// the session's transaction once the snapshot has been imported.
///
/// The session in a template is kept short, because no database can be created from the template meanwhile.
pub(super) fn with_moment<T>(
    session: &mut Psql,
    server: &Server,
    template: bool,
    cancel: &Cancel,
    mut attempt: impl FnMut(&mut Psql, &Moment) -> Result<Used<T>>,
) -> Result<(Moment, T)> {
    let mut replaced = Vec::new();
    let mut waited = None;
    let more = std::iter::repeat_n(Way::Free(LOCKED_WAIT), MORE_TRIES);
    for (number, way) in FIRST_TRIES.into_iter().chain(more).enumerate() {
        if number >= FIRST_TRIES.len() {
            // Uneven pauses, so as not to coincide with a periodic writer.
            let part = (number * 7 + 3) % 10 + 1;
            if cancel.wait(PAUSE * u32::try_from(part).unwrap_or(1) / 10) {
                cancel.check()?;
            }
        }
        let way = match way {
            Way::Free(wait) if template => Way::Free(wait.min(LOCKED_WAIT)),
            way => way,
        };
        let Some(moment) = take(session, server, way, &mut waited)? else { continue };
        match attempt(session, &moment)? {
            Used::Whole(used) => return Ok((moment, used)),
            Used::Replaced(tables) => {
                if !tables.is_empty() {
                    replaced = tables;
                }
                session.execute("ROLLBACK")?;
            }
        }
    }
    let what = if replaced.is_empty() {
        "its tables could not be locked in time".to_owned()
    } else {
        format!("tables were replaced each time before they could be locked: {}", replaced.join(", "))
    };
    Err(Error::failed(format!("no consistent snapshot of the database could be taken in {} attempts: {what}", FIRST_TRIES.len() + MORE_TRIES))
        .passes(Passing::Changed)
        .hint(
            "TRUNCATE, DROP and CREATE, or ALTER TABLE run there all the time: give the source a `schedule` at which they \
             do not, or exclude the database",
        ))
}

/// Takes a snapshot; `None` if locks were not available. `waited` is set if an earlier attempt waited in vain for a safe
/// snapshot: then it does not wait again.
fn take(
    session: &mut Psql,
    server: &Server,
    way: Way,
    waited: &mut Option<Duration>,
) -> Result<Option<Moment>> {
    let (started, locked) = (Zoned::now(), way == Way::Locked);
    if server.standby {
        let notes = vec!["a hot standby has no serializable snapshots: repeatable read was used".to_owned()];
        let snapshot = begin(session, "REPEATABLE READ READ ONLY", way, None)?;
        let consistency = Consistency::Snapshot;
        return Ok(snapshot.map(|snapshot| Moment { snapshot, locked, started, consistency, notes }));
    }
    if waited.is_none() {
        let wait = match way {
            Way::Free(wait) => wait,
            Way::Locked => LOCKED_WAIT,
        };
        match begin(session, "SERIALIZABLE READ ONLY DEFERRABLE", way, Some(wait)) {
            Ok(snapshot) => {
                let consistency = Consistency::Serializable;
                return Ok(snapshot.map(|snapshot| Moment {
                    snapshot,
                    locked,
                    started,
                    consistency,
                    notes: Vec::new(),
                }));
            }
            Err(error) if SqlState::of(&error) == Some(SqlState::CANCELLED) => {
                session.execute("ROLLBACK")?;
                *waited = Some(wait);
            }
            Err(error) => return Err(error),
        }
    }
    let notes = vec![format!(
        "other transactions prevented a serializable snapshot for {}: repeatable read was used",
        crate::output::duration(waited.unwrap_or_default().as_secs_f64())
    )];
    let started = Zoned::now();
    let snapshot = begin(session, "REPEATABLE READ READ ONLY", way, None)?;
    Ok(snapshot.map(|snapshot| Moment {
        snapshot,
        locked,
        started,
        consistency: Consistency::Snapshot,
        notes,
    }))
}

/// Begins a transaction, locks the tables if requested, and exports its snapshot. Neither BEGIN nor LOCK takes the snapshot:
/// the first query does. `None` if a lock was not available; the transaction has ended then.
fn begin(session: &mut Psql, isolation: &str, way: Way, wait: Option<Duration>) -> Result<Option<String>> {
    #[derive(Deserialize)]
    struct Exported {
        snapshot: String,
    }
    let tables = if way == Way::Locked { tables(session)? } else { Vec::new() };
    let limit = wait.map(|wait| format!("SET LOCAL statement_timeout = {}", wait.as_millis()));
    let begin = format!("BEGIN ISOLATION LEVEL {isolation}");
    match (&limit, way) {
        // Saves one round trip.
        (Some(limit), Way::Free(_)) => session.execute(&format!("{begin};\n{limit}"))?,
        _ => session.execute(&begin)?,
    }
    if way == Way::Locked {
        if !lock(session, &tables)? {
            session.execute("ROLLBACK")?;
            return Ok(None);
        }
        limit.map_or(Ok(()), |limit| session.execute(&limit))?;
    }
    let Some(wait) = wait else {
        let exported: Exported = session.query_one("SELECT pg_export_snapshot() AS snapshot")?;
        return Ok(Some(exported.snapshot));
    };
    let usual = session.set_timeout(wait + GRACE);
    let exported = session.query_one("SELECT pg_export_snapshot() AS snapshot");
    session.set_timeout(usual);
    let exported: Exported = exported?;
    session.execute("SET LOCAL statement_timeout = 0")?;
    Ok(Some(exported.snapshot))
}

/// The quoted names of all tables with rows to dump.
fn tables(session: &mut Psql) -> Result<Vec<String>> {
    let found: Vec<Table> =
        session.query(&format!("SELECT {NAME} AS name FROM {TABLES} AND c.relkind = 'r' ORDER BY c.oid"))?;
    Ok(found.into_iter().map(|table| table.name).collect())
}

/// Locks tables as `pg_dump` will. `false` if a table was dropped or a lock was not available in time.
fn lock(session: &mut Psql, tables: &[String]) -> Result<bool> {
    let end = Instant::now() + LOCK_WAIT;
    for some in tables.chunks(LOCKED_AT_ONCE) {
        let names: Vec<_> = some.iter().map(|name| format!("ONLY {name}")).collect();
        // `lock_timeout` would apply to each table separately, while other sessions wait for the tables already locked.
        let left = end.saturating_duration_since(Instant::now()).as_millis().max(1);
        session.execute(&format!("SET LOCAL statement_timeout = {left}"))?;
        match session.execute(&format!("LOCK TABLE {} IN ACCESS SHARE MODE", names.join(", "))) {
            Ok(()) => {}
            Err(error) if SqlState::is_any(&error, &LOCK_FAILED) => {
                return Ok(false);
            }
            Err(error) => return Err(error.context("the tables could not be locked before the dump")),
        }
    }
    session.execute("SET LOCAL statement_timeout = 0")?;
    Ok(true)
}

#[derive(Deserialize)]
struct Table {
    name: String,
}

const NAME: &str = "quote_ident(n.nspname) || '.' || quote_ident(c.relname)";

/// A table or sequence with the properties by which `pg_dump` finds it and its rows.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Seen {
    oid: u32,
    name: String,
    /// The file of its rows. A sequence has none to lose.
    file: Option<u32>,
    columns: Option<String>,
}

/// All tables and sequences with rows to dump: within a transaction as its snapshot shows them, outside of one at present.
pub(super) fn seen(session: &mut Psql) -> Result<Vec<Seen>> {
    session.query(&format!(
        "SELECT c.oid::bigint AS oid, {NAME} AS name, \
            CASE WHEN c.relkind = 'r' THEN c.relfilenode::bigint END AS file, \
            CASE WHEN c.relkind <> 'S' THEN (SELECT string_agg(a.attnum || ' ' || a.attname, ',' ORDER BY a.attnum) \
                FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) \
            END AS columns FROM {TABLES} AND c.relkind IN ('r', 'p', 'S')"
    ))
}

/// The names of the first few that have changed.
pub(super) fn replaced(before: &[Seen], now: &[Seen]) -> Vec<String> {
    let now: HashMap<u32, &Seen> = now.iter().map(|seen| (seen.oid, seen)).collect();
    let changed = before.iter().filter(|seen| now.get(&seen.oid) != Some(seen));
    changed.map(|seen| seen.name.clone()).take(NAMED).collect()
}
