//! Which snapshots of an item to keep.

use jiff::Zoned;
use rustic_core::{Id, KeepOptions, repofile::SnapshotFile};

use super::{Repository, Snapshot, rustic_error};
use crate::{config::Retention, error::Result};

impl Repository {
    /// The snapshots that `retention` drops of those of one item. Snapshots of other hosts are left alone, like those
    /// of other programs, which never become a [`Snapshot`].
    pub fn expired<'a>(&self, snapshots: &'a [Snapshot], retention: &Retention) -> Result<Vec<&'a Snapshot>> {
        expired_at(snapshots, self.host(), retention, &Zoned::now())
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

/// For each of the snapshots of an item, given by id and moment: whether `retention` keeps it, and why.
///
/// # Errors
/// The rules cannot be applied.
pub fn explain(
    snapshots: &[(&str, &Zoned)],
    retention: &Retention,
    now: &Zoned,
) -> Result<Vec<(bool, Vec<String>)>> {
    let file = |(id, time): &(&str, &Zoned)| {
        let id = super::snapshot::id_bytes(id).map(Id::new).unwrap_or_default().into();
        SnapshotFile { time: (*time).clone(), id, ..SnapshotFile::default() }
    };
    let kept = keep_options(retention)
        .apply(snapshots.iter().map(file).collect(), now)
        .map_err(|e| rustic_error("cannot apply the retention", e))?;
    let by_id: std::collections::HashMap<_, _> =
        kept.into_iter().map(|s| (s.snapshot.id.to_hex().as_str().to_owned(), (s.keep, s.reasons))).collect();
    Ok(snapshots.iter().map(|(id, _)| by_id.get(*id).cloned().unwrap_or((true, Vec::new()))).collect())
}

fn expired_at<'a>(
    snapshots: &'a [Snapshot],
    host: &str,
    retention: &Retention,
    now: &Zoned,
) -> Result<Vec<&'a Snapshot>> {
    let files: Vec<_> = snapshots.iter().filter(|s| s.host == host).map(|s| s.file.clone()).collect();
    let kept = keep_options(retention)
        .apply(files, now)
        .map_err(|e| rustic_error("cannot apply the retention", e))?;
    let dropped: Vec<_> = kept.into_iter().filter(|s| !s.keep).map(|s| s.snapshot.id).collect();
    Ok(snapshots.iter().filter(|s| dropped.contains(&s.file.id)).collect())
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::repository::snapshot::{OURS, item_path};
    use jiff::ToSpan;

    /// A snapshot of each of the last `days` days at 02:00, the newest first.
    fn daily(days: u8, host: &str, now: &Zoned) -> Vec<Snapshot> {
        let snapshot = |day: u8| {
            let mut file = SnapshotFile::default();
            file.time = now.start_of_day().unwrap().checked_add(2.hours()).unwrap();
            file.time = file.time.checked_sub(i64::from(day).days()).unwrap();
            file.hostname = host.to_owned();
            file.id = Id::new([day; 32]).into();
            file.tags.add(OURS.to_owned());
            file.paths.add(item_path("pg", "shop"));
            Snapshot::from_file(file).unwrap()
        };
        (0..days).map(snapshot).collect()
    }

    #[test]
    fn seven_days_and_four_weeks_stay() {
        // A Sunday: the week of the newest snapshot is complete.
        let now: Zoned = "2026-11-22T12:00:00+00:00[UTC]".parse().unwrap();
        let snapshots = daily(60, "db1", &now);
        let expired = expired_at(&snapshots, "db1", &Retention::default(), &now).unwrap();
        let kept: Vec<_> = snapshots
            .iter()
            .filter(|s| !expired.iter().any(|e| e.id == s.id))
            .map(|s| s.time.strftime("%m-%d").to_string())
            .collect();
        // Seven days, and the newest of the three weeks before: the first of the four weeks is among the days.
        assert_eq!(
            kept,
            ["11-22", "11-21", "11-20", "11-19", "11-18", "11-17", "11-16", "11-15", "11-08", "11-01"]
        );
    }

    #[test]
    fn snapshots_of_other_hosts_are_left_alone() {
        let now: Zoned = "2026-11-22T12:00:00+00:00[UTC]".parse().unwrap();
        let snapshots = daily(60, "db2", &now);
        assert!(expired_at(&snapshots, "db1", &Retention::default(), &now).unwrap().is_empty());
    }
}
