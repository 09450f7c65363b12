//! The restic repository. The only module that uses `rustic_core` and `rustic_backend`, which open, read, restore, prune and
//! check; the write path in [`writer`] is our own.

mod cache;
mod cache_age;
mod cached;
mod check;
mod chunker;
mod connection;
mod crypto;
mod directories;
mod errors;
mod findings;
mod foreign;
mod guard;
mod handle;
mod hosts;
mod incomplete;
mod keys;
mod known;
mod listing;
mod local;
mod local_files;
mod local_list;
mod lock;
mod lock_file;
mod lost;
mod maintenance;
mod needed;
mod node;
#[cfg_attr(not(feature = "remote-storages"), allow(dead_code))]
mod objects;
mod open_packs;
mod opening;
mod outage;
mod pack_list;
mod packs;
mod previous;
mod read;
mod read_before;
mod refusal;
mod remote;
mod remote_errors;
mod repair;
mod retention;
mod retry;
mod root;
mod salvage;
mod sessions;
#[cfg(feature = "remote-storages")]
mod sftp;
mod snapshot;
mod storage;
mod transient;
mod watch;
pub mod writer;

use std::sync::Arc;

pub use check::CheckReport;
pub(crate) use foreign::{foreign_hint, host_option};
pub(crate) use hosts::sort as sort_shares;
pub use hosts::{HostShare, Hosts, shares};
pub use incomplete::Incomplete;
pub(crate) use listing::hear as hear_libraries;
pub use lock::{FoundLock, LockGuard, LockOptions};
pub use maintenance::{PruneReport, Subset};
pub(crate) use opening::Asked;
use parking_lot::Mutex;
pub use previous::PreviousSnapshots;
pub use read::{SnapshotFiles, SnapshotReader};
pub use refusal::Refusal;
pub use repair::RepairReport;
#[cfg(feature = "dashboard")]
pub use retention::explain;
pub use retention::holders;
pub(crate) use retry::waited;
pub use retry::{Patience, patiently};
use rustic_core::{
    ConfigOptions, Credentials, KeyOptions,
    repofile::{SnapshotFile, SnapshotId},
};
pub use sessions::end_sessions;
pub(crate) use snapshot::{AHEAD, id_bytes};
pub use snapshot::{At, Snapshot, future_warning, item_path};

use self::{
    chunker::Chunker,
    crypto::Cipher,
    errors::rustic_error,
    handle::{Opened, READERS, new_handle},
    known::KnownBlobs,
    local::LocalStorage,
    needed::Depth,
    storage::Storage,
    watch::Watch,
};
use crate::{
    config::RepositoryConfig,
    error::{Error, Fact, Result},
    fs::owner::Account,
    settings::{Secret, SecretFile},
    stream::cancel::Cancel,
    workers,
};

/// The part of `min_free` that a run leaves free, for the locks and indexes that a prune needs to free space.
const RESERVE: u64 = 256 << 20;

/// The result of `init`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Initialised {
    /// The repository was created.
    Created,
    /// It existed, and the password opens it.
    Present,
}

/// An opened repository.
pub struct Repository {
    inner: Opened,
    storage: Storage,
    cipher: Cipher,
    config: RepositoryConfig,
    /// Bytes of all packs, once a run has listed them.
    packed: Arc<Mutex<Option<u64>>>,
}

/// The id of the unreadable repository file that caused an error.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DamagedFile(pub(crate) rustic_core::Id);

impl Fact for DamagedFile {}

impl Repository {
    /// Creates the configured repository, unless it exists.
    pub fn init(config: &RepositoryConfig) -> Result<Initialised> {
        Self::init_for(config, None)
    }

    /// As [`Self::init`]; a directory that root creates below a directory of root's belongs to `service`, the user of the services.
    pub(crate) fn init_for(config: &RepositoryConfig, service: Option<&Account>) -> Result<Initialised> {
        let patience = Patience::short();
        if let Some(path) = config.location.load()?.path() {
            LocalStorage::create_root(path, config.mount.as_deref(), service, &patience)?;
        }
        let storage = Storage::open(config, true, &patience)?;
        if exists(&storage)? {
            Self::open_in(config, storage)?;
            return Ok(Initialised::Present);
        }
        if let Some(local) = storage.local()
            && local.has_content().map_err(|e| Error::repository("cannot list the repository").because(&e))?
        {
            return Err(Error::repository(format!("{} has no `config` but other files of a repository", config.location))
                .hint("it may be damaged or incompletely mounted: nothing was written; if it is not needed, remove it by hand"));
        }
        let password = config.password_file.load()?;
        require_portable(&config.password_file, &password)?;
        let credentials = Credentials::password(password.expose());
        new_handle(&storage)?
            .init(&credentials, &KeyOptions::default(), &ConfigOptions::default().set_version(2u32))
            .map_err(|e| rustic_error("cannot create the repository", e))?;
        Ok(Initialised::Created)
    }

    /// Opens the configured repository for commands that only read: a storage that does not answer is retried for a few seconds
    /// only.
    pub fn open(config: &RepositoryConfig) -> Result<Self> {
        Self::open_patiently(config, &Patience::short())
    }

    /// As [`Self::open`], for work that waits for the end of an outage.
    pub fn open_patiently(config: &RepositoryConfig, patience: &Patience) -> Result<Self> {
        let storage = Storage::open(config, false, patience)?;
        if !exists(&storage)? {
            return Err(Error::repository(format!("there is no repository at {}", config.location)).hint(
                "`tik-backup init` creates one; if there was one, check that the right storage is mounted",
            ));
        }
        Self::open_in(config, storage)
    }

    fn open_in(config: &RepositoryConfig, storage: Storage) -> Result<Self> {
        let inner = keys::open(config, &storage)?;
        if inner.config().version != 2 {
            return Err(Error::repository("the repository has format version 1")
                .hint("upgrade it with `restic migrate upgrade_repo_v2`"));
        }
        let cipher = Cipher::new(&inner.key())?;
        Ok(Self { inner, storage, cipher, config: config.clone(), packed: Arc::default() })
    }

    /// Another handle of the same repository, for operations of `rustic_core` that consume theirs.
    fn reopen(&self) -> Result<Opened> {
        new_handle(&self.storage)?
            .open(&Credentials::Masterkey(self.inner.key()))
            .map_err(|e| rustic_error("cannot open the repository", e))
    }

    /// Host name written into snapshots.
    pub fn host(&self) -> &str {
        &self.config.host
    }

    /// Its id, in hex digits. A copy of the repository has the same id.
    pub fn id(&self) -> String {
        self.inner.config().id.to_hex().as_str().to_owned()
    }

    /// Its location, without passwords.
    pub fn location(&self) -> String {
        self.config.location.to_string()
    }

    /// Whether it has lock files. Only local and mounted storages have them.
    pub fn has_locks(&self) -> bool {
        self.storage.local().is_some()
    }

    /// Takes a lock.
    pub fn lock(&self, options: &LockOptions<'_>) -> Result<LockGuard> {
        Ok(LockGuard::acquire(&self.storage, &self.cipher, options)?)
    }

    /// Takes a lock for reading, and distinguishes a storage without room for locks from other refusals.
    ///
    /// # Errors
    /// The reason why no lock was taken.
    pub fn lock_to_read(&self, options: &LockOptions<'_>) -> Result<LockGuard, Refusal> {
        LockGuard::acquire(&self.storage, &self.cipher, options)
    }

    /// The locks of other processes, held or stale; empty for a storage without locks.
    pub fn locks(&self) -> Result<Vec<FoundLock>> {
        lock::found(&self.storage, &self.cipher)
    }

    /// Removes a lock of any process.
    pub fn remove_lock(&self, lock: &FoundLock) -> Result<()> {
        lock::remove_found(&self.storage, lock)
    }

    /// Waits, within its patience, until the storage answers and contains the repository.
    pub fn require_storage(&self) -> Result<()> {
        self.storage.verify_identity()?;
        if exists(&self.storage)? {
            return Ok(());
        }
        Err(Error::repository(format!("there is no repository at {} any more", self.location()))
            .hint("check that the right storage is mounted"))
    }

    /// Fails if less space is free than a run requires.
    pub fn require_free_space(&self) -> Result<()> {
        let Some(local) = self.storage.local() else { return Ok(()) };
        let (free, needed) = (local.free_space()?, self.config.min_free);
        if free >= needed {
            return Ok(());
        }
        // In a repository without snapshots, a prune could free nothing.
        let hint = if self.snapshot_ids().is_ok_and(|ids| ids.is_empty()) {
            "free space on the storage, or use a larger one; a run does not start with less"
        } else {
            "`tik-backup prune` removes the data of dropped snapshots; otherwise free space on the storage"
        };
        Err(Error::repository(format!(
            "only {} free at {}, less than `repository.min_free` ({})",
            crate::output::size(free),
            self.location(),
            crate::output::size(needed)
        ))
        .hint(hint))
    }

    /// Free bytes on its file system; `None` if it is not in a file system.
    pub fn free_space(&self) -> Option<u64> {
        self.storage.local()?.free_space().ok()
    }

    /// Bytes of all packs, as a run has listed them at its beginning, and of those that it has stored since; `None` if no run has
    /// begun.
    pub fn packed_bytes(&self) -> Option<u64> {
        *self.packed.lock()
    }

    /// The snapshots of this program that `hosts` made, oldest first.
    pub fn snapshots(&self, hosts: Hosts) -> Result<Vec<Snapshot>> {
        let (snapshots, damaged) = self.readable_snapshots(hosts)?;
        match damaged.into_iter().next() {
            None => Ok(snapshots),
            Some(error) => Err(error),
        }
    }

    /// The readable snapshots of `hosts`, oldest first, and an error for each unreadable one of any host.
    pub fn readable_snapshots(&self, hosts: Hosts) -> Result<(Vec<Snapshot>, Vec<Error>)> {
        let ids: Vec<SnapshotId> = self
            .inner
            .list::<SnapshotId>()
            .map_err(|e| rustic_error("cannot list the snapshots", e))?
            .collect();
        let read = self.read_snapshots(&ids);
        let (mut snapshots, mut damaged) = (Vec::new(), Vec::new());
        for snapshot in read {
            match snapshot {
                Ok(snapshot) => snapshots.extend(snapshot.filter(|s| hosts.takes(self.host(), &s.host))),
                Err(error) => damaged.push(error),
            }
        }
        snapshots.sort_by(|a, b| a.time.cmp(&b.time).then_with(|| a.id.cmp(&b.id)));
        Ok((snapshots, damaged))
    }

    /// Ids of the snapshots of all programs.
    pub fn snapshot_ids(&self) -> Result<Vec<[u8; 32]>> {
        let ids =
            self.inner.list::<SnapshotId>().map_err(|e| rustic_error("cannot list the snapshots", e))?;
        Ok(ids.filter_map(|id| snapshot::id_bytes(id.to_hex().as_str())).collect())
    }

    /// The snapshots with these ids, in the same order: `None` for those of other programs and for removed ones.
    pub fn snapshots_by_id(&self, ids: &[[u8; 32]]) -> Vec<Result<Option<Snapshot>>> {
        let ids: Vec<SnapshotId> = ids.iter().map(|id| rustic_core::Id::new(*id).into()).collect();
        self.read_snapshots(&ids)
    }

    fn read_snapshots(&self, ids: &[SnapshotId]) -> Vec<Result<Option<Snapshot>>> {
        let panicked = |_: &SnapshotId| Err(Error::failed("reading snapshots panicked"));
        workers::map_or(ids, READERS, panicked, |id| self.read_snapshot(*id))
    }

    fn read_snapshot(&self, id: SnapshotId) -> Result<Option<Snapshot>> {
        match self.inner.get_file::<SnapshotFile>(&id) {
            Ok(mut file) => {
                file.id = id;
                Ok(Snapshot::from_file(file))
            }
            Err(_) if self.is_gone(id)? => Ok(None),
            Err(error) => {
                let what = format!("cannot read the snapshot file {}", id.to_hex().as_str());
                Err(rustic_error(&what, error).with(DamagedFile(*id)).hint(
                    "if it is damaged for good, move it away from the repository's directory `snapshots`, as docs/operations.md \
                     shows; the other snapshots are not affected",
                ))
            }
        }
    }

    /// Whether a snapshot was removed since it was listed.
    fn is_gone(&self, id: SnapshotId) -> Result<bool> {
        let mut there =
            self.inner.list::<SnapshotId>().map_err(|e| rustic_error("cannot list the snapshots", e))?;
        Ok(!there.any(|other| other == id))
    }

    /// Starts a run that writes. The lock must have been taken before: it keeps a prune from removing what the run's
    /// index lists. `lost` is called if lost packs are found, before they are removed from the index, where later
    /// commands would not find them. A second call has more information.
    pub fn begin_run(
        &self,
        lock: Arc<LockGuard>,
        cancel: &Cancel,
        lost: &dyn Fn(&Error),
        notice: &dyn Fn(&str),
    ) -> Result<writer::RunWriter> {
        let polynomial = self
            .inner
            .config()
            .poly()
            .map_err(|e| rustic_error("cannot read the repository's configuration", e))?;
        // Nothing relies on packs before there is an index or a snapshot.
        let listed = if self.is_new()? { Vec::new() } else { self.packs()? };
        let (known, _) = KnownBlobs::load_with(&self.inner, &self.storage, listed)?;
        self.require_index(&known, Depth::Newest, cancel)?;
        self.forget_missing_packs(&known, lost, notice)?;
        *self.packed.lock() = Some(known.bytes);
        let watch = Watch::new(&self.storage, &self.inner, &known, self.has_locks());
        writer::RunWriter::start(writer::Parts {
            storage: self.storage.clone(),
            cipher: self.cipher.clone(),
            chunker: Chunker::new(polynomial)?,
            known,
            watch,
            repository: self.id(),
            packed: self.packed.clone(),
            options: writer::WriteOptions {
                compression: self.config.compression,
                pack_size: self.config.pack_size as usize,
                verify_writes: self.config.verify_writes,
                reserve: self.config.min_free.min(RESERVE),
                workers: std::thread::available_parallelism().map_or(2, std::num::NonZero::get),
            },
            cancel: cancel.clone(),
            lock,
        })
    }
}

/// Whether stock restic reads another password from the same file: it strips surrounding white space and a byte order mark.
pub(crate) fn is_trimmed_by_restic(password: &Secret) -> bool {
    let text = password.expose();
    text.trim() != text || text.starts_with('\u{feff}')
}

/// Refuses such a password before the repository is created.
fn require_portable(file: &SecretFile, password: &Secret) -> Result<()> {
    if !is_trimmed_by_restic(password) {
        return Ok(());
    }
    let what = "begins or ends with white space or a byte order mark, which restic strips from the password";
    Err(Error::usage(format!("{}: the file {file} {what}", file.key()))
        .hint("remove it: restic must be able to open the repository with the same file"))
}

fn exists(storage: &Storage) -> Result<bool> {
    use rustic_core::ReadBackend;
    let list = storage.backend().list(rustic_core::FileType::Config);
    Ok(!list.map_err(|e| rustic_error("cannot look for the repository", e))?.is_empty())
}
