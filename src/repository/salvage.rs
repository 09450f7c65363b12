//! Stores the intact blobs of damaged packs again as new packs, before the damaged ones are removed from the index.

use std::{
    collections::HashSet,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
    time::Duration,
};

use rustic_core::{FileType, Id, ReadBackend, WriteBackend};

use super::{
    LockOptions, Repository,
    crypto::hash,
    packs::{Blob, is_whole},
    repair::{Entries, NewPack, RepairReport},
    rustic_error,
    storage::Written,
};
use crate::{
    error::{Error, Result},
    stream::cancel::Cancel,
};

impl Repository {
    /// The intact blobs of a damaged pack that held these blobs, each as it is stored.
    ///
    /// # Errors
    /// Nothing of it can be read. The cause may be the storage rather than the pack.
    pub(super) fn whole_blobs(&self, id: &Id, blobs: &[Blob]) -> Result<Vec<(Blob, Vec<u8>)>> {
        let backend = self.storage.backend();
        let (data, problem) = match backend.read_full(FileType::Pack, id) {
            Ok(data) => (Some(data), None),
            Err(error) => (None, Some(error)),
        };
        let mut is_read = data.is_some();
        let mut whole = Vec::new();
        for blob in blobs {
            let start = blob.offset as usize;
            let stored = match &data {
                Some(data) => data.get(start..start.saturating_add(blob.length as usize)).map(<[u8]>::to_vec),
                // One bad sector does not affect the whole pack.
                None => {
                    let part = backend.read_partial(FileType::Pack, id, false, blob.offset, blob.length).ok();
                    part.map(|part| part.to_vec())
                }
            };
            let Some(stored) = stored else { continue };
            is_read = true;
            let mut opened = stored.clone();
            if is_whole(&self.cipher, &mut opened, &Blob { offset: 0, ..*blob }) {
                whole.push((*blob, stored));
            }
        }
        match problem {
            Some(error) if !is_read => {
                Err(rustic_error(&format!("cannot read pack {}", id.to_hex().as_str()), error))
            }
            _ => Ok(whole),
        }
    }

    /// Stores the intact blobs of a damaged pack as a new pack, and returns its index entry.
    pub(super) fn salvage(
        &self,
        id: &Id,
        blobs: &[Blob],
        report: &mut RepairReport,
    ) -> Result<Option<NewPack>> {
        let whole = self.whole_blobs(id, blobs)?;
        self.store_again(blobs, whole, report)
    }

    fn store_again(
        &self,
        blobs: &[Blob],
        whole: Vec<(Blob, Vec<u8>)>,
        report: &mut RepairReport,
    ) -> Result<Option<NewPack>> {
        report.blobs_salvaged += whole.len() as u64;
        report.blobs_lost += (blobs.len() - whole.len()) as u64;
        if whole.is_empty() {
            return Ok(None);
        }
        let (mut data, mut header, mut stored) = (Vec::new(), Vec::new(), Vec::new());
        for (blob, encrypted) in whole {
            let offset = u32::try_from(data.len()).map_err(|_| Error::failed("a pack would be too large"))?;
            data.extend_from_slice(&encrypted);
            header.extend(blob.header_entry());
            stored.push(Blob { offset, ..blob });
        }
        let start = data.len();
        self.cipher.encrypt_with(&mut data, |out| {
            out.extend_from_slice(&header);
            Ok(())
        })?;
        let length =
            u32::try_from(data.len() - start).map_err(|_| Error::failed("a pack would be too large"))?;
        data.extend_from_slice(&length.to_le_bytes());
        let pack = hash(&data);
        self.storage.write(Written::Data, pack, &data)?;
        report.salvaged += 1;
        Ok(Some(NewPack::new(pack, &stored)))
    }

    /// Stores the intact blobs of packs in the index again. The entries of these packs stay in the index until
    /// [`Self::forget_packs`]. Entries of packs whose ids are not returned must stay: these packs could not be read.
    pub(super) fn salvage_packs(&self, packs: &HashSet<Id>) -> Result<(RepairReport, HashSet<Id>)> {
        let (mut report, mut done) = (RepairReport::default(), HashSet::new());
        let mut entries = Entries::default();
        for (id, blobs) in self.indexed_packs(|id| packs.contains(id))?.blobs {
            match self.whole_blobs(&id, &blobs) {
                Ok(whole) => {
                    if let Some(pack) = self.store_again(&blobs, whole, &mut report)? {
                        self.add(&mut entries, pack)?;
                    }
                    done.insert(id);
                }
                Err(error) => {
                    report.unreadable.push(format!("{}: {}", id.to_hex().as_str(), error.summary()));
                }
            }
        }
        self.write_entries(&mut entries)?;
        Ok((report, done))
    }

    /// Copies these damaged packs, given by their ids, into `aside`, stores their intact blobs again, removes them from the index,
    /// and deletes them from the repository.
    pub fn repair_packs(
        &self,
        ids: &[String],
        aside: &Path,
        wait: Duration,
        cancel: &Cancel,
        notice: &dyn Fn(&str),
    ) -> Result<RepairReport> {
        let lock = self.lock(&LockOptions { exclusive: true, wait, cancel, notice })?;
        let there = self.packs()?;
        let chosen: HashSet<Id> = ids.iter().map(|id| choose(id, &there)).collect::<Result<_>>()?;
        let used = self.used_packs()?;
        if let Some(id) = chosen.iter().find(|id| !used.contains(id)) {
            return Err(Error::failed(format!("the index does not list pack {}", id.to_hex().as_str()))
                .hint(
                    "run `tik-backup repair index` first: only the index lists the content of a damaged pack",
                ));
        }
        // This comes first: packs that the index no longer lists are removed by the next prune.
        let copied = self.copy_aside(&chosen, aside, cancel)?;
        cancel.check()?;
        let (mut report, done) = self.salvage_packs(&chosen)?;
        report.packs = there.len() as u64;
        for id in done.difference(&copied) {
            report.unreadable.push(format!(
                "{}: it cannot be read completely; its intact data was stored again, and the next prune removes the rest",
                id.to_hex().as_str()
            ));
        }
        lock.require_valid()?;
        self.forget_packs(&done)?;
        for id in done.intersection(&copied) {
            self.storage
                .backend()
                .remove(FileType::Pack, id, false)
                .map_err(|e| rustic_error("cannot remove a damaged pack", e))?;
            report.moved += 1;
        }
        Ok(report)
    }

    /// Copies packs into a directory, and returns those that could be read. When this returns the copies are on the disk.
    fn copy_aside(&self, packs: &HashSet<Id>, aside: &Path, cancel: &Cancel) -> Result<HashSet<Id>> {
        let failed = |e: io::Error| {
            let error = Error::failed(format!("cannot copy a damaged pack to {}", aside.display()));
            error
                .because(&e)
                .hint("the pack is still in the repository and in its index; free space, and try again")
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(aside).map_err(failed)?;
        crate::fs::owner::adopt_path(aside).map_err(failed)?;
        let mut copied = HashSet::new();
        for id in packs {
            cancel.check()?;
            match self.storage.backend().read_full(FileType::Pack, id) {
                Ok(data) => {
                    write_synced(&aside.join(id.to_hex().as_str()), &data).map_err(failed)?;
                    copied.insert(*id);
                }
                // Unless the storage does not answer, the pack is damaged, and parts of it may still be readable.
                Err(_) => self.require_storage()?,
            }
        }
        File::open(aside).and_then(|folder| folder.sync_all()).map_err(failed)?;
        Ok(copied)
    }
}

/// Writes a file that only its owner can read. An incompletely written file is removed.
fn write_synced(path: &Path, data: &[u8]) -> io::Result<()> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = Path::new(&part);
    let write = || {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.custom_flags(crate::fs::owner::no_links()).open(part)?;
        crate::fs::owner::adopt_path(part)?;
        file.write_all(data)?;
        file.sync_all()?;
        fs::rename(part, path)
    };
    let written = write();
    if written.is_err() {
        // It may not have been created.
        let _ = fs::remove_file(part);
    }
    written
}

/// The pack with this id prefix.
fn choose(prefix: &str, packs: &[(Id, u32)]) -> Result<Id> {
    let wanted = prefix.to_ascii_lowercase();
    let mut found = packs.iter().map(|(id, _)| *id).filter(|id| id.to_hex().as_str().starts_with(&wanted));
    match (found.next(), found.next()) {
        (Some(id), None) if wanted.len() >= 8 => Ok(id),
        (Some(_), _) => Err(Error::usage(format!("`{prefix}` is too short, or matches more than one pack"))
            .hint("give the whole id, as `tik-backup check --read-data` prints it")),
        _ => Err(Error::usage(format!("there is no pack {prefix} in the repository"))
            .hint("`tik-backup check --read-data` names the damaged packs")),
    }
}
