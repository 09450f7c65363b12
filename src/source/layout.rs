//! Finding content in a snapshot by its original name: directly, or through a list beside the content.

use std::{collections::HashSet, ffi::OsString, path::Path};

use jiff::Timestamp;
use xxhash_rust::xxh3::xxh3_128;

use super::{
    kind_named,
    manifest::Manifest,
    select::{Selection, Survey},
};
use crate::{
    error::Result,
    stream::{cancel::Cancel, files::Files},
};

/// How original names are stored in a snapshot.
#[derive(Clone, Copy)]
pub enum Layout {
    /// A tree of files with their attributes, below [`CONTENT`].
    Tree,
    /// A list beside the content holds the names, as the service knows them.
    Listed(&'static dyn List),
    /// The files of a dump, which have no names in the source.
    Dump,
}

impl Layout {
    /// The layout of snapshots of the kind of this name. Snapshots of an unknown kind are treated as plain files.
    pub fn of(kind: &str) -> Self {
        kind_named(kind).map_or(Self::Dump, |kind| kind.layout())
    }

    /// Whether it is a tree of files with their attributes.
    pub fn is_tree(self) -> bool {
        matches!(self, Self::Tree)
    }
}

/// The list beside the content of a snapshot.
pub trait List: Sync {
    /// Visits every entry, in the order of the service.
    ///
    /// # Errors
    /// The list cannot be read, or `visit` fails.
    fn each(&self, files: &dyn Files, visit: &mut dyn FnMut(Entry) -> Result<()>) -> Result<()>;

    /// How many of the `wanted` blobs or files are stored under a path that differs from their name, and the first `room` of
    /// them: name and path.
    ///
    /// # Errors
    /// The list cannot be read.
    fn renamed(
        &self,
        files: &dyn Files,
        room: usize,
        wanted: &dyn Fn(&str) -> bool,
    ) -> Result<(u64, Vec<(String, String)>)>;
}

/// The type of directories in a list.
pub(in crate::source) const DIRECTORY: &str = "directory";
/// The directory in a snapshot of a tree that contains the files of the item.
pub(crate) const CONTENT: &str = "files";

/// A blob, file or directory.
pub struct Entry {
    /// Name of the blob, or path in the share.
    pub name: String,
    /// `block`, `append`, `page`, `file` or `directory`.
    pub kind: String,
    /// The path of its content in the snapshot; `None` if the snapshot has no content of it.
    pub path: Option<String>,
    /// Length in bytes.
    pub bytes: u64,
    /// Last change.
    pub modified: Option<Timestamp>,
    /// The access tier if it was chosen for this blob.
    pub tier: Option<String>,
    /// Why the snapshot has no content of it.
    pub lacking: Option<String>,
}

impl Entry {
    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.kind == DIRECTORY
    }
}

/// A selection from a container or share, by the paths of the contents in the snapshot.
pub(crate) struct Paths {
    chosen: HashSet<u128>,
    folders: HashSet<u128>,
    /// The selection by name.
    selection: Selection,
    /// Number of blobs or files with content.
    pub(crate) files: u64,
    /// Bytes of these.
    pub(crate) bytes: u64,
}

impl Paths {
    /// Resolves these arguments.
    ///
    /// # Errors
    /// An argument matches nothing in the snapshot.
    pub(crate) fn of(
        list: &dyn List,
        manifest: &Manifest,
        files: &dyn Files,
        patterns: &[OsString],
        cancel: &Cancel,
    ) -> Result<Self> {
        let selection = select(list, manifest, files, patterns, cancel)?;
        let mut paths =
            Self { chosen: HashSet::new(), folders: HashSet::new(), selection, files: 0, bytes: 0 };
        list.each(files, &mut |entry| {
            cancel.check()?;
            let directory = entry.is_directory();
            if let Some(path) = &entry.path
                && paths.selection.takes(entry.name.as_bytes(), directory)
            {
                paths.chosen.insert(hash(path.as_bytes()));
                add_folders(&mut paths.folders, path);
                paths.files += u64::from(!directory);
                paths.bytes += if directory { 0 } else { entry.bytes };
            }
            Ok(())
        })?;
        Ok(paths)
    }

    /// Whether this name is selected.
    pub(crate) fn takes_name(&self, name: &str) -> bool {
        self.selection.takes(name.as_bytes(), false)
    }

    /// Whether this path of the snapshot is selected.
    pub(crate) fn takes(&self, path: &Path) -> bool {
        self.chosen.contains(&hash(path.as_os_str().as_encoded_bytes()))
    }

    /// Whether this directory of the snapshot contains something selected.
    pub(crate) fn enters(&self, folder: &Path) -> bool {
        self.folders.contains(&hash(folder.as_os_str().as_encoded_bytes()))
    }

    /// Whether this missing name is part of the selection.
    pub(crate) fn concerns(&self, name: &str) -> bool {
        self.selection.concerns(name.as_bytes())
    }
}

/// Resolves these arguments, by name.
pub(in crate::source) fn select(
    list: &dyn List,
    manifest: &Manifest,
    files: &dyn Files,
    patterns: &[OsString],
    cancel: &Cancel,
) -> Result<Selection> {
    let survey = survey(list, manifest, files, patterns, cancel)?;
    survey.finish(&format!("{}/{}", manifest.source, manifest.item))
}

/// Visits every name in the list of a snapshot.
pub(crate) fn survey(
    list: &dyn List,
    manifest: &Manifest,
    files: &dyn Files,
    patterns: &[OsString],
    cancel: &Cancel,
) -> Result<Survey> {
    let mut survey = Survey::new(patterns);
    for omitted in &manifest.omitted {
        survey.lacks(omitted.name.as_bytes(), &omitted.reason);
    }
    list.each(files, &mut |entry| {
        cancel.check()?;
        match &entry.lacking {
            Some(reason) => survey.lacks(entry.name.as_bytes(), reason),
            None => survey.see(entry.name.as_bytes(), entry.is_directory()),
        }
        Ok(())
    })?;
    Ok(survey)
}

/// The hash of a name, for a set that does not store the text.
pub(in crate::source) fn hash(name: &[u8]) -> u128 {
    xxh3_128(name)
}

/// Adds the parent directories of a name.
pub(in crate::source) fn add_folders(folders: &mut HashSet<u128>, name: &str) {
    // The deepest comes first: if it is known, so are its parents.
    for (end, _) in name.rmatch_indices('/') {
        if !folders.insert(hash(&name.as_bytes()[..end])) {
            return;
        }
    }
}
