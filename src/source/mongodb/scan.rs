//! Reading a collection in batches, optionally from a snapshot.
//!
//! The driver's own snapshot sessions send the read concern with every `getMore` too, which servers refuse: here it
//! is sent with the `find` only, and the cluster time of every reply is checked.

use std::time::Duration;

use futures_util::StreamExt;
use mongodb::{
    ClientSession,
    bson::{Document, RawDocument, Timestamp, doc},
    error::Error as DriverError,
    raw_batch_cursor::{RawBatch, SessionRawBatchCursor},
};

use super::{
    catalog::Place,
    connect::{Deployment, error_code, is_passing, limited},
};
use crate::{
    error::{Error, Result},
    stream::cancel::Cancel,
};

/// Documents in a batch; the server ends a batch at 16 MB in any case.
const BATCH: u32 = 1000;
/// The server no longer has the history of the snapshot.
const TOO_OLD: [i32; 2] = [239, 246];
/// Why a scan cannot continue.
#[derive(Debug)]
pub(super) enum Fault {
    /// An error of the driver or the server.
    Driver(DriverError),
    /// The reply has another cluster time than the requested one, or none.
    OtherMoment(Option<Timestamp>),
    /// An error of this program: stopped, timed out, or an invalid answer.
    Ours(Error),
}

impl Fault {
    /// Whether a new scan may succeed.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self, Self::Driver(error) if is_passing(error))
    }

    /// Whether the requested snapshot is no longer available.
    pub(super) fn has_no_moment(&self) -> bool {
        match self {
            Self::Driver(error) => error_code(error).is_some_and(|code| TOO_OLD.contains(&code)),
            Self::OtherMoment(_) => true,
            Self::Ours(_) => false,
        }
    }

    /// Converts it to an error of this program.
    pub(super) fn into_error(self, deployment: &Deployment) -> Error {
        match self {
            Self::Driver(error) => deployment.explain(&error),
            Self::OtherMoment(told) => Error::failed(format!(
                "the server returned the data of another point in time than the requested one: {}",
                told.map_or("unknown".to_owned(), |told| told.to_string())
            ))
            .hint("set consistency = \"auto\" to back up without a snapshot"),
            Self::Ours(error) => error,
        }
    }
}

impl From<DriverError> for Fault {
    fn from(error: DriverError) -> Self {
        Self::Driver(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

/// Timeout and stop flags.
#[derive(Clone)]
pub(super) struct Patience {
    /// For one batch.
    pub(super) limit: Duration,
    /// The run was stopped.
    pub(super) cancel: Cancel,
    /// Another part of the item failed.
    pub(super) failed: Cancel,
}

impl Patience {
    async fn wait<T>(&self, call: impl Future<Output = Result<T, DriverError>>) -> Result<T, Fault> {
        Ok(limited(&[&self.cancel, &self.failed], self.limit, call).await??)
    }
}

/// A scan of a collection under way. It lives on the deployment's runtime, where it must also be dropped.
pub(super) struct Scan {
    session: ClientSession,
    cursor: SessionRawBatchCursor,
    at: Option<Timestamp>,
    first: bool,
}

impl Scan {
    /// Starts to read a collection in its natural order, as mongodump does.
    pub(super) async fn open(
        deployment: &Deployment,
        place: &Place,
        at: Option<Timestamp>,
        patience: &Patience,
    ) -> Result<Self, Fault> {
        let concern = at.map(|at| doc! { "level": "snapshot", "atClusterTime": at });
        let command = find(place, concern, doc! { "batchSize": BATCH });
        let (session, cursor) = patience.wait(begin(deployment, place, command)).await?;
        Ok(Self { session, cursor, at, first: true })
    }

    /// The next batch; `None` at the end.
    pub(super) async fn next(&mut self, patience: &Patience) -> Result<Option<RawBatch>, Fault> {
        let mut batches = self.cursor.stream(&mut self.session);
        let next = async { batches.next().await.transpose() };
        let Some(batch) = patience.wait(next).await? else { return Ok(None) };
        if let Some(asked) = self.at {
            let told = moment(batch.as_raw_document());
            let missing = told.is_none() && self.first;
            if missing || told.is_some_and(|told| told != asked) {
                return Err(Fault::OtherMoment(told));
            }
        }
        self.first = false;
        Ok(Some(batch))
    }
}

/// Requests a snapshot and returns its cluster time, or `None` if the reply has none.
pub(super) async fn take_snapshot(
    deployment: &Deployment,
    place: &Place,
    patience: &Patience,
) -> Result<Option<Timestamp>, Fault> {
    let command = find(place, Some(doc! { "level": "snapshot" }), doc! { "limit": 1, "singleBatch": true });
    let (session, cursor) = patience.wait(begin(deployment, place, command)).await?;
    let mut scan = Scan { session, cursor, at: None, first: true };
    let batch = scan.next(patience).await?;
    Ok(batch.and_then(|batch| moment(batch.as_raw_document())))
}

async fn begin(
    deployment: &Deployment,
    place: &Place,
    command: Document,
) -> Result<(ClientSession, SessionRawBatchCursor), DriverError> {
    let mut session = deployment.client.start_session().causal_consistency(false).await?;
    let database = deployment.client.database(&place.database);
    let find = database.run_cursor_command(command).selection_criteria(deployment.criteria.clone());
    let cursor = find.batch_size(BATCH).session(&mut session).batch().await?;
    Ok((session, cursor))
}

fn find(place: &Place, concern: Option<Document>, more: Document) -> Document {
    let mut command = doc! { "find": &place.collection, "hint": { "$natural": 1 } };
    if let Some(concern) = concern {
        command.insert("readConcern", concern);
    }
    if place.raw {
        command.insert("rawData", true);
    }
    command.extend(more);
    command
}

/// The cluster time of a reply, if it has one.
fn moment(reply: &RawDocument) -> Option<Timestamp> {
    reply.get_document("cursor").ok()?.get_timestamp("atClusterTime").ok()
}
