//! Splits a dump into statements, comments and client commands as the SQL client does, for input in pieces of any size.

use memchr::{memchr, memchr2, memmem};

use super::{objects::sets_backslash, rows::Rows, tokens::is_space};
use crate::stream::digest::RowDigest;

/// Statements longer than this are passed on in pieces: definitions are not that long.
pub(super) const LONGEST: usize = 16 << 20;
/// Number of bytes of a long statement that are kept for looking back.
const KEPT: usize = 64;
const SANDBOX: [&[u8]; 2] = [b"/*M!999999\\-", b"/*!999999\\-"];

/// Text between statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gap {
    /// White space.
    Space,
    /// A comment; one to the end of the line has its line feed.
    Comment,
    /// MariaDB's comment that disables commands of the client.
    Sandbox,
    /// `DELIMITER` with its line feed.
    Command,
}

/// A whole statement.
#[derive(Debug, Clone, Copy)]
pub(super) struct Statement<'a> {
    /// The statement without its delimiter.
    pub(super) text: &'a [u8],
    /// The delimiter as written.
    pub(super) delimiter: &'a [u8],
    /// Whether a backslash escapes the next byte in a string.
    pub(super) backslash: bool,
}

/// Receives the output of a [`Lexer`]: all bytes of the dump exactly once and in order, except for the delimiter, which comes
/// with its statement.
pub(super) trait Handler {
    /// A part of the text between statements.
    fn gap(&mut self, gap: Gap, text: &[u8]);
    /// A statement other than an `INSERT` with rows.
    fn statement(&mut self, statement: Statement<'_>);
    /// A piece of a statement that is too long to be buffered; `first` if it is the first one.
    fn long(&mut self, piece: &[u8], first: bool);
    /// An `INSERT` begins: everything up to the parenthesis of the first row.
    fn insert(&mut self, head: &[u8]);
    /// The digest for the rows of the current `INSERT`, if they are digested.
    fn rows(&mut self) -> Option<&mut RowDigest> {
        None
    }
    /// The rows of an `INSERT` with all between and the delimiter.
    fn data(&mut self, piece: &[u8]);
    /// An `INSERT` ended; `foreign`: it contained something that is not a row.
    fn insert_end(&mut self, _foreign: bool) {}
    /// The dump ended within a statement, of which this is the last part.
    fn cut_off(&mut self, text: &[u8]);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Between statements.
    Start,
    Code,
    /// After `/*`.
    Slash,
    /// After `/*M`.
    SlashM,
    /// In a comment; whether a `*` was seen last.
    Comment(bool),
    Line,
    Quoted(u8),
    Escaped(u8),
    /// Between dollar quotes.
    Dollar,
    Command,
    Data,
}

/// The lexer.
#[derive(Debug)]
pub(super) struct Lexer {
    state: State,
    buf: Vec<u8>,
    /// The bytes of `buf` before this offset are the end of a string or comment.
    mark: usize,
    delimiter: Vec<u8>,
    backslash: bool,
    conditional: usize,
    insert: bool,
    long: bool,
    /// The end of the current dollar quotes.
    dollar: Vec<u8>,
    rows: Rows,
}

impl Lexer {
    /// A lexer at the beginning of a dump.
    pub(super) fn new() -> Self {
        Self {
            state: State::Start,
            buf: Vec::new(),
            mark: 0,
            delimiter: b";".to_vec(),
            backslash: true,
            conditional: 0,
            insert: false,
            long: false,
            dollar: Vec::new(),
            rows: Rows::new(),
        }
    }

    /// Processes the next bytes.
    pub(super) fn feed(&mut self, mut bytes: &[u8], handler: &mut impl Handler) {
        while let Some(&first) = bytes.first() {
            let used = match self.state {
                State::Data => self.rows_of(bytes, handler),
                State::Start if is_space(first) => {
                    let length = bytes.iter().take_while(|b| is_space(**b)).count();
                    handler.gap(Gap::Space, &bytes[..length]);
                    length
                }
                State::Quoted(quote) => self.quoted(bytes, quote),
                State::Line | State::Command => self.line(bytes, handler),
                _ => {
                    self.step(first, handler);
                    1
                }
            };
            if self.buf.len() > LONGEST {
                self.spill(handler);
            }
            bytes = &bytes[used.clamp(1, bytes.len())..];
        }
    }

    /// Ends the dump.
    pub(super) fn finish(&mut self, handler: &mut impl Handler) {
        match self.state {
            State::Start => {}
            State::Line if self.is_comment() => handler.gap(Gap::Comment, &self.buf),
            State::Command => handler.gap(Gap::Command, &self.buf),
            _ => handler.cut_off(&self.buf),
        }
        self.reset();
    }

    fn rows_of(&mut self, bytes: &[u8], handler: &mut impl Handler) -> usize {
        let (used, ended) = self.rows.scan(bytes, handler.rows());
        handler.data(&bytes[..used]);
        if ended {
            handler.insert_end(self.rows.foreign());
            self.reset();
        }
        used
    }

    fn quoted(&mut self, bytes: &[u8], quote: u8) -> usize {
        let escapes = self.backslash && quote != b'`';
        let end = if escapes { memchr2(quote, b'\\', bytes) } else { memchr(quote, bytes) };
        let used = end.map_or(bytes.len(), |end| end + 1);
        self.buf.extend_from_slice(&bytes[..used]);
        match end.map(|end| bytes[end]) {
            Some(b'\\') => self.state = State::Escaped(quote),
            Some(_) => self.code(),
            None => {}
        }
        used
    }

    fn line(&mut self, bytes: &[u8], handler: &mut impl Handler) -> usize {
        let end = memchr(b'\n', bytes);
        let used = end.map_or(bytes.len(), |end| end + 1);
        self.buf.extend_from_slice(&bytes[..used]);
        if end.is_some() {
            self.end_line(handler);
        }
        used
    }

    fn end_line(&mut self, handler: &mut impl Handler) {
        if self.state == State::Command {
            let text = self.buf.get(COMMAND.len()..).unwrap_or_default();
            if let Some(word) = text.split(|b| is_space(*b)).find(|word| !word.is_empty()) {
                self.delimiter = word.to_vec();
            }
            handler.gap(Gap::Command, &self.buf);
            self.reset();
        } else if self.is_comment() {
            handler.gap(Gap::Comment, &self.buf);
            self.reset();
        } else {
            self.code();
        }
    }

    /// Whether the buffer contains only a comment.
    fn is_comment(&self) -> bool {
        let code = [&b"/*!"[..], b"/*M!"].iter().any(|head| self.buf.starts_with(head));
        !self.long && !code && [&b"--"[..], b"#", b"/*"].iter().any(|head| self.buf.starts_with(head))
    }

    fn step(&mut self, b: u8, handler: &mut impl Handler) {
        self.buf.push(b);
        match self.state {
            State::Escaped(quote) => self.state = State::Quoted(quote),
            State::Slash if b == b'M' => self.state = State::SlashM,
            State::Slash | State::SlashM if b == b'!' => {
                self.conditional += 1;
                self.code();
            }
            State::Slash | State::SlashM => self.state = State::Comment(b == b'*'),
            State::Comment(true) if b == b'/' && self.is_comment() => {
                handler.gap(Gap::Comment, &self.buf);
                self.reset();
            }
            State::Comment(true) if b == b'/' => self.code(),
            State::Comment(_) => self.state = State::Comment(b == b'*'),
            State::Dollar if b == b'$' && self.recent().ends_with(&self.dollar) => self.code(),
            State::Dollar => {}
            _ => {
                self.state = State::Code;
                self.code_byte(b, handler);
            }
        }
    }

    fn code_byte(&mut self, b: u8, handler: &mut impl Handler) {
        let length = self.buf.len();
        let recent = self.recent();
        if recent.ends_with(&self.delimiter) {
            self.end_statement(handler);
            return;
        }
        let before = &recent[..recent.len().saturating_sub(1)];
        match b {
            b'\'' | b'"' | b'`' => self.state = State::Quoted(b),
            b'#' => self.state = State::Line,
            b'*' if before.ends_with(b"/") => self.state = State::Slash,
            b'/' if self.conditional > 0 && before.ends_with(b"*") => {
                self.conditional -= 1;
                self.code();
                if !self.long && SANDBOX.iter().any(|sandbox| self.buf.starts_with(sandbox)) {
                    handler.gap(Gap::Sandbox, &self.buf);
                    self.reset();
                }
            }
            b'(' if self.insert && !self.long && is_insert_head(before) => self.begin_rows(handler),
            b'$' => self.dollar(),
            _ if is_space(b) && before.ends_with(b"--") => {
                self.state = State::Line;
                if b == b'\n' {
                    self.end_line(handler);
                }
            }
            _ if length == COMMAND.len() && self.buf.eq_ignore_ascii_case(COMMAND) => {
                self.state = State::Command;
            }
            _ if length == 6 => self.insert = self.buf.eq_ignore_ascii_case(b"INSERT"),
            _ if length == 7 => self.insert |= self.buf.eq_ignore_ascii_case(b"REPLACE"),
            _ => {}
        }
    }

    /// The body of a routine in another language is in dollar quotes, as in `AS $$ … $$`.
    fn dollar(&mut self) {
        let Some(start) = self.buf.iter().rposition(|b| is_space(*b)).map(|space| space + 1) else { return };
        let quote = self.buf.get(start..).unwrap_or_default();
        let plain = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
        let inner = quote.strip_prefix(b"$").and_then(|rest| rest.strip_suffix(b"$"));
        let before = self.buf.get(..start).unwrap_or_default().trim_ascii_end();
        if inner.is_some_and(|inner| inner.iter().all(plain))
            && before
                .len()
                .checked_sub(3)
                .is_some_and(|at| is_space(before[at]) && before[at + 1..].eq_ignore_ascii_case(b"AS"))
            && memmem::find(before, b"LANGUAGE").is_some()
        {
            self.dollar = quote.to_vec();
            self.code();
            self.state = State::Dollar;
        }
    }

    /// The bytes kept for looking back.
    fn recent(&self) -> &[u8] {
        self.buf.get(self.mark..).unwrap_or_default()
    }

    fn code(&mut self) {
        self.state = State::Code;
        self.mark = self.buf.len();
    }

    fn begin_rows(&mut self, handler: &mut impl Handler) {
        self.buf.pop();
        handler.insert(&self.buf);
        self.reset();
        self.rows.begin(&self.delimiter, self.backslash);
        self.state = State::Data;
        self.rows_of(b"(", handler);
    }

    fn end_statement(&mut self, handler: &mut impl Handler) {
        if self.long {
            handler.long(&self.buf, false);
        } else {
            let (text, delimiter) = self.buf.split_at(self.buf.len() - self.delimiter.len());
            handler.statement(Statement { text, delimiter, backslash: self.backslash });
            if let Some(backslash) = sets_backslash(text) {
                self.backslash = backslash;
            }
        }
        self.reset();
    }

    fn spill(&mut self, handler: &mut impl Handler) {
        let passed = self.buf.len() - KEPT.max(self.delimiter.len());
        handler.long(&self.buf[..passed], !self.long);
        self.buf.drain(..passed);
        self.mark = self.mark.saturating_sub(passed);
        self.long = true;
    }

    fn reset(&mut self) {
        self.buf.clear();
        self.mark = 0;
        self.conditional = 0;
        self.insert = false;
        self.long = false;
        self.state = State::Start;
    }
}

const COMMAND: &[u8] = b"DELIMITER ";

/// Whether an `INSERT` has come to its rows.
fn is_insert_head(text: &[u8]) -> bool {
    let text = text.trim_ascii_end();
    let at = text.len().saturating_sub(b"VALUES".len());
    let apart = at == 0 || is_space(text[at - 1]) || text[at - 1] == b')';
    apart && text[at..].eq_ignore_ascii_case(b"VALUES")
}
