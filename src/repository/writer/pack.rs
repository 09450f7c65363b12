//! Packs: encrypted blobs are collected into files of some megabytes. Packs (blobs, encrypted header, header length) and index
//! files have the layout of restic's repository format.

use crossbeam_channel::{Receiver, Sender};

use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use rustic_core::repofile::BlobType;
use serde::Serialize;

use super::Shared;
use crate::{
    error::{Error, Result},
    repository::crypto::{Cipher, Hash},
};

/// A blob in an index file.
#[derive(Debug, Serialize)]
pub(super) struct IndexBlob {
    id: Hash,
    #[serde(rename = "type")]
    tpe: BlobType,
    offset: u32,
    length: u32,
    uncompressed_length: u32,
}

/// A pack in an index file.
#[derive(Debug, Serialize)]
pub(super) struct IndexPack {
    pub(super) id: Hash,
    pub(super) blobs: Vec<IndexBlob>,
    time: Timestamp,
    size: u32,
}

/// An index file.
#[derive(Debug, Serialize)]
pub(super) struct IndexFile<'a> {
    pub(super) packs: &'a [IndexPack],
}

/// A pack that is not full yet.
#[derive(Default)]
struct OpenPack {
    data: Vec<u8>,
    blobs: Vec<IndexBlob>,
}

/// A pack to store.
pub(super) struct FullPack {
    pub(super) data: Vec<u8>,
    blobs: Vec<IndexBlob>,
    pub(super) ticket: u64,
}

/// Collects the blobs of one type. Blobs of all items of a run share its packs.
pub(super) struct Packer {
    tpe: BlobType,
    open: Mutex<OpenPack>,
    target: usize,
    queue: Mutex<Option<Sender<FullPack>>>,
    spare: Receiver<Vec<u8>>,
}

impl Packer {
    /// A packer that sends packs of at least `target` bytes to `queue` and reuses buffers from `spare`.
    pub(super) fn new(
        tpe: BlobType,
        target: usize,
        queue: Sender<FullPack>,
        spare: Receiver<Vec<u8>>,
    ) -> Self {
        Self { tpe, open: Mutex::default(), target, queue: Mutex::new(Some(queue)), spare }
    }

    fn open(&self) -> MutexGuard<'_, OpenPack> {
        self.open.lock()
    }

    /// Adds a encrypted blob. Blocks while the storage is slower than the streams: that bounds the memory.
    pub(super) fn append(&self, shared: &Shared, id: Hash, encrypted: &[u8], plain_len: usize) -> Result<()> {
        let mut open = self.open();
        let blob = IndexBlob {
            id,
            tpe: self.tpe,
            offset: small(open.data.len())?,
            length: small(encrypted.len())?,
            uncompressed_length: small(plain_len)?,
        };
        if open.data.capacity() == 0 {
            open.data = self.spare.try_recv().unwrap_or_default();
        }
        open.data.extend_from_slice(encrypted);
        open.blobs.push(blob);
        if open.data.len() >= self.target {
            self.send(shared, &mut open);
        }
        Ok(())
    }

    /// Sends the open pack, even if it is small.
    pub(super) fn rotate(&self, shared: &Shared) {
        let mut open = self.open();
        if !open.blobs.is_empty() {
            self.send(shared, &mut open);
        }
    }

    fn send(&self, shared: &Shared, open: &mut OpenPack) {
        let OpenPack { data, blobs } = std::mem::take(open);
        let ticket = shared.packs.open();
        let queue = self.queue.lock().clone();
        let sent = queue.is_some_and(|queue| queue.send(FullPack { data, blobs, ticket }).is_ok());
        if !sent {
            shared.fail(Error::failed("the threads that store packs have ended"));
        }
    }

    /// Closes the queue: the storing threads end after they have stored the remaining packs.
    pub(super) fn close(&self) {
        self.queue.lock().take();
    }
}

impl FullPack {
    /// Whether it is a pack of directories.
    pub(super) fn holds_trees(&self) -> bool {
        self.blobs.first().is_some_and(|blob| blob.tpe == BlobType::Tree)
    }

    /// Appends the encrypted header, which makes `data` a complete pack file.
    pub(super) fn close(&mut self, cipher: &Cipher) -> Result<()> {
        let start = self.data.len();
        let blobs = &self.blobs;
        cipher.encrypt_with(&mut self.data, |out| {
            for blob in blobs {
                out.push(if blob.tpe == BlobType::Data { 2 } else { 3 });
                out.extend_from_slice(&blob.length.to_le_bytes());
                out.extend_from_slice(&blob.uncompressed_length.to_le_bytes());
                hex_decode(blob.id.to_hex().as_str(), out);
            }
            Ok(())
        })?;
        let header = small(self.data.len() - start)?;
        self.data.extend_from_slice(&header.to_le_bytes());
        Ok(())
    }

    /// The index entry of the pack stored as `id`. The pack's buffer can be reused then.
    pub(super) fn into_index(self, id: Hash) -> Result<(IndexPack, Vec<u8>)> {
        let size = small(self.data.len())?;
        Ok((IndexPack { id, blobs: self.blobs, time: Timestamp::now(), size }, self.data))
    }
}

fn small(len: usize) -> Result<u32> {
    u32::try_from(len).map_err(|_| Error::failed("a pack would be larger than the repository format allows"))
}

/// Appends the bytes of a hex string: the bytes of an id are accessible only as text.
fn hex_decode(hex: &str, out: &mut Vec<u8>) {
    let nibble = |digit: u8| if digit.is_ascii_digit() { digit - b'0' } else { digit - b'a' + 10 };
    out.extend(hex.as_bytes().chunks_exact(2).map(|pair| (nibble(pair[0]) << 4) | nibble(pair[1])));
}
