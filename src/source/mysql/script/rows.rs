//! The rows of an `INSERT`, from behind `VALUES` to the end of the statement, in pieces of any size.

use memchr::{memchr2, memchr3};

use super::tokens::is_space;
use crate::stream::digest::{PieceHasher, RowDigest};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Between rows, after this many bytes of the delimiter.
    Between(usize),
    Row,
    Text,
    Escape,
    /// Something that is neither row nor delimiter.
    Foreign,
    ForeignText(u8),
    ForeignEscape(u8),
}

/// Finds the rows and adds the text between their parentheses to a digest.
#[derive(Debug)]
pub(super) struct Rows {
    state: State,
    depth: usize,
    backslash: bool,
    delimiter: Vec<u8>,
    hasher: PieceHasher,
    foreign: bool,
}

impl Rows {
    /// Nothing read yet.
    pub(super) fn new() -> Self {
        Self {
            state: State::Between(0),
            depth: 0,
            backslash: true,
            delimiter: Vec::new(),
            hasher: PieceHasher::new(),
            foreign: false,
        }
    }

    /// Prepares for the text after `VALUES`.
    pub(super) fn begin(&mut self, delimiter: &[u8], backslash: bool) {
        *self = Self { delimiter: delimiter.to_vec(), backslash, ..Self::new() };
    }

    /// Whether something else than rows stood in the statement.
    pub(super) fn foreign(&self) -> bool {
        self.foreign
    }

    /// Continues reading, and returns the number of bytes that belong to the statement and whether it ended with them. Without
    /// `digest` nothing is hashed.
    pub(super) fn scan(&mut self, bytes: &[u8], mut digest: Option<&mut RowDigest>) -> (usize, bool) {
        let mut at = 0;
        // Where the part of the present row begins that is in `bytes`.
        let mut start = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            match self.state {
                State::Text => match self.text_end(rest) {
                    None => at = bytes.len(),
                    Some(length) => at += length,
                },
                State::Row => match memchr3(b'\'', b')', b'(', rest) {
                    None => at = bytes.len(),
                    Some(length) => {
                        let end = at + length;
                        at = end + 1;
                        match bytes[end] {
                            b'\'' => self.state = State::Text,
                            b'(' => self.depth += 1,
                            _ if self.depth > 0 => self.depth -= 1,
                            _ => {
                                self.state = State::Between(0);
                                self.end_row(&bytes[start..end], digest.as_deref_mut());
                            }
                        }
                    }
                },
                State::Escape => {
                    self.state = State::Text;
                    at += 1;
                }
                _ => {
                    let (length, ended) = self.outside(rest);
                    at += length;
                    start = at;
                    if ended {
                        return (at, true);
                    }
                }
            }
        }
        if digest.is_some() && matches!(self.state, State::Row | State::Text | State::Escape) {
            self.hasher.push(&bytes[start..]);
        }
        (bytes.len(), false)
    }

    fn end_row(&mut self, last: &[u8], digest: Option<&mut RowDigest>) {
        let Some(digest) = digest else { return };
        if self.hasher.is_empty() {
            digest.add(last);
        } else {
            let bytes = self.hasher.len() + last.len() as u64;
            digest.add_hashed(bytes, self.hasher.finish(last));
        }
    }

    /// Length of the rest of a string up to and including its quote or a backslash.
    #[inline]
    fn text_end(&mut self, rest: &[u8]) -> Option<usize> {
        let end = if self.backslash { memchr2(b'\'', b'\\', rest) } else { memchr::memchr(b'\'', rest) }?;
        self.state = if rest[end] == b'\'' { State::Row } else { State::Escape };
        Some(end + 1)
    }

    /// Reads the text between rows up to the next row's parenthesis or the statement's end.
    fn outside(&mut self, rest: &[u8]) -> (usize, bool) {
        for (at, &b) in rest.iter().enumerate() {
            match self.state {
                State::Between(matched) => {
                    let expected = self.delimiter.get(matched) == Some(&b);
                    if expected && matched + 1 == self.delimiter.len() {
                        return (at + 1, true);
                    } else if expected {
                        self.state = State::Between(matched + 1);
                    } else if matched == 0 && b == b'(' {
                        self.state = State::Row;
                        return (at + 1, false);
                    } else if matched > 0 || !(b == b',' || is_space(b)) {
                        self.foreign = true;
                        self.state = State::Foreign;
                        self.foreign_byte(b);
                    }
                }
                State::ForeignText(quote) if b == b'\\' && self.backslash => {
                    self.state = State::ForeignEscape(quote);
                }
                State::ForeignText(quote) if b == quote => self.state = State::Foreign,
                State::ForeignEscape(quote) => self.state = State::ForeignText(quote),
                State::Foreign if self.delimiter.first() == Some(&b) => {
                    if self.delimiter.len() == 1 {
                        return (at + 1, true);
                    }
                    self.state = State::Between(1);
                }
                State::Foreign => self.foreign_byte(b),
                _ => {}
            }
        }
        (rest.len(), false)
    }

    fn foreign_byte(&mut self, b: u8) {
        if matches!(b, b'\'' | b'"' | b'`') {
            self.state = State::ForeignText(b);
        }
    }
}
