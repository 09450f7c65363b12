//! Which blobs the repository has, shared by all items of a run, so that the same bytes are stored once.

use std::{
    collections::{HashMap, HashSet},
    sync::Mutex,
};

use rustic_core::{
    FileType, Id, ReadBackend,
    repofile::{BlobType, IndexFile},
};

use super::{Opened, rustic_error, seal::Hash};
use crate::error::Result;

/// Blobs of one type.
#[derive(Default)]
struct Blobs {
    /// Stored before this run, sorted.
    stored: Vec<Hash>,
    /// Added by this run, with the ticket under which they are being stored.
    added: Mutex<HashMap<Hash, u64>>,
}

/// The blobs of the repository and of the run.
pub(super) struct KnownBlobs {
    data: Blobs,
    trees: Blobs,
    /// Packs that the index lists and that are not there.
    pub(super) missing: HashSet<Id>,
    /// How many packs the index lists.
    pub(super) listed: usize,
}

/// What became of the wish to store a blob.
pub(super) enum Claim {
    /// The repository has it from before.
    Stored,
    /// This run stores it already; its ticket says when that is done.
    Pending,
    /// The caller has to store it under this ticket.
    Ours(u64),
}

impl KnownBlobs {
    /// Reads the repository's index. Blobs whose pack is no longer there, or is marked for deletion, do not count:
    /// they are stored again, which also mends a repository that lost a pack.
    pub(super) fn load(repo: &Opened, storage: &dyn ReadBackend) -> Result<Self> {
        let list = || {
            storage.list(FileType::Pack).map_err(|e| rustic_error("cannot list the repository's packs", e))
        };
        let packs: HashSet<Id> = list()?.into_iter().collect();
        let mut missing = HashSet::new();
        let mut listed = 0;
        let (mut data, mut trees) = (Vec::new(), Vec::new());
        let files = repo
            .stream_files::<IndexFile>()
            .map_err(|e| rustic_error("cannot read the repository's index", e))?;
        for file in files {
            let (_, index) = file.map_err(|e| rustic_error("cannot read the repository's index", e))?;
            for pack in index.packs {
                listed += 1;
                if !packs.contains(&*pack.id) {
                    missing.insert(*pack.id);
                    continue;
                }
                for blob in pack.blobs {
                    let target = if blob.tpe == BlobType::Data { &mut data } else { &mut trees };
                    target.push(*blob.id);
                }
            }
        }
        let sorted = |mut stored: Vec<Hash>| {
            stored.sort_unstable();
            stored.dedup();
            stored.shrink_to_fit();
            Blobs { stored, added: Mutex::default() }
        };
        if !missing.is_empty() {
            // Another run may have stored a pack, and its index, since the packs were listed.
            let there: HashSet<Id> = list()?.into_iter().collect();
            missing.retain(|id| !there.contains(id));
        }
        Ok(Self { data: sorted(data), trees: sorted(trees), missing, listed })
    }

    /// Whether the repository had a blob before this run.
    pub(super) fn has(&self, tpe: BlobType, id: &Hash) -> bool {
        let blobs = if tpe == BlobType::Data { &self.data } else { &self.trees };
        blobs.stored.binary_search(id).is_ok()
    }

    /// Whether the repository had a blob before this run, or this run stores it.
    pub(super) fn is_claimed(&self, tpe: BlobType, id: &Hash) -> bool {
        let blobs = if tpe == BlobType::Data { &self.data } else { &self.trees };
        self.has(tpe, id)
            || blobs.added.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).contains_key(id)
    }

    /// Asks whether a blob must be stored; `ticket` is called once if so.
    pub(super) fn claim(&self, tpe: BlobType, id: &Hash, ticket: impl FnOnce() -> u64) -> Claim {
        let blobs = if tpe == BlobType::Data { &self.data } else { &self.trees };
        if blobs.stored.binary_search(id).is_ok() {
            return Claim::Stored;
        }
        let mut added = blobs.added.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if added.contains_key(id) {
            return Claim::Pending;
        }
        let ticket = ticket();
        added.insert(*id, ticket);
        Claim::Ours(ticket)
    }
}
