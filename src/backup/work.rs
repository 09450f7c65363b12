//! The threads that stream items.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Instant,
};

use super::{ItemReport, Observer, Plan, Planned, queue::Queue, recorder::Recorder, seconds};
use crate::{
    config::Config,
    error::{Error, Result},
    history::Content,
    repository::{
        PreviousSnapshots, Repository, item_path,
        writer::{Committed, ItemWriter, RunWriter, SnapshotMeta},
    },
    source::{MANIFEST, Source},
    stream::{cancel::Cancel, sink::Sink},
};

/// Streams all items of the plan and waits for their commits. Every item gets a report.
pub(super) fn run(
    config: &Config,
    repository: &Repository,
    writer: &RunWriter,
    plan: &Plan,
    recorder: &Recorder<'_>,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Vec<ItemReport> {
    let limit = |source: &dyn Source| {
        config.source(source.name()).and_then(|config| config.jobs).map_or(usize::MAX, |jobs| jobs.max(1))
    };
    let queue = Queue::new(
        plan.items.iter().map(|planned| planned.source).collect(),
        plan.sources.iter().map(|(source, _)| limit(&**source)).collect(),
    );
    let (reports_tx, reports) = mpsc::channel::<Done>();
    let threads = config.jobs.min(plan.items.len()).max(1);
    let active = AtomicUsize::new(threads);
    let mut collected: Vec<Option<ItemReport>> = (0..plan.items.len()).map(|_| None).collect();
    let previous = PreviousSnapshots::new(repository);
    thread::scope(|scope| {
        for _ in 0..threads {
            let (queue, active, previous, reports) = (&queue, &active, &previous, reports_tx.clone());
            scope.spawn(move || {
                while let Some(index) = queue.take(cancel) {
                    let planned = &plan.items[index];
                    let source = &*plan.sources[planned.source].0;
                    let job = Job {
                        repository,
                        writer,
                        previous,
                        source,
                        planned,
                        index,
                        queue,
                        recorder,
                        observer,
                        state_dir: &config.state_dir,
                        cancel,
                    };
                    // Whatever happens to one item, the others must not wait for its place.
                    let _ = catch_unwind(AssertUnwindSafe(|| job.run(&reports)));
                    queue.done(index);
                }
                // Nothing more will join the last group of commits.
                if active.fetch_sub(1, Ordering::SeqCst) == 1 {
                    writer.flush();
                }
            });
        }
        drop(reports_tx);
        for (index, mut report, content) in reports {
            recorder.accept_omitted(&mut report, content.as_ref());
            report.suspicious = recorder.item_finished(&report, content.as_ref());
            observer.finished(&report);
            collected[index] = Some(report);
        }
    });
    collected
        .into_iter()
        .zip(&plan.items)
        .map(|(report, planned)| {
            report.unwrap_or_else(|| {
                let report = lost(plan, planned);
                recorder.item_finished(&report, None);
                report
            })
        })
        .collect()
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

/// An item that has its outcome: its number, what came of it, and what its backup holds.
type Done = (usize, ItemReport, Option<Content>);

/// An item that was streamed whole and waits for its commit.
type Streamed<'w> = (ItemWriter<'w>, SnapshotMeta, Content);

/// One item being backed up.
struct Job<'a> {
    repository: &'a Repository,
    writer: &'a RunWriter,
    previous: &'a PreviousSnapshots<'a>,
    source: &'a dyn Source,
    planned: &'a Planned,
    index: usize,
    queue: &'a Queue,
    recorder: &'a Recorder<'a>,
    observer: &'a dyn Observer,
    /// Where attempts that end without a snapshot leave something to the next one.
    state_dir: &'a Path,
    cancel: &'a Cancel,
}

impl Job<'_> {
    /// Streams the item and sees to its commit. What failed for a reason that passes is put back into the queue and has
    /// no outcome yet.
    fn run(&self, reports: &mpsc::Sender<Done>) {
        let begin = Instant::now();
        let streamed = catch_unwind(AssertUnwindSafe(|| self.stream()))
            .unwrap_or_else(|_| Err(Error::failed("the item's thread panicked")))
            // A stream that was ended because the storage failed should say so, not that it was ended.
            .map_err(|error| self.writer.failure().unwrap_or(error));
        match streamed {
            Ok((item, meta, content)) => {
                self.queue.answered(self.index);
                let report = self.reporter(begin, reports);
                self.writer.commit(item, meta, move |done| report(done, Some(content)))
            }
            Err(_) if self.is_gone() => {
                let name = &self.planned.item.name;
                let gone = ItemReport::vanished(self.source.name(), name, self.source.kind());
                let _ = reports.send((self.index, gone, None));
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
        move |outcome, content| {
            let report = match outcome {
                Ok(committed) => {
                    ItemReport::stored(&source, &name, kind, &committed, content.as_ref(), begin)
                }
                Err(error) => ItemReport {
                    seconds: seconds(begin.elapsed()),
                    ..ItemReport::failed(&source, Some(&name), kind, error)
                },
            };
            // The receiver is gone only if the run itself has panicked.
            let _ = reports.send((index, report, content));
        }
    }

    /// Whether the item is tried again later.
    fn put_back(&self, error: &Error) -> bool {
        let passing =
            error.passing().filter(|_| !self.cancel.is_cancelled() && self.writer.failure().is_none());
        let Some(pause) = passing.and_then(|passing| self.queue.put_back(self.index, passing)) else {
            return false;
        };
        self.observer.notice(&format!(
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
        !self.cancel.is_cancelled()
            && self.writer.failure().is_none()
            && self.source.is_gone(&self.planned.item, self.cancel)
    }

    fn stream(&self) -> Result<Streamed<'_>> {
        match self.attempt() {
            // What the first attempt stored belongs to no snapshot.
            Err(_) if !self.cancel.is_cancelled() && self.source.try_again(&self.planned.item) => {
                self.attempt()
            }
            streamed => streamed,
        }
    }

    fn attempt(&self) -> Result<Streamed<'_>> {
        self.cancel.check()?;
        let (source, item) = (self.source.name(), self.planned.item.name.as_str());
        let previous = self.previous.of(source, item);
        let item = if self.source.in_steps() {
            self.writer.item_in_steps(previous, self.state_dir, source, item)?
        } else {
            self.writer.item(Some(previous))?
        };
        let name = format!("{}/{}", self.source.name(), self.planned.item.name);
        self.recorder.item_started(self.source.name(), &self.planned.item.name, self.source.kind());
        self.observer.started(&name, self.planned.item.estimate, item.bytes_read());
        let dumped = self.source.dump(&self.planned.item, &item, self.cancel);
        if dumped.is_err() && self.source.in_steps() && !item.is_kept() {
            self.observer.notice(&format!(
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
            host: self.repository.host().to_owned(),
            kind: self.source.kind().to_owned(),
            time: manifest.started,
        };
        Ok((item, meta, content))
    }
}
