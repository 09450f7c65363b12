//! Publishes the progress of a run for other processes, in a file beside the one that marks the run as alive.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use jiff::Zoned;
use parking_lot::{Condvar, Mutex, MutexGuard};

use super::Observer;
use crate::{
    fs::write_atomically,
    history::{
        History,
        pages::{ItemProgress, Progress},
    },
    outcome::ItemReport,
};

/// Time between two writings.
const EVERY: Duration = Duration::from_secs(1);
/// The rate is averaged over about this many seconds.
const SMOOTHING: f64 = 5.0;

struct Reading {
    bytes: Arc<AtomicU64>,
    estimate: Option<u64>,
    started: Zoned,
}

#[derive(Default)]
struct State {
    items: Option<u64>,
    done: u64,
    failed: u64,
    /// Bytes of completed items.
    bytes: u64,
    reading: HashMap<String, Reading>,
    /// Items that are stored, although their outcome has not been reported yet.
    stored: HashSet<String>,
    last: Option<(Instant, u64)>,
    rate: f64,
    over: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// An observer that also writes down what it observes.
pub(super) struct Live<'a> {
    observer: &'a dyn Observer,
    shared: Arc<Shared>,
    /// By `source/item`: bytes of the last good backup.
    last: HashMap<String, u64>,
    file: Option<PathBuf>,
    writer: Option<JoinHandle<()>>,
}

impl<'a> Live<'a> {
    /// Begins to publish the progress of the run `run`. If that fails, the run is not affected.
    pub(super) fn begin(history: &History, run: &str, observer: &'a dyn Observer) -> Self {
        let shared = Arc::new(Shared::default());
        let last = history.last_bytes().unwrap_or_default();
        let file = history.progress_file(run);
        let writer = file.clone().and_then(|file| {
            let shared = shared.clone();
            thread::Builder::new().name("live".to_owned()).spawn(move || shared.write(&file)).ok()
        });
        Self { observer, shared, last, file, writer }
    }

    /// The expected number of bytes of an item: that of its last good backup. The size of a database on its server is no measure, because
    /// a dump has no indexes and no free space, and may be a tenth of it. A source without sizes is read incrementally.
    fn estimate(&self, name: &str, size: Option<u64>) -> Option<u64> {
        size.and_then(|_| self.last.get(name).copied()).filter(|bytes| *bytes > 0)
    }
}

impl Drop for Live<'_> {
    fn drop(&mut self) {
        self.shared.state().over = true;
        self.shared.changed.notify_all();
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
        if let Some(file) = &self.file {
            // The file has no meaning once the run has ended.
            let _ = std::fs::remove_file(file);
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    fn write(&self, file: &std::path::Path) {
        let mut state = self.state();
        while !state.over {
            let progress = state.progress();
            drop(state);
            if let Ok(text) = serde_json::to_string(&progress) {
                // A full disk is reported elsewhere.
                let _ = write_atomically(file, &text);
            }
            state = self.state();
            if !state.over {
                self.changed.wait_for(&mut state, EVERY);
            }
        }
    }
}

impl State {
    fn end_reading(&mut self, name: &str) {
        if let Some(reading) = self.reading.remove(name) {
            self.bytes += reading.bytes.load(Ordering::Relaxed);
        }
    }

    fn progress(&mut self) -> Progress {
        let mut running: Vec<_> = self
            .reading
            .iter()
            .map(|(item, reading)| ItemProgress {
                item: item.clone(),
                bytes: reading.bytes.load(Ordering::Relaxed),
                estimate: reading.estimate,
                started: reading.started.clone(),
            })
            .collect();
        running.sort_by(|a, b| a.item.cmp(&b.item));
        let bytes = self.bytes + running.iter().map(|item| item.bytes).sum::<u64>();
        let now = Instant::now();
        if let Some((then, before)) = self.last {
            let seconds = now.duration_since(then).as_secs_f64().max(0.001);
            let lately = bytes.saturating_sub(before) as f64 / seconds;
            let weight = (seconds / SMOOTHING).min(1.0);
            self.rate += (lately - self.rate) * weight;
        }
        self.last = Some((now, bytes));
        Progress {
            at: Zoned::now(),
            items: self.items,
            done: self.done,
            failed: self.failed,
            bytes,
            bytes_per_second: self.rate,
            running,
        }
    }
}

impl Observer for Live<'_> {
    fn notice(&self, message: &str) {
        self.observer.notice(message);
    }

    fn failure(&self, message: &str) {
        self.observer.failure(message);
    }

    fn planned(&self, items: u64) {
        self.shared.state().items = Some(items);
        self.observer.planned(items);
    }

    fn started(&self, name: &str, estimate: Option<u64>, bytes: Arc<AtomicU64>) {
        let estimate = self.estimate(name, estimate);
        let reading = Reading { bytes: bytes.clone(), estimate, started: Zoned::now() };
        self.shared.state().reading.insert(name.to_owned(), reading);
        self.observer.started(name, estimate, bytes);
    }

    fn stored(&self, name: &str) {
        let mut state = self.shared.state();
        state.end_reading(name);
        if state.stored.insert(name.to_owned()) {
            state.done += 1;
        }
        drop(state);
        self.observer.stored(name);
    }

    fn finished(&self, item: &ItemReport) {
        let mut state = self.shared.state();
        state.end_reading(&item.name());
        if !state.stored.remove(&item.name()) {
            state.done += 1;
        }
        state.failed += u64::from(item.is_failure());
        drop(state);
        self.observer.finished(item);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{
        history::{Check, Home, RunBegin},
        outcome::ItemOutcome,
    };

    struct Silent;

    impl Observer for Silent {
        fn notice(&self, _: &str) {}
        fn started(&self, _: &str, _: Option<u64>, _: Arc<AtomicU64>) {}
        fn finished(&self, _: &ItemReport) {}
    }

    fn failed(item: &str) -> ItemReport {
        ItemReport {
            source: "pg".to_owned(),
            item: Some(item.to_owned()),
            kind: "postgres".to_owned(),
            outcome: ItemOutcome::Failed,
            snapshot: None,
            bytes_read: 0,
            bytes_added: 0,
            seconds: 0.0,
            error: None,
            notes: Vec::new(),
            known_items: None,
            suspicious: Vec::new(),
            omitted: Vec::new(),
        }
    }

    #[test]
    fn a_run_tells_how_far_it_is_while_it_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let history =
            History::open_home(Home::example(folder.path(), "h", "/nowhere"), Check::Quick).unwrap();
        let now = Zoned::now();
        let sources = [("pg".to_owned(), "postgres")];
        let begin = RunBegin {
            name: "r",
            kind: "backup",
            started: &now,
            host: "h",
            sources: &sources,
            invocation: None,
        };
        let _run = history.begin_run(&begin).unwrap();
        let mut live = Live::begin(&history, "r", &Silent);
        let bytes = Arc::new(AtomicU64::new(0));
        live.planned(3);
        live.last.insert("pg/a".to_owned(), 2000);
        live.started("pg/a", Some(90_000), bytes.clone());
        live.started("pg/b", None, Arc::default());
        bytes.store(1000, Ordering::Relaxed);
        live.finished(&failed("b"));
        let expected = |progress: &Progress| {
            (progress.items, progress.done, progress.failed, progress.bytes) == (Some(3), 1, 1, 1000)
        };
        let begin = Instant::now();
        let progress = loop {
            let found = history.runs(1, None).unwrap().remove(0).progress.filter(expected);
            assert!(begin.elapsed() < Duration::from_secs(20), "nothing of it was written down");
            match found {
                Some(progress) => break progress,
                None => thread::sleep(Duration::from_millis(20)),
            }
        };
        assert_eq!(progress.running.len(), 1);
        assert_eq!((progress.running[0].item.as_str(), progress.running[0].estimate), ("pg/a", Some(2000)));
        // A stored item counts as completed, and is not counted again when its outcome is reported.
        live.stored("pg/a");
        live.finished(&failed("a"));
        let state = live.shared.state();
        assert_eq!((state.done, state.failed, state.reading.len()), (2, 2, 0));
        drop(state);
        assert_eq!(
            live.estimate("pg/new", Some(90_000)),
            None,
            "the size of a database says little of its dump"
        );
        drop(live);
        assert!(history.runs(1, None).unwrap()[0].progress.is_none());
    }
}
