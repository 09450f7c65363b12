//! Restoring files and directories into a share.

use std::collections::BTreeMap;

use super::{
    Tally,
    choice::Chosen,
    content::{each_parallel, with_content},
    entries::file_lacks,
    exists,
};
use crate::{
    azure::files::{FileService, SmbProperties, Uploaded},
    error::Result,
    output::name,
    source::{
        azure::{inventory, share},
        layout::DIRECTORY,
        restore::{Options, Storage},
    },
    stream::{cancel::Cancel, files::Files},
};

/// A share being restored.
pub(super) struct ShareRestore<'a> {
    pub(super) service: &'a FileService,
    pub(super) share: &'a str,
    pub(super) files: &'a dyn Files,
    pub(super) options: &'a Options,
    pub(super) cancel: &'a Cancel,
    pub(super) chosen: &'a Chosen,
    pub(super) tally: &'a Tally,
}

/// Gigabytes that a new share may hold; it is no reservation.
const QUOTA: u64 = 5120;

impl ShareRestore<'_> {
    /// Makes the directories, writes what is chosen, and gives the directories their times.
    pub(super) fn run(&self, into: &str) -> Result<Storage> {
        let created = self.service.create_share(self.share, QUOTA, &BTreeMap::new(), self.cancel)?;
        if !created && !self.options.overwrite && self.service.has_content(self.share, self.cancel)? {
            return Err(exists("files", into));
        }
        let directories = self.directories()?;
        each_parallel::<share::Line>(self.files, share::INVENTORY, self.cancel, &|line| {
            if line.kind == DIRECTORY || !self.chosen.takes(&line.name, false) {
                return Ok(());
            }
            self.file(&line, into)
        })?;
        // Every written file changes the times of its directory.
        self.directories()?;
        Ok(Storage { created, directories, ..Storage::default() })
    }

    /// Makes the directories that are needed, or gives those that are there their attributes and times again. Returns their
    /// number.
    fn directories(&self) -> Result<u64> {
        let mut count = 0;
        inventory::each::<share::Line>(self.files, share::INVENTORY, &mut |line| {
            let wanted = line.kind == DIRECTORY && self.chosen.needs(&line.name);
            if !wanted || self.tally.refused.has_directory(&line.name) {
                return Ok(());
            }
            self.cancel.check()?;
            let smb = without_permission(&line);
            let (metadata, path) = (&line.properties.metadata, &line.name);
            match self.service.create_directory(self.share, path, metadata, &smb, true, self.cancel) {
                Ok(_) => {
                    self.tally.refused.wrote();
                    count += 1;
                    Ok(())
                }
                Err(failure) => self.tally.refused.directory(path, failure),
            }
        })?;
        Ok(count)
    }

    fn file(&self, line: &share::Line, into: &str) -> Result<()> {
        match (&line.path, file_lacks(line)) {
            (Some(path), _) => self.upload(line, path, into),
            (None, Some(reason)) => {
                self.tally.lacks(&line.name, &reason);
                Ok(())
            }
            (None, None) => Ok(()),
        }
    }

    fn upload(&self, line: &share::Line, path: &str, into: &str) -> Result<()> {
        let what = || format!("file {}", name(&line.name));
        let smb = without_permission(line);
        let uploaded = with_content(self.files, path, line.bytes, &mut |content| {
            Ok(self.service.upload(
                self.share,
                &line.name,
                line.bytes,
                &line.properties,
                &smb,
                content,
                self.options.overwrite,
                self.cancel,
            ))
        })
        .map_err(|e| e.context(what()))?;
        match uploaded {
            Err(failure) => self.tally.refused.content("file", &line.name, line.bytes, failure),
            Ok(Uploaded::Exists) => Err(exists(&what(), into)),
            Ok(Uploaded::Done) => {
                self.tally.wrote(line.bytes);
                Ok(())
            }
        }
    }
}

/// A permission's key is known to its own share alone.
fn without_permission(line: &share::Line) -> SmbProperties {
    SmbProperties { permission_key: None, ..line.smb.clone() }
}
