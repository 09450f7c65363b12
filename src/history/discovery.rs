//! Records the listing of a source: new, returned, vanished and excluded items.

use std::collections::{HashMap, HashSet};

use jiff::Zoned;
use rusqlite::{Transaction, params};

use super::{
    RunRecord,
    anomaly::{Finding, Kind},
    millis, objects,
    rows::{add_anomaly, event, item_id},
    signed,
};
use crate::{
    error::Result,
    output,
    source::{Discovery, Item},
};

/// An item of a source before the new listing.
struct Known {
    id: i64,
    name: String,
    excluded: Option<String>,
    gone: bool,
    backed_up: bool,
}

/// Items that have snapshots and are no longer backed up.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Vanished items.
    pub gone: Vec<String>,
    /// Newly excluded items, each with its rule.
    pub excluded: Vec<(String, String)>,
}

impl RunRecord<'_> {
    /// Records the items of a source. Returns those that are no longer backed up.
    pub fn discovered(&self, source: &str, kind: &str, found: &Discovery, now: &Zoned) -> Result<Dropped> {
        let now = millis(now);
        self.history().change(|tx| {
            tx.execute(
                "INSERT OR REPLACE INTO discovery (run, source, time, items, excluded) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![
                    self.id,
                    source,
                    now,
                    signed(found.items.len() as u64),
                    signed(found.excluded.len() as u64)
                ],
            )?;
            item_id(tx, source, "", kind, now)?;
            let known = known(tx, source)?;
            let by_name: HashMap<&str, &Known> = known.iter().map(|k| (k.name.as_str(), k)).collect();
            for item in &found.items {
                self.there(tx, source, kind, item, by_name.get(item.name.as_str()).copied(), now)?;
            }
            let mut dropped = Dropped::default();
            for excluded in &found.excluded {
                let before = by_name.get(excluded.name.as_str()).copied();
                if self.excluded(tx, source, kind, &excluded.name, &excluded.rule, before, now)? {
                    dropped.excluded.push((excluded.name.clone(), excluded.rule.clone()));
                }
            }
            let listed: HashSet<&str> = found.items.iter().map(|item| item.name.as_str())
                .chain(found.excluded.iter().map(|excluded| excluded.name.as_str())).collect();
            for item in known.iter().filter(|k| !k.gone && !listed.contains(k.name.as_str())) {
                if found.is_unknown(&item.name) {
                    continue;
                }
                write_gone(tx, self.id, source, item, now)?;
                if item.excluded.is_none() && item.backed_up {
                    dropped.gone.push(item.name.clone());
                }
            }
            Ok(dropped)
        })
    }

    fn there(
        &self,
        tx: &Transaction<'_>,
        source: &str,
        kind: &str,
        item: &Item,
        before: Option<&Known>,
        now: i64,
    ) -> rusqlite::Result<()> {
        let id = match before {
            Some(before) => before.id,
            None => {
                let id = item_id(tx, source, &item.name, kind, now)?;
                tx.execute("UPDATE item SET first_run = ?2 WHERE id = ?1", [id, self.id])?;
                event(tx, id, now, "appeared", None)?;
                id
            }
        };
        if before.is_some_and(|before| before.gone || before.excluded.is_some()) {
            tx.execute(
                "UPDATE anomaly SET resolved = ?2 WHERE item = ?1 AND kind = 'gone' AND accepted IS NULL \
                 AND resolved IS NULL",
                [id, now],
            )?;
        }
        tx.prepare_cached("UPDATE item SET first_seen = ?2 WHERE id = ?1 AND first_seen > ?2")?
            .execute([id, now])?;
        if before.is_some_and(|before| !before.backed_up && (before.gone || before.excluded.is_some())) {
            // Items that were excluded until now, or that were created again, count as new.
            tx.execute("UPDATE item SET first_seen = ?2 WHERE id = ?1 AND last_time IS NULL", [id, now])?;
        }
        if let Some(before) = before {
            if before.gone {
                event(tx, id, now, "returned", None)?;
            } else if before.excluded.is_some() {
                event(tx, id, now, "included", None)?;
            }
        }
        tx.prepare_cached(
            "UPDATE item SET last_seen = ?2, excluded = NULL, gone_since = NULL WHERE id = ?1",
        )?
        .execute([id, now])?;
        Ok(())
    }

    /// Records that a rule excludes an item. Returns whether it was backed up until now.
    #[allow(clippy::too_many_arguments)] // one caller, which has each of them separately
    fn excluded(
        &self,
        tx: &Transaction<'_>,
        source: &str,
        kind: &str,
        name: &str,
        rule: &str,
        before: Option<&Known>,
        now: i64,
    ) -> rusqlite::Result<bool> {
        let id = match before {
            Some(before) => before.id,
            None => item_id(tx, source, name, kind, now)?,
        };
        if before.and_then(|before| before.excluded.as_deref()) != Some(rule) {
            event(tx, id, now, "excluded", Some(rule))?;
        }
        // A rule may exclude more than intended, so this is reported.
        let is_dropped =
            before.is_some_and(|before| before.excluded.is_none() && !before.gone && before.backed_up);
        if is_dropped {
            let text =
                format!("{source} still has {}, which is no longer backed up: {rule}", output::name(name));
            let finding = Finding { kind: Kind::Gone, object: String::new(), before: 1, after: 0, text };
            add_anomaly(tx, self.id, id, now, &finding)?;
        }
        tx.prepare_cached(
            "UPDATE item SET last_seen = ?2, excluded = ?3, gone_since = NULL, failed_since = NULL, error = NULL \
             WHERE id = ?1",
        )?
        .execute(params![id, now, rule])?;
        Ok(is_dropped)
    }

    /// The expected items of a source: neither vanished nor excluded.
    pub fn known_items(&self, source: &str) -> Result<Vec<String>> {
        self.history().read(|tx| {
            let known = known(tx, source)?.into_iter();
            Ok(known
                .filter(|known| !known.gone && known.excluded.is_none())
                .map(|known| known.name)
                .collect())
        })
    }
}

/// Records that a source no longer has an item.
fn write_gone(tx: &Transaction<'_>, run: i64, source: &str, item: &Known, now: i64) -> rusqlite::Result<()> {
    event(tx, item.id, now, "vanished", None)?;
    tx.execute(
        "UPDATE item SET gone_since = ?2, failed_since = NULL, error = NULL WHERE id = ?1",
        [item.id, now],
    )?;
    // An item without snapshots is not reported: there is nothing to keep.
    if item.excluded.is_none() && item.backed_up {
        let text = format!(
            "{source} no longer has {}: dropped, renamed, or not visible to the account that is used",
            output::name(&item.name)
        );
        let finding = Finding { kind: Kind::Gone, object: String::new(), before: 1, after: 0, text };
        add_anomaly(tx, run, item.id, now, &finding)?;
    }
    Ok(())
}

/// Records that an item vanished after the run had found it.
pub(super) fn vanished(
    tx: &Transaction<'_>,
    run: i64,
    source: &str,
    id: i64,
    name: &str,
    now: i64,
) -> rusqlite::Result<()> {
    let item = known(tx, source)?.into_iter().find(|known| known.id == id && known.name == name);
    item.map_or(Ok(()), |item| write_gone(tx, run, source, &item, now))
}

fn known(tx: &Transaction<'_>, source: &str) -> rusqlite::Result<Vec<Known>> {
    let mut statement = tx.prepare(
        "SELECT id, name, excluded, gone_since IS NOT NULL, \
         good_time IS NOT NULL OR EXISTS (SELECT 1 FROM snapshot WHERE snapshot.item = item.id) \
         FROM item WHERE source = ?1 AND name <> ''",
    )?;
    let rows = statement.query_map([source], |row| {
        Ok(Known {
            id: row.get(0)?,
            name: row.get(1)?,
            excluded: row.get(2)?,
            gone: row.get(3)?,
            backed_up: row.get(4)?,
        })
    })?;
    rows.collect()
}

/// Looks for a new item with the same content in the same source, for each item that vanished in this run.
pub(super) fn guess_renames(tx: &Transaction<'_>, run: i64) -> rusqlite::Result<()> {
    let mut statement = tx.prepare(
        "SELECT anomaly.id, item.id, item.source, anomaly.text FROM anomaly JOIN item ON item.id = anomaly.item \
         WHERE anomaly.run = ?1 AND anomaly.kind = 'gone' AND anomaly.resolved IS NULL",
    )?;
    let gone: Vec<(i64, i64, String, String)> = statement
        .query_map([run], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (anomaly, item, source, text) in gone {
        let before = objects::load(tx, item)?;
        let mut fresh =
            tx.prepare("SELECT id, name FROM item WHERE source = ?1 AND first_run = ?2 AND good_run = ?2")?;
        let fresh: Vec<(i64, String)> = fresh
            .query_map(params![source, run], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        for (other, name) in fresh {
            let likeness = objects::likeness(&before, &objects::load(tx, other)?);
            if let Some(likeness) = likeness {
                let text = format!("{text}; {} is new and holds {likeness}", output::name(&name));
                tx.execute(
                    "UPDATE anomaly SET text = ?2, object = ?3 WHERE id = ?1",
                    params![anomaly, text, name],
                )?;
                break;
            }
        }
    }
    Ok(())
}
