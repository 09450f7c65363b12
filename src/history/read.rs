//! Reads the data for a ledger in one transaction: a row for each item, however long the history is.

use std::collections::HashMap;

use rusqlite::Transaction;

use super::{
    ledger::Running,
    omitted::{self, Lacking},
    pack::unpack,
    shared::{self, Foreign},
    unsigned, zoned,
};
use crate::error::Problem;

/// An item as stored.
pub(super) struct Row {
    pub(super) id: i64,
    pub(super) source: String,
    pub(super) name: String,
    pub(super) kind: String,
    /// Unknown if a clock was wrong then.
    pub(super) first_seen: Option<i64>,
    pub(super) seen: bool,
    pub(super) excluded: Option<String>,
    pub(super) gone_since: Option<i64>,
    /// Whether a run has tried to back it up.
    pub(super) tried: bool,
    pub(super) last_time: Option<i64>,
    pub(super) failed_since: Option<i64>,
    pub(super) error: Option<Problem>,
    pub(super) good_millis: Option<i64>,
    pub(super) rows: Option<i64>,
    pub(super) bytes: Option<i64>,
    pub(super) notes: Option<String>,
    pub(super) trend: Vec<[i64; 3]>,
    pub(super) proof_time: Option<i64>,
    pub(super) unproven_since: Option<i64>,
    pub(super) unproven_text: Option<Problem>,
    pub(super) unprovable_text: Option<Problem>,
    pub(super) restore_millis: Option<i64>,
    pub(super) unchecked: Option<String>,
}

/// Snapshots of an item.
pub(super) struct Stored {
    /// Number of snapshots, including those dated in the future.
    pub(super) count: u64,
    /// Time of the newest one that is not dated in the future; if all are, of the newest.
    pub(super) newest: i64,
    pub(super) id: [u8; 32],
    pub(super) bytes: i64,
    pub(super) ahead: Option<Ahead>,
}

/// Snapshots of an item that are dated in the future.
pub(super) struct Ahead {
    pub(super) count: u64,
    /// The last of them.
    pub(super) time: i64,
    pub(super) id: [u8; 32],
}

impl Stored {
    /// Whether there is a snapshot with a credible date.
    pub(super) fn is_credible(&self) -> bool {
        self.ahead.as_ref().is_none_or(|ahead| ahead.count < self.count)
    }
}

/// An anomaly that is not accepted.
pub(super) struct Doubt {
    pub(super) text: String,
    pub(super) time: i64,
    pub(super) gone: bool,
    /// The object within the item; for a vanished item, the new name if another one has the same content.
    pub(super) object: String,
}

/// All data for a ledger.
pub(super) struct Read {
    pub(super) rows: Vec<Row>,
    pub(super) stored: HashMap<i64, Stored>,
    pub(super) doubts: HashMap<i64, Vec<Doubt>>,
    pub(super) omitted: HashMap<i64, Lacking>,
    pub(super) sources: HashMap<String, Asked>,
    pub(super) running: Vec<Running>,
    /// Items that a run is reading or will read: they are not missing yet.
    pub(super) busy_sources: Vec<String>,
    pub(super) usual: HashMap<i64, Vec<i64>>,
    /// Snapshots of other hosts.
    pub(super) foreign: Vec<Foreign>,
}

/// The last listing of a source.
pub(super) struct Asked {
    pub(super) time: i64,
    pub(super) items: u64,
    pub(super) excluded: u64,
}

/// Texts are stored with their hint in one column.
fn recorded(text: Option<String>) -> Option<Problem> {
    text.as_deref().map(Problem::recorded)
}

/// Reads the data as of `now`.
pub(super) fn read(tx: &Transaction<'_>, guess: bool, now: i64) -> rusqlite::Result<Read> {
    let until = shared::credible_until(now);
    let mut statement = tx.prepare(
        "SELECT id, source, name, kind, first_seen, last_seen IS NOT NULL, excluded, gone_since, failed_since, error, \
         good_millis, rows, bytes, notes, trend, proof_time, last_time, unproven_since, unproven_text, unprovable_text, \
         restore_millis, unchecked FROM item",
    )?;
    let rows = statement
        .query_map([], |row| {
            Ok(Row {
                id: row.get(0)?,
                source: row.get(1)?,
                name: row.get(2)?,
                kind: row.get(3)?,
                first_seen: shared::credible(row.get(4)?, now),
                seen: row.get(5)?,
                excluded: row.get(6)?,
                gone_since: row.get(7)?,
                failed_since: row.get(8)?,
                error: recorded(row.get(9)?),
                good_millis: row.get(10)?,
                rows: row.get(11)?,
                bytes: row.get(12)?,
                notes: row.get(13)?,
                trend: unpack(row.get_ref(14)?.as_blob_or_null()?.unwrap_or_default()),
                // A proof dated in the future would count as recent until then.
                proof_time: row.get::<_, Option<i64>>(15)?.and_then(|time| shared::credible(time, now)),
                tried: row.get::<_, Option<i64>>(16)?.is_some(),
                last_time: row.get::<_, Option<i64>>(16)?.and_then(|time| shared::credible(time, now)),
                unproven_since: row.get(17)?,
                unproven_text: recorded(row.get(18)?),
                unprovable_text: recorded(row.get(19)?),
                restore_millis: row.get(20)?,
                unchecked: row.get(21)?,
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    let (running, busy_sources) = read_running(tx)?;
    let usual = if guess { read_times(tx, until)? } else { HashMap::new() };
    Ok(Read {
        rows,
        stored: read_stored(tx, until)?,
        doubts: read_doubts(tx)?,
        omitted: omitted::read(tx)?,
        sources: read_sources(tx)?,
        running,
        busy_sources,
        usual,
        foreign: shared::read(tx, now)?,
    })
}

fn read_stored(tx: &Transaction<'_>, until: i64) -> rusqlite::Result<HashMap<i64, Stored>> {
    // The other columns are those of the row with the largest time: https://sqlite.org/lang_select.html#bareagg
    let mut statement = tx.prepare(
        "SELECT item, time > ?1 AS ahead, count(*), max(time), id, bytes FROM snapshot WHERE item IS NOT NULL \
         GROUP BY item, ahead ORDER BY ahead",
    )?;
    let mut stored: HashMap<i64, Stored> = HashMap::new();
    let mut rows = statement.query([until])?;
    while let Some(row) = rows.next()? {
        let (item, is_ahead, count) = (row.get(0)?, row.get::<_, bool>(1)?, unsigned(row.get(2)?));
        let (time, id, bytes) = (row.get(3)?, row.get(4)?, row.get(5)?);
        let ahead = is_ahead.then_some(Ahead { count, time, id });
        match stored.get_mut(&item) {
            // Rows with credible dates come first.
            Some(credible) => {
                credible.count += count;
                credible.ahead = ahead;
            }
            None => {
                stored.insert(item, Stored { count, newest: time, id, bytes, ahead });
            }
        }
    }
    Ok(stored)
}

/// Times of all snapshots that are not dated in the future, ascending, from which the usual interval is derived.
fn read_times(tx: &Transaction<'_>, until: i64) -> rusqlite::Result<HashMap<i64, Vec<i64>>> {
    let mut statement = tx.prepare(
        "SELECT item, time FROM snapshot WHERE item IS NOT NULL AND time <= ?1 ORDER BY item, time",
    )?;
    let mut times: HashMap<i64, Vec<i64>> = HashMap::new();
    for row in statement.query_map([until], |row| Ok((row.get(0)?, row.get(1)?)))? {
        let (item, time) = row?;
        times.entry(item).or_default().push(time);
    }
    Ok(times)
}

fn read_doubts(tx: &Transaction<'_>) -> rusqlite::Result<HashMap<i64, Vec<Doubt>>> {
    let mut statement = tx.prepare(
        "SELECT item, text, time, kind = 'gone', object FROM anomaly WHERE accepted IS NULL AND resolved IS NULL ORDER BY id",
    )?;
    let mut doubts: HashMap<i64, Vec<Doubt>> = HashMap::new();
    let rows = statement.query_map([], |row| {
        let (text, time, gone, object) = (row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?);
        Ok((row.get(0)?, Doubt { text, time, gone, object }))
    })?;
    for row in rows {
        let (item, doubt) = row?;
        doubts.entry(item).or_default().push(doubt);
    }
    Ok(doubts)
}

fn read_sources(tx: &Transaction<'_>) -> rusqlite::Result<HashMap<String, Asked>> {
    let mut statement = tx.prepare(
        // The last by id, because clocks may be wrong.
        "SELECT source, time, items, excluded, max(run) FROM discovery WHERE time IS NOT NULL GROUP BY source",
    )?;
    let rows = statement.query_map([], |row| {
        let asked =
            Asked { time: row.get(1)?, items: unsigned(row.get(2)?), excluded: unsigned(row.get(3)?) };
        Ok((row.get(0)?, asked))
    })?;
    rows.collect()
}

fn read_running(tx: &Transaction<'_>) -> rusqlite::Result<(Vec<Running>, Vec<String>)> {
    let mut statement =
        tx.prepare("SELECT id, name, started, kind FROM run WHERE ended IS NULL ORDER BY id")?;
    let runs: Vec<(i64, String, i64, String)> = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let (mut running, mut sources) = (Vec::new(), Vec::new());
    for (id, run, started, kind) in runs {
        let mut items = tx.prepare_cached(
            "SELECT source || '/' || name FROM attempt JOIN item ON item.id = attempt.item \
             WHERE run = ?1 AND outcome IS NULL UNION ALL \
             SELECT source || '/' || name FROM drill JOIN item ON item.id = drill.item \
             WHERE run = ?1 AND outcome = 4 ORDER BY 1",
        )?;
        let items = items.query_map([id], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        let mut asked = tx.prepare_cached("SELECT source FROM discovery WHERE run = ?1")?;
        for source in asked.query_map([id], |row| row.get(0))? {
            sources.push(source?);
        }
        running.push(Running { run, kind, started: zoned(started), items });
    }
    Ok((running, sources))
}
