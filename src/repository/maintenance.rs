//! Prune, and keeping the index consistent with the packs.

use std::{
    collections::{HashMap, HashSet},
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use jiff::Timestamp;
use rustic_core::{
    FileType, Id, LimitOption, PruneOptions, RusticResult, WriteBackend,
    repofile::{IndexFile, SnapshotId},
};
use serde::Serialize;

use super::{
    LockOptions, Repository,
    known::{KnownBlobs, unreadable_index},
    local::LocalStorage,
    needed::Depth,
    pack_list::{PackList, Seen},
    packs::PacksRead,
    rustic_error,
};
use crate::{
    error::{Error, Result},
    stream::cancel::Cancel,
};

/// With less free space than this, prune repacks nothing.
const LITTLE_SPACE: u64 = 1 << 30;

/// The result of a prune.
#[derive(Debug, Clone, Default, Serialize)]
pub struct PruneReport {
    /// Bytes of packs before.
    pub bytes_before: u64,
    /// Bytes of packs after.
    pub bytes_after: u64,
    /// Packs before.
    pub packs_before: u64,
    /// Packs after.
    pub packs_after: u64,
    /// Removed files of interrupted writes.
    pub leftovers: u64,
    /// Packs are only marked now, and removed by a prune at least 23 hours later: the storage has no locks.
    pub two_phase: bool,
}

/// The part of the packs that a check reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subset {
    /// None: only the structure is checked.
    Nothing,
    /// Every pack.
    All,
    /// One of this many equal parts, another one each day.
    OneOf(u32),
    /// The part `n` of `m`.
    Part(u32, u32),
}

impl Subset {
    /// Reads `5%` or `n/m`. A percentage becomes one of 100/5 parts, another one each day, so that in 20 days
    /// everything is read.
    pub fn parse(text: &str) -> Result<Self> {
        let invalid = || {
            Error::usage(format!("`{text}` is not a part of the data"))
                .hint("write a percentage (5%) or a part (3/20)")
        };
        if let Some(percent) = text.strip_suffix('%') {
            let percent: f64 = percent.trim().parse().map_err(|_| invalid())?;
            if !(0.01..=100.0).contains(&percent) {
                return Err(invalid());
            }
            let parts = (100.0 / percent).ceil() as u32;
            return Ok(if parts <= 1 { Self::All } else { Self::OneOf(parts) });
        }
        let (n, m) = text.split_once('/').ok_or_else(invalid)?;
        let (n, m): (u32, u32) =
            (n.trim().parse().map_err(|_| invalid())?, m.trim().parse().map_err(|_| invalid())?);
        if n == 0 || n > m { Err(invalid()) } else { Ok(Self::Part(n, m)) }
    }

    /// The part to read. An empty part is replaced by the next one: reading nothing must not count as a check.
    fn resolve(self, packs: &[(Id, u32)], today: u32) -> Option<(u32, u32)> {
        let (n, m) = match self {
            Self::Nothing => return None,
            Self::All => return Some((0, 1)),
            Self::OneOf(m) => {
                // With few packs the parts are larger, so that hardly any is empty.
                let m = m.min(u32::try_from(packs.len() / 4).unwrap_or(u32::MAX)).max(1);
                // Because of the second term, a weekly check of one of seven parts reads another one each week.
                ((today + today / m) % m, m)
            }
            Self::Part(n, m) => return Some((n % m, m)),
        };
        (0..m)
            .map(|k| (n + k) % m)
            .find(|&n| packs.iter().any(|(id, _)| id.as_u32() % m == n))
            .map(|n| (n, m))
    }
}

impl PruneReport {
    /// The report of a prune that has not changed these packs.
    fn unchanged(packs: &[(Id, u32)]) -> Self {
        let bytes = packs.iter().map(|(_, size)| u64::from(*size)).sum();
        let count = packs.len() as u64;
        Self {
            bytes_before: bytes,
            bytes_after: bytes,
            packs_before: count,
            packs_after: count,
            leftovers: 0,
            two_phase: false,
        }
    }
}

impl Repository {
    /// Removes data that no snapshot needs. Waits up to `wait` for others; no other process can write meanwhile. `keep` is called
    /// once the lock is held; packs younger than its result are kept, because attempts without a snapshot refer to them
    /// ([`keep_packs_for`](super::writer::keep_packs_for)). `lost` is called if lost packs are found.
    pub fn prune(
        &self,
        wait: Duration,
        keep: &dyn Fn() -> Option<Duration>,
        lost: &dyn Fn(&Error),
        cancel: &Cancel,
        notice: &dyn Fn(&str),
    ) -> Result<PruneReport> {
        let lock = self.lock(&LockOptions { exclusive: true, wait, cancel, notice })?;
        let alone = self.has_locks();
        let PackList { packs, unfinished } = self.storage.packs()?;
        let unchanged = PruneReport::unchanged(&packs);
        let keep = keep();
        if !packs.is_empty() && self.has_no_snapshot()? {
            if keep.is_some() {
                notice(
                    "there is no snapshot yet; the data that a failed backup has stored is kept for the next attempt",
                );
                return Ok(unchanged);
            }
            return Err(Error::repository("the repository has data but no snapshots: pruning would remove everything")
                .hint("check that the storage is mounted completely; if the data is not needed, remove the repository by hand"));
        }
        let (known, seen) = KnownBlobs::load_with(&self.inner, &self.storage, packs)?;
        self.require_index(&known, Depth::All, cancel)?;
        self.mend_index(&known, &seen, lost, notice)?;
        let options = self.prune_options(alone, keep, notice)?;
        cancel.check()?;
        lock.require_valid()?;
        let (library, shown) = self.reopen_with(seen)?;
        let plan = caught("cannot plan the prune", || library.prune_plan(&options)).map_err(|e| {
            e.hint(
                "nothing was removed, because it is not certain what snapshots need: `tik-backup check` lists the damage, \
                 docs/operations.md has the steps under \"Damage\"",
            )
        })?;
        caught("cannot prune", || library.prune(&options, plan))?;
        let mut after = match shown.packs() {
            Some(packs) => packs,
            None => self.packs()?.into_iter().collect(),
        };
        let mut leftovers = 0;
        if let (true, Some(local)) = (alone, self.storage.local()) {
            lock.require_valid()?;
            leftovers += local
                .sweep(&unfinished)
                .map_err(|e| Error::repository("cannot remove files of interrupted writes").because(&e))?
                as u64;
            if shown.has_changed() || !known.unindexed.is_empty() {
                leftovers += self.remove_unreferenced_packs(&mut after)?;
            }
        }
        Ok(PruneReport {
            bytes_after: after.values().map(|size| u64::from(*size)).sum(),
            packs_after: after.len() as u64,
            leftovers,
            two_phase: !alone,
            ..unchanged
        })
    }

    pub(super) fn has_no_snapshot(&self) -> Result<bool> {
        let mut snapshots =
            self.inner.list::<SnapshotId>().map_err(|e| rustic_error("cannot list the snapshots", e))?;
        Ok(snapshots.next().is_none())
    }

    fn prune_options(
        &self,
        alone: bool,
        keep: Option<Duration>,
        notice: &dyn Fn(&str),
    ) -> Result<PruneOptions> {
        let mut options = PruneOptions::default();
        // Packs have the size that this program chooses; without this option a large repository would be rewritten.
        options.no_resize = true;
        options.instant_delete = alone;
        if let Some(keep) = keep {
            let hours = keep.as_secs().div_ceil(3600);
            notice(&format!(
                "packs of the last {} are kept: failed backups will reuse the data that they have stored",
                crate::output::count(hours.div_ceil(24), "day")
            ));
            options.keep_pack = jiff::Span::new().hours(i64::try_from(hours).unwrap_or(24 * 31));
        }
        options.max_repack = match self.storage.local().map(LocalStorage::free_space).transpose()? {
            // Repacking writes before it removes.
            Some(free) if free < LITTLE_SPACE => {
                notice("there is little free space: only completely unused packs are removed");
                LimitOption::Percentage(0)
            }
            _ => LimitOption::Unlimited,
        };
        Ok(options)
    }

    /// Packs in the index, including those marked for removal.
    pub(super) fn listed_packs(&self) -> Result<HashSet<Id>> {
        let mut listed = HashSet::new();
        for file in self.inner.stream_files::<IndexFile>().map_err(unreadable_index)? {
            let (_, index) = file.map_err(unreadable_index)?;
            listed.extend(index.packs.iter().chain(&index.packs_to_delete).map(|pack| *pack.id));
        }
        Ok(listed)
    }

    pub(super) fn packs(&self) -> Result<Vec<(Id, u32)>> {
        Ok(self.storage.packs()?.packs)
    }

    /// Removes those of `there` that no index lists. Interrupted runs leave them, and the prune of `rustic_core` ignores them if
    /// it has no index to rewrite.
    fn remove_unreferenced_packs(&self, there: &mut HashMap<Id, u32>) -> Result<u64> {
        let listed = self.listed_packs()?;
        let backend = self.storage.backend();
        let unlisted: Vec<Id> = there.keys().filter(|id| !listed.contains(*id)).copied().collect();
        for id in &unlisted {
            backend.remove(FileType::Pack, id, false).map_err(|e| rustic_error("cannot remove a pack", e))?;
            there.remove(id);
        }
        Ok(unlisted.len() as u64)
    }

    /// Removes missing packs from the index, and truncated ones after their intact blobs are stored again. Readers rely on the
    /// index: they would look for a blob in a pack that lacks it although this run stores it again in another pack.
    ///
    /// This is safe beside a prune that rewrites the same files on a storage without locks: every existing pack stays in an index
    /// file, because the new one is written before the old one is removed.
    pub(super) fn forget_missing_packs(
        &self,
        known: &KnownBlobs,
        told: &dyn Fn(&Error),
        notice: &dyn Fn(&str),
    ) -> Result<()> {
        if known.missing.is_empty() && known.misfits.is_empty() {
            return Ok(());
        }
        let lost = known.lost();
        lost.require_most(!self.has_no_snapshot()?)?;
        let (text, they, them, they_are) = (lost.text(), lost.they(), lost.them(), lost.they_are());
        told(&lost.error());
        match self.take_out(known) {
            Ok(()) => notice(&format!(
                "warning: {text}; {they_are} removed from the index, and the data that this run needs of {them} is stored again; older \
                 snapshots may be damaged: run `tik-backup check`"
            )),
            // An append-only server refuses to remove index files.
            Err(error) if !self.has_locks() => {
                let stays = format!(
                    "{they} could not be removed from the index ({}): restores may look for data in the wrong place until \
                     `tik-backup repair index` was run by a host that may remove files",
                    error.summary()
                );
                told(&Error::failed(format!("{text}, and {stays}")).hint(
                    "run `tik-backup repair index` on a host that may remove files, while no backup runs; then `tik-backup \
                     check`",
                ));
                notice(&format!(
                    "warning: {text}; the data that this run needs of {them} is stored again, but {stays}"
                ));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// As [`Self::forget_missing_packs`], for a prune, which also handles packs marked for removal.
    fn mend_index(
        &self,
        known: &KnownBlobs,
        seen: &Seen,
        told: &dyn Fn(&Error),
        notice: &dyn Fn(&str),
    ) -> Result<()> {
        if known.missing.is_empty() && known.misfits.is_empty() && known.gone_marked.is_empty() {
            return Ok(());
        }
        if !(known.missing.is_empty() && known.misfits.is_empty()) {
            let lost = known.lost();
            lost.require_most(!self.has_no_snapshot()?)?;
            told(&lost.error());
            notice(&format!("{}; {} removed from the index", lost.text(), lost.they_are()));
            self.take_out(known)?;
        }
        let mut gone = self.listed_packs()?;
        gone.retain(|id| !seen.packs.contains_key(id));
        // `salvage_packs` may have stored packs since they were listed.
        let gone = if gone.is_empty() { gone } else { self.still_gone(gone)? };
        if gone.is_empty() { Ok(()) } else { self.forget_packs(&gone) }
    }

    fn still_gone(&self, mut gone: HashSet<Id>) -> Result<HashSet<Id>> {
        for (id, _) in self.packs()? {
            gone.remove(&id);
        }
        Ok(gone)
    }

    fn take_out(&self, known: &KnownBlobs) -> Result<()> {
        let mut packs = known.missing.clone();
        if !known.misfits.is_empty() {
            packs.extend(self.salvage_packs(&known.misfits)?.1);
        }
        self.forget_packs(&packs)
    }

    pub(super) fn read_subset(
        &self,
        subset: Subset,
        there: &[(Id, u32)],
        cancel: &Cancel,
    ) -> Result<PacksRead> {
        let used = match subset {
            Subset::Nothing => return Ok(PacksRead::default()),
            // Only here does the choice depend on which packs can be read.
            Subset::OneOf(_) => {
                let used = self.used_packs()?;
                there.iter().filter(|(id, _)| used.contains(id)).copied().collect()
            }
            Subset::All | Subset::Part(..) => there.to_vec(),
        };
        let today = u32::try_from(Timestamp::now().as_second() / 86_400).unwrap_or(0);
        let Some((n, m)) = subset.resolve(&used, today) else { return Ok(PacksRead::default()) };
        let indexed = self.indexed_packs(|id| id.as_u32() % m == n)?;
        self.read_packs(there, &indexed, cancel)
    }
}

/// Calls the library and turns a panic, which damaged data can cause, into an error.
pub(super) fn caught<T>(doing: &str, call: impl FnOnce() -> RusticResult<T>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(|e| rustic_error(doing, e)),
        Err(_) => Err(Error::repository(doing).because_text("something in the repository is damaged")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn subsets_are_read() {
        assert_eq!(Subset::parse("5%").unwrap(), Subset::OneOf(20));
        assert_eq!(Subset::parse("100%").unwrap(), Subset::All);
        assert_eq!(Subset::parse("3/7").unwrap(), Subset::Part(3, 7));
        for wrong in ["", "0%", "101%", "x", "0/3", "4/3", "nan%"] {
            assert!(Subset::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_small_repository_is_read_too() {
        let packs = [(Id::new([7; 32]), 1000)];
        for today in 0..20 {
            let (n, m) = Subset::OneOf(20).resolve(&packs, today).unwrap();
            assert_eq!(packs[0].0.as_u32() % m, n);
        }
    }

    #[test]
    fn all_parts_come_round_whether_checked_daily_or_weekly() {
        let packs: Vec<_> = (0..=255u8).map(|n| (Id::new([n; 32]), 1000)).collect();
        for (every, m) in [(1, 7), (7, 7), (7, 14), (1, 20), (7, 20)] {
            let parts: HashSet<_> =
                (0..4 * m).filter_map(|k| Subset::OneOf(m).resolve(&packs, 20_000 + k * every)).collect();
            assert_eq!(parts.len(), m as usize, "every {every} days, {m} parts");
        }
    }
}
