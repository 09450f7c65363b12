//! The threads that stream items.

use std::{
    collections::HashSet,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Instant,
};

use super::{Observer, Plan, Planned, early::Early, held::Stored, queue::Queue, recorder::Recorder, seconds};
use crate::{
    config::Config,
    error::{Error, Passing, Result},
    history::Content,
    outcome::ItemReport,
    repository::{
        PreviousSnapshots, Repository, item_path,
        writer::{Committed, ItemWriter, RunWriter, SnapshotMeta},
    },
    source::{Begun, MANIFEST, Source},
    stream::{cancel::Cancel, sink::Sink},
};

/// One pass over items of a plan.
pub(super) struct Pass<'a> {
    pub(super) config: &'a Config,
    pub(super) repository: &'a Repository,
    pub(super) writer: &'a RunWriter,
    pub(super) recorder: &'a Recorder<'a>,
    pub(super) observer: &'a dyn Observer,
    /// What was begun while the repository was opened.
    pub(super) early: Option<&'a Early>,
    /// Cancels the pass; so does a writer that fails.
    pub(super) cancel: &'a Cancel,
    /// Cancels the run.
    pub(super) run_cancel: &'a Cancel,
    /// No failed item is tried again after this time.
    pub(super) is_last: bool,
}

/// The result of a pass.
#[derive(Default)]
pub(super) struct Worked {
    /// Items that have their outcome.
    pub(super) reports: Vec<ItemReport>,
    /// Items that are stored, to be confirmed at the end of the writer. Their outcome has not been reported.
    pub(super) stored: Vec<Stored>,
    /// Items of the plan with temporary failures, with the report for the case that they are not tried again.
    /// It has not been reported yet.
    pub(super) again: Vec<(usize, ItemReport)>,
}

/// Streams these items of the plan and waits for their commits. Every item gets a report, now or later.
pub(super) fn run(pass: &Pass<'_>, plan: &Plan, items: &[usize]) -> Worked {
    let limit = |source: &dyn Source| {
        let config = pass.config.source(source.name());
        config.and_then(|config| config.jobs).map_or(usize::MAX, |jobs| jobs.max(1))
    };
    let queue = Queue::new(
        items.iter().map(|item| plan.items[*item].source).collect(),
        plan.sources.iter().map(|(source, _)| limit(&**source)).collect(),
    );
    let (reports_tx, reports) = mpsc::channel::<Done>();
    let threads = pass.config.jobs.min(items.len()).max(1);
    let active = AtomicUsize::new(threads);
    let (mut worked, mut open) = (Worked::default(), (0..items.len()).collect::<HashSet<_>>());
    let previous = PreviousSnapshots::new(pass.repository);
    thread::scope(|scope| {
        for _ in 0..threads {
            let (queue, active, previous, reports) = (&queue, &active, &previous, reports_tx.clone());
            scope.spawn(move || {
                while let Some(index) = queue.take(pass.cancel) {
                    let planned = &plan.items[items[index]];
                    let source = &*plan.sources[planned.source].0;
                    let job = Job { pass, previous, source, planned, index, queue };
                    // The place is given back even if the item fails: the others must not wait for it.
                    let _ = catch_unwind(AssertUnwindSafe(|| job.run(&reports)));
                    queue.done(index);
                }
                // No other item will join the last group of commits.
                if active.fetch_sub(1, Ordering::SeqCst) == 1 {
                    pass.writer.flush();
                }
            });
        }
        drop(reports_tx);
        for done in reports {
            open.remove(&done.index);
            worked.take(pass, items, done);
        }
    });
    for index in open {
        let report = lost(plan, &plan.items[items[index]]);
        pass.recorder.item_finished(&report, None);
        worked.reports.push(report);
    }
    worked
}

impl Worked {
    /// Takes the result of an item, and reports it if it is final.
    fn take(&mut self, pass: &Pass<'_>, items: &[usize], done: Done) {
        let Done { index, mut report, content, passing } = done;
        if passing.is_some() && !pass.is_last && !pass.run_cancel.is_cancelled() {
            self.again.push((items[index], report));
            return;
        }
        if report.snapshot.is_some() && !pass.repository.has_locks() {
            pass.observer.stored(&report.name());
            self.stored.push(Stored { report, content });
            return;
        }
        pass.recorder.accept_omitted(&mut report, content.as_ref());
        report.suspicious = pass.recorder.item_finished(&report, content.as_ref());
        pass.observer.finished(&report);
        self.reports.push(report);
    }
}

fn lost(plan: &Plan, planned: &Planned) -> ItemReport {
    let source = &plan.sources[planned.source].0;
    ItemReport::failed(
        source.name(),
        Some(&planned.item.name),
        source.kind(),
        Error::failed("the run ended before the item was committed"),
    )
}

/// An item that has its outcome.
struct Done {
    /// Its index in the pass.
    index: usize,
    report: ItemReport,
    /// The content of its backup.
    content: Option<Content>,
    /// Why another attempt may succeed.
    passing: Option<Passing>,
}

/// An item that was streamed completely and waits for its commit.
type Streamed<'w> = (ItemWriter<'w>, SnapshotMeta, Content);

/// One item being backed up.
struct Job<'a> {
    pass: &'a Pass<'a>,
    previous: &'a PreviousSnapshots<'a>,
    source: &'a dyn Source,
    planned: &'a Planned,
    index: usize,
    queue: &'a Queue,
}

impl Job<'_> {
    /// Streams the item and commits it. After a temporary failure it is put back into the queue and has
    /// no outcome yet.
    fn run(&self, reports: &mpsc::Sender<Done>) {
        let begin = Instant::now();
        let item = self.planned.item.name.as_str();
        let _span = tracing::info_span!("item", source = self.source.name(), item).entered();
        let streamed = catch_unwind(AssertUnwindSafe(|| self.stream()))
            .unwrap_or_else(|_| Err(Error::failed("the item's thread panicked")))
            // A stream that was cancelled because the storage failed should report that failure, not the cancelling.
            .map_err(|error| self.pass.writer.failure().unwrap_or(error));
        match streamed {
            Ok((item, meta, content)) => {
                self.queue.answered(self.index);
                let report = self.reporter(begin, reports);
                self.pass.writer.commit(item, meta, move |done| report(done, Some(content)))
            }
            Err(_) if self.is_gone() => {
                let name = &self.planned.item.name;
                let gone = ItemReport::vanished(self.source.name(), name, self.source.kind());
                let _ = reports.send(Done { index: self.index, report: gone, content: None, passing: None });
            }
            Err(error) if self.put_back(&error) => {}
            Err(error) => self.reporter(begin, reports)(Err(error), None),
        }
    }

    /// A function that reports the outcome of the item.
    fn reporter(
        &self,
        begin: Instant,
        reports: &mpsc::Sender<Done>,
    ) -> impl FnOnce(Result<Committed>, Option<Content>) + Send + use<> {
        let (source, name) = (self.source.name().to_owned(), self.planned.item.name.clone());
        let (kind, index, reports) = (self.source.kind(), self.index, reports.clone());
        let span = tracing::Span::current();
        move |outcome, content| {
            let _span = span.entered();
            let passing = outcome.as_ref().err().and_then(Error::passing);
            let report = match outcome {
                Ok(committed) => {
                    ItemReport::stored(&source, &name, kind, &committed, content.as_ref(), begin)
                }
                Err(error) => ItemReport {
                    seconds: seconds(begin.elapsed()),
                    ..ItemReport::failed(&source, Some(&name), kind, error)
                },
            };
            tracing::debug!(
                outcome = report.outcome.as_str(),
                snapshot = report.snapshot.as_deref().and_then(|id| id.get(..8)),
                read = report.bytes_read,
                added = report.bytes_added,
                seconds = report.seconds,
                "the item has ended"
            );
            // The receiver only disappears if the run itself has panicked.
            let _ = reports.send(Done { index, report, content, passing });
        }
    }

    /// Whether the item is tried again later.
    fn put_back(&self, error: &Error) -> bool {
        if self.pass.is_last || self.pass.cancel.is_cancelled() || self.pass.writer.failure().is_some() {
            return false;
        }
        // The writer has waited for the storage already.
        let passing = error.passing().filter(|passing| *passing != Passing::Storage);
        let Some(pause) = passing.and_then(|passing| self.queue.put_back(self.index, passing)) else {
            return false;
        };
        tracing::debug!(why = error.first_line(), pause = pause.as_secs(), "the item is put back");
        self.pass.observer.notice(&format!(
            "{}/{}: {}; it is tried again in {} s",
            self.source.name(),
            crate::output::name(&self.planned.item.name),
            error.summary().lines().next().unwrap_or_default(),
            pause.as_secs()
        ));
        true
    }

    /// Whether the source no longer has the item: then a failure to read it does not count.
    fn is_gone(&self) -> bool {
        !self.pass.cancel.is_cancelled()
            && self.pass.writer.failure().is_none()
            && self.source.is_gone(&self.planned.item, self.pass.cancel)
    }

    fn stream(&self) -> Result<Streamed<'_>> {
        match self.attempt() {
            // The data of the first attempt does not belong to a snapshot.
            Err(error) if !self.pass.cancel.is_cancelled() && self.source.try_again(&self.planned.item) => {
                tracing::info!(why = error.first_line(), "the item is read again in another way");
                self.attempt()
            }
            streamed => streamed,
        }
    }

    /// The dump of the item that was begun while the repository was opened, at the first attempt.
    fn begun_early(&self) -> Option<Result<Box<dyn Begun>>> {
        self.pass.early?.take(self.source.name(), &self.planned.item.name, self.pass.cancel)
    }

    fn attempt(&self) -> Result<Streamed<'_>> {
        self.pass.cancel.check()?;
        let (source, item) = (self.source.name(), self.planned.item.name.as_str());
        let previous = self.previous.of(source, item);
        let item = if self.source.in_steps() {
            self.pass.writer.item_in_steps(previous, &self.pass.config.state_dir, source, item)?
        } else {
            self.pass.writer.item(Some(previous))?
        };
        let name = format!("{}/{}", self.source.name(), self.planned.item.name);
        self.pass.recorder.item_started(self.source.name(), &self.planned.item.name, self.source.kind());
        tracing::debug!(kind = self.source.kind(), estimate = self.planned.item.estimate, "the item begins");
        self.pass.observer.started(&name, self.planned.item.estimate, item.bytes_read());
        let dumped = match self.begun_early() {
            Some(begun) => begun.and_then(|begun| begun.store(&item)),
            None => self.source.dump(&self.planned.item, &item, self.pass.cancel),
        };
        if dumped.is_err() && self.source.in_steps() && !item.is_kept() {
            self.pass.observer.notice(&format!(
                "{}: its progress could not be saved in state_dir/unfinished, so the next run reads it again from the beginning",
                crate::output::name(&name)
            ));
        }
        let mut manifest = dumped?;
        if let Some(problem) = item.previous_problem() {
            manifest.notes.push(format!(
                "the previous snapshot could not be read, so everything was read again: {problem}"
            ));
        }
        item.store(MANIFEST, &mut manifest.to_json()?.as_slice())?;
        let content = Content::of(&manifest);
        let meta = SnapshotMeta {
            path: item_path(self.source.name(), &self.planned.item.name),
            host: self.pass.repository.host().to_owned(),
            kind: self.source.kind().to_owned(),
            time: manifest.started,
        };
        Ok((item, meta, content))
    }
}
