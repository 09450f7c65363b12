//! Dumping one database: its collections in parallel, each streamed straight from the server.

use std::{
    io::Read,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use mongodb::bson::doc;
use parking_lot::Mutex;
use serde::Serialize;

use super::{
    Collection, Detail, Index, Mongodb,
    catalog::{self, Entry, Place},
    connect::{Deployment, Topology},
    feed::{Feed, Job, Outcome},
    format::{
        metadata::{Metadata, documents_to_json},
        names::file_stem,
    },
    scan::Patience,
    snapshot::{self, Plan},
};
use crate::{
    error::{Error, Result},
    source::{
        manifest::{Consistency, Digested, File, Manifest, Object, Tool},
        mongodb::config::MongodbConsistency,
    },
    stream::{cancel::Cancel, sink::Sink},
    workers,
};

/// The version of the driver that reads the data.
const DRIVER: &str = "3.9";
/// The file with the versions that made the dump. mongorestore reads it.
const PRELUDE: &str = "prelude.json";

#[derive(Serialize)]
struct Prelude<'a> {
    #[serde(rename = "ServerVersion")]
    server: &'a str,
    #[serde(rename = "ToolVersion")]
    tool: String,
}

/// Streams a database into `sink`.
pub(super) fn dump(source: &Mongodb, database: &str, sink: &dyn Sink, cancel: &Cancel) -> Result<Manifest> {
    let mut manifest = Manifest::begin(&source.name, database, "mongodb");
    let deployment = Arc::new(Deployment::connect(&source.params, cancel)?);
    let before = catalog::read(&deployment, database, cancel)?;
    if before.is_empty() {
        if !catalog::exists(&deployment, database, cancel)? {
            return Err(Error::failed(format!("the database {database} has no collections (any more)"))
                .hint("run the backup again; if it was dropped, it will be reported as vanished"));
        }
        manifest
            .notes
            .push("it contains only collections of the server itself, which are not dumped".to_owned());
    }
    let version = deployment.version_number();
    let with_data: Vec<_> =
        before.iter().filter_map(|entry| Some((entry.clone(), entry.place(database, version)?))).collect();
    let patience = Patience { limit: source.idle_timeout, cancel: cancel.clone(), failed: Cancel::new() };
    let wanted = source.config.consistency;
    let known = source.unsteady().contains(database);
    let plan = snapshot::plan(&deployment, &with_data, wanted, known, &patience)?;
    let work = Work {
        deployment: &deployment,
        database,
        sink,
        plan: &plan,
        may_leave_snapshot: wanted != MongodbConsistency::Snapshot,
        snapshot_lost: Arc::default(),
        patience,
        files: Mutex::default(),
    };
    let metadata = before.iter().map(|entry| work.metadata(entry)).collect::<Result<Vec<_>>>()?;
    work.store(PRELUDE, &prelude(&deployment.version)?)?;
    let dumped = work.run(&with_data, source.config.parallel_collections);
    if dumped.is_err() && work.snapshot_lost.load(Ordering::Relaxed) {
        // A second attempt with this source does not use a snapshot again.
        source.unsteady().insert(database.to_owned());
    }
    let outcomes = dumped?;
    let after = catalog::read(&deployment, database, cancel)?;
    manifest.ended = jiff::Zoned::now();
    manifest.notes.extend(catalog::compare(database, &before, &after)?);
    judge(&mut manifest, &deployment, &plan, &outcomes);
    manifest.tools.push(Tool { name: "mongodb driver".to_owned(), version: DRIVER.to_owned() });
    manifest.server_version.clone_from(&deployment.version);
    manifest.files = work.files.into_inner();
    manifest.files.sort_unstable_by(|one, other| one.path.cmp(&other.path));
    manifest.digested = Digested::Yes;
    manifest.objects = outcomes.iter().map(|(name, outcome)| object(name, outcome)).collect();
    manifest.set_detail(Detail {
        topology: deployment.topology.clone(),
        feature_compatibility: feature_compatibility(&deployment, cancel)?,
        snapshot_time: (manifest.consistency == Consistency::Snapshot)
            .then_some(plan.at)
            .flatten()
            .map(Into::into),
        collections: metadata,
    });
    Ok(manifest)
}

/// State shared by the threads.
struct Work<'a> {
    deployment: &'a Arc<Deployment>,
    database: &'a str,
    sink: &'a dyn Sink,
    plan: &'a Plan,
    may_leave_snapshot: bool,
    snapshot_lost: Arc<AtomicBool>,
    patience: Patience,
    files: Mutex<Vec<File>>,
}

impl Work<'_> {
    /// Dumps the data of all collections, the largest first; returns the results sorted by name.
    fn run(&self, collections: &[(Entry, Place)], threads: usize) -> Result<Vec<(String, Outcome)>> {
        let mut order: Vec<_> = collections.iter().collect();
        order.sort_by_key(|(entry, _)| std::cmp::Reverse(entry.size));
        let reason = "another collection of the database failed";
        let mut outcomes =
            workers::try_map(&order, threads, &self.patience.failed, reason, |(entry, place)| {
                Ok((entry.name.clone(), self.collection(entry, place)?))
            })?;
        outcomes.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        Ok(outcomes)
    }

    /// Streams the documents of one collection.
    fn collection(&self, entry: &Entry, place: &Place) -> Result<Outcome> {
        let failed = |error: Error| error.context(format!("{}.{}", self.database, entry.name));
        self.patience.cancel.check()?;
        let mut feed = Feed::start(Job {
            deployment: Arc::clone(self.deployment),
            place: place.clone(),
            at: self.plan.at,
            may_leave_snapshot: self.may_leave_snapshot,
            snapshot_lost: Arc::clone(&self.snapshot_lost),
            patience: self.patience.clone(),
        });
        let bytes = self.store_stream(&data_file(place), &mut feed).map_err(failed)?;
        let outcome = feed.finish().map_err(failed)?;
        if bytes != outcome.rows.bytes {
            let (read, stored) = (outcome.rows.bytes, bytes);
            return Err(failed(Error::failed(format!("{read} bytes were read and {stored} stored"))));
        }
        Ok(outcome)
    }

    /// Stores options and indexes, and returns their part of the manifest.
    fn metadata(&self, entry: &Entry) -> Result<Collection> {
        let stem = file_stem(&entry.name);
        let path = format!("{stem}.metadata.json");
        let json = Metadata {
            options: entry.options.clone(),
            indexes: entry.indexes.clone(),
            uuid: entry.uuid,
            collection: entry.name.clone(),
            kind: Some(entry.kind.clone()),
        };
        self.store(&path, &json.to_json()?)?;
        if !entry.search_indexes.is_empty() {
            let json = documents_to_json(&entry.search_indexes)?;
            self.store(&format!("{stem}.searchIndexes.json"), &json)?;
        }
        let data = entry.place(self.database, self.deployment.version_number());
        let mut indexes = entry.indexes.iter().map(|spec| Index::of(spec)).collect::<Result<Vec<_>>>()?;
        let mut search_indexes =
            entry.search_indexes.iter().map(|spec| Index::of_search(spec)).collect::<Result<Vec<_>>>()?;
        indexes.sort_unstable();
        search_indexes.sort_unstable();
        Ok(Collection {
            name: entry.name.clone(),
            kind: entry.kind.clone(),
            uuid: entry.uuid.map(|uuid| hex(&uuid.bytes())),
            metadata: self.path(&path),
            data: data.map(|place| self.path(&data_file(&place))),
            // Without the options that a restore leaves out.
            options: super::spec_digest(&entry.options, |key| {
                !matches!(key, "autoIndexId" | "recordIdsReplicated" | "create")
            })?,
            indexes,
            search_indexes,
        })
    }

    fn path(&self, file: &str) -> String {
        format!("{}/{file}", self.database)
    }

    fn store(&self, file: &str, content: &[u8]) -> Result<()> {
        self.store_stream(file, &mut &*content).map(|_| ())
    }

    fn store_stream(&self, file: &str, content: &mut dyn Read) -> Result<u64> {
        let path = self.path(file);
        let bytes = self.sink.store(&path, content)?.bytes;
        self.files.lock().push(File { path, bytes });
        Ok(bytes)
    }
}

fn data_file(place: &Place) -> String {
    format!("{}.bson", file_stem(&place.collection))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn prelude(server: &str) -> Result<Vec<u8>> {
    let tool = format!("tik-backup {}", env!("CARGO_PKG_VERSION"));
    serde_json::to_vec(&Prelude { server, tool })
        .map_err(|error| Error::failed("cannot write the dump's prelude").because(&error))
}

fn object(name: &str, outcome: &Outcome) -> Object {
    Object {
        kind: "collection".to_owned(),
        schema: None,
        name: name.to_owned(),
        rows: outcome.rows.rows,
        bytes: outcome.rows.bytes,
        digest: outcome.rows.digest,
    }
}

/// Records the consistency of the data in the manifest, with the reason if it is not consistent.
fn judge(manifest: &mut Manifest, deployment: &Deployment, plan: &Plan, outcomes: &[(String, Outcome)]) {
    let left: Vec<(&str, &str)> = outcomes
        .iter()
        .filter_map(|(name, outcome)| Some((name.as_str(), outcome.left_snapshot.as_deref()?)))
        .collect();
    manifest.consistency =
        if plan.reason.is_none() && left.is_empty() { Consistency::Snapshot } else { Consistency::None };
    if let Some(reason) = &plan.reason {
        manifest.notes.push(format!(
            "read without a snapshot: {reason}. What was written during the dump may be in it or not, and a document \
             that was deleted and inserted again may be in it twice"
        ));
    }
    if let Some((_, reason)) = left.first() {
        let names: Vec<&str> = left.iter().map(|(name, _)| *name).collect();
        manifest.notes.push(format!(
            "the server had no snapshot (any more) for some collections, which were read without it in whole or in \
             part: {} ({reason})",
            names.join(", ")
        ));
    }
    for (name, outcome) in outcomes.iter().filter(|(_, outcome)| outcome.resumed > 0) {
        manifest.notes.push(format!(
            "reading {name} was interrupted and restarted ({}); the documents read before were unchanged",
            crate::output::count(outcome.resumed, "time")
        ));
    }
    if deployment.topology == Topology::Sharded {
        manifest.notes.push("the shard keys of sharded collections are not part of the dump".to_owned());
    }
}

/// The feature compatibility version. Not every account may read it.
fn feature_compatibility(deployment: &Deployment, cancel: &Cancel) -> Result<Option<String>> {
    let ask = doc! { "getParameter": 1, "featureCompatibilityVersion": 1 };
    let told = deployment.run(cancel, super::CATALOG_TIME, deployment.reply("admin", ask))?;
    let version = told.ok().and_then(|reply| {
        let version = reply.get_document("featureCompatibilityVersion").ok()?;
        version.get_str("version").ok().map(str::to_owned)
    });
    Ok(version)
}
