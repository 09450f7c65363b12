//! Reads the details of items and runs, see [`super::pages`].

use std::collections::HashMap;

use rusqlite::{OptionalExtension, Transaction};

use super::{
    History, hex,
    pack::unpack,
    pages::{Attempt, DrillPast, Event, ObjectPast, Past, Progress, RowsPoint, RunPast, StoredSnapshot},
    unsigned, zoned,
};
use crate::error::Result;

/// Number of attempts, drills and events of an item that are returned.
const ATTEMPTS: u32 = 400;
const DRILLS: u32 = 20;
const EVENTS: u32 = 50;
/// Number of objects that are returned, those with the most rows.
const OBJECTS: u32 = 500;

/// Runs come first in the join: attempts are indexed by run and item, so each one is found without a scan.
const ATTEMPT: &str = "SELECT run.name, run.started + attempt.began, took, attempt.outcome, bytes_read, bytes_added, \
     attempt.bytes, attempt.rows, attempt.snapshot, text.text, item.source, item.name FROM run \
     CROSS JOIN attempt ON attempt.run = run.id JOIN item ON item.id = attempt.item LEFT JOIN text ON text.id = attempt.error";

impl History {
    /// The past of an item; `None` if it was never seen. The caller determines which snapshots retention keeps.
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

    /// Runs, newest first: at most `limit`, older than the run `before` if given.
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
            rows.into_iter().map(|(id, run)| completed(tx, id, run)).collect::<rusqlite::Result<Vec<_>>>()
        })?;
        for run in runs.iter_mut().filter(|run| run.ended.is_none()) {
            run.progress = self.progress(&run.run);
        }
        Ok(runs)
    }

    /// A run and its attempts.
    ///
    /// # Errors
    /// The history cannot be read.
    pub fn run(&self, name: &str) -> Result<Option<(RunPast, Vec<Attempt>)>> {
        let found = self.read(|tx| {
            let row = tx
                .query_row(&format!("{RUN} WHERE run.name = ?1"), [name], |row| Ok((row.get(0)?, run(row)?)))
                .optional()?;
            let Some((id, found)) = row else { return Ok(None) };
            let found = completed(tx, id, found)?;
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

    /// Bytes of the last good backup, by `source/item`.
    pub(crate) fn last_bytes(&self) -> Result<HashMap<String, u64>> {
        self.read(|tx| {
            let mut statement = tx.prepare(
                "SELECT source || '/' || name, bytes FROM item WHERE good_run IS NOT NULL AND bytes IS NOT NULL AND name <> ''",
            )?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, unsigned(row.get(1)?))))?;
            rows.collect()
        })
    }

    /// The progress file of a run; `None` for a history in memory.
    pub(crate) fn progress_file(&self, run: &str) -> Option<std::path::PathBuf> {
        self.state_dir().map(|folder| folder.join(super::RUNNING).join(format!("{run}.json")))
    }

    /// The progress of a run. A missing or incomplete file is not an error.
    fn progress(&self, run: &str) -> Option<Progress> {
        let text = std::fs::read(self.progress_file(run)?).ok()?;
        serde_json::from_slice(&text).ok()
    }
}

const RUN: &str = "SELECT id, name, kind, host, started, ended, outcome, error FROM run";

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
        succeeded: 0,
        failed: 0,
        bytes_read: 0,
        bytes_added: 0,
        progress: None,
    })
}

/// Adds data from other tables: the sources of a run and the outcomes of its items.
fn completed(tx: &Transaction<'_>, id: i64, run: RunPast) -> rusqlite::Result<RunPast> {
    let mut statement = tx.prepare_cached("SELECT source FROM discovery WHERE run = ?1 ORDER BY source")?;
    let sources = statement.query_map([id], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    let counts = if run.kind == "drill" {
        "SELECT COALESCE(sum(outcome = 0), 0), COALESCE(sum(outcome IN (1, 2, 3)), 0), 0, 0 FROM drill WHERE run = ?1"
    } else {
        "SELECT COALESCE(sum(outcome IN (0, 5)), 0), COALESCE(sum(outcome IN (1, 2, 3)), 0), COALESCE(sum(bytes_read), 0), \
         COALESCE(sum(bytes_added), 0) FROM attempt WHERE run = ?1"
    };
    let mut statement = tx.prepare_cached(counts)?;
    statement.query_row([id], |row| {
        let number = |index: usize| row.get(index).map(unsigned);
        Ok(RunPast {
            sources,
            succeeded: number(0)?,
            failed: number(1)?,
            bytes_read: number(2)?,
            bytes_added: number(3)?,
            ..run
        })
    })
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
            Some(super::record::UNCHECKED) => "unchecked",
            Some(super::record::PARTIAL) => "partial",
            Some(super::record::VANISHED) => "vanished",
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
