//! The other hosts that share the repository.

use rusqlite::Transaction;

use super::{History, unsigned, zoned};
use crate::{
    error::Result,
    repository::{AHEAD, HostShare, sort_shares},
};

/// The stored snapshots that another host has of a source.
#[derive(Debug, Clone)]
pub(super) struct Foreign {
    pub(super) source: String,
    pub(super) share: HostShare,
}

/// Snapshots of other hosts, by source and host, if only this host's snapshots belong to items.
pub(super) fn read(tx: &Transaction<'_>, now: i64) -> rusqlite::Result<Vec<Foreign>> {
    let mut statement = tx.prepare(
        "SELECT source, host, count(*), max(CASE WHEN time <= ?1 THEN time END) FROM snapshot \
         WHERE item IS NULL AND host <> '' AND source IS NOT NULL GROUP BY source, host",
    )?;
    let rows = statement.query_map([credible_until(now)], |row| {
        let share = HostShare {
            host: row.get(1)?,
            snapshots: unsigned(row.get(2)?),
            newest: row.get::<_, Option<i64>>(3)?.map(zoned),
        };
        Ok(Foreign { source: row.get(0)?, share })
    })?;
    rows.collect()
}

/// Snapshots later than this are dated in the future. All in milliseconds since 1970.
pub(super) fn credible_until(now: i64) -> i64 {
    now.saturating_add(i64::try_from(AHEAD.as_millis()).unwrap_or(i64::MAX))
}

/// A stored time, unless it is in the future because a clock was wrong: decisions based on it would hold until then.
pub(super) fn credible(time: i64, now: i64) -> Option<i64> {
    (time <= credible_until(now)).then_some(time)
}

/// The snapshots of each host, of this source or of all; the host with the newest snapshot comes first.
pub(super) fn shares<'f>(foreign: impl Iterator<Item = &'f Foreign>) -> Vec<HostShare> {
    let mut shares: Vec<HostShare> = Vec::new();
    for Foreign { share, .. } in foreign {
        match shares.iter_mut().find(|known| known.host == share.host) {
            Some(known) => {
                known.snapshots += share.snapshots;
                let newer = |a: &HostShare, b: &HostShare| {
                    a.newest.as_ref().map(jiff::Zoned::timestamp)
                        < b.newest.as_ref().map(jiff::Zoned::timestamp)
                };
                if newer(known, share) {
                    known.newest.clone_from(&share.newest);
                }
            }
            None => shares.push(share.clone()),
        }
    }
    sort_shares(&mut shares);
    shares
}

impl History {
    /// The other hosts that had snapshots in the repository at the last survey.
    pub fn other_hosts(&self, now: &jiff::Zoned) -> Result<Vec<HostShare>> {
        let foreign = self.read(|tx| read(tx, super::millis(now)))?;
        Ok(shares(foreign.iter()))
    }

    /// All items ever seen, by source and name.
    pub fn names(&self) -> Result<Vec<(String, String)>> {
        self.read(|tx| {
            let mut statement =
                tx.prepare("SELECT source, name FROM item WHERE name <> '' ORDER BY source, name")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect()
        })
    }
}
