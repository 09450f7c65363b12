//! Counts the results of a container and writes the list.

use std::path::Path;

use super::{
    super::{detail::Detail, inventory},
    ARCHIVED, Done, Job, Line, Outcome, Seen,
};
use crate::{
    azure::blob::{Blob, BlobType},
    error::{Error, Result},
    source::{
        exclude::{Excludes, Rule},
        omissions::Omissions,
    },
    stream::{
        digest::{Digest128, RowDigest},
        sink::Sink,
    },
};

/// The counts.
pub(super) struct Tally {
    pub(super) detail: Detail,
    pub(super) content: RowDigest,
    pub(super) omissions: Omissions,
    /// Bytes of the blobs accounted for, as they were listed.
    bytes: u64,
    /// Blobs that the list had before.
    repeated: u64,
}

impl Tally {
    /// Nothing yet.
    pub(super) fn new(mut detail: Detail, excludes: &Excludes) -> Self {
        let rule = |pattern: &str| Rule { pattern: pattern.to_owned(), entries: 0 };
        detail.excluded = excludes.patterns().map(rule).collect();
        Self {
            detail,
            content: RowDigest::default(),
            omissions: Omissions::new("blobs"),
            bytes: 0,
            repeated: 0,
        }
    }

    /// Adds the result for a blob, in the order of the listing.
    pub(super) fn add(&mut self, sink: &dyn Sink, lines: &mut inventory::Writer, done: Done) -> Result<()> {
        let Done { job: Job { blob, path, listed, finished }, outcome, changed, unsearched } = done;
        finished.iter().try_for_each(|folder| sink.finish_folder(Path::new(folder)))?;
        let detail = &mut self.detail;
        if blob.directory {
            detail.directories += u64::from(matches!(outcome, Outcome::Directory));
        } else {
            detail.listed += u64::from(!matches!(outcome, Outcome::Repeated));
            self.bytes = self.bytes.saturating_add(listed);
        }
        if changed {
            detail.changed.add(&blob.name);
        }
        let (kind, mut md5_read, mut stored_at, mut reason) = (kind(&blob), None, None, None);
        match outcome {
            Outcome::Directory => {}
            Outcome::Repeated => {
                self.repeated += 1;
                return Ok(());
            }
            Outcome::Excluded(rule) => {
                if let Some(rule) = detail.excluded.get_mut(rule) {
                    rule.entries += 1;
                }
                detail.excluded_blobs += u64::from(!blob.directory);
                return Ok(());
            }
            Outcome::Vanished => {
                detail.vanished.add(&blob.name);
                return Ok(());
            }
            Outcome::Archived => {
                detail.archived.add(&blob.name);
                detail.archived_bytes += blob.bytes;
                reason = Some(ARCHIVED.to_owned());
            }
            Outcome::Omitted(why) => reason = Some(why),
            Outcome::Stored { md5, unread, differs } => {
                detail.stored += 1;
                detail.bytes += blob.bytes;
                if unread {
                    detail.unchanged += 1;
                } else {
                    detail.downloaded_bytes += blob.bytes;
                }
                if differs {
                    detail.md5_differs.add(&blob.name);
                }
                self.content.add_hashed(blob.bytes, row(&blob.name, &md5));
                (md5_read, stored_at) = (Some(md5), Some(path));
            }
        }
        if let Some(reason) = &reason {
            detail.omitted += 1;
            self.omissions.add("blob", &blob.name, reason);
        }
        let Blob { name, bytes, etag, properties, .. } = blob;
        let (path, md5, kind) = (stored_at, md5_read, kind.to_owned());
        lines.line(&Line { name, kind, path, reason, unsearched, bytes, etag, md5, properties })
    }

    /// The number of unreadable blobs outside of the archive tier, and the reason for the first named one.
    pub(super) fn unreadable(&self) -> Option<(u64, &str)> {
        let count = self.detail.omitted.saturating_sub(self.detail.archived.count);
        self.omissions
            .named()
            .map(|omitted| omitted.reason.as_str())
            .find(|reason| *reason != ARCHIVED)
            .map(|r| (count, r))
    }

    /// Every listed entry must have been stored or be accounted for.
    pub(super) fn check(&self, seen: &Seen) -> Result<()> {
        let Detail { stored, omitted, vanished, excluded_blobs, .. } = &self.detail;
        let accounted = stored + omitted + vanished.count + excluded_blobs + self.repeated;
        if seen.blobs == accounted && seen.bytes == self.bytes {
            return Ok(());
        }
        Err(Error::failed(format!(
            "{} blobs of {} bytes were listed, but only {accounted} of {} bytes are accounted for",
            seen.blobs, seen.bytes, self.bytes
        )))
    }
}

/// The hash of a blob's name and content, for the digest of a container.
pub(in crate::source::azure) fn row(name: &str, md5: &inventory::Md5) -> Digest128 {
    Digest128::of(&[name.as_bytes(), &[0], &md5.0].concat())
}

fn kind(blob: &Blob) -> &'static str {
    match blob.kind {
        _ if blob.directory => "directory",
        BlobType::Block => "block",
        BlobType::Append => "append",
        BlobType::Page => "page",
    }
}
