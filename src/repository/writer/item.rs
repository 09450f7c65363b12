//! Writes one item: its files are cut into chunks, which workers store.

use std::{
    io::{self, Read},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crossbeam_channel::{Receiver, Sender};
use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use rustic_core::{DataId, repofile::BlobType};

use super::{
    Shared, SnapshotMeta,
    kept::{Content, Kept},
    tree::{ItemTree, TreeBuilder, Written},
    worker::{BlobWriter, FileJobs, Job},
};
use crate::{
    error::{Error, Result},
    output,
    repository::{
        chunker::{Cut, MAX_SIZE, MIN_SIZE},
        crypto::{Hash, Hasher},
        previous::PreviousItem,
    },
    stream::{
        files::{Attributes, Files, Special},
        sink::{Mark, Previous, Sink, Stored},
        sparse::{Dense, SparseRead},
    },
};

/// The size of a read: large enough to make system calls cheap, small enough to stay in the CPU's cache until the tap and
/// the chunker have read it.
const READ_SIZE: usize = 256 * 1024;
/// Buffers that grew beyond this size for an unusually long chunk are freed.
const KEEP_CAPACITY: usize = 4 * 1024 * 1024;
/// The maximum number of chunks of a file with holes: slightly more than 8 TiB of zeros have. Their ids are held in memory, and
/// a hole of any length is easily created.
const MOST_CHUNKS: u64 = (8 << 40) / MIN_SIZE as u64 + 1024;

/// Bytes of a chunk. The vector stays initialised, so that reusing a buffer costs nothing.
#[derive(Default)]
pub(super) struct ChunkBuffer {
    bytes: Vec<u8>,
    filled: usize,
}

impl ChunkBuffer {
    pub(super) fn filled(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }

    pub(super) fn emptied(mut self) -> Self {
        if self.bytes.len() > KEEP_CAPACITY {
            self.bytes = Vec::new();
        }
        self.filled = 0;
        self
    }

    fn push(&mut self, data: &[u8]) {
        self.make_room(data.len());
        self.bytes[self.filled..self.filled + data.len()].copy_from_slice(data);
        self.filled += data.len();
    }

    fn make_room(&mut self, more: usize) {
        let needed = self.filled + more;
        if self.bytes.len() < needed {
            self.bytes.resize(needed.max(self.bytes.len() * 3 / 2).min(MAX_SIZE + READ_SIZE).max(needed), 0);
        }
    }

    fn read_from(&mut self, reader: &mut dyn SparseRead) -> io::Result<usize> {
        self.make_room(READ_SIZE);
        let room = &mut self.bytes[self.filled..self.filled + READ_SIZE];
        loop {
            match reader.read(room) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Ok(n) => {
                    self.filled += n;
                    return Ok(n);
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// Moves the bytes after `at` into `next`.
    fn split_into(&mut self, at: usize, next: &mut Self) {
        next.push(&self.bytes[at..self.filled]);
        self.filled = at;
    }
}

/// Stores the streams of one item.
pub struct ItemWriter<'p> {
    shared: Arc<Shared>,
    jobs: Sender<Job>,
    buffers: (Sender<ChunkBuffer>, Receiver<ChunkBuffer>),
    files: Mutex<TreeBuilder>,
    read: Arc<AtomicU64>,
    added: Arc<AtomicU64>,
    folders: AtomicU64,
    previous: Option<PreviousItem<'p>>,
    pub(super) kept: Option<Kept>,
}

impl<'p> ItemWriter<'p> {
    pub(super) fn new(
        shared: Arc<Shared>,
        jobs: Sender<Job>,
        buffers: (Sender<ChunkBuffer>, Receiver<ChunkBuffer>),
        previous: Option<PreviousItem<'p>>,
        kept: Option<Kept>,
    ) -> Self {
        Self {
            shared,
            jobs,
            buffers,
            files: Mutex::default(),
            read: Arc::default(),
            added: Arc::default(),
            folders: AtomicU64::new(0),
            previous,
            kept,
        }
    }

    /// Why the item's newest snapshot could not be read, if reading it failed.
    pub fn previous_problem(&self) -> Option<String> {
        self.previous.as_ref().and_then(PreviousItem::problem)
    }

    /// Whether a journal of the stored contents is kept for the next attempt, in case this one ends without a snapshot.
    pub fn is_kept(&self) -> bool {
        self.kept.as_ref().is_some_and(|kept| !kept.is_closed())
    }

    fn files(&self) -> MutexGuard<'_, TreeBuilder> {
        self.files.lock()
    }

    /// Counter of the bytes read from the source so far, for progress bars.
    pub fn bytes_read(&self) -> Arc<AtomicU64> {
        self.read.clone()
    }

    fn buffer(&self) -> ChunkBuffer {
        self.buffers.1.try_recv().unwrap_or_default()
    }

    /// Cuts a stream into chunks; returns their ids and the stream's length.
    fn stream(&self, reader: &mut dyn SparseRead) -> Result<(Vec<Hash>, u64)> {
        let file = Arc::new(FileJobs::new(self.added.clone()));
        let (chunk, repeats) = (self.buffer(), Vec::new());
        let mut cutter =
            Cutter { item: self, file, sent: 0, chunk, scanned: 0, total: 0, repeats, repeated: 0 };
        let streamed = cutter.read_all(reader);
        // Even after an error, wait until the workers have finished the chunks: the number of buffers is limited.
        let ids = cutter.file.wait(cutter.sent);
        streamed?;
        self.shared.check()?;
        Ok((cutter.all(ids), cutter.total))
    }

    /// Adds a file with the content of a snapshot, if the repository still has all of it.
    fn take_stored(
        &self,
        path: &Path,
        attributes: &Attributes,
        found: Option<(u64, Vec<Hash>)>,
    ) -> Result<Option<Stored>> {
        let Some((bytes, content)) = found else { return Ok(None) };
        self.shared.check()?;
        if !content.iter().all(|id| self.shared.known.has(BlobType::Data, id)) {
            return Ok(None);
        }
        self.file(path, attributes, bytes, content, true).map(Some)
    }

    /// Adds a file whose chunks are stored.
    fn file(
        &self,
        path: &Path,
        attributes: &Attributes,
        bytes: u64,
        content: Vec<Hash>,
        unread: bool,
    ) -> Result<Stored> {
        let content: Vec<DataId> = content.into_iter().map(DataId::from).collect();
        let stored = Stored { bytes, content: identity(&content) };
        self.files().file(path, attributes, bytes, content, unread)?;
        Ok(stored)
    }

    pub(super) fn into_tree(self, meta: &SnapshotMeta) -> Result<ItemTree> {
        let mut blobs = BlobWriter::new(&self.shared)?;
        let in_doubt = self.previous_problem().is_some();
        let files = self.files.into_inner();
        let mut tree = files.write(&self.shared, &mut blobs, meta)?;
        tree.bytes_read = self.read.load(Ordering::Relaxed);
        tree.folders += self.folders.load(Ordering::Relaxed);
        tree.bytes_added += self.added.load(Ordering::Relaxed);
        tree.in_doubt = in_doubt;
        let (files, reused) = (tree.files, tree.files_unread);
        tracing::info!(
            files,
            reused,
            read = tree.bytes_read,
            added = tree.bytes_added,
            "the item's files are complete"
        );
        Ok(tree)
    }
}

/// The state of cutting one stream.
struct Cutter<'a, 'p> {
    item: &'a ItemWriter<'p>,
    file: Arc<FileJobs>,
    sent: usize,
    chunk: ChunkBuffer,
    scanned: usize,
    total: u64,
    /// Repeated chunks that were sent once: which, and how many times more they follow.
    repeats: Vec<(usize, u64)>,
    /// The total number of these repetitions.
    repeated: u64,
}

impl Cutter<'_, '_> {
    fn read_all(&mut self, reader: &mut dyn SparseRead) -> Result<()> {
        let failed = |error| Error::from_io("cannot read the stream", error);
        loop {
            let hole = reader.hole().map_err(failed)?;
            if hole > 0 && self.skip(hole, reader)? {
                continue;
            }
            let n = self.chunk.read_from(reader).map_err(failed)?;
            if n == 0 {
                let last = std::mem::take(&mut self.chunk);
                if last.filled > 0 {
                    self.chunk = last;
                    return self.send_chunk(ChunkBuffer::default());
                }
                // If the queue of spare buffers is full, this one is no longer needed.
                let _ = self.item.buffers.0.try_send(last.emptied());
                return Ok(());
            }
            self.total += n as u64;
            self.item.read.fetch_add(n as u64, Ordering::Relaxed);
            while let Cut::At(at) = self.item.shared.chunker.find_cut(self.chunk.filled(), self.scanned) {
                let mut next = self.item.buffer();
                self.chunk.split_into(at, &mut next);
                self.send_chunk(next)?;
            }
            self.scanned = self.chunk.filled;
        }
    }

    /// Adds the chunks that are entirely in a hole, without reading them. The fingerprint of zeros is 0, which always permits a
    /// cut, so they have the smallest size. False if there is no such chunk.
    fn skip(&mut self, hole: u64, reader: &mut dyn SparseRead) -> Result<bool> {
        let begun = self.chunk.filled();
        let chunks = (begun.len() as u64).saturating_add(hole) / MIN_SIZE as u64;
        if chunks == 0 || begun.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        if chunks.saturating_add(self.repeated).saturating_add(self.sent as u64) > MOST_CHUNKS {
            let length = self.total.saturating_add(hole);
            return Err(Error::failed(format!(
                "a file with holes is {} long or longer",
                output::size(length)
            ))
            .hint("exclude it: a snapshot can hold at most 8 TiB of a file with holes"));
        }
        let bytes = chunks * MIN_SIZE as u64 - begun.len() as u64;
        reader.skip(bytes).map_err(|error| Error::from_io("cannot read the stream", error))?;
        self.total += bytes;
        self.chunk.filled = 0;
        self.chunk.push(&[0; MIN_SIZE]);
        let next = self.item.buffer();
        self.send_chunk(next)?;
        self.repeats.push((self.sent - 1, chunks - 1));
        self.repeated += chunks - 1;
        Ok(true)
    }

    /// The ids of all chunks, from the ids of those that were sent.
    fn all(&self, sent: Vec<Hash>) -> Vec<Hash> {
        if self.repeats.is_empty() {
            return sent;
        }
        let mut repeats = self.repeats.iter().peekable();
        let more = usize::try_from(self.repeated).unwrap_or(0);
        let mut all = Vec::with_capacity(sent.len() + more);
        for (number, id) in sent.into_iter().enumerate() {
            let more = repeats.next_if(|(at, _)| *at == number).map_or(0, |(_, more)| *more);
            all.extend(std::iter::repeat_n(
                id,
                usize::try_from(more).unwrap_or(usize::MAX).saturating_add(1),
            ));
        }
        all
    }

    fn send_chunk(&mut self, next: ChunkBuffer) -> Result<()> {
        self.item.shared.check()?;
        let chunk = std::mem::replace(&mut self.chunk, next);
        self.scanned = 0;
        let job = Job { chunk, number: self.sent, file: self.file.clone() };
        self.item.jobs.send(job).map_err(|_| Error::failed("the run's workers are gone"))?;
        self.sent += 1;
        Ok(())
    }
}

impl Sink for ItemWriter<'_> {
    fn store(&self, path: &str, reader: &mut dyn Read) -> Result<Stored> {
        let attributes = Attributes { mtime: Some(Timestamp::now()), links: 1, ..Attributes::default() };
        self.put(Path::new(path), &attributes, reader)
    }

    fn put(&self, path: &Path, attributes: &Attributes, reader: &mut dyn Read) -> Result<Stored> {
        let (content, bytes) = self.stream(&mut Dense(reader))?;
        self.file(path, attributes, bytes, content, false)
    }

    fn put_marked(
        &self,
        path: &Path,
        attributes: &Attributes,
        reader: &mut dyn SparseRead,
        mark: &dyn Fn() -> Option<Mark>,
    ) -> Result<Stored> {
        let (content, bytes) = self.stream(reader)?;
        if let (Some(kept), Some(mark)) = (&self.kept, mark()) {
            kept.add(mark, bytes, &content);
        }
        self.file(path, attributes, bytes, content, false)
    }

    fn reuse_kept(
        &self,
        path: &Path,
        attributes: &Attributes,
        key: u128,
        bytes: u64,
    ) -> Result<Option<[u8; 16]>> {
        let kept = self.kept.as_ref().and_then(|kept| kept.get(key, bytes));
        let Some(Content { md5, bytes, chunks }) = kept else { return Ok(None) };
        self.shared.check()?;
        // Chunks that an earlier attempt of this run is storing are waited for before anything is committed.
        if !chunks.iter().all(|id| self.shared.known.is_claimed(BlobType::Data, id)) {
            return Ok(None);
        }
        self.file(path, attributes, bytes, chunks, true)?;
        Ok(Some(md5))
    }

    fn has_kept(&self, key: u128, bytes: u64) -> bool {
        self.kept.as_ref().is_some_and(|kept| kept.get(key, bytes).is_some())
    }

    fn folder(&self, path: &Path, attributes: &Attributes) -> Result<()> {
        self.files().folder(path, attributes)
    }

    fn special(&self, path: &Path, special: &Special, attributes: &Attributes) -> Result<()> {
        self.files().special(path, special, attributes)
    }

    fn finish_folder(&self, path: &Path) -> Result<()> {
        let finished = self.files().finish(path)?;
        let Some(finished) = finished else { return Ok(()) };
        let mut blobs = BlobWriter::new(&self.shared)?;
        let mut written = Written::default();
        let (id, attributes) = finished.write(&self.shared, &mut blobs, &mut written)?;
        self.added.fetch_add(written.bytes_added, Ordering::Relaxed);
        self.folders.fetch_add(written.folders, Ordering::Relaxed);
        self.files().put_back(path, id, attributes)
    }

    fn previous_file(&self, path: &Path) -> Result<Option<Previous>> {
        Ok(self.previous.as_ref().and_then(|previous| previous.file(path)))
    }

    fn reuse(&self, path: &Path, attributes: &Attributes) -> Result<Option<Stored>> {
        let found = self.previous.as_ref().and_then(|previous| previous.content(path));
        self.take_stored(path, attributes, found)
    }

    fn earlier(&self, visit: &mut dyn FnMut(usize, &dyn Files) -> Result<()>) -> Result<()> {
        let Some(previous) = &self.previous else { return Ok(()) };
        previous.earlier()?.iter().enumerate().try_for_each(|(number, files)| visit(number, files))
    }

    fn reuse_earlier(&self, number: usize, path: &Path, attributes: &Attributes) -> Result<Option<Stored>> {
        let Some(previous) = &self.previous else { return Ok(None) };
        let found = previous.earlier_content(number, path)?;
        self.take_stored(path, attributes, found)
    }

    fn previous(&self) -> Result<Option<&dyn Files>> {
        Ok(self.previous.as_ref().and_then(PreviousItem::files))
    }
}

/// Equal for equal content: the beginning of the hash over the hashes of the chunks.
pub(in crate::repository) fn identity(content: &[DataId]) -> [u8; 16] {
    let mut hasher = Hasher::default();
    content.iter().for_each(|id| hasher.update(id.to_hex().as_str().as_bytes()));
    let mut identity = [0; 16];
    identity.copy_from_slice(&hasher.bytes()[..16]);
    identity
}
