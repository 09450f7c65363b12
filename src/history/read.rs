//! What the ledger is drawn from, read in one go: a row for each item, whatever the length of the history.

use std::collections::HashMap;

use rusqlite::Transaction;

use super::{
    ledger::Running,
    omitted::{self, Lacking},
    pack::unpack,
    unsigned, zoned,
};

/// What is known of an item, as stored.
pub(super) struct Row {
    pub(super) id: i64,
    pub(super) source: String,
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) first_seen: i64,
    pub(super) seen: bool,
    pub(super) excluded: Option<String>,
    pub(super) gone_since: Option<i64>,
    pub(super) last_time: Option<i64>,
    pub(super) failed_since: Option<i64>,
    pub(super) error: Option<String>,
    pub(super) good_millis: Option<i64>,
    pub(super) rows: Option<i64>,
    pub(super) bytes: Option<i64>,
    pub(super) notes: Option<String>,
    pub(super) trend: Vec<[i64; 3]>,
    pub(super) proof_time: Option<i64>,
    pub(super) unproven_since: Option<i64>,
    pub(super) unproven_text: Option<String>,
    pub(super) unprovable_text: Option<String>,
    pub(super) restore_millis: Option<i64>,
    pub(super) unchecked: Option<String>,
}

/// Snapshots of an item.
pub(super) struct Stored {
    pub(super) count: u64,
    pub(super) newest: i64,
    pub(super) id: [u8; 32],
    pub(super) bytes: i64,
}

/// An anomaly that nobody has accepted.
pub(super) struct Doubt {
    pub(super) text: String,
    pub(super) time: i64,
    pub(super) gone: bool,
}

/// All that is read from the history at once.
pub(super) struct Read {
    pub(super) rows: Vec<Row>,
    pub(super) stored: HashMap<i64, Stored>,
    pub(super) doubts: HashMap<i64, Vec<Doubt>>,
    pub(super) omitted: HashMap<i64, Lacking>,
    pub(super) sources: HashMap<String, Asked>,
    pub(super) running: Vec<Running>,
    /// Items that a run is reading now, or will: they are not yet missing.
    pub(super) busy_sources: Vec<String>,
    pub(super) usual: HashMap<i64, Vec<i64>>,
}

/// The last answer of a source.
pub(super) struct Asked {
    pub(super) time: i64,
    pub(super) items: u64,
    pub(super) excluded: u64,
}

/// Reads all of it.
pub(super) fn read(tx: &Transaction<'_>, guess: bool) -> rusqlite::Result<Read> {
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
                first_seen: row.get(4)?,
                seen: row.get(5)?,
                excluded: row.get(6)?,
                gone_since: row.get(7)?,
                failed_since: row.get(8)?,
                error: row.get(9)?,
                good_millis: row.get(10)?,
                rows: row.get(11)?,
                bytes: row.get(12)?,
                notes: row.get(13)?,
                trend: unpack(row.get_ref(14)?.as_blob_or_null()?.unwrap_or_default()),
                proof_time: row.get(15)?,
                last_time: row.get(16)?,
                unproven_since: row.get(17)?,
                unproven_text: row.get(18)?,
                unprovable_text: row.get(19)?,
                restore_millis: row.get(20)?,
                unchecked: row.get(21)?,
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    let (running, busy_sources) = read_running(tx)?;
    let usual = if guess { read_times(tx)? } else { HashMap::new() };
    Ok(Read {
        rows,
        stored: read_stored(tx)?,
        doubts: read_doubts(tx)?,
        omitted: omitted::read(tx)?,
        sources: read_sources(tx)?,
        running,
        busy_sources,
        usual,
    })
}

fn read_stored(tx: &Transaction<'_>) -> rusqlite::Result<HashMap<i64, Stored>> {
    // The other columns are those of the row with the largest time: https://sqlite.org/lang_select.html#bareagg
    let mut statement = tx.prepare(
        "SELECT item, count(*), max(time), id, bytes FROM snapshot WHERE item IS NOT NULL GROUP BY item",
    )?;
    let rows = statement.query_map([], |row| {
        let count = unsigned(row.get(1)?);
        Ok((row.get(0)?, Stored { count, newest: row.get(2)?, id: row.get(3)?, bytes: row.get(4)? }))
    })?;
    rows.collect()
}

/// Moments of all snapshots, ascending, for making out how often there is one.
fn read_times(tx: &Transaction<'_>) -> rusqlite::Result<HashMap<i64, Vec<i64>>> {
    let mut statement =
        tx.prepare("SELECT item, time FROM snapshot WHERE item IS NOT NULL ORDER BY item, time")?;
    let mut times: HashMap<i64, Vec<i64>> = HashMap::new();
    for row in statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))? {
        let (item, time) = row?;
        times.entry(item).or_default().push(time);
    }
    Ok(times)
}

fn read_doubts(tx: &Transaction<'_>) -> rusqlite::Result<HashMap<i64, Vec<Doubt>>> {
    let mut statement = tx.prepare(
        "SELECT item, text, time, kind = 'gone' FROM anomaly WHERE accepted IS NULL AND resolved IS NULL ORDER BY id",
    )?;
    let mut doubts: HashMap<i64, Vec<Doubt>> = HashMap::new();
    let rows = statement.query_map([], |row| {
        Ok((row.get(0)?, Doubt { text: row.get(1)?, time: row.get(2)?, gone: row.get(3)? }))
    })?;
    for row in rows {
        let (item, doubt) = row?;
        doubts.entry(item).or_default().push(doubt);
    }
    Ok(doubts)
}

fn read_sources(tx: &Transaction<'_>) -> rusqlite::Result<HashMap<String, Asked>> {
    let mut statement = tx.prepare(
        "SELECT source, max(time), items, excluded FROM discovery WHERE time IS NOT NULL GROUP BY source",
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
