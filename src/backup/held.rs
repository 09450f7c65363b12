//! Items that are stored and have no outcome yet. Where no lock keeps a prune out, the end of the run sees whether what their
//! snapshots need is still there; only then anybody is told of them, and only then the history counts them.

use super::{Observer, recorder::Recorder};
use crate::{
    error::Error,
    history::Content,
    outcome::ItemReport,
    repository::writer::{FinalCheck, Written},
};

/// An item whose snapshot is stored.
pub(super) struct Stored {
    pub(super) report: ItemReport,
    /// What its backup holds.
    pub(super) content: Option<Content>,
}

/// What the writers of a run have stored, and what the ends of these writers have seen of it. It takes as much memory as the
/// reports of the items and the counts of their tables.
#[derive(Default)]
pub(super) struct Held {
    pub(super) stored: Vec<Stored>,
    /// Ids of snapshots that were removed again.
    removed: Vec<String>,
    /// Snapshots of which nothing is known yet.
    unconfirmed: Vec<Written>,
    /// Why that is so.
    doubt: Option<Error>,
}

impl Held {
    /// Takes over what the end of a writer has seen.
    pub(super) fn saw(&mut self, seen: FinalCheck) {
        self.removed.extend(seen.removed);
        self.unconfirmed.extend(seen.unconfirmed);
        self.doubt = seen.error;
    }

    /// Hands out what somebody else is to look at.
    pub(super) fn take_unconfirmed(&mut self) -> Vec<Written> {
        std::mem::take(&mut self.unconfirmed)
    }

    /// Why it is not known of some snapshots whether what they need is there.
    pub(super) fn doubt(&self) -> Option<&Error> {
        self.doubt.as_ref().filter(|_| !self.unconfirmed.is_empty())
    }

    /// Gives all that is stored its outcome, writes it down and tells it.
    pub(super) fn settle(&mut self, recorder: &Recorder<'_>, observer: &dyn Observer) -> Vec<ItemReport> {
        let stored = std::mem::take(&mut self.stored);
        let settled = stored.into_iter().map(|Stored { mut report, content }| {
            let id = report.snapshot.as_deref().unwrap_or_default();
            if let Some(error) = self.why_not(id) {
                report = report.stored_in_vain(error);
                recorder.item_finished(&report, None);
            } else {
                recorder.accept_omitted(&mut report, content.as_ref());
                report.suspicious = recorder.item_finished(&report, content.as_ref());
            }
            observer.finished(&report);
            report
        });
        settled.collect()
    }

    /// Why a snapshot is not to be relied on.
    fn why_not(&self, id: &str) -> Option<Error> {
        let short = id.get(..8).unwrap_or(id);
        if self.removed.iter().any(|removed| removed == id) {
            let what = "a prune beside this backup removed packs that it needs";
            return Some(Error::repository(format!("its snapshot {short} was removed again: {what}")).hint(
                "the next backup stores again what is gone; run `prune` (that of restic too) only while no backup runs: this \
                 storage has no locks that backups could hold against it",
            ));
        }
        self.unconfirmed.iter().find(|written| written.id() == id)?;
        let what = "it could not be seen whether a prune beside this backup removed what it needs";
        let error = Error::repository(format!("its snapshot {short} is stored, but {what}"));
        let error = match &self.doubt {
            Some(doubt) => error.because_text(doubt.summary()),
            None => error,
        };
        Some(error.hint(
            "`tik-backup check` tells whether it is whole; if it is not, remove it with `tik-backup forget`, and the next \
             backup stores again what is gone",
        ))
    }
}
