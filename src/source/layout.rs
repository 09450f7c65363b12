//! How what was backed up is found in a snapshot by its name: directly, or by way of a list beside the content.

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

/// How the names of what was backed up stand in a snapshot of a kind.
#[derive(Clone, Copy)]
pub enum Layout {
    /// A tree of files with their attributes, below [`CONTENT`](super::directory::CONTENT).
    Tree,
    /// In a list beside the content, as the service knows them.
    Listed(&'static dyn List),
    /// Its files are those of a dump, and have no names in the source.
    Dump,
}

impl Layout {
    /// That of a snapshot of the kind of this name. Of a kind that is not known there are files.
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
    /// Shows everything in it, in the order of the service.
    ///
    /// # Errors
    /// It cannot be read, or `visit` fails.
    fn each(&self, files: &dyn Files, visit: &mut dyn FnMut(Entry) -> Result<()>) -> Result<()>;

    /// How many of the blobs or files that `wanted` names have a path that is not their name, and the first `room` of them:
    /// name and path.
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

/// A blob, file or directory.
pub struct Entry {
    /// Name of the blob, or path in the share.
    pub name: String,
    /// `block`, `append`, `page`, `file` or `directory`.
    pub kind: String,
    /// Where its content lies in the snapshot; none of what has no content there.
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

/// What is chosen of a container or share, by where the contents lie in the snapshot.
pub(crate) struct Paths {
    chosen: HashSet<u128>,
    folders: HashSet<u128>,
    /// What is chosen by name.
    selection: Selection,
    /// Blobs or files with content.
    pub(crate) files: u64,
    /// Bytes of these.
    pub(crate) bytes: u64,
}

impl Paths {
    /// What these arguments mean.
    ///
    /// # Errors
    /// One of them means nothing that the snapshot holds.
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

    /// Whether something of this name is chosen.
    pub(crate) fn takes_name(&self, name: &str) -> bool {
        self.selection.takes(name.as_bytes(), false)
    }

    /// Whether what lies at this path of the snapshot is chosen.
    pub(crate) fn takes(&self, path: &Path) -> bool {
        self.chosen.contains(&hash(path.as_os_str().as_encoded_bytes()))
    }

    /// Whether something chosen lies in this folder of the snapshot.
    pub(crate) fn enters(&self, folder: &Path) -> bool {
        self.folders.contains(&hash(folder.as_os_str().as_encoded_bytes()))
    }

    /// Whether the lack of this name is a lack of what is chosen.
    pub(crate) fn concerns(&self, name: &str) -> bool {
        self.selection.concerns(name.as_bytes())
    }
}

/// What these arguments mean, by name.
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

/// Sees every name in the list of a snapshot.
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

/// A name in a set that takes no memory for its text.
pub(in crate::source) fn hash(name: &[u8]) -> u128 {
    xxh3_128(name)
}

/// Adds the folders on the way to a name.
pub(in crate::source) fn add_folders(folders: &mut HashSet<u128>, name: &str) {
    // The deepest comes first: where that is known, those above it are.
    for (end, _) in name.rmatch_indices('/') {
        if !folders.insert(hash(&name.as_bytes()[..end])) {
            return;
        }
    }
}
