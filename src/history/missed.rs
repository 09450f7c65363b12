//! Missing snapshots: they were in the repository and were not removed by this program. Another program has removed
//! them, or the repository was replaced by an older copy.

use jiff::Zoned;
use rusqlite::{OptionalExtension, Transaction, params};
use serde::{Deserialize, Serialize};

use super::{
    History, hex,
    ledger::{Problem, ProblemKind},
    millis, zoned,
};
use crate::{
    config::Config,
    error::Result,
    output::{count, name},
    repository::{AHEAD, id_bytes},
};

/// Key of the missing snapshots.
const KEY: &str = "snapshots_gone";
/// Prefix of the keys of snapshots that are about to be removed.
const EXPECTED: &str = "forgotten ";
/// How long missing snapshots are reported, in milliseconds: eight days.
const SAID: i64 = 8 * 24 * 3_600_000;
/// Items named in a text.
const NAMED: usize = 5;

/// Missing snapshots.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Missed {
    /// When last, in milliseconds since 1970.
    time: i64,
    count: u64,
    /// Items whose newest snapshot is missing, with its time.
    newest: Vec<(i64, i64)>,
}

impl Missed {
    fn load(tx: &Transaction<'_>) -> rusqlite::Result<Option<Self>> {
        let text = History::meta(tx, KEY)?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }
}

/// Records which missing snapshots were not removed by this program. Their rows must still exist.
pub(super) fn note_missed<'i>(
    tx: &Transaction<'_>,
    gone: impl Iterator<Item = &'i [u8; 32]>,
) -> rusqlite::Result<()> {
    let now = millis(&Zoned::now());
    let ahead = i64::try_from(AHEAD.as_millis()).unwrap_or(i64::MAX);
    let (mut number, mut newest) = (0, Vec::new());
    for id in gone {
        let found: Option<(i64, i64, bool)> = tx
            .prepare_cached(
                "SELECT item, time, time = (SELECT max(time) FROM snapshot AS other \
                 WHERE other.item = snapshot.item AND other.time <= ?2) \
                 FROM snapshot WHERE id = ?1 AND item IS NOT NULL",
            )?
            .query_row(params![id, now.saturating_add(ahead)], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get::<_, Option<bool>>(2)?.unwrap_or(false)))
            })
            .optional()?;
        let Some((item, time, is_newest)) = found else { continue };
        if History::meta(tx, &expected(&hex(id)))?.is_some() {
            continue;
        }
        number += 1;
        newest.extend(is_newest.then_some((item, time)));
    }
    if number == 0 {
        return Ok(());
    }
    let before = Missed::load(tx)?.unwrap_or_default();
    let recent = if now - before.time < SAID { before.count } else { 0 };
    newest.extend(
        before
            .newest
            .into_iter()
            .filter(|(item, _)| !newest.iter().any(|(new, _)| new == item))
            .collect::<Vec<_>>(),
    );
    let missed = Missed { time: now, count: recent + number, newest };
    History::set_meta(tx, KEY, &serde_json::to_string(&missed).unwrap_or_default())
}

/// Forgets the expectation for these snapshots, which are gone.
pub(super) fn expect_no_more(tx: &Transaction<'_>, gone: &[[u8; 32]]) -> rusqlite::Result<()> {
    for id in gone {
        tx.prepare_cached("DELETE FROM meta WHERE key = ?1")?.execute([expected(&hex(id))])?;
    }
    Ok(())
}

fn expected(id: &str) -> String {
    format!("{EXPECTED}{id}")
}

impl History {
    /// Records that this program is about to remove these snapshots, so that they are not reported as missing.
    ///
    /// # Errors
    /// The history cannot be written.
    pub fn will_forget<'i>(&self, ids: impl Iterator<Item = &'i str>) -> Result<()> {
        self.change(|tx| {
            for id in ids {
                // Snapshots that are not in the history cannot be missed.
                let known = match id_bytes(id) {
                    Some(bytes) => tx
                        .prepare_cached("SELECT 1 FROM snapshot WHERE id = ?1 AND item IS NOT NULL")?
                        .exists([bytes])?,
                    None => false,
                };
                if known {
                    Self::set_meta(tx, &expected(id), "")?;
                }
            }
            Ok(())
        })
    }

    /// The note about missing snapshots, for some days after they were noticed.
    ///
    /// # Errors
    /// The history cannot be read.
    pub fn gone_note(&self, now: &Zoned) -> Result<Option<String>> {
        let missed = self.read(Missed::load)?;
        let recent = missed.filter(|missed| millis(now) - missed.time < SAID);
        Ok(recent.map(|missed| {
            let snapshots = count(missed.count, "snapshot");
            let (was, are) = if missed.count == 1 { ("was", "is") } else { ("were", "are") };
            format!(
                "{snapshots} that {was} in the repository {are} gone, and this program did not remove {}: noticed {}; another program removed snapshots, or the repository was replaced by an older copy",
                if missed.count == 1 { "it" } else { "them" },
                zoned(missed.time).strftime("%Y-%m-%d %H:%M")
            )
        }))
    }

    /// The problem that the newest snapshots of items are missing, until there are newer ones.
    pub(super) fn snapshots_missed(&self, config: &Config) -> Result<Option<Problem>> {
        let Some((time, items)) = self.read(|tx| {
            let Some(missed) = Missed::load(tx)? else { return Ok(None) };
            let mut items = Vec::new();
            for (item, time) in missed.newest {
                let found: Option<(String, String)> = tx
                    .prepare_cached(
                        "SELECT source, name FROM item WHERE id = ?1 AND gone_since IS NULL AND excluded IS NULL \
                         AND NOT EXISTS (SELECT 1 FROM snapshot WHERE item = ?1 AND time >= ?2)",
                    )?
                    .query_row([item, time], |row| Ok((row.get(0)?, row.get(1)?)))
                    .optional()?;
                items.extend(found);
            }
            Ok(Some((missed.time, items)))
        })?
        else {
            return Ok(None);
        };
        let items: Vec<String> = items
            .into_iter()
            .filter(|(source, _)| config.source(source).is_some())
            .map(|(source, item)| name(&format!("{source}/{item}")))
            .collect();
        if items.is_empty() {
            return Ok(None);
        }
        let named = items.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
        let more = items.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let (the, are) =
            if items.len() == 1 { ("the newest snapshot", "is") } else { ("the newest snapshots", "are") };
        Ok(Some(Problem {
            kind: ProblemKind::SnapshotsGone,
            since: Some(zoned(time)),
            text: format!(
                "{the} of {named}{more} {are} gone from the repository, and this program did not remove {}",
                if items.len() == 1 { "it" } else { "them" }
            ),
            hint: Some(
                "check that the right storage is mounted and that it is not an older copy of the repository; the \
                 next backup of each item makes a new snapshot and resolves this problem"
                    .to_owned(),
            ),
            items: None,
            shared: None,
        }))
    }
}
