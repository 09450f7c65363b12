//! The documents of a collection as one stream that can be read.
//!
//! An interrupted scan is restarted: the documents already passed on are read again, compared and skipped. A
//! `getMore` is never repeated: its lost reply would be a gap in the data.

use std::{
    io::{self, Read},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use mongodb::{
    bson::{RawBsonRef, Timestamp},
    raw_batch_cursor::RawBatch,
};
use tokio::{
    runtime::Handle,
    sync::mpsc::{Receiver, Sender, channel, error::SendError},
    task::{JoinError, JoinHandle},
};

use super::{
    catalog::Place,
    connect::Deployment,
    scan::{Fault, Patience, Scan},
};
use crate::{
    error::{Error, Passing, Result},
    stream::digest::{Digest128, RowDigest},
};

/// The maximum number of restarts of the scan of one collection.
const RESUMES: u32 = 5;
/// Wait before the first of these; each further wait is four times as long.
const RESUME_WAIT: Duration = Duration::from_millis(250);

/// The collection to read.
pub(super) struct Job {
    pub(super) deployment: Arc<Deployment>,
    pub(super) place: Place,
    /// The cluster time of the snapshot, if there is one.
    pub(super) at: Option<Timestamp>,
    /// Whether the scan may continue without the snapshot once the server no longer has it.
    pub(super) may_leave_snapshot: bool,
    /// Set if the server does not (or no longer) have the snapshot.
    pub(super) snapshot_lost: Arc<AtomicBool>,
    pub(super) patience: Patience,
}

/// The results of reading.
#[derive(Debug, Clone, Default)]
pub(super) struct Outcome {
    pub(super) rows: RowDigest,
    /// The number of restarts.
    pub(super) resumed: u32,
    /// Why the rest was read without the requested snapshot, if it was.
    pub(super) left_snapshot: Option<String>,
}

enum Message {
    Documents(Piece),
    End(Outcome),
    Failed(Error),
}

/// A batch, and the positions of the documents to pass on.
struct Piece {
    batch: RawBatch,
    spans: Vec<(usize, usize)>,
}

/// Reads what the scan on the deployment's runtime delivers. At most two batches are held.
pub(super) struct Feed {
    messages: Receiver<Message>,
    piece: Option<Piece>,
    /// Next document of the piece, and next byte of that document.
    position: (usize, usize),
    outcome: Option<Outcome>,
    handle: Handle,
    task: JoinHandle<()>,
}

impl Feed {
    /// Starts to read.
    pub(super) fn start(job: Job) -> Self {
        let (sender, messages) = channel(1);
        let handle = job.deployment.handle().clone();
        let task = handle.spawn(async move {
            let last = match pump(&job, &sender).await {
                Ok(outcome) => Message::End(outcome),
                Err(Stop::Failed(error)) => Message::Failed(error),
                Err(Stop::Unwanted) => return,
            };
            // The receiver is closed if this fails.
            let _: Result<(), SendError<Message>> = sender.send(last).await;
        });
        Self { messages, piece: None, position: (0, 0), outcome: None, handle, task }
    }

    /// The result. Before the end of the stream this is an error.
    pub(super) fn finish(mut self) -> Result<Outcome> {
        self.outcome.take().ok_or_else(|| Error::failed("the collection was not read to its end"))
    }

    /// The next bytes of the stream that are available.
    fn copy(&mut self, buf: &mut [u8]) -> usize {
        let Some(piece) = &self.piece else { return 0 };
        let bytes = piece.batch.as_raw_document().as_bytes();
        let mut filled = 0;
        while filled < buf.len() {
            let Some((start, end)) = piece.spans.get(self.position.0) else { break };
            let rest = &bytes[start + self.position.1..*end];
            let count = rest.len().min(buf.len() - filled);
            buf[filled..filled + count].copy_from_slice(&rest[..count]);
            filled += count;
            self.position = if count == rest.len() {
                (self.position.0 + 1, 0)
            } else {
                (self.position.0, self.position.1 + count)
            };
        }
        filled
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        // The task holds the deployment: it ends before the stream is dropped.
        self.task.abort();
        let _: Result<(), JoinError> = self.handle.block_on(&mut self.task);
    }
}

impl Read for Feed {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while !buf.is_empty() && self.outcome.is_none() {
            let count = self.copy(buf);
            if count > 0 {
                return Ok(count);
            }
            // Released before waiting for the next one.
            self.piece = None;
            match self.messages.blocking_recv() {
                Some(Message::Documents(piece)) => (self.piece, self.position) = (Some(piece), (0, 0)),
                Some(Message::End(outcome)) => self.outcome = Some(outcome),
                Some(Message::Failed(error)) => return Err(io::Error::other(error)),
                None => return Err(io::Error::other("the reader of the collection ended without a result")),
            }
        }
        Ok(0)
    }
}

enum Stop {
    Failed(Error),
    /// The stream is no longer read.
    Unwanted,
}

/// The progress of a scan: the number of documents, and a hash of them in order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Position {
    documents: u64,
    chain: Digest128,
}

impl Position {
    fn step(&mut self, document: Digest128) {
        let (before, this) = (self.chain.to_bits().to_le_bytes(), document.to_bits().to_le_bytes());
        let mut both = [0; 32];
        both[..16].copy_from_slice(&before);
        both[16..].copy_from_slice(&this);
        *self = Self { documents: self.documents + 1, chain: Digest128::of(&both) };
    }
}

/// Reads the collection to its end, with restarts if necessary.
async fn pump(job: &Job, sender: &Sender<Message>) -> Result<Outcome, Stop> {
    let mut outcome = Outcome::default();
    let mut sent = Position::default();
    let mut at = job.at;
    let mut wait = RESUME_WAIT;
    loop {
        let fault = match scan(job, at, sender, &mut sent, &mut outcome.rows).await {
            Ok(()) => return Ok(outcome),
            Err(Broken::Fault(fault)) => fault,
            Err(Broken::Unwanted) => return Err(Stop::Unwanted),
        };
        let lost = fault.has_no_moment() && at.is_some();
        if lost {
            job.snapshot_lost.store(true, Ordering::Relaxed);
        }
        if lost && job.may_leave_snapshot {
            at = None;
            outcome.left_snapshot = Some(fault.into_error(&job.deployment).summary());
        } else if fault.is_passing() && outcome.resumed < RESUMES {
            outcome.resumed += 1;
            tokio::time::sleep(wait).await;
            wait *= 4;
        } else {
            return Err(Stop::Failed(fault.into_error(&job.deployment)));
        }
    }
}

enum Broken {
    Fault(Fault),
    Unwanted,
}

impl From<Fault> for Broken {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// One scan from the beginning; documents that were `sent` by earlier scans are compared and skipped.
async fn scan(
    job: &Job,
    at: Option<Timestamp>,
    sender: &Sender<Message>,
    sent: &mut Position,
    rows: &mut RowDigest,
) -> Result<(), Broken> {
    let before = *sent;
    let mut seen = Position::default();
    let mut scan = Scan::open(&job.deployment, &job.place, at, &job.patience).await?;
    loop {
        // Reserve capacity before the batch is read: otherwise a third batch would be held.
        let Ok(room) = sender.reserve().await else { return Err(Broken::Unwanted) };
        let Some(batch) = scan.next(&job.patience).await? else { break };
        let mut spans = Vec::new();
        for (start, end) in spans_of(&batch)? {
            let document = &batch.as_raw_document().as_bytes()[start..end];
            let hash = Digest128::of(document);
            seen.step(hash);
            if seen.documents > before.documents {
                rows.add_hashed(document.len() as u64, hash);
                *sent = seen;
                spans.push((start, end));
            } else if seen.documents == before.documents && seen != before {
                return Err(changed(&job.place));
            }
        }
        if !spans.is_empty() {
            room.send(Message::Documents(Piece { batch, spans }));
        }
    }
    if seen.documents < before.documents { Err(changed(&job.place)) } else { Ok(()) }
}

fn changed(place: &Place) -> Broken {
    let what = format!(
        "reading {}.{} was interrupted, and it was changed before it could be read again",
        place.database, place.collection
    );
    // Another attempt starts from the beginning, and may succeed.
    let error = Error::failed(what).passes(Passing::Changed).hint(
        "run the backup again; if the server's history is too short for the dump, raise \
         minSnapshotHistoryWindowInSeconds there",
    );
    Broken::Fault(Fault::Ours(error))
}

/// The positions of the documents of a batch in the reply.
fn spans_of(batch: &RawBatch) -> Result<Vec<(usize, usize)>, Fault> {
    let invalid =
        |what: String| Fault::Ours(Error::failed("the server sent an invalid batch").because_text(what));
    let reply = batch.as_raw_document().as_bytes();
    let mut spans = Vec::new();
    for element in batch.doc_slices()? {
        let element = element.map_err(|error| invalid(error.to_string()))?;
        let RawBsonRef::Document(document) = element else {
            return Err(invalid(format!("an element of it is of type {:?}", element.element_type())));
        };
        let bytes = document.as_bytes();
        // A slice of the reply: its position is the difference of the addresses.
        let start = (bytes.as_ptr() as usize).checked_sub(reply.as_ptr() as usize);
        let span = start.map(|start| (start, start + bytes.len())).filter(|(_, end)| *end <= reply.len());
        spans.push(span.ok_or_else(|| invalid("a document of it lies elsewhere".to_owned()))?);
    }
    Ok(spans)
}
