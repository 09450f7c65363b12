//! What the repository holds, remembered so that only new snapshots are read. Which exist is asked each time.

use rusqlite::{Transaction, params};

use super::{History, millis, record::item_id, signed};
use crate::{error::Result, repository::Repository};

/// Size of the repository, which takes long to count on some storages.
const BYTES: &str = "repository_bytes";

/// Writes down a snapshot.
pub(super) fn remember(
    tx: &Transaction<'_>,
    id: &[u8; 32],
    item: i64,
    time: i64,
    bytes: u64,
) -> rusqlite::Result<()> {
    tx.prepare_cached("INSERT OR REPLACE INTO snapshot (id, item, time, bytes) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![id, item, time, signed(bytes)])?;
    Ok(())
}

impl History {
    /// Brings what is remembered of the repository's snapshots up to date. Returns what is wrong with snapshots that
    /// cannot be read.
    pub fn refresh_snapshots(&self, repository: &Repository) -> Result<Vec<String>> {
        // Known first: what another run adds meanwhile must not be taken for gone.
        let known: std::collections::HashSet<[u8; 32]> = self.read(|tx| {
            let mut statement = tx.prepare("SELECT id FROM snapshot")?;
            let rows = statement.query_map([], |row| row.get(0))?;
            rows.collect()
        })?;
        let there = repository.snapshot_ids()?;
        let new: Vec<[u8; 32]> = there.iter().filter(|id| !known.contains(*id)).copied().collect();
        let there: std::collections::HashSet<[u8; 32]> = there.into_iter().collect();
        let gone: Vec<[u8; 32]> = known.into_iter().filter(|id| !there.contains(id)).collect();
        let (mut read, mut damaged) = (Vec::new(), Vec::new());
        for (id, snapshot) in new.iter().zip(repository.snapshots_by_id(&new)) {
            match snapshot {
                Ok(snapshot) => read.push((*id, snapshot)),
                Err(error) => damaged.push(error.to_string()),
            }
        }
        if !read.is_empty() || !gone.is_empty() {
            self.change(|tx| {
                for (id, snapshot) in &read {
                    match snapshot {
                        Some(snapshot) => {
                            let time = snapshot.time.timestamp().as_millisecond();
                            let item = item_id(tx, &snapshot.source, &snapshot.item, &snapshot.kind, time)?;
                            // A folder of this program's snapshots may be older than what is known of the item.
                            tx.prepare_cached(
                                "UPDATE item SET first_seen = MIN(first_seen, ?2) WHERE id = ?1",
                            )?
                            .execute([item, time])?;
                            remember(tx, id, item, time, snapshot.bytes)?;
                        }
                        None => {
                            // Of another program: known, and of no item.
                            tx.prepare_cached("INSERT OR REPLACE INTO snapshot (id) VALUES (?1)")?
                                .execute([id])?;
                        }
                    }
                }
                for id in &gone {
                    tx.prepare_cached("DELETE FROM snapshot WHERE id = ?1")?.execute([id])?;
                }
                Self::set_meta(tx, "snapshots_read", &millis(&jiff::Zoned::now()).to_string())
            })?;
        }
        Ok(damaged)
    }

    /// How many snapshots of this program the repository had when it was last looked at.
    pub fn snapshot_count(&self) -> Result<u64> {
        let count = self.read(|tx| {
            tx.query_row("SELECT count(*) FROM snapshot WHERE item IS NOT NULL", [], |row| row.get(0))
        })?;
        Ok(super::unsigned(count))
    }

    /// Bytes of the repository's packs when they were last counted.
    pub fn repository_bytes(&self) -> Result<Option<u64>> {
        let text = self.read(|tx| Self::meta(tx, BYTES))?;
        Ok(text.and_then(|text| text.parse().ok()))
    }

    /// Writes down how many bytes the repository's packs have.
    pub fn set_repository_bytes(&self, bytes: u64) -> Result<()> {
        self.change(|tx| Self::set_meta(tx, BYTES, &bytes.to_string()))
    }
}
