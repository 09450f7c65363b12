//! `kind = "directory"`: folders of this machine.

use std::{collections::HashSet, path::PathBuf};

use super::{patterns::Patterns, reader::Reader};

/// Folders of this machine, each of them an item.
#[derive(Debug, Clone, PartialEq)]
pub struct DirectoryConfig {
    /// The folders, absolute; at least one, none twice.
    pub paths: Vec<PathBuf>,
    /// What to leave out: globs relative to a folder, as `docs/directory.md` describes them.
    pub exclude: Vec<String>,
    /// Whether the content of folders with a valid `CACHEDIR.TAG` is left out.
    pub exclude_caches: bool,
    /// Whether folders on which another file system is mounted are left out.
    pub one_file_system: bool,
}

/// Reads the keys of this kind.
pub(super) fn read(reader: &mut Reader<'_>) -> Option<DirectoryConfig> {
    let paths = reader.paths("paths");
    reader.missing("paths", "the folders to back up, as a list");
    if reader.has("paths") && paths.is_empty() {
        reader.problem("paths", "names no folder; give at least one");
    }
    let mut seen = HashSet::new();
    for path in &paths {
        if !seen.insert(path) {
            reader.problem("paths", &format!("names {} twice", path.display()));
        }
    }
    let exclude = read_exclude(reader);
    let exclude_caches = reader.boolean("exclude_caches", false);
    let one_file_system = reader.boolean("one_file_system", true);
    (!paths.is_empty()).then_some(DirectoryConfig { paths, exclude, exclude_caches, one_file_system })
}

/// Reads `exclude`: patterns over paths.
pub(super) fn read_exclude(reader: &mut Reader<'_>) -> Vec<String> {
    // Their syntax is checked here; what they mean beyond that is the source's affair.
    let exclude = reader.strings("exclude").unwrap_or_default();
    for pattern in &exclude {
        if let Err(fault) = Patterns::new([pattern]) {
            reader.problem("exclude", &fault);
        }
    }
    exclude
}
