//! The index is written anew from the packs. Nothing that could still be of use is removed: new files are written before old
//! ones go.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rustic_core::{FileType, Id, ReadBackend, WriteBackend, repofile::IndexFile};
use serde::Serialize;

use super::{LockGuard, LockOptions, READERS, Repository, counted, packs::Blob, rustic_error, seal::hash};
use crate::{
    error::{Error, Result},
    stream::cancel::Cancel,
};

/// So many blobs go into one index file.
const BLOBS_PER_INDEX: usize = 50_000;

/// What a repair did.
#[derive(Debug, Clone, Default, Serialize)]
pub struct RepairReport {
    /// Packs in the storage.
    pub packs: u64,
    /// Packs that no index file listed, and that one lists now.
    pub indexed: u64,
    /// Packs that an index file listed and that are not there; they were taken out of the index.
    pub lost: u64,
    /// Damaged packs of which everything that is whole was stored again.
    pub salvaged: u64,
    /// Chunks and folders of damaged packs that were stored again.
    pub blobs_salvaged: u64,
    /// Chunks and folders of damaged packs that are lost.
    pub blobs_lost: u64,
    /// Index files that could not be read; they were replaced.
    pub damaged_indexes: u64,
    /// Packs whose contents could not be determined, and why. They were left where they are.
    pub unreadable: Vec<String>,
}

/// A blob as an index file lists it.
#[derive(Debug, Serialize)]
pub(super) struct NewBlob {
    id: Id,
    #[serde(rename = "type")]
    tpe: &'static str,
    offset: u32,
    length: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    uncompressed_length: Option<u32>,
}

/// A pack as an index file lists it.
#[derive(Debug, Serialize)]
pub(super) struct NewPack {
    id: Id,
    blobs: Vec<NewBlob>,
}

/// An index file.
#[derive(Debug, Serialize)]
struct NewIndex<'a> {
    packs: &'a [NewPack],
}

impl NewPack {
    pub(super) fn new(id: Id, blobs: &[Blob]) -> Self {
        let blob = |blob: &Blob| NewBlob {
            id: blob.id,
            tpe: if blob.tree { "tree" } else { "data" },
            offset: blob.offset,
            length: blob.length,
            uncompressed_length: blob.plain,
        };
        Self { id, blobs: blobs.iter().map(blob).collect() }
    }
}

/// Index entries that are not written yet.
#[derive(Default)]
pub(super) struct Entries {
    packs: Vec<NewPack>,
    blobs: usize,
}

/// What became of the index files that were read.
#[derive(Default)]
struct Reviewed {
    /// Packs that the index lists as they are.
    listed: HashSet<Id>,
    /// Packs with another size than the index says, with what it says of them.
    misfits: HashMap<Id, Vec<Blob>>,
    /// Index files to remove at the end.
    obsolete: Vec<Id>,
}

impl Repository {
    /// Writes the index anew where it is not what the packs are: packs that no index file lists are read and listed, those that
    /// are gone are taken out, damaged index files are replaced. Of packs that were cut off, what is whole is stored again.
    pub fn repair_index(
        &self,
        wait: Duration,
        cancel: &Cancel,
        notice: &dyn Fn(&str),
    ) -> Result<RepairReport> {
        let lock = self.lock(&LockOptions { exclusive: true, wait, cancel, notice })?;
        let there: HashMap<Id, u32> = self.packs()?.into_iter().collect();
        let mut report = RepairReport { packs: there.len() as u64, ..RepairReport::default() };
        let mut reviewed = self.review_indexes(&there, &mut report, cancel, notice)?;
        let mut entries = Entries::default();
        for (id, blobs) in std::mem::take(&mut reviewed.misfits) {
            cancel.check()?;
            let size = there.get(&id).copied().unwrap_or_default();
            let pack = match self.pack_header(&id, size) {
                // Its own header is the truth if it can be read.
                Ok(Some(blobs)) => Ok(Some(NewPack::new(id, &blobs))),
                Ok(None) | Err(_) => self.salvage(&id, &blobs, &mut report),
            };
            // Of what cannot be read now, the index goes on saying what it said.
            let pack = pack.unwrap_or_else(|error| {
                report.unreadable.push(format!("{}: {}", id.to_hex().as_str(), error.summary()));
                Some(NewPack::new(id, &blobs))
            });
            pack.map_or(Ok(()), |pack| self.add(&mut entries, pack))?;
            reviewed.listed.insert(id);
        }
        let unlisted: Vec<(Id, u32)> = there
            .iter()
            .filter(|(id, _)| !reviewed.listed.contains(id))
            .map(|(id, size)| (*id, *size))
            .collect();
        if !unlisted.is_empty() {
            notice(&format!("reading {} that no index file lists", counted(unlisted.len() as u64, "pack")));
        }
        self.list_packs_anew(&unlisted, &mut entries, &mut report, cancel, &lock)?;
        self.write_entries(&mut entries)?;
        lock.require_valid()?;
        self.remove_indexes(&reviewed.obsolete)?;
        Ok(report)
    }

    /// Reads all index files. Those that list packs that are not as they say are written again without these.
    fn review_indexes(
        &self,
        there: &HashMap<Id, u32>,
        report: &mut RepairReport,
        cancel: &Cancel,
        notice: &dyn Fn(&str),
    ) -> Result<Reviewed> {
        let backend = self.storage.backend();
        let listed = backend.list(FileType::Index);
        let (mut reviewed, mut lost) = (Reviewed::default(), HashSet::new());
        for file in listed.map_err(|e| rustic_error("cannot list the index files", e))? {
            cancel.check()?;
            let name = file.to_hex();
            let read = backend.read_full(FileType::Index, &file);
            let sealed =
                read.map_err(|e| rustic_error(&format!("cannot read index {}", name.as_str()), e))?;
            let Some(mut index) = self.parse_index(&sealed) else {
                notice(&format!("index {} is damaged: its packs are read instead", name.as_str()));
                report.damaged_indexes += 1;
                reviewed.obsolete.push(file);
                continue;
            };
            let mut changed = hash(&sealed) != file;
            let before = index.packs.len() + index.packs_to_delete.len();
            for packs in [&mut index.packs, &mut index.packs_to_delete] {
                packs.retain(|pack| match there.get(&*pack.id) {
                    None => {
                        lost.insert(*pack.id);
                        false
                    }
                    Some(size) if *size != pack.pack_size() => {
                        reviewed.misfits.insert(*pack.id, pack.blobs.iter().map(Blob::from).collect());
                        false
                    }
                    Some(_) => {
                        reviewed.listed.insert(*pack.id);
                        true
                    }
                });
            }
            changed |= before != index.packs.len() + index.packs_to_delete.len();
            if changed {
                self.write_index(&index)?;
                reviewed.obsolete.push(file);
            }
        }
        reviewed.misfits.retain(|id, _| !reviewed.listed.contains(id));
        report.lost = lost.len() as u64;
        Ok(reviewed)
    }

    /// An index file's content; `None` if it is damaged.
    pub(super) fn parse_index(&self, sealed: &[u8]) -> Option<IndexFile> {
        serde_json::from_slice(&self.sealer.unseal_file(sealed)?).ok()
    }

    /// Writes an index file, unless it would be empty.
    pub(super) fn write_index(&self, index: &IndexFile) -> Result<()> {
        if index.packs.is_empty() && index.packs_to_delete.is_empty() {
            return Ok(());
        }
        self.write_json(index)
    }

    fn write_json(&self, index: &impl Serialize) -> Result<()> {
        let json = serde_json::to_vec(index)
            .map_err(|e| Error::failed("cannot write the repository's index").because(&e))?;
        let sealed = self.sealer.seal_file(&json)?;
        self.storage.write(FileType::Index, hash(&sealed), &sealed)
    }

    /// Removes index files that others replace.
    pub(super) fn remove_indexes(&self, obsolete: &[Id]) -> Result<()> {
        let failed = |e| rustic_error("cannot remove an index file", e);
        let backend = self.storage.backend();
        for id in obsolete {
            if let Err(error) = backend.remove(FileType::Index, id, true) {
                // Another run may have replaced the same file.
                if backend.list(FileType::Index).map_err(failed)?.contains(id) {
                    return Err(failed(error));
                }
            }
        }
        Ok(())
    }

    pub(super) fn add(&self, entries: &mut Entries, pack: NewPack) -> Result<()> {
        entries.blobs += pack.blobs.len();
        entries.packs.push(pack);
        if entries.blobs >= BLOBS_PER_INDEX { self.write_entries(entries) } else { Ok(()) }
    }

    pub(super) fn write_entries(&self, entries: &mut Entries) -> Result<()> {
        if !entries.packs.is_empty() {
            self.write_json(&NewIndex { packs: &entries.packs })?;
        }
        *entries = Entries::default();
        Ok(())
    }

    /// Reads the headers of packs and lists what they hold.
    fn list_packs_anew(
        &self,
        packs: &[(Id, u32)],
        entries: &mut Entries,
        report: &mut RepairReport,
        cancel: &Cancel,
        lock: &LockGuard,
    ) -> Result<()> {
        // A part at a time, so that the entries in memory stay few.
        for part in packs.chunks(READERS * 64) {
            cancel.check()?;
            lock.require_valid()?;
            for (id, header) in self.headers(part) {
                match header {
                    Ok(Some(blobs)) => {
                        report.indexed += 1;
                        self.add(entries, NewPack::new(id, &blobs))?;
                    }
                    Ok(None) => {
                        report.unreadable.push(format!("{}: its header is damaged", id.to_hex().as_str()));
                    }
                    Err(error) => {
                        report.unreadable.push(format!("{}: {}", id.to_hex().as_str(), error.summary()));
                    }
                }
            }
        }
        report.unreadable.sort();
        Ok(())
    }

    /// The headers of packs, read several at a time.
    fn headers(&self, packs: &[(Id, u32)]) -> Vec<(Id, Result<Option<Vec<Blob>>>)> {
        let next = AtomicUsize::new(0);
        let read = Mutex::new(Vec::with_capacity(packs.len()));
        std::thread::scope(|scope| {
            for _ in 0..READERS.min(packs.len()) {
                scope.spawn(|| {
                    while let Some((id, size)) = packs.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let header = self.pack_header(id, *size);
                        read.lock().unwrap_or_else(PoisonError::into_inner).push((*id, header));
                    }
                });
            }
        });
        read.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes packs out of the index.
    pub(super) fn forget_packs(&self, packs: &HashSet<Id>) -> Result<()> {
        let mut obsolete = Vec::new();
        for file in self.inner.stream_files::<IndexFile>().map_err(super::known::unreadable_index)? {
            let (id, mut index) = file.map_err(super::known::unreadable_index)?;
            let before = index.packs.len() + index.packs_to_delete.len();
            index.packs.retain(|pack| !packs.contains(&*pack.id));
            index.packs_to_delete.retain(|pack| !packs.contains(&*pack.id));
            if before != index.packs.len() + index.packs_to_delete.len() {
                self.write_index(&index)?;
                obsolete.push(*id);
            }
        }
        self.remove_indexes(&obsolete)
    }
}
