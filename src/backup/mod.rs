//! The run: every source is asked what exists, the items are streamed in parallel, each is committed when it is complete,
//! and retention runs for those that succeeded. The failure of one item does not affect the others.

mod early;
mod held;
mod live;
mod named;
mod notify;
mod passes;
mod plan;
mod queue;
mod recorder;
mod report;
mod retain;
mod work;

use std::{
    panic::resume_unwind,
    sync::{Arc, atomic::AtomicU64},
    thread,
    time::Duration,
};

pub use named::require_known;
pub use plan::{Plan, Planned, Selector, discover};
pub use report::{DroppedItem, RunOutcome, RunReport};
pub use retain::{Removal, preview};

use early::Early;
use held::Held;
use live::Live;
use notify::Notifier;
use passes::Passes;
use recorder::Recorder;
use retain::retain;

use crate::{
    config::Config,
    error::{Error, Kind, Result},
    history::{Check, History, ledger::RepositoryEntry},
    outcome::ItemReport,
    repository::{LockOptions, Patience, Repository, patiently},
    settings::nearest,
    stream::cancel::Cancel,
};

/// Follows a run.
pub trait Observer: Sync {
    /// A message that does not belong to an item.
    fn notice(&self, message: &str);
    /// A failure that does not belong to an item, and does not end the run.
    fn failure(&self, message: &str) {
        self.notice(message);
    }
    /// The sources have answered. `items` is the number of items in this run, including those that have failed already.
    fn planned(&self, _items: u64) {}
    /// An item is being streamed; `bytes` counts the bytes read, about `estimate` in the end.
    fn started(&self, name: &str, estimate: Option<u64>, bytes: Arc<AtomicU64>);
    /// An item is stored; its outcome is reported at the end of the run.
    fn stored(&self, _name: &str) {}
    /// An item has its outcome.
    fn finished(&self, item: &ItemReport);
}

/// Backs up the items that `selectors` name, or everything. Records what happens in the history, and sends alerts.
///
/// # Errors
/// Wrong selectors, for which no alert is sent; or the reason why the run could not begin, for which alerts are sent.
pub fn run(
    config: &Config,
    selectors: &[Selector],
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<RunReport> {
    let notice = |message: &str| observer.notice(message);
    patiently(config.repository.retry_for, cancel, &notice, |patience| {
        run_patiently(config, selectors, observer, patience, cancel)
    })
}

fn run_patiently(
    config: &Config,
    selectors: &[Selector],
    observer: &dyn Observer,
    patience: &Patience,
    cancel: &Cancel,
) -> Result<RunReport> {
    require_known(config, selectors, cancel)?;
    let mut report = RunReport::begin();
    tracing::info!(run = report.run, "the run begins");
    // Deriving the key takes time in which the sources can answer.
    let early = Early::start(config, selectors, cancel);
    // The repository is opened first, so that the run is recorded in the history that belongs to it. A storage that does not
    // answer must not prevent that: it is opened again below, with all configured retries.
    let opening = Repository::open_in_background(&config.repository, patience);
    let history = History::open(config, Check::Full);
    let first = opening.and_then(|opening| opening.wait_within(crate::survey::PATIENCE, cancel)).ok();
    let first = first.map(|repository| (repository, early));
    let (history, problem) = recorder::history_of(history, first.as_ref().map(|(first, _)| first), observer)?;
    let recorder = Recorder::begin(config, selectors, &report, &history, problem, observer);
    let live = Live::begin(&history, &report.run, observer);
    let mut notify = Notifier::new(config, selectors, &history, cancel);
    let run = report.run.clone();
    let protected = notify.while_running(&run, || {
        protect(config, selectors, first, &recorder, &mut report, &live, (patience, cancel))
            .map_err(|error| cancel.explain(error))
    });
    drop(live);
    if let Err(error) = &protected {
        report.error = Some(error.clone());
    }
    if report.error.is_none()
        && let Some(problem) = recorder.problem()
    {
        // No source has failed because of it.
        report.unwritten = problem.kind() != Kind::Repository;
        report.error = Some(problem);
    }
    report.error = report.error.take().map(|error| cancel.explain(error));
    report.finish();
    if let Some(problem) = recorder.finish(&report) {
        report.unwritten = true;
        report.error.get_or_insert(problem);
        report.finish();
    }
    let repository = protected.as_ref().ok().and_then(Clone::clone);
    report.alerts = notify.after(&report, repository, observer);
    tracing::info!(
        run = report.run,
        outcome = report.outcome.as_str(),
        items = report.items.len(),
        removed = report.forgotten,
        seconds = report.seconds,
        "the run has ended"
    );
    protected.map(|_| report)
}

/// The run itself. Returns the state of the repository at its end.
fn protect(
    config: &Config,
    selectors: &[Selector],
    opened: Option<(Repository, Early)>,
    recorder: &Recorder<'_>,
    report: &mut RunReport,
    observer: &dyn Observer,
    (patience, cancel): (&Patience, &Cancel),
) -> Result<Option<RepositoryEntry>> {
    let (repository, early) = match opened {
        Some((repository, early)) => (repository, Some(early)),
        None => (Repository::open_patiently(&config.repository, patience)?, None),
    };
    repository.use_cache(&config.state_dir);
    recorder.require(&repository)?;
    repository.require_free_space()?;
    let waits = |message: &str| {
        // The wait may be long, and a dump holds a transaction and locks on its server.
        early.iter().for_each(Early::end_dump);
        observer.notice(message);
    };
    // What cancels the run, such as a lost lock, must not cut short the steps that follow.
    let ending = cancel.child();
    let lock = repository.lock(&LockOptions {
        exclusive: false,
        wait: config.repository.lock_wait,
        cancel: &ending,
        notice: &waits,
    })?;
    recorder.rebuild(&repository, &ending);
    let passes = Passes {
        config,
        repository: &repository,
        patience,
        lock: Arc::new(lock),
        recorder,
        observer,
        program: cancel,
        cancel: ending,
        early,
        current: None,
        error: None,
        held: Held::default(),
        lost: None,
    };
    if let Some(error) = back_up(selectors, passes, report)? {
        report.repository_failed = error.kind() == Kind::Repository;
        report.error = Some(error);
    }
    if report.error.is_none() {
        report.error = retain(config, &repository, recorder, report, observer).err();
    }
    Ok(recorder.look(&repository))
}

/// Backs up the items of the sources. Items that are known are backed up while slow sources are still being waited for; then
/// those that were discovered meanwhile. Returns the error that ended the run as a whole.
///
/// # Errors
/// The run could not begin.
fn back_up(selectors: &[Selector], mut passes: Passes<'_>, report: &mut RunReport) -> Result<Option<Error>> {
    let (recorder, observer, cancel) = (passes.recorder, passes.observer, passes.cancel.clone());
    let early = passes.early.as_ref().and_then(|early| early.plan(&cancel));
    let mut plan = early.unwrap_or_else(|| discover(passes.config, selectors, &cancel))?;
    let mut is_first = true;
    loop {
        begin_part(&plan, is_first, recorder, report, observer);
        passes.begin(&plan, is_first)?;
        is_first = false;
        let (items, rest) = thread::scope(|scope| {
            let rest = if plan.waits() { Some(scope.spawn(|| plan.rest(&cancel))) } else { None };
            let items = if plan.items.is_empty() { Vec::new() } else { passes.run(&plan) };
            let rest = rest.map(|rest| match rest.join() {
                Ok(rest) => rest,
                Err(panic) => resume_unwind(panic),
            });
            (items, rest)
        });
        report.items.extend(items);
        match rest {
            Some(rest) => plan.continue_with(rest),
            None => break,
        }
    }
    let (items, error, lost) = passes.finish();
    report.items.extend(items);
    report.has_lost = error.is_none() && lost.is_some();
    Ok(error.or(lost))
}

/// Records the sources that have answered, and the items that have failed already.
fn begin_part(
    plan: &Plan,
    is_first: bool,
    recorder: &Recorder<'_>,
    report: &mut RunReport,
    observer: &dyn Observer,
) {
    report.discovered = plan.sources.iter().map(|(_, found)| found.items.len() as u64).sum();
    report.dropped.extend(recorder.discovered(plan));
    observer.planned(plan.total());
    for failed in &plan.failed {
        let item = ItemReport { known_items: recorder.known_items(plan, failed), ..failed.clone() };
        recorder.item_finished(&item, None);
        observer.finished(&item);
        report.items.push(item);
    }
    // Printed once, not again each time one of them answers.
    if is_first && plan.waits() {
        for (source, found) in plan.fresh().filter(|(_, found)| !found.waiting.is_empty()) {
            observer.notice(&format!(
                "{}: no answer yet from {}; the other items are backed up meanwhile",
                source.name(),
                crate::output::name(&found.waiting.join(", "))
            ));
        }
    }
}

/// Checks `selectors` against the configuration alone.
pub fn check_selectors(config: &Config, selectors: &[Selector]) -> Result<()> {
    for selector in selectors {
        if config.source(&selector.source).is_none() {
            let known: Vec<_> = config.sources.iter().map(|source| source.name.as_str()).collect();
            let meant = nearest(&selector.source, known.iter().copied());
            let meant = meant.map(|meant| format!("did you mean {meant}? ")).unwrap_or_default();
            return Err(Error::usage(format!(
                "there is no source `{}` in the configuration",
                selector.source
            ))
            .hint(format!("{meant}the configuration has: {}", known.join(", "))));
        }
    }
    Ok(())
}

/// A duration in seconds, to the millisecond.
fn seconds(elapsed: Duration) -> f64 {
    (elapsed.as_secs_f64() * 1000.0).round() / 1000.0
}
