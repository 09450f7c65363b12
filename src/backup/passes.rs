//! The passes of a run: one over all items, and another over those with temporary failures, such as an
//! outage of the storage that was longer than the writer could wait.

use std::{cell::RefCell, sync::Arc};

use super::{
    Observer, Plan,
    early::Early,
    held::Held,
    recorder::Recorder,
    work::{self, Pass, Worked},
};
use crate::{
    config::Config,
    error::{Error, Result},
    outcome::ItemReport,
    repository::{LockGuard, Patience, Repository, writer::RunWriter},
    stream::cancel::Cancel,
};

/// The context that all passes of a run share.
pub(super) struct Passes<'a> {
    pub(super) config: &'a Config,
    pub(super) repository: &'a Repository,
    pub(super) patience: &'a Patience,
    pub(super) lock: Arc<LockGuard>,
    pub(super) recorder: &'a Recorder<'a>,
    pub(super) observer: &'a dyn Observer,
    /// Set when the program is asked to end.
    pub(super) program: &'a Cancel,
    /// Ends the run, but not the steps that follow it.
    pub(super) cancel: Cancel,
    /// What was begun while the repository was opened.
    pub(super) early: Option<Early>,
    /// The writer of the current pass, and what cancels that pass.
    pub(super) current: Option<(RunWriter, Cancel)>,
    /// Why no other pass was possible.
    pub(super) error: Option<Error>,
    /// Items that are stored and not confirmed yet.
    pub(super) held: Held,
    /// Data of the repository that the run has found to be lost.
    pub(super) lost: Option<Error>,
}

impl Passes<'_> {
    /// Prepares for writing, unless that is done or there is nothing to write. `is_first` says that nothing was written
    /// before: only then does an error end the run. Later, items have results that must be reported.
    pub(super) fn begin(&mut self, plan: &Plan, is_first: bool) -> Result<()> {
        if self.current.is_some() || self.error.is_some() || plan.items.is_empty() {
            return Ok(());
        }
        match self.start() {
            Err(error) if !is_first => self.error = Some(error),
            other => return other,
        }
        Ok(())
    }

    fn start(&mut self) -> Result<()> {
        // The failure of one writer must not cancel the next.
        let cancel = self.cancel.child();
        self.patience.obey(&cancel);
        let notice = |message: &str| self.observer.notice(message);
        let lost = RefCell::new(None);
        let told = |error: &Error| {
            self.recorder.lost(error);
            *lost.borrow_mut() = Some(error.clone());
        };
        let begun = self.repository.begin_run(self.lock.clone(), &cancel, &told, &notice);
        self.lost = lost.into_inner().or(self.lost.take());
        let writer = begun?;
        writer.adopt_unconfirmed(self.held.take_unconfirmed());
        self.current = Some((writer, cancel));
        Ok(())
    }

    /// Backs up the items of a plan. Every item gets one report: what is returned here, or by [`Self::finish`].
    pub(super) fn run(&mut self, plan: &Plan) -> Vec<ItemReport> {
        let all: Vec<usize> = (0..plan.items.len()).collect();
        let Worked { mut reports, stored, again } = self.pass(plan, &all, false);
        self.held.stored.extend(stored);
        if !again.is_empty() {
            reports.extend(self.once_more(plan, again));
        }
        if let Some(error) = self.failure() {
            // Nothing more can be stored: there is no point in waiting for the other sources.
            self.cancel.cancel(error.summary());
        }
        reports
    }

    fn pass(&self, plan: &Plan, items: &[usize], is_last: bool) -> Worked {
        let Some((writer, cancel)) = &self.current else {
            return Worked { reports: self.in_vain(plan, items), ..Worked::default() };
        };
        let pass = Pass {
            config: self.config,
            repository: self.repository,
            writer,
            recorder: self.recorder,
            observer: self.observer,
            early: self.early.as_ref(),
            cancel,
            run_cancel: &self.cancel,
            is_last,
        };
        work::run(&pass, plan, items)
    }

    /// Tries items with temporary failures again, with a new writer if the old one has failed.
    fn once_more(&mut self, plan: &Plan, held: Vec<(usize, ItemReport)>) -> Vec<ItemReport> {
        if let Some((_, first)) = held.first() {
            let error = first.error.as_ref().and_then(|error| error.text.lines().next()).unwrap_or_default();
            let what = match held.len() {
                1 => format!(
                    "{} failed for a reason that may be temporary, and is",
                    crate::output::name(&first.name())
                ),
                number => format!(
                    "{} failed for reasons that may be temporary, and are",
                    crate::output::count(number, "item")
                ),
            };
            self.observer.notice(&format!("{what} tried again: {error}"));
        }
        if self.failure().is_some() {
            // Its threads end before others begin. Its error is the one that the items report.
            self.end_writer();
            self.patience.obey(&self.cancel);
            // Nothing is read again while the storage does not answer.
            if let Err(error) = self.repository.require_storage().and_then(|()| self.start()) {
                self.observer.notice(&format!("nothing could be tried again: {error}"));
                self.error = Some(error);
                return held.into_iter().map(|(_, report)| self.settled(report)).collect();
            }
        }
        let items: Vec<usize> = held.iter().map(|(item, _)| *item).collect();
        let Worked { reports, stored, .. } = self.pass(plan, &items, true);
        self.held.stored.extend(stored);
        reports
    }

    /// Items that can no longer be stored.
    fn in_vain(&self, plan: &Plan, items: &[usize]) -> Vec<ItemReport> {
        let error = self.error.clone().unwrap_or_else(|| Error::failed("the run is over"));
        let failed = items.iter().map(|item| {
            let planned = &plan.items[*item];
            let source = &plan.sources[planned.source].0;
            ItemReport::failed(source.name(), Some(&planned.item.name), source.kind(), error.clone())
        });
        failed.map(|report| self.settled(report)).collect()
    }

    /// Makes failures final.
    fn settled(&self, report: ItemReport) -> ItemReport {
        self.recorder.item_finished(&report, None);
        self.observer.finished(&report);
        report
    }

    fn failure(&self) -> Option<Error> {
        let writer = self.current.as_ref().and_then(|(writer, _)| writer.failure());
        writer.or_else(|| self.error.clone())
    }

    /// Ends the present writer. Returns why it has failed, if it has.
    fn end_writer(&mut self) -> Option<Error> {
        let (writer, _) = self.current.take()?;
        let (totals, failure) = writer.finish();
        self.held.saw(totals.seen);
        failure
    }

    /// Writes the remaining data, and checks that stored data still exists. Returns the items whose outcome
    /// depends on that, the error of the run as a whole if it has failed, and the loss found in the repository if it has not.
    pub(super) fn finish(mut self) -> (Vec<ItemReport>, Option<Error>, Option<Error>) {
        let failure = self.end_writer();
        // The steps that follow are not cancelled with the run.
        self.patience.obey(self.program);
        let unconfirmed = self.held.take_unconfirmed();
        if !unconfirmed.is_empty() {
            // No other writer has checked them since, and the storage may answer now.
            self.held.saw(self.repository.confirm(unconfirmed));
        }
        let reports = self.held.settle(self.recorder, self.observer);
        let doubt = self.held.doubt();
        if let Some(doubt) = doubt {
            // Their items have failed; the snapshots stay and may be incomplete.
            self.recorder.lost(&Error::failed(format!(
                "snapshots of a backup may lack what a prune beside it has removed: {}",
                doubt.summary()
            )));
        }
        (reports, failure.or(self.error).or_else(|| doubt.cloned()), self.lost)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "passes_tests.rs"]
mod tests;
