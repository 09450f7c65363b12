//! Tables, collections and other objects of an item: their stored state, and its update.

use std::{borrow::Cow, collections::HashMap};

use rusqlite::{Transaction, params};

use super::{
    anomaly::{AcceptedLoss, Kind, Open, Past, PastObject},
    content::{Content, Counted, Key},
    groups,
    pack::{pack, unpack},
    signed, unsigned,
};
use crate::stream::digest::Digest128;

/// Row counts kept for a table.
const POINTS: usize = 30;

/// An object as stored.
pub(super) struct Stored {
    id: i64,
    rows: u64,
    digest: Digest128,
    gone: bool,
    part_of: Option<String>,
    /// Pairs of seconds since 1970 and rows.
    trend: Vec<[i64; 2]>,
}

impl Stored {
    /// Whether the last good backup had it.
    pub(super) fn is_there(&self) -> bool {
        !self.gone
    }
}

/// Adds an object for each series of tables or collections: of two or more now, or of one that was a series before.
pub(super) fn with_series<'c>(content: &'c Content, stored: &HashMap<Key, Stored>) -> Cow<'c, Content> {
    let mut all: HashMap<Key, (usize, Counted)> = HashMap::new();
    for object in content.objects.iter().filter(|object| object.part_of.is_none()) {
        let Some(key) = groups::series_of(&object.key) else { continue };
        let (members, whole) = all
            .entry(key.clone())
            .or_insert_with(|| (0, Counted { key, rows: 0, digest: Digest128::ZERO, part_of: None }));
        *members += 1;
        whole.rows += object.rows;
        whole.digest += object.digest;
    }
    let known = |key: &Key| stored.get(key).is_some_and(Stored::is_there);
    let mut series: Vec<Counted> = all
        .into_values()
        .filter(|(members, whole)| *members > 1 || known(&whole.key))
        .map(|(_, s)| s)
        .collect();
    if series.is_empty() {
        return Cow::Borrowed(content);
    }
    series.sort_by(|a, b| a.key.cmp(&b.key));
    let mut content = content.clone();
    content.objects.append(&mut series);
    Cow::Owned(content)
}

/// All objects ever seen of an item.
pub(super) fn load(tx: &Transaction<'_>, item: i64) -> rusqlite::Result<HashMap<Key, Stored>> {
    let mut statement = tx.prepare_cached(
        "SELECT id, kind, schema, name, rows, digest, gone, trend, part_of FROM object WHERE item = ?1",
    )?;
    let rows = statement.query_map([item], |row| {
        let key = Key { kind: row.get(1)?, schema: row.get(2)?, name: row.get(3)? };
        let digest: [u8; 16] = row.get(5)?;
        let stored = Stored {
            id: row.get(0)?,
            rows: unsigned(row.get(4)?),
            digest: Digest128::from_bits(u128::from_be_bytes(digest)),
            gone: row.get::<_, Option<i64>>(6)?.is_some(),
            trend: unpack(row.get_ref(7)?.as_blob()?),
            part_of: row.get(8)?,
        };
        Ok((key, stored))
    })?;
    rows.collect()
}

/// The data for [`super::anomaly::judge`].
fn past(stored: &HashMap<Key, Stored>, accepted: &[AcceptedLoss]) -> HashMap<Key, PastObject> {
    let mut since: HashMap<&str, i64> = HashMap::new();
    for accepted in accepted {
        let last = since.entry(&accepted.object).or_insert(accepted.time);
        *last = accepted.time.max(*last);
    }
    let of_all = since.get("").copied();
    stored
        .iter()
        .filter(|(_, object)| !object.gone)
        .map(|(key, object)| {
            // Accepting a loss adds the rows at that moment; later counts matter, even from a backup that began
            // earlier. A loss accepted for a group is accepted for its members and not reported again under their
            // names.
            let own = since.get(key.name().as_str()).copied();
            let groups = groups::accepted_with(key, object.part_of.as_deref());
            let of_groups = groups.filter_map(|name| since.get(name.as_str()).copied()).max();
            let since = own.max(of_groups).max(of_all).map_or(i64::MIN, |time| time / 1000);
            let first = object.trend.iter().position(|point| point[0] >= since);
            let first = first.unwrap_or(object.trend.len().saturating_sub(1));
            let counts = object.trend[first..].iter().map(|point| unsigned(point[1])).collect();
            (key.clone(), PastObject { counts, digest: object.digest, part_of: object.part_of.clone() })
        })
        .collect()
}

/// Updates the stored objects. The trend of an object with a suspicious loss of rows stays unchanged until the loss is
/// accepted.
pub(super) fn store(
    tx: &Transaction<'_>,
    item: i64,
    stored: &HashMap<Key, Stored>,
    content: &Content,
    suspicious: &dyn Fn(&str) -> bool,
) -> rusqlite::Result<()> {
    let mut seen = std::collections::HashSet::new();
    for object in &content.objects {
        seen.insert(&object.key);
        let before = stored.get(&object.key);
        let same =
            |b: &Stored| b.rows == object.rows && b.digest == object.digest && b.part_of == object.part_of;
        if before.is_some_and(|b| !b.gone && same(b)) {
            continue;
        }
        // An object that was gone and is back is a new one of the same name.
        let mut trend = before.filter(|b| !b.gone).map(|b| b.trend.clone()).unwrap_or_default();
        let same_rows = trend.last().is_some_and(|last| unsigned(last[1]) == object.rows);
        if !same_rows && !suspicious(&object.key.name()) {
            trend.push([content.time / 1000, signed(object.rows)]);
        }
        write(tx, item, before.map(|b| b.id), object, content.time, trend)?;
    }
    let mut gone = tx.prepare_cached("UPDATE object SET gone = ?2 WHERE id = ?1")?;
    // Unreadable objects are not gone.
    let is_gone = |key: &Key, object: &Stored| !object.gone && !seen.contains(key) && !content.omits(key);
    for (_, object) in stored.iter().filter(|(key, object)| is_gone(key, object)) {
        gone.execute(params![object.id, content.time])?;
    }
    Ok(())
}

fn write(
    tx: &Transaction<'_>,
    item: i64,
    id: Option<i64>,
    object: &Counted,
    time: i64,
    mut trend: Vec<[i64; 2]>,
) -> rusqlite::Result<()> {
    trend.drain(..trend.len().saturating_sub(POINTS));
    let digest = object.digest.to_bits().to_be_bytes();
    let (rows, trend) = (signed(object.rows), pack(&trend));
    match id {
        Some(id) => tx
            .prepare_cached(
                "UPDATE object SET rows = ?2, digest = ?3, changed = ?4, gone = NULL, trend = ?5, \
                 part_of = ?6 WHERE id = ?1",
            )?
            .execute(params![id, rows, digest, time, trend, object.part_of])?,
        None => {
            let Key { kind, schema, name } = &object.key;
            tx.prepare_cached(
                "INSERT INTO object (item, kind, schema, name, rows, digest, changed, trend, part_of) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?
            .execute(params![
                item,
                kind,
                schema,
                name,
                rows,
                digest,
                time,
                trend,
                object.part_of
            ])?
        }
    };
    Ok(())
}

/// Makes the current rows of an object, or of all if `shown` is empty, the new baseline. Returns the number of rows.
pub(super) fn accept(tx: &Transaction<'_>, item: i64, shown: &str, now: i64) -> rusqlite::Result<u64> {
    let mut remaining = 0_u64;
    for (key, object) in load(tx, item)? {
        if !shown.is_empty() && key.name() != shown {
            continue;
        }
        let mut trend = object.trend;
        trend.push([now / 1000, signed(object.rows)]);
        trend.drain(..trend.len().saturating_sub(POINTS));
        tx.execute("UPDATE object SET trend = ?2 WHERE id = ?1", params![object.id, pack(&trend)])?;
        if !object.gone {
            // A table and the object for it and its partitions have the same name.
            remaining = remaining.max(object.rows);
        }
    }
    Ok(remaining)
}

/// Open anomalies of an item.
pub(super) fn open_anomalies(tx: &Transaction<'_>, item: i64) -> rusqlite::Result<Vec<Open>> {
    let mut statement = tx.prepare_cached(
        "SELECT id, kind, object, before, after FROM anomaly \
         WHERE item = ?1 AND accepted IS NULL AND resolved IS NULL ORDER BY id",
    )?;
    let rows = statement.query_map([item], |row| {
        let kind: String = row.get(1)?;
        Ok(Kind::parse(&kind).map(|kind| {
            let (before, after) = (unsigned(row.get(3)?), unsigned(row.get(4)?));
            Ok(Open { id: row.get(0)?, kind, object: row.get(2)?, before, after })
        }))
    })?;
    // Unknown kinds, from a later version, are ignored.
    rows.filter_map(|row| row.transpose()).map(|row| row.and_then(|inner| inner)).collect()
}

/// Accepted losses of rows and of objects.
fn accepted(tx: &Transaction<'_>, item: i64) -> rusqlite::Result<Vec<AcceptedLoss>> {
    let mut statement = tx.prepare_cached(
        "SELECT kind, object, before, COALESCE(remaining, after), accepted FROM anomaly \
         WHERE item = ?1 AND kind IN ('rows', 'object') AND accepted IS NOT NULL ORDER BY id",
    )?;
    let rows = statement.query_map([item], |row| {
        let kind: String = row.get(0)?;
        Ok(AcceptedLoss {
            kind: if kind == Kind::Rows.as_str() { Kind::Rows } else { Kind::Object },
            object: row.get(1)?,
            before: unsigned(row.get(2)?),
            remaining: unsigned(row.get(3)?),
            time: row.get(4)?,
        })
    })?;
    rows.collect()
}

/// Whether a loss of this item was accepted since its last good backup.
fn just_accepted(tx: &Transaction<'_>, item: i64) -> rusqlite::Result<bool> {
    tx.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM anomaly JOIN item ON item.id = anomaly.item WHERE anomaly.item = ?1 \
         AND anomaly.kind <> 'still' AND anomaly.accepted >= item.good_time)",
    )?
    .query_row([item], |row| row.get(0))
}

/// The past of an item for judging a backup, apart from its own row.
pub(super) fn past_of(
    tx: &Transaction<'_>,
    item: i64,
    stored: &HashMap<Key, Stored>,
) -> rusqlite::Result<Past> {
    let accepted = accepted(tx, item)?;
    Ok(Past {
        objects: past(stored, &accepted),
        accepted,
        open: open_anomalies(tx, item)?,
        just_accepted: just_accepted(tx, item)?,
        ..Past::default()
    })
}

/// Whether two items are so similar that one may be the other renamed; returns what they share.
pub(super) fn likeness(one: &HashMap<Key, Stored>, other: &HashMap<Key, Stored>) -> Option<&'static str> {
    fn there(objects: &HashMap<Key, Stored>) -> HashMap<&Key, &Stored> {
        objects.iter().filter(|(_, object)| !object.gone).collect()
    }
    // The objects at the last backup count, which was before the item was gone.
    let (one, other) = (there(one), there(other));
    if one.is_empty() || one.len() != other.len() || !one.keys().all(|key| other.contains_key(key)) {
        return None;
    }
    let same = one.iter().all(|(key, object)| other.get(key).is_some_and(|o| o.digest == object.digest));
    Some(if same { "the same content" } else { "the same tables" })
}
