//! The packs of a storage, listed once for all steps of a command that need them: on a network storage, a listing is the most
//! expensive step of a run in which nothing has changed.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use parking_lot::Mutex;
use rustic_core::{
    BytesList, Credentials, FileType, Id, ReadBackend, RepositoryBackends, RepositoryOptions, RusticResult,
    WriteBackend,
};

use super::{Repository, errors::rustic_error, handle::Opened};
use crate::error::Result;

/// The files of a storage where packs are.
#[derive(Debug, Default)]
pub(super) struct PackList {
    /// The packs, with their sizes.
    pub(super) packs: Vec<(Id, u32)>,
    /// Paths of files that are being written, or that an interrupted write has left.
    pub(super) unfinished: Vec<String>,
}

/// The packs, and the index files that were read after the packs had been listed.
#[derive(Debug)]
pub(super) struct Seen {
    /// The packs, with their sizes.
    pub(super) packs: HashMap<Id, u32>,
    /// The index files.
    pub(super) index: HashSet<Id>,
}

/// The storage as the library sees it, with packs that were listed before. They are listed again if the index has other files
/// than were read then: another process may have stored packs since.
#[derive(Debug)]
pub(super) struct WithPacks {
    inner: Arc<dyn WriteBackend>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    seen: Seen,
    /// Whether the packs must be listed again.
    is_old: bool,
    /// Whether packs or index files were written or removed through this.
    has_changed: bool,
}

impl WithPacks {
    /// The known packs, which are correct unless another process writes; `None` if they must be listed again.
    pub(super) fn packs(&self) -> Option<HashMap<Id, u32>> {
        let state = self.state.lock();
        (!state.is_old).then(|| state.seen.packs.clone())
    }

    /// Whether packs or index files were written or removed, here or by others.
    pub(super) fn has_changed(&self) -> bool {
        let state = self.state.lock();
        state.is_old || state.has_changed
    }
}

impl Repository {
    /// Another handle of the same repository, whose packs are known.
    pub(super) fn reopen_with(&self, seen: Seen) -> Result<(Opened, Arc<WithPacks>)> {
        let state = Mutex::new(State { seen, is_old: false, has_changed: false });
        let shown = Arc::new(WithPacks { inner: self.storage.backend(), state });
        let options = RepositoryOptions::default().no_cache(true);
        let opened = rustic_core::Repository::new(&options, &RepositoryBackends::new(shown.clone(), None))
            .and_then(|handle| handle.open(&Credentials::Masterkey(self.inner.key())))
            .map_err(|e| rustic_error("cannot open the repository", e))?;
        Ok((opened, shown))
    }
}

impl ReadBackend for WithPacks {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn list_with_size(&self, tpe: FileType) -> RusticResult<Vec<(Id, u32)>> {
        if tpe != FileType::Pack {
            return self.inner.list_with_size(tpe);
        }
        if let Some(packs) = self.packs() {
            return Ok(packs.into_iter().collect());
        }
        let listed = self.inner.list_with_size(tpe)?;
        let mut state = self.state.lock();
        state.seen.packs = listed.iter().copied().collect();
        (state.is_old, state.has_changed) = (false, true);
        Ok(listed)
    }

    fn list(&self, tpe: FileType) -> RusticResult<Vec<Id>> {
        let listed = self.inner.list(tpe)?;
        if tpe == FileType::Index {
            let mut state = self.state.lock();
            let is_same = listed.len() == state.seen.index.len()
                && listed.iter().all(|id| state.seen.index.contains(id));
            if !is_same {
                state.is_old = true;
                state.seen.index = listed.iter().copied().collect();
            }
        }
        Ok(listed)
    }

    fn read_full(&self, tpe: FileType, id: &Id) -> RusticResult<Bytes> {
        self.inner.read_full(tpe, id)
    }

    fn read_partial(
        &self,
        tpe: FileType,
        id: &Id,
        cacheable: bool,
        offset: u32,
        length: u32,
    ) -> RusticResult<Bytes> {
        self.inner.read_partial(tpe, id, cacheable, offset, length)
    }

    fn needs_warm_up(&self) -> bool {
        self.inner.needs_warm_up()
    }

    fn warm_up(&self, tpe: FileType, id: &Id) -> RusticResult<()> {
        self.inner.warm_up(tpe, id)
    }

    fn warmup_path(&self, tpe: FileType, id: &Id) -> String {
        self.inner.warmup_path(tpe, id)
    }
}

impl WriteBackend for WithPacks {
    fn create(&self) -> RusticResult<()> {
        self.inner.create()
    }

    fn write_bytes(&self, tpe: FileType, id: &Id, cacheable: bool, content: BytesList) -> RusticResult<()> {
        let bytes: usize = content.slice().iter().map(|part| part.len()).sum();
        self.inner.write_bytes(tpe, id, cacheable, content)?;
        let mut state = self.state.lock();
        state.has_changed = true;
        match tpe {
            FileType::Pack => {
                state.seen.packs.insert(*id, u32::try_from(bytes).unwrap_or(u32::MAX));
            }
            FileType::Index => {
                state.seen.index.insert(*id);
            }
            _ => {}
        }
        Ok(())
    }

    fn remove(&self, tpe: FileType, id: &Id, cacheable: bool) -> RusticResult<()> {
        self.inner.remove(tpe, id, cacheable)?;
        let mut state = self.state.lock();
        state.has_changed = true;
        match tpe {
            FileType::Pack => state.seen.packs.remove(id).is_some(),
            FileType::Index => state.seen.index.remove(id),
            _ => false,
        };
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::repository::{local::LocalStorage, retry::Patience};

    /// A storage with one pack, another pack that no listing has seen, and an index.
    fn storage(dir: &tempfile::TempDir) -> Arc<LocalStorage> {
        let local = LocalStorage::create_root(dir.path(), None, None, &Patience::short()).unwrap();
        local.create().unwrap();
        for (tpe, number) in [(FileType::Pack, 1), (FileType::Pack, 2), (FileType::Index, 3)] {
            local.write_file(tpe, &id(number), &[b"content"]).unwrap();
        }
        Arc::new(local)
    }

    fn id(number: u8) -> Id {
        Id::new([number; 32])
    }

    fn shown(inner: Arc<LocalStorage>, index: &[u8]) -> WithPacks {
        let seen = Seen {
            packs: HashMap::from([(id(1), 7)]),
            index: index.iter().map(|number| id(*number)).collect(),
        };
        WithPacks { inner, state: Mutex::new(State { seen, is_old: false, has_changed: false }) }
    }

    #[test]
    fn the_packs_are_listed_again_only_if_the_index_has_other_files() {
        let dir = tempfile::tempdir().unwrap();
        let same = shown(storage(&dir), &[3]);
        same.list(FileType::Index).unwrap();
        assert_eq!(same.list_with_size(FileType::Pack).unwrap(), [(id(1), 7)]);
        assert!(!same.has_changed());
        for index in [&[][..], &[4], &[3, 4]] {
            let other = shown(storage(&dir), index);
            other.list(FileType::Index).unwrap();
            assert!(other.packs().is_none());
            assert_eq!(other.list_with_size(FileType::Pack).unwrap().len(), 2, "{index:?}");
            assert!(other.has_changed());
            other.list(FileType::Index).unwrap();
            assert_eq!(other.packs().unwrap().len(), 2, "they are listed once");
        }
    }

    #[test]
    fn packs_that_are_written_and_removed_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let shown = shown(storage(&dir), &[3]);
        shown.write_bytes(FileType::Pack, &id(5), false, b"five5".to_vec().into()).unwrap();
        shown.remove(FileType::Pack, &id(1), false).unwrap();
        shown.write_bytes(FileType::Index, &id(6), false, b"index".to_vec().into()).unwrap();
        shown.list(FileType::Index).unwrap();
        assert_eq!(shown.packs().unwrap(), HashMap::from([(id(5), 5)]));
        assert!(shown.has_changed());
        assert!(shown.remove(FileType::Pack, &id(9), false).is_err());
    }
}
