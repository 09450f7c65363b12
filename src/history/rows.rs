//! Rows that several tables of the history need: items, events, anomalies.

use rusqlite::{OptionalExtension, Transaction, params};

use super::{anomaly::Finding, signed};

/// The id of an item, which is created if it is new.
pub(super) fn item_id(
    tx: &Transaction<'_>,
    source: &str,
    name: &str,
    kind: &str,
    now: i64,
) -> rusqlite::Result<i64> {
    let found = tx
        .prepare_cached("SELECT id FROM item WHERE source = ?1 AND name = ?2")?
        .query_row([source, name], |row| row.get(0))
        .optional()?;
    if let Some(id) = found {
        return Ok(id);
    }
    tx.prepare_cached("INSERT INTO item (source, name, kind, first_seen) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![source, name, kind, now])?;
    Ok(tx.last_insert_rowid())
}

/// Records an anomaly.
pub(super) fn add_anomaly(
    tx: &Transaction<'_>,
    run: i64,
    item: i64,
    time: i64,
    finding: &Finding,
) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO anomaly (item, kind, object, before, after, text, run, time) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        item,
        finding.kind.as_str(),
        finding.object,
        signed(finding.before),
        signed(finding.after),
        finding.text,
        run,
        time,
    ])?;
    Ok(())
}

/// Records an event of an item.
pub(super) fn event(
    tx: &Transaction<'_>,
    item: i64,
    time: i64,
    what: &str,
    detail: Option<&str>,
) -> rusqlite::Result<()> {
    tx.prepare_cached("INSERT INTO event (time, item, what, detail) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![time, item, what, detail])?;
    Ok(())
}
