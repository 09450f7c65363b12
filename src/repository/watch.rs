//! Watches the data that a run relies on: on storages without locks, a prune on another host may remove it.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicBool, Ordering},
};

use parking_lot::{Mutex, MutexGuard};
use rustic_core::{Credentials, FileType, Id, ReadBackend, WriteBackend, repofile::MasterKey};

use super::{
    Repository,
    errors::rustic_error,
    handle::{Opened, new_handle},
    known::KnownBlobs,
    needed::{Reader, lacking},
    storage::Storage,
};
use crate::{
    error::{Error, Passing, Result},
    stream::cancel::Cancel,
};

/// A snapshot written by a run, with the root of its tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    pub(crate) snapshot: Id,
    pub(crate) root: Id,
}

impl Written {
    /// The snapshot's id, in hex digits.
    pub fn id(&self) -> String {
        self.snapshot.to_hex().as_str().to_owned()
    }
}

/// The result of the check of a run's snapshots at its end, on a storage without locks.
#[derive(Debug, Default)]
pub struct FinalCheck {
    /// Ids of snapshots that were removed again, because a prune on another host had removed their data.
    pub removed: Vec<String>,
    /// Snapshots whose data could not be checked, or that lack data and could not be removed.
    pub unconfirmed: Vec<Written>,
    /// The reason.
    pub error: Option<Error>,
}

/// Checks that a run's data still exists: on storages without locks, a prune on another host may remove it.
pub(super) struct Watch {
    storage: Storage,
    key: MasterKey,
    /// Whether a lock keeps others from removing anything.
    locked: bool,
    /// Existing packs that the run relies on.
    packs: Mutex<HashSet<Id>>,
    /// Snapshots written by the run and not confirmed yet.
    written: Mutex<Vec<Written>>,
    /// Whether something was missing, now or at a check of an earlier writer of the run.
    in_doubt: AtomicBool,
}

/// The state of the repository at one time.
pub(super) struct Present {
    reader: Reader,
    known: KnownBlobs,
}

impl Watch {
    /// Watches the packs that count as stored at the beginning of a run.
    pub(super) fn new(storage: &Storage, repository: &Opened, known: &KnownBlobs, locked: bool) -> Self {
        let relied_on = if locked { &[][..] } else { &known.sound };
        Self {
            storage: storage.clone(),
            key: repository.key(),
            locked,
            packs: Mutex::new(relied_on.iter().copied().collect()),
            written: Mutex::default(),
            in_doubt: AtomicBool::new(false),
        }
    }

    fn packs(&self) -> MutexGuard<'_, HashSet<Id>> {
        self.packs.lock()
    }

    fn written(&self) -> MutexGuard<'_, Vec<Written>> {
        self.written.lock()
    }

    /// Records a pack that the run has stored.
    pub(super) fn stored(&self, pack: Id) {
        if !self.locked {
            self.packs().insert(pack);
        }
    }

    /// Records a snapshot that the run has written.
    pub(super) fn committed(&self, snapshot: Id, root: Id) {
        if !self.locked {
            self.written().push(Written { snapshot, root });
        }
    }

    /// Adds snapshots that an earlier writer of the run could not confirm. Data lost since then is not visible in the packs that
    /// this writer relies on.
    pub(super) fn adopt_unconfirmed(&self, written: Vec<Written>) {
        if !written.is_empty() {
            self.in_doubt.store(true, Ordering::SeqCst);
            self.written().extend(written);
        }
    }

    /// Lists the packs. If some have disappeared since the last time, the index is read again.
    pub(super) fn look(&self) -> Result<Option<Present>> {
        if self.locked {
            return Ok(None);
        }
        let listed = self.storage.backend().list(FileType::Pack);
        let there: HashSet<Id> =
            listed.map_err(|e| rustic_error("cannot list the repository's packs", e))?.into_iter().collect();
        if self.packs().iter().all(|pack| there.contains(pack)) {
            return Ok(None);
        }
        // Snapshots written before are checked at the end: by then, the packs below no longer count as missing.
        self.in_doubt.store(true, Ordering::SeqCst);
        let present = self.present()?;
        self.packs().retain(|pack| there.contains(pack));
        Ok(Some(present))
    }

    /// The present state of the repository, read from the storage itself.
    pub(super) fn present(&self) -> Result<Present> {
        let storage = self.storage.without_cache();
        let known = KnownBlobs::load(&self.open(&storage)?, &storage)?;
        let reader = self.open(&storage)?.to_indexed().map_err(super::known::unreadable_index)?;
        Ok(Present { reader, known })
    }

    fn open(&self, storage: &Storage) -> Result<Opened> {
        new_handle(storage)?
            .open(&Credentials::Masterkey(self.key.clone()))
            .map_err(|e| rustic_error("cannot open the repository", e))
    }

    /// At the end of a run, removes its snapshots with missing data. Snapshots that could not be checked are kept for
    /// [`Self::unconfirmed`].
    pub(super) fn remove_broken(&self) -> (Vec<String>, Option<Error>) {
        if self.written().is_empty() {
            return (Vec::new(), None);
        }
        let present = self.look().and_then(|present| match present {
            None if self.in_doubt.load(Ordering::SeqCst) => self.present().map(Some),
            present => Ok(present),
        });
        let present = match present {
            Ok(Some(present)) => present,
            Ok(None) => {
                self.written().clear();
                return (Vec::new(), None);
            }
            Err(error) => return (Vec::new(), Some(error)),
        };
        let (mut removed, mut unconfirmed, mut problem) = (Vec::new(), Vec::new(), None::<Error>);
        let all = self.unconfirmed();
        for written in all {
            // The time for waiting has been used up already.
            let is_away = problem.as_ref().and_then(Error::passing) == Some(Passing::Storage);
            let outcome = if is_away { None } else { Some(self.remove_if_broken(&present, written)) };
            match outcome {
                Some(Ok(false)) => {}
                Some(Ok(true)) => removed.push(written.id()),
                Some(Err(error)) => {
                    unconfirmed.push(written);
                    problem.get_or_insert(error);
                }
                None => unconfirmed.push(written),
            }
        }
        *self.written() = unconfirmed;
        (removed, problem)
    }

    /// Removes a snapshot with missing data. Returns whether it was removed.
    fn remove_if_broken(&self, present: &Present, written: Written) -> Result<bool> {
        // A stopped run must not leave it either.
        let cancel = Cancel::new();
        if lacking(&present.reader, &present.known, vec![written.root], usize::MAX, &cancel)?
            .finds_nothing()?
        {
            return Ok(false);
        }
        let backend = self.storage.backend();
        let Err(error) = backend.remove(FileType::Snapshot, &written.snapshot, true) else { return Ok(true) };
        // Another process may have removed it.
        if backend.list(FileType::Snapshot).is_ok_and(|there| !there.contains(&written.snapshot)) {
            return Ok(true);
        }
        let what = format!("cannot remove snapshot {}, whose data is missing", &written.id()[..8]);
        Err(rustic_error(&what, error))
    }

    /// Takes the written and not confirmed snapshots.
    pub(super) fn unconfirmed(&self) -> Vec<Written> {
        std::mem::take(&mut *self.written())
    }

    /// The complete result of [`Self::remove_broken`].
    pub(super) fn seen(&self, (removed, error): (Vec<String>, Option<Error>)) -> FinalCheck {
        let unconfirmed = self.unconfirmed();
        let error = error.map(|error| {
            error.hint(
                "it could not be checked whether all data of this run is still stored: run `tik-backup check`",
            )
        });
        FinalCheck { removed, unconfirmed, error }
    }
}

impl Repository {
    /// Checks snapshots again that the end of a run could not confirm, and removes those with missing data.
    pub(crate) fn confirm(&self, unconfirmed: Vec<Written>) -> FinalCheck {
        let watch = Watch {
            storage: self.storage.clone(),
            key: self.inner.key(),
            locked: false,
            packs: Mutex::default(),
            written: Mutex::default(),
            in_doubt: AtomicBool::new(true),
        };
        watch.adopt_unconfirmed(unconfirmed);
        watch.seen(watch.remove_broken())
    }
}

impl Present {
    /// Fails if something below a root is missing, or if a directory cannot be read.
    pub(super) fn require(&self, root: Id, cancel: &Cancel) -> Result<()> {
        let is_whole = lacking(&self.reader, &self.known, vec![root], usize::MAX, cancel)?.finds_nothing();
        let is_whole = is_whole.map_err(|error| {
            error.hint(
                "a pack is damaged: `tik-backup check --read-data` names it, `tik-backup repair packs ID` keeps its intact \
                 data, and the next backup stores the rest again",
            )
        })?;
        if is_whole {
            return Ok(());
        }
        Err(Error::repository("data of this backup was removed from the repository while it ran").hint(
            "a prune ran beside this backup, on a storage without locks; the next backup stores the missing data again. \
             Run `prune`, also restic's, only while no backup runs",
        ))
    }

    /// The blobs that count as stored.
    pub(super) fn into_known(self) -> KnownBlobs {
        self.known
    }
}
