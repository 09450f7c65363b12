//! Results of drills.

use std::collections::HashMap;

use jiff::Zoned;
use rusqlite::{Transaction, params};

use super::{
    History, RunRecord, millis,
    rows::{event, item_id},
    shared::credible_until,
};
use crate::{
    error::Result,
    outcome::{Outcome, Verdict},
    repository::id_bytes,
};

/// Outcomes as stored, besides those of verdicts.
const INTERRUPTED: i64 = 3;
const RUNNING: i64 = 4;

fn stored(outcome: Outcome) -> i64 {
    match outcome {
        Outcome::Proven => 0,
        Outcome::Failed => 1,
        Outcome::Unproven => 2,
    }
}

/// Earlier drills of an item.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Past {
    /// Time of the newest proven snapshot, in milliseconds since 1970.
    pub proven: Option<i64>,
    /// When its last drill began, in milliseconds since 1970, regardless of the outcome.
    pub tried: Option<i64>,
    /// Duration of its drill, in milliseconds.
    pub took: Option<u64>,
    /// The part of its files that was read last.
    pub part: Option<u32>,
    /// Whether its last conclusive drill failed.
    pub unproven: bool,
}

impl History {
    /// Earlier drills of all items, by source and name.
    pub fn past_drills(&self) -> Result<HashMap<(String, String), Past>> {
        let credible = credible_until(millis(&Zoned::now()));
        self.read(|tx| {
            let mut statement = tx.prepare(
                "SELECT source, name, CASE WHEN proof_time <= ?1 THEN proof_time END, drill_millis, drill_part, \
                 (SELECT MAX(time) FROM drill WHERE drill.item = item.id AND time <= ?1), unproven_since IS NOT NULL FROM item WHERE name <> ''",
            )?;
            let rows = statement.query_map([credible], |row| {
                let past = Past {
                    proven: row.get(2)?,
                    took: row.get::<_, Option<i64>>(3)?.map(super::unsigned),
                    part: row.get(4)?,
                    tried: row.get(5)?,
                    unproven: row.get(6)?,
                };
                Ok(((row.get(0)?, row.get(1)?), past))
            })?;
            rows.collect()
        })
    }

    /// For an item whose newest snapshots failed a drill: the time of the first of them. All older ones are kept.
    pub(super) fn held_for_proof(
        tx: &Transaction<'_>,
        source: &str,
        item: &str,
    ) -> rusqlite::Result<Option<i64>> {
        use rusqlite::OptionalExtension;
        let row = tx
            .query_row(
                "SELECT unproven_time FROM item WHERE source = ?1 AND name = ?2 AND unproven_since IS NOT NULL",
                [source, item],
                |row| row.get(0),
            )
            .optional()?;
        Ok(row.flatten())
    }
}

impl RunRecord<'_> {
    /// Records the start of the drill of an item; returns the id of the entry.
    pub fn drill_started(&self, verdict: &Verdict, now: &Zoned) -> Result<i64> {
        let now = millis(now);
        self.history().change(|tx| {
            let item = item_id(tx, &verdict.source, &verdict.item, &verdict.kind, now)?;
            tx.execute(
                "INSERT INTO drill (run, item, snapshot, snapshot_time, time, outcome) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![self.id, item, short(&verdict.snapshot), millis(&verdict.time), now, RUNNING],
            )?;
            Ok(tx.last_insert_rowid())
        })
    }

    /// Records its result.
    pub fn drill_finished(
        &self,
        entry: i64,
        verdict: &Verdict,
        part: Option<u32>,
        now: &Zoned,
    ) -> Result<()> {
        let (now, time) = (millis(now), millis(&verdict.time));
        let took = thousandths(verdict.seconds);
        let detail = verdict.reason();
        self.history().change(|tx| {
            let item = item_id(tx, &verdict.source, &verdict.item, &verdict.kind, now)?;
            tx.execute(
                "UPDATE drill SET outcome = ?2, took = ?3, detail = ?4 WHERE id = ?1",
                params![entry, stored(verdict.outcome), took, detail],
            )?;
            let credible = credible_until(now);
            if time > credible {
                // A snapshot dated in the future is not counted as proven: otherwise the proof would be recent until
                // then.
                return Ok(());
            }
            match verdict.outcome {
                Outcome::Proven => proven(tx, item, verdict, part, credible)?,
                Outcome::Failed => {
                    // A failure of a snapshot older than the last proven one says nothing about the current state.
                    tx.execute(
                        "UPDATE item SET unproven_since = COALESCE(unproven_since, ?3), unproven_text = ?4, \
                         unproven_time = MIN(COALESCE(unproven_time, ?2), ?2) \
                         WHERE id = ?1 AND (proof_time IS NULL OR proof_time <= ?2 OR proof_time > ?5)",
                        params![item, time, now, detail, credible],
                    )?;
                    event(tx, item, now, "not proven", detail.as_deref())?;
                }
                Outcome::Unproven => {
                    tx.execute("UPDATE item SET unprovable_text = ?2 WHERE id = ?1", params![item, detail])?;
                }
            }
            Ok(())
        })
    }
}

/// Records a proof. Times after `credible` (in milliseconds since 1970) are ignored.
fn proven(
    tx: &Transaction<'_>,
    item: i64,
    verdict: &Verdict,
    part: Option<u32>,
    credible: i64,
) -> rusqlite::Result<()> {
    let time = millis(&verdict.time);
    let is_later = "proof_time > ?2 AND proof_time <= ?7";
    tx.execute(
        &format!(
            "UPDATE item SET proof_snapshot = CASE WHEN {is_later} THEN proof_snapshot ELSE ?3 END, \
             proof_time = CASE WHEN {is_later} THEN proof_time ELSE ?2 END, unprovable_text = NULL, drill_millis = ?4, \
             restore_millis = COALESCE(?5, restore_millis), drill_part = COALESCE(?6, drill_part) WHERE id = ?1"
        ),
        params![
            item,
            time,
            short(&verdict.snapshot),
            thousandths(verdict.seconds),
            verdict.restore_seconds.map(thousandths),
            part,
            credible
        ],
    )?;
    // Failures of this snapshot and earlier ones are resolved; those of later ones remain.
    tx.execute(
        "UPDATE item SET unproven_time = (SELECT MIN(snapshot_time) FROM drill \
         WHERE drill.item = ?1 AND outcome = 1 AND snapshot_time > ?2 AND snapshot_time <= ?3) \
         WHERE id = ?1 AND (unproven_time <= ?2 OR unproven_time > ?3)",
        [item, time, credible],
    )?;
    tx.execute(
        "UPDATE item SET unproven_since = NULL, unproven_text = NULL WHERE id = ?1 AND unproven_time IS NULL",
        [item],
    )?;
    Ok(())
}

/// Seconds as milliseconds.
fn thousandths(seconds: f64) -> i64 {
    (seconds * 1000.0) as i64
}

/// Marks the drills of an interrupted run.
pub(super) fn interrupt(tx: &Transaction<'_>, run: i64) -> rusqlite::Result<()> {
    tx.execute(
        "UPDATE drill SET outcome = ?2 WHERE run = ?1 AND outcome = ?3",
        params![run, INTERRUPTED, RUNNING],
    )?;
    Ok(())
}

/// The beginning of a snapshot's id.
fn short(id: &str) -> Vec<u8> {
    id_bytes(id).map(|bytes| bytes[..8].to_vec()).unwrap_or_default()
}
