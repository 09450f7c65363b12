//! Acceptance of suspicious changes by an operator.

use jiff::Zoned;
use rusqlite::{OptionalExtension, Transaction, params};
use serde::Serialize;

use super::{History, anomaly::Kind, millis, objects, omitted, rows::event, signed};
use crate::error::Result;

/// An accepted change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Accepted {
    /// Source name.
    pub source: String,
    /// Item name.
    pub item: String,
    /// Descriptions of the accepted anomalies and missing objects.
    pub changes: Vec<String>,
}

impl History {
    /// Accepts the anomalies of the items that `wanted` names: their current state becomes the baseline, and retention
    /// continues. Also accepts the objects that their backups lack now.
    pub fn accept(&self, wanted: &dyn Fn(&str, &str) -> bool, now: &Zoned) -> Result<Vec<Accepted>> {
        let now = millis(now);
        self.change(|tx| {
            let mut statement = tx.prepare(
                "SELECT DISTINCT item.id, item.source, item.name FROM anomaly JOIN item ON item.id = anomaly.item \
                 WHERE anomaly.accepted IS NULL AND anomaly.resolved IS NULL ORDER BY item.source, item.name",
            )?;
            let mut held: Vec<(i64, String, String)> = statement
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
                .collect::<rusqlite::Result<_>>()?;
            held.extend(omitted::open_items(tx)?);
            held.sort_by(|a, b| (&a.1, &a.2).cmp(&(&b.1, &b.2)));
            held.dedup();
            let mut accepted = Vec::new();
            for (id, source, item) in held.into_iter().filter(|(_, source, item)| wanted(source, item)) {
                let changes = accept_item(tx, id, &source, &item, now)?;
                accepted.push(Accepted { source, item, changes });
            }
            Ok(accepted)
        })
    }

    /// Stops expecting new snapshots of an item, on a host without sources. A new snapshot makes it expected again.
    pub fn retire(&self, source: &str, item: &str, now: &Zoned) -> Result<()> {
        let now = millis(now);
        self.change(|tx| {
            let id: i64 =
                tx.query_row("SELECT id FROM item WHERE source = ?1 AND name = ?2", [source, item], |row| {
                    row.get(0)
                })?;
            tx.execute("UPDATE item SET gone_since = ?2 WHERE id = ?1 AND gone_since IS NULL", [id, now])?;
            tx.execute(
                "UPDATE incident SET resolved = ?2 WHERE subject = ?1 AND resolved IS NULL",
                params![format!("{source}/{item}"), now],
            )?;
            event(tx, id, now, "accepted", Some("no longer expected"))
        })
    }

    /// Whether the source no longer has an item (`true`) or a rule excludes it (`false`); `None` if it is expected or
    /// was never seen.
    pub fn absence(&self, source: &str, item: &str) -> Result<Option<bool>> {
        self.read(|tx| {
            let found = tx
                .query_row(
                    "SELECT gone_since IS NOT NULL, excluded IS NOT NULL FROM item WHERE source = ?1 AND name = ?2",
                    [source, item],
                    |row| Ok((row.get::<_, bool>(0)?, row.get::<_, bool>(1)?)),
                )
                .optional()?;
            Ok(match found {
                Some((true, _)) => Some(true),
                Some((false, true)) => Some(false),
                _ => None,
            })
        })
    }

    /// For each item whose retention is held: the time of its first snapshot that is suspicious or that failed a drill.
    /// All older ones are kept.
    pub fn held_from(&self, source: &str, item: &str) -> Result<Option<i64>> {
        self.read(|tx| {
            let suspicious: Option<i64> = tx.query_row(
                "SELECT MIN(anomaly.time) FROM anomaly JOIN item ON item.id = anomaly.item \
                 WHERE item.source = ?1 AND item.name = ?2 AND anomaly.accepted IS NULL AND anomaly.resolved IS NULL",
                [source, item],
                |row| row.get(0),
            )?;
            let broken = Self::held_for_proof(tx, source, item)?;
            Ok(suspicious.into_iter().chain(broken).min())
        })
    }
}

fn accept_item(
    tx: &Transaction<'_>,
    id: i64,
    source: &str,
    item: &str,
    now: i64,
) -> rusqlite::Result<Vec<String>> {
    let mut changes = Vec::new();
    for open in objects::open_anomalies(tx, id)? {
        let text: String =
            tx.query_row("SELECT text FROM anomaly WHERE id = ?1", [open.id], |row| row.get(0))?;
        tx.execute("UPDATE anomaly SET accepted = ?2 WHERE id = ?1", [open.id, now])?;
        match open.kind {
            Kind::Rows => {
                let remaining = objects::accept(tx, id, &open.object, now)?;
                tx.execute("UPDATE anomaly SET remaining = ?2 WHERE id = ?1", [open.id, signed(remaining)])?;
            }
            Kind::Size => {
                // The backups made while it was in doubt become the baseline.
                tx.execute(
                    "UPDATE item SET size_base = (SELECT time FROM anomaly WHERE id = ?2) WHERE id = ?1",
                    [id, open.id],
                )?;
            }
            Kind::Still => {
                tx.execute(
                    "UPDATE item SET longest_still = MAX(longest_still, ?2 - changed) WHERE id = ?1",
                    [id, now],
                )?;
            }
            Kind::Object | Kind::Gone => {}
        }
        event(tx, id, now, "accepted", Some(&text))?;
        changes.push(text);
    }
    changes.extend(omitted::accept(tx, id, now)?);
    // No recovery is alerted: the operator already knows.
    let subject = format!("{source}/{item}");
    tx.execute(
        "UPDATE incident SET resolved = ?2 WHERE subject = ?1 AND kind IN ('anomaly', 'vanished', 'excluded', 'partial') AND resolved IS NULL",
        params![subject, now],
    )?;
    Ok(changes)
}
