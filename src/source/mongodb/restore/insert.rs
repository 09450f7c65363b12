//! Inserting the documents of one collection in batches; every document must be inserted.

use std::time::Duration;

use mongodb::{
    Client,
    bson::{Document, RawBsonRef, RawDocument, RawDocumentBuf, rawdoc},
    error::Error as DriverError,
};

use super::{
    super::hints::names_id_index,
    server::{count_of, is_passing, is_passing_code},
};
use crate::{
    error::{Error, Result},
    source::mongodb::connect::limited,
    stream::cancel::Cancel,
};

/// Bytes of a batch, unless a single document is larger. Two batches per collection are held at a time.
const BATCH_BYTES: usize = 3 * 1024 * 1024;
/// The maximum number of documents in a batch, as limited by servers.
const BATCH_DOCUMENTS: u32 = 100_000;
/// How often a batch is sent.
const ATTEMPTS: u32 = 6;
/// The timeout for one batch.
const BATCH_TIME: Duration = Duration::from_secs(15 * 60);
/// A key occurs twice.
const DUPLICATE_KEY: i32 = 11000;
/// A time series of an older server holds values of several types in one bucket, which must be allowed first.
const MIXED_SCHEMA: i32 = 408;

/// The target of documents.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) database: String,
    /// The collection itself; for a time series the collection with its buckets.
    pub(super) collection: String,
    /// The name of the time series, if it is one.
    pub(super) series: Option<String>,
    /// The buckets of a time series are addressed by its own name.
    pub(super) raw: bool,
}

/// An insert command that is being filled.
pub(super) struct Batch {
    /// The command up to the documents, without its end.
    command: Vec<u8>,
    /// The position of the array of documents.
    array: usize,
    documents: u32,
    empty_stamps: bool,
}

impl Batch {
    /// An empty one.
    pub(super) fn new(place: &Place) -> Self {
        let mut head = rawdoc! {
            "insert": place.collection.as_str(), "ordered": false, "writeConcern": { "w": "majority" }
        };
        if place.series.is_none() {
            head.append(mongodb::bson::cstr!("bypassDocumentValidation"), true);
        }
        if place.raw {
            head.append(mongodb::bson::cstr!("rawData"), true);
        }
        let mut command = head.into_bytes();
        command.pop();
        command.extend(b"\x04documents\0");
        let array = command.len();
        command.extend([0; 4]);
        Self { command, array, documents: 0, empty_stamps: false }
    }

    /// Whether a document of this length still fits; one alone always does.
    pub(super) fn has_room(&self, length: usize) -> bool {
        self.documents == 0
            || (self.documents < BATCH_DOCUMENTS && self.command.len() - self.array + length <= BATCH_BYTES)
    }

    /// Adds a document.
    pub(super) fn push(&mut self, document: &[u8]) {
        self.command.push(0x03);
        self.command.extend(self.documents.to_string().bytes());
        self.command.push(0);
        self.command.extend_from_slice(document);
        self.documents += 1;
        self.empty_stamps |= has_empty_stamp(document);
    }

    /// How many there are.
    pub(super) fn len(&self) -> u32 {
        self.documents
    }

    /// The command and the number of its documents.
    fn finish(mut self) -> Result<(RawDocumentBuf, u64)> {
        self.command.push(0);
        self.set_length(self.array)?;
        if self.empty_stamps {
            // Servers replace a Timestamp(0, 0) with the current time unless this is disabled.
            self.command.extend(b"\x08bypassEmptyTsReplacement\0\x01");
        }
        self.command.push(0);
        self.set_length(0)?;
        let command = RawDocumentBuf::from_bytes(self.command)
            .map_err(|error| Error::failed("cannot put the documents together").because(&error))?;
        Ok((command, u64::from(self.documents)))
    }

    fn set_length(&mut self, begin: usize) -> Result<()> {
        let length =
            i32::try_from(self.command.len() - begin).map_err(|_| Error::failed("a batch is too large"))?;
        self.command[begin..begin + 4].copy_from_slice(&length.to_le_bytes());
        Ok(())
    }
}

/// Why a batch was not inserted.
#[derive(Debug)]
pub(super) enum Fault {
    /// An error of the driver or the server.
    Driver(DriverError),
    /// An error of this program.
    Ours(Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

/// The result of a batch.
enum Verdict {
    /// Every document is inserted.
    Complete,
    /// It may be retried.
    Again(String),
    /// Mixed types must be enabled first.
    MixedSchema,
    /// Never.
    Refused(String),
}

/// Sends a batch until it is complete or one of `stops` is set, and returns the number of its documents.
///
/// After a lost connection the batch is sent again: documents that had arrived are refused because of their `_id`, and
/// count as inserted. The final count of the collection would reveal an error.
pub(super) async fn insert(
    client: Client,
    place: Place,
    batch: Batch,
    stops: [Cancel; 2],
) -> Result<u64, Fault> {
    let (command, documents) = batch.finish()?;
    let stops = stops.each_ref();
    let database = client.database(&place.database);
    let mut attempt = 0;
    loop {
        attempt += 1;
        let call = async { database.run_raw_command(command.clone()).await };
        let problem = match limited(&stops, BATCH_TIME, call).await? {
            Ok(reply) => match judge(&reply, documents, attempt > 1) {
                Verdict::Complete => return Ok(documents),
                Verdict::Refused(why) => return Err(Error::failed(why).into()),
                Verdict::Again(why) => Fault::Ours(Error::failed(why)),
                Verdict::MixedSchema => {
                    allow_mixed_schema(&client, &place, &stops).await?;
                    Fault::Ours(Error::failed(
                        "the time series holds mixed types, which the server does not take",
                    ))
                }
            },
            Err(error) if is_passing(&error) => Fault::Driver(error),
            Err(error) => return Err(Fault::Driver(error)),
        };
        if attempt == ATTEMPTS {
            return Err(problem);
        }
        if !all_have_ids(&command) {
            return Err(Error::failed(
                "the connection was lost while documents without _id were inserted: whether they arrived cannot be found \
                 out",
            )
            .into());
        }
        let pause = Duration::from_secs(1 << (attempt - 1).min(5));
        limited(&stops, pause * 2, tokio::time::sleep(pause)).await?;
    }
}

async fn allow_mixed_schema(client: &Client, place: &Place, stops: &[&Cancel]) -> Result<(), Fault> {
    let series = place.series.as_deref().unwrap_or(&place.collection);
    let change = rawdoc! { "collMod": series, "timeseriesBucketsMayHaveMixedSchemaData": true };
    let database = client.database(&place.database);
    let call = async { database.run_raw_command(change).await };
    limited(stops, BATCH_TIME, call).await?.map(drop).map_err(Fault::Driver)
}

/// Whether all documents were inserted. `again`: they may have been inserted by an earlier attempt.
fn judge(reply: &Document, documents: u64, again: bool) -> Verdict {
    let inserted = reply.get("n").and_then(count_of).unwrap_or(0);
    let empty = Vec::new();
    let errors = reply.get_array("writeErrors").unwrap_or(&empty);
    let errors: Vec<&Document> = errors.iter().filter_map(|error| error.as_document()).collect();
    let known = if again { errors.iter().filter(|error| is_there(error)).count() as u64 } else { 0 };
    if let Some(first) = errors.iter().find(|error| !again || !is_there(error)) {
        let code = first.get_i32("code").unwrap_or(0);
        let message = first.get_str("errmsg").unwrap_or("no reason given");
        return if code == MIXED_SCHEMA {
            Verdict::MixedSchema
        } else if is_passing_code(code) {
            Verdict::Again(message.to_owned())
        } else {
            let refused = documents.saturating_sub(inserted + known);
            Verdict::Refused(format!(
                "the server refused {refused} of {}, the first: {message}",
                crate::output::count(documents, "document")
            ))
        };
    }
    if let Ok(concern) = reply.get_document("writeConcernError") {
        let message = concern.get_str("errmsg").unwrap_or("no reason given");
        let text = format!("the majority of the replica set has not confirmed the documents: {message}");
        let passing = concern.get_i32("code").is_ok_and(is_passing_code);
        return if passing { Verdict::Again(text) } else { Verdict::Refused(text) };
    }
    if inserted + known == documents {
        Verdict::Complete
    } else {
        let there = inserted + known;
        Verdict::Refused(format!(
            "the server inserted {there} of {} and did not say why",
            crate::output::count(documents, "document")
        ))
    }
}

/// Whether a document was refused because its `_id` exists.
fn is_there(error: &Document) -> bool {
    let by_pattern = error.get_document("keyPattern").map(|key| key.keys().eq(["_id"]));
    error.get_i32("code").is_ok_and(|code| code == DUPLICATE_KEY)
        && by_pattern.unwrap_or_else(|_| error.get_str("errmsg").is_ok_and(names_id_index))
}

fn all_have_ids(command: &RawDocument) -> bool {
    let Ok(documents) = command.get_array("documents") else { return false };
    documents.into_iter().all(|document| match document {
        // Not by its value: that may be a text that is not valid UTF-8.
        Ok(RawBsonRef::Document(document)) => {
            document.iter_elements().map_while(Result::ok).any(|field| field.key().as_str() == "_id")
        }
        _ => false,
    })
}

/// Whether one of the document's own fields is a `Timestamp(0, 0)`.
fn has_empty_stamp(document: &[u8]) -> bool {
    // A search for nine zeros avoids parsing most documents.
    if memchr::memmem::find(document, &[0; 9]).is_none() {
        return false;
    }
    let Ok(document) = RawDocument::from_bytes(document) else { return false };
    document.iter_elements().any(|element| match element.map(|element| element.value()) {
        Ok(Ok(RawBsonRef::Timestamp(stamp))) => stamp.time == 0 && stamp.increment == 0,
        Ok(_) => false,
        // Behind a key that is not valid UTF-8 there may be one.
        Err(_) => true,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use mongodb::bson::{Timestamp, doc};

    fn place(series: Option<&str>, raw: bool) -> Place {
        let series = series.map(str::to_owned);
        Place { database: "shop".to_owned(), collection: "orders".to_owned(), series, raw }
    }

    fn batch(documents: &[RawDocumentBuf]) -> (Document, u64) {
        let mut batch = Batch::new(&place(None, false));
        documents.iter().for_each(|document| batch.push(document.as_bytes()));
        let (command, count) = batch.finish().unwrap();
        (Document::try_from(&command).unwrap(), count)
    }

    #[test]
    fn a_batch_is_a_valid_command_with_the_documents_in_their_order() {
        let documents: Vec<_> = (0..12).map(|id| rawdoc! { "_id": id, "z": 0.0, "a": "x" }).collect();
        let (command, count) = batch(&documents);
        let sent: Vec<_> = (0..12).map(|id| doc! { "_id": id, "z": 0.0, "a": "x" }).collect();
        let wanted = doc! {
            "insert": "orders", "ordered": false, "writeConcern": { "w": "majority" },
            "bypassDocumentValidation": true, "documents": sent
        };
        assert_eq!((command, count), (wanted, 12));
        let (command, _) = Batch::new(&place(Some("s"), true)).finish().unwrap();
        assert!(
            command.get_bool("rawData").unwrap()
                && command.get("bypassDocumentValidation").unwrap().is_none()
        );
    }

    #[test]
    fn batches_are_bounded_but_take_any_single_document() {
        let mut batch = Batch::new(&place(None, false));
        assert!(batch.has_room(16 * 1024 * 1024));
        batch.push(rawdoc! { "t": "x".repeat(BATCH_BYTES) }.as_bytes());
        assert!(!batch.has_room(5));
        let mut batch = Batch::new(&place(None, false));
        (0..BATCH_DOCUMENTS).for_each(|_| batch.push(rawdoc! {}.as_bytes()));
        assert!(!batch.has_room(5), "the number is bounded too");
    }

    #[test]
    fn empty_stamps_of_the_document_itself_are_kept() {
        let (empty, full) = (Timestamp { time: 0, increment: 0 }, Timestamp { time: 0, increment: 1 });
        for (document, wanted) in [
            (rawdoc! { "_id": 1, "s": empty }, true),
            (rawdoc! { "_id": 1, "n": 0.0, "i": 0_i64, "s": full }, false),
            (rawdoc! { "_id": 1, "inner": { "s": empty } }, false),
        ] {
            let (command, _) = batch(&[rawdoc! { "_id": 0 }, document.clone()]);
            assert_eq!(command.get_bool("bypassEmptyTsReplacement").is_ok(), wanted, "{document:?}");
        }
    }

    fn verdict(reply: Document, again: bool) -> String {
        match judge(&reply, 3, again) {
            Verdict::Complete => "complete".to_owned(),
            Verdict::MixedSchema => "mixed".to_owned(),
            Verdict::Again(why) => format!("again: {why}"),
            Verdict::Refused(why) => why,
        }
    }

    #[test]
    fn only_when_every_document_is_there_it_is_complete() {
        let error =
            |code: i32, key: &str| doc! { "index": 0, "code": code, "errmsg": "E", "keyPattern": { key: 1 } };
        assert_eq!(verdict(doc! { "n": 3 }, false), "complete");
        assert_eq!(verdict(doc! { "n": 3_i64 }, false), "complete");
        assert!(verdict(doc! { "n": 2 }, false).contains("inserted 2 of 3 documents and did not say why"));
        assert!(verdict(doc! {}, false).contains("inserted 0 of 3"));
        let there = doc! { "n": 2, "writeErrors": [error(DUPLICATE_KEY, "_id")] };
        assert_eq!(verdict(there.clone(), false), "the server refused 1 of 3 documents, the first: E");
        assert_eq!(verdict(there, true), "complete", "it had arrived before");
        let other = doc! { "n": 2, "writeErrors": [error(DUPLICATE_KEY, "email")] };
        assert!(
            verdict(other, true).contains("refused 1 of 3"),
            "a duplicate of another key is none of ours"
        );
        let both = doc! { "n": 1, "writeErrors": [error(DUPLICATE_KEY, "_id"), error(2, "x")] };
        assert!(verdict(both, true).contains("refused 1 of 3"));
        let told = "E11000 duplicate key error collection: a.b index: _id_ dup key";
        let old = doc! { "code": DUPLICATE_KEY, "errmsg": told };
        assert_eq!(verdict(doc! { "n": 2, "writeErrors": [old] }, true), "complete");
        assert_eq!(verdict(doc! { "n": 0, "writeErrors": [error(11602, "x")] }, false), "again: E");
        assert_eq!(verdict(doc! { "n": 0, "writeErrors": [error(MIXED_SCHEMA, "x")] }, false), "mixed");
    }

    #[test]
    fn what_the_majority_does_not_have_is_not_there() {
        let reply = |code: i32| doc! { "n": 3, "writeConcernError": { "code": code, "errmsg": "late" } };
        assert!(verdict(reply(64), false).starts_with("the majority of the replica set has not confirmed"));
        assert!(verdict(reply(91), false).starts_with("again: "));
    }

    #[test]
    fn only_documents_with_an_id_can_be_sent_again() {
        let with = rawdoc! { "documents": [{ "_id": 1 }, { "x": 1, "_id": 2 }] };
        assert!(all_have_ids(&with));
        assert!(!all_have_ids(&rawdoc! { "documents": [{ "_id": 1 }, { "id": 2 }] }));
        // The text of the id is the byte ff.
        let invalid = b"\x14\0\0\0\x02_id\0\x02\0\0\0\xff\0\x08x\0\x01\0";
        let mut batch = Batch::new(&place(None, false));
        batch.push(invalid);
        let (command, _) = batch.finish().unwrap();
        assert!(all_have_ids(&command));
    }
}
