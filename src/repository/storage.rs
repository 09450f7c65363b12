//! The storage of a repository: a directory, or any location that `rustic_backend` can open.

use std::{collections::BTreeMap, io, path::Path, sync::Arc};

use rustic_backend::BackendOptions;
use rustic_core::{FileType, Id, ReadBackend, RepositoryBackends, WriteBackend};
use zeroize::Zeroizing;

use super::{
    cache::{Cache, Kind},
    cached::{Cached, Slot},
    connection::Build,
    errors::{hint, rustic_error},
    local::{LocalStorage, refused},
    pack_list::PackList,
    remote::RemoteStorage,
    retry::Patience,
    transient::passes,
};
use crate::{
    config::RepositoryConfig,
    error::{Error, Result},
};

/// Storage of a repository.
#[derive(Clone)]
pub(super) struct Storage {
    place: Place,
    is_far: bool,
    cache: Slot,
}

#[derive(Clone)]
enum Place {
    /// A directory, possibly on a mounted file system.
    Local(Arc<LocalStorage>),
    /// Anything else.
    Remote(Arc<RemoteStorage>),
}

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// A pack of content.
    Data,
    /// A pack of directories.
    Trees,
    /// A file of this type, which is not a pack.
    File(FileType),
}

impl Written {
    fn tpe(self) -> FileType {
        match self {
            Self::Data | Self::Trees => FileType::Pack,
            Self::File(tpe) => tpe,
        }
    }

    /// The kind of its copies in the cache.
    fn kind(self) -> Option<Kind> {
        match self {
            Self::Trees => Some(Kind::Trees),
            Self::File(FileType::Index) => Some(Kind::Index),
            Self::File(FileType::Snapshot) => Some(Kind::Snapshot),
            Self::Data | Self::File(_) => None,
        }
    }
}

impl Storage {
    /// Opens the configured storage; with `create`, a missing directory is created. Operations are retried with this patience.
    pub(super) fn open(config: &RepositoryConfig, create: bool, patience: &Patience) -> Result<Self> {
        let location = config.location.load()?;
        if let Some(path) = location.path() {
            let mount = config.mount.as_deref();
            let local = if create {
                LocalStorage::create_root(path, mount, None, patience)?
            } else {
                LocalStorage::open(path, mount, patience)?
            };
            return Ok(Self::new(Place::Local(Arc::new(local)), is_on_network(path)));
        }
        if cfg!(not(feature = "remote-storages")) {
            return Err(Error::usage("this tik-backup was built for repositories in a directory only")
                .hint("use one with the feature `remote-storages`, such as that of the packages"));
        }
        let mut options = config.options.clone();
        for (name, file) in &config.options_files {
            options.insert(name.clone(), file.load()?.expose().to_owned());
        }
        // The library waits long on broken connections; this program opens new ones instead.
        options.entry("retry".to_owned()).or_insert_with(|| "1".to_owned());
        let of_options = config.options_files.keys().filter_map(|name| options.get(name).cloned());
        let mut secrets: Vec<Zeroizing<String>> = of_options.map(Zeroizing::new).collect();
        let whole = location.expose();
        let rest = whole.split_once(':').map(|(_, rest)| rest);
        secrets.extend([Some(whole), rest].into_iter().flatten().map(|text| Zeroizing::new(text.to_owned())));
        let (location, extra) = backend_location(location.expose());
        let options: BTreeMap<_, _> = extra.into_iter().chain(options).collect();
        let remote = RemoteStorage::open(builder(location, options), patience).map_err(|e| {
            let error = rustic_error("cannot open the repository's location", e);
            // The library repeats its arguments, including passwords.
            secrets.iter().fold(error, |error, secret| error.redact(secret))
        })?;
        Ok(Self::new(Place::Remote(Arc::new(remote)), true))
    }

    fn new(place: Place, is_far: bool) -> Self {
        Self { place, is_far, cache: Slot::default() }
    }

    /// A directory as a storage.
    #[cfg(test)]
    pub(super) fn of_directory(local: LocalStorage) -> Self {
        Self::new(Place::Local(Arc::new(local)), false)
    }

    /// From now on, files of the index, snapshots and directories are read from `cache` if it has them.
    pub(super) fn use_cache(&self, cache: Cache) {
        self.cache.set(cache);
    }

    /// Whether it has a cache.
    pub(super) fn has_cache(&self) -> bool {
        self.cache.cache().is_some()
    }

    /// The same storage, read past the cache.
    pub(super) fn without_cache(&self) -> Self {
        Self::new(self.place.clone(), self.is_far)
    }

    /// Whether each request takes a while: behind a network protocol, or on a network file system.
    pub(super) fn is_far(&self) -> bool {
        self.is_far
    }

    /// The storage in the form that `rustic_core` requires.
    pub(super) fn backends(&self) -> RepositoryBackends {
        RepositoryBackends::new(self.backend(), None)
    }

    /// The storage as a backend.
    pub(super) fn backend(&self) -> Arc<dyn WriteBackend> {
        Arc::new(self.cached())
    }

    fn cached(&self) -> Cached {
        let (backend, lists_lengths): (Arc<dyn WriteBackend>, _) = match &self.place {
            Place::Local(local) => (local.clone(), false),
            Place::Remote(remote) => (remote.clone(), true),
        };
        Cached::new(backend, &self.cache, lists_lengths)
    }

    /// The local directory, if it is one.
    pub(super) fn local(&self) -> Option<&LocalStorage> {
        match &self.place {
            Place::Local(local) => Some(local),
            Place::Remote(_) => None,
        }
    }

    /// All packs.
    pub(super) fn packs(&self) -> Result<PackList> {
        let listed = match &self.place {
            Place::Local(local) => local.packs(),
            Place::Remote(remote) => {
                remote.list_with_size(FileType::Pack).map(|packs| PackList { packs, unfinished: Vec::new() })
            }
        };
        let listed = listed.map_err(|e| rustic_error("cannot list the repository's packs", e))?;
        self.cached().note_listed(FileType::Pack, &listed.packs);
        Ok(listed)
    }

    /// Stores a file.
    pub(super) fn write(&self, what: Written, id: Id, data: &[u8]) -> Result<()> {
        let tpe = what.tpe();
        match &self.place {
            Place::Local(local) => local.write_file(tpe, &id, &[data]).map_err(|e| write_error(tpe, e))?,
            Place::Remote(remote) => remote
                .write_bytes(tpe, &id, tpe != FileType::Pack, data.to_vec().into())
                .map_err(|e| rustic_error("cannot write to the repository", e))?,
        }
        if let (Some(cache), Some(kind)) = (self.cache.cache(), what.kind()) {
            cache.put(kind, &id, data);
        }
        Ok(())
    }

    /// Reads a file from the storage itself rather than from the page cache or our own.
    pub(super) fn read_past_cache(&self, tpe: FileType, id: Id) -> Result<Vec<u8>> {
        match &self.place {
            Place::Local(local) => local
                .read_file(tpe, &id, true)
                .map_err(|e| refused(Error::repository("cannot read the written data back"), &e)),
            Place::Remote(remote) => remote
                .read_full(tpe, &id)
                .map(|bytes| bytes.to_vec())
                .map_err(|e| rustic_error("cannot read the written data back", e)),
        }
    }

    /// Fails if the storage is no longer the one that was opened.
    pub(super) fn verify_identity(&self) -> Result<()> {
        self.local().map_or(Ok(()), LocalStorage::verify_identity)
    }
}

/// Types of file systems that are usually on another machine: NFS, SMB, FUSE, 9P, Ceph, AFS.
const NETWORK: [u64; 8] =
    [0x6969, 0x517b, 0xff53_4d42, 0xfe53_4d42, 0x6573_5546, 0x0102_1997, 0x00c3_6400, 0x5346_414f];

fn is_on_network(directory: &Path) -> bool {
    rustix::fs::statfs(directory).is_ok_and(|found| NETWORK.contains(&(found.f_type as u64 & 0xffff_ffff)))
}

/// Connects to a storage behind a network protocol.
fn builder(location: String, options: BTreeMap<String, String>) -> Box<Build> {
    if location == "opendal:sftp" {
        // Only the library can limit the bandwidth, and its connections outlive their owner.
        #[cfg(feature = "remote-storages")]
        if !options.contains_key("throttle") {
            let leftovers = super::sftp::Leftovers::default();
            return Box::new(move || super::sftp::connect(&options, &leftovers));
        }
        super::sessions::adopt();
    }
    let options = BackendOptions::default().repository(location).options(options);
    Box::new(move || options.to_backends().map(|backends| backends.repository()))
}

/// Maps short forms of locations to the names of backends, with the options that follow from them.
fn backend_location(location: &str) -> (String, Vec<(String, String)>) {
    match location.split_once(':') {
        Some(("rest" | "rclone" | "opendal", _)) => (location.to_owned(), Vec::new()),
        Some(("sftp", target)) => ("opendal:sftp".to_owned(), sftp_options(target)),
        Some((service, "")) => (format!("opendal:{service}"), Vec::new()),
        Some((service @ ("s3" | "azblob" | "b2" | "gcs" | "webdav" | "swift"), root)) => {
            (format!("opendal:{service}"), vec![("root".to_owned(), root.to_owned())])
        }
        _ => (location.to_owned(), Vec::new()),
    }
}

/// `sftp:user@host:/path` or `sftp://user@host:port/path`.
fn sftp_options(target: &str) -> Vec<(String, String)> {
    let (server, root) = match target.strip_prefix("//") {
        Some(url) => {
            url.split_once('/').map_or((url, String::new()), |(server, path)| (server, format!("/{path}")))
        }
        None => {
            target.split_once(':').map_or((target, String::new()), |(server, path)| (server, path.to_owned()))
        }
    };
    let (user, host) = server.rsplit_once('@').map_or((None, server), |(user, host)| (Some(user), host));
    let mut options = vec![("endpoint".to_owned(), format!("ssh://{host}")), ("root".to_owned(), root)];
    options.extend(user.map(|user| ("user".to_owned(), user.to_owned())));
    options
}

fn write_error(tpe: FileType, error: io::Error) -> Error {
    let message = format!("cannot write to the repository ({})", tpe.dirname());
    let hint = match hint(&error) {
        Some(hint) => hint,
        None if passes(&error) => {
            "the storage did not answer within `repository.retry_for`: check it, its mount and the network; \
             everything committed so far is intact"
        }
        None => "check the storage and its mount; everything committed so far is intact",
    };
    refused(Error::repository(message), &error).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sftp_locations_become_options() {
        let expected = |root: &str, endpoint: &str| {
            vec![
                ("endpoint".to_owned(), endpoint.to_owned()),
                ("root".to_owned(), root.to_owned()),
                ("user".to_owned(), "me".to_owned()),
            ]
        };
        assert_eq!(
            backend_location("sftp:me@host:/repo"),
            ("opendal:sftp".to_owned(), expected("/repo", "ssh://host"))
        );
        assert_eq!(
            backend_location("sftp://me@host:23/repo/x"),
            ("opendal:sftp".to_owned(), expected("/repo/x", "ssh://host:23"))
        );
    }
}
