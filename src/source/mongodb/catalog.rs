//! The catalog of a database: collections, views and time series, with options and indexes as sent by the server.

use futures_util::{StreamExt, TryStreamExt, stream};
use mongodb::{
    bson::{RawBsonRef, RawDocumentBuf, Uuid, doc, spec::BinarySubtype},
    error::Error as DriverError,
};

use super::connect::{Deployment, error_code};
use crate::{
    error::{Error, Passing, Result},
    stream::cancel::Cancel,
};

/// The number of collections that are queried in parallel.
const QUESTIONS: usize = 8;
/// Error codes of servers without Atlas Search: unknown command, not supported, unknown stage, search not
/// enabled, and a stage that exists only on Atlas. Any other error is a failure.
const NO_SEARCH: [i32; 5] = [59, 115, 31082, 40324, 6_047_401];
/// The prefix of the collection with the data of a time series on servers before 8.3.
const BUCKETS: &str = "system.buckets.";

/// A collection, view or time series.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) name: String,
    /// `collection`, `view` or `timeseries`.
    pub(super) kind: String,
    pub(super) options: RawDocumentBuf,
    pub(super) uuid: Option<Uuid>,
    pub(super) indexes: Vec<RawDocumentBuf>,
    pub(super) search_indexes: Vec<RawDocumentBuf>,
    /// Bytes of its documents as reported by the server, 0 if it does not.
    pub(super) size: u64,
}

/// The place from which the documents of a collection are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) database: String,
    pub(super) collection: String,
    /// The buckets of a time series, not its measurements.
    pub(super) raw: bool,
}

impl Entry {
    /// Where its documents are read; views have none.
    pub(super) fn place(&self, database: &str, version: (u32, u32)) -> Option<Place> {
        let (collection, raw) = match self.kind.as_str() {
            "view" => return None,
            "timeseries" if version < (8, 3) => (format!("{BUCKETS}{}", self.name), false),
            "timeseries" => (self.name.clone(), true),
            _ => (self.name.clone(), false),
        };
        Some(Place { database: database.to_owned(), collection, raw })
    }
}

/// All objects of a database that are backed up, sorted by name, with options and indexes.
pub(super) fn read(deployment: &Deployment, database: &str, cancel: &Cancel) -> Result<Vec<Entry>> {
    // authorizedCollections is false by default: an account that may see only some of them gets an error.
    let list = doc! { "listCollections": 1, "cursor": {} };
    let found = deployment
        .ask(cancel, deployment.documents(database, list))
        .map_err(|error| error.context(format!("cannot list the collections of {database}")))?;
    let mut entries = found.iter().map(entry).collect::<Result<Vec<_>>>()?;
    entries.retain(|entry| !is_skipped(database, &entry.name));
    entries.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    let all = stream::iter(entries).map(|entry| describe(deployment, database, entry));
    let all = all.buffered(QUESTIONS).try_collect::<Vec<_>>();
    match deployment.run(cancel, super::CATALOG_TIME, async { Ok(all.await) })? {
        Ok(described) => described,
        Err(error) => Err(deployment.explain(&error)),
    }
}

/// Whether a database contains anything, including the server's own collections.
pub(super) fn exists(deployment: &Deployment, database: &str, cancel: &Cancel) -> Result<bool> {
    let list = doc! { "listCollections": 1, "cursor": {}, "nameOnly": true };
    Ok(!deployment.ask(cancel, deployment.documents(database, list))?.is_empty())
}

fn entry(listed: &RawDocumentBuf) -> Result<Entry> {
    let invalid = |error: mongodb::bson::error::Error| {
        Error::failed("the server sent an invalid description of a collection").because(&error)
    };
    let options = match listed.get("options").map_err(invalid)? {
        Some(RawBsonRef::Document(options)) => options.to_owned(),
        _ => RawDocumentBuf::new(),
    };
    let uuid = listed.get_document("info").ok().and_then(|info| match info.get("uuid") {
        Ok(Some(RawBsonRef::Binary(uuid))) if uuid.subtype == BinarySubtype::Uuid => {
            uuid.bytes.try_into().ok().map(Uuid::from_bytes)
        }
        _ => None,
    });
    Ok(Entry {
        name: listed.get_str("name").map_err(invalid)?.to_owned(),
        kind: listed.get_str("type").unwrap_or("collection").to_owned(),
        options,
        uuid,
        indexes: Vec::new(),
        search_indexes: Vec::new(),
        size: 0,
    })
}

/// The server's own collections, which are not dumped.
fn is_skipped(database: &str, name: &str) -> bool {
    let of_server = match database {
        "admin" => name == "system.keys",
        _ => name.starts_with("system.") && name != "system.js",
    };
    of_server || name.contains('$')
}

async fn describe(deployment: &Deployment, database: &str, entry: Entry) -> Result<Entry> {
    if entry.kind == "view" {
        return Ok(entry);
    }
    let failed = |what: &str, error: &DriverError| {
        deployment.explain(error).context(format!("cannot read the {what} of {database}.{}", entry.name))
    };
    let list = doc! { "listIndexes": &entry.name, "cursor": {} };
    let indexes = deployment.documents(database, list).await.map_err(|error| failed("indexes", &error))?;
    let search = doc! {
        "aggregate": &entry.name, "pipeline": [{ "$listSearchIndexes": {} }], "cursor": {}
    };
    let search_indexes = match deployment.documents(database, search).await {
        Ok(indexes) => indexes,
        Err(error) if error_code(&error).is_some_and(|code| NO_SEARCH.contains(&code)) => Vec::new(),
        Err(error) => return Err(failed("search indexes", &error)),
    };
    let stats = doc! {
        "aggregate": &entry.name, "pipeline": [{ "$collStats": { "storageStats": {} } }], "cursor": {}
    };
    // The size only determines which collection is first, and whether a snapshot will last.
    let stats = deployment.documents(database, stats).await.unwrap_or_default();
    let size = stats.iter().filter_map(size_of).sum();
    Ok(Entry { indexes, search_indexes, size, ..entry })
}

fn size_of(stats: &RawDocumentBuf) -> Option<u64> {
    match stats.get_document("storageStats").ok()?.get("size").ok()?? {
        RawBsonRef::Int32(size) => size.try_into().ok(),
        RawBsonRef::Int64(size) => size.try_into().ok(),
        RawBsonRef::Double(size) if size > 0.0 => Some(size as u64),
        _ => None,
    }
}

/// Changes to the collections while they were read.
///
/// # Errors
/// A collection was replaced while it was read: the data may be from either one.
pub(super) fn compare(database: &str, before: &[Entry], after: &[Entry]) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    for old in before {
        let full = format!("{database}.{}", old.name);
        let replaced = match after.iter().find(|new| new.name == old.name) {
            None => "was dropped or renamed",
            Some(new) if new.uuid != old.uuid || new.kind != old.kind => "was dropped and created again",
            Some(new) => {
                if new.options != old.options {
                    notes.push(format!(
                        "the options of {full} were changed during the dump: the backup has the previous options"
                    ));
                }
                if new.indexes != old.indexes {
                    notes.push(format!(
                        "the indexes of {full} were changed during the dump: the backup has the previous indexes"
                    ));
                }
                continue;
            }
        };
        if old.kind == "view" {
            notes.push(format!(
                "the view {full} {replaced} during the dump: the backup has the previous view"
            ));
            continue;
        }
        return Err(Error::failed(format!("the collection {full} {replaced} while it was being dumped"))
            .passes(Passing::Changed)
            .hint("run the backup again at a time when no collections are replaced"));
    }
    let created = after.iter().filter(|new| !before.iter().any(|old| old.name == new.name));
    notes.extend(
        created.map(|new| {
            format!("{database}.{} was created during the dump and is not in the backup", new.name)
        }),
    );
    Ok(notes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn named(name: &str, kind: &str) -> Entry {
        Entry {
            name: name.to_owned(),
            kind: kind.to_owned(),
            options: RawDocumentBuf::new(),
            uuid: Some(Uuid::from_bytes([1; 16])),
            indexes: Vec::new(),
            search_indexes: Vec::new(),
            size: 0,
        }
    }

    #[test]
    fn what_the_server_keeps_for_itself_is_skipped() {
        for name in ["system.views", "system.profile", "system.buckets.w", "a$b"] {
            assert!(is_skipped("shop", name), "{name}");
        }
        for name in ["system.js", "orders", "system", "systematic", "ünï"] {
            assert!(!is_skipped("shop", name), "{name}");
        }
        assert!(!is_skipped("admin", "system.users") && is_skipped("admin", "system.keys"));
    }

    #[test]
    fn buckets_are_read_where_the_server_keeps_them() {
        let series = named("weather", "timeseries");
        let place = series.place("shop", (8, 2)).unwrap();
        assert_eq!((place.collection.as_str(), place.raw), ("system.buckets.weather", false));
        let place = series.place("shop", (8, 3)).unwrap();
        assert_eq!((place.collection.as_str(), place.raw), ("weather", true));
        assert_eq!(named("v", "view").place("shop", (8, 0)), None);
    }

    #[test]
    fn a_replaced_collection_is_an_error_and_lesser_changes_are_notes() {
        let old = [named("a", "collection"), named("v", "view")];
        assert!(compare("shop", &old, &old).unwrap().is_empty());
        let gone = compare("shop", &old, &old[1..]).unwrap_err();
        assert_eq!(gone.passing(), Some(Passing::Changed), "another attempt may succeed");
        assert!(gone.to_string().contains("shop.a was dropped"), "{gone}");
        let mut new = old.clone();
        new[0].uuid = Some(Uuid::from_bytes([2; 16]));
        let again = compare("shop", &old, &new).unwrap_err();
        assert!(again.to_string().contains("created again"), "{again}");
        let mut new = vec![named("a", "collection"), named("b", "collection")];
        new[0].indexes.push(RawDocumentBuf::new());
        let notes = compare("shop", &old, &new).unwrap();
        assert_eq!(notes.len(), 3, "{notes:?}");
        assert!(notes[0].contains("the indexes of shop.a") && notes[2].contains("shop.b was created"));
    }
}
