//! Restoring a database: a new or empty one, the collections with their options, their documents in parallel
//! from the repository, indexes and views; everything is counted.

mod indexes;
mod insert;
mod into;
mod inventory;
mod legacy;
mod load;
mod read_back;
mod server;
mod target;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use mongodb::bson::{raw::CString, rawdoc};
use parking_lot::{Mutex, MutexGuard};

pub(in crate::source) use self::into::{by_url, on_own_server};
pub use self::target::{Target, parse_url};
use self::{
    insert::Place,
    inventory::{BUCKETS, Entry, Inventory},
    load::load,
    server::Server,
};
use crate::{
    error::{Error, Result},
    source::{
        manifest::Manifest,
        mongodb::{compare::ChangedIndexes, connect::Deployment},
        restore::{Options, Restored},
    },
    stream::{cancel::Cancel, files::Files},
    workers,
};

/// Collections that are filled at the same time. Each holds two batches in memory.
const PARALLEL: usize = 4;
/// From this version on the buckets of a time series are addressed by its own name.
const RAW_DATA: (u32, u32) = (8, 3);
/// The collection is there already.
const NAMESPACE_EXISTS: i32 = 48;

/// Restores a database from `files` into `target`. `files` may also be a directory that stock mongodump wrote.
///
/// # Errors
/// Exit code 2: an option that does not apply here, or a collection that the snapshot does not have. Otherwise any error that
/// prevents a single document or index from being restored; the database is then incomplete and the error says so.
pub fn restore(
    manifest: &Manifest,
    files: &dyn Files,
    target: &Target,
    options: &Options,
    cancel: &Cancel,
    notice: &dyn Fn(&str),
) -> Result<Restored> {
    require_known_options(options)?;
    let mut inventory = Inventory::read(manifest, files)?;
    if let Some(table) = &options.table {
        inventory = inventory.only(table)?;
    }
    let deployment = Deployment::connect(&target.params, cancel)?;
    let server = Server { deployment, database: &target.database, cancel };
    require_empty(&server)?;
    let mut done = Restored {
        database: target.database.clone(),
        created: true,
        collections: true,
        ..Restored::default()
    };
    done.notes.append(&mut inventory.notes);
    notice(&format!("restoring {}", crate::output::count(inventory.collections.len(), "collection")));
    let restore = Restore { server: &server, files, stop: Cancel::new(), done: Mutex::new(done) };
    restore.run(&inventory).map_err(|error| Options::incomplete(error, &target.database, true))?;
    Ok(restore.done.into_inner())
}

struct Restore<'a> {
    server: &'a Server<'a>,
    files: &'a dyn Files,
    /// Set by the first collection that fails.
    stop: Cancel,
    done: Mutex<Restored>,
}

impl Restore<'_> {
    fn run(&self, inventory: &Inventory) -> Result<()> {
        for entry in &inventory.collections {
            self.create(entry).map_err(|error| of(entry, error))?;
        }
        self.fill(&inventory.collections)?;
        for view in &inventory.views {
            self.create(view).map_err(|error| of(view, error))?;
        }
        for entry in inventory.collections.iter().chain(&inventory.views) {
            let note = indexes::restore_search(self.server, entry).map_err(|error| of(entry, error))?;
            self.done().notes.extend(note);
        }
        self.require_all(inventory)
    }

    /// Creates a collection, time series or view with all its options, known to us or not.
    fn create(&self, entry: &Entry) -> Result<()> {
        let invalid = |error: mongodb::bson::error::Error| {
            Error::failed("its options are not valid BSON").because(&error)
        };
        let mut command = rawdoc! { "create": entry.name.as_str() };
        for option in entry.metadata.options.iter_elements() {
            let option = option.map_err(invalid)?;
            // Options that servers report, but no longer or never accept.
            if !matches!(option.key().as_str(), "autoIndexId" | "recordIdsReplicated" | "create") {
                command.append(CString::from(option.key()), option.value().map_err(invalid)?);
            }
        }
        match self.server.write(command) {
            Err(refusal) if refusal.code == Some(NAMESPACE_EXISTS) && entry.name.starts_with("system.") => {
                Ok(())
            }
            Err(refusal) => Err(Error::from(refusal).context("cannot create it")),
            Ok(_) => Ok(()),
        }
    }

    /// Fills the collections, several at a time, and ends at the first error.
    fn fill(&self, entries: &[Entry]) -> Result<()> {
        workers::try_map(entries, PARALLEL, &self.stop, "another collection failed", |entry| {
            self.collection(entry).map_err(|error| of(entry, error))
        })
        .map(drop)
    }

    /// Documents, then indexes; counts between them, as an index may make documents expire.
    fn collection(&self, entry: &Entry) -> Result<()> {
        self.server.cancel.check()?;
        if let Some((path, _)) = &entry.data {
            let place = self.place(entry);
            let (collection, raw) = (place.collection.clone(), place.raw);
            let loaded = load(self.server, place, self.files, path, &self.stop)?;
            if let Some(promised) = entry.documents.filter(|promised| *promised != loaded.documents) {
                return Err(Options::wrong(&format!(
                    "its file has {} instead of {promised}",
                    crate::output::count(loaded.documents, "document")
                )));
            }
            let counted = self.server.count(&collection, raw)?;
            self.judge(entry, loaded.documents, counted)?;
            let mut done = self.done();
            done.bytes += loaded.bytes;
            done.rows += loaded.documents;
            done.tables += 1;
        }
        let changed = indexes::restore(self.server, entry)?;
        let mut done = self.done();
        done.notes.extend(changed.notes);
        done.missing.extend(changed.missing);
        if !changed.names.is_empty() {
            let mut all: ChangedIndexes = done.own();
            all.extend(changed.names.into_iter().map(|name| (entry.name.clone(), name)));
            done.keep(all);
        }
        Ok(())
    }

    /// Are all documents there?
    fn judge(&self, entry: &Entry, inserted: u64, counted: u64) -> Result<()> {
        if counted == inserted {
            return Ok(());
        }
        let expires = entry.metadata.option("expireAfterSeconds").is_some();
        if expires && counted < inserted {
            let gone = inserted - counted;
            let name = &entry.name;
            self.done().notes.push(format!(
                "past the time limit of {name} and gone again: {}",
                crate::output::count(gone, "document")
            ));
            return Ok(());
        }
        let what = format!(
            "{} {} inserted and the server counts {counted}",
            crate::output::count(inserted, "document"),
            if inserted == 1 { "was" } else { "were" }
        );
        Err(Options::wrong(&what))
    }

    /// The target of the documents of a collection.
    fn place(&self, entry: &Entry) -> Place {
        let is_series = entry.metadata.is_time_series();
        let raw = is_series && self.server.deployment.version_number() >= RAW_DATA;
        Place {
            database: self.server.database.to_owned(),
            collection: if is_series && !raw {
                format!("{BUCKETS}{}", entry.name)
            } else {
                entry.name.clone()
            },
            series: is_series.then(|| entry.name.clone()),
            raw,
        }
    }

    /// The database must have every collection and view and nothing else.
    fn require_all(&self, inventory: &Inventory) -> Result<()> {
        let entries = inventory.collections.iter().chain(&inventory.views);
        let mut wanted: Vec<&str> =
            entries.map(|entry| entry.name.as_str()).filter(|name| !name.starts_with("system.")).collect();
        wanted.sort_unstable();
        let found = self.server.collections()?;
        if wanted == found {
            return Ok(());
        }
        let missing = wanted.iter().filter(|name| !found.iter().any(|found| found == *name));
        let surplus = found.iter().filter(|name| !wanted.contains(&name.as_str()));
        let missing = missing.map(|name| format!("{name} is missing"));
        let surplus = surplus.map(|name| format!("{name} does not belong there"));
        Err(Options::wrong(&missing.chain(surplus).take(5).collect::<Vec<_>>().join(", ")))
    }

    fn done(&self) -> MutexGuard<'_, Restored> {
        self.done.lock()
    }
}

fn require_known_options(options: &Options) -> Result<()> {
    options.refuse_jobs("MongoDB")?;
    Options::refuse(
        &[
            (options.no_owner, "--no-owner"),
            (options.no_privileges, "--no-privileges"),
            (options.no_tablespaces, "--no-tablespaces"),
            (options.no_roles, "--no-roles"),
            (options.skip_superuser, "--skip-superuser-objects"),
        ],
        "MongoDB",
        "its dumps hold no owners, no privileges and no roles: leave it out",
    )?;
    Options::refuse(
        &[(options.keep_going, "--continue")],
        "MongoDB",
        "restore the collections one by one with --table",
    )
}

/// Refuses a database that is not empty.
fn require_empty(server: &Server<'_>) -> Result<()> {
    let found = server.collections().map_err(|error| error.context("cannot look into the target"))?;
    if found.is_empty() {
        return Ok(());
    }
    let more = found.len().saturating_sub(5);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    let first = found.iter().take(5).map(String::as_str).collect::<Vec<_>>().join(", ");
    Err(Error::failed(format!("the database {} is not empty: {first}{rest}", server.database))
        .hint("nothing was changed; restore under another name, or drop that database first"))
}

fn of(entry: &Entry, error: Error) -> Error {
    let kind = match (entry.metadata.is_view(), entry.metadata.is_time_series()) {
        (true, _) => "view",
        (_, true) => "time series",
        _ => "collection",
    };
    error.context(format!("{kind} {}", entry.name))
}
