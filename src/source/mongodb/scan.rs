//! Reading a collection batch by batch, if asked for as of one moment.
//!
//! The driver's own snapshot sessions send the read concern with every `getMore` too, which servers refuse: here it
//! goes with the `find` alone, and every reply that tells its moment is checked.

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
/// The server no longer keeps the history of that moment.
const TOO_OLD: [i32; 2] = [239, 246];
/// Why a scan cannot go on.
#[derive(Debug)]
pub(super) enum Fault {
    /// The driver or the server says so.
    Driver(DriverError),
    /// It shows another moment than the one asked for, if it tells any.
    OtherMoment(Option<Timestamp>),
    /// We say so: stopped, no answer in time, an answer that cannot be.
    Ours(Error),
}

impl Fault {
    /// Whether a new scan may succeed.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self, Self::Driver(error) if is_passing(error))
    }

    /// Whether the moment that was asked for is no longer to be had.
    pub(super) fn has_no_moment(&self) -> bool {
        match self {
            Self::Driver(error) => error_code(error).is_some_and(|code| TOO_OLD.contains(&code)),
            Self::OtherMoment(_) => true,
            Self::Ours(_) => false,
        }
    }

    /// As an error of ours.
    pub(super) fn into_error(self, deployment: &Deployment) -> Error {
        match self {
            Self::Driver(error) => deployment.explain(&error),
            Self::OtherMoment(told) => Error::failed(format!(
                "the server was asked for the data of one moment and gave that of {}",
                told.map_or("an unknown one".to_owned(), |told| format!("another, {told}"))
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

/// How long to wait, and what ends the wait.
#[derive(Clone)]
pub(super) struct Patience {
    /// For one batch.
    pub(super) limit: Duration,
    /// The run was stopped.
    pub(super) cancel: Cancel,
    /// The item failed elsewhere.
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
    /// Begins to read a collection in its natural order, as mongodump does.
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

/// Asks for a snapshot and gives its moment, or `None` if the server answers without telling one.
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

/// The moment of which a reply shows the data, if it tells.
fn moment(reply: &RawDocument) -> Option<Timestamp> {
    reply.get_document("cursor").ok()?.get_timestamp("atClusterTime").ok()
}
