//! Items that are stored and have no outcome yet. On storages without locks, the end of the run checks that the packs of their
//! snapshots still exist. Only then are they reported, and counted in the history.

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
    /// The content of its backup.
    pub(super) content: Option<Content>,
}

/// What the writers of a run have stored, and the results of the checks at their ends. It takes as much memory as the
/// reports of the items and the counts of their tables.
#[derive(Default)]
pub(super) struct Held {
    pub(super) stored: Vec<Stored>,
    /// Ids of snapshots that were removed again.
    removed: Vec<String>,
    /// Snapshots that have not been checked yet.
    unconfirmed: Vec<Written>,
    /// Why they could not be checked.
    doubt: Option<Error>,
}

impl Held {
    /// Adds the results of the check at the end of a writer.
    pub(super) fn saw(&mut self, seen: FinalCheck) {
        self.removed.extend(seen.removed);
        self.unconfirmed.extend(seen.unconfirmed);
        self.doubt = seen.error;
    }

    /// Hands out the snapshots that still have to be checked.
    pub(super) fn take_unconfirmed(&mut self) -> Vec<Written> {
        std::mem::take(&mut self.unconfirmed)
    }

    /// Why some snapshots could not be checked.
    pub(super) fn doubt(&self) -> Option<&Error> {
        self.doubt.as_ref().filter(|_| !self.unconfirmed.is_empty())
    }

    /// Gives each stored item its outcome, records it and reports it.
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

    /// Why a snapshot cannot be relied on.
    fn why_not(&self, id: &str) -> Option<Error> {
        let short = id.get(..8).unwrap_or(id);
        if self.removed.iter().any(|removed| removed == id) {
            let what = "a prune that ran at the same time removed packs that it needs";
            return Some(Error::repository(format!("its snapshot {short} was removed again: {what}")).hint(
                "the next backup stores the lost data again; run `prune` (and `restic prune`) only while no backup runs: this storage does not support locks",
            ));
        }
        self.unconfirmed.iter().find(|written| written.id() == id)?;
        let what =
            "it could not be checked whether a prune that ran at the same time removed data that it needs";
        let error = Error::repository(format!("its snapshot {short} is stored, but {what}"));
        let error = match &self.doubt {
            Some(doubt) => error.because_text(doubt.summary()),
            None => error,
        };
        Some(error.hint(
            "`tik-backup check` shows whether it is complete; if it is not, remove it with `tik-backup forget`, and the next backup stores the lost data again",
        ))
    }
}
