//! Selecting one table from a dump.

use std::io::{self, Write};

use super::{
    lexer::{Gap, Handler, LONGEST, Lexer, Statement},
    objects::{Action, action, insert_table},
    rewrite::Output,
    tokens::{Kind, Tokens, name_of},
};

/// A filter that passes the parts of a dump that one table needs: the session settings, the sequences of its columns, its
/// definition, rows and triggers. Foreign keys to other tables are kept.
#[derive(Debug)]
pub struct Select<W> {
    lexer: Lexer,
    choice: Choice<W>,
}

impl<W: Write> Select<W> {
    /// Writes to `out` what belongs to `table`, its name as it is, without quotes.
    pub fn new(table: &str, out: W) -> Self {
        let choice = Choice {
            table: table.to_owned(),
            found: false,
            keep: false,
            first: true,
            gap: Vec::new(),
            sequences: Vec::new(),
            sequences_size: 0,
            collation: Collation::default(),
            out: Output::new(out),
        };
        Self { lexer: Lexer::new(), choice }
    }

    /// Ends the dump; returns the writer, not flushed, and whether the table's definition was found.
    pub fn finish(mut self) -> io::Result<(W, bool)> {
        self.lexer.finish(&mut self.choice);
        self.choice.put_gap();
        let found = self.choice.found;
        Ok((self.choice.out.finish()?, found))
    }
}

impl<W: Write> Write for Select<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.lexer.feed(bytes, &mut self.choice);
        self.choice.out.result()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.choice.out.flush()
    }
}

/// Dump tools change the database's collation before an object that needs another one, and restore it afterwards.
#[derive(Debug, Default)]
enum Collation {
    #[default]
    AsItWas,
    /// To be changed by this statement if the object is wanted.
    Due(Vec<u8>),
    Changed,
    /// The object was left out, and so will be the change back.
    LeftOut,
}

#[derive(Debug)]
struct Choice<W> {
    table: String,
    found: bool,
    /// Whether the current rows or pieces are selected.
    keep: bool,
    /// Only comments have been read so far.
    first: bool,
    /// The text before the next statement, which is kept or dropped with it.
    gap: Vec<u8>,
    /// Statements about sequences, with their names: they come before it is known whether the table needs them.
    sequences: Vec<(String, Vec<u8>)>,
    sequences_size: usize,
    collation: Collation,
    out: Output<W>,
}

impl<W: Write> Choice<W> {
    fn put_gap(&mut self) {
        self.out.put(&self.gap);
        self.gap.clear();
    }

    fn put(&mut self, statement: Statement<'_>) {
        self.put_gap();
        self.out.put(statement.text);
        self.out.put(statement.delimiter);
    }

    fn hold(&mut self, name: String, statement: Statement<'_>) {
        let size = self.gap.len() + statement.text.len();
        if self.sequences_size + size > LONGEST {
            // More than can be kept: all of them go with the table.
            return self.put(statement);
        }
        self.sequences_size += size;
        let mut text = std::mem::take(&mut self.gap);
        text.extend_from_slice(statement.text);
        text.extend_from_slice(statement.delimiter);
        self.sequences.push((name, text));
    }

    /// Whether an `ALTER DATABASE` is wanted at once.
    fn alters(&mut self, text: &[u8]) -> bool {
        let before = std::mem::take(&mut self.collation);
        if matches!(before, Collation::AsItWas | Collation::Due(_)) {
            self.collation = Collation::Due(text.to_vec());
        }
        matches!(before, Collation::Changed)
    }

    fn change_collation(&mut self, wanted: bool, delimiter: &[u8]) {
        self.collation = match std::mem::take(&mut self.collation) {
            Collation::Due(text) if wanted => {
                self.out.put(&text);
                self.out.put(delimiter);
                self.out.put(b"\n");
                Collation::Changed
            }
            Collation::Due(_) => Collation::LeftOut,
            other => other,
        };
    }

    /// Writes the sequences that the table's definition names.
    fn release(&mut self, definition: &[u8], backslash: bool) {
        let sequences = std::mem::take(&mut self.sequences);
        if sequences.is_empty() {
            return;
        }
        let quoted = |kind: Kind| matches!(kind, Kind::Quoted(b'`' | b'"'));
        let names: Vec<String> = Tokens::new(definition, backslash)
            .filter(|token| quoted(token.kind))
            .filter_map(|token| name_of(definition, &token))
            .collect();
        for (_, text) in sequences.iter().filter(|(name, _)| names.contains(name)) {
            self.out.put(text);
        }
    }
}

impl<W: Write> Handler for Choice<W> {
    fn gap(&mut self, gap: Gap, text: &[u8]) {
        if gap == Gap::Command || gap == Gap::Sandbox || self.gap.len() + text.len() > LONGEST {
            // Delimiter changes apply to dropped parts as well.
            self.put_gap();
            self.out.put(text);
        } else {
            self.gap.extend_from_slice(text);
        }
    }

    fn statement(&mut self, statement: Statement<'_>) {
        let Statement { text, backslash, .. } = statement;
        let wanted = match action(text, backslash) {
            Action::SetOne(..) | Action::Set | Action::SetServer => true,
            Action::AlterDatabase { .. } => self.alters(text),
            Action::Table(name) | Action::Lock(name) | Action::Insert(name) => {
                self.keep = name == self.table;
                self.keep
            }
            Action::Unlock => self.keep,
            Action::Create(create) => match create.kind {
                "table" => {
                    self.keep = create.name == self.table;
                    self.found |= self.keep;
                    if self.keep {
                        self.release(text, backslash);
                    }
                    self.keep
                }
                "sequence" => return self.hold(create.name, statement),
                kind => {
                    let wanted = kind == "trigger" && create.table.as_ref() == Some(&self.table);
                    self.change_collation(wanted, statement.delimiter);
                    wanted
                }
            },
            Action::DropSequence(name) | Action::SetValue(name, _) => return self.hold(name, statement),
            Action::CreateUnknown | Action::Other => false,
        };
        if wanted {
            self.put(statement);
        } else if std::mem::take(&mut self.first) {
            // The head of the dump identifies it.
            self.put_gap();
        }
        self.first = false;
        self.gap.clear();
    }

    fn long(&mut self, piece: &[u8], first: bool) {
        if first {
            self.keep = matches!(action(piece, true), Action::Create(create) if create.name == self.table);
        }
        if self.keep {
            self.put_gap();
            self.out.put(piece);
        }
        self.gap.clear();
    }

    fn insert(&mut self, head: &[u8]) {
        self.keep = insert_table(head).is_some_and(|name| name == self.table);
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
        if self.keep {
            self.put_gap();
            self.out.put(text);
        }
    }
}
