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

use super::{Observer, Plan, Planned, held::Stored, queue::Queue, recorder::Recorder, seconds};
use crate::{
    config::Config,
    error::{Error, Passing, Result},
    history::Content,
    outcome::ItemReport,
    repository::{
        PreviousSnapshots, Repository, item_path,
        writer::{Committed, ItemWriter, RunWriter, SnapshotMeta},
    },
    source::{MANIFEST, Source},
    stream::{cancel::Cancel, sink::Sink},
};

/// One pass over items of a plan.
pub(super) struct Pass<'a> {
    pub(super) config: &'a Config,
    pub(super) repository: &'a Repository,
    pub(super) writer: &'a RunWriter,
    pub(super) recorder: &'a Recorder<'a>,
    pub(super) observer: &'a dyn Observer,
    /// Ends the pass: a writer that fails does that too.
    pub(super) cancel: &'a Cancel,
    /// Ends the run.
    pub(super) run_cancel: &'a Cancel,
    /// Nothing is tried again after it.
    pub(super) is_last: bool,
}

/// What came of a pass.
#[derive(Default)]
pub(super) struct Worked {
    /// Items that have their outcome.
    pub(super) reports: Vec<ItemReport>,
    /// Items that are stored, where the end of the writer is yet to confirm it. Nobody has been told of their outcome.
    pub(super) stored: Vec<Stored>,
    /// Items of the plan that failed for a reason that may pass, with what is to be reported if they are not tried again.
    /// Nobody has been told of it yet.
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
                    // Whatever happens to one item, the others must not wait for its place.
                    let _ = catch_unwind(AssertUnwindSafe(|| job.run(&reports)));
                    queue.done(index);
                }
                // Nothing more will join the last group of commits.
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
    /// Takes what came of an item, and tells it if it is the outcome.
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
    /// Its number in the pass.
    index: usize,
    report: ItemReport,
    /// What its backup holds.
    content: Option<Content>,
    /// Why another try may succeed.
    passing: Option<Passing>,
}

/// An item that was streamed whole and waits for its commit.
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
    /// Streams the item and sees to its commit. What failed for a reason that passes is put back into the queue and has
    /// no outcome yet.
    fn run(&self, reports: &mpsc::Sender<Done>) {
        let begin = Instant::now();
        let item = self.planned.item.name.as_str();
        let _span = tracing::info_span!("item", source = self.source.name(), item).entered();
        let streamed = catch_unwind(AssertUnwindSafe(|| self.stream()))
            .unwrap_or_else(|_| Err(Error::failed("the item's thread panicked")))
            // A stream that was ended because the storage failed should say so, not that it was ended.
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

    /// What tells the outcome of the item, once it has one.
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
            // The receiver is gone only if the run itself has panicked.
            let _ = reports.send(Done { index, report, content, passing });
        }
    }

    /// Whether the item is tried again later.
    fn put_back(&self, error: &Error) -> bool {
        if self.pass.is_last || self.pass.cancel.is_cancelled() || self.pass.writer.failure().is_some() {
            return false;
        }
        // The storage has been waited for already.
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

    /// Whether the source no longer has the item: then that it could not be read is no failure.
    fn is_gone(&self) -> bool {
        !self.pass.cancel.is_cancelled()
            && self.pass.writer.failure().is_none()
            && self.source.is_gone(&self.planned.item, self.pass.cancel)
    }

    fn stream(&self) -> Result<Streamed<'_>> {
        match self.attempt() {
            // What the first attempt stored belongs to no snapshot.
            Err(error) if !self.pass.cancel.is_cancelled() && self.source.try_again(&self.planned.item) => {
                tracing::info!(why = error.first_line(), "the item is read again in another way");
                self.attempt()
            }
            streamed => streamed,
        }
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
        let dumped = self.source.dump(&self.planned.item, &item, self.pass.cancel);
        if dumped.is_err() && self.source.in_steps() && !item.is_kept() {
            self.pass.observer.notice(&format!(
                "{}: what was stored of it could not be written down in state_dir/unfinished, so that the next run reads it \
                 again",
                crate::output::name(&name)
            ));
        }
        let mut manifest = dumped?;
        if let Some(problem) = item.previous_problem() {
            manifest.notes.push(format!(
                "the previous snapshot could not be read, so everything was read anew: {problem}"
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
