//! The blobs of the repository, shared by all items of a run, so that the same bytes are stored once.

use std::collections::{HashMap, HashSet};

use parking_lot::{Mutex, RwLock};
use rustic_core::{
    Id,
    repofile::{BlobType, IndexFile},
};

use super::{
    crypto::Hash, errors::rustic_error, handle::Opened, lost::Lost, pack_list::Seen, storage::Storage,
};
use crate::error::{Error, Result};

/// Blobs of one type.
#[derive(Default)]
struct Blobs {
    /// Stored before this run, sorted.
    stored: RwLock<Vec<Hash>>,
    /// Added by this run, with the ticket of their storing.
    added: Mutex<HashMap<Hash, u64>>,
}

impl Blobs {
    fn has(&self, id: &Hash) -> bool {
        self.stored.read().binary_search(id).is_ok()
    }
}

/// The blobs of the repository and of the run.
pub(super) struct KnownBlobs {
    data: Blobs,
    trees: Blobs,
    /// Packs that the index lists and that do not exist.
    pub(super) missing: HashSet<Id>,
    /// Packs whose size differs from the index: they were truncated, or data was appended.
    pub(super) misfits: HashSet<Id>,
    /// Existing packs, with their sizes, that no index file lists: of a run that has not written its index yet or was killed,
    /// or of a lost index.
    pub(super) unindexed: Vec<(Id, u32)>,
    /// Packs whose blobs count as stored, sorted.
    pub(super) sound: Vec<Id>,
    /// How many packs the index lists.
    pub(super) listed: usize,
    /// Packs that are marked for deletion and do not exist.
    pub(super) gone_marked: HashSet<Id>,
    /// Bytes of all existing packs.
    pub(super) bytes: u64,
}

/// What the index files say, compared with a listing of the packs.
#[derive(Default)]
struct IndexRead {
    /// The files.
    files: HashSet<Id>,
    /// All packs in them.
    known: HashSet<Id>,
    /// Packs that exist and have the right size.
    sound: Vec<Id>,
    /// Packs that are missing or have a wrong size, with the size in the index.
    doubtful: HashMap<Id, u32>,
    /// Packs that are marked for deletion and missing.
    marked: HashSet<Id>,
    /// Blobs of the sound packs.
    data: Vec<Hash>,
    trees: Vec<Hash>,
}

impl IndexRead {
    fn add(&mut self, file: Id, index: IndexFile, packs: &HashMap<Id, u32>) {
        self.files.insert(file);
        for pack in index.packs_to_delete {
            self.known.insert(*pack.id);
            if !packs.contains_key(&*pack.id) {
                self.marked.insert(*pack.id);
            }
        }
        for pack in index.packs {
            self.known.insert(*pack.id);
            let size = pack.pack_size();
            if packs.get(&*pack.id) != Some(&size) {
                self.doubtful.insert(*pack.id, size);
                continue;
            }
            self.sound.push(*pack.id);
            for blob in pack.blobs {
                let target = if blob.tpe == BlobType::Data { &mut self.data } else { &mut self.trees };
                target.push(*blob.id);
            }
        }
    }
}

fn sorted(mut stored: Vec<Hash>) -> Vec<Hash> {
    stored.sort_unstable();
    stored.dedup();
    stored.shrink_to_fit();
    stored
}

/// The result of claiming a blob.
pub(super) enum Claim {
    /// The repository had it before this run.
    Stored,
    /// This run is storing it already, under this ticket.
    Pending,
    /// The caller must store it under this ticket.
    Ours(u64),
}

impl KnownBlobs {
    /// Lists the packs and reads the index.
    pub(super) fn load(repo: &Opened, storage: &Storage) -> Result<Self> {
        Ok(Self::load_with(repo, storage, storage.packs()?.packs)?.0)
    }

    /// Reads the repository's index after its packs were listed. Blobs whose pack is missing, has a wrong size or is marked for
    /// deletion do not count as stored. They are stored again, which also repairs a repository that has lost a pack. Also returns
    /// the packs; they were listed again if that was necessary.
    pub(super) fn load_with(
        repo: &Opened,
        storage: &Storage,
        listed: Vec<(Id, u32)>,
    ) -> Result<(Self, Seen)> {
        let packs: HashMap<Id, u32> = listed.into_iter().collect();
        let mut read = IndexRead::default();
        for file in repo.stream_files::<IndexFile>().map_err(unreadable_index)? {
            let (id, index) = file.map_err(unreadable_index)?;
            read.add(*id, index, &packs);
        }
        let IndexRead { files, known, sound, doubtful, data, trees, marked } = read;
        let blobs = |stored| Blobs { stored: RwLock::new(sorted(stored)), added: Mutex::default() };
        let sound = sorted(sound);
        let listed = sound.len() + doubtful.len();
        let unindexed = packs.iter().filter(|(id, _)| !known.contains(*id)).map(|(id, size)| (*id, *size));
        let unindexed = unindexed.collect();
        let (mut missing, mut misfits) = (HashSet::new(), HashSet::new());
        let mut there = packs;
        if !doubtful.is_empty() {
            // Another run may have stored the rest of a pack, and its index, since the packs were listed.
            there = storage.packs()?.packs.into_iter().collect();
            for (id, size) in doubtful {
                match there.get(&id) {
                    None => _ = missing.insert(id),
                    Some(now) if *now != size => _ = misfits.insert(id),
                    Some(_) => {}
                }
            }
        }
        let bytes = there.values().map(|size| u64::from(*size)).sum();
        let (data, trees) = (blobs(data), blobs(trees));
        let known =
            Self { data, trees, missing, misfits, gone_marked: marked, unindexed, sound, listed, bytes };
        Ok((known, Seen { packs: there, index: files }))
    }

    /// The number of missing and truncated packs.
    pub(super) fn lost(&self) -> Lost {
        Lost { missing: self.missing.len(), misfits: self.misfits.len(), listed: self.listed }
    }

    /// Updates the state: `fresh` was read just now, after everything claimed under a ticket below `stored` had been stored
    /// and indexed. Blobs that it lacks are stored again when they are claimed next.
    pub(super) fn forget_lost(&self, fresh: Self, stored: u64) {
        for (ours, theirs) in [(&self.data, fresh.data), (&self.trees, fresh.trees)] {
            let there = theirs.stored.into_inner();
            let mut added = ours.added.lock();
            added.retain(|id, ticket| *ticket >= stored || there.binary_search(id).is_ok());
            *ours.stored.write() = there;
        }
    }

    /// Whether the repository had a blob before this run.
    pub(super) fn has(&self, tpe: BlobType, id: &Hash) -> bool {
        if tpe == BlobType::Data { self.data.has(id) } else { self.trees.has(id) }
    }

    /// Whether the repository had a blob before this run, or this run stores it.
    pub(super) fn is_claimed(&self, tpe: BlobType, id: &Hash) -> bool {
        let blobs = if tpe == BlobType::Data { &self.data } else { &self.trees };
        self.has(tpe, id) || blobs.added.lock().contains_key(id)
    }

    /// Claims a blob; `ticket` is called once if it must be stored.
    pub(super) fn claim(&self, tpe: BlobType, id: &Hash, ticket: impl FnOnce() -> u64) -> Claim {
        let blobs = if tpe == BlobType::Data { &self.data } else { &self.trees };
        if blobs.has(id) {
            return Claim::Stored;
        }
        let mut added = blobs.added.lock();
        if added.contains_key(id) {
            return Claim::Pending;
        }
        let ticket = ticket();
        added.insert(*id, ticket);
        Claim::Ours(ticket)
    }
}

/// The error for an unreadable index, with a hint.
#[allow(clippy::boxed_local)] // the library returns boxed errors
pub(super) fn unreadable_index(error: Box<rustic_core::RusticError>) -> Error {
    rustic_error("cannot read the repository's index", error).hint(
        "if the storage is sound, `tik-backup check` names the damaged file and `tik-backup repair index` rebuilds the \
         index; nothing was written or removed",
    )
}
