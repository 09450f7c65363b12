//! The run: every source is asked what exists, the items are streamed in parallel, each is committed when it is whole,
//! and retention runs for those that succeeded. One item's failure is never another's.

mod live;
mod passes;
mod plan;
mod queue;
mod recorder;
mod report;
mod telling;
mod work;

use std::{
    collections::HashMap,
    panic::resume_unwind,
    sync::{Arc, atomic::AtomicU64},
    thread,
    time::Duration,
};

pub use plan::{Plan, Planned, Selector, discover};
pub use report::{ItemOutcome, ItemReport, RunOutcome, RunReport};
pub(crate) use report::{new_run_name, partial_error, unchecked_error};

use live::Live;
use passes::Passes;
use recorder::Recorder;
use telling::Telling;

use crate::{
    config::Config,
    error::{Error, Kind, Result},
    history::ledger::RepositoryEntry,
    repository::{LockOptions, Patience, Repository, Snapshot, patiently},
    stream::cancel::Cancel,
};

/// Follows a run.
pub trait Observer: Sync {
    /// Something worth knowing that belongs to no item.
    fn notice(&self, message: &str);
    /// The sources have answered: so many items will be tried, those that failed already included.
    fn planned(&self, _items: u64) {}
    /// An item is being streamed; `bytes` counts what was read.
    fn started(&self, name: &str, estimate: Option<u64>, bytes: Arc<AtomicU64>);
    /// An item has its outcome.
    fn finished(&self, item: &ItemReport);
}

/// Backs up what `selectors` name, or everything; writes down what happens while it does, and tells whoever must know.
///
/// # Errors
/// Wrong selectors, which are told to nobody else; or what kept the run from beginning, which is.
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
    check_selectors(config, selectors)?;
    let mut report = RunReport::begin();
    let (history, problem) = recorder::open_history(config, observer)?;
    let recorder = Recorder::begin(config, selectors, &report, &history, problem, observer);
    let live = Live::begin(&history, &report.run, observer);
    let mut telling = Telling::new(config, selectors, &history, cancel);
    let run = report.run.clone();
    let protected = telling.while_running(&run, || {
        protect(config, selectors, &recorder, &mut report, &live, (patience, cancel))
    });
    drop(live);
    if let Err(error) = &protected {
        report.error = Some(error.clone());
    }
    report.error = report.error.take().or_else(|| recorder.problem());
    report.finish();
    if let Some(problem) = recorder.finish(&report) {
        report.error.get_or_insert(problem);
        report.finish();
    }
    let repository = protected.as_ref().ok().and_then(Clone::clone);
    report.alerts = telling.after(&report, repository, observer);
    protected.map(|_| report)
}

/// The run itself. Returns what is known of the repository at its end.
fn protect(
    config: &Config,
    selectors: &[Selector],
    recorder: &Recorder<'_>,
    report: &mut RunReport,
    observer: &dyn Observer,
    (patience, cancel): (&Patience, &Cancel),
) -> Result<Option<RepositoryEntry>> {
    let repository = Repository::open_patiently(&config.repository, patience)?;
    repository.require_free_space()?;
    let notice = |message: &str| observer.notice(message);
    let lock = repository.lock(&LockOptions {
        exclusive: false,
        wait: config.repository.lock_wait,
        cancel,
        notice: &notice,
    })?;
    recorder.rebuild(&repository, cancel);
    let mut plan = discover(config, selectors, cancel)?;
    let mut passes = Passes {
        config,
        repository: &repository,
        patience,
        lock: Arc::new(lock),
        recorder,
        observer,
        cancel,
        current: None,
        error: None,
    };
    let mut is_first = true;
    // What has answered is backed up while what has not is still waited for, and then what has answered meanwhile.
    loop {
        begin_part(&plan, is_first, recorder, report, observer);
        is_first = false;
        passes.begin(&plan)?;
        let (items, rest) = thread::scope(|scope| {
            let rest = if plan.waits() { Some(scope.spawn(|| plan.rest(cancel))) } else { None };
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
    if let Some(error) = passes.finish() {
        report.repository_failed = error.kind() == Kind::Repository;
        report.error = Some(error);
    }
    if report.error.is_none() {
        report.error = retain(config, &repository, recorder, report, observer).err();
    }
    Ok(recorder.look(&repository))
}

/// Writes down what has answered, and what of it failed already.
fn begin_part(
    plan: &Plan,
    is_first: bool,
    recorder: &Recorder<'_>,
    report: &mut RunReport,
    observer: &dyn Observer,
) {
    report.discovered = plan.sources.iter().map(|(_, found)| found.items.len() as u64).sum();
    recorder.discovered(plan);
    observer.planned(plan.total());
    for item in &plan.failed {
        recorder.item_finished(item, None);
        observer.finished(item);
    }
    report.items.extend(plan.failed.iter().cloned());
    // Said once, and not again whenever one of them answers.
    if is_first && plan.waits() {
        for (source, found) in plan.fresh().filter(|(_, found)| !found.waiting.is_empty()) {
            observer.notice(&format!(
                "{}: no answer yet from {}; what has answered is backed up meanwhile",
                source.name(),
                crate::output::name(&found.waiting.join(", "))
            ));
        }
    }
}

/// Applies the retention to every item that succeeded. That it could not be applied fails the run, not the item: the
/// backup itself is there.
fn retain(
    config: &Config,
    repository: &Repository,
    recorder: &Recorder<'_>,
    report: &mut RunReport,
    observer: &dyn Observer,
) -> Result<()> {
    if !report.items.iter().any(ItemReport::is_understood) {
        return Ok(());
    }
    if !recorder.knows_holds() {
        observer.notice(
            "the retention was not applied: without the history it is not known which snapshots are held",
        );
        return Ok(());
    }
    let mut by_item: HashMap<(String, String), Vec<Snapshot>> = HashMap::new();
    for snapshot in repository.snapshots()? {
        by_item.entry((snapshot.source.clone(), snapshot.item.clone())).or_default().push(snapshot);
    }
    for item in report.items.iter().filter(|item| item.is_understood()) {
        let Some(name) = &item.item else { continue };
        let Some(source) = config.source(&item.source) else { continue };
        let Some(snapshots) = by_item.get(&(item.source.clone(), name.clone())) else { continue };
        let ahead = jiff::Timestamp::now() + Duration::from_secs(3600);
        if let Some(future) = snapshots.iter().find(|snapshot| snapshot.time.timestamp() > ahead) {
            observer.notice(&format!(
                "{}: snapshot {} is dated in the future: a clock was wrong; retention is held for this item until then",
                item.name(),
                future.short_id()
            ));
            continue;
        }
        let mut expired = repository.expired(snapshots, &source.retention)?;
        // What was made just now must be among those that stay, whatever the clock says.
        if expired.iter().any(|snapshot| Some(&snapshot.id) == item.snapshot.as_ref()) {
            observer.notice(&format!(
                "{}: the retention would remove the snapshot just made (is the clock right?); nothing was removed",
                item.name()
            ));
            continue;
        }
        if let Some(from) = recorder.held_from(&item.source, name)? {
            // Those before the change in question may be the last good ones.
            expired.retain(|snapshot| snapshot.time.timestamp().as_millisecond() >= from);
        }
        repository.spare_holders(&mut expired, snapshots, &recorder.lacking_since(&item.source, name)?);
        repository.forget(&expired).map_err(|e| e.context(item.name()))?;
        report.forgotten += expired.len() as u64;
    }
    Ok(())
}

/// Fails with everything wrong about `selectors` that the configuration alone can tell.
pub fn check_selectors(config: &Config, selectors: &[Selector]) -> Result<()> {
    for selector in selectors {
        if config.source(&selector.source).is_none() {
            let known: Vec<_> = config.sources.iter().map(|source| source.name.as_str()).collect();
            return Err(Error::usage(format!("there is no source `{}`", selector.source))
                .hint(format!("the configuration has: {}", known.join(", "))));
        }
    }
    Ok(())
}

/// How long an item has taken, in seconds to the millisecond.
fn seconds(elapsed: Duration) -> f64 {
    (elapsed.as_secs_f64() * 1000.0).round() / 1000.0
}
