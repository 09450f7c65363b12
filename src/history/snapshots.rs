//! A cache of the snapshots in the repository: their ids are listed each time, and only new ones are read.

use std::collections::{HashMap, HashSet};

use rusqlite::{Transaction, params};

use super::{
    History, millis,
    missed::{expect_no_more, note_missed},
    rows::item_id,
    signed,
};
use crate::{
    error::Result,
    repository::{Hosts, Repository, Snapshot},
};

/// Size of the repository, which takes long to count on some storages.
const BYTES: &str = "repository_bytes";

/// Records a snapshot of an item.
pub(super) fn remember(
    tx: &Transaction<'_>,
    id: &[u8; 32],
    item: i64,
    time: i64,
    bytes: u64,
    host: Option<&str>,
) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT OR REPLACE INTO snapshot (id, item, time, bytes, host) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![id, item, time, signed(bytes), host])?;
    Ok(())
}

/// Records a snapshot that belongs to no item: of another host, or of another program (host '').
fn remember_foreign(
    tx: &Transaction<'_>,
    id: &[u8; 32],
    snapshot: Option<&Snapshot>,
) -> rusqlite::Result<()> {
    tx.prepare_cached("INSERT OR REPLACE INTO snapshot (id, time, host, source) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![
            id,
            snapshot.map(|snapshot| millis(&snapshot.time)),
            snapshot.map_or("", |snapshot| snapshot.host.as_str()),
            snapshot.map(|snapshot| snapshot.source.as_str())
        ])?;
    Ok(())
}

/// Which hosts' snapshots belong to items, and under which source name.
struct Naming<'r> {
    own: &'r str,
    hosts: Hosts,
    /// If several hosts are watched: the host that has the plain source name.
    first: HashMap<String, String>,
}

impl Naming<'_> {
    /// The name of the source in the history; `None` for snapshots that belong to no item. If two hosts have a source
    /// of the same name, the second becomes `SOURCE@HOST`, so that backups of one do not hide missing ones of the
    /// other.
    fn source(&mut self, snapshot: &Snapshot) -> Option<String> {
        if self.hosts == Hosts::Own {
            return (snapshot.host == self.own).then(|| snapshot.source.clone());
        }
        let first = self.first.entry(snapshot.source.clone()).or_insert_with(|| snapshot.host.clone());
        if *first == snapshot.host {
            return Some(snapshot.source.clone());
        }
        Some(format!("{}@{}", snapshot.source, snapshot.host))
    }
}

/// The known snapshots.
#[derive(Default)]
struct Known {
    /// Up to date: need not be read.
    settled: HashSet<[u8; 32]>,
    /// To be read again; with the id of the item that they belong to, if any.
    doubtful: HashMap<[u8; 32], Option<i64>>,
}

impl History {
    /// Updates the cache of snapshots. Only those of `hosts` belong to items. Returns notes about unreadable snapshots.
    pub fn refresh_snapshots(&self, repository: &Repository, hosts: Hosts) -> Result<Vec<String>> {
        // Read the known ones before listing: snapshots that another run adds meanwhile must not be taken for missing.
        let known = self.read(|tx| known(tx, repository.host(), hosts))?;
        let there = repository.snapshot_ids()?;
        let new: Vec<[u8; 32]> = there.iter().filter(|id| !known.settled.contains(*id)).copied().collect();
        let there: HashSet<[u8; 32]> = there.into_iter().collect();
        let all = known.settled.iter().chain(known.doubtful.keys());
        let gone: Vec<[u8; 32]> = all.filter(|id| !there.contains(*id)).copied().collect();
        let (mut read, mut damaged) = (Vec::new(), Vec::new());
        for (id, snapshot) in new.iter().zip(repository.snapshots_by_id(&new)) {
            match snapshot {
                Ok(snapshot) => read.push((*id, snapshot)),
                Err(error) => damaged.push(error.to_string()),
            }
        }
        // If several hosts are watched, this host's sources and then the oldest ones have the plain names.
        read.sort_by_key(|(_, snapshot)| {
            snapshot.as_ref().map(|s| (s.host != repository.host(), s.time.timestamp()))
        });
        if !read.is_empty() || !gone.is_empty() {
            self.change(|tx| {
                let first = if hosts == Hosts::All { first_hosts(tx)? } else { HashMap::new() };
                let mut naming = Naming { own: repository.host(), hosts, first };
                for (id, snapshot) in &read {
                    let source = snapshot.as_ref().and_then(|snapshot| naming.source(snapshot));
                    let (Some(snapshot), Some(source)) = (snapshot, source) else {
                        remember_foreign(tx, id, snapshot.as_ref())?;
                        continue;
                    };
                    let time = snapshot.time.timestamp().as_millisecond();
                    let item = item_id(tx, &source, &snapshot.item, &snapshot.kind, time)?;
                    // A listed snapshot may be older than the newest known one.
                    tx.prepare_cached("UPDATE item SET first_seen = MIN(first_seen, ?2) WHERE id = ?1")?
                        .execute([item, time])?;
                    remember(tx, id, item, time, snapshot.bytes, Some(&snapshot.host))?;
                }
                if hosts == Hosts::Own {
                    // Snapshots of other hosts may be removed by these hosts at any time.
                    let ours = gone.iter().filter(|id| known.settled.contains(*id));
                    note_missed(tx, ours)?;
                }
                expect_no_more(tx, &gone)?;
                for id in &gone {
                    tx.prepare_cached("DELETE FROM snapshot WHERE id = ?1")?.execute([id])?;
                }
                let doubtful: HashSet<i64> = known.doubtful.values().copied().flatten().collect();
                for item in doubtful {
                    drop_foreign(tx, item, repository.host())?;
                }
                Self::set_meta(tx, "snapshots_read", &millis(&jiff::Zoned::now()).to_string())
            })?;
        }
        Ok(damaged)
    }

    /// Number of snapshots of this program and of the selected hosts at the last survey.
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

    /// Records the size of the repository's packs in bytes.
    pub fn set_repository_bytes(&self, bytes: u64) -> Result<()> {
        self.change(|tx| Self::set_meta(tx, BYTES, &bytes.to_string()))
    }
}

/// A snapshot is read again if its host is unknown, or if it wrongly belongs to an item or wrongly does not: the name
/// of this host has changed, or an earlier version did not distinguish hosts.
fn known(tx: &Transaction<'_>, own: &str, hosts: Hosts) -> rusqlite::Result<Known> {
    let mut statement = tx.prepare("SELECT id, host, item FROM snapshot")?;
    let mut rows = statement.query([])?;
    let mut known = Known::default();
    while let Some(row) = rows.next()? {
        let (id, host, item) = (row.get(0)?, row.get::<_, Option<String>>(1)?, row.get::<_, Option<i64>>(2)?);
        let settled = match host.as_deref() {
            None => false,
            Some("") => true,
            Some(host) => hosts.takes(own, host) == item.is_some(),
        };
        if settled {
            known.settled.insert(id);
        } else {
            known.doubtful.insert(id, item);
        }
    }
    Ok(known)
}

/// A host with snapshots for each source in the history.
fn first_hosts(tx: &Transaction<'_>) -> rusqlite::Result<HashMap<String, String>> {
    let mut statement = tx.prepare(
        "SELECT DISTINCT item.source, snapshot.host FROM snapshot JOIN item ON item.id = snapshot.item \
         WHERE snapshot.host IS NOT NULL",
    )?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

/// Reverts facts from another host's snapshots about an item that is not this host's: deletes the item if nothing else
/// is known of it, otherwise its proof.
fn drop_foreign(tx: &Transaction<'_>, item: i64, own: &str) -> rusqlite::Result<()> {
    tx.execute(
        "UPDATE item SET proof_time = NULL, proof_snapshot = NULL WHERE id = ?1 AND proof_snapshot IN \
         (SELECT id FROM snapshot WHERE item IS NULL)",
        [item],
    )?;
    let foreign: bool = tx.query_row(
        "SELECT EXISTS (SELECT 1 FROM item WHERE id = ?1 AND last_seen IS NULL) \
         AND NOT EXISTS (SELECT 1 FROM snapshot WHERE item = ?1) \
         AND NOT EXISTS (SELECT 1 FROM attempt JOIN run ON run.id = attempt.run WHERE item = ?1 AND run.host = ?2)",
        params![item, own],
        |row| row.get(0),
    )?;
    if !foreign {
        return Ok(());
    }
    // No recovery is alerted.
    tx.execute(
        "UPDATE incident SET resolved = opened WHERE resolved IS NULL AND subject = \
         (SELECT source || '/' || name FROM item WHERE id = ?1)",
        [item],
    )?;
    for table in ["attempt", "event", "object", "anomaly", "drill", "omitted"] {
        tx.execute(&format!("DELETE FROM {table} WHERE item = ?1"), [item])?;
    }
    tx.execute("DELETE FROM item WHERE id = ?1", [item])?;
    Ok(())
}
