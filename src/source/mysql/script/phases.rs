//! Splits a dump in two, because servers check a view when it is created: everything else is loaded first, so that the objects
//! that a view reads exist, even in another database.
//!
//! Dump tools write a stand-in for each view among the tables, with its columns only, and its definition at the end. Triggers,
//! routines and events are not checked when they are created, nor are foreign keys while their checks are off.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
};

use super::{
    lexer::{Gap, Handler, Lexer, Statement},
    objects::{Action, Create, action},
    rewrite::Output,
    tokens::{Cursor, Kind, Token, name_of},
};
use crate::error::{Error, Result};

/// Maximum total bytes of view definitions.
const KEPT: usize = 64 << 20;
/// At most this many names that tables refer to are kept.
const NAMES: usize = 1000;

/// The definitions of views that a dump ends with.
#[derive(Debug, Default)]
pub struct Views {
    /// The session settings at the beginning of the dump.
    head: Vec<u8>,
    /// In the dump's order.
    views: Vec<View>,
    /// Objects of other databases that tables need when they are created: database and name.
    tables_need: BTreeSet<(String, String)>,
    /// Of definitions: the stand-ins by the names of their views.
    stand_ins: BTreeMap<String, Vec<u8>>,
    size: usize,
}

/// The definition of a view.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// Its name.
    pub name: String,
    /// What it reads: the database, if one is named, and the name of a table, view, routine or sequence.
    pub reads: BTreeSet<(Option<String>, String)>,
    /// The statements that create it, without those of [`Views::script`]'s beginning.
    text: Vec<u8>,
}

impl Views {
    /// The views in the dump's order.
    pub fn all(&self) -> &[View] {
        &self.views
    }

    /// Objects of other databases that tables take values from, and which must therefore be there before them.
    pub fn tables_need(&self) -> &BTreeSet<(String, String)> {
        &self.tables_need
    }

    /// A script that creates these views.
    pub fn script<'v>(&self, views: impl IntoIterator<Item = &'v View>) -> Vec<u8> {
        let mut script = self.head.clone();
        for view in views {
            script.extend_from_slice(&view.text);
        }
        script
    }

    /// Of [`Phases::definitions`]: a script that creates the stand-in of this view.
    pub fn stand_in(&self, name: &str) -> Option<Vec<u8>> {
        Some([self.head.as_slice(), self.stand_ins.get(name)?.as_slice()].concat())
    }

    /// Fails if there were more than can be kept.
    pub fn require_all(&self) -> Result<()> {
        if self.size <= KEPT {
            return Ok(());
        }
        Err(Error::failed(format!("the definitions of its views have more than {} MiB", KEPT >> 20))
            .hint("take the script with --to DIR and feed it to the client"))
    }
}

impl View {
    /// What it reads of other databases than `own`.
    pub fn outside(&self, own: &str) -> impl Iterator<Item = (&str, &str)> {
        self.reads.iter().filter_map(move |(database, name)| {
            let database = database.as_deref().filter(|database| *database != own)?;
            Some((database, name.as_str()))
        })
    }

    /// Whether it reads one of these objects of its own database.
    pub fn reads_any(&self, own: &str, names: &BTreeSet<String>) -> bool {
        self.reads.iter().any(|(database, name)| {
            database.as_deref().is_none_or(|database| database == own) && names.contains(name)
        })
    }
}

/// Passes a dump on without the definitions of its views, which it collects. The stand-ins of views are passed on.
#[derive(Debug)]
pub struct Phases<W> {
    lexer: Lexer,
    parts: Parts<W>,
}

impl<W: Write> Phases<W> {
    /// Writes everything but views to `out`.
    pub fn new(out: W) -> Self {
        Self::with(false, out)
    }

    /// As [`Phases::new`], and without rows, triggers and events: what others refer to.
    pub fn definitions(out: W) -> Self {
        Self::with(true, out)
    }

    fn with(definitions: bool, out: W) -> Self {
        let parts = Parts {
            definitions,
            at_head: true,
            ending: false,
            keep: true,
            held: Vec::new(),
            gap: Vec::new(),
            views: Views::default(),
            out: Output::new(out),
        };
        Self { lexer: Lexer::new(), parts }
    }

    /// What came so far of the views.
    pub fn views(&self) -> &Views {
        &self.parts.views
    }

    /// Ends the dump, and returns the writer, not flushed, with the views.
    pub fn finish(mut self) -> io::Result<(W, Views)> {
        self.lexer.finish(&mut self.parts);
        self.parts.release();
        self.parts.put_gap();
        let Parts { views, out, .. } = self.parts;
        Ok((out.finish()?, views))
    }
}

impl<W: Write> Write for Phases<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.lexer.feed(bytes, &mut self.parts);
        self.parts.out.result()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.parts.out.flush()
    }
}

#[derive(Debug)]
struct Parts<W> {
    definitions: bool,
    /// Only `SET` and comments have been read so far.
    at_head: bool,
    /// A view's definition was the last that came: what sets the session back belongs to it.
    ending: bool,
    /// Whether the pieces or rows at hand are written on.
    keep: bool,
    /// `DROP` of a table or view with what follows, until it is known whether it makes room for a view's definition.
    held: Vec<u8>,
    /// The text before the next statement, which is kept or dropped with it.
    gap: Vec<u8>,
    views: Views,
    out: Output<W>,
}

impl<W: Write> Parts<W> {
    /// So much may be held: a few short statements.
    const HELD: usize = 1 << 20;

    fn put_gap(&mut self) {
        self.out.put(&self.gap);
        self.gap.clear();
    }

    fn put(&mut self, statement: Statement<'_>) {
        self.release();
        self.put_gap();
        self.out.put(statement.text);
        self.out.put(statement.delimiter);
    }

    /// The buffered statements do not belong to a view's definition: they are passed on.
    fn release(&mut self) {
        self.out.put(&self.held);
        self.held.clear();
    }

    fn hold(&mut self, statement: Statement<'_>) {
        self.held.append(&mut self.gap);
        self.held.extend_from_slice(statement.text);
        self.held.extend_from_slice(statement.delimiter);
        if self.held.len() > Self::HELD {
            self.release();
        }
    }

    /// Keeps a view's definition with what was held for it.
    fn keep_view(&mut self, create: Create, statement: Statement<'_>) {
        self.held.append(&mut self.gap);
        let mut text = std::mem::take(&mut self.held);
        text.extend_from_slice(statement.text);
        text.extend_from_slice(statement.delimiter);
        self.views.size += text.len();
        if self.views.size <= KEPT {
            let reads = references(statement.text, statement.backslash);
            self.views.views.push(View { name: create.name, reads, text });
        }
        self.ending = true;
    }

    /// Adds to the view's definition that came last.
    fn end_view(&mut self, statement: Statement<'_>) {
        if let Some(view) = self.views.views.last_mut().filter(|_| self.views.size <= KEPT) {
            for part in [self.gap.as_slice(), statement.text, statement.delimiter] {
                view.text.extend_from_slice(part);
            }
        }
        self.gap.clear();
    }

    fn set(&mut self, value: Option<&str>, statement: Statement<'_>) {
        if self.at_head {
            for part in [statement.text, statement.delimiter, b"\n"] {
                self.views.head.extend_from_slice(part);
            }
        }
        if self.ending && value.is_some_and(|value| value.starts_with("@saved_")) {
            self.end_view(statement);
            return;
        }
        self.ending = false;
        if self.held.is_empty() {
            self.put(statement);
        } else {
            self.hold(statement);
        }
    }

    fn create(&mut self, create: Create, statement: Statement<'_>) {
        match create.kind {
            "view" if !create.stand_in => return self.keep_view(create, statement),
            "trigger" | "event" if self.definitions => return self.gap.clear(),
            "table" => self.tables_need(statement),
            "view" if self.definitions => self.keep_stand_in(create.name, statement),
            _ => {}
        }
        self.put(statement);
    }

    fn keep_stand_in(&mut self, name: String, statement: Statement<'_>) {
        let text = [statement.text, statement.delimiter, b"\n"].concat();
        self.views.size += text.len();
        if self.views.size <= KEPT {
            self.views.stand_ins.insert(name, text);
        }
    }

    fn tables_need(&mut self, statement: Statement<'_>) {
        for (database, name) in references(statement.text, statement.backslash) {
            let need = &mut self.views.tables_need;
            if let Some(database) = database.filter(|_| need.len() < NAMES) {
                need.insert((database, name));
            }
        }
    }
}

impl<W: Write> Handler for Parts<W> {
    fn gap(&mut self, gap: Gap, text: &[u8]) {
        let moves_on = matches!(gap, Gap::Command | Gap::Sandbox);
        if moves_on || self.gap.len() + text.len() > Self::HELD {
            self.release();
            self.put_gap();
            self.out.put(text);
        } else {
            self.gap.extend_from_slice(text);
        }
    }

    fn statement(&mut self, statement: Statement<'_>) {
        let Statement { text, backslash, .. } = statement;
        let action = action(text, backslash);
        let set = matches!(action, Action::SetOne(..) | Action::Set | Action::SetServer);
        self.at_head &= set;
        self.ending &= set;
        match action {
            Action::SetOne(_, value) => self.set(Some(&value), statement),
            Action::Set | Action::SetServer => self.set(None, statement),
            Action::Create(create) => self.create(create, statement),
            Action::Table(_) if is_drop(text, backslash) => self.hold(statement),
            Action::Insert(_) if self.definitions => self.gap.clear(),
            _ => self.put(statement),
        }
    }

    fn long(&mut self, piece: &[u8], first: bool) {
        if first {
            self.release();
            self.put_gap();
            (self.at_head, self.ending) = (false, false);
        }
        self.out.put(piece);
    }

    fn insert(&mut self, head: &[u8]) {
        (self.at_head, self.ending) = (false, false);
        self.keep = !self.definitions;
        self.release();
        if self.keep {
            self.put_gap();
            self.out.put(head);
        }
        self.gap.clear();
    }

    fn data(&mut self, piece: &[u8]) {
        if self.keep {
            self.out.put(piece);
        }
    }

    fn cut_off(&mut self, text: &[u8]) {
        self.release();
        self.put_gap();
        self.out.put(text);
    }
}

fn is_drop(text: &[u8], backslash: bool) -> bool {
    Cursor::new(text, backslash).skip("DROP")
}

/// What a definition as servers write it refers to: the names behind `FROM` and `JOIN`, those with an alias behind them,
/// routines that are called with their database's name, and sequences that values are taken from.
pub fn references(text: &[u8], backslash: bool) -> BTreeSet<(Option<String>, String)> {
    const BEFORE: [&[u8]; 6] = [b"FROM", b"JOIN", b"STRAIGHT_JOIN", b"NEXTVAL", b"LASTVAL", b"FOR"];
    let is_name = |token: &Token| matches!(token.kind, Kind::Quoted(b'`' | b'"'));
    let mut cursor = Cursor::new(text, backslash);
    let mut found = BTreeSet::new();
    // What the last word was, with nothing but parentheses behind it: one of those, or one in front of a foreign table.
    let (mut expected, mut foreign) = (false, false);
    let mut after_dot = false;
    while let Some(token) = cursor.next() {
        if !is_name(&token) {
            let word: &[u8] = if token.kind == Kind::Word { &text[token.range.clone()] } else { b"" };
            if token.kind != Kind::Mark(b'(') {
                expected = BEFORE.iter().any(|known| word.eq_ignore_ascii_case(known));
                foreign = word.eq_ignore_ascii_case(b"REFERENCES");
            }
            after_dot = token.kind == Kind::Mark(b'.');
            continue;
        }
        let first = name_of(text, &token);
        let mut ahead = cursor.clone();
        let second = if ahead.skip_mark(b'.') {
            let Some(second) = ahead.next().filter(is_name) else { continue };
            cursor = ahead.clone();
            name_of(text, &second)
        } else {
            None
        };
        let follows = ahead.next();
        let alias = follows.as_ref().is_some_and(is_name);
        let call = second.is_some() && follows.is_some_and(|token| token.kind == Kind::Mark(b'('));
        if !after_dot && !foreign && (expected || alias || call) {
            found.extend(match (first, second) {
                (Some(database), Some(name)) => Some((Some(database), name)),
                (Some(name), None) => Some((None, name)),
                (None, _) => None,
            });
        }
        (expected, foreign, after_dot) = (false, false, false);
    }
    found
}

#[cfg(test)]
#[path = "phases_tests.rs"]
mod tests;
