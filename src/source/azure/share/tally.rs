//! Counts the results of a share and writes the list.

use std::path::Path;

use super::{
    super::{container::row, detail::Detail, inventory, inventory::Md5},
    Done, Job, Line, Seen,
};
use crate::{
    azure::files::Entry,
    error::{Error, Result},
    source::{
        exclude::{Excludes, Rule},
        omissions::Omissions,
    },
    stream::{digest::RowDigest, sink::Sink},
};

/// The counts.
pub(super) struct Tally {
    pub(super) detail: Detail,
    pub(super) content: RowDigest,
    pub(super) omissions: Omissions,
}

impl Tally {
    /// Adds the result for a file or directory.
    pub(super) fn add(&mut self, sink: &dyn Sink, lines: &mut inventory::Writer, done: Done) -> Result<()> {
        let Done { job: Job { name, entry, path, finished }, md5, properties, unread, reason } = done;
        finished.iter().try_for_each(|folder| sink.finish_folder(Path::new(folder)))?;
        let Entry { bytes, etag, smb, directory, .. } = entry;
        let kind = if directory { "directory" } else { "file" };
        if directory {
            self.detail.directories += 1;
        } else {
            self.detail.listed += 1;
        }
        if let Some(reason) = &reason {
            self.detail.omitted += u64::from(!directory);
            self.omissions.add(if directory { "folder" } else { "file" }, &name, reason);
        }
        if let Some(md5) = md5 {
            self.detail.stored += 1;
            self.detail.bytes += bytes;
            if unread {
                self.detail.unchanged += 1;
            } else {
                self.detail.downloaded_bytes += bytes;
            }
            let expected = properties.content_md5.as_deref().and_then(Md5::parse);
            if expected.is_some_and(|expected| expected != md5) {
                self.detail.md5_differs.add(&name);
            }
            self.content.add_hashed(bytes, row(&name, &md5));
        }
        let path = Some(path).filter(|_| directory || md5.is_some());
        lines.line(&Line { name, kind: kind.to_owned(), path, reason, bytes, etag, md5, smb, properties })
    }

    /// The number of unreadable files, and the reason for the first.
    pub(super) fn unreadable(&self) -> Option<(u64, &str)> {
        self.omissions.named().next().map(|first| (self.detail.omitted, first.reason.as_str()))
    }

    /// Every listed entry must have been stored or be accounted for.
    pub(super) fn check(&self, seen: &Seen) -> Result<()> {
        let Detail { listed, stored, omitted, .. } = &self.detail;
        if *listed == seen.files && stored + omitted == seen.files {
            return Ok(());
        }
        Err(Error::failed(format!("files listed: {}, but accounted for: {}", seen.files, stored + omitted)))
    }

    /// Adds the findings of the listing.
    pub(super) fn listed(&mut self, seen: Seen, excludes: &Excludes) {
        let rules = excludes.patterns().zip(seen.excluded);
        self.detail.excluded =
            rules.map(|(pattern, entries)| Rule { pattern: pattern.to_owned(), entries }).collect();
        for (directory, reason) in seen.unlisted {
            self.omissions.add("folder", &directory, reason);
        }
    }
}
