//! The queue of items. After a temporary failure an item waits and is tried again.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::{error::Passing, stream::cancel::Cancel};

/// The pause before each further attempt at an item, in seconds: together about three minutes.
const PAUSES: [u64; 6] = [1, 4, 10, 25, 60, 90];
/// How often a waiting thread checks whether the run was cancelled.
const LOOK: Duration = Duration::from_millis(200);

/// The remaining items, and the number of items of each source that are being streamed.
pub(super) struct Queue {
    /// The source of each item.
    sources: Vec<usize>,
    state: Mutex<State>,
    freed: Condvar,
}

struct State {
    ready: VecDeque<usize>,
    later: Vec<(Instant, usize)>,
    tries: Vec<usize>,
    busy: Vec<usize>,
    limits: Vec<usize>,
    /// Sources that could not be reached during all attempts at one of their items, and have not answered since.
    away: Vec<bool>,
}

impl State {
    /// Moves items that have waited long enough to the ready ones.
    fn wake(&mut self, now: Instant) {
        let (due, later) = std::mem::take(&mut self.later).into_iter().partition(|(when, _)| *when <= now);
        self.later = later;
        let due: Vec<(Instant, usize)> = due;
        self.ready.extend(due.into_iter().map(|(_, item)| item));
    }
}

impl Queue {
    /// A queue of items, each given by its source, in this order. `limits` says how many items of each source may be
    /// streamed at the same time.
    pub(super) fn new(sources: Vec<usize>, limits: Vec<usize>) -> Self {
        let state = State {
            ready: (0..sources.len()).collect(),
            later: Vec::new(),
            tries: vec![0; sources.len()],
            busy: vec![0; limits.len()],
            away: vec![false; limits.len()],
            limits,
        };
        Self { sources, state: Mutex::new(state), freed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// The next item whose source is not at its limit; waits for one. `None` when no item is left for this thread:
    /// items that other threads put back are theirs.
    pub(super) fn take(&self, cancel: &Cancel) -> Option<usize> {
        let mut state = self.state();
        loop {
            let now = Instant::now();
            if cancel.is_cancelled() {
                // All remaining items must fail with that error at once.
                state.later.iter_mut().for_each(|(when, _)| *when = now);
            }
            state.wake(now);
            if state.ready.is_empty() && state.later.is_empty() {
                return None;
            }
            let free = state.ready.iter().position(|&item| {
                let source = self.sources[item];
                state.busy[source] < state.limits[source]
            });
            if let Some(next) = free.and_then(|position| state.ready.remove(position)) {
                state.busy[self.sources[next]] += 1;
                return Some(next);
            }
            let next = state.later.iter().map(|(when, _)| when.saturating_duration_since(now)).min();
            let pause = next.map_or(LOOK, |next| next.min(LOOK)).max(Duration::from_millis(1));
            self.freed.wait_for(&mut state, pause);
        }
    }

    /// Puts an item back to be tried again later, and returns the pause. `None` if it was tried often enough.
    pub(super) fn put_back(&self, item: usize, passing: Passing) -> Option<Duration> {
        let mut state = self.state();
        let source = self.sources[item];
        let unreachable = passing == Passing::Unreachable;
        // A source that was unreachable for minutes for one item is so for the others: they are not tried as long each.
        let pause = PAUSES.get(state.tries[item]).filter(|_| !(unreachable && state.away[source]));
        let Some(pause) = pause.copied().map(Duration::from_secs) else {
            state.away[source] |= unreachable;
            return None;
        };
        state.tries[item] += 1;
        state.later.push((Instant::now() + pause, item));
        if passing == Passing::Connections {
            // The current number of connections is too high: the limit is lowered, and running items may finish.
            let fewer = state.busy[source].saturating_sub(1).max(1);
            state.limits[source] = state.limits[source].min(fewer);
        }
        Some(pause)
    }

    /// The source of an item has answered.
    pub(super) fn answered(&self, item: usize) {
        self.state().away[self.sources[item]] = false;
    }

    /// An item is no longer being streamed.
    pub(super) fn done(&self, item: usize) {
        self.state().busy[self.sources[item]] -= 1;
        self.freed.notify_all();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_a_source_holds_and_others_go_on() {
        let queue = Queue::new(vec![0, 0, 1], vec![1, usize::MAX]);
        let cancel = Cancel::new();
        assert_eq!(queue.take(&cancel), Some(0));
        assert_eq!(queue.take(&cancel), Some(2), "another of the first source has to wait");
        queue.done(0);
        assert_eq!(queue.take(&cancel), Some(1));
        assert_eq!(queue.take(&cancel), None);
    }

    #[test]
    fn what_was_put_back_comes_again_and_not_for_ever() {
        let queue = Queue::new(vec![0, 0, 0], vec![usize::MAX]);
        let cancel = Cancel::new();
        let taken: Vec<_> = (0..3).filter_map(|_| queue.take(&cancel)).collect();
        assert_eq!(taken, [0, 1, 2]);
        let begin = Instant::now();
        assert_eq!(queue.put_back(1, Passing::Connections), Some(Duration::from_secs(1)));
        queue.done(1);
        queue.done(0);
        queue.done(2);
        assert_eq!(queue.take(&cancel), Some(1));
        assert!(begin.elapsed() >= Duration::from_secs(1), "after its pause");
        assert_eq!(queue.state().limits, [2], "three at a time were one too many");
        for seconds in &PAUSES[1..] {
            assert_eq!(queue.put_back(1, Passing::Busy), Some(Duration::from_secs(*seconds)));
        }
        assert_eq!(queue.put_back(1, Passing::Busy), None);
    }

    #[test]
    fn a_source_that_is_away_does_not_keep_the_run_for_each_of_its_items() {
        let queue = Queue::new(vec![0, 0, 1], vec![usize::MAX; 2]);
        for _ in PAUSES {
            assert!(queue.put_back(0, Passing::Unreachable).is_some());
        }
        assert_eq!(queue.put_back(0, Passing::Unreachable), None);
        assert_eq!(queue.put_back(1, Passing::Unreachable), None, "its source is away");
        assert!(queue.put_back(2, Passing::Unreachable).is_some(), "another source");
        queue.answered(1);
        assert!(queue.put_back(1, Passing::Unreachable).is_some());
    }

    #[test]
    fn a_cancelled_run_waits_for_nothing() {
        let queue = Queue::new(vec![0], vec![usize::MAX]);
        let cancel = Cancel::new();
        assert_eq!(queue.take(&cancel), Some(0));
        queue.state().tries[0] = PAUSES.len() - 1;
        queue.put_back(0, Passing::Busy).unwrap();
        queue.done(0);
        cancel.cancel("enough");
        let begin = Instant::now();
        assert_eq!(queue.take(&cancel), Some(0));
        assert!(begin.elapsed() < Duration::from_secs(10));
    }
}
