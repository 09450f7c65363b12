//! Splits a dump between several sessions: one that runs all definitions in their order, and others that load the rows of the
//! tables meanwhile. Secondary keys of large tables are added after their rows, foreign keys that need these after all rows, and
//! at last come triggers, routines and events, as in the dump.
//!
//! Only what dump tools write is split. At the first statement that is not known, everything before it is completed, and the
//! rest of the dump is run in one session as it is.

mod parts;
mod settings;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    io::{self, Write},
};

use self::parts::Parts;
use super::lexer::Lexer;

/// A table that was created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// Its name.
    pub name: String,
    /// Whether its rows must be loaded in their order by one session; otherwise each statement may be run by another.
    pub ordered: bool,
}

/// The sessions that a dump is split between. After an error nothing more is sent to them.
pub trait Lanes {
    /// Runs this in the session of definitions, in order.
    fn define(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Every session needs these settings first.
    fn head(&mut self, settings: Vec<u8>) -> io::Result<()>;

    /// What was sent to the session of definitions so far creates this table; its rows follow.
    fn created(&mut self, table: Created) -> io::Result<()>;

    /// A part of the rows of the table that was created last.
    fn rows(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// A statement with rows has ended.
    fn rows_end(&mut self) -> io::Result<()>;

    /// All rows of the table came; these statements are to be run when they are loaded.
    fn complete(&mut self, then: Vec<u8>) -> io::Result<()>;

    /// Waits until everything is loaded. From now on there is only the session of definitions.
    fn join(&mut self) -> io::Result<()>;
}

/// Splits a dump as a [`Rewrite`](super::Rewrite) and [`Phases`](super::Phases) pass it on.
pub struct Spread<L> {
    lexer: Lexer,
    parts: Parts<L>,
}

impl<L: Lanes> Spread<L> {
    /// Splits a dump; `large` are the tables whose keys are worth adding later.
    pub fn new(large: &BTreeSet<String>, lanes: L) -> Self {
        let parts = Parts::new(large, lanes);
        Self { lexer: Lexer::new(), parts }
    }

    /// Ends the dump and returns the sessions; all but that of definitions have ended.
    pub fn finish(mut self) -> io::Result<L> {
        self.lexer.finish(&mut self.parts);
        self.parts.finish()
    }
}

impl<L: Lanes> Write for Spread<L> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !self.parts.has_failed() {
            self.lexer.feed(bytes, &mut self.parts);
        }
        self.parts.result()
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
