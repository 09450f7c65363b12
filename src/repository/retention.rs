//! Decides which snapshots of an item to keep.

use std::{collections::HashSet, time::Duration};

use jiff::{Timestamp, Zoned};
use rustic_core::{ForgetSnapshot, Id, KeepOptions, repofile::SnapshotFile};

use super::{Repository, Snapshot, rustic_error};
use crate::{config::Retention, error::Result};

/// A gap longer than a retention period, or than this, may be an outage or a clock change.
const FORTNIGHT: Duration = Duration::from_secs(14 * 86_400);
/// It counts as one if it is this many times the usual interval between snapshots.
const LONG: i128 = 10;
/// The number of snapshots kept beside the newest if `keep_within` alone would keep none.
const OTHERS: usize = 2;

impl Repository {
    /// The snapshots of one item that `retention` drops. Snapshots of other hosts are ignored, like those of other programs,
    /// which never become a [`Snapshot`].
    pub fn expired<'a>(&self, snapshots: &'a [Snapshot], retention: &Retention) -> Result<Vec<&'a Snapshot>> {
        expired_at(snapshots, self.host(), retention, &Zoned::now())
    }

    /// Removes from `expired` the snapshots that are always kept, because later ones lack objects that they hold: see [`holders`].
    pub fn spare_holders(&self, expired: &mut Vec<&Snapshot>, snapshots: &[Snapshot], lacking_since: &[i64]) {
        spare(expired, snapshots, self.host(), lacking_since);
    }

    /// Removes snapshots. Their data stays until the next prune. A snapshot removed by another process meanwhile is not an error.
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

/// For each snapshot of an item, given by id and time: whether `retention` keeps it, and why.
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
    let kept = apply(snapshots.iter().map(file).collect(), retention, now)?;
    let by_id: std::collections::HashMap<_, _> =
        kept.into_iter().map(|s| (s.snapshot.id.to_hex().as_str().to_owned(), (s.keep, s.reasons))).collect();
    Ok(snapshots.iter().map(|(id, _)| by_id.get(*id).cloned().unwrap_or((true, Vec::new()))).collect())
}

/// The snapshots of an item, given by id and time, that hold objects which later ones lack: the newest before each time (in
/// milliseconds since 1970) since which an object is omitted.
pub fn holders<'s>(snapshots: &[(&'s str, i64)], lacking_since: &[i64]) -> HashSet<&'s str> {
    let newest_before = |moment: &i64| {
        let before = snapshots.iter().filter(|(_, time)| time < moment);
        before.max_by_key(|(_, time)| *time).map(|(id, _)| *id)
    };
    lacking_since.iter().filter_map(newest_before).collect()
}

fn spare(expired: &mut Vec<&Snapshot>, snapshots: &[Snapshot], host: &str, lacking_since: &[i64]) {
    let moments: Vec<(&str, i64)> = snapshots
        .iter()
        .filter(|snapshot| snapshot.host == host)
        .map(|snapshot| (snapshot.id.as_str(), snapshot.time.timestamp().as_millisecond()))
        .collect();
    let held = holders(&moments, lacking_since);
    expired.retain(|snapshot| !held.contains(snapshot.id.as_str()));
}

fn expired_at<'a>(
    snapshots: &'a [Snapshot],
    host: &str,
    retention: &Retention,
    now: &Zoned,
) -> Result<Vec<&'a Snapshot>> {
    let files: Vec<_> = snapshots.iter().filter(|s| s.host == host).map(|s| s.file.clone()).collect();
    let kept = apply(files, retention, now)?;
    for one in &kept {
        let rule = one.reasons.join(", ");
        let snapshot = one.snapshot.id.to_hex();
        tracing::debug!(
            snapshot = &snapshot.as_str()[..8],
            keep = one.keep,
            rule,
            "the retention has decided"
        );
    }
    let dropped: Vec<_> = kept.into_iter().filter(|s| !s.keep).map(|s| s.snapshot.id).collect();
    Ok(snapshots.iter().filter(|s| dropped.contains(&s.file.id)).collect())
}

/// Applies restic's rules, and also keeps everything younger than `keep_within`. As in restic, this is counted back from the
/// newest snapshot, but never from one dated in the future, which would make all others old. A run with a wrong clock or after
/// a long outage would do the same, so the last long gap without snapshots does not count, and if no rule keeps a number of
/// snapshots, some are kept beside the newest.
fn apply(files: Vec<SnapshotFile>, retention: &Retention, now: &Zoned) -> Result<Vec<ForgetSnapshot>> {
    let now_at = now.timestamp();
    let mut times: Vec<Timestamp> =
        files.iter().map(|file| file.time.timestamp()).filter(|time| *time <= now_at).collect();
    times.sort_unstable();
    let newest = times.last().copied();
    let gap = last_gap(&times, retention.keep_within);
    let mut all = keep_options(retention)
        .apply(files, now)
        .map_err(|e| rustic_error("cannot apply the retention", e))?;
    let within = i128::try_from(retention.keep_within.as_millis()).unwrap_or(i128::MAX);
    let Some((newest, period)) = newest.zip(retention.period()) else { return Ok(all) };
    let reason = format!("within {period}");
    for one in &mut all {
        let time = one.snapshot.time.timestamp();
        let bridged = gap.filter(|gap| time <= gap.from).map_or(0, |gap| gap.millis);
        let age = newest.duration_since(time).as_millis() - bridged;
        if age < within {
            if !one.keep {
                one.keep = true;
                one.reasons.clear();
            }
            one.reasons.push(if bridged > 0 { format!("{reason} before a gap") } else { reason.clone() });
        }
    }
    if retention.is_empty() {
        not_alone(&mut all, newest);
    }
    Ok(all)
}

/// A time without snapshots.
#[derive(Clone, Copy)]
struct Gap {
    from: Timestamp,
    millis: i128,
}

/// The last gap between two of the times (ascending) that is longer than the period, or than a fortnight, and than ten times the
/// usual interval: no backup was made then, or the clock was changed.
fn last_gap(times: &[Timestamp], within: Duration) -> Option<Gap> {
    let millis = |pair: &[Timestamp]| pair[1].duration_since(pair[0]).as_millis();
    let mut usual: Vec<i128> = times.windows(2).map(millis).collect();
    usual.sort_unstable();
    // With fewer than four snapshots, the usual interval is unknown.
    let usual = *usual.get((usual.len().max(1) - 1) / 2).filter(|_| usual.len() > 2)?;
    let least = i128::try_from(within.min(FORTNIGHT).as_millis()).unwrap_or(i128::MAX);
    let is_long = |pair: &&[Timestamp]| millis(pair) > least.max(usual.saturating_mul(LONG));
    times.windows(2).rev().find(is_long).map(|pair| Gap { from: pair[0], millis: millis(pair) })
}

/// Keeps the most recent snapshots before `newest` if no other is kept.
fn not_alone(all: &mut [ForgetSnapshot], newest: Timestamp) {
    if all.iter().any(|one| one.keep && one.snapshot.time.timestamp() < newest) {
        return;
    }
    all.sort_by_key(|one| std::cmp::Reverse(one.snapshot.time.timestamp()));
    let others = all.iter_mut().filter(|one| one.snapshot.time.timestamp() < newest);
    for one in others.take(OTHERS) {
        one.keep = true;
        one.reasons = vec!["not to leave the newest alone".to_owned()];
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
    // Without this, options without any number are refused.
    keep.keep_none = retention.is_empty();
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
    fn the_newest_snapshot_with_what_later_ones_lack_stays_beside_what_the_rules_keep() {
        let now: Zoned = "2026-11-22T12:00:00+00:00[UTC]".parse().unwrap();
        let mut snapshots = daily(60, "db1", &now);
        // Another host's snapshot is younger, and what that holds is not known here.
        let mut foreign = snapshots[30].file.clone();
        foreign.id = Id::new([200; 32]).into();
        foreign.hostname = "db2".to_owned();
        foreign.time = foreign.time.checked_add(1.hour()).unwrap();
        snapshots.push(Snapshot::from_file(foreign).unwrap());
        let moment = |day: usize| snapshots[day].time.timestamp().as_millisecond();
        let mut expired = expired_at(&snapshots, "db1", &Retention::default(), &now).unwrap();
        let before = expired.len();
        // One object is lacking since 29 days ago, two others since three days ago, one since ever.
        spare(&mut expired, &snapshots, "db1", &[moment(29), moment(3), moment(59)]);
        assert_eq!(before - expired.len(), 1, "the other holder is kept by the rules");
        assert!(!expired.iter().any(|snapshot| snapshot.id == snapshots[30].id));
        assert!(expired.iter().any(|snapshot| snapshot.id == snapshots[59].id));
    }

    #[test]
    fn snapshots_of_other_hosts_are_left_alone() {
        let now: Zoned = "2026-11-22T12:00:00+00:00[UTC]".parse().unwrap();
        let snapshots = daily(60, "db2", &now);
        assert!(expired_at(&snapshots, "db1", &Retention::default(), &now).unwrap().is_empty());
    }

    /// The reasons for snapshots of these ages in hours, `-` for a removed one.
    fn reasons(retention: &Retention, now: &Zoned, hours: &[i64]) -> Vec<String> {
        let id = |number: usize| format!("{number:064x}");
        let made: Vec<(String, Zoned)> = hours
            .iter()
            .enumerate()
            .map(|(number, hours)| (id(number), now.checked_sub(hours.hours()).unwrap()))
            .collect();
        let moments: Vec<(&str, &Zoned)> = made.iter().map(|(id, time)| (id.as_str(), time)).collect();
        let explained = explain(&moments, retention, now).unwrap();
        explained.into_iter().map(|(keep, why)| if keep { why.join(", ") } else { "-".to_owned() }).collect()
    }

    #[test]
    fn a_run_by_hand_does_not_remove_the_snapshot_of_the_night() {
        let now: Zoned = "2026-11-25T09:00:00+00:00[UTC]".parse().unwrap();
        let rules = Retention { keep_daily: 2, keep_weekly: 0, ..Retention::default() };
        let made = reasons(&rules, &now, &[0, 7, 31, 48, 55]);
        assert_eq!(made, ["daily, within 48 h", "within 48 h", "daily, within 48 h", "-", "-"]);
        let without = Retention { keep_within: std::time::Duration::ZERO, ..rules };
        assert_eq!(reasons(&without, &now, &[0, 7, 31, 55]), ["daily", "-", "daily", "-"]);
    }

    #[test]
    fn a_run_under_a_wrong_clock_or_after_an_outage_removes_no_more_than_any_other() {
        let now: Zoned = "2031-11-25T09:00:00+00:00[UTC]".parse().unwrap();
        let within = Duration::from_secs(7 * 86_400);
        let rules = Retention { keep_within: within, keep_daily: 0, keep_weekly: 0, ..Retention::default() };
        for outage in [11, 40, 5 * 365] {
            // Ten days, a gap, and two runs since.
            let mut hours = vec![0, 24];
            hours.extend((1..=10).map(|day| (outage + day) * 24));
            let before = vec!["within 7 days before a gap"; 6];
            let mut wanted = vec!["within 7 days", "within 7 days"];
            wanted.extend(before);
            wanted.extend(["-"; 4]);
            assert_eq!(reasons(&rules, &now, &hours), wanted, "{outage} days");
        }
        // What is usual is not known of two.
        assert_eq!(reasons(&rules, &now, &[0, 40 * 24]), ["within 7 days", "not to leave the newest alone"]);
        // Rare backups: each of them is older than the period.
        let alone = "not to leave the newest alone";
        assert_eq!(reasons(&rules, &now, &[0, 240, 480, 720]), ["within 7 days", alone, alone, "-"]);
        // A rule with a number takes precedence.
        let last = Retention { keep_last: 1, ..rules };
        assert_eq!(reasons(&last, &now, &[0, 240, 480]), ["last, within 7 days", "-", "-"]);
    }

    #[test]
    fn a_period_may_be_the_only_rule_and_is_counted_from_the_newest_snapshot() {
        let now: Zoned = "2026-11-25T09:00:00+00:00[UTC]".parse().unwrap();
        let within = std::time::Duration::from_secs(30 * 86_400);
        let rules = Retention { keep_within: within, keep_daily: 0, keep_weekly: 0, ..Retention::default() };
        let days = [100 * 24, 129 * 24, 131 * 24];
        assert_eq!(reasons(&rules, &now, &days), ["within 30 days", "within 30 days", "-"]);
        // One from the future makes nothing old.
        assert_eq!(
            reasons(&rules, &now, &[-400 * 24, 1, 29 * 24, 31 * 24]),
            ["within 30 days", "within 30 days", "within 30 days", "-"]
        );
    }
}
