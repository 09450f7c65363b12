//! The key that selects the history of a configuration before its repository is opened: state directory, host and
//! location. The path and the other content of the configuration are not part of it, because they change with every
//! rebuild of a system.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::config::Config;

/// Timeout for resolving a path on the storage.
const PATIENCE: Duration = Duration::from_secs(2);
/// Storage options that are part of the location: with other values, it is another location.
const PLACE_OPTIONS: [&str; 11] = [
    "account_name",
    "bucket",
    "bucket_id",
    "container",
    "container_name",
    "endpoint",
    "filesystem",
    "name",
    "root",
    "share_name",
    "tenant_name",
];

/// The key of a configuration's history, apart from the id of its repository.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    /// The state directory.
    pub(super) state_dir: PathBuf,
    pub(super) host: String,
    /// The location as configured. Unknown if it is in a file that cannot be read.
    pub(super) name: Option<String>,
    /// The location as a path.
    path: Option<PathBuf>,
}

impl Home {
    /// The key of a configuration.
    pub(crate) fn of(config: &Config) -> Self {
        let repository = &config.repository;
        let location = repository.location.load().ok();
        Self {
            state_dir: config.state_dir.clone(),
            host: repository.host.clone(),
            name: location.as_ref().map(|location| with_options(location.place(), &repository.options)),
            path: location.as_ref().and_then(|location| location.path()).map(Path::to_owned),
        }
    }

    /// A key for tests, of a repository that does not exist.
    #[cfg(test)]
    pub(crate) fn example(state_dir: &Path, host: &str, place: &str) -> Self {
        let path = Some(PathBuf::from(place));
        Self { state_dir: state_dir.to_owned(), host: host.to_owned(), name: Some(place.to_owned()), path }
    }

    /// The location with symbolic links resolved. This accesses the storage, which may hang: never call it with the
    /// lock held.
    pub(super) fn resolved(&self) -> Option<String> {
        match &self.path {
            Some(path) => path.canonicalize().ok().map(|path| path.display().to_string()),
            None => self.name.clone(),
        }
    }

    /// As [`Self::resolved`], with a timeout.
    pub(super) fn resolved_soon(&self) -> Option<String> {
        if self.path.is_none() {
            return self.name.clone();
        }
        let (sender, receiver) = std::sync::mpsc::channel();
        let home = self.clone();
        let resolve = move || drop(sender.send(home.resolved()));
        std::thread::Builder::new().name("place".to_owned()).spawn(resolve).ok()?;
        receiver.recv_timeout(PATIENCE).ok().flatten()
    }
}

fn with_options(place: String, options: &BTreeMap<String, String>) -> String {
    let mut named = place;
    for (name, value) in options.iter().filter(|(name, _)| PLACE_OPTIONS.contains(&name.as_str())) {
        named.push_str(&format!(" {name}={value}"));
    }
    named
}
