//! What of a run writes: a pass over the items, and one more over those that failed for reasons that pass, such as an
//! outage of the storage that was longer than the writer could wait.

use std::sync::Arc;

use super::{
    ItemReport, Observer, Plan,
    recorder::Recorder,
    work::{self, Pass, Worked},
};
use crate::{
    config::Config,
    error::{Error, Result},
    repository::{LockGuard, Patience, Repository, writer::RunWriter},
    stream::cancel::Cancel,
};

/// What all passes of a run work with.
pub(super) struct Passes<'a> {
    pub(super) config: &'a Config,
    pub(super) repository: &'a Repository,
    pub(super) patience: &'a Patience,
    pub(super) lock: Arc<LockGuard>,
    pub(super) recorder: &'a Recorder<'a>,
    pub(super) observer: &'a dyn Observer,
    /// Ends the run.
    pub(super) cancel: &'a Cancel,
    /// The writer of the present pass, with what ends that pass.
    pub(super) current: Option<(RunWriter, Cancel)>,
    /// Why there could not be another pass.
    pub(super) error: Option<Error>,
}

impl Passes<'_> {
    /// Prepares for writing, unless that is done or there is nothing to write.
    pub(super) fn begin(&mut self, plan: &Plan) -> Result<()> {
        if self.current.is_some() || plan.items.is_empty() {
            return Ok(());
        }
        // That a writer has failed must not end what comes after it.
        let cancel = self.cancel.child();
        self.patience.obey(&cancel);
        let notice = |message: &str| self.observer.notice(message);
        let writer = self.repository.begin_run(self.lock.clone(), &cancel, &notice)?;
        self.current = Some((writer, cancel));
        Ok(())
    }

    /// Backs up the items of a plan. Every item gets one report.
    pub(super) fn run(&mut self, plan: &Plan) -> Vec<ItemReport> {
        let all: Vec<usize> = (0..plan.items.len()).collect();
        let Worked { mut reports, again } = self.pass(plan, &all, false);
        if !again.is_empty() {
            reports.extend(self.once_more(plan, again));
        }
        if let Some(error) = self.failure() {
            // Nothing more can be stored: what is still waited for would be in vain.
            self.cancel.cancel(error.summary());
        }
        reports
    }

    fn pass(&self, plan: &Plan, items: &[usize], is_last: bool) -> Worked {
        let Some((writer, cancel)) = &self.current else { return Worked::default() };
        let pass = Pass {
            config: self.config,
            repository: self.repository,
            writer,
            recorder: self.recorder,
            observer: self.observer,
            cancel,
            run_cancel: self.cancel,
            is_last,
        };
        work::run(&pass, plan, items)
    }

    /// Tries items again that failed for a reason that passes, with a new writer if the old one has failed.
    fn once_more(&mut self, plan: &Plan, held: Vec<(usize, ItemReport)>) -> Vec<ItemReport> {
        if let Some((_, first)) = held.first() {
            let error = first.error.as_deref().and_then(|error| error.lines().next()).unwrap_or_default();
            let what = match held.len() {
                1 => format!(
                    "{} failed for a reason that may pass, and is",
                    crate::output::name(&first.name())
                ),
                number => format!(
                    "{} failed for reasons that may pass, and are",
                    crate::output::count(number, "item")
                ),
            };
            self.observer.notice(&format!("{what} tried once more: {error}"));
        }
        if self.failure().is_some() {
            // Its threads end before others begin.
            drop(self.current.take());
            self.patience.obey(self.cancel);
            // Nothing is read again for a storage that is still away.
            if let Err(error) = self.repository.require_storage().and_then(|()| self.begin(plan)) {
                self.observer.notice(&format!("nothing could be tried again: {error}"));
                self.error = Some(error);
                return held.into_iter().map(|(_, report)| self.settled(report)).collect();
            }
        }
        let items: Vec<usize> = held.iter().map(|(item, _)| *item).collect();
        self.pass(plan, &items, true).reports
    }

    /// What failed stays failed.
    fn settled(&self, report: ItemReport) -> ItemReport {
        self.recorder.item_finished(&report, None);
        self.observer.finished(&report);
        report
    }

    fn failure(&self) -> Option<Error> {
        let writer = self.current.as_ref().and_then(|(writer, _)| writer.failure());
        writer.or_else(|| self.error.clone())
    }

    /// Writes what is still to be written. Returns the ids of snapshots that were removed again, and why the run as a
    /// whole has failed, if it has.
    pub(super) fn finish(mut self) -> (Vec<String>, Option<Error>) {
        let finished = self.current.take().map(|(writer, _)| writer.finish());
        // What follows is the run's own.
        self.patience.obey(self.cancel);
        match finished {
            None => (Vec::new(), self.error),
            Some(Ok(totals)) => (totals.removed, self.error),
            Some(Err(error)) => (Vec::new(), Some(error)),
        }
    }
}
