//! The documents of a collection as one stream that can be read.
//!
//! A scan that breaks off is begun again: what was handed on before is read once more, compared and left out. A
//! `getMore` is never repeated: its lost reply would be a gap.

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

/// How often a scan of one collection is begun again.
const RESUMES: u32 = 5;
/// Wait before the first of these; each further wait is four times as long.
const RESUME_WAIT: Duration = Duration::from_millis(250);

/// What to read.
pub(super) struct Job {
    pub(super) deployment: Arc<Deployment>,
    pub(super) place: Place,
    /// As of this moment, if one was taken.
    pub(super) at: Option<Timestamp>,
    /// Whether the scan may go on without the moment once the server no longer has it.
    pub(super) may_leave_snapshot: bool,
    /// Set when the server does not have the moment (any more).
    pub(super) snapshot_lost: Arc<AtomicBool>,
    pub(super) patience: Patience,
}

/// The results of reading.
#[derive(Debug, Clone, Default)]
pub(super) struct Outcome {
    pub(super) rows: RowDigest,
    /// Scans that were begun again.
    pub(super) resumed: u32,
    /// Why the end was read without the moment that was asked for, if it was.
    pub(super) left_snapshot: Option<String>,
}

enum Message {
    Documents(Piece),
    End(Outcome),
    Failed(Error),
}

/// A batch, and where in it the documents lie that are handed on.
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
    /// Begins to read.
    pub(super) fn start(job: Job) -> Self {
        let (sender, messages) = channel(1);
        let handle = job.deployment.handle().clone();
        let task = handle.spawn(async move {
            let last = match pump(&job, &sender).await {
                Ok(outcome) => Message::End(outcome),
                Err(Stop::Failed(error)) => Message::Failed(error),
                Err(Stop::Unwanted) => return,
            };
            // Nobody waits for it any more if this fails.
            let _: Result<(), SendError<Message>> = sender.send(last).await;
        });
        Self { messages, piece: None, position: (0, 0), outcome: None, handle, task }
    }

    /// The results of reading. Before the end of the stream this is an error.
    pub(super) fn finish(mut self) -> Result<Outcome> {
        self.outcome.take().ok_or_else(|| Error::failed("the collection was not read to its end"))
    }

    /// What the stream holds next, as far as it is at hand.
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
        // The task holds the deployment: it is gone before the stream is.
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
            // Given back before the next one is waited for.
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

/// How far a scan is: the number of documents, and a hash of them in their order.
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

/// Reads the collection to its end, scan after scan if need be.
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

/// One scan from the beginning; what was `sent` by those before is compared and left out.
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
        // First the room, then the batch: otherwise a third one would be held.
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
    // Another attempt begins with nothing, and need not break off.
    let error = Error::failed(what).passes(Passing::Changed).hint(
        "run the backup again; if the server's history is too short for the dump, raise \
         minSnapshotHistoryWindowInSeconds there",
    );
    Broken::Fault(Fault::Ours(error))
}

/// Where in the reply the documents of a batch lie.
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
        // A slice of the reply: its place is the distance of the addresses.
        let start = (bytes.as_ptr() as usize).checked_sub(reply.as_ptr() as usize);
        let span = start.map(|start| (start, start + bytes.len())).filter(|(_, end)| *end <= reply.len());
        spans.push(span.ok_or_else(|| invalid("a document of it lies elsewhere".to_owned()))?);
    }
    Ok(spans)
}
