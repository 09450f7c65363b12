//! The source `directory`: folders on this machine, each an item, with everything that belongs to their files.

mod attributes;
mod detail;
mod dump;
pub(crate) mod open;
mod read;
mod store;
pub(crate) mod tally;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod testing;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
pub(crate) mod verify;
mod walk;

use std::path::{Path, PathBuf};

pub use detail::{Detail, Rule};

use super::{Discovery, GLOBALS, Item, Source, exclude::Excludes, manifest::Manifest};
use crate::{
    config::{DirectoryConfig, SourceConfig},
    error::{Error, Result},
    stream::{cancel::Cancel, sink::Sink},
};

/// The folder in a snapshot below which the files of the item lie.
pub const CONTENT: &str = "files";

/// Folders on this machine.
pub struct Directory {
    name: String,
    /// Items by name.
    items: Vec<(String, PathBuf)>,
    excludes: Excludes,
    one_file_system: bool,
}

/// The name of the item for one of these paths: its last component, or all of it where another path has the same one.
pub fn item_name(path: &Path, paths: &[PathBuf]) -> String {
    match path.file_name() {
        Some(last) if last != GLOBALS && paths.iter().filter(|p| p.file_name() == Some(last)).count() < 2 => {
            last
        }
        _ => path.as_os_str(),
    }
    .to_string_lossy()
    .into_owned()
}

impl Directory {
    /// A source as configured. Nothing is looked at yet.
    ///
    /// # Errors
    /// Exit code 2: a path is named twice, or a pattern of `exclude` cannot be used.
    pub fn new(source: &SourceConfig, config: &DirectoryConfig) -> Result<Self> {
        Self::named(&source.name.to_string(), config)
    }

    fn named(name: &str, config: &DirectoryConfig) -> Result<Self> {
        // Without slashes and dots that make no difference.
        let paths: Vec<PathBuf> = config.paths.iter().map(|path| path.components().collect()).collect();
        for (number, path) in paths.iter().enumerate() {
            if paths[..number].contains(path) {
                return Err(Error::usage(format!("paths: {} is named twice", path.display()))
                    .hint("take one of them out"));
            }
        }
        Ok(Self {
            name: name.to_owned(),
            items: paths.iter().map(|path| (item_name(path, &paths), path.clone())).collect(),
            excludes: Excludes::new(&config.exclude)?,
            one_file_system: config.one_file_system,
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
        let item = |(name, path): &(String, PathBuf)| Item {
            name: name.clone(),
            estimate: None,
            problem: dump::open(path).err().map(|error| error.to_string()),
        };
        Ok(Discovery { items: self.items.iter().map(item).collect(), ..Discovery::default() })
    }

    fn dump(&self, item: &Item, sink: &dyn Sink, cancel: &Cancel) -> Result<Manifest> {
        let Some((_, path)) = self.items.iter().find(|(name, _)| *name == item.name) else {
            return Err(Error::failed(format!("`paths` has no folder {}", item.name)));
        };
        dump::dump(self, &item.name, path, sink, cancel)
    }
}
