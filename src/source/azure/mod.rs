//! The source `azure-storage`: every blob container and every file share of every storage account that a service
//! principal can see.

mod asked;
pub mod config;
mod container;
mod detail;
mod discover;
mod health;
mod inventory;
pub(in crate::source) mod kind;
mod names;
mod pipeline;
mod reach;
mod recovery;
pub mod restore;
mod sample;
mod selftest;
mod servers;
mod share;
mod subscriptions;
mod tap;
mod verify;
mod within;

use std::{collections::HashMap, sync::Arc, thread, time::Duration};

use parking_lot::{Mutex, MutexGuard};

pub use detail::{Detail, Named};
pub use servers::AzureServers;
pub(in crate::source) use servers::found;

use self::{
    asked::Asked, container::Container, discover::Reached, health::Access, reach::Probe, share::Share,
};
use super::{
    Discovery, Item, Source,
    exclude::Excludes,
    manifest::{Consistency, Digested, File, Manifest, Object},
};
use crate::{
    azure::{Azure, Settings, files::FileService, request::Service},
    error::{Error, Result},
    settings::{AzurePrincipal, Paths, Secret, SourceSettings},
    source::azure::config::AzureStorageConfig,
    stream::{
        cancel::Cancel,
        sink::{Late, Sink},
    },
};

/// The kind of source, as written in the configuration.
pub(crate) const NAME: &str = "azure-storage";
/// The prefix of file shares in the names of items.
pub const SHARE: &str = "share:";
/// After this time a run starts with the accounts that have answered, and continues to wait for the others.
const START_AFTER: Duration = Duration::from_secs(10);
/// The interval for checking whether the run was stopped.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// How long a run that was stopped tries to remove the share snapshots it took.
const TIME_TO_REMOVE: Duration = Duration::from_secs(20);
/// Key of the metadata by which the snapshots of shares that this program takes are known.
const MARK: &str = "tikbackup";

/// The storage accounts of a tenant.
pub struct AzureStorage {
    name: String,
    config: AzureStorageConfig,
    /// Blobs and files that the configuration leaves out.
    excludes: Excludes,
    azure: Azure,
    probe: Probe,
    /// The accounts of the last discovery, which may still be running.
    asked: Mutex<Option<Arc<Asked>>>,
    /// Containers whose listing does not keep names below a prefix together, and whether a second attempt is due.
    unordered: Mutex<HashMap<String, bool>>,
}

/// A client for a service principal. Reads its files.
pub(crate) fn client(principal: &AzurePrincipal) -> Result<Azure> {
    let text = |secret: Secret| secret.expose().to_owned();
    Azure::new(Settings {
        tenant: text(principal.tenant_id_file.load()?),
        client_id: text(principal.client_id_file.load()?),
        client_secret: principal.client_secret_file.load()?,
        authority: principal.authority.clone(),
        management: principal.management_endpoint.clone(),
        management_scope: principal.management_scope.clone(),
        storage_scope: principal.storage_scope.clone(),
    })
}

/// A parsed name of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place<'a> {
    /// A blob container.
    Container { account: &'a str, container: &'a str },
    /// A file share.
    Share { account: &'a str, share: &'a str },
}

impl<'a> Place<'a> {
    /// Reads `account/container` or `account/share:NAME`.
    pub(crate) fn parse(item: &'a str) -> Option<Self> {
        let (account, rest) = item.split_once('/')?;
        if account.is_empty() || rest.is_empty() {
            return None;
        }
        Some(match rest.strip_prefix(SHARE) {
            Some(share) => Self::Share { account, share },
            None => Self::Container { account, container: rest },
        })
    }

    pub(crate) fn account(&self) -> &'a str {
        match self {
            Self::Container { account, .. } | Self::Share { account, .. } => account,
        }
    }
}

impl AzureStorage {
    /// A source as configured. Reads the files of the service principal.
    pub fn new(source: &SourceSettings, config: &AzureStorageConfig) -> Result<Self> {
        Ok(Self {
            name: source.name.to_string(),
            config: config.clone(),
            excludes: Excludes::new(&config.exclude, Paths::OfBlobs)?,
            probe: Probe::new()?,
            azure: client(&config.principal)?,
            asked: Mutex::default(),
            unordered: Mutex::default(),
        })
    }

    fn asked(&self) -> Option<Arc<Asked>> {
        self.asked.lock().clone()
    }

    /// Starts to query all accounts.
    fn ask(&self, cancel: &Cancel) -> Result<Arc<Asked>> {
        let asked = Asked::begin(&self.azure, &self.probe, &self.config, cancel)?;
        *self.asked.lock() = Some(Arc::clone(&asked));
        Ok(asked)
    }

    fn unordered(&self) -> MutexGuard<'_, HashMap<String, bool>> {
        self.unordered.lock()
    }

    /// The connection to an account; waits for its answer.
    fn account(&self, name: &str, cancel: &Cancel) -> Result<Reached> {
        let asked = match self.asked() {
            Some(asked) => asked,
            None => self.ask(cancel)?,
        };
        let reached = asked.reached(name, cancel)?;
        reached.ok_or_else(|| Error::failed(format!("the storage account {name} no longer exists")))
    }

    fn dump_container(
        &self,
        item: &Item,
        account: &str,
        container: &str,
        sink: &dyn Sink,
        cancel: &Cancel,
    ) -> Result<Manifest> {
        let reached = self.account(account, cancel)?;
        let service = reached.blobs.as_ref().ok_or_else(|| no_service(account, "blob"))?;
        let mut manifest = self.manifest(item, &reached);
        let detail = Detail {
            account: account.to_owned(),
            endpoint: reached.account.blob_endpoint.clone().unwrap_or_default(),
            container: Some(container.to_owned()),
            hierarchical: reached.account.hierarchical,
            ..Detail::default()
        };
        let hierarchical = detail.hierarchical;
        let ordered = !self.unordered().contains_key(&item.name);
        let workers = self.config.parallel_downloads;
        let endpoint = detail.endpoint.clone();
        let container = Container {
            service,
            access: self.access(&reached, Service::Blob, &endpoint, cancel),
            name: container,
            sink,
            cancel,
            excludes: &self.excludes,
            workers,
            hierarchical,
            ordered,
        };
        let dumped = container.dump(detail).inspect_err(|error| {
            if ordered && error.is::<Late>() {
                self.unordered().insert(item.name.clone(), true);
            }
        })?;
        manifest.finish_azure(dumped, "container", container::INVENTORY);
        Ok(manifest)
    }

    fn dump_share(
        &self,
        item: &Item,
        account: &str,
        share: &str,
        sink: &dyn Sink,
        cancel: &Cancel,
    ) -> Result<Manifest> {
        let reached = self.account(account, cancel)?;
        let service = reached.files.as_ref().ok_or_else(|| no_service(account, "file"))?;
        let mut manifest = self.manifest(item, &reached);
        manifest.consistency = Consistency::Snapshot;
        let detail = Detail {
            account: account.to_owned(),
            endpoint: reached.account.file_endpoint.clone().unwrap_or_default(),
            share: Some(share.to_owned()),
            hierarchical: reached.account.hierarchical,
            ..Detail::default()
        };
        let endpoint = detail.endpoint.clone();
        let access = self.access(&reached, Service::File, &endpoint, cancel);
        access.require()?;
        let mut notes = remove_orphans(&reached, service, share, cancel);
        let snapshot = service.take_snapshot(share, &[(MARK, &discover::run_mark())], cancel)?;
        let workers = self.config.parallel_downloads;
        let excludes = &self.excludes;
        let dumped =
            Share { service, access, snapshot: &snapshot, sink, cancel, excludes, workers }.dump(detail);
        // Always removed, also after a cancelled run.
        let removed = at_the_end(cancel, |cancel| service.remove_snapshot(snapshot, cancel));
        let dumped = dumped?;
        notes.extend(removed.err().map(|error| {
            format!(
                "the share snapshot that was taken could not be removed, the next run tries again: {error}"
            )
        }));
        manifest.notes.extend(notes);
        manifest.finish_azure(dumped, "share", share::INVENTORY);
        Ok(manifest)
    }

    fn access<'a>(
        &'a self,
        reached: &'a Reached,
        service: Service,
        endpoint: &'a str,
        cancel: &'a Cancel,
    ) -> Access<'a> {
        Access { probe: &self.probe, service, endpoint, outage: &reached.outage, cancel }
    }

    fn manifest(&self, item: &Item, reached: &Reached) -> Manifest {
        let mut manifest = Manifest::begin(&self.name, &item.name, self.kind());
        manifest.server_version = format!("Azure Storage ({})", reached.account.kind);
        manifest.notes.extend(reached.notes.iter().cloned());
        manifest
    }
}

impl Manifest {
    fn finish_azure(&mut self, dumped: container::Dumped, kind: &str, inventory: &str) {
        let container::Dumped { detail, content, inventory_bytes, omitted, notes } = dumped;
        let name = detail.container.as_ref().or(detail.share.as_ref()).cloned().unwrap_or_default();
        self.objects.push(Object {
            kind: kind.to_owned(),
            schema: None,
            name,
            rows: content.rows,
            bytes: content.bytes,
            digest: content.digest,
        });
        // The contents are listed in the inventory: there may be millions of them.
        self.files.push(File { path: inventory.to_owned(), bytes: inventory_bytes });
        self.digested = Digested::Yes;
        self.notes.extend(notes);
        self.omitted = omitted;
        self.set_detail(detail);
        self.ended = jiff::Zoned::now();
    }
}

impl Source for AzureStorage {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> &'static str {
        NAME
    }

    fn discover(&self, cancel: &Cancel) -> Result<Discovery> {
        self.ask(cancel)?.found(START_AFTER, cancel)
    }

    fn discover_rest(&self, cancel: &Cancel) -> Result<Option<Discovery>> {
        self.asked().map(|asked| asked.more(cancel)).transpose()
    }

    fn excluded_within(&self, item: &Item, cancel: &Cancel) -> Result<Vec<(String, u64)>> {
        if self.config.exclude.is_empty() {
            return Ok(Vec::new());
        }
        let excludes = &self.excludes;
        match Place::parse(&item.name) {
            Some(Place::Container { account, container }) => {
                let reached = self.account(account, cancel)?;
                let service = reached.blobs.as_ref().ok_or_else(|| no_service(account, "blob"))?;
                within::container(service, container, excludes, cancel)
            }
            Some(Place::Share { account, share }) => {
                let reached = self.account(account, cancel)?;
                let service = reached.files.as_ref().ok_or_else(|| no_service(account, "file"))?;
                within::share(service, share, excludes, cancel)
            }
            None => Ok(Vec::new()),
        }
    }

    fn is_gone(&self, item: &Item, cancel: &Cancel) -> bool {
        let place = Place::parse(&item.name);
        let reached = place.and_then(|place| self.account(place.account(), cancel).ok());
        place
            .zip(reached)
            .is_some_and(|(place, reached)| within::is_gone(&place, &reached, &self.probe, cancel))
    }

    fn dump(&self, item: &Item, sink: &dyn Sink, cancel: &Cancel) -> Result<Manifest> {
        match Place::parse(&item.name) {
            Some(Place::Container { account, container }) => {
                self.dump_container(item, account, container, sink, cancel)
            }
            Some(Place::Share { account, share }) => self.dump_share(item, account, share, sink, cancel),
            None => Err(Error::failed(format!(
                "{} is neither ACCOUNT/CONTAINER nor ACCOUNT/{SHARE}NAME",
                item.name
            ))),
        }
    }

    fn in_steps(&self) -> bool {
        true
    }

    fn try_again(&self, item: &Item) -> bool {
        self.unordered().get_mut(&item.name).is_some_and(std::mem::take)
    }
}

fn no_service(account: &str, service: &str) -> Error {
    Error::failed(format!("the storage account {account} no longer has a {service} service"))
}

/// Removes the snapshots left by killed runs. A failure is only reported.
fn remove_orphans(reached: &Reached, service: &FileService, share: &str, cancel: &Cancel) -> Vec<String> {
    let orphans = reached.orphans.get(share).map(Vec::as_slice).unwrap_or_default();
    let marked = orphans.iter().filter_map(|orphan| {
        discover::mark_of(orphan).and_then(|mark| service.orphan(share, orphan, (MARK, mark)))
    });
    let refused = marked.filter_map(|orphan| service.remove_snapshot(orphan, cancel).err());
    refused
        .map(|error| format!("a share snapshot that an earlier run left could not be removed: {error}"))
        .collect()
}

/// Performs an action that is also necessary after a cancelled run, with its own stop flag: if the run is stopped, it is set some time
/// later.
fn at_the_end<T: Send>(cancel: &Cancel, work: impl FnOnce(&Cancel) -> T) -> T {
    let (last, done) = (Cancel::new(), Cancel::new());
    thread::scope(|scope| {
        scope.spawn(|| {
            while !cancel.is_cancelled() {
                if done.wait(POLL_INTERVAL) {
                    return;
                }
            }
            if !done.wait(TIME_TO_REMOVE) {
                last.cancel("the run was stopped");
            }
        });
        let result = work(&last);
        done.cancel("it is done");
        result
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_name_containers_and_shares() {
        assert_eq!(Place::parse("acct/$web"), Some(Place::Container { account: "acct", container: "$web" }));
        assert_eq!(Place::parse("acct/share:docs"), Some(Place::Share { account: "acct", share: "docs" }));
        assert_eq!(Place::parse("acct"), None);
        assert_eq!(Place::parse("acct/"), None);
    }
}
