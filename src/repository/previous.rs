//! The content of an item's newest snapshot, for the run that makes the next one. Nothing is read before a source requests it.

use std::{collections::HashMap, io::Write, ops::Range, path::Path, sync::OnceLock};

use parking_lot::Mutex;

use super::{
    Hosts, Repository, Snapshot, SnapshotFiles, SnapshotReader, crypto::Hash, directories::FoundFile,
};
use crate::{
    error::{Error, Result},
    stream::{
        files::{Attributes, Files, Node},
        sink::Previous,
    },
};

/// The newest snapshots of all items of this host, read on the first request. Snapshots of another host are of another
/// directory or server, even if its sources have the same names.
pub struct PreviousSnapshots<'r> {
    repository: &'r Repository,
    loaded: OnceLock<Result<Loaded>>,
    /// All snapshots of this host, oldest first; read when one before an item's newest is requested.
    all: OnceLock<Result<Vec<Snapshot>>>,
}

struct Loaded {
    reader: SnapshotReader,
    newest: HashMap<(String, String), Snapshot>,
}

impl<'r> PreviousSnapshots<'r> {
    /// For a repository.
    pub fn new(repository: &'r Repository) -> Self {
        Self { repository, loaded: OnceLock::new(), all: OnceLock::new() }
    }

    /// The previous snapshots of one item.
    pub fn of(&self, source: &str, item: &str) -> PreviousItem<'_> {
        PreviousItem {
            all: self,
            name: (source.to_owned(), item.to_owned()),
            files: OnceLock::new(),
            earlier: OnceLock::new(),
            problem: Mutex::new(None),
        }
    }

    fn loaded(&self) -> Result<&Loaded> {
        let load = || {
            let reader = self.repository.reader()?;
            let (mut snapshots, _) = self.repository.readable_snapshots(Hosts::Own)?;
            // They are ordered oldest first; one dated in the future counts only if there is no other.
            let now = jiff::Timestamp::now();
            snapshots.sort_by_key(|snapshot| !snapshot.is_ahead(now));
            let newest = snapshots.into_iter().map(|s| ((s.source.clone(), s.item.clone()), s)).collect();
            Ok(Loaded { reader, newest })
        };
        self.loaded.get_or_init(load).as_ref().map_err(Clone::clone)
    }
}

/// The newest snapshot of one item, if there is one. Its unreadable parts count as missing, so that they are read from the
/// source again.
pub struct PreviousItem<'p> {
    all: &'p PreviousSnapshots<'p>,
    name: (String, String),
    files: OnceLock<Option<SnapshotFiles<'p>>>,
    /// The snapshots before the newest, the most recent first.
    earlier: OnceLock<Result<Vec<SnapshotFiles<'p>>>>,
    problem: Mutex<Option<String>>,
}

impl<'p> PreviousItem<'p> {
    fn snapshot_files(&self) -> Option<&SnapshotFiles<'p>> {
        let find = || match self.all.loaded() {
            Ok(loaded) => loaded.newest.get(&self.name).map(|s| SnapshotFiles::new(&loaded.reader, s)),
            Err(error) => {
                self.note(&error);
                None
            }
        };
        self.files.get_or_init(find).as_ref()
    }

    fn note(&self, error: &Error) {
        let mut problem = self.problem.lock();
        problem.get_or_insert_with(|| error.summary());
    }

    /// Its files. An unreadable file is recorded as [`Self::problem`].
    pub(super) fn files(&self) -> Option<&dyn Files> {
        self.snapshot_files().map(|_| self as &dyn Files)
    }

    /// Records that something could not be read.
    fn noted<T>(&self, read: Result<T>) -> Result<T> {
        read.inspect_err(|error| self.note(error))
    }

    /// Its files, for callers that know that there is a snapshot.
    fn its_files(&self) -> Result<&SnapshotFiles<'p>> {
        self.snapshot_files().ok_or_else(|| Error::repository("there is no previous snapshot"))
    }

    /// One of its files.
    pub(super) fn file(&self, path: &Path) -> Option<Previous> {
        let found = self.find(path)?;
        let attributes = Attributes {
            mtime: Some(found.mtime),
            ctime: Some(found.ctime),
            inode: found.inode,
            ..Attributes::default()
        };
        Some(Previous { bytes: found.bytes, attributes })
    }

    /// Length and chunks of one of its files.
    pub(super) fn content(&self, path: &Path) -> Option<(u64, Vec<Hash>)> {
        self.find(path).map(|found| (found.bytes, found.content.to_vec()))
    }

    /// The item's snapshots before the newest, the most recent first.
    pub(super) fn earlier(&self) -> Result<&[SnapshotFiles<'p>]> {
        let find = || {
            let loaded = self.all.loaded()?;
            let newest = loaded.newest.get(&self.name).map(|snapshot| &snapshot.id);
            let read = || self.all.repository.readable_snapshots(Hosts::Own).map(|(snapshots, _)| snapshots);
            let all = self.all.all.get_or_init(read).as_ref().map_err(Clone::clone)?;
            let of_item =
                |s: &&Snapshot| (&s.source, &s.item) == (&self.name.0, &self.name.1) && Some(&s.id) != newest;
            Ok(all.iter().rev().filter(of_item).map(|s| SnapshotFiles::new(&loaded.reader, s)).collect())
        };
        self.earlier.get_or_init(find).as_ref().map(Vec::as_slice).map_err(Clone::clone)
    }

    /// Length and chunks of a file of one of [`Self::earlier`].
    pub(super) fn earlier_content(&self, number: usize, path: &Path) -> Result<Option<(u64, Vec<Hash>)>> {
        let Some(files) = self.earlier()?.get(number) else { return Ok(None) };
        Ok(files.find(path)?.map(|found| (found.bytes, found.content.to_vec())))
    }

    fn find(&self, path: &Path) -> Option<FoundFile> {
        self.snapshot_files()?.find(path).unwrap_or_else(|error| {
            self.note(&error);
            None
        })
    }

    /// The first read error.
    pub(super) fn problem(&self) -> Option<String> {
        self.problem.lock().clone()
    }
}

/// Reads its files and records read errors: the new snapshot must not refer to data that may be damaged.
impl Files for PreviousItem<'_> {
    fn list(&self) -> Result<Vec<(String, u64)>> {
        self.noted(self.its_files().and_then(Files::list))
    }

    fn walk(&self, visit: &mut dyn FnMut(Node<'_>) -> Result<()>) -> Result<()> {
        self.walk_into(&|_| true, visit)
    }

    fn walk_into(
        &self,
        enters: &dyn Fn(&Path) -> bool,
        visit: &mut dyn FnMut(Node<'_>) -> Result<()>,
    ) -> Result<()> {
        self.noted(self.its_files().and_then(|files| files.walk_into(enters, visit)))
    }

    fn read(&self, path: &str) -> Result<Vec<u8>> {
        self.noted(self.its_files().and_then(|files| files.read(path)))
    }

    fn copy(&self, path: &str, target: &mut dyn Write) -> Result<u64> {
        self.noted(self.its_files().and_then(|files| files.copy(path, target)))
    }

    fn copy_range(&self, path: &str, range: Range<u64>, target: &mut dyn Write) -> Result<()> {
        self.noted(self.its_files().and_then(|files| files.copy_range(path, range, target)))
    }
}
