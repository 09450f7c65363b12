//! Copies of small files of the repository in `state_dir/cache/<id of the repository>`, for storages that are far away. They
//! are encrypted as in the repository.
//!
//! A copy counts only if the SHA-256 of its bytes is its name, so that damage cannot matter, and if the storage has listed the
//! file in this process, with the length of the copy. Losing copies costs only time, and so does everything that goes wrong
//! here.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    fs::File,
    io::{self, Read, Write},
    os::fd::OwnedFd,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use rustic_core::Id;
use rustix::{
    fs::{self as rfs, AtFlags, Mode, OFlags, Timespec, Timestamps, UTIME_NOW},
    io::Errno,
};

use super::{
    cache_age::{OBSOLETE, age_of, remove_obsolete},
    crypto::hash,
    local_files::{TMP_MARK, create_directory, create_tmp, entries},
};

/// The directory below `state_dir`.
const FOLDER: &str = "cache";
/// Bytes of packs kept in memory at most.
const IN_MEMORY: usize = 32 << 20;
/// The limits of every cache.
const LIMITS: Limits = Limits { all: 1 << 30, packs: 256 << 20, pack: 16 << 20, free: 256 << 20 };

/// What copies exist of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Index,
    Snapshot,
    /// Packs of directories.
    Trees,
}

impl Kind {
    /// All kinds.
    pub(super) const ALL: [Self; 3] = [Self::Index, Self::Snapshot, Self::Trees];

    /// The directory of the copies.
    pub(super) fn folder(self) -> &'static str {
        match self {
            Self::Index => "index",
            Self::Snapshot => "snapshots",
            Self::Trees => "trees",
        }
    }

    /// The path of a copy, as messages show it.
    fn path(self, name: &str) -> String {
        format!("{}/{name}", self.folder())
    }
}

/// Which copies count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Those of earlier processes too.
    Kept,
    /// Only those of files that this process has read from the storage or stored there.
    Fresh,
}

/// Limits in bytes.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// All copies together.
    all: u64,
    /// The copies of packs; beyond it, the oldest are removed.
    packs: u64,
    /// One pack.
    pack: usize,
    /// Space that stays free on the file system.
    free: u64,
}

/// The copies of one repository.
pub(super) struct Cache {
    limits: Limits,
    /// The directories of the kinds. Files are named relative to them: a symbolic link in place of a directory leads nowhere.
    folders: [OwnedFd; 3],
    trust: Trust,
    /// Files with a copy that the storage has, with their length if the storage has told it.
    usable: Mutex<HashMap<Id, Option<u32>>>,
    /// Packs that were read or stored last.
    recent: Mutex<VecDeque<(Id, Bytes)>>,
    /// Bytes of all copies and of those of packs, once they were counted.
    used: Mutex<Option<Used>>,
    drafts: AtomicU64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Used {
    all: u64,
    packs: u64,
}

impl Cache {
    /// Opens or creates the cache of a repository. `None` if that is not possible.
    pub(super) fn open(state_dir: &Path, repository: &str, trust: Trust) -> Option<Self> {
        match Self::try_open(state_dir, repository, trust) {
            Ok(cache) => Some(cache),
            Err(error) => {
                tracing::debug!(why = %error, "the cache of the repository cannot be used");
                None
            }
        }
    }

    fn try_open(state_dir: &Path, repository: &str, trust: Trust) -> io::Result<Self> {
        let state =
            rfs::open(state_dir, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let cache = below(&state, FOLDER)?;
        let directory = below(&cache, repository)?;
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        // Marks it as used. If this fails, it is created anew one day.
        let _ = rfs::futimens(&directory, &Timestamps { last_access: now, last_modification: now });
        remove_obsolete(&cache, repository);
        let [index, snapshots, trees] = Kind::ALL.map(|kind| below(&directory, kind.folder()));
        Ok(Self {
            limits: LIMITS,
            folders: [index?, snapshots?, trees?],
            trust,
            usable: Mutex::default(),
            recent: Mutex::default(),
            used: Mutex::default(),
            drafts: AtomicU64::new(0),
        })
    }

    /// From now on, copies of these files count: the storage has just listed them. Copies of others are removed.
    pub(super) fn listed<'f>(&self, kind: Kind, files: impl Iterator<Item = (&'f Id, Option<u32>)>) {
        let Ok(names) = entries(self.folder(kind), ".") else { return };
        let (mut copies, mut drafts) = (HashSet::new(), Vec::new());
        for name in names {
            match name.parse::<Id>().ok() {
                Some(id) => _ = copies.insert(id),
                None if name.contains(TMP_MARK) => drafts.push(name),
                // Not a file of the cache.
                None => {}
            }
        }
        let mut usable = self.usable.lock();
        for (id, bytes) in files {
            if copies.remove(id) && (self.trust == Trust::Kept || usable.contains_key(id)) {
                usable.insert(*id, bytes);
            }
        }
        for id in &copies {
            usable.remove(id);
        }
        drop(usable);
        for id in copies {
            self.unlink(kind, id.to_hex().as_str());
        }
        for draft in drafts {
            if self.age(kind, &draft).is_some_and(|age| age >= OBSOLETE) {
                self.unlink(kind, &draft);
            }
        }
    }

    /// The copy of a file, if there is one that counts.
    pub(super) fn get(&self, kind: Kind, id: &Id) -> Option<Bytes> {
        let length = *self.usable.lock().get(id)?;
        if kind == Kind::Trees
            && let Some((_, pack)) = self.recent.lock().iter().find(|(recent, _)| recent == id)
        {
            return Some(pack.clone());
        }
        let name = id.to_hex();
        let copy = match self.read(kind, name.as_str()) {
            Ok(copy) => copy,
            Err(error) => {
                let path = kind.path(name.as_str());
                tracing::debug!(path, why = %error, "a file of the cache cannot be read");
                self.usable.lock().remove(id);
                return None;
            }
        };
        if hash(&copy) != *id {
            tracing::debug!(path = kind.path(name.as_str()), "a file of the cache is damaged and is removed");
            self.forget(kind, id);
            return None;
        }
        if length.is_some_and(|length| u64::from(length) != copy.len() as u64) {
            // The file in the storage is damaged: reading it tells.
            return None;
        }
        let copy = Bytes::from(copy);
        if kind == Kind::Trees {
            self.keep_in_memory(id, copy.clone());
        }
        Some(copy)
    }

    /// Whether there is a copy that counts, unless it is damaged.
    pub(super) fn has(&self, id: &Id) -> bool {
        self.usable.lock().contains_key(id)
    }

    /// Keeps a copy of a file that was just read from the storage or stored there. Returns whether it did.
    pub(super) fn put(&self, kind: Kind, id: &Id, content: &[u8]) -> bool {
        if kind == Kind::Trees && content.len() > self.limits.pack || hash(content) != *id {
            return false;
        }
        let length = u32::try_from(content.len()).ok();
        let name = id.to_hex();
        let store = || {
            if self.read(kind, name.as_str()).is_ok_and(|copy| copy == content) {
                return Ok(());
            }
            self.make_room(kind, content.len() as u64)?;
            self.write(kind, name.as_str(), content)
        };
        let stored = store();
        if let Err(error) = stored {
            let path = kind.path(name.as_str());
            tracing::debug!(path, why = %error, "a file was not added to the cache");
            return false;
        }
        self.usable.lock().insert(*id, length);
        if kind == Kind::Trees {
            self.keep_in_memory(id, Bytes::copy_from_slice(content));
        }
        true
    }

    /// Removes the copy of a file.
    pub(super) fn forget(&self, kind: Kind, id: &Id) {
        if self.usable.lock().remove(id).is_some() {
            self.unlink(kind, id.to_hex().as_str());
        }
        self.recent.lock().retain(|(recent, _)| recent != id);
    }

    fn keep_in_memory(&self, id: &Id, pack: Bytes) {
        let mut recent = self.recent.lock();
        recent.retain(|(other, _)| other != id);
        recent.push_back((*id, pack));
        let mut bytes: usize = recent.iter().map(|(_, pack)| pack.len()).sum();
        while bytes > IN_MEMORY
            && let Some((_, oldest)) = recent.pop_front()
        {
            bytes -= oldest.len();
        }
    }

    fn folder(&self, kind: Kind) -> &OwnedFd {
        let [index, snapshots, trees] = &self.folders;
        match kind {
            Kind::Index => index,
            Kind::Snapshot => snapshots,
            Kind::Trees => trees,
        }
    }

    fn read(&self, kind: Kind, name: &str) -> io::Result<Vec<u8>> {
        // A pipe of this name must not block.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = File::from(rfs::openat(self.folder(kind), name, flags, Mode::empty())?);
        let found = file.metadata()?;
        if !found.is_file() || found.len() > LIMITS.all {
            return Err(io::Error::other("not a file of the cache"));
        }
        let mut content = Vec::with_capacity(usize::try_from(found.len()).unwrap_or(0));
        file.take(LIMITS.all).read_to_end(&mut content)?;
        Ok(content)
    }

    /// Writes a copy. It is not synced: after a crash, its content shows whether it is intact.
    fn write(&self, kind: Kind, name: &str, content: &[u8]) -> io::Result<()> {
        let number = self.drafts.fetch_add(1, Ordering::Relaxed);
        let draft = format!("{name}{TMP_MARK}{}-{number}", std::process::id());
        let folder = self.folder(kind);
        let written = create_tmp(folder, ".", &draft)
            .and_then(|mut file| file.write_all(content))
            .and_then(|()| Ok(rfs::renameat(folder, &draft, folder, name)?));
        if written.is_err() {
            let _ = rfs::unlinkat(folder, &draft, AtFlags::empty());
            return written;
        }
        if let Some(used) = &mut *self.used.lock() {
            used.all += content.len() as u64;
            used.packs += if kind == Kind::Trees { content.len() as u64 } else { 0 };
        }
        Ok(())
    }

    /// Fails if there is no room for another copy.
    fn make_room(&self, kind: Kind, bytes: u64) -> io::Result<()> {
        let mut used = self.used.lock();
        let mut now = *used.get_or_insert_with(|| self.count());
        let is_too_much = |now: Used| {
            now.all + bytes > self.limits.all || kind == Kind::Trees && now.packs + bytes > self.limits.packs
        };
        if is_too_much(now) {
            self.remove_oldest_packs();
            now = *used.insert(self.count());
        }
        let room = rfs::fstatvfs(self.folder(kind))?;
        let free = room.f_bavail.saturating_mul(room.f_frsize);
        if now.all + bytes > self.limits.all || free < bytes.saturating_add(self.limits.free) {
            return Err(Errno::NOSPC.into());
        }
        Ok(())
    }

    /// The files of a kind: name, length and age.
    fn files(&self, kind: Kind) -> Vec<(String, u64, Duration)> {
        let folder = self.folder(kind);
        let names = entries(folder, ".").unwrap_or_default();
        let of = |name: String| {
            let stat = rfs::statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
            let age = age_of(&stat).unwrap_or_default();
            Some((name, u64::try_from(stat.st_size).unwrap_or(0), age))
        };
        names.into_iter().filter_map(of).collect()
    }

    fn count(&self) -> Used {
        let bytes = |kind| self.files(kind).iter().map(|(_, bytes, _)| bytes).sum::<u64>();
        let packs = bytes(Kind::Trees);
        Used { all: packs + bytes(Kind::Index) + bytes(Kind::Snapshot), packs }
    }

    /// Removes the oldest packs until half of the room is free.
    fn remove_oldest_packs(&self) {
        let mut files = self.files(Kind::Trees);
        files.sort_by_key(|(_, _, age)| std::cmp::Reverse(*age));
        let mut bytes: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        for (name, size, _) in files {
            if bytes <= self.limits.packs / 2 {
                return;
            }
            self.unlink(Kind::Trees, &name);
            bytes -= size;
        }
    }

    fn age(&self, kind: Kind, name: &str) -> Option<Duration> {
        age_of(&rfs::statat(self.folder(kind), name, AtFlags::SYMLINK_NOFOLLOW).ok()?)
    }

    fn unlink(&self, kind: Kind, name: &str) {
        if let Err(error) = rfs::unlinkat(self.folder(kind), name, AtFlags::empty()) {
            tracing::debug!(path = kind.path(name), why = %error, "a file of the cache was not removed");
        }
    }
}

/// A directory in another one, created if it is missing. Symbolic links are not followed.
fn below(directory: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let open = || rfs::openat(directory, name, flags, Mode::empty());
    match open() {
        Err(Errno::NOENT) => {
            create_directory(directory, name)?;
            Ok(open()?)
        }
        other => Ok(other?),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "cache_tests.rs"]
mod tests;
