//! What somebody sees who looks closely: one item with all that happened to it, and the runs. Field names are a promise to
//! programs.

use jiff::Zoned;
use rusqlite::{OptionalExtension, Transaction};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{History, entry::hex, pack::unpack, unsigned, zoned};
use crate::error::Result;

/// So many attempts, drills and events of an item are shown.
const ATTEMPTS: u32 = 400;
const DRILLS: u32 = 20;
const EVENTS: u32 = 50;
/// So many objects are shown, those with the most rows.
const OBJECTS: u32 = 500;

/// All that is remembered of an item.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct Past {
    /// Attempts to back it up, the newest first.
    pub attempts: Vec<Attempt>,
    /// Its snapshots, the newest first.
    pub snapshots: Vec<StoredSnapshot>,
    /// Its tables, collections and the like, those with the most rows first.
    pub objects: Vec<ObjectPast>,
    /// Its drills, the newest first.
    pub drills: Vec<DrillPast>,
    /// What happened to it, the newest first.
    pub events: Vec<Event>,
}

/// An attempt to back an item up.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Attempt {
    /// Source name.
    pub source: String,
    /// Item name; absent for the source itself.
    pub item: Option<String>,
    /// Name of the run.
    pub run: String,
    /// When it began.
    pub started: Zoned,
    /// How long it took, in seconds; absent while it goes on.
    pub seconds: Option<f64>,
    /// `running`, `ok`, `failed` or `interrupted`.
    pub outcome: String,
    /// Bytes read from the source.
    pub bytes_read: Option<u64>,
    /// Bytes added to the repository.
    pub bytes_added: Option<u64>,
    /// Bytes of the snapshot.
    pub bytes: Option<u64>,
    /// Rows, documents or files.
    pub rows: Option<u64>,
    /// The first digits of the snapshot's id.
    pub snapshot: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
}

/// A snapshot in the repository.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct StoredSnapshot {
    /// Its id.
    pub id: String,
    /// Its moment.
    pub time: Zoned,
    /// Bytes of its files.
    pub bytes: u64,
    /// Whether retention keeps it, as things stand.
    pub keep: bool,
    /// Why.
    pub reasons: Vec<String>,
}

/// A table, collection or the like.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ObjectPast {
    /// `table`, `collection`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// Schema or other name space.
    pub schema: Option<String>,
    /// Name.
    pub name: String,
    /// Rows or documents in the last good backup.
    pub rows: u64,
    /// When its content last changed, as far as backups tell.
    pub changed: Zoned,
    /// Since when it is gone.
    pub gone: Option<Zoned>,
    /// Its rows over time, oldest first.
    pub trend: Vec<RowsPoint>,
}

/// Rows at a moment.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RowsPoint {
    /// The moment.
    pub time: Zoned,
    /// The rows.
    pub rows: u64,
}

/// A drill of an item.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct DrillPast {
    /// When it began.
    pub time: Zoned,
    /// Moment of the snapshot.
    pub snapshot_time: Zoned,
    /// The first digits of the snapshot's id.
    pub snapshot: String,
    /// `proven`, `failed`, `unproven`, `interrupted` or `running`.
    pub outcome: String,
    /// How long it took, in seconds.
    pub seconds: Option<f64>,
    /// What it found, or why nothing could be proven.
    pub detail: Option<String>,
}

/// Something that happened to an item.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Event {
    /// When.
    pub time: Zoned,
    /// What.
    pub what: String,
    /// More of it.
    pub detail: Option<String>,
}

/// A run.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RunPast {
    /// Its name.
    pub run: String,
    /// `backup` or `drill`.
    pub kind: String,
    /// The host that made it.
    pub host: String,
    /// When it began.
    pub started: Zoned,
    /// When it ended; absent while it goes on.
    pub ended: Option<Zoned>,
    /// `ok`, `partial`, `failed` or `interrupted`; absent while it goes on.
    pub outcome: Option<String>,
    /// What ended it as a whole.
    pub error: Option<String>,
    /// Its sources.
    pub sources: Vec<String>,
    /// Items that succeeded, or were proven.
    pub succeeded: u64,
    /// Items that did not.
    pub failed: u64,
    /// Bytes read from the sources.
    pub bytes_read: u64,
    /// Bytes added to the repository.
    pub bytes_added: u64,
    /// How far it is, while it goes on and tells.
    pub progress: Option<Progress>,
}

/// How far a run is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Progress {
    /// When this was written down.
    pub at: Zoned,
    /// Items that it will try; absent before the sources have answered.
    pub items: Option<u64>,
    /// Items that are done.
    pub done: u64,
    /// Items among them that failed.
    pub failed: u64,
    /// Bytes read so far.
    pub bytes: u64,
    /// Bytes read in a second, lately.
    pub bytes_per_second: f64,
    /// Items being read.
    pub running: Vec<ItemProgress>,
}

/// How far an item is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ItemProgress {
    /// `source/item`.
    pub item: String,
    /// Bytes read so far.
    pub bytes: u64,
    /// Bytes it may have in the end.
    pub estimate: Option<u64>,
    /// Since when it is read.
    pub started: Zoned,
}

const ATTEMPT: &str = "SELECT run.name, run.started + attempt.began, took, attempt.outcome, bytes_read, bytes_added, \
     attempt.bytes, attempt.rows, attempt.snapshot, text.text, item.source, item.name FROM attempt \
     JOIN run ON run.id = attempt.run JOIN item ON item.id = attempt.item LEFT JOIN text ON text.id = attempt.error";

impl History {
    /// What is remembered of an item; `None` if it was never seen. Whether its snapshots are kept is left to the caller.
    ///
    /// # Errors
    /// The history cannot be read.
    pub fn past(&self, source: &str, item: &str) -> Result<Option<Past>> {
        self.read(|tx| {
            let id: Option<i64> = tx
                .query_row("SELECT id FROM item WHERE source = ?1 AND name = ?2", [source, item], |row| {
                    row.get(0)
                })
                .optional()?;
            id.map(|id| past(tx, id)).transpose()
        })
    }

    /// Runs, the newest first: at most `limit` that are older than the run `before`, if given.
    ///
    /// # Errors
    /// The history cannot be read.
    pub fn runs(&self, limit: u32, before: Option<&str>) -> Result<Vec<RunPast>> {
        let mut runs = self.read(|tx| {
            let mut statement = tx.prepare(&format!(
                "{RUN} WHERE run.id < COALESCE((SELECT id FROM run WHERE name = ?1), 9223372036854775807) \
                 ORDER BY run.id DESC LIMIT ?2"
            ))?;
            let rows =
                statement.query_map(rusqlite::params![before, limit], |row| Ok((row.get(0)?, run(row)?)))?;
            let rows: Vec<(i64, RunPast)> = rows.collect::<rusqlite::Result<_>>()?;
            rows.into_iter().map(|(id, run)| with_sources(tx, id, run)).collect::<rusqlite::Result<Vec<_>>>()
        })?;
        for run in runs.iter_mut().filter(|run| run.ended.is_none()) {
            run.progress = self.progress(&run.run);
        }
        Ok(runs)
    }

    /// A run and what it tried.
    ///
    /// # Errors
    /// The history cannot be read.
    pub fn run(&self, name: &str) -> Result<Option<(RunPast, Vec<Attempt>)>> {
        let found = self.read(|tx| {
            let row = tx
                .query_row(&format!("{RUN} WHERE run.name = ?1"), [name], |row| Ok((row.get(0)?, run(row)?)))
                .optional()?;
            let Some((id, found)) = row else { return Ok(None) };
            let found = with_sources(tx, id, found)?;
            let mut statement =
                tx.prepare(&format!("{ATTEMPT} WHERE run.id = ?1 ORDER BY attempt.outcome DESC, took DESC"))?;
            let attempts = statement.query_map([id], attempt)?.collect::<rusqlite::Result<_>>()?;
            Ok(Some((found, attempts)))
        })?;
        Ok(found.map(|(mut run, attempts)| {
            if run.ended.is_none() {
                run.progress = self.progress(&run.run);
            }
            (run, attempts)
        }))
    }

    /// Where a run that goes on writes how far it is; none for a history in memory.
    pub(crate) fn progress_file(&self, run: &str) -> Option<std::path::PathBuf> {
        self.state_dir.as_ref().map(|folder| folder.join(super::RUNNING).join(format!("{run}.json")))
    }

    /// How far a run is. One that does not tell, or is just beginning to, is no error.
    fn progress(&self, run: &str) -> Option<Progress> {
        let text = std::fs::read(self.progress_file(run)?).ok()?;
        serde_json::from_slice(&text).ok()
    }
}

const RUN: &str = "SELECT run.id, run.name, run.kind, run.host, run.started, run.ended, run.outcome, run.error, \
     (SELECT count(*) FROM attempt WHERE attempt.run = run.id AND outcome = 0) + \
     (SELECT count(*) FROM drill WHERE drill.run = run.id AND outcome = 0), \
     (SELECT count(*) FROM attempt WHERE attempt.run = run.id AND outcome > 0) + \
     (SELECT count(*) FROM drill WHERE drill.run = run.id AND outcome IN (1, 2, 3)), \
     (SELECT COALESCE(sum(bytes_read), 0) FROM attempt WHERE attempt.run = run.id), \
     (SELECT COALESCE(sum(bytes_added), 0) FROM attempt WHERE attempt.run = run.id) FROM run";

fn run(row: &rusqlite::Row<'_>) -> rusqlite::Result<RunPast> {
    Ok(RunPast {
        run: row.get(1)?,
        kind: row.get(2)?,
        host: row.get(3)?,
        started: zoned(row.get(4)?),
        ended: row.get::<_, Option<i64>>(5)?.map(zoned),
        outcome: row.get(6)?,
        error: row.get(7)?,
        sources: Vec::new(),
        succeeded: unsigned(row.get(8)?),
        failed: unsigned(row.get(9)?),
        bytes_read: unsigned(row.get(10)?),
        bytes_added: unsigned(row.get(11)?),
        progress: None,
    })
}

fn with_sources(tx: &Transaction<'_>, id: i64, run: RunPast) -> rusqlite::Result<RunPast> {
    let mut statement = tx.prepare_cached("SELECT source FROM discovery WHERE run = ?1 ORDER BY source")?;
    let sources = statement.query_map([id], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    Ok(RunPast { sources, ..run })
}

fn past(tx: &Transaction<'_>, item: i64) -> rusqlite::Result<Past> {
    let mut attempts = tx.prepare_cached(&format!(
        "{ATTEMPT} WHERE attempt.item = ?1 ORDER BY run.id DESC LIMIT {ATTEMPTS}"
    ))?;
    let attempts = attempts.query_map([item], attempt)?.collect::<rusqlite::Result<_>>()?;
    let mut snapshots =
        tx.prepare_cached("SELECT id, time, bytes FROM snapshot WHERE item = ?1 ORDER BY time DESC")?;
    let snapshots = snapshots
        .query_map([item], |row| {
            Ok(StoredSnapshot {
                id: hex(&row.get::<_, [u8; 32]>(0)?),
                time: zoned(row.get(1)?),
                bytes: unsigned(row.get(2)?),
                keep: true,
                reasons: Vec::new(),
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(Past {
        attempts,
        snapshots,
        objects: objects(tx, item)?,
        drills: drills(tx, item)?,
        events: events(tx, item)?,
    })
}

fn attempt(row: &rusqlite::Row<'_>) -> rusqlite::Result<Attempt> {
    let optional = |index: usize| row.get::<_, Option<i64>>(index).map(|value| value.map(unsigned));
    let name: String = row.get(11)?;
    Ok(Attempt {
        source: row.get(10)?,
        item: Some(name).filter(|name| !name.is_empty()),
        run: row.get(0)?,
        started: zoned(row.get(1)?),
        seconds: row.get::<_, Option<i64>>(2)?.map(|millis| millis as f64 / 1000.0),
        outcome: match row.get::<_, Option<i64>>(3)? {
            None => "running",
            Some(super::record::OK) => "ok",
            Some(super::record::INTERRUPTED) => "interrupted",
            Some(_) => "failed",
        }
        .to_owned(),
        bytes_read: optional(4)?,
        bytes_added: optional(5)?,
        bytes: optional(6)?,
        rows: optional(7)?,
        snapshot: row.get::<_, Option<i64>>(8)?.map(|id| format!("{:016x}", id.cast_unsigned())),
        error: row.get(9)?,
    })
}

fn objects(tx: &Transaction<'_>, item: i64) -> rusqlite::Result<Vec<ObjectPast>> {
    let mut statement = tx.prepare_cached(&format!(
        "SELECT kind, schema, name, rows, changed, gone, trend FROM object WHERE item = ?1 \
         ORDER BY gone IS NOT NULL, rows DESC, schema, name LIMIT {OBJECTS}"
    ))?;
    let rows = statement.query_map([item], |row| {
        let trend: Vec<[i64; 2]> = unpack(row.get_ref(6)?.as_blob()?);
        let schema: String = row.get(1)?;
        Ok(ObjectPast {
            kind: row.get(0)?,
            schema: Some(schema).filter(|schema| !schema.is_empty()),
            name: row.get(2)?,
            rows: unsigned(row.get(3)?),
            changed: zoned(row.get(4)?),
            gone: row.get::<_, Option<i64>>(5)?.map(zoned),
            trend: trend
                .iter()
                .map(|[seconds, rows]| RowsPoint {
                    time: zoned(seconds.saturating_mul(1000)),
                    rows: unsigned(*rows),
                })
                .collect(),
        })
    })?;
    rows.collect()
}

fn drills(tx: &Transaction<'_>, item: i64) -> rusqlite::Result<Vec<DrillPast>> {
    let mut statement = tx.prepare_cached(&format!(
        "SELECT time, snapshot_time, snapshot, outcome, took, detail FROM drill WHERE item = ?1 ORDER BY id DESC LIMIT {DRILLS}"
    ))?;
    let rows = statement.query_map([item], |row| {
        Ok(DrillPast {
            time: zoned(row.get(0)?),
            snapshot_time: zoned(row.get(1)?),
            snapshot: row.get_ref(2)?.as_blob()?.iter().map(|byte| format!("{byte:02x}")).collect(),
            outcome: match row.get(3)? {
                0 => "proven",
                1 => "failed",
                2 => "unproven",
                3 => "interrupted",
                _ => "running",
            }
            .to_owned(),
            seconds: row.get::<_, Option<i64>>(4)?.map(|millis| millis as f64 / 1000.0),
            detail: row.get(5)?,
        })
    })?;
    rows.collect()
}

fn events(tx: &Transaction<'_>, item: i64) -> rusqlite::Result<Vec<Event>> {
    let mut statement = tx.prepare_cached(&format!(
        "SELECT time, what, detail FROM event WHERE item = ?1 ORDER BY id DESC LIMIT {EVENTS}"
    ))?;
    let rows = statement.query_map([item], |row| {
        Ok(Event { time: zoned(row.get(0)?), what: row.get(1)?, detail: row.get(2)? })
    })?;
    rows.collect()
}
