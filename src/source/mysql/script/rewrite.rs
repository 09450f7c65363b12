//! Adapts a dump to its target. Rows, string literals and the bodies of routines are not changed.

use std::{
    borrow::Cow,
    io::{self, Write},
    ops::Range,
};

use super::{
    database_of,
    lexer::{Gap, Handler, Lexer, Statement},
    objects::{Action, Create, action, insert_table, normalised, qualifiers},
    places::{Edits, Made, Redefined, modes, places, stand_in},
    tokens::{Kind, Token, Tokens},
};
use crate::stream::digest::Digest128;

/// The prefix of lines in which the client reports what it creates or fills, see [`Rewrite::announcing`].
pub const ANNOUNCEMENT: &str = "tik-backup: ";

/// As [`announce`], with another delimiter.
pub(super) fn announcement(what: &str, delimiter: &[u8]) -> Vec<u8> {
    // Independent of the modes for backslashes and quotes.
    let hex: String = ANNOUNCEMENT.bytes().chain(what.bytes()).map(|byte| format!("{byte:02x}")).collect();
    [format!("SELECT CONVERT(0x{hex} USING utf8mb4)").as_bytes(), delimiter, b"\n"].concat()
}

/// A statement that lets the client print a line with [`ANNOUNCEMENT`] and this text.
pub fn announce(what: &str) -> Vec<u8> {
    announcement(what, b";")
}

/// Passes a dump on with these changes:
///
/// - MariaDB's comment that disables commands of the client is left out: other clients treat it as an error.
///   Load the result with `--binary-mode`, which disables them too.
/// - Statements that set the server's replication state are left out (`GTID_PURGED`, `SQL_LOG_BIN`, `gtid_slave_pos`).
/// - `LOCK TABLES` and `UNLOCK TABLES` are left out: under a lock MariaDB refuses rows of tables that take values
///   from a sequence.
/// - `ALTER DATABASE` names the target, and so do definitions in which the server put the database's name in front of
///   a table, sequence or trigger.
/// - The SQL modes in the head are extended, so that all stored values are accepted and a missing engine is an error.
/// - Optionally, parts of a table's definition that refer to data outside of the server are left out, see [`Rewrite::without_places`] and
///   [`Rewrite::with_stand_ins`].
/// - Optionally, `DEFINER` clauses are left out, so that the restoring account becomes the definer.
#[derive(Debug)]
pub struct Rewrite<W> {
    lexer: Lexer,
    changes: Changes<W>,
}

impl<W: Write> Rewrite<W> {
    /// Writes the script for `database` to `out`.
    pub fn new(database: &str, without_definers: bool, out: W) -> Self {
        let target = format!("`{}`", database.replace('`', "``")).into_bytes();
        let name = database.to_owned();
        let changes = Changes {
            target,
            name,
            original: None,
            without_definers,
            without_places: false,
            with_stand_ins: false,
            after_head: Some(""),
            redefined: Vec::new(),
            announcing: false,
            announced: None,
            delimiter: b";".to_vec(),
            out: Output::new(out),
        };
        Self { lexer: Lexer::new(), changes }
    }

    /// Leaves out `DATA DIRECTORY`, `INDEX DIRECTORY` and `TABLESPACE`, also of partitions: files go to the server's default
    /// locations.
    #[must_use]
    pub fn without_places(mut self, yes: bool) -> Self {
        self.changes.without_places = yes;
        self
    }

    /// Replaces each table whose engine accesses data outside of the server by an empty InnoDB table with the same columns.
    #[must_use]
    pub fn with_stand_ins(mut self, yes: bool) -> Self {
        self.changes.with_stand_ins = yes;
        self
    }

    /// Adds these statements, each with its delimiter, after the dump has set up the session.
    #[must_use]
    pub fn after_head(mut self, statements: &'static str) -> Self {
        self.changes.after_head = Some(statements);
        self
    }

    /// Lets the client print a line with [`ANNOUNCEMENT`] before it creates or fills a table or object, because warnings of servers do
    /// not name it.
    #[must_use]
    pub fn announcing(mut self, yes: bool) -> Self {
        self.changes.announcing = yes;
        self
    }

    /// The tables so far that are created differently from their definition in the dump.
    pub fn redefined(&self) -> &[Redefined] {
        &self.changes.redefined
    }

    /// Ends the dump and returns the writer, not flushed.
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

/// A writer that keeps its first error, and accepts nothing after it.
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
            // The error itself is returned once; later calls return its kind.
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
    without_places: bool,
    with_stand_ins: bool,
    /// The text to insert after the head, until it is written.
    after_head: Option<&'static str>,
    redefined: Vec<Redefined>,
    announcing: bool,
    announced: Option<String>,
    /// The current delimiter.
    delimiter: Vec<u8>,
    out: Output<W>,
}

impl<W: Write> Changes<W> {
    /// What of a definition is replaced by what.
    fn edits(&self, statement: Statement<'_>, create: &Create) -> Edits<'_> {
        let Statement { text, backslash, .. } = statement;
        let mut edits = Edits::new();
        if self.without_definers
            && let Some(definer) = &create.definer_at
        {
            edits.push((with_its_comment(text, backslash, definer), Cow::Borrowed(&b""[..])));
        }
        if let Some(original) = self.original.as_deref().filter(|original| *original != self.name) {
            let found = qualifiers(text, backslash, create, original);
            edits.extend(found.into_iter().map(|range| (range, Cow::Borrowed(self.target.as_slice()))));
        }
        edits
    }

    fn tell(&mut self, kind: &str, name: &str) {
        let what = format!("{kind} {name}");
        if !self.announcing || self.announced.as_ref() == Some(&what) {
            return;
        }
        self.out.put(&announcement(&what, &self.delimiter));
        self.announced = Some(what);
    }

    /// The adapted definition, if it differs.
    fn definition(&mut self, statement: Statement<'_>, create: &Create) -> Option<Vec<u8>> {
        let Statement { text, backslash, .. } = statement;
        let (made, more) =
            if create.kind == "table" { self.elsewhere(text, backslash) } else { (None, Edits::new()) };
        let mut edits = self.edits(statement, create);
        edits.extend(more);
        if edits.is_empty() {
            return None;
        }
        edits.sort_by_key(|(range, _)| range.start);
        let edited = edited(text, &edits);
        drop(edits);
        if let Some(made) = made {
            let digest = |text: &[u8], create: &Create, database: Option<&str>| {
                Digest128::of(&normalised(text, backslash, create, database).0)
            };
            let dumped = digest(text, create, self.original.as_deref());
            let made = match (made, action(&edited, backslash)) {
                (Made::InPlace(_), Action::Create(again)) => {
                    Made::InPlace(digest(&edited, &again, Some(&self.name)))
                }
                (made, _) => made,
            };
            self.redefined.push(Redefined { table: create.name.clone(), dumped, made });
        }
        Some(edited)
    }

    /// What of a table's definition is left out or replaced because it lies outside of the server.
    fn elsewhere(&self, text: &[u8], backslash: bool) -> (Option<Made>, Edits<'static>) {
        if self.with_stand_ins
            && let Some((engine, edits)) = stand_in(text, backslash)
        {
            return (Some(Made::StandIn(engine)), edits);
        }
        let found = if self.without_places { places(text, backslash) } else { Vec::new() };
        let made = (!found.is_empty()).then_some(Made::InPlace(Digest128::ZERO));
        (made, found.into_iter().map(|range| (range, Cow::Borrowed(&b""[..]))).collect())
    }
}

/// The text with its ranges replaced; the ranges are in order.
fn edited(text: &[u8], edits: &[(Range<usize>, Cow<'_, [u8]>)]) -> Vec<u8> {
    let mut edited = Vec::with_capacity(text.len());
    let mut at = 0;
    for (range, by) in edits {
        if range.start < at {
            // Within what was replaced.
            continue;
        }
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
        if gap == Gap::Command
            && let Some(word) = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).nth(1)
        {
            self.delimiter = word.to_vec();
        }
        if gap != Gap::Sandbox {
            self.out.put(text);
        }
    }

    fn statement(&mut self, statement: Statement<'_>) {
        let Statement { text, delimiter, backslash } = statement;
        let mut more = None;
        let edited = match action(text, backslash) {
            Action::SetServer | Action::Lock(_) | Action::Unlock => return,
            Action::AlterDatabase { name, .. } => {
                Some(edited(text, &[(name, Cow::Borrowed(self.target.as_slice()))]))
            }
            Action::Create(create) => {
                // Views come apart from all else, and a statement in front of one would not.
                if create.kind != "view" {
                    self.tell(create.kind, &create.name);
                }
                self.definition(statement, &create)
            }
            Action::Set if self.after_head.is_some() => modes(text, backslash).map(|(list, wanted)| {
                more = self.after_head.take();
                edited(text, &[(list, Cow::Owned(wanted))])
            }),
            _ => None,
        };
        self.out.put(edited.as_deref().unwrap_or(text));
        self.out.put(delimiter);
        if let Some(more) = more {
            self.out.put(more.as_bytes());
        }
    }

    fn long(&mut self, piece: &[u8], _first: bool) {
        self.out.put(piece);
    }

    fn insert(&mut self, head: &[u8]) {
        if let Some(table) = insert_table(head).filter(|_| self.announcing) {
            self.tell("table", &table);
        }
        self.out.put(head);
    }

    fn data(&mut self, piece: &[u8]) {
        self.out.put(piece);
    }

    fn cut_off(&mut self, text: &[u8]) {
        self.out.put(text);
    }
}
