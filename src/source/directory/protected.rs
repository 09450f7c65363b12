//! Protected places: the repository, the state directory, and copies of the repository.

use std::{
    collections::HashSet,
    ffi::{CStr, CString, OsStr, OsString},
    fs::{self, File},
    io::Read,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::{ffi::OsStrExt, fs::MetadataExt},
    },
    path::{Path, PathBuf},
    sync::OnceLock,
};

use rustix::fs::FileType;

use super::config::overlap;
use crate::fs::open::{Identity, Opened, names, open_file, open_folder, open_top, stat_name};

/// The entries of every restic repository, in order.
const PARTS: [&CStr; 5] = [c"config", c"data", c"index", c"keys", c"snapshots"];
/// A copy of the repository in messages.
pub(super) const COPY: &str = "a copy of the repository";
/// The `config` of a repository is far smaller.
const LARGEST_CONFIG: u64 = 64 * 1024;
/// The maximum number of keys that are compared.
const MOST_KEYS: usize = 1000;

/// A directory that is not backed up, as found at the beginning of a run.
struct Place {
    what: &'static str,
    path: PathBuf,
    identity: Identity,
}

/// Distinguishes copies of the repository from other repositories.
#[derive(Default)]
struct Signs {
    /// The content of its `config`, which is encrypted: no other repository has the same.
    config: Option<Vec<u8>>,
    /// The names of its keys, which are digests of their contents.
    keys: HashSet<OsString>,
}

/// The kind of repository in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repository {
    /// The configured repository, or a copy of it.
    Own,
    /// Another one.
    Other,
}

/// The places that are not backed up.
#[derive(Default)]
pub(super) struct Protected {
    places: Vec<Place>,
    /// Read when a directory is found that looks like a repository: the configured one may be on a slow storage.
    signs: OnceLock<Signs>,
}

impl Protected {
    /// Locates these places. A missing one is ignored.
    pub(super) fn look(places: &[(&'static str, PathBuf)]) -> Self {
        let found = |(what, path): &(&'static str, PathBuf)| {
            let path = path.canonicalize().ok()?;
            let meta = fs::metadata(&path).ok()?;
            Some(Place { what, path, identity: (meta.dev(), meta.ino()) })
        };
        Self { places: places.iter().filter_map(found).collect(), signs: OnceLock::new() }
    }

    fn signs(&self) -> &Signs {
        let read = || self.places.iter().find_map(|place| Signs::of(&place.path)).unwrap_or_default();
        self.signs.get_or_init(read)
    }

    /// The description of a directory, if it must not be backed up.
    pub(super) fn at(&self, identity: Identity) -> Option<&'static str> {
        self.places.iter().find(|place| place.identity == identity).map(|place| place.what)
    }

    /// The problem of a directory to back up that is one of the places or a copy of the repository, or is inside
    /// one.
    pub(super) fn problem(&self, path: &Path) -> Option<String> {
        let path = path.canonicalize().ok()?;
        if let Ok(meta) = fs::metadata(&path)
            && let Some(what) = self.at((meta.dev(), meta.ino()))
        {
            return overlap(&path, what, &path);
        }
        let in_place = || self.places.iter().find_map(|place| overlap(&path, place.what, &place.path));
        let in_copy = || overlap(&path, COPY, path.ancestors().find(|above| self.is_copy(above))?);
        in_place().or_else(in_copy)
    }

    /// The places inside a directory: path and description.
    pub(super) fn below(&self, folder: &Path) -> Vec<(&Path, &'static str)> {
        let Ok(folder) = folder.canonicalize() else { return Vec::new() };
        let within = |place: &&Place| place.path != folder && place.path.starts_with(&folder);
        self.places.iter().filter(within).map(|place| (place.path.as_path(), place.what)).collect()
    }

    /// Whether an open directory with these names in it, which are in order, is a repository of restic.
    pub(super) fn repository(
        &self,
        folder: BorrowedFd<'_>,
        listed: &[(CString, FileType)],
    ) -> Option<Repository> {
        let has = |part: &CStr| listed.binary_search_by(|(name, _)| name.as_c_str().cmp(part)).is_ok();
        if !PARTS.into_iter().all(has) {
            return None;
        }
        Some(if self.is_own(folder) { Repository::Own } else { Repository::Other })
    }

    /// Whether an open directory that is a repository has the `config` or a key of the configured one.
    fn is_own(&self, folder: BorrowedFd<'_>) -> bool {
        let config = read_start(folder, c"config", LARGEST_CONFIG);
        let signs = self.signs();
        if config.is_some() && config == signs.config {
            return true;
        }
        let keys = open_folder(folder, c"keys").map(|keys| names(keys.as_fd()).names).unwrap_or_default();
        let own = |(name, _): &(CString, FileType)| signs.keys.contains(OsStr::from_bytes(name.to_bytes()));
        keys.iter().any(own)
    }

    /// Whether the directory at a path is a copy of the repository. It is not listed, as it may hold many names.
    fn is_copy(&self, path: &Path) -> bool {
        let Ok(folder) = open_top(path) else { return false };
        PARTS.into_iter().all(|part| stat_name(folder.as_fd(), part).is_ok()) && self.is_own(folder.as_fd())
    }
}

impl Signs {
    /// Those of the repository at this path, if there is one.
    fn of(path: &Path) -> Option<Self> {
        let mut config = Vec::new();
        File::open(path.join("config")).ok()?.take(LARGEST_CONFIG).read_to_end(&mut config).ok()?;
        let keys = fs::read_dir(path.join("keys")).ok()?.take(MOST_KEYS).flatten();
        let keys = keys.map(|entry| entry.file_name()).collect();
        Some(Self { config: Some(config).filter(|config| !config.is_empty()), keys })
    }
}

/// The first bytes of a file in an open directory, if it is a regular file that can be read.
pub(super) fn read_start(folder: BorrowedFd<'_>, name: &CStr, most: u64) -> Option<Vec<u8>> {
    let Ok(Opened::File(file, _)) = open_file(folder, name) else { return None };
    let mut start = Vec::new();
    File::from(file).take(most).read_to_end(&mut start).ok()?;
    Some(start)
}
