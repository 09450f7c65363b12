//! A streaming filter that replaces values in the rows of a dump.

use std::{
    io::{self, Read},
    ops::Range,
};

use memchr::memchr2;

use super::{
    lexer::{Gap, Handler, Lexer, Statement},
    objects::{Action, action, insert_columns, insert_table},
};
use crate::error::Result;

/// Bytes read at a time.
const CHUNK: usize = 256 * 1024;

/// Supplies the replacements.
pub trait Values {
    /// The first definition has come: the tool has begun its transaction.
    fn begun(&mut self) -> Result<()>;

    /// Begins the rows of a table; `columns` are those that the `INSERT` names, if any. Returns whether to process its rows.
    /// Called for each `INSERT`.
    fn table(&mut self, name: &str, columns: Option<Vec<String>>) -> Result<bool>;

    /// Processes a row, with its values as in the dump. Replacements are added to `instead`, in the order of the values.
    fn row(&mut self, values: &[&[u8]], instead: &mut Vec<(usize, Vec<u8>)>) -> Result<()>;

    /// Called periodically.
    fn tick(&mut self) -> Result<()>;

    /// The dump has ended.
    fn end(&mut self) -> Result<()>;
}

/// A dump with some values replaced.
pub struct Substitute<R, V> {
    inner: R,
    lexer: Lexer,
    work: Option<Work<V>>,
    chunk: Vec<u8>,
    at: usize,
    ended: bool,
}

impl<R: Read, V: Values> Substitute<R, V> {
    /// Reads `inner` with the replacements of `values`; without them nothing is changed.
    pub fn new(inner: R, values: Option<V>) -> Self {
        let work = values.map(|values| Work {
            values,
            rows: RowCutter::default(),
            looked_at: false,
            begun: false,
            out: Vec::new(),
            failed: None,
        });
        let chunk = if work.is_some() { vec![0; CHUNK] } else { Vec::new() };
        Self { inner, lexer: Lexer::new(), work, chunk, at: 0, ended: false }
    }

    /// Returns both.
    pub fn into_parts(self) -> (R, Option<V>) {
        (self.inner, self.work.map(|work| work.values))
    }
}

impl<R: Read, V: Values> Read for Substitute<R, V> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(work) = &mut self.work else { return self.inner.read(buffer) };
        while self.at == work.out.len() {
            if self.ended {
                return Ok(0);
            }
            self.at = 0;
            work.out.clear();
            let n = self.inner.read(&mut self.chunk)?;
            if n == 0 {
                self.ended = true;
                self.lexer.finish(work);
                let ended = work.values.end();
                work.noted(ended);
            } else {
                self.lexer.feed(&self.chunk[..n], work);
                let ticked = work.values.tick();
                work.noted(ticked);
            }
            if let Some(error) = work.failed.take() {
                self.ended = true;
                work.out.clear();
                return Err(io::Error::other(error));
            }
        }
        let rest = &work.out[self.at..];
        let n = rest.len().min(buffer.len());
        buffer[..n].copy_from_slice(&rest[..n]);
        self.at += n;
        Ok(n)
    }
}

struct Work<V> {
    values: V,
    rows: RowCutter,
    looked_at: bool,
    begun: bool,
    out: Vec<u8>,
    /// The first error; after it nothing is processed.
    failed: Option<crate::error::Error>,
}

impl<V: Values> Work<V> {
    fn noted<T: Default>(&mut self, done: Result<T>) -> T {
        done.unwrap_or_else(|error| {
            self.failed.get_or_insert(error);
            T::default()
        })
    }
}

impl<V: Values> Handler for Work<V> {
    fn gap(&mut self, _gap: Gap, text: &[u8]) {
        self.out.extend_from_slice(text);
    }

    fn statement(&mut self, statement: Statement<'_>) {
        if !self.begun
            && matches!(action(statement.text, statement.backslash), Action::Create(_) | Action::Table(_))
        {
            self.begun = true;
            let begun = self.values.begun();
            self.noted(begun);
        }
        self.out.extend_from_slice(statement.text);
        self.out.extend_from_slice(statement.delimiter);
    }

    fn long(&mut self, piece: &[u8], _first: bool) {
        self.out.extend_from_slice(piece);
    }

    fn insert(&mut self, head: &[u8]) {
        self.out.extend_from_slice(head);
        self.looked_at = false;
        if let Some(name) = insert_table(head).filter(|_| self.failed.is_none()) {
            let wanted = self.values.table(&name, insert_columns(head));
            self.looked_at = self.noted(wanted);
        }
        self.rows = RowCutter::default();
    }

    fn data(&mut self, piece: &[u8]) {
        if !self.looked_at || self.failed.is_some() {
            self.out.extend_from_slice(piece);
            return;
        }
        let done = self.rows.cut(piece, &mut self.values, &mut self.out);
        self.noted(done);
    }

    fn insert_end(&mut self, _foreign: bool) {
        self.out.append(&mut self.rows.row);
    }

    fn cut_off(&mut self, text: &[u8]) {
        self.out.append(&mut self.rows.row);
        self.out.extend_from_slice(text);
    }
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Between rows.
    #[default]
    Outside,
    Row,
    Text,
    Escape,
}

/// Splits rows, which arrive in pieces of any size, into values.
#[derive(Debug, Default)]
struct RowCutter {
    state: State,
    /// The current row from its parenthesis on, if it is incomplete.
    row: Vec<u8>,
    /// Number of its bytes already processed.
    seen: usize,
    depth: usize,
    values: Vec<Range<usize>>,
    /// The offset of the current value.
    begin: usize,
    instead: Vec<(usize, Vec<u8>)>,
}

impl RowCutter {
    /// Bytes added at a time to an incomplete row.
    const ADDED: usize = 4096;

    fn cut(&mut self, mut piece: &[u8], values: &mut impl Values, out: &mut Vec<u8>) -> Result<()> {
        while !self.row.is_empty() {
            let Some((some, rest)) = piece.split_at_checked(Self::ADDED.min(piece.len())) else {
                return Ok(());
            };
            if some.is_empty() {
                return Ok(());
            }
            let mut row = std::mem::take(&mut self.row);
            let before = row.len();
            row.extend_from_slice(some);
            match self.row_end(&row) {
                None => {
                    self.row = row;
                    piece = rest;
                }
                Some(end) => {
                    self.put(row.get(..end).unwrap_or_default(), values, out)?;
                    piece = piece.get(end - before..).unwrap_or_default();
                }
            }
        }
        while let Some(begin) = memchr::memchr(b'(', piece) {
            out.extend_from_slice(&piece[..begin]);
            piece = &piece[begin..];
            self.values.clear();
            (self.state, self.depth, self.begin, self.seen) = (State::Row, 0, 1, 1);
            let Some(end) = self.row_end(piece) else {
                self.row.extend_from_slice(piece);
                return Ok(());
            };
            self.put(&piece[..end], values, out)?;
            piece = &piece[end..];
        }
        out.extend_from_slice(piece);
        Ok(())
    }

    /// Continues the search for the end of a row: the position after its closing parenthesis.
    fn row_end(&mut self, row: &[u8]) -> Option<usize> {
        while let Some(&b) = row.get(self.seen) {
            match self.state {
                State::Text => match memchr2(b'\'', b'\\', &row[self.seen..]) {
                    None => self.seen = row.len(),
                    Some(length) => {
                        self.seen += length + 1;
                        let end = row[self.seen - 1];
                        self.state = if end == b'\'' { State::Row } else { State::Escape };
                    }
                },
                State::Escape => {
                    self.state = State::Text;
                    self.seen += 1;
                }
                State::Row | State::Outside => {
                    self.seen += 1;
                    match b {
                        b'\'' => self.state = State::Text,
                        b'(' => self.depth += 1,
                        b')' if self.depth > 0 => self.depth -= 1,
                        b',' | b')' if self.depth == 0 => {
                            self.values.push(self.begin..self.seen - 1);
                            self.begin = self.seen;
                            if b == b')' {
                                return Some(self.seen);
                            }
                        }
                        _ => {}
                    }
                }
            }
        }
        None
    }

    /// Writes a row with its replacements.
    fn put(&mut self, row: &[u8], values: &mut impl Values, out: &mut Vec<u8>) -> Result<()> {
        self.state = State::Outside;
        let texts: Vec<&[u8]> = self.values.iter().map(|range| row[range.clone()].trim_ascii()).collect();
        self.instead.clear();
        values.row(&texts, &mut self.instead)?;
        let mut at = 0;
        for (value, text) in &self.instead {
            let Some(range) = self.values.get(*value) else { continue };
            out.extend_from_slice(row.get(at..range.start).unwrap_or_default());
            out.extend_from_slice(text);
            at = range.end;
        }
        out.extend_from_slice(row.get(at..).unwrap_or_default());
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Replaces the second value of `t` by its length.
    struct Lengths;

    impl Values for Lengths {
        fn begun(&mut self) -> Result<()> {
            Ok(())
        }

        fn table(&mut self, name: &str, columns: Option<Vec<String>>) -> Result<bool> {
            assert!(columns.is_none_or(|columns| columns == ["a", "b`"]));
            Ok(name == "t")
        }

        fn row(&mut self, values: &[&[u8]], instead: &mut Vec<(usize, Vec<u8>)>) -> Result<()> {
            instead.push((1, values[1].len().to_string().into_bytes()));
            Ok(())
        }

        fn tick(&mut self) -> Result<()> {
            Ok(())
        }

        fn end(&mut self) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn values_are_replaced_wherever_the_pieces_end() {
        let dump = "CREATE TABLE `t` (a int);\nINSERT INTO `t` VALUES (1,'a),\\'(''b',3),\n(2,0xAB,4);\n\
                    INSERT INTO `u` VALUES (1,'x');\nINSERT INTO `t` (`a`, `b```) VALUES (NULL,-1.5e3);\n-- Dump completed\n";
        let wanted = "CREATE TABLE `t` (a int);\nINSERT INTO `t` VALUES (1,11,3),\n(2,4,4);\n\
                      INSERT INTO `u` VALUES (1,'x');\nINSERT INTO `t` (`a`, `b```) VALUES (NULL,6);\n-- Dump completed\n";
        for size in 1..dump.len() {
            let inner = std::io::Cursor::new(dump.as_bytes().to_vec());
            let mut text = String::new();
            let mut substitute = Substitute::new(Limited { inner, size }, Some(Lengths));
            substitute.read_to_string(&mut text).unwrap();
            assert_eq!(text, wanted, "{size}");
        }
    }

    struct Limited {
        inner: std::io::Cursor<Vec<u8>>,
        size: usize,
    }

    impl Read for Limited {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let n = buffer.len().min(self.size);
            self.inner.read(&mut buffer[..n])
        }
    }
}
