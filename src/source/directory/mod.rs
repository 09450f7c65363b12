//! The source `directory`: directories on this machine, each an item, with all files and their metadata.

mod attributes;
pub mod config;
mod detail;
mod dump;
mod expand;
pub(in crate::source) mod kind;
mod omissions;
mod protected;
mod read;
mod recovery;
mod selftest;
mod skip;
mod store;
mod tally;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod testing;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod verify;
mod walk;

use std::{
    ffi::OsStr,
    fs, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use parking_lot::{Mutex, MutexGuard};

pub use detail::Detail;

use self::{expand::Folder, protected::Protected};
use super::{Discovery, GLOBALS, Item, Source, exclude::Excludes, manifest::Manifest};
use crate::{
    error::{Error, Result},
    settings::{Paths, SourceSettings},
    source::directory::config::DirectoryConfig,
    stream::{cancel::Cancel, sink::Sink},
};

/// Directories on this machine.
pub struct Directory {
    name: String,
    paths: Vec<PathBuf>,
    /// Places that are not backed up: description and path.
    places: Vec<(&'static str, PathBuf)>,
    excludes: Excludes,
    exclude_caches: bool,
    one_file_system: bool,
    /// The directories of the last discovery.
    known: Mutex<Vec<Folder>>,
}

/// The name of the item for one of these paths: its last component, or the full path if another one ends in the same component.
pub fn item_name(path: &Path, paths: &[PathBuf]) -> String {
    written(match path.file_name() {
        Some(last) if last != GLOBALS && paths.iter().filter(|p| p.file_name() == Some(last)).count() < 2 => {
            last
        }
        _ => path.as_os_str(),
    })
}

/// A path as a name. Bytes that are not UTF-8 are escaped: replacing them could make two names equal.
fn written(path: &OsStr) -> String {
    match path.to_str() {
        Some(text) => text.to_owned(),
        None => path.as_bytes().escape_ascii().to_string(),
    }
}

impl Directory {
    /// A source as configured. Nothing is read yet.
    ///
    /// # Errors
    /// Exit code 2: a path is named twice, or a pattern of `exclude` cannot be used.
    pub fn new(source: &SourceSettings, config: &DirectoryConfig) -> Result<Self> {
        Self::named(&source.name.to_string(), config)
    }

    fn named(name: &str, config: &DirectoryConfig) -> Result<Self> {
        // Without redundant slashes and dots.
        let paths: Vec<PathBuf> = config.paths.iter().map(|path| path.components().collect()).collect();
        for (number, path) in paths.iter().enumerate() {
            if paths[..number].contains(path) {
                return Err(Error::usage(format!("paths: {} is named twice", path.display()))
                    .hint("remove one of them"));
            }
        }
        Ok(Self {
            name: name.to_owned(),
            paths,
            places: config.protected(),
            excludes: Excludes::new(&config.exclude, Paths::OfFiles)?,
            exclude_caches: config.exclude_caches,
            one_file_system: config.one_file_system,
            known: Mutex::default(),
        })
    }

    fn known(&self) -> MutexGuard<'_, Vec<Folder>> {
        self.known.lock()
    }

    /// Expands the paths now.
    fn look(&self, cancel: &Cancel) -> Result<Discovery> {
        let expanded = expand::expand(&self.paths, &Protected::look(&self.places), cancel)?;
        let discovery = expanded.discovery();
        *self.known() = expanded.folders;
        Ok(discovery)
    }

    /// The directory of this name, from the last discovery or a new one.
    fn folder(&self, item: &str, cancel: &Cancel) -> Result<Folder> {
        let find = || self.known().iter().find(|folder| folder.name == item).cloned();
        if let Some(folder) = find() {
            return Ok(folder);
        }
        self.look(cancel)?;
        find().ok_or_else(|| {
            Error::failed(format!("`paths` has no directory {item}"))
                .hint(format!("`tik-backup discover {}` shows what it has", self.name))
        })
    }
}

impl Source for Directory {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> &'static str {
        "directory"
    }

    fn discover(&self, cancel: &Cancel) -> Result<Discovery> {
        cancel.check()?;
        self.look(cancel)
    }

    fn excluded_within(&self, item: &Item, cancel: &Cancel) -> Result<Vec<(String, u64)>> {
        if !self.exclude_caches && self.excludes.patterns().len() == 0 {
            return Ok(Vec::new());
        }
        dump::count_excluded(self, &self.folder(&item.name, cancel)?.path, cancel)
    }

    fn dump(&self, item: &Item, sink: &dyn Sink, cancel: &Cancel) -> Result<Manifest> {
        let folder = self.folder(&item.name, cancel)?;
        dump::dump(self, &item.name, &folder.path, sink, cancel)
    }

    /// Whether a match of a pattern no longer exists. A named directory must exist. The directory before the pattern
    /// must not be empty: otherwise a filesystem was unmounted, and its content is unknown.
    fn is_gone(&self, item: &Item, _: &Cancel) -> bool {
        let known = self.known();
        let Some(folder) = known.iter().find(|folder| folder.name == item.name) else { return false };
        let Some(base) = &folder.base else { return false };
        let there = fs::symlink_metadata(&folder.path);
        there.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
            && fs::read_dir(base).is_ok_and(|mut names| names.next().is_some_and(|name| name.is_ok()))
    }
}
