//! Records a good backup: judges it by the item's past and adds it to that past.

use std::collections::HashMap;

use rusqlite::{OptionalExtension, Transaction, params};

use super::{
    Content,
    anomaly::{Finding, Kind, Past, Verdict},
    content::Key,
    judge::judge,
    objects, omitted,
    pack::{pack, unpack},
    rows::add_anomaly,
    shared::credible,
    signed, unsigned,
};
use crate::{config::AnomalyRules, outcome::ItemReport};

/// Backups kept for the trend of an item.
const POINTS: usize = 12;

/// Bits of a digest of all content.
type Fingerprint = [u8; 16];

/// The item's own row before a backup is recorded.
struct Before {
    trend: Vec<[i64; 3]>,
    size_base: i64,
    fingerprint: Option<Fingerprint>,
    changed: Option<i64>,
    changes: i64,
    longest_still: i64,
}

impl Before {
    fn is_same(&self, fingerprint: Option<Fingerprint>) -> bool {
        fingerprint.is_some() && fingerprint == self.fingerprint
    }
}

fn before(tx: &Transaction<'_>, item: i64, now: i64) -> rusqlite::Result<Before> {
    tx.prepare_cached(
        "SELECT trend, size_base, fingerprint, changed, changes, longest_still FROM item WHERE id = ?1",
    )?
    .query_row([item], |row| {
        Ok(Before {
            trend: unpack(row.get_ref(0)?.as_blob_or_null()?.unwrap_or_default()),
            // A backup dated in the future would prevent later ones from being judged until then.
            size_base: credible(row.get(1)?, now).unwrap_or(0),
            fingerprint: row.get(2)?,
            changed: row.get::<_, Option<i64>>(3)?.and_then(|changed| credible(changed, now)),
            changes: row.get(4)?,
            longest_still: row.get(5)?,
        })
    })
}

/// Records a good backup, either a current one or one read from the repository.
pub(super) fn succeeded(
    tx: &Transaction<'_>,
    run: i64,
    item: i64,
    report: &ItemReport,
    content: &Content,
    rules: &AnomalyRules,
) -> rusqlite::Result<Vec<Finding>> {
    let before = before(tx, item, content.time)?;
    let stored = objects::load(tx, item)?;
    let content = &*objects::with_series(content, &stored);
    let fingerprint = content.fingerprint.map(|digest| digest.to_bits().to_be_bytes());
    let past = past(tx, item, &stored, &before, fingerprint)?;
    let verdict = judge(rules, &past, content, content.time);
    write_verdict(tx, run, item, content.time, &verdict)?;

    let rows_in_doubt = |name: &str| {
        let found = verdict.found.iter().any(|f| f.kind == Kind::Rows && f.object == name);
        let open = |o: &super::anomaly::Open| {
            o.kind == Kind::Rows && o.object == name && !verdict.resolved.contains(&o.id)
        };
        found || past.open.iter().any(open)
    };
    if content.is_counted() {
        objects::store(tx, item, &stored, content, &rows_in_doubt)?;
    }
    omitted::update(tx, item, content)?;
    update_item(tx, run, item, report, content, &before, fingerprint)?;
    if let Some(id) = report.snapshot.as_deref().and_then(crate::repository::id_bytes) {
        let host: Option<String> =
            tx.query_row("SELECT host FROM run WHERE id = ?1", [run], |row| row.get(0)).optional()?;
        super::snapshots::remember(tx, &id, item, content.time, content.bytes, host.as_deref())?;
    }
    Ok(verdict.found)
}

/// The past by which a backup is judged. `fingerprint` is that of its content.
fn past(
    tx: &Transaction<'_>,
    item: i64,
    stored: &HashMap<Key, objects::Stored>,
    before: &Before,
    fingerprint: Option<Fingerprint>,
) -> rusqlite::Result<Past> {
    let mut past = objects::past_of(tx, item, stored)?;
    past.same = before.is_same(fingerprint);
    let doubtful = doubtful_sizes(tx, item)?;
    let counts = |point: &&[i64; 3]| {
        point[0] * 1000 >= before.size_base
            && !doubtful.iter().any(|(from, to)| (*from..*to).contains(&point[0]))
    };
    past.sizes = before.trend.iter().filter(counts).map(|p| unsigned(p[1])).collect();
    past.changes = unsigned(before.changes);
    past.changed = before.changed;
    past.longest_still = before.longest_still;
    Ok(past)
}

/// Adds the backup to the item's past.
fn update_item(
    tx: &Transaction<'_>,
    run: i64,
    item: i64,
    report: &ItemReport,
    content: &Content,
    before: &Before,
    fingerprint: Option<Fingerprint>,
) -> rusqlite::Result<()> {
    let same = before.is_same(fingerprint);
    let took = (report.seconds * 1000.0) as i64;
    let mut trend = before.trend.clone();
    trend.push([content.time / 1000, signed(content.bytes), took]);
    trend.drain(..trend.len().saturating_sub(POINTS));
    let still = before.changed.filter(|_| !same).map_or(0, |changed| content.time - changed);
    tx.prepare_cached(
        "UPDATE item SET kind = ?2, last_run = ?3, last_time = ?4, failed_since = NULL, error = NULL, \
         good_run = ?3, good_time = ?4, good_millis = ?5, rows = ?6, bytes = ?7, notes = ?8, trend = ?9, \
         fingerprint = ?10, changed = ?11, changes = changes + ?12, longest_still = MAX(longest_still, ?13), \
         gone_since = NULL, unchecked = ?14 WHERE id = ?1",
    )?
    .execute(params![
        item,
        report.kind,
        run,
        content.time,
        took,
        content.rows.map(signed),
        signed(content.bytes),
        (!content.notes.is_empty()).then(|| serde_json::to_string(&content.notes).unwrap_or_default()),
        pack(&trend),
        fingerprint,
        before.changed.filter(|_| same).or_else(|| fingerprint.map(|_| content.time)),
        i64::from(!same && before.fingerprint.is_some()),
        still,
        content.unchecked,
    ])?;
    Ok(())
}

/// Periods, in seconds since 1970, in which the size was in doubt and not accepted: their backups are not a measure for
/// later ones.
fn doubtful_sizes(tx: &Transaction<'_>, item: i64) -> rusqlite::Result<Vec<(i64, i64)>> {
    let mut statement = tx.prepare_cached(
        "SELECT time / 1000, COALESCE(resolved / 1000, ?2) FROM anomaly \
         WHERE item = ?1 AND kind = 'size' AND accepted IS NULL",
    )?;
    let rows = statement.query_map([item, i64::MAX], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

fn write_verdict(
    tx: &Transaction<'_>,
    run: i64,
    item: i64,
    time: i64,
    verdict: &Verdict,
) -> rusqlite::Result<()> {
    for finding in &verdict.found {
        add_anomaly(tx, run, item, time, finding)?;
    }
    for id in &verdict.resolved {
        tx.execute("UPDATE anomaly SET resolved = ?2 WHERE id = ?1", params![id, time])?;
    }
    Ok(())
}
