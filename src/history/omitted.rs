//! Objects that the newest backup of an item lacks because they could not be read: since when, and whether an operator has
//! accepted this.

use std::collections::HashMap;

use rusqlite::{OptionalExtension, Transaction, params};

use super::{Content, History, record::event, unsigned};
use crate::{error::Result, source::manifest::Omitted};

/// So many objects of an item are named in the ledger.
const NAMED: u32 = 5;

/// What the newest backup of an item lacks.
#[derive(Debug, Default)]
pub(super) struct Lacking {
    /// How many objects.
    pub(super) count: u64,
    /// How many of them are not accepted.
    pub(super) open: u64,
    /// Since when there is one that is not accepted.
    pub(super) since: Option<i64>,
    /// The first few: of those that are not accepted, or of all if every one is accepted.
    pub(super) few: Vec<Omitted>,
}

/// Brings what is known of an item up to date after a backup. What was accepted stays accepted when the object was readable
/// in between.
pub(super) fn update(tx: &Transaction<'_>, item: i64, content: &Content) -> rusqlite::Result<()> {
    // Not known this time: nothing is taken back.
    let Some(omitted) = &content.omitted else { return Ok(()) };
    let mut add = tx.prepare_cached(
        "INSERT INTO omitted (item, kind, name, reason, since, seen) VALUES (?1, ?2, ?3, ?4, ?5, ?5) \
         ON CONFLICT DO UPDATE SET reason = ?4, since = MIN(COALESCE(since, ?5), ?5), seen = ?5",
    )?;
    for Omitted { kind, name, reason, .. } in omitted {
        add.execute(params![item, kind, name, reason, content.time])?;
    }
    tx.prepare_cached("DELETE FROM omitted WHERE item = ?1 AND seen <> ?2 AND accepted IS NULL")?
        .execute([item, content.time])?;
    tx.prepare_cached("UPDATE omitted SET since = NULL WHERE item = ?1 AND seen <> ?2")?
        .execute([item, content.time])?;
    Ok(())
}

/// What the newest backup of each item lacks, without those that lack nothing.
pub(super) fn read(tx: &Transaction<'_>) -> rusqlite::Result<HashMap<i64, Lacking>> {
    let mut statement = tx.prepare(
        "SELECT item, count(*), sum(accepted IS NULL), min(CASE WHEN accepted IS NULL THEN since END) FROM omitted \
         WHERE since IS NOT NULL GROUP BY item",
    )?;
    let rows = statement.query_map([], |row| {
        let lacking = Lacking {
            count: unsigned(row.get(1)?),
            open: unsigned(row.get(2)?),
            since: row.get(3)?,
            few: Vec::new(),
        };
        Ok((row.get::<_, i64>(0)?, lacking))
    })?;
    let mut all: HashMap<i64, Lacking> = rows.collect::<rusqlite::Result<_>>()?;
    for (item, lacking) in &mut all {
        lacking.few = few(tx, *item, lacking.open > 0)?;
    }
    Ok(all)
}

fn few(tx: &Transaction<'_>, item: i64, open: bool) -> rusqlite::Result<Vec<Omitted>> {
    let mut statement = tx.prepare_cached(
        "SELECT kind, name, reason FROM omitted WHERE item = ?1 AND since IS NOT NULL AND (accepted IS NULL) = ?2 \
         ORDER BY kind, name LIMIT ?3",
    )?;
    let rows = statement.query_map(params![item, open, NAMED], |row| {
        Ok(Omitted { kind: row.get(0)?, name: row.get(1)?, reason: row.get(2)?, definition: None })
    })?;
    rows.collect()
}

/// Accepts what the newest backup of an item lacks, exactly that. Returns it in words, if there is anything to accept.
pub(super) fn accept(tx: &Transaction<'_>, item: i64, now: i64) -> rusqlite::Result<Option<String>> {
    let open: i64 = tx.query_row(
        "SELECT count(*) FROM omitted WHERE item = ?1 AND since IS NOT NULL AND accepted IS NULL",
        [item],
        |row| row.get(0),
    )?;
    if open == 0 {
        return Ok(None);
    }
    let named = Omitted::listed(&few(tx, item, true)?, unsigned(open));
    tx.execute("DELETE FROM omitted WHERE item = ?1 AND since IS NULL", [item])?;
    tx.execute("UPDATE omitted SET accepted = ?2 WHERE item = ?1 AND accepted IS NULL", [item, now])?;
    let text = format!("its backups lack what cannot be read: {named}");
    event(tx, item, now, "accepted", Some(&text))?;
    Ok(Some(text))
}

/// Items that lack objects which are not accepted: their numbers, sources and names.
pub(super) fn open_items(tx: &Transaction<'_>) -> rusqlite::Result<Vec<(i64, String, String)>> {
    let mut statement = tx.prepare(
        "SELECT id, source, name FROM item WHERE id IN \
         (SELECT item FROM omitted WHERE since IS NOT NULL AND accepted IS NULL)",
    )?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    rows.collect()
}

impl History {
    /// Those of `omitted` that are not accepted for this item.
    pub fn not_accepted(&self, source: &str, item: &str, omitted: &[Omitted]) -> Result<Vec<Omitted>> {
        self.read(|tx| {
            let id: Option<i64> = tx
                .query_row("SELECT id FROM item WHERE source = ?1 AND name = ?2", [source, item], |row| {
                    row.get(0)
                })
                .optional()?;
            let Some(id) = id else { return Ok(omitted.to_vec()) };
            let mut accepted = tx.prepare_cached(
                "SELECT 1 FROM omitted WHERE item = ?1 AND kind = ?2 AND name = ?3 AND accepted IS NOT NULL",
            )?;
            let mut open = Vec::new();
            for object in omitted {
                if !accepted.exists(params![id, object.kind, object.name])? {
                    open.push(object.clone());
                }
            }
            Ok(open)
        })
    }

    /// The moments, in milliseconds since 1970, from which on backups of an item lack something that could not be read. Before
    /// each of them the newest snapshot stays, whatever the retention: it is the newest that holds what later ones lack.
    pub fn lacking_since(&self, source: &str, item: &str) -> Result<Vec<i64>> {
        self.read(|tx| {
            let mut statement = tx.prepare_cached(
                "SELECT DISTINCT since FROM omitted WHERE since IS NOT NULL AND item = \
                 (SELECT id FROM item WHERE source = ?1 AND name = ?2)",
            )?;
            let rows = statement.query_map([source, item], |row| row.get(0))?;
            rows.collect()
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "omitted_tests.rs"]
mod tests;
