//! Reads whole packs and compares them with their names and with the index. A pack has the layout of restic's repository
//! format: encrypted blobs, the encrypted header that lists them, and the header's length in four bytes.

use std::{
    collections::{HashMap, HashSet},
    io::Read,
};

use rustic_core::{
    FileType, Id, ReadBackend,
    repofile::{BlobType, IndexBlob, IndexFile},
};
use sha2::{Digest, Sha256};

use super::{
    Repository,
    crypto::{Cipher, OVERHEAD, hash},
    rustic_error,
};
use crate::{error::Result, stream::cancel::Cancel, workers};

/// The limit for the total size of packs that are read at the same time, unless a single one is larger.
const MEMORY: u64 = 256 << 20;
/// The maximum number of threads: one or two keep a disk busy.
const MOST_WORKERS: usize = 4;
/// Bytes of the header's length at the end of a pack.
const LENGTH: usize = 4;
/// Bytes of an id.
const ID: usize = 32;
/// The number of bytes first read from a pack's end: most headers are shorter.
const TAIL: u32 = 32 << 10;

/// A blob as the index and the header of its pack describe it. Sorted by offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Blob {
    pub(super) offset: u32,
    /// Bytes in the pack, encryption included.
    pub(super) length: u32,
    /// Bytes after decompression; `None` if it is stored as it is.
    pub(super) plain: Option<u32>,
    pub(super) tree: bool,
    pub(super) id: Id,
}

impl Blob {
    /// Its type.
    pub(super) fn tpe(&self) -> BlobType {
        if self.tree { BlobType::Tree } else { BlobType::Data }
    }

    /// Its entry in the header of a pack.
    pub(super) fn header_entry(&self) -> Vec<u8> {
        let kind = u8::from(self.tree) + if self.plain.is_some() { 2 } else { 0 };
        let mut entry = vec![kind];
        entry.extend(self.length.to_le_bytes());
        entry.extend(self.plain.into_iter().flat_map(u32::to_le_bytes));
        // The bytes of an id are accessible only as text.
        entry.extend(super::id_bytes(self.id.to_hex().as_str()).into_iter().flatten());
        entry
    }
}

impl From<&IndexBlob> for Blob {
    fn from(blob: &IndexBlob) -> Self {
        Self {
            offset: blob.location.offset,
            length: blob.location.length,
            plain: blob.location.uncompressed_length.map(Into::into),
            tree: blob.tpe == BlobType::Tree,
            id: *blob.id,
        }
    }
}

/// The packs to read, with their index entries.
#[derive(Debug, Default)]
pub(super) struct IndexedPacks {
    pub(super) blobs: HashMap<Id, Vec<Blob>>,
}

/// The result of reading packs.
#[derive(Debug, Default)]
pub(super) struct PacksRead {
    /// How many were read.
    pub(super) read: u64,
    /// A sentence for each damaged one, with its id; sorted.
    pub(super) errors: Vec<String>,
    /// The packs that were read.
    pub(super) packs: HashSet<Id>,
    /// The damaged ones among them.
    pub(super) damaged: Vec<Id>,
}

impl Repository {
    /// Ids of packs in the index that are not marked for removal.
    pub(super) fn used_packs(&self) -> Result<HashSet<Id>> {
        let mut used = HashSet::new();
        self.each_index(|index| used.extend(index.packs.iter().map(|pack| *pack.id)))?;
        Ok(used)
    }

    /// Index entries of the packs that `chosen` selects, without those marked for removal: these are unused, and the index need
    /// not list their content.
    pub(super) fn indexed_packs(&self, chosen: impl Fn(&Id) -> bool) -> Result<IndexedPacks> {
        let mut blobs: HashMap<Id, Vec<Blob>> = HashMap::new();
        self.each_index(|index| {
            for pack in index.packs.iter().filter(|pack| chosen(&pack.id)) {
                blobs.entry(*pack.id).or_default().extend(pack.blobs.iter().map(Blob::from));
            }
        })?;
        for listed in blobs.values_mut() {
            listed.sort_unstable();
            // More than one index file may list a pack.
            listed.dedup();
        }
        Ok(IndexedPacks { blobs })
    }

    fn each_index(&self, mut each: impl FnMut(&IndexFile)) -> Result<()> {
        for file in self.inner.stream_files::<IndexFile>().map_err(super::known::unreadable_index)? {
            each(&file.map_err(super::known::unreadable_index)?.1);
        }
        Ok(())
    }

    /// The blobs in the header of a pack, independent of the index; `None` if the header is damaged.
    pub(super) fn pack_header(&self, id: &Id, size: u32) -> Result<Option<Vec<Blob>>> {
        let tail = |length: u32| {
            let read = self.storage.backend().read_partial(FileType::Pack, id, false, size - length, length);
            read.map_err(|e| rustic_error(&format!("cannot read pack {}", id.to_hex().as_str()), e))
        };
        let Some(shortest) = size.checked_sub((LENGTH + OVERHEAD) as u32) else { return Ok(None) };
        let mut data = tail(size.min(TAIL))?;
        let Some(length) = data.last_chunk::<LENGTH>().map(|length| u32::from_le_bytes(*length)) else {
            return Ok(None);
        };
        if length > shortest + OVERHEAD as u32 {
            return Ok(None);
        }
        if length as usize + LENGTH > data.len() {
            data = tail(length + LENGTH as u32)?;
        }
        Ok(read_header(&self.cipher, &data, size as usize))
    }

    /// Reads all packs of `there` (packs in the storage, with their sizes) that are in `indexed`.
    pub(super) fn read_packs(
        &self,
        there: &[(Id, u32)],
        indexed: &IndexedPacks,
        cancel: &Cancel,
    ) -> Result<PacksRead> {
        let packs: Vec<_> = there
            .iter()
            .filter_map(|(id, size)| indexed.blobs.get(id).map(|blobs| (id, *size, blobs.as_slice())))
            .collect();
        let largest = packs.iter().map(|(_, size, _)| u64::from(*size)).max().unwrap_or(1).max(1);
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let fitting = usize::try_from(MEMORY / largest).unwrap_or(usize::MAX);
        let workers = cores.clamp(2, MOST_WORKERS).min(fitting).max(1);
        let found = workers::map(&packs, workers, |(id, size, blobs)| {
            if cancel.is_cancelled() {
                return None;
            }
            let damage = self.read_pack(id, *size, blobs).err()?;
            Some((format!("pack {}: {damage}", id.to_hex().as_str()), **id))
        });
        cancel.check()?;
        let mut errors: Vec<_> = found.into_iter().flatten().collect();
        errors.sort();
        let (errors, damaged) = errors.into_iter().unzip();
        let ids = packs.iter().map(|(id, ..)| **id).collect();
        Ok(PacksRead { read: packs.len() as u64, errors, packs: ids, damaged })
    }

    /// Checks a pack.
    fn read_pack(&self, id: &Id, size: u32, blobs: &[Blob]) -> Result<(), String> {
        let expected = pack_len(blobs);
        if u64::from(size) > expected {
            return Err(format!("its size is {size} bytes, but {expected} according to the index"));
        }
        let read = self.storage.backend().read_full(FileType::Pack, id);
        let data = read.map_err(|e| rustic_error("it cannot be read", e).summary())?;
        let name_fits = hash(&data) == *id;
        verify(&self.cipher, data.into(), blobs, name_fits)
    }
}

/// The size of a pack with these blobs.
fn pack_len(blobs: &[Blob]) -> u64 {
    let entries = blobs.iter().map(|blob| u64::from(blob.length) + entry_len(blob.plain.is_some()) as u64);
    entries.sum::<u64>() + (OVERHEAD + LENGTH) as u64
}

/// The size of an entry in a pack's header: type, length, for a compressed blob its uncompressed length, id.
fn entry_len(compressed: bool) -> usize {
    1 + 4 + if compressed { 4 } else { 0 } + ID
}

/// Compares a pack's content with its index entries; `name_fits` if its bytes hash to its name. The error is a sentence with
/// all findings.
fn verify(cipher: &Cipher, mut data: Vec<u8>, blobs: &[Blob], name_fits: bool) -> Result<(), String> {
    let mut damage = Vec::new();
    if !name_fits {
        damage.push("its content does not match its name".to_owned());
    }
    match read_header(cipher, &data, data.len()) {
        None => damage.push("its header cannot be read".to_owned()),
        Some(mut listed) => {
            listed.sort_unstable();
            if listed != blobs {
                damage.push("its header lists other blobs than the index".to_owned());
            }
        }
    }
    // The header has been read: blobs are decrypted where they are.
    let mut lost = blobs.iter().filter(|blob| !is_whole(cipher, &mut data, blob));
    if let Some(first) = lost.next() {
        damage.push(format!(
            "{} of its {} damaged or missing, the first of them {} ({} at {})",
            lost.count() + 1,
            crate::output::count(blobs.len(), "blob"),
            first.id.to_hex().as_str(),
            crate::output::count(first.length, "byte"),
            first.offset
        ));
    }
    if damage.is_empty() { Ok(()) } else { Err(damage.join("; ")) }
}

/// The blobs in a pack's header, or `None` if it is damaged. `pack` may be the end of the pack; `size` is its whole size.
fn read_header(cipher: &Cipher, pack: &[u8], size: usize) -> Option<Vec<Blob>> {
    let (rest, length) = pack.split_last_chunk::<LENGTH>()?;
    let start = rest.len().checked_sub(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    let header = cipher.decrypt(&rest[start..])?;
    let (mut header, mut offset, mut blobs) = (header.as_slice(), 0u32, Vec::new());
    while let Some((&kind, entry)) = header.split_first() {
        let compressed = match kind {
            0 | 1 => false,
            2 | 3 => true,
            _ => return None,
        };
        let (entry, after) = entry.split_at_checked(entry_len(compressed) - 1)?;
        let (&length, entry) = entry.split_first_chunk::<4>()?;
        let (plain, id) = if compressed {
            let (&plain, id) = entry.split_first_chunk::<4>()?;
            (Some(u32::from_le_bytes(plain)), id)
        } else {
            (None, entry)
        };
        let length = u32::from_le_bytes(length);
        blobs.push(Blob { offset, length, plain, tree: kind % 2 == 1, id: Id::new(id.try_into().ok()?) });
        offset = offset.checked_add(length)?;
        header = after;
    }
    let before = size.checked_sub(pack.len())?;
    (usize::try_from(offset).ok()? == before + start).then_some(blobs)
}

/// Whether a blob can be decrypted and decompressed, and matches its id. It is decrypted in place.
pub(super) fn is_whole(cipher: &Cipher, pack: &mut [u8], blob: &Blob) -> bool {
    let place = blob.offset as usize..(blob.offset as usize).saturating_add(blob.length as usize);
    let Some(plain) = pack.get_mut(place).and_then(|encrypted| cipher.decrypt_in_place(encrypted)) else {
        return false;
    };
    match blob.plain {
        None => hash(plain) == blob.id,
        Some(length) => hash_compressed(plain, length.into()) == Some(blob.id),
    }
}

/// The hash of decompressed zstd data, if that has `length` bytes. The output is not kept, so data that claims to be huge
/// uses no memory.
fn hash_compressed(data: &[u8], length: u64) -> Option<Id> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(data).ok()?.take(length + 1);
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; zstd::zstd_safe::DCtx::out_size()];
    let mut total = 0;
    loop {
        match decoder.read(&mut buffer).ok()? {
            0 => break,
            n => {
                hasher.update(&buffer[..n]);
                total += n as u64;
            }
        }
    }
    (total == length).then(|| Id::new(hasher.finalize().into()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "packs_tests.rs"]
mod tests;
