//! The source `mongodb`: every database of a MongoDB deployment, in the layout of mongodump.

mod catalog;
pub(crate) mod compare;
pub mod config;
pub mod connect;
mod detail;
mod discover;
mod dump;
mod feed;
pub mod format;
mod hints;
pub(in crate::source) mod kind;
mod params;
mod recovery;
pub mod restore;
mod scan;
pub mod scratch;
mod secrets;
mod selftest;
mod snapshot;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod testing;
#[cfg(test)]
mod tests;
mod uri;
mod verify;

use std::{collections::BTreeSet, time::Duration};

use parking_lot::{Mutex, MutexGuard};

pub use detail::{Collection, Detail, Index, SnapshotTime, spec_digest};

use self::connect::{Deployment, Params};
use super::{Discovery, Item, Source, manifest::Manifest};
use crate::{
    error::Result,
    settings::{IDLE_TIMEOUT, Patterns, SecretFile, SourceSettings},
    source::mongodb::config::{MongodbConfig, MongodbConsistency},
    stream::{cancel::Cancel, sink::Sink},
};

/// The prefix of internal databases of servers.
const INTERNAL: &str = "__mdb_internal";
/// The timeout for discovery.
const CATALOG_TIME: Duration = Duration::from_secs(15 * 60);

/// A MongoDB deployment.
pub struct Mongodb {
    name: String,
    config: MongodbConfig,
    idle_timeout: Duration,
    params: Params,
    /// Databases whose snapshot was lost during a failed dump: the next attempt does not use one.
    unsteady: Mutex<BTreeSet<String>>,
    /// Those that were given that attempt.
    tried_again: Mutex<BTreeSet<String>>,
}

impl Mongodb {
    /// A source as configured. Reads the file with the connection string.
    ///
    /// # Errors
    /// Exit code 2: the file cannot be used, or the connection string in it is not valid.
    pub fn new(source: &SourceSettings, config: &MongodbConfig) -> Result<Self> {
        Ok(Self {
            name: source.name.to_string(),
            config: config.clone(),
            idle_timeout: source.idle_timeout,
            params: Params::load(&config.uri_file)?,
            unsteady: Mutex::default(),
            tried_again: Mutex::default(),
        })
    }

    /// A deployment that is not configured as a source, such as the target of a restore. No concurrent writes are
    /// expected, so no snapshot is requested.
    pub(crate) fn at(name: &str, params: Params) -> Self {
        let config = MongodbConfig {
            uri_file: SecretFile::at("--into", ""),
            databases: Patterns::default(),
            exclude: Patterns::default(),
            include_system: true,
            parallel_collections: 4,
            consistency: MongodbConsistency::None,
        };
        Self {
            name: name.to_owned(),
            config,
            idle_timeout: IDLE_TIMEOUT,
            params,
            unsteady: Mutex::default(),
            tried_again: Mutex::default(),
        }
    }

    fn unsteady(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.unsteady.lock()
    }
}

impl Source for Mongodb {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> &'static str {
        "mongodb"
    }

    fn discover(&self, cancel: &Cancel) -> Result<Discovery> {
        discover::databases(&Deployment::connect(&self.params, cancel)?, &self.config, cancel)
    }

    fn dump(&self, item: &Item, sink: &dyn Sink, cancel: &Cancel) -> Result<Manifest> {
        dump::dump(self, &item.name, sink, cancel)
    }

    fn try_again(&self, item: &Item) -> bool {
        let mut tried = self.tried_again.lock();
        self.config.consistency == MongodbConsistency::Auto
            && self.unsteady().contains(&item.name)
            && tried.insert(item.name.clone())
    }
}
