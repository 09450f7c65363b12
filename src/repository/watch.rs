//! Whether what a run relies on stays where it is: on storages without locks a prune elsewhere may remove it.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicBool, Ordering},
};

use parking_lot::{Mutex, MutexGuard};
use rustic_core::{Credentials, FileType, Id, ReadBackend, WriteBackend, repofile::MasterKey};

use super::{
    Opened, Repository,
    known::KnownBlobs,
    needed::{Reader, lacking},
    new_handle, rustic_error,
    storage::Storage,
};
use crate::{
    error::{Error, Passing, Result},
    stream::cancel::Cancel,
};

/// A snapshot that a run has written, with the root of its tree.
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

/// What the end of a run has seen of the snapshots that it wrote where no lock keeps a prune out.
#[derive(Debug, Default)]
pub struct Seen {
    /// Ids of snapshots that were removed again, because a prune elsewhere had removed what they need.
    pub removed: Vec<String>,
    /// Snapshots of which it is not known whether what they need is there, or that lack something and could not be removed.
    pub unconfirmed: Vec<Written>,
    /// Why that is so.
    pub error: Option<Error>,
}

/// Sees whether what a run needs is there: on storages without locks a prune elsewhere may remove it.
pub(super) struct Watch {
    storage: Storage,
    key: MasterKey,
    /// Whether a lock keeps others from removing anything.
    locked: bool,
    /// Packs on which the run relies, as far as they are still there.
    packs: Mutex<HashSet<Id>>,
    /// Snapshots that the run has written and that were not confirmed yet.
    written: Mutex<Vec<Written>>,
    /// Whether something was gone, now or when an earlier writer of the run looked.
    in_doubt: AtomicBool,
}

/// The repository as it is at a moment.
pub(super) struct Present {
    reader: Reader,
    known: KnownBlobs,
}

impl Watch {
    /// Watches over what counts as stored at the beginning of a run.
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

    /// The run has stored a pack.
    pub(super) fn stored(&self, pack: Id) {
        if !self.locked {
            self.packs().insert(pack);
        }
    }

    /// The run has written a snapshot.
    pub(super) fn committed(&self, snapshot: Id, root: Id) {
        if !self.locked {
            self.written().push(Written { snapshot, root });
        }
    }

    /// Takes over snapshots that an earlier writer of the run could not confirm. What is gone since it wrote them does not
    /// show in the packs on which this one relies.
    pub(super) fn take_over(&self, written: Vec<Written>) {
        if !written.is_empty() {
            self.in_doubt.store(true, Ordering::SeqCst);
            self.written().extend(written);
        }
    }

    /// Lists the packs. If some are gone since the last time, the index is read anew.
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
        // Snapshots that were written before are looked at in the end: by then the packs below are no longer missed.
        self.in_doubt.store(true, Ordering::SeqCst);
        let present = self.present()?;
        self.packs().retain(|pack| there.contains(pack));
        Ok(Some(present))
    }

    /// The repository as it is now.
    pub(super) fn present(&self) -> Result<Present> {
        let known = KnownBlobs::load(&self.open()?, &*self.storage.backend())?;
        let reader = self.open()?.to_indexed().map_err(super::known::unreadable_index)?;
        Ok(Present { reader, known })
    }

    fn open(&self) -> Result<Opened> {
        new_handle(&self.storage)?
            .open(&Credentials::Masterkey(self.key.clone()))
            .map_err(|e| rustic_error("cannot open the repository", e))
    }

    /// At the end of a run: removes its snapshots that need what is gone. What could not be looked at is kept for
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
            // The storage has been waited for already.
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

    /// Removes a snapshot that needs what is gone; whether it did.
    fn remove_if_broken(&self, present: &Present, written: Written) -> Result<bool> {
        // A run that was told to end must not leave it either.
        let cancel = Cancel::new();
        if lacking(&present.reader, &present.known, vec![written.root], usize::MAX, &cancel)?
            .finds_nothing()?
        {
            return Ok(false);
        }
        let backend = self.storage.backend();
        let Err(error) = backend.remove(FileType::Snapshot, &written.snapshot, true) else { return Ok(true) };
        // Somebody else may have removed it.
        if backend.list(FileType::Snapshot).is_ok_and(|there| !there.contains(&written.snapshot)) {
            return Ok(true);
        }
        let what = format!("cannot remove snapshot {}, which lost what it needs", &written.id()[..8]);
        Err(rustic_error(&what, error))
    }

    /// Snapshots that were written and not confirmed, which are forgotten here.
    pub(super) fn unconfirmed(&self) -> Vec<Written> {
        std::mem::take(&mut *self.written())
    }

    /// What [`Self::remove_broken`] found, in whole.
    pub(super) fn seen(&self, (removed, error): (Vec<String>, Option<Error>)) -> Seen {
        let unconfirmed = self.unconfirmed();
        let error = error.map(|error| {
            error.hint(
                "whether all of what this run stored is there could not be seen: run `tik-backup check`",
            )
        });
        Seen { removed, unconfirmed, error }
    }
}

impl Repository {
    /// Looks once more at snapshots that the end of a run could not confirm, and removes those that need what is gone.
    pub(crate) fn confirm(&self, unconfirmed: Vec<Written>) -> Seen {
        let watch = Watch {
            storage: self.storage.clone(),
            key: self.inner.key(),
            locked: false,
            packs: Mutex::default(),
            written: Mutex::default(),
            in_doubt: AtomicBool::new(true),
        };
        watch.take_over(unconfirmed);
        watch.seen(watch.remove_broken())
    }
}

impl Present {
    /// Fails if something below a root is gone, or if a directory cannot be read.
    pub(super) fn require(&self, root: Id, cancel: &Cancel) -> Result<()> {
        let is_whole = lacking(&self.reader, &self.known, vec![root], usize::MAX, cancel)?.finds_nothing();
        let is_whole = is_whole.map_err(|error| {
            error.hint(
                "a pack is damaged: `tik-backup check --read-data` names it, `tik-backup repair packs ID` keeps what is whole \
                 of it, and the next backup stores again what is not",
            )
        })?;
        if is_whole {
            return Ok(());
        }
        Err(Error::repository("data of this backup was removed from the repository while it ran").hint(
            "a prune ran beside this backup, on a storage where backups cannot lock it out; the next backup stores again what \
             is gone. Run `prune`, that of restic too, only while no backup runs",
        ))
    }

    /// What counts as stored.
    pub(super) fn into_known(self) -> KnownBlobs {
        self.known
    }
}
