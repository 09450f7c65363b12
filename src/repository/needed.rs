//! Whether what snapshots need is there: listed by the index, in packs that the storage has.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use rustic_core::{
    Credentials, FileType, Id, IndexedFullStatus, ReadBackend, TreeId, WriteBackend,
    repofile::{BlobType, MasterKey, SnapshotFile},
};

use super::{Opened, READERS, Repository, known::KnownBlobs, new_handle, rustic_error, storage::Storage};
use crate::{
    error::{Error, Passing, Result},
    stream::cancel::Cancel,
};

/// A repository with its index in memory.
pub(super) type Reader = rustic_core::Repository<IndexedFullStatus>;

/// So many of the blobs that are not there are remembered: one of them decides.
const REMEMBERED: usize = 100_000;
/// So many folders of the newest snapshots a backup looks at when packs are in no index. `check` and `prune` look at all.
const FEW_TREES: usize = 4096;

/// How much of the snapshots is looked at to see whether the index is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// Their roots, and some folders of the newest of each item.
    Newest,
    /// Everything.
    All,
}

/// What was found in a few folders.
#[derive(Default)]
pub(super) struct Found {
    lacking: Vec<Id>,
    /// Whether some of them are folders: what lies below is not known.
    lacks_trees: bool,
    pub(super) trees: Vec<Id>,
    /// Folders that cannot be read, or that lack something themselves.
    pub(super) broken: Vec<Id>,
    pub(super) unreadable: Option<Error>,
}

/// What is not there below some trees.
#[derive(Default)]
struct Lacking {
    /// Blobs that `known` does not have, 100,000 at most.
    blobs: HashSet<Id>,
    /// Whether some of them are folders.
    trees: bool,
    /// Why a tree that should be there cannot be read.
    problem: Option<Error>,
}

impl Lacking {
    /// Whether everything is there.
    ///
    /// # Errors
    /// Nothing is known to be gone, but something could not be read: that may pass.
    fn finds_nothing(self) -> Result<bool> {
        match (self.blobs.is_empty(), self.problem) {
            (true, Some(error)) => Err(error),
            (is_empty, _) => Ok(is_empty),
        }
    }
}

/// What `known` does not have below these trees. At most so many trees are read.
///
/// # Errors
/// It was cancelled.
fn lacking(
    reader: &Reader,
    known: &KnownBlobs,
    roots: Vec<Id>,
    most: usize,
    cancel: &Cancel,
) -> Result<Lacking> {
    let (mut seen, mut lacking) = (HashSet::new(), Lacking::default());
    let mut level = roots;
    loop {
        cancel.check()?;
        let left = most.saturating_sub(seen.len());
        level.retain(|id| seen.insert(*id));
        level.truncate(left);
        if level.is_empty() || lacking.blobs.len() >= REMEMBERED {
            return Ok(lacking);
        }
        let found = look_at_all(reader, known, &level);
        level.clear();
        for Found { lacking: more, lacks_trees, trees, unreadable, .. } in found {
            lacking.problem = lacking.problem.or(unreadable);
            lacking.blobs.extend(more);
            lacking.trees |= lacks_trees;
            level.extend(trees);
        }
    }
}

/// Looks at these trees, several at a time.
pub(super) fn look_at_all(reader: &Reader, known: &KnownBlobs, trees: &[Id]) -> Vec<Found> {
    let part = trees.len().div_ceil(READERS).max(1);
    thread::scope(|scope| {
        let look = |ids| (ids, scope.spawn(move || look(reader, known, ids)));
        let threads: Vec<_> = trees.chunks(part).map(look).collect();
        let panicked = |ids: &[Id]| Found {
            broken: ids.to_vec(),
            unreadable: Some(Error::repository("cannot read a folder of a snapshot")),
            ..Found::default()
        };
        threads.into_iter().map(|(ids, thread)| thread.join().unwrap_or_else(|_| panicked(ids))).collect()
    })
}

fn look(reader: &Reader, known: &KnownBlobs, ids: &[Id]) -> Found {
    let mut found = Found::default();
    for id in ids {
        if !known.has(BlobType::Tree, id) {
            found.lacking.push(*id);
            found.lacks_trees = true;
            found.broken.push(*id);
            continue;
        }
        match reader.get_tree(&TreeId::from(*id)) {
            Ok(tree) => {
                let before = found.lacking.len();
                for node in tree.nodes {
                    let content = node.content.iter().flatten().map(|id| **id);
                    let room = REMEMBERED.saturating_sub(found.lacking.len());
                    found.lacking.extend(content.filter(|id| !known.has(BlobType::Data, id)).take(room));
                    found.trees.extend(node.subtree.map(|id| *id));
                }
                if found.lacking.len() > before {
                    found.broken.push(*id);
                }
            }
            Err(error) => {
                found.broken.push(*id);
                found.unreadable = Some(rustic_error("cannot read a folder of a snapshot", error));
            }
        }
    }
    found
}

impl Repository {
    /// Fails if snapshots need packs that are there and that no index file lists: then the index, or a part of it, is lost,
    /// and with it the way to what is stored. A backup would store everything anew, and a prune would remove what can be
    /// healed. Packs of runs that were killed, or that have not written their index yet, are needed by no snapshot.
    pub(super) fn require_index(&self, known: &KnownBlobs, depth: Depth, cancel: &Cancel) -> Result<()> {
        match self.lost_index(known, depth, cancel)? {
            None => Ok(()),
            Some(lost) => Err(Error::repository(lost).hint(
                "`tik-backup repair index` writes it anew from the packs; until then nothing is written or removed. Do not \
                 remove snapshots: what they need is there",
            )),
        }
    }

    /// Fails if the index, or a part of it, is lost.
    pub(crate) fn require_whole_index(&self, cancel: &Cancel) -> Result<()> {
        let known = KnownBlobs::load(&self.inner, &*self.storage.backend())?;
        self.require_index(&known, Depth::Newest, cancel)
    }

    /// That the index is lost, if it is.
    pub(super) fn lost_index(
        &self,
        known: &KnownBlobs,
        depth: Depth,
        cancel: &Cancel,
    ) -> Result<Option<String>> {
        if known.unindexed.is_empty() {
            return Ok(None);
        }
        let Lacking { blobs: needed, trees: lacks_trees, .. } =
            self.needed_and_unknown(known, depth, cancel)?;
        if needed.is_empty() {
            return Ok(None);
        }
        for (pack, size) in &known.unindexed {
            cancel.check()?;
            // What cannot be read shows elsewhere.
            let Ok(Some(blobs)) = self.pack_header(pack, *size) else { continue };
            let is_needed = blobs.iter().any(|blob| needed.contains(&blob.id));
            // Where folders are gone, what lies below them is not known: it may be this.
            let may_be_needed = lacks_trees && blobs.iter().any(|blob| !known.has(blob.tpe(), &blob.id));
            // A run beside this one may have written index and snapshot since ours were read.
            if (is_needed || may_be_needed) && !self.listed_packs()?.contains(pack) {
                return Ok(Some(lost_text(known, is_needed)));
            }
        }
        Ok(None)
    }

    /// What snapshots need and what counts as not stored. That one root is not known says nothing of what others need.
    fn needed_and_unknown(&self, known: &KnownBlobs, depth: Depth, cancel: &Cancel) -> Result<Lacking> {
        let snapshots = self.snapshot_files()?;
        let unknown: Vec<Id> =
            snapshots.iter().map(|s| *s.tree).filter(|root| !known.has(BlobType::Tree, root)).collect();
        let (roots, most) = match depth {
            Depth::All => (snapshots.iter().map(|s| *s.tree).collect(), usize::MAX),
            Depth::Newest => (newest_roots(&snapshots), FEW_TREES),
        };
        let reader = self.reopen()?.to_indexed().map_err(super::known::unreadable_index)?;
        // That a folder is damaged does not say that the index is lost.
        let mut lacking = lacking(&reader, known, roots, most, cancel)?;
        lacking.blobs.extend(unknown);
        Ok(lacking)
    }

    /// The snapshot files that can be read, of whichever program.
    pub(super) fn snapshot_files(&self) -> Result<Vec<SnapshotFile>> {
        let files = self
            .inner
            .stream_files::<SnapshotFile>()
            .map_err(|e| rustic_error("cannot list the snapshots", e))?;
        Ok(files.filter_map(|file| file.ok().map(|(_, snapshot)| snapshot)).collect())
    }
}

/// That the index, or a part of it, is lost. Whether snapshots need what is in no index file is certain, or only possible.
fn lost_text(known: &KnownBlobs, is_needed: bool) -> String {
    let part = if known.listed == 0 { "" } else { "a part of " };
    let (are, them) = if known.unindexed.len() == 1 { ("is", "it") } else { ("are", "them") };
    let packs = crate::output::count(known.unindexed.len(), "pack");
    let why = if is_needed {
        format!("snapshots need what is in {them}")
    } else {
        format!("snapshots may need what is in {them}: folders that would tell are not there either")
    };
    format!("{part}the index is lost: {packs} in the storage {are} in no index file, and {why}")
}

/// The root of the newest snapshot of each host and path.
fn newest_roots(snapshots: &[SnapshotFile]) -> Vec<Id> {
    let mut newest: HashMap<(&str, String), &SnapshotFile> = HashMap::new();
    for snapshot in snapshots {
        let of = newest.entry((&snapshot.hostname, snapshot.paths.to_string())).or_insert(snapshot);
        if snapshot.time > of.time {
            *of = snapshot;
        }
    }
    newest.into_values().map(|snapshot| *snapshot.tree).collect()
}

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
        self.packs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn written(&self) -> MutexGuard<'_, Vec<Written>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
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
    /// Fails if something below a root is gone, or if a folder cannot be read.
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
