//! The repository while it is read, and the choice of snapshots.

use std::time::Duration;

use crate::{
    config::Config,
    error::Result,
    known::{self, Asked, Name},
    repository::{At, Hosts, LockGuard, LockOptions, Patience, Repository, Snapshot, future_warning},
    source::name::ItemName,
    stream::cancel::Cancel,
};

/// A repository that is being read, with its snapshots.
pub(crate) struct Reading {
    /// Released before the repository is closed.
    _lock: Option<LockGuard>,
    /// The repository.
    pub(crate) repository: Repository,
    /// The snapshots of the configured host, oldest first. Unreadable ones are left out, with a notice.
    pub(crate) snapshots: Vec<Snapshot>,
    /// Snapshots of other hosts, which are only used on request.
    pub(crate) others: Vec<Snapshot>,
}

impl Reading {
    /// Opens the repository, locks it and lists its snapshots.
    ///
    /// # Errors
    /// The repository cannot be opened, or its snapshots cannot be listed.
    pub(crate) fn begin(
        config: &Config,
        notice: &dyn Fn(&str),
        patience: &Patience,
        cancel: &Cancel,
    ) -> Result<Self> {
        let repository = Repository::open_patiently(&config.repository, patience)?;
        let lock = read_lock(&repository, cancel, notice)?;
        let (all, damaged) = repository.readable_snapshots(Hosts::All)?;
        damaged.iter().for_each(|error| notice(&format!("warning: {error}")));
        let (snapshots, others) = all.into_iter().partition(|s| s.host == repository.host());
        Ok(Self { _lock: lock, repository, snapshots, others })
    }

    /// Chooses the snapshot of an item of the configured host. Warns of snapshots that are dated in the future.
    ///
    /// # Errors
    /// There is none: the name is wrong, or another host has it.
    pub(super) fn choose(
        &self,
        config: &Config,
        command: &str,
        name: Name<'_>,
        at: &At,
        notice: &dyn Fn(&str),
    ) -> Result<Snapshot> {
        let asked = Asked { command, at, removes: false };
        let of_item: Vec<Snapshot> =
            self.snapshots.iter().filter(|s| name.matches(&s.source, &s.item)).cloned().collect();
        if of_item.is_empty() {
            return Err(known::absent(config, asked, name, &self.snapshots, &self.others));
        }
        let chosen = at
            .choose(&name.text(), &of_item)
            .map_err(|error| known::elsewhere(config, asked, name, &self.others, error))?;
        future_warning(chosen, &of_item).iter().for_each(|warning| notice(warning));
        Ok(chosen.clone())
    }
}

/// A shared lock, so that no data is pruned while it is read. A read-only storage is read without a lock.
pub fn read_lock(
    repository: &Repository,
    cancel: &Cancel,
    notice: &dyn Fn(&str),
) -> Result<Option<LockGuard>> {
    let options = LockOptions { exclusive: false, wait: Duration::from_secs(300), cancel, notice };
    match repository.lock_to_read(&options) {
        Ok(lock) => Ok(Some(lock)),
        Err(refusal) => {
            let error = refusal.without_lock()?;
            notice(&format!("reading without a lock: {}", error.summary()));
            Ok(None)
        }
    }
}

/// The parts of the name of an item, if a snapshot has it.
pub(crate) fn item_name<'i>(snapshots: &[Snapshot], source: &str, item: &'i str) -> ItemName<'i> {
    ItemName::stored(item, |name| snapshots.iter().any(|s| s.source == source && s.item == name))
}

/// The `@globals` snapshot that was made with this one: the newest up to a day later, else the oldest. The snapshots are in
/// the order of their times.
pub(crate) fn globals_of<'s>(snapshots: &'s [Snapshot], item: &Snapshot) -> Option<&'s Snapshot> {
    let name = item_name(snapshots, &item.source, &item.item).globals();
    let globals = || snapshots.iter().filter(|s| s.source == item.source && s.item == name);
    let limit = item.time.timestamp() + Duration::from_secs(24 * 3600);
    globals().rfind(|s| s.time.timestamp() <= limit).or_else(|| globals().next())
}
