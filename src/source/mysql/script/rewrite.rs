//! Adapts a dump to where it is loaded. Rows, string literals and the bodies of routines stay byte for byte.

use std::{
    io::{self, Write},
    ops::Range,
};

use super::{
    database_of,
    lexer::{Gap, Handler, Lexer, Statement},
    objects::{Action, Create, action, qualifiers},
    tokens::{Kind, Token, Tokens},
};
use crate::stream::digest::RowDigest;

/// Writes a dump on with these changes:
///
/// - MariaDB's comment that forbids the client commands of its own is left out: other clients take it for an error.
///   Load the result with `--binary-mode`, which forbids them too.
/// - What sets the server's replication state is left out (`GTID_PURGED`, `SQL_LOG_BIN`, `gtid_slave_pos`).
/// - `LOCK TABLES` and `UNLOCK TABLES` are left out: under a lock MariaDB refuses rows of tables that take values
///   from a sequence.
/// - `ALTER DATABASE` names the target, and so do definitions in which the server put the database's name in front of
///   a table, sequence or trigger.
/// - If wanted, `DEFINER` clauses are left out, so that everything belongs to the account that loads it.
#[derive(Debug)]
pub struct Rewrite<W> {
    lexer: Lexer,
    changes: Changes<W>,
}

impl<W: Write> Rewrite<W> {
    /// Writes to `out` what is to be loaded into `database`.
    pub fn new(database: &str, without_definers: bool, out: W) -> Self {
        let target = format!("`{}`", database.replace('`', "``")).into_bytes();
        let name = database.to_owned();
        let out = Output::new(out);
        Self { lexer: Lexer::new(), changes: Changes { target, name, original: None, without_definers, out } }
    }

    /// Ends the dump and gives the writer back, not flushed.
    pub fn finish(mut self) -> io::Result<W> {
        self.lexer.finish(&mut self.changes);
        self.changes.out.finish()
    }
}

impl<W: Write> Write for Rewrite<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.lexer.feed(bytes, &mut self.changes);
        self.changes.out.result()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.changes.out.flush()
    }
}

/// A writer that remembers its first error, after which it takes nothing more.
#[derive(Debug)]
pub(super) struct Output<W> {
    out: W,
    small: Vec<u8>,
    error: Option<io::Error>,
}

impl<W: Write> Output<W> {
    /// Small pieces are collected up to this many bytes.
    const COLLECTED: usize = 64 * 1024;

    pub(super) fn new(out: W) -> Self {
        Self { out, small: Vec::new(), error: None }
    }

    pub(super) fn put(&mut self, bytes: &[u8]) {
        if self.small.len() + bytes.len() <= Self::COLLECTED {
            self.small.extend_from_slice(bytes);
            return;
        }
        self.pass_on();
        if self.error.is_none() {
            self.error = self.out.write_all(bytes).err();
        }
    }

    fn pass_on(&mut self) {
        if self.error.is_none() {
            self.error = self.out.write_all(&self.small).err();
        }
        self.small.clear();
    }

    pub(super) fn result(&mut self) -> io::Result<()> {
        match &self.error {
            None => Ok(()),
            // The error itself is told once; whoever asks again learns at least its kind.
            Some(error) => {
                let again = io::Error::from(error.kind());
                Err(self.error.replace(again).unwrap_or_else(|| io::ErrorKind::Other.into()))
            }
        }
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.pass_on();
        self.result()?;
        self.out.flush()
    }

    pub(super) fn finish(mut self) -> io::Result<W> {
        self.pass_on();
        self.result()?;
        Ok(self.out)
    }
}

#[derive(Debug)]
struct Changes<W> {
    /// The target's name, quoted and as it is.
    target: Vec<u8>,
    name: String,
    /// The database that was dumped, as far as known.
    original: Option<String>,
    without_definers: bool,
    out: Output<W>,
}

impl<W: Write> Changes<W> {
    /// What of a definition is replaced by what.
    fn edits(&self, statement: Statement<'_>, create: &Create) -> Vec<(Range<usize>, &[u8])> {
        let Statement { text, backslash, .. } = statement;
        let mut edits: Vec<(Range<usize>, &[u8])> = Vec::new();
        if self.without_definers
            && let Some(definer) = &create.definer_at
        {
            edits.push((with_its_comment(text, backslash, definer), &[]));
        }
        if let Some(original) = self.original.as_deref().filter(|original| *original != self.name) {
            let found = qualifiers(text, backslash, create, original);
            edits.extend(found.into_iter().map(|range| (range, self.target.as_slice())));
        }
        edits.sort_by_key(|(range, _)| range.start);
        edits
    }
}

/// The text with its ranges replaced, which come in order.
fn edited(text: &[u8], edits: &[(Range<usize>, &[u8])]) -> Vec<u8> {
    let mut edited = Vec::with_capacity(text.len());
    let mut at = 0;
    for (range, by) in edits {
        edited.extend_from_slice(text.get(at..range.start).unwrap_or_default());
        edited.extend_from_slice(by);
        at = range.end;
    }
    edited.extend_from_slice(text.get(at..).unwrap_or_default());
    edited
}

/// The clause with the space behind it, or with the whole conditional comment if nothing else is in it.
fn with_its_comment(text: &[u8], backslash: bool, clause: &Range<usize>) -> Range<usize> {
    let mut open = None;
    let mut end = clause.end;
    for Token { kind, range } in Tokens::new(text, backslash) {
        if range.end <= clause.start {
            match kind {
                Kind::Open => open = Some(range.start),
                Kind::Space => {}
                _ => open = None,
            }
        } else if range.start >= clause.end {
            match (kind, open) {
                (Kind::Space, _) => end = range.end,
                (Kind::Close, Some(open)) => return open..range.end,
                _ => break,
            }
        }
    }
    clause.start..end
}

impl<W: Write> Handler for Changes<W> {
    fn gap(&mut self, gap: Gap, text: &[u8]) {
        if gap == Gap::Comment && self.original.is_none() {
            self.original = database_of(text);
        }
        if gap != Gap::Sandbox {
            self.out.put(text);
        }
    }

    fn statement(&mut self, statement: Statement<'_>) {
        let Statement { text, delimiter, backslash } = statement;
        let edited = match action(text, backslash) {
            Action::SetServer | Action::Lock(_) | Action::Unlock => return,
            Action::AlterDatabase { name, .. } => Some(edited(text, &[(name, &self.target)])),
            Action::Create(create) => {
                let edits = self.edits(statement, &create);
                (!edits.is_empty()).then(|| edited(text, &edits))
            }
            _ => None,
        };
        self.out.put(edited.as_deref().unwrap_or(text));
        self.out.put(delimiter);
    }

    fn long(&mut self, piece: &[u8], _first: bool) {
        self.out.put(piece);
    }

    fn insert(&mut self, head: &[u8]) {
        self.out.put(head);
    }

    fn rows(&mut self) -> Option<&mut RowDigest> {
        None
    }

    fn data(&mut self, piece: &[u8]) {
        self.out.put(piece);
    }

    fn insert_end(&mut self, _foreign: bool) {}

    fn cut_off(&mut self, text: &[u8]) {
        self.out.put(text);
    }
}
