//! What decides which history a configuration has before its repository is opened: the state folder, the host and the place.
//! Neither the path of the configuration nor the rest of its content does: they change with every rebuild of a system.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::config::Config;

/// How long a storage may take to say where a path leads.
const PATIENCE: Duration = Duration::from_secs(2);
/// Options of storages that say which place is meant: the same location with others is another place.
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

/// What decides which history a configuration has, beside the id of its repository.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    /// The state folder.
    pub(super) state_dir: PathBuf,
    pub(super) host: String,
    /// The place as the configuration names it. It is not known where it stands in a file that cannot be read.
    pub(super) name: Option<String>,
    /// The same as a path.
    path: Option<PathBuf>,
}

impl Home {
    /// That of a configuration.
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

    /// That of a repository which does not exist, for tests.
    #[cfg(test)]
    pub(crate) fn example(state_dir: &Path, host: &str, place: &str) -> Self {
        let path = Some(PathBuf::from(place));
        Self { state_dir: state_dir.to_owned(), host: host.to_owned(), name: Some(place.to_owned()), path }
    }

    /// The place with links followed. This asks the storage, which may take for ever: never behind the gate.
    pub(super) fn resolved(&self) -> Option<String> {
        match &self.path {
            Some(path) => path.canonicalize().ok().map(|path| path.display().to_string()),
            None => self.name.clone(),
        }
    }

    /// The same, unless that takes too long.
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
