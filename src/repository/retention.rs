//! Which snapshots of an item to keep.

use jiff::Zoned;
use rustic_core::KeepOptions;

use super::{Repository, Snapshot, rustic_error};
use crate::{config::Retention, error::Result};

impl Repository {
    /// The snapshots that `retention` drops of those of one item. Snapshots of other hosts are left alone, like those
    /// of other programs, which never become a [`Snapshot`].
    pub fn expired<'a>(&self, snapshots: &'a [Snapshot], retention: &Retention) -> Result<Vec<&'a Snapshot>> {
        let files: Vec<_> =
            snapshots.iter().filter(|s| s.host == self.host()).map(|s| s.file.clone()).collect();
        let kept = keep_options(retention)
            .apply(files, &Zoned::now())
            .map_err(|e| rustic_error("cannot apply the retention", e))?;
        let dropped: Vec<_> = kept.into_iter().filter(|s| !s.keep).map(|s| s.snapshot.id).collect();
        Ok(snapshots.iter().filter(|s| dropped.contains(&s.file.id)).collect())
    }

    /// Removes snapshots. Their data stays until the next prune. One that somebody else removed meanwhile is no error.
    pub fn forget(&self, snapshots: &[&Snapshot]) -> Result<()> {
        let backend = self.storage.backend();
        let mut there = None;
        for snapshot in snapshots {
            let id = *snapshot.file.id;
            if let Err(error) = backend.remove(rustic_core::FileType::Snapshot, &id, false) {
                let list = match &there {
                    Some(list) => list,
                    None => there.insert(
                        backend
                            .list(rustic_core::FileType::Snapshot)
                            .map_err(|e| rustic_error("cannot list the snapshots", e))?,
                    ),
                };
                if list.contains(&id) {
                    return Err(rustic_error("cannot remove a snapshot", error));
                }
            }
        }
        Ok(())
    }
}

fn keep_options(retention: &Retention) -> KeepOptions {
    let some = |n: u32| (n > 0).then(|| i32::try_from(n).unwrap_or(i32::MAX));
    let mut keep = KeepOptions::default();
    keep.keep_last = some(retention.keep_last);
    keep.keep_hourly = some(retention.keep_hourly);
    keep.keep_daily = some(retention.keep_daily);
    keep.keep_weekly = some(retention.keep_weekly);
    keep.keep_monthly = some(retention.keep_monthly);
    keep.keep_yearly = some(retention.keep_yearly);
    keep
}
