//! What the sessions of a restore share: statements that wait to be run, what has been run, and the first error.
//!
//! Each client runs its statements in order, so a session knows by a mark, a line that a statement makes the client print, that
//! everything before it was run.

use std::{
    collections::VecDeque,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::{
    marks::Token,
    state::{Job, Mark, Number, Pieces, Rows, State, Table, Task},
};
use crate::{
    error::{Error, Result},
    settings::Secret,
    stream::cancel::Cancel,
};

/// How long a thread waits before it checks whether its client is still running.
pub(super) const LOOK: Duration = Duration::from_millis(200);
/// Bytes of rows that wait for each session.
const WAITING: usize = 4 << 20;

/// The state that all sessions share.
pub(super) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Ends all sessions.
    pub(super) stop: Cancel,
    token: Token,
}

impl Shared {
    /// For this number of sessions that load rows.
    pub(super) fn new(sessions: usize, cancel: &Cancel, password: Option<&Secret>) -> Result<Self> {
        let token = Token::new(password)?;
        let state = State { working: sessions, connecting: sessions, ..State::default() };
        Ok(Self { state: Mutex::new(state), changed: Condvar::new(), stop: cancel.child(), token })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// A statement that makes the client print a mark.
    pub(super) fn mark(&self, mark: Mark) -> (Number, Vec<u8>) {
        let mut state = self.lock();
        let number = state.number();
        let with_server = mark == Mark::Connected;
        state.marks.insert(number, mark);
        let mark = format!("'{}'", self.token.mark(number));
        let text = if with_server {
            format!("SELECT CONCAT({mark}, CONCAT_WS('|', @@hostname, @@port, @@server_id, @@datadir));\n")
        } else {
            format!("SELECT {mark};\n")
        };
        (number, text.into_bytes())
    }

    /// Takes a line that a client printed; whether it was a mark.
    pub(super) fn line(&self, line: &str) -> bool {
        let Some((number, rest)) = self.token.read(line) else { return false };
        let mut state = self.lock();
        if !state.marks.contains_key(&number) {
            return false;
        }
        match state.marks.remove(&number) {
            Some(Mark::Connected) => drop(state.servers.insert(number, rest.to_owned())),
            Some(Mark::Created(table)) => {
                if let Some(table) = state.tables.get_mut(&table) {
                    table.created = true;
                }
            }
            Some(Mark::Loaded(table, jobs)) => {
                if let Some(table) = state.tables.get_mut(&table) {
                    table.loaded += jobs;
                    table.opened = true;
                }
            }
            Some(Mark::Complete(table)) => drop(state.tables.remove(&table)),
            None => {}
        }
        self.changed.notify_all();
        true
    }

    /// Waits a moment for any change, unless the mark was printed.
    pub(super) fn wait_for_mark(&self, number: Number) -> bool {
        let mut state = self.lock();
        if state.marks.contains_key(&number) && state.failed.is_none() {
            self.changed.wait_for(&mut state, LOOK);
        }
        !state.marks.contains_key(&number)
    }

    /// The server of a session, as its mark has reported it.
    pub(super) fn server(&self, number: Number) -> Option<String> {
        self.lock().servers.get(&number).cloned()
    }

    /// Records the first error, and ends all sessions.
    pub(super) fn fail(&self, error: Error) {
        let mut state = self.lock();
        if state.failed.is_none() {
            state.failed = Some(error);
        }
        drop(state);
        self.stop.cancel("another session of this restore failed");
        self.changed.notify_all();
    }

    /// The first error.
    pub(super) fn failed(&self) -> Option<Error> {
        self.lock().failed.clone()
    }

    /// The first error, as one of a stream.
    pub(super) fn check(&self) -> io::Result<()> {
        match self.failed().or_else(|| self.stop.check().err()) {
            None => Ok(()),
            Some(error) => Err(io::Error::other(error)),
        }
    }

    /// A session can begin.
    pub(super) fn connected(&self) {
        self.lock().connecting -= 1;
        self.changed.notify_all();
    }

    /// A session cannot be used; the others can.
    pub(super) fn unusable(&self, error: Error) {
        let mut state = self.lock();
        state.connecting -= 1;
        state.working -= 1;
        state.unusable.get_or_insert(error);
        self.changed.notify_all();
    }

    /// A session has ended.
    pub(super) fn ended(&self) {
        self.lock().working -= 1;
        self.changed.notify_all();
    }

    /// Waits until all sessions are connected or known to be unusable. Returns how many there are, and why others are missing.
    pub(super) fn wait_for_sessions(&self) -> Result<(usize, Option<Error>)> {
        let mut state = self.lock();
        while state.connecting > 0 {
            self.stop.check()?;
            self.changed.wait_for(&mut state, LOOK);
        }
        Ok((state.working, state.unusable.clone()))
    }

    /// Adds a note for the operator.
    pub(super) fn add_note(&self, note: String) {
        self.lock().notes.push(note);
    }

    /// The notes for the operator.
    pub(super) fn notes(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().notes)
    }

    /// Sets what every session runs first.
    pub(super) fn set_head(&self, head: Vec<u8>) {
        self.lock().head = Some(Arc::new(head));
    }

    /// What every session runs first.
    pub(super) fn head(&self) -> Arc<Vec<u8>> {
        self.lock().head.clone().unwrap_or_default()
    }

    /// Adds a table, which is being created.
    pub(super) fn add_table(&self, name: &str) -> Number {
        let mut state = self.lock();
        let number = state.number();
        let table = Table { name: name.into(), created: false, opened: false, jobs: 0, loaded: 0 };
        state.tables.insert(number, table);
        number
    }

    /// Begins a job with rows of a table.
    pub(super) fn begin_rows(&self, table: Number) -> Number {
        let mut state = self.lock();
        let number = state.number();
        let mut first = true;
        if let Some(table) = state.tables.get_mut(&table) {
            first = table.jobs == 0;
            table.jobs += 1;
        }
        state.jobs.push_back(Job { number, table, then: None, first });
        state.pieces.insert(number, Pieces::default());
        self.changed.notify_all();
        number
    }

    /// Adds rows to a job; waits while too many wait, unless a session waits for these. `look` is called meanwhile.
    pub(super) fn add_rows(
        &self,
        job: Number,
        rows: Vec<u8>,
        mut look: impl FnMut() -> io::Result<()>,
    ) -> io::Result<()> {
        loop {
            self.check()?;
            let mut state = self.lock();
            let is_awaited = state.pieces.get(&job).is_some_and(Pieces::are_awaited);
            let has_room = state.bytes + rows.len() <= WAITING * state.working.max(1);
            if state.bytes == 0 || has_room || is_awaited {
                state.bytes += rows.len();
                if let Some(pieces) = state.pieces.get_mut(&job) {
                    pieces.waiting.push_back(rows);
                }
                self.changed.notify_all();
                return Ok(());
            }
            let late = self.changed.wait_for(&mut state, LOOK).timed_out();
            drop(state);
            if late {
                look()?;
            }
        }
    }

    /// All rows of a job were added.
    pub(super) fn end_rows(&self, job: Number) {
        if let Some(pieces) = self.lock().pieces.get_mut(&job) {
            pieces.complete = true;
        }
        self.changed.notify_all();
    }

    /// All rows of a table were added; these statements follow.
    pub(super) fn end_table(&self, table: Number, then: Vec<u8>) {
        let mut state = self.lock();
        if !then.is_empty() {
            let number = state.number();
            state.jobs.push_back(Job { number, table, then: Some(then), first: false });
        }
        self.changed.notify_all();
    }

    /// Nothing more will be added. Waits until all sessions have ended; `look` is called meanwhile.
    pub(super) fn close(&self, mut look: impl FnMut() -> io::Result<()>) -> io::Result<()> {
        self.lock().closed = true;
        self.changed.notify_all();
        loop {
            self.check()?;
            let mut state = self.lock();
            if state.working == 0 {
                return state.failed.clone().map_or(Ok(()), |error| Err(io::Error::other(error)));
            }
            let late = self.changed.wait_for(&mut state, LOOK).timed_out();
            drop(state);
            if late {
                look()?;
            }
        }
    }

    /// What a session does next. `unmarked` is the table of rows that it has passed on without a mark.
    pub(super) fn next(&self, unmarked: Option<Number>) -> io::Result<Task> {
        let until = Instant::now() + LOOK;
        loop {
            self.check()?;
            let mut state = self.lock();
            let at = state.jobs.iter().position(|job| state.may_begin(job));
            let continues = |table| at.is_some_and(|at| state.jobs[at].table == table);
            if unmarked.is_some_and(|table| !continues(table)) {
                return Ok(Task::Mark);
            }
            if let Some(job) = at.and_then(|at| state.jobs.remove(at)) {
                let name = state.tables.get(&job.table).map(|table| Arc::clone(&table.name));
                let name = name.unwrap_or_else(|| "".into());
                if let Some(pieces) = state.pieces.get_mut(&job.number) {
                    pieces.taken = true;
                    self.changed.notify_all();
                }
                return Ok(match job.then {
                    Some(text) => Task::Then { table: job.table, name, text },
                    None => Task::Rows(Rows { job: job.number, table: job.table, name, awaited: job.first }),
                });
            }
            if state.closed && state.jobs.is_empty() {
                return Ok(Task::End);
            }
            if self.changed.wait_until(&mut state, until).timed_out() {
                return Ok(Task::Nothing);
            }
        }
    }

    /// The next rows of a job; `None` after the last. Empty if none came for a moment.
    pub(super) fn take_rows(&self, job: Number) -> io::Result<Option<VecDeque<Vec<u8>>>> {
        self.check()?;
        let mut state = self.lock();
        let mut late = false;
        loop {
            let Some(pieces) = state.pieces.get_mut(&job) else { return Ok(None) };
            let rows = std::mem::take(&mut pieces.waiting);
            if !rows.is_empty() {
                state.bytes -= rows.iter().map(Vec::len).sum::<usize>();
                self.changed.notify_all();
                return Ok(Some(rows));
            }
            if pieces.complete {
                state.pieces.remove(&job);
                return Ok(None);
            }
            if late {
                return Ok(Some(VecDeque::new()));
            }
            late = self.changed.wait_for(&mut state, LOOK).timed_out();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "shared_tests.rs"]
mod tests;
