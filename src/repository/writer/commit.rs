//! The commit gate. A snapshot file is written only after the packs and the index that it needs are stored. Items that end at
//! about the same time are committed as a group, so that two hundred small databases make only tens of files.

use std::{
    cell::OnceCell,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use jiff::Zoned;
use rustic_core::{
    FileType,
    repofile::{SnapshotFile, SnapshotSummary},
};

use super::{Shared, spawn, store::Store, tree::ItemTree};
use crate::{
    error::{Error, Result},
    repository::{lock::LockGuard, snapshot::OURS},
};

/// A group is committed when its oldest item has waited this long, …
const GROUP_WAIT: Duration = Duration::from_secs(20);
/// … or when it has this many items.
const GROUP_SIZE: usize = 64;
/// How often it is checked whether an index is due while there is nothing to commit.
const TICK: Duration = Duration::from_secs(20);

/// Metadata of a snapshot.
#[derive(Debug, Clone)]
pub struct SnapshotMeta {
    /// Absolute path of the item in the snapshot, `/source/item`, already escaped.
    pub path: String,
    /// Host name to record.
    pub host: String,
    /// Kind of the source, recorded as a tag.
    pub kind: String,
    /// The time of the snapshot's data.
    pub time: Zoned,
}

/// A stored snapshot.
#[derive(Debug, Clone)]
pub struct Committed {
    /// Its id, 64 hex digits.
    pub snapshot: String,
    /// Bytes read from the source.
    pub bytes_read: u64,
    /// Bytes added to the repository, compressed and encrypted.
    pub bytes_added: u64,
}

type Done = Box<dyn FnOnce(Result<Committed>) + Send>;

struct Pending {
    tree: ItemTree,
    meta: SnapshotMeta,
    done: Done,
}

enum Message {
    Item(Box<Pending>),
    /// Commit now, without waiting for more items.
    Flush,
}

/// The committing thread.
pub(super) struct Committer {
    queue: Option<Sender<Message>>,
    thread: Option<JoinHandle<()>>,
}

impl Committer {
    pub(super) fn start(shared: Arc<Shared>, store: Arc<Store>, lock: Arc<LockGuard>) -> Result<Self> {
        let (queue, pending) = unbounded();
        let gate = Gate { shared, store, lock };
        let thread = spawn("commit", move || gate.run(&pending))?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    pub(super) fn submit(&self, tree: ItemTree, meta: SnapshotMeta, done: Done) {
        let message = Message::Item(Box::new(Pending { tree, meta, done }));
        let refused = match &self.queue {
            Some(queue) => queue.send(message).err().map(|e| e.0),
            None => Some(message),
        };
        if let Some(Message::Item(pending)) = refused {
            (pending.done)(Err(Error::failed("the run is over")));
        }
    }

    /// Commits the pending items without waiting for more.
    pub(super) fn flush(&self) {
        if let Some(queue) = &self.queue {
            // If the thread has ended, its items were reported as failed.
            let _ = queue.send(Message::Flush);
        }
    }

    /// Commits the remaining items and waits for the end.
    pub(super) fn finish(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // A panic there leaves items without an outcome, which the run reports as failed.
            let _ = thread.join();
        }
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.end();
    }
}

struct Gate {
    shared: Arc<Shared>,
    store: Arc<Store>,
    lock: Arc<LockGuard>,
}

impl Gate {
    fn run(&self, queue: &Receiver<Message>) {
        let mut group: Vec<Pending> = Vec::new();
        let mut due = Instant::now();
        loop {
            let received = if group.is_empty() { queue.recv_timeout(TICK) } else { queue.recv_deadline(due) };
            let over = matches!(received, Err(RecvTimeoutError::Disconnected));
            if group.is_empty() && matches!(received, Err(RecvTimeoutError::Timeout)) {
                // For items of many hours: if the run is killed, the next one finds the data that it stored.
                if self.store.is_index_due() {
                    self.keep_for_the_next_run();
                }
                continue;
            }
            let mut ready = true;
            if let Ok(Message::Item(pending)) = received {
                if group.is_empty() {
                    due = Instant::now() + GROUP_WAIT;
                }
                group.push(*pending);
                ready = group.len() >= GROUP_SIZE;
            }
            if ready {
                self.commit(std::mem::take(&mut group));
            }
            if over {
                self.keep_for_the_next_run();
                self.remove_broken();
                return;
            }
        }
    }

    /// The data of items without a snapshot is known to the next run only if the index lists it.
    fn keep_for_the_next_run(&self) {
        if self.shared.failure().is_none()
            && let Err(error) = self.make_durable()
        {
            self.shared.fail(error);
        }
    }

    fn commit(&self, group: Vec<Pending>) {
        if group.is_empty() {
            return;
        }
        let stored = self.shared.blobs.next();
        let present = self.make_durable().and_then(|()| self.shared.watch.look());
        // Read at most once for all uncertain items.
        let again = OnceCell::new();
        let lacks = |pending: &Pending| {
            let now = match &present {
                Ok(Some(present)) => Ok(present),
                Ok(None) if pending.tree.in_doubt => {
                    again.get_or_init(|| self.shared.watch.present()).as_ref().map_err(Error::clone)
                }
                _ => return Ok(()),
            };
            now?.require(pending.tree.root, &self.shared.cancel)
        };
        let group: Vec<_> = group.into_iter().map(|pending| (lacks(&pending), pending)).collect();
        let ready = present.map(|present| {
            // Before the outcome is reported and the item is retried.
            if let Some(present) = present {
                self.shared.known.forget_lost(present.into_known(), stored);
            }
        });
        for (whole, Pending { tree, meta, done }) in group {
            let committed = ready.clone().and_then(|()| match &whole {
                Ok(()) => self.write_snapshot(&tree, &meta),
                Err(error) => Err(error.clone()),
            });
            if let (Ok(()), Err(error)) = (&whole, &committed) {
                self.shared.fail(error.clone());
            }
            done(committed);
        }
    }

    /// A prune on another host may have read the snapshots before this run wrote one, and removed packs after that.
    fn remove_broken(&self) {
        let found = self.shared.watch.remove_broken();
        *self.shared.found.lock() = found;
    }

    /// Stores all data of the pending items, and checks that the storage is still the same one.
    fn make_durable(&self) -> Result<()> {
        self.shared.flush_packs()?;
        self.store.flush_index()?;
        self.lock.require_valid()?;
        self.shared.storage.verify_identity()
    }

    fn write_snapshot(&self, tree: &ItemTree, meta: &SnapshotMeta) -> Result<Committed> {
        self.shared.check()?;
        self.lock.require_valid()?;
        let snapshot = snapshot_file(tree, meta);
        let json = serde_json::to_vec(&snapshot)
            .map_err(|e| Error::failed("cannot write the snapshot").because(&e))?;
        let id = self.store.write_encrypted(FileType::Snapshot, &json)?;
        self.shared.watch.committed(id, tree.root);
        tracing::debug!(snapshot = &id.to_hex().as_str()[..8], item = meta.path, "a snapshot is stored");
        Ok(Committed {
            snapshot: id.to_hex().as_str().to_owned(),
            bytes_read: tree.bytes_read,
            bytes_added: tree.bytes_added,
        })
    }
}

fn snapshot_file(tree: &ItemTree, meta: &SnapshotMeta) -> SnapshotFile {
    let now = Zoned::now();
    let seconds =
        now.timestamp().as_duration().as_secs_f64() - meta.time.timestamp().as_duration().as_secs_f64();
    let mut summary = SnapshotSummary::default();
    summary.files_new = tree.files - tree.files_unread;
    summary.files_unmodified = tree.files_unread;
    summary.total_files_processed = tree.files;
    summary.total_bytes_processed = tree.bytes;
    summary.dirs_new = tree.folders;
    summary.total_dirs_processed = tree.folders;
    summary.data_added_packed = tree.bytes_added;
    summary.backup_start = meta.time.clone();
    summary.backup_end = now;
    summary.backup_duration = seconds;
    summary.total_duration = seconds;
    let mut snapshot = SnapshotFile {
        time: meta.time.clone(),
        program_version: format!("tik-backup {}", env!("CARGO_PKG_VERSION")),
        tree: tree.root.into(),
        hostname: meta.host.clone(),
        username: String::new(),
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
        summary: Some(summary),
        ..SnapshotFile::default()
    };
    snapshot.paths.add(meta.path.clone());
    snapshot.tags.add(OURS.to_owned());
    snapshot.tags.add(meta.kind.clone());
    snapshot
}
