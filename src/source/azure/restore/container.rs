//! Blobs back into a container.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

use super::{
    Report, Tally,
    content::{each_parallel, with_content},
    exists,
};
use crate::{
    azure::blob::{BlobService, BlobType, Uploaded},
    error::{Error, Result},
    output::name,
    source::{Files, azure::container, restore::Options},
    stream::cancel::Cancel,
};

/// A container being restored.
pub(super) struct ContainerRestore<'a> {
    pub(super) service: &'a BlobService,
    pub(super) container: &'a str,
    pub(super) files: &'a dyn Files,
    pub(super) options: &'a Options,
    pub(super) cancel: &'a Cancel,
    pub(super) tally: &'a Tally,
}

impl ContainerRestore<'_> {
    /// Writes all blobs and looks whether they are there.
    pub(super) fn run(&self, stored: u64, into: &str) -> Result<Report> {
        let created = self.service.create_container(self.container, &BTreeMap::new(), self.cancel)?;
        if !created && !self.options.overwrite {
            if let Some(blob) = self.service.has_blobs(self.container, self.cancel)? {
                return Err(exists(&format!("the blob {}", name(&blob)), into));
            }
        }
        let (missing, directories) = (AtomicU64::new(0), AtomicU64::new(0));
        each_parallel::<container::Line>(self.files, container::INVENTORY, self.cancel, &|line| match &line
            .path
        {
            Some(path) => self.upload(&line, path, into),
            None if line.kind == "directory" => {
                directories.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            None => {
                missing.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
        })?;
        if created || !self.options.overwrite {
            self.compare(stored, into)?;
        }
        let missing = missing.into_inner();
        let mut report = Report { created, missing, ..Report::default() };
        if missing > 0 {
            report
                .notes
                .push(format!("{missing} blobs were in the archive tier and are not in the snapshot"));
        }
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
            other => return Err(Error::failed(format!("{}: the kind {other:?} is not known", what()))),
        };
        let uploaded = with_content(self.files, path, line.bytes, &mut |content| {
            self.service.upload(
                self.container,
                &line.name,
                kind,
                &line.properties,
                line.bytes,
                content,
                self.options.overwrite,
                self.cancel,
            )
        })
        .map_err(|e| e.context(what()))?;
        match uploaded {
            Uploaded::Exists => Err(exists(&what(), into)),
            Uploaded::Done { notes } => {
                notes.into_iter().for_each(|note| self.tally.note(note));
                self.tally.wrote(line.bytes);
                Ok(())
            }
        }
    }

    /// What the container holds now must be what was put into it.
    fn compare(&self, stored: u64, into: &str) -> Result<()> {
        let (mut listing, mut count) = (self.service.listing(self.container, None), 0);
        while let Some(page) = listing.next(self.cancel)? {
            count += page.blobs.iter().filter(|blob| !blob.directory).count() as u64;
        }
        if count == stored {
            return Ok(());
        }
        Err(Error::failed(format!("{into} has {count} blobs after the restore, the snapshot has {stored}"))
            .hint("did somebody else write to it meanwhile? empty it before the next try"))
    }
}
