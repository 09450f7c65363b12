//! The server that is restored into: commands go to its primary and are acknowledged by the majority.

use std::time::Duration;

use futures_util::TryStreamExt;
use mongodb::{
    bson::{Bson, Document, RawDocument, RawDocumentBuf, cstr, rawdoc},
    error::{Error as DriverError, ErrorKind},
};

use crate::{
    error::{Error, Result},
    source::mongodb::connect::{Deployment, error_code},
    stream::cancel::Cancel,
};

/// The timeout for building the indexes of a large collection, or counting it.
const WITHIN: Duration = Duration::from_secs(7 * 24 * 3600);
/// Error codes with hints.
const BY_CODE: [(i32, &str); 4] = [
    (
        13,
        "the account may not do this: grant it readWrite and dbAdmin on the database, on Atlas readWriteAnyDatabase \
         and dbAdminAnyDatabase",
    ),
    (8000, "the provider refused it: check the role of the account and the limits of the cluster's tier"),
    (26, "it was dropped while it was being restored: make sure that no other client changes the database"),
    (73, "choose a shorter name for the database, without any of / \\ . \" $ and spaces"),
];

/// A deployment and the database in it that is restored into.
pub(super) struct Server<'a> {
    pub(super) deployment: Deployment,
    pub(super) database: &'a str,
    pub(super) cancel: &'a Cancel,
}

impl Server<'_> {
    /// Runs a command that changes something.
    pub(super) fn write(&self, mut command: RawDocumentBuf) -> Result<Document, Refusal> {
        command.append(cstr!("writeConcern"), rawdoc! { "w": "majority" });
        let database = self.deployment.client.database(self.database);
        let call = async { database.run_raw_command(command).await };
        let reply = self.deployment.run(self.cancel, WITHIN, call)?.map_err(|error| self.refusal(&error))?;
        // A write that the majority has not confirmed may be rolled back.
        match reply.get_document("writeConcernError") {
            Ok(concern) => {
                let message = concern.get_str("errmsg").unwrap_or("no reason given");
                Err(Refusal {
                    code: None,
                    error: Error::failed(format!(
                        "the majority of the replica set has not confirmed it: {message}"
                    ))
                    .hint("look at the state of the replica set"),
                })
            }
            Err(_) => Ok(reply),
        }
    }

    /// Runs a command that returns documents.
    pub(super) fn documents(&self, command: RawDocumentBuf) -> Result<Vec<RawDocumentBuf>, Refusal> {
        let database = self.deployment.client.database(self.database);
        let call = async {
            let cursor = database.run_raw_cursor_command(command).await?;
            cursor.with_type::<RawDocumentBuf>().try_collect::<Vec<_>>().await
        };
        let found = self.deployment.run(self.cancel, WITHIN, call)?;
        found.map_err(|error| self.refusal(&error))
    }

    /// Names of the existing collections and views, except the server's own.
    pub(super) fn collections(&self) -> Result<Vec<String>> {
        let list = rawdoc! { "listCollections": 1, "nameOnly": true, "cursor": {} };
        let found = self.documents(list)?;
        let name = |one: &RawDocumentBuf| one.get_str("name").unwrap_or_default().to_owned();
        let mut names: Vec<String> =
            found.iter().map(name).filter(|name| !name.starts_with("system.")).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Counts documents individually: the stored count of the server may be wrong.
    pub(super) fn count(&self, collection: &str, raw: bool) -> Result<u64> {
        let count = rawdoc! { "$group": { "_id": null, "n": { "$sum": 1 } } };
        let mut command = rawdoc! { "aggregate": collection, "pipeline": [count], "cursor": {} };
        if raw {
            command.append(cstr!("rawData"), true);
        }
        let found = self.documents(command)?;
        match found.first() {
            None => Ok(0),
            Some(group) => {
                number(group, "n").ok_or_else(|| Error::failed("the server did not count the documents"))
            }
        }
    }

    /// An error of the driver without secrets, with a hint for a restore.
    pub(super) fn explain(&self, error: &DriverError) -> Error {
        // Those hints are about dumps.
        let explained = self.deployment.explain(error);
        let hint = error_code(error).and_then(|code| BY_CODE.iter().find(|(known, _)| *known == code));
        let plain = explained.without_hint();
        match hint {
            Some((_, hint)) => plain.hint(*hint),
            None if is_passing(error) => {
                plain.hint("look at the state of the server and the network in between, then restore again")
            }
            None => plain,
        }
    }

    fn refusal(&self, error: &DriverError) -> Refusal {
        Refusal { code: error_code(error), error: self.explain(error) }
    }
}

/// Why a command failed; with the server's code, if it was the server that refused.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) code: Option<i32>,
    pub(super) error: Error,
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        refusal.error
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self { code: None, error }
    }
}

/// Codes after which the same command may succeed: host unreachable or not found, network timeout, shutting down,
/// stepped down, time limit, socket errors, not primary, interrupted by a change of roles.
const PASSING: [i32; 12] = [6, 7, 89, 91, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436];

/// Whether the same command may succeed later.
pub(super) fn is_passing(error: &DriverError) -> bool {
    match &*error.kind {
        ErrorKind::Io(_) | ErrorKind::ConnectionPoolCleared { .. } | ErrorKind::ServerSelection { .. } => {
            true
        }
        _ => error_code(error).is_some_and(is_passing_code),
    }
}

/// The same for a code.
pub(super) fn is_passing_code(code: i32) -> bool {
    PASSING.contains(&code)
}

/// A count of any numeric type.
fn number(document: &RawDocument, key: &str) -> Option<u64> {
    let value = document.get(key).ok().flatten()?;
    count_of(&Bson::try_from(value).ok()?)
}

/// The same in a document that is no longer raw.
pub(super) fn count_of(value: &Bson) -> Option<u64> {
    match value {
        Bson::Int32(number) => u64::try_from(*number).ok(),
        Bson::Int64(number) => u64::try_from(*number).ok(),
        Bson::Double(number) if *number >= 0.0 && number.fract() == 0.0 => Some(*number as u64),
        _ => None,
    }
}
