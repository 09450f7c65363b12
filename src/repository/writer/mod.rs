//! The write path: streams are cut into blobs, hashed, looked up, compressed, encrypted and packed by threads that all items
//! of a run share. A snapshot file is written only after everything it needs is stored and indexed.
//!
//! Memory is bounded for the whole run, independent of the number and size of the streams: chunk buffers come from queues of
//! fixed length. A storage that is slower than the streams blocks the packers, these block the workers, and these block the
//! readers.

mod commit;
mod go_json;
mod item;
mod kept;
mod pack;
mod store;
mod tickets;
mod tree;
mod worker;

use std::{
    path::Path,
    sync::Arc,
    thread::{self, JoinHandle},
};

pub use commit::{Committed, SnapshotMeta};
use crossbeam_channel::{Receiver, Sender, bounded};
pub use item::ItemWriter;
pub(super) use item::identity;
pub use kept::keep_packs_for;
use parking_lot::Mutex;
use rustic_core::repofile::BlobType;

use self::{
    commit::Committer,
    item::ChunkBuffer,
    kept::Kept,
    pack::{FullPack, Packer},
    store::Store,
    tickets::Tickets,
    worker::Job,
};
pub use super::watch::{FinalCheck, Written};
use super::{
    chunker::Chunker, crypto::Cipher, known::KnownBlobs, lock::LockGuard, previous::PreviousItem,
    storage::Storage, watch::Watch,
};
use crate::{
    error::{Error, Result},
    stream::cancel::Cancel,
};

/// Threads that store packs: one can wait for the disk while another sends.
const STORE_THREADS: usize = 2;

/// Options of a writing run.
#[derive(Debug, Clone)]
pub struct WriteOptions {
    /// zstd level.
    pub compression: i32,
    /// Size in bytes at which a pack is stored.
    pub pack_size: usize,
    /// Read every pack again, past the page cache, before it counts as stored.
    pub verify_writes: bool,
    /// Bytes to keep free on the storage.
    pub reserve: u64,
    /// Threads that hash, compress and encrypt.
    pub workers: usize,
}

/// The state shared by all threads of a run.
pub(super) struct Shared {
    storage: Storage,
    cipher: Cipher,
    chunker: Chunker,
    known: KnownBlobs,
    /// Detects packs removed by a prune on another host, on a storage without locks.
    watch: Watch,
    /// Snapshots that were removed again at the end, and the reason why others could not be checked.
    found: Mutex<(Vec<String>, Option<Error>)>,
    /// The repository's id.
    repository: String,
    /// Bytes of all packs of the repository.
    packed: Arc<Mutex<Option<u64>>>,
    options: WriteOptions,
    /// Blobs that are claimed and not in a pack yet.
    blobs: Tickets,
    /// Packs that are full and not stored yet.
    packs: Tickets,
    data: Packer,
    trees: Packer,
    failure: Mutex<Option<Error>>,
    cancel: Cancel,
}

impl Shared {
    /// Records the first permanent error and stops all streams of the run.
    fn fail(&self, error: Error) {
        let mut failure = self.failure.lock();
        if failure.is_none() {
            self.cancel.cancel(error.summary());
            *failure = Some(error.that_stops());
        }
        drop(failure);
        self.blobs.break_off();
        self.packs.break_off();
    }

    /// Records a stored pack.
    fn pack_stored(&self, pack: rustic_core::Id, bytes: u64) {
        tracing::debug!(pack = &pack.to_hex().as_str()[..8], bytes, "pack stored");
        self.watch.stored(pack);
        if let Some(all) = self.packed.lock().as_mut() {
            *all += bytes;
        }
    }

    /// The error that ended the run, if there is one.
    fn failure(&self) -> Option<Error> {
        self.failure.lock().clone()
    }

    /// Fails if the run has failed.
    fn check(&self) -> Result<()> {
        self.failure().map_or(Ok(()), Err)
    }

    fn packer(&self, tpe: BlobType) -> &Packer {
        if tpe == BlobType::Data { &self.data } else { &self.trees }
    }

    /// Waits until all blobs claimed so far are stored in packs.
    fn flush_packs(&self) -> Result<()> {
        let packed = self.blobs.wait_for_earlier();
        if packed {
            self.data.rotate(self);
            self.trees.rotate(self);
        }
        if packed && self.packs.wait_for_earlier() {
            return Ok(());
        }
        Err(self.failure().unwrap_or_else(|| Error::failed("the run was ended early")))
    }
}

/// Totals of a finished run.
#[derive(Debug, Default)]
pub struct RunTotals {
    /// The final check of the snapshots on a storage without locks.
    pub seen: FinalCheck,
}

/// Writes the items of one run.
pub struct RunWriter {
    shared: Arc<Shared>,
    jobs: Option<Sender<Job>>,
    buffers: (Sender<ChunkBuffer>, Receiver<ChunkBuffer>),
    committer: Option<Committer>,
    threads: Vec<JoinHandle<()>>,
}

/// The parts of a run writer.
pub(super) struct Parts {
    pub(super) storage: Storage,
    pub(super) cipher: Cipher,
    pub(super) chunker: Chunker,
    pub(super) known: KnownBlobs,
    pub(super) watch: Watch,
    pub(super) repository: String,
    pub(super) packed: Arc<Mutex<Option<u64>>>,
    pub(super) options: WriteOptions,
    pub(super) cancel: Cancel,
    pub(super) lock: Arc<LockGuard>,
}

impl RunWriter {
    pub(super) fn start(parts: Parts) -> Result<Self> {
        let Parts { storage, cipher, chunker, known, watch, repository, packed, options, cancel, lock } =
            parts;
        let workers = options.workers.max(1);
        let (pack_tx, pack_rx) = bounded::<FullPack>(1);
        let (spare_tx, spare_rx) = bounded(STORE_THREADS + 2);
        let packer = |tpe| Packer::new(tpe, options.pack_size, pack_tx.clone(), spare_rx.clone());
        let shared = Arc::new(Shared {
            storage,
            cipher,
            chunker,
            known,
            watch,
            found: Mutex::default(),
            repository,
            packed,
            data: packer(BlobType::Data),
            trees: packer(BlobType::Tree),
            options,
            blobs: Tickets::default(),
            packs: Tickets::default(),
            failure: Mutex::new(None),
            cancel,
        });
        let store = Arc::new(Store::new(shared.clone()));
        let (job_tx, job_rx) = bounded::<Job>(workers);
        let buffers = bounded(workers * 2);
        let mut threads = Vec::new();
        for _ in 0..STORE_THREADS {
            let (store, packs, spare) = (store.clone(), pack_rx.clone(), spare_tx.clone());
            threads.push(spawn("store", move || store.run(&packs, &spare))?);
        }
        for _ in 0..workers {
            let (shared, jobs, spare) = (shared.clone(), job_rx.clone(), buffers.0.clone());
            threads.push(spawn("worker", move || worker::run(&shared, &jobs, &spare))?);
        }
        let committer = Committer::start(shared.clone(), store, lock)?;
        Ok(Self { shared, jobs: Some(job_tx), buffers, committer: Some(committer), threads })
    }

    /// Starts writing an item; the content of unchanged files is reused from `previous`.
    pub fn item<'p>(&self, previous: Option<PreviousItem<'p>>) -> Result<ItemWriter<'p>> {
        self.start_item(previous, None)
    }

    /// As [`Self::item`], for an item whose attempts keep a journal below `state_dir` until there is a snapshot.
    pub fn item_in_steps<'p>(
        &self,
        previous: PreviousItem<'p>,
        state_dir: &Path,
        source: &str,
        item: &str,
    ) -> Result<ItemWriter<'p>> {
        let kept = Kept::open(state_dir, &self.shared.repository, source, item);
        self.start_item(Some(previous), kept)
    }

    fn start_item<'p>(
        &self,
        previous: Option<PreviousItem<'p>>,
        kept: Option<Kept>,
    ) -> Result<ItemWriter<'p>> {
        self.shared.check()?;
        let jobs = self.jobs.clone().ok_or_else(|| Error::failed("the run is over"))?;
        Ok(ItemWriter::new(self.shared.clone(), jobs, self.buffers.clone(), previous, kept))
    }

    /// Commits a finished item: its snapshot is written with the next group of commits, and `done` is called with the result.
    pub fn commit(
        &self,
        mut item: ItemWriter<'_>,
        meta: SnapshotMeta,
        done: impl FnOnce(Result<Committed>) + Send + 'static,
    ) {
        let kept = item.kept.take();
        let done = move |committed: Result<Committed>| {
            if let (Ok(_), Some(kept)) = (&committed, kept) {
                kept.done();
            }
            done(committed);
        };
        match (&self.committer, item.into_tree(&meta)) {
            (Some(committer), Ok(tree)) => committer.submit(tree, meta, Box::new(done)),
            (None, _) => done(Err(Error::failed("the run is over"))),
            (_, Err(error)) => done(Err(error)),
        }
    }

    /// Commits the pending items without waiting for more.
    pub fn flush(&self) {
        if let Some(committer) = &self.committer {
            committer.flush();
        }
    }

    /// The permanent error that ended the run, if there is one.
    pub fn failure(&self) -> Option<Error> {
        self.shared.failure()
    }

    /// Makes this writer also check, at its end, snapshots that an earlier writer could not confirm.
    pub(crate) fn adopt_unconfirmed(&self, unconfirmed: Vec<Written>) {
        self.shared.watch.adopt_unconfirmed(unconfirmed);
    }

    /// Writes all remaining data and ends the threads. Returns the totals even if the run has failed, together with the error.
    pub fn finish(mut self) -> (RunTotals, Option<Error>) {
        if let Some(committer) = self.committer.take() {
            committer.finish();
        }
        let found = std::mem::take(&mut *self.shared.found.lock());
        let totals = RunTotals { seen: self.shared.watch.seen(found) };
        (totals, self.shared.failure())
    }
}

impl Drop for RunWriter {
    fn drop(&mut self) {
        drop(self.committer.take());
        self.jobs = None;
        self.shared.data.close();
        self.shared.trees.close();
        for thread in self.threads.drain(..) {
            // A panic of the thread has failed the run already.
            let _ = thread.join();
        }
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map_err(|e| Error::failed("cannot start a thread").because(&e))
}
