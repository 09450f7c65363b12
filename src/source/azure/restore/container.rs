//! Restoring blobs into a container.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

use super::{
    Tally,
    choice::Chosen,
    content::{each_parallel, with_content},
    entries::blob_lacks,
    exists,
};
use crate::{
    azure::blob::{BlobService, BlobType, Uploaded},
    error::{Error, Result},
    output::name,
    source::{
        azure::container,
        layout::DIRECTORY,
        restore::{Options, Storage},
    },
    stream::{cancel::Cancel, files::Files},
};

/// A container being restored.
pub(super) struct ContainerRestore<'a> {
    pub(super) service: &'a BlobService,
    pub(super) container: &'a str,
    pub(super) files: &'a dyn Files,
    pub(super) options: &'a Options,
    pub(super) cancel: &'a Cancel,
    pub(super) chosen: &'a Chosen,
    pub(super) tally: &'a Tally,
}

impl ContainerRestore<'_> {
    /// Writes the selection and verifies the result.
    pub(super) fn run(&self, into: &str) -> Result<Storage> {
        let created = self.service.create_container(self.container, &BTreeMap::new(), self.cancel)?;
        if !created
            && !self.options.overwrite
            && let Some(blob) = self.service.has_blobs(self.container, self.cancel)?
        {
            return Err(exists(&format!("the blob {}", name(&blob)), into));
        }
        let directories = AtomicU64::new(0);
        each_parallel::<container::Line>(self.files, container::INVENTORY, self.cancel, &|line| {
            let is_directory = line.kind == DIRECTORY;
            if !self.chosen.takes(&line.name, is_directory) {
                return Ok(());
            }
            match (&line.path, blob_lacks(&line)) {
                (Some(path), _) => self.upload(&line, path, into)?,
                (None, Some(reason)) => self.tally.lacks(&line.name, &reason),
                (None, None) => {
                    directories.fetch_add(1, Ordering::Relaxed);
                }
            }
            Ok(())
        })?;
        // Refused blobs may exist in part, or unchanged.
        if (created || !self.options.overwrite) && self.tally.refused.contents().0 == 0 {
            self.compare(self.chosen.files, into)?;
        }
        let mut report = Storage { created, ..Storage::default() };
        if directories.into_inner() > 0 {
            report
                .notes
                .push("directories come with the blobs in them; empty ones are not restored".to_owned());
        }
        Ok(report)
    }

    fn upload(&self, line: &container::Line, path: &str, into: &str) -> Result<()> {
        let what = || format!("blob {}", name(&line.name));
        let kind = match line.kind.as_str() {
            "block" => BlobType::Block,
            "append" => BlobType::Append,
            "page" => BlobType::Page,
            other => return Err(Error::failed(format!("{}: unknown type of blob {other:?}", what()))),
        };
        let uploaded = with_content(self.files, path, line.bytes, &mut |content| {
            Ok(self.service.upload(
                self.container,
                &line.name,
                kind,
                &line.properties,
                line.bytes,
                content,
                self.options.overwrite,
                self.cancel,
            ))
        })
        .map_err(|e| e.context(what()))?;
        match uploaded {
            Err(failure) => self.tally.refused.content("blob", &line.name, line.bytes, failure),
            Ok(Uploaded::Exists) => Err(exists(&what(), into)),
            Ok(Uploaded::Done { notes }) => {
                notes.into_iter().for_each(|note| self.tally.note(&line.name, note));
                self.tally.wrote(line.bytes);
                Ok(())
            }
        }
    }

    /// The content of the container must match the written blobs.
    fn compare(&self, stored: u64, into: &str) -> Result<()> {
        let (mut listing, mut count) = (self.service.listing(self.container, None), 0);
        while let Some(page) = listing.next(self.cancel)? {
            count += page.blobs.iter().filter(|blob| !blob.directory).count() as u64;
        }
        if count == stored {
            return Ok(());
        }
        Err(Error::failed(format!(
            "{into} has {} after the restore, but {stored} written",
            crate::output::count(count, "blob")
        ))
        .hint("another program may have written to it during the restore; empty it before you try again"))
    }
}
