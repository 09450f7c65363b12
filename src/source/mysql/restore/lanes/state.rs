//! What sessions are to do, and what is known of the tables that they load.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use crate::error::Error;

/// A table, job or mark.
pub(super) type Number = u64;

/// What a mark means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mark {
    /// A session is connected.
    Connected,
    /// The table exists.
    Created(Number),
    /// So many jobs with rows of the table were run.
    Loaded(Number, u64),
    /// The statements behind the rows of the table were run.
    Complete(Number),
}

/// What a session is to do next.
#[derive(Debug)]
pub(super) enum Task {
    /// Write a mark: other work depends on what this session has run.
    Mark,
    /// Load rows.
    Rows(Rows),
    /// Run these statements, which follow the rows of a table.
    Then { table: Number, name: Arc<str>, text: Vec<u8> },
    /// Nothing at present.
    Nothing,
    /// There is nothing more.
    End,
}

/// Rows to load.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) job: Number,
    pub(super) table: Number,
    pub(super) name: Arc<str>,
    /// Whether other sessions wait until these rows are loaded.
    pub(super) awaited: bool,
}

/// What all sessions know.
#[derive(Default)]
pub(super) struct State {
    /// What every session runs first.
    pub(super) head: Option<Arc<Vec<u8>>>,
    /// Jobs that no session has begun.
    pub(super) jobs: VecDeque<Job>,
    /// The rows of jobs that are not passed on completely.
    pub(super) pieces: HashMap<Number, Pieces>,
    /// Tables that are not complete.
    pub(super) tables: HashMap<Number, Table>,
    /// Marks that were not printed yet.
    pub(super) marks: HashMap<Number, Mark>,
    /// What sessions reported of the server that they are connected to.
    pub(super) servers: HashMap<Number, String>,
    /// Bytes of rows that wait.
    pub(super) bytes: usize,
    /// The number given last.
    pub(super) last: Number,
    /// Whether nothing more will be added.
    pub(super) closed: bool,
    /// Sessions that load rows, and those that have not connected yet.
    pub(super) working: usize,
    pub(super) connecting: usize,
    /// The first error.
    pub(super) failed: Option<Error>,
    /// Why sessions could not be used.
    pub(super) unusable: Option<Error>,
    /// Notes for the operator.
    pub(super) notes: Vec<String>,
}

/// Work for a session.
pub(super) struct Job {
    pub(super) number: Number,
    pub(super) table: Number,
    /// The statements behind the rows; otherwise rows.
    pub(super) then: Option<Vec<u8>>,
    /// Whether these are the first rows of the table.
    pub(super) first: bool,
}

/// The rows of a job.
#[derive(Default)]
pub(super) struct Pieces {
    /// Those that no session has taken.
    pub(super) waiting: VecDeque<Vec<u8>>,
    /// Whether no more will be added.
    pub(super) complete: bool,
    /// Whether a session loads them.
    pub(super) taken: bool,
}

impl Pieces {
    /// Whether a session has nothing else to do than to wait for more of them.
    pub(super) fn are_awaited(&self) -> bool {
        self.taken && self.waiting.is_empty()
    }
}

/// A table that is not complete.
pub(super) struct Table {
    pub(super) name: Arc<str>,
    /// Whether it exists in the database.
    pub(super) created: bool,
    /// Whether its first statement with rows was run. MariaDB locks an empty table for the first one.
    pub(super) opened: bool,
    /// The number of jobs with its rows, …
    pub(super) jobs: u64,
    /// … and of those that were run.
    pub(super) loaded: u64,
}

impl State {
    /// A new number.
    pub(super) fn number(&mut self) -> Number {
        self.last += 1;
        self.last
    }

    /// Whether everything that a job needs was done.
    pub(super) fn may_begin(&self, job: &Job) -> bool {
        self.tables.get(&job.table).is_some_and(|table| {
            table.created
                && match job.then {
                    Some(_) => table.loaded == table.jobs,
                    None => job.first || table.opened,
                }
        })
    }
}
