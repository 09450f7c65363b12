//! The storage of a repository: a directory, or any location that `rustic_backend` can open.

use std::{collections::BTreeMap, io, sync::Arc};

use rustic_backend::BackendOptions;
use rustic_core::{FileType, Id, ReadBackend, RepositoryBackends, WriteBackend};
use zeroize::Zeroizing;

use super::{
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
pub(super) enum Storage {
    /// A directory, possibly on a mounted file system.
    Local(Arc<LocalStorage>),
    /// Anything else.
    Remote(Arc<dyn WriteBackend>),
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
            return Ok(Self::Local(Arc::new(local)));
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
        if location == "opendal:sftp" {
            super::sessions::adopt();
        }
        let options = BackendOptions::default()
            .repository(location)
            .options(extra.into_iter().chain(options).collect::<BTreeMap<_, _>>());
        let build = move || options.to_backends().map(|backends| backends.repository());
        let remote = RemoteStorage::open(build, patience).map_err(|e| {
            let error = rustic_error("cannot open the repository's location", e);
            // The library repeats its arguments, including passwords.
            secrets.iter().fold(error, |error, secret| error.redact(secret))
        })?;
        Ok(Self::Remote(Arc::new(remote)))
    }

    /// The storage in the form that `rustic_core` requires.
    pub(super) fn backends(&self) -> RepositoryBackends {
        RepositoryBackends::new(self.backend(), None)
    }

    /// The storage as a backend.
    pub(super) fn backend(&self) -> Arc<dyn WriteBackend> {
        match self {
            Self::Local(local) => local.clone(),
            Self::Remote(remote) => remote.clone(),
        }
    }

    /// The local directory, if it is one.
    pub(super) fn local(&self) -> Option<&LocalStorage> {
        match self {
            Self::Local(local) => Some(local),
            Self::Remote(_) => None,
        }
    }

    /// All packs.
    pub(super) fn packs(&self) -> Result<PackList> {
        let listed = match self {
            Self::Local(local) => local.packs(),
            Self::Remote(remote) => {
                remote.list_with_size(FileType::Pack).map(|packs| PackList { packs, unfinished: Vec::new() })
            }
        };
        listed.map_err(|e| rustic_error("cannot list the repository's packs", e))
    }

    /// Stores a file.
    pub(super) fn write(&self, tpe: FileType, id: Id, data: &[u8]) -> Result<()> {
        match self {
            Self::Local(local) => local.write_file(tpe, &id, &[data]).map_err(|e| write_error(tpe, e)),
            Self::Remote(remote) => remote
                .write_bytes(tpe, &id, tpe != FileType::Pack, data.to_vec().into())
                .map_err(|e| rustic_error("cannot write to the repository", e)),
        }
    }

    /// Reads a file from the storage itself rather than from the page cache.
    pub(super) fn read_past_cache(&self, tpe: FileType, id: Id) -> Result<Vec<u8>> {
        match self {
            Self::Local(local) => local
                .read_file(tpe, &id, true)
                .map_err(|e| refused(Error::repository("cannot read the written data back"), &e)),
            Self::Remote(remote) => remote
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
