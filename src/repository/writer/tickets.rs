//! Tickets for work in progress: a thread can wait here until all earlier work is done.

use std::collections::BTreeSet;

use parking_lot::{Condvar, Mutex, MutexGuard};

#[derive(Default)]
struct State {
    next: u64,
    open: BTreeSet<u64>,
    broken: bool,
}

/// Issues ascending tickets and tracks the open ones.
#[derive(Default)]
pub(super) struct Tickets {
    state: Mutex<State>,
    changed: Condvar,
}

impl Tickets {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Opens a ticket.
    pub(super) fn open(&self) -> u64 {
        let mut state = self.state();
        let ticket = state.next;
        state.next += 1;
        state.open.insert(ticket);
        ticket
    }

    /// The next ticket.
    pub(super) fn next(&self) -> u64 {
        self.state().next
    }

    /// Closes a ticket: its work is done.
    pub(super) fn done(&self, ticket: u64) {
        self.state().open.remove(&ticket);
        self.changed.notify_all();
    }

    /// Marks open tickets as never to be closed, and wakes all waiting threads.
    pub(super) fn break_off(&self) {
        self.state().broken = true;
        self.changed.notify_all();
    }

    /// Waits until all tickets opened before this call are closed. False if that will never happen.
    pub(super) fn wait_for_earlier(&self) -> bool {
        let mut state = self.state();
        let limit = state.next;
        while !state.broken && state.open.first().is_some_and(|&first| first < limit) {
            self.changed.wait(&mut state);
        }
        !state.broken
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::{sync::Arc, thread, time::Duration};

    #[test]
    fn waits_for_earlier_work_and_not_for_later() {
        let tickets = Arc::new(Tickets::default());
        let (a, b) = (tickets.open(), tickets.open());
        let waiting = thread::spawn({
            let tickets = tickets.clone();
            move || tickets.wait_for_earlier()
        });
        thread::sleep(Duration::from_millis(20));
        let later = tickets.open();
        tickets.done(b);
        thread::sleep(Duration::from_millis(20));
        assert!(!waiting.is_finished());
        tickets.done(a);
        assert!(waiting.join().unwrap());
        tickets.done(later);
    }

    #[test]
    fn broken_work_lets_everybody_go() {
        let tickets = Arc::new(Tickets::default());
        tickets.open();
        let waiting = thread::spawn({
            let tickets = tickets.clone();
            move || tickets.wait_for_earlier()
        });
        tickets.break_off();
        assert!(!waiting.join().unwrap());
    }
}
