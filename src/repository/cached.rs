//! A storage whose index, snapshots and directories are read from the [`Cache`] where it has them.

use std::{
    collections::HashMap,
    fmt,
    path::Path,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use parking_lot::Mutex;
use rustic_core::{BytesList, FileType, Id, ReadBackend, RusticResult, WriteBackend};

use super::{
    Repository,
    cache::{Cache, Kind, Trust},
    crypto::hash,
    handle::READERS,
};
use crate::workers;

/// A pack of directories of at most this length is read as a whole, for the cache.
const SMALL: u32 = 1 << 20;

/// The cache of an opened repository; empty if none is used.
#[derive(Clone, Default)]
pub(super) struct Slot {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    cache: OnceLock<Cache>,
    /// Small packs in the storage, with their lengths.
    small: Mutex<HashMap<Id, u32>>,
    /// Whether the cache has refused a copy.
    is_full: AtomicBool,
}

impl Slot {
    /// From now on, uses this cache.
    pub(super) fn set(&self, cache: Cache) {
        // A second one is the same.
        let _ = self.shared.cache.set(cache);
    }

    pub(super) fn cache(&self) -> Option<&Cache> {
        self.shared.cache.get()
    }
}

/// A storage with a cache.
pub(super) struct Cached {
    storage: Arc<dyn WriteBackend>,
    slot: Slot,
    /// Whether the storage lists lengths without a request for each file.
    lists_lengths: bool,
}

impl fmt::Debug for Cached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cached").field("storage", &self.storage.location()).finish_non_exhaustive()
    }
}

impl Repository {
    /// From now on, index, snapshots and directories are read from copies in `state_dir` where it has them, if the storage is far
    /// away or the configuration says so. Only for commands that prove nothing: damage in the storage stays unseen as long as
    /// there is a copy.
    pub fn use_cache(&self, state_dir: &Path) {
        self.open_cache(state_dir, Trust::Kept);
    }

    /// As [`Self::use_cache`], for commands that look for damage: every file is read from the storage once.
    pub fn use_fresh_cache(&self, state_dir: &Path) {
        self.open_cache(state_dir, Trust::Fresh);
    }

    fn open_cache(&self, state_dir: &Path, trust: Trust) {
        let is_wanted = self.config.cache.unwrap_or_else(|| self.storage.is_far());
        if is_wanted
            && !self.storage.has_cache()
            && let Some(cache) = Cache::open(state_dir, &self.id(), trust)
        {
            self.storage.use_cache(cache);
        }
    }
}

/// The kind of copies of files of this type.
fn kind(tpe: FileType) -> Option<Kind> {
    match tpe {
        FileType::Index => Some(Kind::Index),
        FileType::Snapshot => Some(Kind::Snapshot),
        FileType::Pack => Some(Kind::Trees),
        FileType::Config | FileType::Key => None,
    }
}

impl Cached {
    pub(super) fn new(storage: Arc<dyn WriteBackend>, slot: &Slot, lists_lengths: bool) -> Self {
        Self { storage, slot: slot.clone(), lists_lengths }
    }

    /// The cache, for files of this type.
    fn of(&self, tpe: FileType) -> Option<(&Cache, Kind)> {
        Some((self.slot.cache()?, kind(tpe)?))
    }

    /// The storage has listed all its files of this type: copies of others are removed, and those of files without a copy made.
    pub(super) fn note_listed(&self, tpe: FileType, files: &[(Id, u32)]) {
        let Some((cache, kind)) = self.of(tpe) else { return };
        cache.listed(kind, files.iter().map(|(id, bytes)| (id, Some(*bytes))));
        if tpe == FileType::Pack {
            let small = files.iter().filter(|(_, bytes)| *bytes <= SMALL);
            *self.slot.shared.small.lock() = small.copied().collect();
        } else {
            self.fetch(cache, tpe, kind, files.iter().map(|(id, _)| *id));
        }
    }

    /// Copies the files that have no copy yet, several at a time: the library would read one or two at a time.
    fn fetch(&self, cache: &Cache, tpe: FileType, kind: Kind, files: impl Iterator<Item = Id>) {
        let missing: Vec<Id> = files.filter(|id| !cache.has(id)).collect();
        let is_full = &self.slot.shared.is_full;
        workers::map(&missing, READERS, |id| {
            if is_full.load(Ordering::Relaxed) {
                return;
            }
            // An unreadable file is reported when it is needed.
            let Ok(content) = self.storage.read_full(tpe, id) else { return };
            if hash(&content) == *id && !cache.put(kind, id, &content) {
                is_full.store(true, Ordering::Relaxed);
            }
        });
    }

    /// The content of a small pack of directories, which is copied. `None` if that was tried in vain: without a copy, it would be
    /// read as a whole for each directory.
    fn copied(&self, cache: &Cache, id: &Id) -> Option<Bytes> {
        let Shared { small, is_full, .. } = &*self.slot.shared;
        if is_full.load(Ordering::Relaxed) || !small.lock().contains_key(id) {
            return None;
        }
        let read = self.storage.read_full(FileType::Pack, id);
        let is_copied = read.as_ref().is_ok_and(|pack| cache.put(Kind::Trees, id, pack));
        if !is_copied {
            small.lock().remove(id);
        }
        // If the whole pack cannot be read, the needed part perhaps can.
        let pack = read.ok()?;
        // A damaged pack is refused by any cache.
        if !is_copied && hash(&pack) == *id {
            is_full.store(true, Ordering::Relaxed);
        }
        Some(pack)
    }
}

impl ReadBackend for Cached {
    fn location(&self) -> String {
        self.storage.location()
    }

    fn list(&self, tpe: FileType) -> RusticResult<Vec<Id>> {
        if self.lists_lengths && kind(tpe).is_some() {
            return Ok(self.list_with_size(tpe)?.into_iter().map(|(id, _)| id).collect());
        }
        let Some((cache, kind)) = self.of(tpe) else { return self.storage.list(tpe) };
        let files = self.storage.list(tpe)?;
        cache.listed(kind, files.iter().map(|id| (id, None)));
        if kind != Kind::Trees {
            self.fetch(cache, tpe, kind, files.iter().copied());
        }
        Ok(files)
    }

    fn list_with_size(&self, tpe: FileType) -> RusticResult<Vec<(Id, u32)>> {
        let files = self.storage.list_with_size(tpe)?;
        self.note_listed(tpe, &files);
        Ok(files)
    }

    fn read_full(&self, tpe: FileType, id: &Id) -> RusticResult<Bytes> {
        // Packs are read for their data, which must come from the storage.
        let Some((cache, kind)) = self.of(tpe).filter(|(_, kind)| *kind != Kind::Trees) else {
            return self.storage.read_full(tpe, id);
        };
        if let Some(copy) = cache.get(kind, id) {
            return Ok(copy);
        }
        let content = self.storage.read_full(tpe, id)?;
        cache.put(kind, id, &content);
        Ok(content)
    }

    fn read_partial(
        &self,
        tpe: FileType,
        id: &Id,
        cacheable: bool,
        offset: u32,
        length: u32,
    ) -> RusticResult<Bytes> {
        let part = |pack: &Bytes| {
            let end = (offset as usize).checked_add(length as usize)?;
            (end <= pack.len()).then(|| pack.slice(offset as usize..end))
        };
        // Only directories are marked as cacheable.
        if let Some((cache, Kind::Trees)) = self.of(tpe).filter(|_| cacheable) {
            if let Some(part) = cache.get(Kind::Trees, id).as_ref().and_then(part) {
                return Ok(part);
            }
            if let Some(part) = self.copied(cache, id).as_ref().and_then(part) {
                return Ok(part);
            }
        }
        self.storage.read_partial(tpe, id, cacheable, offset, length)
    }

    fn needs_warm_up(&self) -> bool {
        self.storage.needs_warm_up()
    }

    fn warm_up(&self, tpe: FileType, id: &Id) -> RusticResult<()> {
        self.storage.warm_up(tpe, id)
    }

    fn warmup_path(&self, tpe: FileType, id: &Id) -> String {
        self.storage.warmup_path(tpe, id)
    }
}

impl WriteBackend for Cached {
    fn create(&self) -> RusticResult<()> {
        self.storage.create()
    }

    fn write_bytes(&self, tpe: FileType, id: &Id, cacheable: bool, content: BytesList) -> RusticResult<()> {
        self.storage.write_bytes(tpe, id, cacheable, content)
    }

    fn remove(&self, tpe: FileType, id: &Id, cacheable: bool) -> RusticResult<()> {
        if let Some((cache, kind)) = self.of(tpe) {
            cache.forget(kind, id);
        }
        self.storage.remove(tpe, id, cacheable)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "cached_tests.rs"]
mod tests;
