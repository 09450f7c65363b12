//! The family's own SQL client for the program's queries: they use exactly the TLS and authentication of the dump.

use std::time::Duration;

use parking_lot::Mutex;

use super::{
    connect::Connection,
    dialogue::{Dialogue, Unanswered},
    hints,
};
use crate::{
    error::{Error, Result},
    stream::cancel::Cancel,
};

/// Longest answer accepted, in bytes.
const ANSWER: usize = 512 * 1024 * 1024;
/// Maximum time of a query: the rows of large tables are not counted here.
const QUERY: Duration = Duration::from_secs(300);

/// Queries a server. Consecutive queries use one connection until one of them fails; a caller that changes a setting of the
/// session must restore it.
pub struct Session<'a> {
    connection: &'a Connection,
    cancel: &'a Cancel,
    limit: Duration,
    dialogue: Mutex<Option<Dialogue>>,
}

impl<'a> Session<'a> {
    /// A session over this connection.
    pub fn new(connection: &'a Connection, cancel: &'a Cancel) -> Self {
        Self { connection, cancel, limit: QUERY, dialogue: Mutex::new(None) }
    }

    /// Closes the connection until the next query.
    pub fn pause(&self) {
        *self.dialogue.lock() = None;
    }

    /// The server for messages.
    pub fn server(&self) -> &str {
        self.connection.server()
    }

    /// Sets the time limit of queries.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// The rows that the statements of `sql` return, as text; NULL is the text `NULL`.
    pub fn query(&self, sql: &str) -> Result<Vec<Vec<String>>> {
        let output = self.answer(sql)?;
        let text = String::from_utf8(output).map_err(|error| {
            Error::failed(format!("an answer of {} is not UTF-8", self.connection.server())).because(&error)
        })?;
        let lines = text.strip_suffix('\n').unwrap_or(&text);
        // Not `lines()`, which would remove a carriage return at the end of a value.
        Ok(lines
            .split('\n')
            .filter(|_| !text.is_empty())
            .map(|line| line.split('\t').map(unescape).collect())
            .collect())
    }

    /// As [`Self::query`], with each value as the bytes that the server has, for texts in other character sets.
    pub fn query_bytes(&self, sql: &str) -> Result<Vec<Vec<Vec<u8>>>> {
        let output = self.answer(&format!(
            "SET SESSION character_set_results = binary; {sql}; SET SESSION character_set_results = utf8mb4"
        ))?;
        let lines = output.strip_suffix(b"\n").unwrap_or(&output);
        Ok(lines
            .split(|byte| *byte == b'\n')
            .filter(|_| !output.is_empty())
            .map(|line| line.split(|byte| *byte == b'\t').map(unescape_bytes).collect())
            .collect())
    }

    fn answer(&self, sql: &str) -> Result<Vec<u8>> {
        let mut dialogue = self.dialogue.lock();
        let reused = dialogue.is_some();
        match self.exchange(&mut dialogue, sql) {
            // The server closes idle connections.
            Err(Unanswered { closed: true, .. }) if reused => self.exchange(&mut dialogue, sql),
            answer => answer,
        }
        .map_err(|unanswered| hints::explain(unanswered.error.context(self.connection.server())))
    }

    /// Queries over the existing connection, or over a new one, which is kept unless the query fails.
    fn exchange(&self, slot: &mut Option<Dialogue>, sql: &str) -> Result<Vec<u8>, Unanswered> {
        let fatal = |error| Unanswered { error, closed: false };
        let mut dialogue = match slot.take() {
            Some(dialogue) => dialogue,
            None => Dialogue::open(self.connection, None, self.cancel).map_err(fatal)?,
        };
        dialogue.ask(sql, self.limit)?;
        let mut answer = Vec::new();
        while let Some(line) = dialogue.line(self.limit)? {
            answer.extend_from_slice(line);
            answer.push(b'\n');
            if answer.len() > ANSWER {
                return Err(fatal(Error::failed(format!("the client wrote more than {ANSWER} bytes"))));
            }
        }
        *slot = Some(dialogue);
        Ok(answer)
    }

    /// The single row that `sql` returns, with exactly `N` columns.
    pub fn row<const N: usize>(&self, sql: &str) -> Result<[String; N]> {
        let mut rows = self.query(sql)?;
        let row = rows.pop().filter(|_| rows.is_empty()).and_then(|row| row.try_into().ok());
        row.ok_or_else(|| {
            Error::failed(format!("{} gave an unexpected answer to {sql}", self.connection.server()))
        })
    }

    /// Rows of exactly `N` columns.
    pub fn rows<const N: usize>(&self, sql: &str) -> Result<Vec<[String; N]>> {
        self.query(sql)?
            .into_iter()
            .map(|row| {
                row.try_into().map_err(|_| {
                    Error::failed(format!("{} gave an unexpected answer to {sql}", self.connection.server()))
                })
            })
            .collect()
    }
}

/// A value as the client writes it in batch mode.
fn unescape(value: &str) -> String {
    if !value.contains('\\') {
        return value.to_owned();
    }
    let mut text = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match (c, if c == '\\' { chars.next() } else { None }) {
            ('\\', Some('n')) => text.push('\n'),
            ('\\', Some('t')) => text.push('\t'),
            ('\\', Some('0')) => text.push('\0'),
            ('\\', Some(other)) => text.push(other),
            (c, _) => text.push(c),
        }
    }
    text
}

/// The bytes of a value as the client writes it in batch mode.
pub(super) fn unescape_bytes(value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.iter();
    while let Some(&b) = rest.next() {
        bytes.push(match (b, if b == b'\\' { rest.next() } else { None }) {
            (b'\\', Some(b'n')) => b'\n',
            (b'\\', Some(b't')) => b'\t',
            (b'\\', Some(b'0')) => 0,
            (b'\\', Some(&other)) => other,
            (b, _) => b,
        });
    }
    bytes
}

/// A string as an SQL expression, whatever the `sql_mode`.
pub fn quote_literal(text: &str) -> String {
    if text.bytes().all(|byte| byte != b'\\' && byte != b'\'') {
        return format!("'{text}'");
    }
    let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("CONVERT(0x{hex} USING utf8mb4)")
}

/// A string as a literal, where the grammar wants no expression. The program's sessions set the matching `sql_mode`.
pub fn quote_text(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// A name as a quoted SQL identifier.
pub fn quote_ident(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_batch_mode_are_read() {
        assert_eq!(unescape(r"a\tb\nc\\n\0d"), "a\tb\nc\\n\0d");
        assert_eq!(unescape("plain"), "plain");
        assert_eq!(unescape("end\\"), "end\\");
        assert_eq!(unescape_bytes(b"a\\tb\\nc\\\\n\\0d\xff"), b"a\tb\nc\\n\0d\xff");
    }

    #[test]
    fn names_and_texts_are_quoted() {
        assert_eq!(quote_ident("a`b"), "`a``b`");
        assert_eq!(quote_literal("shop"), "'shop'");
        assert_eq!(quote_literal("it's"), "CONVERT(0x69742773 USING utf8mb4)");
    }
}
