//! Rebuilds the index from the packs. Nothing that could still be needed is removed: new files are written before old ones are
//! removed.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use rustic_core::{FileType, Id, ReadBackend, WriteBackend, repofile::IndexFile};
use serde::Serialize;

use super::{
    LockGuard, LockOptions, Repository, crypto::hash, errors::rustic_error, handle::READERS, lost::Lost,
    packs::Blob, storage::Written,
};
use crate::{
    error::{Error, Result},
    stream::cancel::Cancel,
    workers,
};

/// The maximum number of blobs in one index file.
const BLOBS_PER_INDEX: usize = 50_000;

/// The result of a repair.
#[derive(Debug, Clone, Default, Serialize)]
pub struct RepairReport {
    /// Packs in the storage.
    pub packs: u64,
    /// Packs that were added to the index.
    pub indexed: u64,
    /// Missing packs that were removed from the index.
    pub lost: u64,
    /// Damaged packs that were moved out of the repository.
    pub moved: u64,
    /// Damaged packs whose intact blobs were all stored again.
    pub salvaged: u64,
    /// Chunks and directories of damaged packs that were stored again.
    pub blobs_salvaged: u64,
    /// Chunks and directories of damaged packs that are lost.
    pub blobs_lost: u64,
    /// Index files that could not be read; they were replaced.
    pub damaged_indexes: u64,
    /// Packs whose contents could not be determined, and why. They were left where they are.
    pub unreadable: Vec<String>,
}

impl RepairReport {
    /// Whether this repair has found nothing lost and nothing unreadable.
    pub fn is_whole(&self) -> bool {
        self.lost == 0 && self.blobs_lost == 0 && self.unreadable.is_empty()
    }
}

/// A blob in an index file.
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

/// A pack in an index file.
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

/// Index entries not written yet.
#[derive(Default)]
pub(super) struct Entries {
    packs: Vec<NewPack>,
    blobs: usize,
}

/// The index files compared with the packs in the storage. Nothing is changed yet.
#[derive(Default)]
struct Review {
    /// The packs of the storage, with their sizes.
    there: HashMap<Id, u32>,
    /// Packs that the index lists correctly.
    listed: HashSet<Id>,
    /// Unreadable index files, which are removed at the end.
    damaged: Vec<Id>,
    /// Index files to rewrite: they have a wrong name, or list packs that are missing or have another size.
    stale: Vec<Id>,
    /// Packs in the index that are missing, except for those marked for removal.
    missing: HashSet<Id>,
    /// Packs with another size than the index says.
    misfits: HashSet<Id>,
}

impl Repository {
    /// Rebuilds the index where it does not match the packs: packs that no index file lists are read and added, missing ones are
    /// removed, damaged index files are replaced. The intact blobs of truncated packs are stored again.
    ///
    /// # Errors
    /// Most of the packs are missing, as if the storage were not mounted completely, and `force` is not set; or the storage fails.
    pub fn repair_index(
        &self,
        force: bool,
        wait: Duration,
        cancel: &Cancel,
        notice: &dyn Fn(&str),
    ) -> Result<RepairReport> {
        let lock = self.lock(&LockOptions { exclusive: true, wait, cancel, notice })?;
        let mut review = self.review_indexes(cancel, notice)?;
        if !force {
            self.require_most_packs(&review)?;
        }
        let mut report = RepairReport {
            packs: review.there.len() as u64,
            lost: review.missing.len() as u64,
            damaged_indexes: review.damaged.len() as u64,
            ..RepairReport::default()
        };
        lock.require_valid()?;
        let misfits = self.rewrite_indexes(&mut review, cancel)?;
        let mut entries = Entries::default();
        for (id, blobs) in misfits {
            cancel.check()?;
            let size = review.there.get(&id).copied().unwrap_or_default();
            let pack = match self.pack_header(&id, size) {
                // Its own header takes precedence if it can be read.
                Ok(Some(blobs)) => Ok(Some(NewPack::new(id, &blobs))),
                Ok(None) | Err(_) => self.salvage(&id, &blobs, &mut report),
            };
            // The index entries of unreadable packs are kept.
            let pack = pack.unwrap_or_else(|error| {
                report.unreadable.push(format!("{}: {}", id.to_hex().as_str(), error.summary()));
                Some(NewPack::new(id, &blobs))
            });
            pack.map_or(Ok(()), |pack| self.add(&mut entries, pack))?;
            review.listed.insert(id);
        }
        let there = review.there.iter().map(|(id, size)| (*id, *size));
        let unlisted: Vec<(Id, u32)> = there.filter(|(id, _)| !review.listed.contains(id)).collect();
        if !unlisted.is_empty() {
            let packs = crate::output::count(unlisted.len(), "pack");
            notice(&format!("reading {packs} that no index file lists"));
        }
        self.list_packs_anew(&unlisted, &mut entries, &mut report, cancel, &lock)?;
        self.write_entries(&mut entries)?;
        lock.require_valid()?;
        self.remove_indexes(&review.damaged)?;
        self.remove_indexes(&review.stale)?;
        Ok(report)
    }

    /// Reads all index files and compares them with the packs.
    fn review_indexes(&self, cancel: &Cancel, notice: &dyn Fn(&str)) -> Result<Review> {
        let there: HashMap<Id, u32> = self.packs()?.into_iter().collect();
        let mut review = Review { there, ..Review::default() };
        // With the size in the index, and whether snapshots may need it.
        let mut doubtful: HashMap<Id, (u32, bool)> = HashMap::new();
        let listed = self.storage.backend().list(FileType::Index);
        for file in listed.map_err(|e| rustic_error("cannot list the index files", e))? {
            cancel.check()?;
            let (index, mut stale) = self.read_index(&file)?;
            let Some(index) = index else {
                notice(&format!("index {} is damaged: reading its packs instead", file.to_hex().as_str()));
                review.damaged.push(file);
                continue;
            };
            let marked = index.packs_to_delete.iter().map(|pack| (pack, false));
            for (pack, needed) in index.packs.iter().map(|pack| (pack, true)).chain(marked) {
                let size = pack.pack_size();
                if review.there.get(&*pack.id) == Some(&size) {
                    review.listed.insert(*pack.id);
                } else {
                    stale = true;
                    doubtful.entry(*pack.id).or_insert((size, needed)).1 |= needed;
                }
            }
            if stale {
                review.stale.push(file);
            }
        }
        if !doubtful.is_empty() {
            // Without locks, a backup may have stored the rest of a pack, and its index, since the packs were listed.
            review.there = self.packs()?.into_iter().collect();
        }
        for (id, (size, needed)) in doubtful {
            match review.there.get(&id) {
                None if needed => _ = review.missing.insert(id),
                Some(now) if *now != size => _ = review.misfits.insert(id),
                None | Some(_) => {}
            }
        }
        review.misfits.retain(|id| !review.listed.contains(id));
        Ok(review)
    }

    /// Fails if the storage is probably not mounted completely.
    fn require_most_packs(&self, review: &Review) -> Result<()> {
        let (missing, misfits) = (review.missing.len(), review.misfits.len());
        let lost = Lost { missing, misfits, listed: review.listed.len() + missing + misfits };
        lost.require_most(!self.has_no_snapshot()?)?;
        if review.there.is_empty() && !review.damaged.is_empty() {
            // The content of damaged index files is unknown; without packs it cannot be reconstructed.
            return Err(Error::repository("there are index files but no packs").hint(
                "is the storage mounted completely? Nothing was written or removed; if the packs really are lost, `tik-backup \
                 repair index --force` removes the damaged index files",
            ));
        }
        Ok(())
    }

    /// Rewrites stale index files without packs that are missing or have another size, and returns the entries of the latter.
    /// Files that turn out to be correct are no longer among the stale ones.
    fn rewrite_indexes(&self, review: &mut Review, cancel: &Cancel) -> Result<HashMap<Id, Vec<Blob>>> {
        let mut misfits = HashMap::new();
        let mut replaced = Vec::new();
        for file in std::mem::take(&mut review.stale) {
            cancel.check()?;
            let (Some(mut index), mut changed) = self.read_index(&file)? else { continue };
            let before = index.packs.len() + index.packs_to_delete.len();
            for packs in [&mut index.packs, &mut index.packs_to_delete] {
                packs.retain(|pack| match review.there.get(&*pack.id) {
                    None => false,
                    Some(size) if *size != pack.pack_size() => {
                        if review.misfits.contains(&*pack.id) {
                            misfits.insert(*pack.id, pack.blobs.iter().map(Blob::from).collect());
                        }
                        false
                    }
                    Some(_) => {
                        review.listed.insert(*pack.id);
                        true
                    }
                });
            }
            changed |= before != index.packs.len() + index.packs_to_delete.len();
            if changed {
                self.write_index(&index)?;
                replaced.push(file);
            }
        }
        misfits.retain(|id, _| !review.listed.contains(id));
        review.stale = replaced;
        Ok(misfits)
    }

    /// Reads an index file: its content, or `None` if it is damaged, and whether its name does not match its content.
    fn read_index(&self, file: &Id) -> Result<(Option<IndexFile>, bool)> {
        let read = self.storage.backend().read_full(FileType::Index, file);
        let name = file.to_hex();
        let encrypted = read.map_err(|e| rustic_error(&format!("cannot read index {}", name.as_str()), e))?;
        Ok((self.parse_index(&encrypted), hash(&encrypted) != *file))
    }

    /// An index file's content; `None` if it is damaged.
    pub(super) fn parse_index(&self, encrypted: &[u8]) -> Option<IndexFile> {
        serde_json::from_slice(&self.cipher.decrypt_file(encrypted)?).ok()
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
        let encrypted = self.cipher.encrypt_file(&json)?;
        self.storage.write(Written::File(FileType::Index), hash(&encrypted), &encrypted)
    }

    /// Removes replaced index files.
    pub(super) fn remove_indexes(&self, obsolete: &[Id]) -> Result<()> {
        let failed = |e| rustic_error("cannot remove an index file", e);
        let backend = self.storage.backend();
        for id in obsolete {
            if let Err(error) = backend.remove(FileType::Index, id, true) {
                // A concurrent run may have replaced the same file.
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

    /// Reads the headers of packs and adds their content to the index.
    fn list_packs_anew(
        &self,
        packs: &[(Id, u32)],
        entries: &mut Entries,
        report: &mut RepairReport,
        cancel: &Cancel,
        lock: &LockGuard,
    ) -> Result<()> {
        // One part at a time, to limit the entries in memory.
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
        workers::map(packs, READERS, |(id, size)| (*id, self.pack_header(id, *size)))
    }

    /// Removes packs from the index.
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
