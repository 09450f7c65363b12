//! The content of a snapshot, or of a directory written by stock mongodump.

use std::collections::{BTreeMap, BTreeSet};

use mongodb::bson::{RawBsonRef, RawDocumentBuf};

use crate::{
    error::{Error, Result},
    source::{
        manifest::{Digested, Manifest},
        mongodb::format::{
            metadata::{Metadata, documents_from_json},
            names::collection_name,
        },
    },
    stream::files::Files,
};

/// The prefix of the collection with the data of a time series on servers before 8.3.
pub(super) const BUCKETS: &str = "system.buckets.";
/// Files of a dump that do not belong to a collection.
const PRELUDE: &str = "prelude.json";

/// A collection, view or time series to restore.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) metadata: Metadata,
    /// File with the documents and its length.
    pub(super) data: Option<(String, u64)>,
    /// Documents that the file must have, if recorded in the manifest.
    pub(super) documents: Option<u64>,
    pub(super) search_indexes: Vec<RawDocumentBuf>,
}

/// Everything to restore.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    /// Collections and time series, the largest first.
    pub(super) collections: Vec<Entry>,
    /// Views, each after the one it reads.
    pub(super) views: Vec<Entry>,
    /// Notes about content that is not restored.
    pub(super) notes: Vec<String>,
}

/// Paths of the files that belong to one collection.
#[derive(Default)]
struct Paths {
    metadata: Option<String>,
    data: Option<(String, u64)>,
    search: Option<String>,
}

impl Inventory {
    /// Reads the inventory.
    ///
    /// # Errors
    /// There is no dump, or it is incomplete or unreadable.
    pub(super) fn read(manifest: &Manifest, files: &dyn Files) -> Result<Self> {
        let list = files.list()?;
        let folder = folder(manifest, &list)?;
        let mut inventory = Self::default();
        let mut found: BTreeMap<String, Paths> = BTreeMap::new();
        for (path, bytes) in &list {
            let Some(name) = path.strip_prefix(&folder).and_then(|rest| rest.strip_prefix('/')) else {
                continue;
            };
            if name == PRELUDE {
                continue;
            } else if let Some(stem) = name.strip_suffix(".metadata.json") {
                found.entry(stem.to_owned()).or_default().metadata = Some(path.clone());
            } else if let Some(stem) = name.strip_suffix(".searchIndexes.json") {
                found.entry(stem.to_owned()).or_default().search = Some(path.clone());
            } else if let Some(stem) = name.strip_suffix(".bson") {
                found.entry(stem.to_owned()).or_default().data = Some((path.clone(), *bytes));
            } else if name.ends_with(".gz") {
                return Err(Error::failed(format!("{path} is compressed, which cannot be restored"))
                    .hint("decompress the files with gunzip first"));
            } else {
                inventory.notes.push(format!("not restored, because it is not part of a dump: {path}"));
            }
        }
        let mut entries = Vec::new();
        for (stem, paths) in found {
            entries.push(Entry::read(&stem, paths, files)?);
        }
        join_buckets(&mut entries)?;
        expect(&mut entries, manifest)?;
        inventory.notes.extend(remove_of_server(&mut entries));
        let (views, mut collections): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|entry| entry.metadata.is_view());
        collections
            .sort_by_key(|entry| std::cmp::Reverse(entry.data.as_ref().map_or(0, |(_, bytes)| *bytes)));
        inventory.collections = collections;
        inventory.views = in_order(views);
        Ok(inventory)
    }

    /// Leaves only one collection or view.
    ///
    /// # Errors
    /// Exit code 2: the name does not exist.
    pub(super) fn only(mut self, name: &str) -> Result<Self> {
        let names: BTreeSet<String> =
            self.collections.iter().chain(&self.views).map(|entry| entry.name.clone()).collect();
        self.collections.retain(|entry| entry.name == name);
        self.views.retain(|entry| entry.name == name);
        if let Some(view) = self.views.first() {
            let base = view.view_on().unwrap_or_default();
            self.notes.push(format!("the view {name} reads {base}, which the target must have"));
        }
        if !self.collections.is_empty() || !self.views.is_empty() {
            return Ok(self);
        }
        let error = Error::usage(format!("the snapshot has no collection {name}"));
        Err(match names.iter().min_by_key(|known| strsim::damerau_levenshtein(known, name)) {
            Some(nearest) => error.hint(format!("did you mean {nearest}?")),
            None => error,
        })
    }
}

impl Entry {
    fn read(stem: &str, paths: Paths, files: &dyn Files) -> Result<Self> {
        let metadata = match &paths.metadata {
            Some(path) => Metadata::from_json(&files.read(path)?)
                .map_err(|error| error.context(format!("cannot read {path}")))?,
            None => Metadata::named(String::new()),
        };
        let known = Some(metadata.collection.clone()).filter(|name| !name.is_empty());
        let name = collection_name(stem).or(known).ok_or_else(|| {
            Error::failed(format!("the collection of the files {stem} is unknown"))
                .hint("its metadata.json is missing or does not name the collection; restore the file with --to DIR")
        })?;
        let search_indexes = match &paths.search {
            Some(path) => {
                let json = files.read(path)?;
                documents_from_json(&json).map_err(|error| error.context(format!("cannot read {path}")))?
            }
            None => Vec::new(),
        };
        Ok(Self { name, metadata, data: paths.data, documents: None, search_indexes })
    }

    /// The collection or view that a view reads.
    pub(super) fn view_on(&self) -> Option<&str> {
        match self.metadata.option("viewOn") {
            Some(RawBsonRef::String(name)) => Some(name),
            _ => None,
        }
    }
}

/// The directory of the database.
fn folder(manifest: &Manifest, list: &[(String, u64)]) -> Result<String> {
    let folders: BTreeSet<&str> = list
        .iter()
        .filter(|(path, _)| path.ends_with(".bson") || path.ends_with(".metadata.json"))
        .filter_map(|(path, _)| path.rsplit_once('/').map(|(folder, _)| folder))
        .collect();
    if folders.contains(manifest.item.as_str()) {
        return Ok(manifest.item.clone());
    }
    let mut folders = folders.into_iter();
    match (folders.next(), folders.next()) {
        (Some(folder), None) => Ok(folder.to_owned()),
        (None, _) => Err(Error::failed("the snapshot holds no collections")),
        (Some(one), Some(other)) => {
            Err(Error::failed(format!("the snapshot holds more than one database: {one}, {other}")))
        }
    }
}

/// Assigns each time series its data, which older servers keep in a separate collection.
fn join_buckets(entries: &mut Vec<Entry>) -> Result<()> {
    let (buckets, mut rest): (Vec<Entry>, Vec<Entry>) =
        entries.drain(..).partition(|entry| entry.name.starts_with(BUCKETS));
    for bucket in buckets {
        let name = bucket.name.strip_prefix(BUCKETS).unwrap_or_default();
        let series = rest.iter_mut().find(|entry| entry.name == name && entry.metadata.is_time_series());
        let series = series.ok_or_else(|| {
            Error::failed(format!(
                "the snapshot has the data of the time series {name}, but not its metadata"
            ))
            .hint("try an older snapshot with --at")
        })?;
        series.data = bucket.data;
    }
    *entries = rest;
    Ok(())
}

/// Sets the numbers of documents from the manifest.
fn expect(entries: &mut [Entry], manifest: &Manifest) -> Result<()> {
    if manifest.digested != Digested::Yes {
        return Ok(());
    }
    for object in &manifest.objects {
        let known = |entry: &&mut Entry| {
            entry.name == object.name || object.name.strip_prefix(BUCKETS) == Some(entry.name.as_str())
        };
        match entries.iter_mut().find(known) {
            Some(entry) if entry.data.is_some() => entry.documents = Some(object.rows),
            _ => {
                return Err(Error::failed(format!("the snapshot lacks the data of {}", object.name))
                    .hint("try an older snapshot with --at"));
            }
        }
    }
    Ok(())
}

/// Leaves out the server's own collections: users and roles cannot be inserted.
fn remove_of_server(entries: &mut Vec<Entry>) -> Vec<String> {
    let of_server = |entry: &Entry| entry.name.starts_with("system.") && entry.name != "system.js";
    let notes = entries.iter().filter(|entry| of_server(entry)).map(|entry| {
        format!("not restored: {}, which belongs to the server; --to DIR restores its file", entry.name)
    });
    let notes = notes.collect();
    entries.retain(|entry| !of_server(entry));
    notes
}

/// Each view after the one that it reads.
fn in_order(mut views: Vec<Entry>) -> Vec<Entry> {
    let mut ordered = Vec::with_capacity(views.len());
    while !views.is_empty() {
        let waiting: BTreeSet<String> = views.iter().map(|view| view.name.clone()).collect();
        let is_ready = |view: &Entry| view.view_on().is_none_or(|base| !waiting.contains(base));
        let (ready, later): (Vec<_>, Vec<_>) = views.into_iter().partition(is_ready);
        // Views cannot read each other in a cycle; the server would report it.
        let stuck = ready.is_empty();
        ordered.extend(ready);
        views = later;
        if stuck {
            ordered.append(&mut views);
        }
    }
    ordered
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use mongodb::bson::rawdoc;

    struct Memory(Vec<(&'static str, &'static str)>);

    impl Files for Memory {
        fn list(&self) -> Result<Vec<(String, u64)>> {
            Ok(self.0.iter().map(|(path, content)| ((*path).to_owned(), content.len() as u64)).collect())
        }

        fn read(&self, path: &str) -> Result<Vec<u8>> {
            let found = self.0.iter().find(|(known, _)| *known == path);
            Ok(found.unwrap().1.as_bytes().to_vec())
        }

        fn copy(&self, path: &str, _: &mut dyn std::io::Write) -> Result<u64> {
            Err(Error::failed(format!("{path} is not needed")))
        }
    }

    fn read(files: Vec<(&'static str, &'static str)>) -> Result<Inventory> {
        Inventory::read(&Manifest::begin("mongo", "shop", "mongodb"), &Memory(files))
    }

    const SERIES: &str = r#"{"options":{"timeseries":{"timeField":"t"}},"indexes":[],"collectionName":"w"}"#;

    #[test]
    fn files_become_collections_the_largest_first() {
        let inventory = read(vec![
            ("manifest.json", "{}"),
            ("shop/prelude.json", "{}"),
            ("shop/prelude.bson", "1"),
            ("shop/with+space.bson", "22"),
            ("shop/with+space.metadata.json", r#"{"indexes":[],"collectionName":"with space"}"#),
            ("shop/with+space.searchIndexes.json", r#"[{"name":"s"}]"#),
            ("shop/w.metadata.json", SERIES),
            ("shop/system.buckets.w.bson", "4444"),
            ("shop/system.users.bson", ""),
            ("shop/README", ""),
        ])
        .unwrap();
        let found: Vec<_> = inventory.collections.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(found, ["w", "with space", "prelude"]);
        assert_eq!(inventory.collections[0].data.as_ref().unwrap().0, "shop/system.buckets.w.bson");
        assert_eq!(inventory.collections[1].search_indexes, [rawdoc! { "name": "s" }]);
        assert_eq!(inventory.notes.len(), 2, "{:?}", inventory.notes);
    }

    #[test]
    fn a_view_comes_after_what_it_reads() {
        let inventory = read(vec![
            ("shop/a.metadata.json", r#"{"options":{"viewOn":"b","pipeline":[]},"indexes":[]}"#),
            ("shop/b.metadata.json", r#"{"options":{"viewOn":"c","pipeline":[]},"indexes":[]}"#),
            ("shop/c.metadata.json", r#"{"options":{"viewOn":"orders","pipeline":[]},"indexes":[]}"#),
            ("shop/x.metadata.json", r#"{"options":{"viewOn":"y"},"indexes":[]}"#),
            ("shop/y.metadata.json", r#"{"options":{"viewOn":"x"},"indexes":[]}"#),
        ])
        .unwrap();
        let order: Vec<_> = inventory.views.iter().map(|view| view.name.as_str()).collect();
        assert_eq!(order, ["c", "b", "a", "x", "y"]);
        let one = inventory.only("b").unwrap();
        assert_eq!(one.views.len(), 1);
        assert!(one.notes[0].contains("the view b reads c"), "{:?}", one.notes);
        let error = one.only("bb").unwrap_err();
        assert_eq!((error.kind(), error.hint_text()), (crate::error::Kind::Usage, Some("did you mean b?")));
    }

    #[test]
    fn what_is_not_complete_is_refused() {
        for (files, said) in [
            (vec![("manifest.json", "{}")], "no collections"),
            (vec![("a/x.bson", ""), ("b/x.bson", "")], "more than one database: a, b"),
            (vec![("shop/system.buckets.w.bson", "")], "time series w, but not its metadata"),
            (vec![("shop/x.bson.gz", ""), ("shop/y.bson", "")], "compressed"),
            (vec![("shop/x.metadata.json", "{")], "cannot read shop/x.metadata.json"),
            (vec![("shop/%FF.bson", "")], "the collection of the files %FF"),
        ] {
            let error = read(files).unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
        }
        let mut manifest = Manifest::begin("mongo", "shop", "mongodb");
        manifest.digested = Digested::Yes;
        manifest.objects.push(crate::source::manifest::Object {
            kind: "collection".to_owned(),
            schema: None,
            name: "orders".to_owned(),
            rows: 3,
            bytes: 0,
            digest: crate::stream::digest::Digest128::ZERO,
        });
        let error = Inventory::read(&manifest, &Memory(vec![("shop/x.bson", "")])).unwrap_err();
        assert!(error.to_string().contains("lacks the data of orders"), "{error}");
        let found = Inventory::read(&manifest, &Memory(vec![("shop/orders.bson", "")])).unwrap();
        assert_eq!(found.collections[0].documents, Some(3));
    }
}
