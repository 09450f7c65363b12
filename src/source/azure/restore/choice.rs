//! Selection of the blobs or files to restore.

use std::{collections::HashSet, ffi::OsString};

use super::{super::detail::Detail, Inventory, entries};
use crate::{
    error::Result,
    source::{
        layout::{add_folders, hash, select},
        manifest::{Manifest, Omitted},
        select::Selection,
    },
    stream::{cancel::Cancel, files::Files},
};

/// The selected part of a container or share, by name.
pub(super) struct Chosen {
    /// None if all of it is.
    selection: Option<Selection>,
    /// Blobs or files with content.
    pub(super) files: u64,
    /// Bytes of these.
    pub(super) bytes: u64,
    /// Hashes of the parent directories of selected entries.
    folders: HashSet<u128>,
}

impl Chosen {
    /// Everything.
    pub(super) fn all(detail: &Detail) -> Self {
        Self { selection: None, files: detail.stored, bytes: detail.bytes, folders: HashSet::new() }
    }

    /// Resolves these arguments.
    ///
    /// # Errors
    /// One of them matches nothing in the snapshot.
    pub(super) fn of(
        manifest: &Manifest,
        files: &dyn Files,
        patterns: &[OsString],
        cancel: &Cancel,
    ) -> Result<Self> {
        let selection = select(&Inventory, manifest, files, patterns, cancel)?;
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

    /// Whether a blob, file or directory is selected.
    pub(super) fn takes(&self, name: &str, directory: bool) -> bool {
        self.selection.as_ref().is_none_or(|selection| selection.takes(name.as_bytes(), directory))
    }

    /// Whether this missing object is part of the selection.
    pub(super) fn concerns(&self, omitted: &Omitted) -> bool {
        self.selection.as_ref().is_none_or(|selection| selection.concerns(omitted.name.as_bytes()))
    }

    /// Whether a directory, or something in it, is selected.
    pub(super) fn needs(&self, directory: &str) -> bool {
        self.takes(directory, true) || self.folders.contains(&hash(directory.as_bytes()))
    }
}

fn is_share(manifest: &Manifest) -> bool {
    manifest.detail::<Detail>().is_some_and(|detail| detail.share.is_some())
}
