//! Worker threads: hash a chunk, look it up, compress, encrypt, pack.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crossbeam_channel::{Receiver, Sender};
use parking_lot::{Condvar, Mutex};
use rustic_core::repofile::BlobType;

use super::{Shared, item::ChunkBuffer};
use crate::{
    error::{Error, Result},
    repository::{
        crypto::{Compressor, Hash, Hasher, hash},
        known::Claim,
    },
};

/// A chunk of a file for a worker.
pub(super) struct Job {
    pub(super) chunk: ChunkBuffer,
    pub(super) number: usize,
    pub(super) file: Arc<FileJobs>,
}

/// The finished chunks of a file, in file order.
#[derive(Default)]
pub(super) struct FileJobs {
    state: Mutex<(Vec<Hash>, usize)>,
    finished: Condvar,
    /// Bytes that this file added to the repository.
    pub(super) added: Arc<AtomicU64>,
}

impl FileJobs {
    pub(super) fn new(added: Arc<AtomicU64>) -> Self {
        Self { added, ..Self::default() }
    }

    fn finish(&self, number: usize, id: Hash) {
        let mut state = self.state.lock();
        if state.0.len() <= number {
            state.0.resize(number + 1, Hash::default());
        }
        state.0[number] = id;
        state.1 += 1;
        self.finished.notify_all();
    }

    /// Waits until `count` chunks are finished and returns their ids.
    pub(super) fn wait(&self, count: usize) -> Vec<Hash> {
        let mut state = self.state.lock();
        while state.1 < count {
            self.finished.wait(&mut state);
        }
        std::mem::take(&mut state.0)
    }
}

/// Works until there are no more jobs. After a failure of the run, jobs are only counted, so that no thread waits for them
/// forever.
pub(super) fn run(shared: &Shared, jobs: &Receiver<Job>, spare: &Sender<ChunkBuffer>) {
    let mut writer = match BlobWriter::new(shared) {
        Ok(writer) => Some(writer),
        Err(error) => {
            shared.fail(error);
            None
        }
    };
    for Job { chunk, number, file } in jobs {
        let stored = match &mut writer {
            Some(writer) if shared.failure().is_none() => {
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    writer.store(shared, BlobType::Data, chunk.filled())
                }))
                .unwrap_or_else(|_| Err(Error::failed("a worker panicked")))
            }
            _ => Ok((Hash::default(), 0)),
        };
        let (id, added) = stored.unwrap_or_else(|error| {
            shared.fail(error);
            (Hash::default(), 0)
        });
        file.added.fetch_add(added, Ordering::Relaxed);
        file.finish(number, id);
        // If the queue of spare buffers is full, this one is no longer needed.
        let _ = spare.try_send(chunk.emptied());
    }
}

/// Stores plain bytes as blobs in packs.
pub(super) struct BlobWriter {
    compressor: Compressor,
    encrypted: Vec<u8>,
}

impl BlobWriter {
    pub(super) fn new(shared: &Shared) -> Result<Self> {
        Ok(Self { compressor: Compressor::new(shared.options.compression)?, encrypted: Vec::new() })
    }

    /// Stores a blob unless it is known. Returns its id and the bytes it added.
    pub(super) fn store(&mut self, shared: &Shared, tpe: BlobType, plain: &[u8]) -> Result<(Hash, u64)> {
        let id = hash(plain);
        let Claim::Ours(ticket) = shared.known.claim(tpe, &id, || shared.blobs.open()) else {
            return Ok((id, 0));
        };
        self.encrypted.clear();
        let packed = shared
            .cipher
            .encrypt_with(&mut self.encrypted, |out| self.compressor.append(plain, out))
            .and_then(|()| shared.packer(tpe).append(shared, id, &self.encrypted, plain.len()));
        if let Err(error) = packed {
            // Other items may rely on this blob already, so the whole run has failed.
            shared.fail(error.clone());
            return Err(error);
        }
        shared.blobs.done(ticket);
        Ok((id, self.encrypted.len() as u64))
    }

    /// As [`Self::store`], for a blob that is too large for memory: `pieces` passes it on piece by piece, and the same each time it
    /// is called.
    pub(super) fn store_pieces(
        &mut self,
        shared: &Shared,
        tpe: BlobType,
        pieces: Pieces<'_>,
    ) -> Result<(Hash, u64)> {
        let (mut hasher, mut length, mut whole) = (Hasher::default(), 0, Vec::new());
        pieces(&mut |piece| {
            if length == 0 {
                whole.extend_from_slice(piece);
            }
            length += piece.len();
            hasher.update(piece);
            Ok(())
        })?;
        if whole.len() == length {
            return self.store(shared, tpe, &whole);
        }
        drop(whole);
        let id = hasher.finish();
        let Claim::Ours(ticket) = shared.known.claim(tpe, &id, || shared.blobs.open()) else {
            return Ok((id, 0));
        };
        let mut encrypted = Vec::new();
        let level = shared.options.compression;
        let packed = shared
            .cipher
            .encrypt_with(&mut encrypted, |out| compress_pieces(level, length as u64, pieces, out))
            .and_then(|()| shared.packer(tpe).append(shared, id, &encrypted, length));
        if let Err(error) = packed {
            shared.fail(error.clone());
            return Err(error);
        }
        shared.blobs.done(ticket);
        Ok((id, encrypted.len() as u64))
    }
}

/// Passes a blob on piece by piece.
pub(super) type Pieces<'a> = &'a dyn Fn(&mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>;

fn compress_pieces(level: i32, length: u64, pieces: Pieces<'_>, out: &mut Vec<u8>) -> io::Result<()> {
    let mut encoder = zstd::stream::write::Encoder::new(out, level)?;
    encoder.set_pledged_src_size(Some(length))?;
    encoder.include_contentsize(true)?;
    pieces(&mut |piece| encoder.write_all(piece).map_err(|e| Error::failed("cannot compress").because(&e)))
        .map_err(|e| io::Error::other(e.without_hint()))?;
    encoder.finish().map(|_| ())
}
