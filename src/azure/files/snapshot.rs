//! Snapshots of shares: creating one, finding those left by a crash, and removing them.

use std::{collections::BTreeMap, fmt, time::Instant};

use reqwest::Method;

use super::{FileService, failed};
use crate::{
    azure::failure::Failure,
    error::{Error, Result},
    stream::cancel::Cancel,
};

/// The query parameter that names a snapshot.
pub(super) const SNAPSHOT: &str = "sharesnapshot";
/// The service takes one snapshot of a share at a time.
const IN_PROGRESS: &str = "ShareSnapshotInProgress";

/// The id of a share snapshot, as the service gave it. It is never empty: a deletion with an empty id would be that of
/// the live share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotId(String);

impl SnapshotId {
    /// Validates an id.
    ///
    /// # Errors
    /// It is empty or blank, or holds what no id has: spaces or characters that do not print.
    pub fn new(id: impl Into<String>) -> Result<Self> {
        let id = id.into();
        if !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(id))
        } else {
            Err(Error::failed(format!("the File service gave {id:?} as the id of a share snapshot")).hint(
                "Azure does not send this; a proxy between this machine and Azure may have changed the answer",
            ))
        }
    }

    /// The id itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A snapshot created by this program: it may be read, and must be removed at the end.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a snapshot that is not removed stays until a later run finds it"]
pub struct ShareSnapshot {
    share: String,
    id: SnapshotId,
}

impl ShareSnapshot {
    /// The share that it is of.
    pub fn share(&self) -> &str {
        &self.share
    }

    /// Its id.
    pub fn id(&self) -> &SnapshotId {
        &self.id
    }
}

/// A snapshot in a list of shares, which may be another program's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExistingSnapshot {
    /// Its id.
    pub id: SnapshotId,
    /// Its metadata: what was given when it was taken, else the share's.
    pub metadata: BTreeMap<String, String>,
}

impl FileService {
    /// Takes a snapshot of a live share. While the service takes another one of this share, that is waited for, as
    /// long as the client's policy allows. Give it `metadata` by which a later run knows it: see
    /// [`FileService::orphan`].
    ///
    /// # Errors
    /// The service refuses, above all when the share has as many snapshots as it may have.
    pub fn take_snapshot(
        &self,
        share: &str,
        metadata: &[(&str, &str)],
        cancel: &Cancel,
    ) -> Result<ShareSnapshot> {
        let what = || format!("cannot take a snapshot of the share {share:?}");
        let take = || {
            let request = self.request(Method::PUT, share, "")?.query("restype", "share");
            self.send(request.query("comp", "snapshot").metadata(metadata.iter().copied()), cancel)
        };
        let policy = self.http.policy();
        let (end, mut waits) = (Instant::now() + policy.total, 0);
        let answer = loop {
            waits += 1;
            let wait = policy.pause(waits);
            match take() {
                Err(failure) if failure.is(IN_PROGRESS) && Instant::now() + wait < end => {
                    self.http.sleep(wait, cancel).map_err(|failure| failed(failure, what()))?;
                }
                answer => break answer.map_err(|failure| refusal(failure, what()))?,
            }
        };
        let id = answer.header("x-ms-snapshot").unwrap_or_default();
        let id = SnapshotId::new(id).map_err(|error| error.context(what()))?;
        Ok(ShareSnapshot { share: share.to_owned(), id })
    }

    /// A snapshot that an earlier run took and did not remove, to be removed now: one whose metadata holds `mark`, a
    /// name (which differs not by case) and a value. Other programs' snapshots are never given.
    pub fn orphan(&self, share: &str, found: &ExistingSnapshot, mark: (&str, &str)) -> Option<ShareSnapshot> {
        let (name, value) = mark;
        let marked = found.metadata.iter().any(|(key, held)| key.eq_ignore_ascii_case(name) && held == value);
        marked.then(|| ShareSnapshot { share: share.to_owned(), id: found.id.clone() })
    }

    /// Removes a snapshot. That it is gone already is success. This is the only request that deletes anything, and it
    /// always carries the snapshot's id. A run that was cancelled removes its snapshots with a fresh `cancel`.
    ///
    /// # Errors
    /// The service refuses; the snapshot then stays until [`FileService::orphan`] gives it to a later run.
    pub fn remove_snapshot(&self, snapshot: ShareSnapshot, cancel: &Cancel) -> Result<()> {
        let remove = || {
            let request = self.request(Method::DELETE, &snapshot.share, "")?.query("restype", "share");
            self.send(request.query(SNAPSHOT, snapshot.id.as_str()), cancel).map(drop)
        };
        match remove() {
            Err(failure) if failure.status() != Some(404) => {
                let ShareSnapshot { share, id } = &snapshot;
                Err(failed(failure, format!("cannot remove the snapshot {id} of the share {share:?}")))
            }
            _ => Ok(()),
        }
    }
}

fn refusal(failure: Failure, what: String) -> Error {
    let hint = if failure.is(IN_PROGRESS) {
        "another program takes snapshots of this share continuously: schedule it at another time than this run"
    } else if failure.is("ShareSnapshotCountExceeded") {
        "the share has as many snapshots as Azure allows (200): remove old ones, for example in the Azure portal"
    } else {
        return failed(failure, what);
    };
    failed(failure, what).hint(hint)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn no_empty_id_is_an_id() {
        for bad in ["", " ", "\t\n", "\u{a0}", "2026-01-01T00:00:00 Z", "é"] {
            let error = SnapshotId::new(bad).unwrap_err().summary();
            assert!(error.contains(&format!("{bad:?} as the id")), "{error}");
        }
        assert_eq!(SnapshotId::new("2026-01-01T00:00:00.0000000Z").unwrap().as_str().len(), 28);
    }
}
