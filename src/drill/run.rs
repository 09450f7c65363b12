//! The drill: the chosen items are proven, several at a time; results are recorded and alerted.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use jiff::Zoned;
use parking_lot::Mutex;

use super::{
    ahead, notify,
    observer::Observer,
    plan::{self, Candidate, Request},
    pool::{self, Job, ScratchPool},
    siblings::Siblings,
    verdict::{Left, Report, rounded},
};
use crate::{
    config::Config,
    error::{Error, Result},
    history::{History, RunBegin, RunEnd, RunRecord, ledger::Ledger},
    outcome::Verdict,
    repository::{Patience, Repository, Snapshot, SnapshotFiles, SnapshotReader, patiently},
    restore::{Reading, globals_of},
    scratch::space::Space,
    source::{
        manifest::{Manifest, Omitted},
        verify::{Ahead, Fault, Globals, Proven, Setup, Verification, files::Part},
    },
    stream::{cancel::Cancel, files::Files},
    workers,
};

/// The estimate for items that were never drilled: bytes per second, and a minimum time.
const GUESS: (f64, Duration) = (20e6, Duration::from_secs(10));

/// Proves the items that `request` names, or those with the oldest proofs. Records the results in the history, and sends alerts.
///
/// # Errors
/// Why it could not begin: wrong names, or an error of the repository.
pub fn run(config: &Config, request: &Request, observer: &dyn Observer, cancel: &Cancel) -> Result<Report> {
    let notice = |message: &str| observer.notice(message);
    patiently(config.repository.retry_for, cancel, &notice, |patience| {
        run_patiently(config, request, observer, patience, cancel)
    })
}

fn run_patiently(
    config: &Config,
    request: &Request,
    observer: &dyn Observer,
    patience: &Patience,
    cancel: &Cancel,
) -> Result<Report> {
    let mut report = Report::begin();
    tracing::info!(run = report.run, "the drill begins");
    let ahead = ahead::begin(config, request, &space(config), cancel);
    let notice = |message: &str| observer.notice(message);
    let Reading { repository, snapshots, others, .. } = &Reading::begin(config, &notice, patience, cancel)?;
    let history = notify::open_history(config, request, repository, &mut report, observer)?;
    history.mark_interrupted(&report.started)?;
    let past = history.past_drills()?;
    let (chosen, left) = plan::choose(config, request, snapshots, others, &past)?;
    notify::warn_of_future(&chosen, snapshots, observer);
    report.left = left;
    if chosen.is_empty() {
        return Err(plan::nothing_to_prove(config, snapshots, others));
    }
    let ledger = notify::ledger(config, &history, repository)?;
    let record = begin(&history, &report, config)?;
    // Without the index no item can be restored, although all data may be intact: that is no verdict on the backups.
    let reader = repository.require_whole_index(cancel).and_then(|()| repository.reader());
    let reader = match reader {
        Ok(reader) => reader,
        Err(error) => {
            end(record, "failed", Some(&error))?;
            return Err(error);
        }
    };
    let drill = Drill {
        config,
        request,
        repository,
        patience,
        snapshots,
        reader: &reader,
        record: &record,
        ledger: &ledger,
        observer,
        cancel,
        processes: config.drill.processes(chosen.len()),
        ahead: &ahead,
        space: space(config),
        pool: ScratchPool::default(),
        globals: Mutex::default(),
        begin: Instant::now(),
        begun: AtomicBool::new(false),
        failed: Mutex::new(None),
    };
    drill.run(&chosen, &mut report);
    end(record, report.outcome, report.error.as_ref())?;
    let (items, left, seconds) = (report.items.len(), report.left.len(), report.seconds);
    tracing::info!(run = report.run, outcome = report.outcome, items, left, seconds, "the drill has ended");
    if !request.foreign {
        notify::send_alerts(config, &history, repository, &mut report, observer);
    }
    Ok(report)
}

/// Records the begin of the drill.
fn begin<'h>(history: &'h History, report: &Report, config: &Config) -> Result<RunRecord<'h>> {
    history.begin_run(&RunBegin {
        name: &report.run,
        kind: "drill",
        started: &report.started,
        host: &config.repository.host,
        sources: &[],
        invocation: std::env::var("INVOCATION_ID").ok().as_deref(),
    })
}

/// Records the end of the drill.
fn end(record: RunRecord<'_>, outcome: &str, error: Option<&Error>) -> Result<()> {
    let error = error.map(ToString::to_string);
    // A drill does not ask sources.
    let end = RunEnd { outcome, error: error.as_deref(), fails_sources: false, forgotten: 0 };
    record.finish(&end, &Zoned::now())
}

/// The disk space that scratch servers share.
fn space(config: &Config) -> Space {
    Space::new(&config.drill.dir.clone().unwrap_or_else(std::env::temp_dir), config.drill.min_free)
}

/// A manifest of roles and its snapshot.
type KnownGlobals<'a> = (std::sync::Arc<Manifest>, &'a Snapshot);

struct Drill<'a> {
    config: &'a Config,
    request: &'a Request,
    repository: &'a Repository,
    patience: &'a Patience,
    snapshots: &'a [Snapshot],
    reader: &'a SnapshotReader,
    record: &'a RunRecord<'a>,
    ledger: &'a Ledger,
    observer: &'a dyn Observer,
    cancel: &'a Cancel,
    /// How many processes may restore or read one item at the same time.
    processes: usize,
    ahead: &'a Ahead,
    space: Space,
    pool: ScratchPool,
    /// Manifests of roles by the id of their snapshot.
    globals: Mutex<HashMap<String, KnownGlobals<'a>>>,
    begin: Instant,
    /// Whether an item other than roles has begun.
    begun: AtomicBool,
    /// The first error of the history.
    failed: Mutex<Option<Error>>,
}

impl<'a> Drill<'a> {
    /// Proves the chosen items, and adds an error to the report if the history failed or the drill could not go on.
    fn run(self, chosen: &'a [Candidate<'a>], report: &mut Report) {
        self.all(chosen, report);
        let failed = self.failed.into_inner();
        report.error = report.error.take().or(failed).or_else(|| self.cancel.check().err());
        report.finish();
    }

    fn all(&self, chosen: &'a [Candidate<'a>], report: &mut Report) {
        let mut groups: HashMap<_, usize> = HashMap::new();
        chosen.iter().for_each(|candidate| *groups.entry(candidate.group()).or_default() += 1);
        let groups = Mutex::new(groups);
        let candidates: Vec<&'a Candidate<'a>> = chosen.iter().collect();
        let results = workers::map(&candidates, self.config.drill.jobs, |candidate| {
            let candidate = *candidate;
            let result = match self.skip(candidate) {
                Some(reason) => Err(Left {
                    source: candidate.snapshot.source.clone(),
                    item: candidate.snapshot.item.clone(),
                    reason,
                }),
                None => {
                    let verdict = self.one(candidate);
                    self.observer.finished(&verdict);
                    Ok(verdict)
                }
            };
            let mut groups = groups.lock();
            let done = groups.get_mut(&candidate.group()).is_some_and(|left| {
                *left -= 1;
                *left == 0
            });
            drop(groups);
            if done {
                self.pool.clear(&candidate.group());
            }
            result
        });
        for result in results {
            match result {
                Ok(verdict) => report.items.push(verdict),
                Err(left) => report.left.push(left),
            }
        }
    }

    /// Why an item is not started.
    fn skip(&self, candidate: &Candidate<'_>) -> Option<String> {
        if self.cancel.is_cancelled() {
            return Some("the drill was stopped before".to_owned());
        }
        if self.request.is_explicit() {
            return None;
        }
        let (rate, least) = GUESS;
        let guess = Duration::from_secs_f64(candidate.snapshot.bytes as f64 / rate).max(least);
        let expected = candidate.past.took.map_or(guess, Duration::from_millis);
        let limit = self.config.drill.max_duration;
        // The first item is always tried: otherwise an item that takes longer than the limit would never be proven.
        let first = !candidate.is_globals && !self.begun.swap(true, Ordering::Relaxed);
        (!first && self.begin.elapsed() + expected > limit).then(|| {
            format!(
                "no time left: it takes about {}, and `drill.max_duration` is {}",
                crate::output::duration(expected.as_secs_f64()),
                crate::output::duration(limit.as_secs_f64())
            )
        })
    }

    fn one(&self, candidate: &'a Candidate<'a>) -> Verdict {
        let begin = Instant::now();
        let snapshot = candidate.snapshot;
        let _span = tracing::info_span!("proof", source = snapshot.source, item = snapshot.item).entered();
        let mut verdict = Verdict::undecided(snapshot, self.ledger);
        self.observer.started(&snapshot.name());
        let entry = self.noted(self.record.drill_started(&verdict, &Zoned::now()));
        let part = self.part(candidate);
        let outages = self.patience.given_up();
        // Reading the manifest and the globals fails outside of the verifiers, which classify their own errors.
        let prove = || self.prove(candidate, part).map_err(|fault| fault.judged(|_| None));
        let proven = catch_unwind(AssertUnwindSafe(prove))
            .unwrap_or_else(|_| Err(Fault::Cannot(Error::failed("the drill's thread panicked"))));
        verdict.decide(match proven {
            Err(Fault::Failed(error)) => Err(self.whose_fault(error, outages)),
            other => other,
        });
        verdict.seconds = rounded(begin.elapsed().as_secs_f64());
        tracing::debug!(
            snapshot = snapshot.short_id(),
            outcome = ?verdict.outcome,
            restore = verdict.restore_seconds,
            objects = verdict.objects,
            rows = verdict.rows,
            bytes = verdict.bytes,
            seconds = verdict.seconds,
            "the proof has ended"
        );
        if let Some(entry) = entry {
            let part = (part.of > 1).then_some(part.number);
            self.noted(self.record.drill_finished(entry, &verdict, part, &Zoned::now()));
        }
        verdict
    }

    /// Classifies the error of a failed restore. `outages` is the number of storage operations that had been given up
    /// before.
    fn whose_fault(&self, error: Error, outages: u64) -> Fault {
        // Neither a drill that was stopped nor a storage that did not answer is a verdict on the backup. A tool that waits
        // for data only notices that they end, so its error does not name the storage. An outage counts even if the storage
        // answers again by now, and if it affected another item that is proven at the same time.
        if self.cancel.is_cancelled() || self.patience.given_up() != outages {
            return Fault::Cannot(error);
        }
        match self.repository.require_storage() {
            Ok(()) => Fault::Failed(error),
            Err(gone) => Fault::Cannot(gone),
        }
    }

    fn noted<T>(&self, done: Result<T>) -> Option<T> {
        done.map_err(|error| {
            self.failed.lock().get_or_insert(error);
        })
        .ok()
    }

    /// Which part of the files is read.
    fn part(&self, candidate: &Candidate<'_>) -> Part {
        let large = candidate.snapshot.bytes > self.config.drill.sample_over;
        let configured = if large { self.config.drill.sample } else { 100 };
        // An intact part does not clear a failure in another part.
        let percent = if candidate.past.unproven { 100 } else { self.request.sample.unwrap_or(configured) };
        if percent >= 100 { Part::WHOLE } else { Part::after(candidate.past.part, percent) }
    }

    fn prove(&self, candidate: &'a Candidate<'a>, part: Part) -> Proven {
        self.cancel.check().map_err(Fault::Cannot)?;
        let files = SnapshotFiles::new(self.reader, candidate.snapshot);
        let manifest = manifest(&files, candidate.snapshot)?;
        let (server, has_globals) = match pool::verification(&manifest)? {
            Verification::Restore(verifier) => (true, verifier.has_globals()),
            Verification::ReadBack(_) => (false, false),
        };
        let bytes = manifest.files.iter().map(|file| file.bytes).sum();
        let room = server.then(|| self.space.reserve(bytes, self.cancel).map_err(Fault::Cannot));
        let _room = room.transpose()?;
        let known = if has_globals { self.globals(candidate)? } else { None };
        let globals_files = known.as_ref().map(|(_, snapshot)| SnapshotFiles::new(self.reader, snapshot));
        let globals = known.as_ref().zip(globals_files.as_ref());
        let siblings = Siblings {
            snapshots: self.snapshots,
            reader: self.reader,
            item: candidate.snapshot,
            server: candidate.server.as_deref(),
        };
        let job = Job {
            candidate,
            manifest: &manifest,
            files: &files,
            globals: globals.map(|((manifest, _), files)| Globals { manifest, files }),
            globals_id: known.as_ref().map_or("", |(_, snapshot)| &snapshot.id),
            part,
            siblings: Some(&siblings),
            damage: None,
        };
        let notice = |text: &str| self.observer.notice(text);
        let setup = Setup {
            drill: &self.config.drill,
            client_dirs: client_dirs(self.config, &candidate.snapshot.source),
            processes: self.processes,
            eager: false,
            ahead: self.ahead,
            cancel: self.cancel,
            notice: &notice,
        };
        let mut proof = pool::prove(&setup, &self.pool, &job)?;
        // The snapshot is proven, but it lacks some objects of the source.
        proof.notes.extend(Omitted::notes(&manifest.omitted));
        Ok(proof)
    }

    /// The roles that belong to an item.
    fn globals(&self, candidate: &Candidate<'a>) -> Result<Option<KnownGlobals<'a>>, Fault> {
        let chosen = if candidate.is_globals {
            Some(candidate.snapshot)
        } else {
            globals_of(self.snapshots, candidate.snapshot)
        };
        let Some(snapshot) = chosen else { return Ok(None) };
        let mut known = self.globals.lock();
        if let Some(known) = known.get(&snapshot.id) {
            return Ok(Some(known.clone()));
        }
        let files = SnapshotFiles::new(self.reader, snapshot);
        let manifest = match manifest(&files, snapshot) {
            Ok(manifest) => std::sync::Arc::new(manifest),
            Err(fault) if candidate.is_globals => return Err(fault),
            Err(_) => return Ok(None),
        };
        known.insert(snapshot.id.clone(), (manifest.clone(), snapshot));
        Ok(Some((manifest, snapshot)))
    }
}

/// The manifest of a snapshot. Fails if it is of another item.
fn manifest(files: &dyn Files, snapshot: &Snapshot) -> Result<Manifest, Fault> {
    Ok(Manifest::of(files, &snapshot.source, &snapshot.item)?)
}

/// The `client_dirs` of a source.
fn client_dirs(config: &Config, source: &str) -> Vec<PathBuf> {
    config.source(source).map(|source| source.kind.client_dirs().to_vec()).unwrap_or_default()
}
