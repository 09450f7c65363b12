//! Retries of storage operations after temporary errors, and their progress messages.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::outage::{Operation, Reporter, TELL_SILENT_AFTER, spoken};
use crate::stream::cancel::Cancel;

/// Pauses between attempts at an operation; the last one is repeated.
const PAUSES_MS: [u64; 11] = [1, 10, 50, 200, 500, 1_000, 2_000, 4_000, 8_000, 15_000, 30_000];
/// How long commands that only read retry.
const SHORT: Duration = Duration::from_secs(4);
/// An operation that takes this long is slow.
const SLOW: Duration = Duration::from_secs(10);
/// The time limit for an operation after an outage that did not end in time.
const BRIEFLY: Duration = Duration::from_secs(10);
/// How long an unfinished operation is waited for after the work was stopped.
const GRACE: Duration = Duration::from_secs(2);
/// How often a thread that waits for an operation checks whether to stop.
const STEP: Duration = Duration::from_millis(100);
/// How often it is checked whether there is something to report.
const TICK: Duration = Duration::from_millis(500);

/// How long storage operations are retried while the storage does not answer, and the flag that ends the waiting. Clones share
/// the state.
#[derive(Clone)]
pub struct Patience {
    shared: Arc<Shared>,
}

struct Shared {
    limit: Duration,
    state: Mutex<State>,
    ended: Condvar,
}

struct State {
    cancel: Cancel,
    /// Since when no operation has had an answer, if one has failed without an answer.
    silent_since: Option<Instant>,
    operations: BTreeMap<u64, Operation>,
    next: u64,
    /// The number of operations abandoned without an answer.
    given_up: u64,
    /// When an operation last began or ended.
    moved: Instant,
    /// Whether the last operation that had failed or was slow has finally succeeded.
    recovered: bool,
    /// Whether an operation without an answer was abandoned because the work was stopped.
    left: bool,
    over: bool,
}

impl fmt::Debug for Patience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Patience").field(&self.shared.limit).finish()
    }
}

impl Patience {
    /// For commands that only read: a few seconds.
    pub(crate) fn short() -> Self {
        Self::new(SHORT, &Cancel::of_the_program())
    }

    /// Waits for this time, or until the flag is set.
    pub(super) fn new(limit: Duration, cancel: &Cancel) -> Self {
        let state = State {
            cancel: cancel.clone(),
            silent_since: None,
            operations: BTreeMap::new(),
            next: 0,
            given_up: 0,
            moved: Instant::now(),
            recovered: false,
            left: false,
            over: false,
        };
        Self { shared: Arc::new(Shared { limit, state: Mutex::new(state), ended: Condvar::new() }) }
    }

    /// From now on, this flag ends the waiting.
    pub(crate) fn obey(&self, cancel: &Cancel) {
        self.shared.state().cancel = cancel.clone();
    }

    /// After this time, an operation whose failure may be caused by a single damaged file is examined.
    pub(super) fn doubt(&self) -> Duration {
        SHORT.min(self.shared.limit / 2)
    }

    /// The number of operations abandoned because the storage did not answer.
    pub(crate) fn given_up(&self) -> u64 {
        self.shared.state().given_up
    }

    /// The time since an operation last began or ended.
    pub(crate) fn silence(&self) -> Duration {
        self.shared.state().moved.elapsed()
    }

    /// Marks a storage call that is not retried.
    pub(super) fn watched<T>(&self, call: impl FnOnce() -> T) -> T {
        let _entry = Entry::new(&self.shared);
        call()
    }

    /// Runs `operation` in a thread of its own, and abandons it if there is no answer within `usual` or the work is stopped: a
    /// hanging call cannot be ended otherwise.
    pub(super) fn answered<T: Send + 'static>(
        &self,
        usual: Duration,
        operation: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NoAnswer> {
        let begun = Instant::now();
        let limit = {
            let state = self.shared.state();
            // After an outage that has used up the time, an operation waits only long enough to see whether it continues.
            let is_away = state.silent_since.is_some_and(|since| since.elapsed() >= self.shared.limit);
            if is_away { usual.min(BRIEFLY) } else { usual }
        };
        let (sender, receiver) = mpsc::channel();
        let running = thread::Builder::new()
            .name("operation".to_owned())
            // The receiver may have stopped waiting.
            .spawn(move || drop(sender.send(operation())))
            .map_err(|error| NoAnswer { waited: Duration::ZERO, why: Some(error.to_string()) })?;
        let mut ended: Option<Instant> = None;
        loop {
            match receiver.recv_timeout(STEP) {
                Ok(done) => return Ok(done),
                Err(RecvTimeoutError::Disconnected) => {
                    return match running.join() {
                        Err(panic) => std::panic::resume_unwind(panic),
                        Ok(()) => Err(NoAnswer { waited: begun.elapsed(), why: None }),
                    };
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            let mut state = self.shared.state();
            if state.cancel.is_cancelled() {
                let since = *ended.get_or_insert_with(Instant::now);
                // Operations without errors may finish.
                if state.left || since.elapsed() >= GRACE {
                    state.left = true;
                    return Err(NoAnswer { waited: begun.elapsed(), why: None });
                }
            }
            if begun.elapsed() >= limit {
                // The outage began with this request.
                let since = state.silent_since.get_or_insert(begun);
                *since = begun.min(*since);
                return Err(NoAnswer { waited: begun.elapsed(), why: None });
            }
        }
    }

    /// Runs `operation`, and retries it while it fails with a temporary error and there is time. The time begins with its first
    /// failure, or with that of an earlier operation if none has had an answer since, so that many operations together wait only
    /// once.
    ///
    /// # Errors
    /// The last error of `operation`.
    pub(super) fn run<T, E: fmt::Display>(
        &self,
        passes: impl Fn(&E) -> bool,
        mut operation: impl FnMut() -> Result<T, E>,
    ) -> Result<T, E> {
        let entry = Entry::new(&self.shared);
        let mut pauses = PAUSES_MS.iter().copied().map(Duration::from_millis);
        let (begun, mut since) = (Instant::now(), None);
        let mut tries = 0_u64;
        loop {
            tries += 1;
            let error = match operation() {
                Err(error) if passes(&error) => error,
                // A refusal is an answer as well.
                other => {
                    let mut state = self.shared.state();
                    state.silent_since = None;
                    if since.is_some() || begun.elapsed() >= TELL_SILENT_AFTER {
                        state.recovered = other.is_ok();
                    }
                    drop(state);
                    slow(begun.elapsed(), tries);
                    return other;
                }
            };
            let now = Instant::now();
            let mut state = self.shared.state();
            let since = *since.get_or_insert(now).min(state.silent_since.get_or_insert(now));
            let cancel = state.cancel.clone();
            drop(state);
            entry.failed(since, &error);
            let text = error.to_string();
            tracing::info!(tries, why = text.lines().next(), "a storage operation has failed");
            let longest = Duration::from_millis(PAUSES_MS[PAUSES_MS.len() - 1]);
            let left = self.shared.limit.saturating_sub(since.elapsed());
            if left.is_zero() || cancel.wait(pauses.next().unwrap_or(longest).min(left)) {
                let mut state = self.shared.state();
                state.given_up += 1;
                state.recovered = false;
                return Err(error);
            }
        }
    }
}

/// Logs a slow operation.
fn slow(took: Duration, tries: u64) {
    if took >= SLOW {
        tracing::info!(seconds = took.as_secs_f64(), tries, "a storage operation was slow");
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Reports outages until the work is done.
    fn tell(&self, notice: &dyn Fn(&str)) {
        let mut teller = Reporter { limit: self.limit, told: None };
        let mut state = self.state();
        while !state.over {
            let text = teller.look(&state.operations, state.recovered);
            if let Some(text) = text {
                drop(state);
                notice(&text);
                state = self.state();
            }
            if !state.over {
                self.ended.wait_for(&mut state, TICK);
            }
        }
        // The outage may have ended just before the work.
        if let Some(text) = teller.look(&state.operations, state.recovered) {
            drop(state);
            notice(&text);
        }
    }
}

/// Start times of the running operations of the whole program.
static WAITING: Mutex<BTreeMap<u64, Instant>> = Mutex::new(BTreeMap::new());
static TICKETS: AtomicU64 = AtomicU64::new(0);

fn waiting() -> MutexGuard<'static, BTreeMap<u64, Instant>> {
    WAITING.lock()
}

/// How long the oldest running storage operation of the whole program has taken.
pub(crate) fn waited() -> Option<Duration> {
    waiting().values().map(Instant::elapsed).max()
}

/// A storage has not answered a request.
#[derive(Debug)]
pub(super) struct NoAnswer {
    waited: Duration,
    why: Option<String>,
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.why {
            Some(why) => f.write_str(why),
            None => write!(f, "no answer within {}", spoken(self.waited)),
        }
    }
}

impl std::error::Error for NoAnswer {}

/// A running operation.
struct Entry<'a> {
    shared: &'a Shared,
    number: u64,
    /// Its number, unique in the program.
    ticket: u64,
}

impl<'a> Entry<'a> {
    fn new(shared: &'a Shared) -> Self {
        let mut state = shared.state();
        let number = state.next;
        state.next += 1;
        state.moved = Instant::now();
        state.operations.insert(number, Operation { begun: Instant::now(), failed: None });
        drop(state);
        let ticket = TICKETS.fetch_add(1, Ordering::Relaxed);
        waiting().insert(ticket, Instant::now());
        Self { shared, number, ticket }
    }

    fn failed(&self, since: Instant, error: &dyn fmt::Display) {
        if let Some(operation) = self.shared.state().operations.get_mut(&self.number) {
            // Further lines are a hint.
            let text = error.to_string().lines().next().unwrap_or_default().to_owned();
            operation.failed = Some((since, text));
        }
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        waiting().remove(&self.ticket);
        let mut state = self.shared.state();
        state.moved = Instant::now();
        state.operations.remove(&self.number);
    }
}

/// Runs `work` with a patience of this limit; `notice` gets messages while the storage does not answer.
pub fn patiently<T>(
    limit: Duration,
    cancel: &Cancel,
    notice: &(dyn Fn(&str) + Sync),
    work: impl FnOnce(&Patience) -> T,
) -> T {
    /// Ends the reporting thread, also if the work panics.
    struct Over<'a>(&'a Shared);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.state().over = true;
            self.0.ended.notify_all();
        }
    }
    let patience = Patience::new(limit, cancel);
    thread::scope(|scope| {
        let _over = Over(&patience.shared);
        let shared = &patience.shared;
        // Without the thread nothing is reported; everything else works.
        let _ = thread::Builder::new().name("storage".to_owned()).spawn_scoped(scope, || shared.tell(notice));
        work(&patience)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "retry_tests.rs"]
mod tests;
