//! Storing packs and index files.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender};
use parking_lot::{Mutex, MutexGuard};
use rustic_core::FileType;

use super::{
    Shared,
    pack::{FullPack, IndexFile, IndexPack},
};
use crate::{
    error::{Error, Result},
    repository::{crypto::hash, storage::Written},
};

/// An index file is written before the end of a run when this many blobs are not indexed: if a run of many hours is killed, the
/// next one finds its data.
const BLOBS_PER_INDEX: usize = 20_000;
/// An index file is also written after this time, for the same reason.
const INDEX_EVERY: Duration = Duration::from_secs(10 * 60);

/// Stores packs and keeps a list of those that no index file lists yet.
pub(super) struct Store {
    shared: Arc<Shared>,
    pending: Mutex<Vec<IndexPack>>,
    /// When the last index file was written, or the run began.
    indexed: Mutex<Instant>,
}

impl Store {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, pending: Mutex::default(), indexed: Mutex::new(Instant::now()) }
    }

    /// Stores packs until the queue is closed. Used buffers are returned to `spare`.
    pub(super) fn run(&self, packs: &Receiver<FullPack>, spare: &Sender<Vec<u8>>) {
        for pack in packs {
            if self.shared.failure().is_some() {
                continue;
            }
            let ticket = pack.ticket;
            let stored = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.store(pack)))
                .unwrap_or_else(|_| Err(Error::failed("storing a pack panicked")));
            match stored {
                Ok(mut buffer) => {
                    self.shared.packs.done(ticket);
                    buffer.clear();
                    let _ = spare.try_send(buffer);
                }
                Err(error) => self.shared.fail(error),
            }
        }
    }

    fn store(&self, mut pack: FullPack) -> Result<Vec<u8>> {
        pack.close(&self.shared.cipher)?;
        let id = hash(&pack.data);
        let size = pack.data.len() as u64;
        self.require_reserve()?;
        let what = if pack.holds_trees() { Written::Trees } else { Written::Data };
        self.shared.storage.write(what, id, &pack.data)?;
        if self.shared.options.verify_writes {
            self.read_back(id, &pack.data)?;
        }
        self.shared.pack_stored(id, size);
        let (index, buffer) = pack.into_index(id)?;
        let mut pending = self.pending();
        pending.push(index);
        if self.is_index_due()
            || pending.iter().map(|pack| pack.blobs.len()).sum::<usize>() >= BLOBS_PER_INDEX
        {
            self.write_index(&mut pending)?;
        }
        drop(pending);
        Ok(buffer)
    }

    fn read_back(&self, id: rustic_core::Id, written: &[u8]) -> Result<()> {
        let stored = self.shared.storage.read_past_cache(FileType::Pack, id)?;
        if stored == written {
            return Ok(());
        }
        Err(Error::repository(format!("the storage returned other data than was written to pack {}", id.to_hex().as_str()))
            .hint("check the disk, the memory and the network of the storage; nothing that needs this pack was committed"))
    }

    fn pending(&self) -> MutexGuard<'_, Vec<IndexPack>> {
        self.pending.lock()
    }

    /// Whether an index file is due.
    pub(super) fn is_index_due(&self) -> bool {
        self.indexed().elapsed() >= INDEX_EVERY
    }

    fn indexed(&self) -> MutexGuard<'_, Instant> {
        self.indexed.lock()
    }

    /// Writes an index file for all packs that are not indexed yet.
    pub(super) fn flush_index(&self) -> Result<()> {
        let mut pending = self.pending();
        *self.indexed() = Instant::now();
        if pending.is_empty() { Ok(()) } else { self.write_index(&mut pending) }
    }

    /// The list stays locked while its index is written: if it is empty, the index is stored.
    fn write_index(&self, pending: &mut Vec<IndexPack>) -> Result<()> {
        let json = serde_json::to_vec(&IndexFile { packs: pending })
            .map_err(|e| Error::failed("cannot write an index file").because(&e))?;
        let id = self.write_encrypted(FileType::Index, &json)?;
        tracing::debug!(index = &id.to_hex().as_str()[..8], packs = pending.len(), "index file stored");
        pending.clear();
        *self.indexed() = Instant::now();
        Ok(())
    }

    /// Fails while some space is left: on a completely full disk, a prune would have no room for its lock and index.
    fn require_reserve(&self) -> Result<()> {
        let Some(local) = self.shared.storage.local() else { return Ok(()) };
        let (free, reserve) = (local.free_space()?, self.shared.options.reserve);
        if free >= reserve {
            return Ok(());
        }
        Err(Error::repository(format!(
            "the storage is nearly full: {} free, {} are reserved for maintenance",
            crate::output::size(free),
            crate::output::size(reserve)
        ))
        .hint("free space (`tik-backup prune` removes the data of dropped snapshots), then run the backup again"))
    }

    /// Writes an unpacked file and returns its id.
    pub(super) fn write_encrypted(&self, tpe: FileType, json: &[u8]) -> Result<rustic_core::Id> {
        let encrypted = self.shared.cipher.encrypt_file(json)?;
        let id = hash(&encrypted);
        self.shared.storage.write(Written::File(tpe), id, &encrypted)?;
        Ok(id)
    }
}
