//! Which blobs or files of a snapshot are restored.

use std::{collections::HashSet, ffi::OsString, path::Path};

use xxhash_rust::xxh3::xxh3_128;

use super::{super::detail::Detail, entries};
use crate::{
    error::Result,
    source::{
        manifest::{Manifest, Omitted},
        select::{Selection, Survey},
    },
    stream::{cancel::Cancel, files::Files},
};

/// What is chosen of a container or share, by name.
pub(super) struct Chosen {
    /// None if all of it is.
    selection: Option<Selection>,
    /// Blobs or files with content.
    pub(super) files: u64,
    /// Bytes of these.
    pub(super) bytes: u64,
    /// Hashes of the folders that what is chosen lies in.
    folders: HashSet<u128>,
}

impl Chosen {
    /// Everything.
    pub(super) fn all(detail: &Detail) -> Self {
        Self { selection: None, files: detail.stored, bytes: detail.bytes, folders: HashSet::new() }
    }

    /// What these arguments mean.
    ///
    /// # Errors
    /// One of them means nothing that the snapshot holds.
    pub(super) fn of(
        manifest: &Manifest,
        files: &dyn Files,
        patterns: &[OsString],
        cancel: &Cancel,
    ) -> Result<Self> {
        let selection = select(manifest, files, patterns, cancel)?;
        let mut chosen = Self { selection: Some(selection), files: 0, bytes: 0, folders: HashSet::new() };
        entries::each_of(files, is_share(manifest), &mut |entry| {
            cancel.check()?;
            if !chosen.takes(&entry.name, entry.is_directory()) {
                return Ok(());
            }
            if !entry.is_directory() && entry.path.is_some() {
                chosen.files += 1;
                chosen.bytes += entry.bytes;
            }
            add_folders(&mut chosen.folders, &entry.name);
            Ok(())
        })?;
        Ok(chosen)
    }

    /// Whether a blob, file or directory is among it.
    pub(super) fn takes(&self, name: &str, directory: bool) -> bool {
        self.selection.as_ref().is_none_or(|selection| selection.takes(name.as_bytes(), directory))
    }

    /// Whether the lack of this object is a lack of what is chosen.
    pub(super) fn concerns(&self, omitted: &Omitted) -> bool {
        self.selection.as_ref().is_none_or(|selection| selection.concerns(omitted.name.as_bytes()))
    }

    /// Whether a directory is among it, or something that lies in it.
    pub(super) fn needs(&self, directory: &str) -> bool {
        self.takes(directory, true) || self.folders.contains(&hash(directory.as_bytes()))
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
        manifest: &Manifest,
        files: &dyn Files,
        patterns: &[OsString],
        cancel: &Cancel,
    ) -> Result<Self> {
        let selection = select(manifest, files, patterns, cancel)?;
        let mut paths =
            Self { chosen: HashSet::new(), folders: HashSet::new(), selection, files: 0, bytes: 0 };
        entries::each_of(files, is_share(manifest), &mut |entry| {
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
fn select(
    manifest: &Manifest,
    files: &dyn Files,
    patterns: &[OsString],
    cancel: &Cancel,
) -> Result<Selection> {
    let survey = survey(manifest, files, patterns, cancel)?;
    survey.finish(&format!("{}/{}", manifest.source, manifest.item))
}

/// Sees every name in the list of a snapshot.
pub(crate) fn survey(
    manifest: &Manifest,
    files: &dyn Files,
    patterns: &[OsString],
    cancel: &Cancel,
) -> Result<Survey> {
    let mut survey = Survey::new(patterns);
    for omitted in &manifest.omitted {
        survey.lacks(omitted.name.as_bytes(), &omitted.reason);
    }
    entries::each_of(files, is_share(manifest), &mut |entry| {
        cancel.check()?;
        match &entry.lacking {
            Some(reason) => survey.lacks(entry.name.as_bytes(), reason),
            None => survey.see(entry.name.as_bytes(), entry.is_directory()),
        }
        Ok(())
    })?;
    Ok(survey)
}

fn is_share(manifest: &Manifest) -> bool {
    manifest.azure.as_ref().is_some_and(|detail| detail.share.is_some())
}

fn hash(name: &[u8]) -> u128 {
    xxh3_128(name)
}

/// Adds the folders on the way to a name.
fn add_folders(folders: &mut HashSet<u128>, name: &str) {
    // The deepest comes first: where that is known, those above it are.
    for (end, _) in name.rmatch_indices('/') {
        if !folders.insert(hash(&name.as_bytes()[..end])) {
            return;
        }
    }
}
