//! What of a table's definition lies outside of the server that it is loaded into: files in other folders, tablespaces,
//! and engines that reach for files, servers and services.

use std::{borrow::Cow, ops::Range};

use super::tokens::{Cursor, Kind, name_of};
use crate::stream::digest::Digest128;

/// A table that was made otherwise than the dump defines it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redefined {
    /// Its name.
    pub table: String,
    /// Digest of its definition in the dump.
    pub dumped: Digest128,
    /// How it was made.
    pub made: Made,
}

/// How a table was made that was not made as the dump defines it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Made {
    /// Without the clauses that name folders and tablespaces; the digest of that definition.
    InPlace(Digest128),
    /// As a table of InnoDB with the same columns and keys, in place of one of this engine.
    StandIn(String),
}

/// What of a text is replaced by what.
pub(super) type Edits<'a> = Vec<(Range<usize>, Cow<'a, [u8]>)>;

/// Engines whose tables are files, servers or services elsewhere.
const REACHING: [&str; 6] = ["CASSANDRA", "CONNECT", "FEDERATED", "S3", "SPHINX", "SPIDER"];

/// Where a table's definition names folders and tablespaces, those of its partitions included. Names of columns are quoted
/// in dumps and cannot be taken for it.
pub(super) fn places(text: &[u8], backslash: bool) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut cursor = Cursor::new(text, backslash);
    let mut names_partition = false;
    while let Some(token) = cursor.next() {
        let word = text.get(token.range.clone()).filter(|_| token.kind == Kind::Word).unwrap_or_default();
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        let mut ahead = cursor.clone();
        let is_clause = if names_partition {
            false
        } else if is("DATA") || is("INDEX") {
            ahead.skip("DIRECTORY") && {
                ahead.skip_mark(b'=');
                ahead.next().is_some_and(|value| matches!(value.kind, Kind::Quoted(_)))
            }
        } else if is("TABLESPACE") {
            ahead.skip_mark(b'=');
            ahead.name().is_some()
        } else {
            false
        };
        names_partition = is("PARTITION") || is("SUBPARTITION");
        if is_clause {
            let end = ahead.position();
            let rest = text.get(end..).unwrap_or_default();
            let spaces = rest.len() - rest.trim_ascii_start().len();
            found.push(token.range.start..end + spaces);
            cursor = ahead;
        }
    }
    found
}

/// If the engine of a table reaches outside: its name, and what makes a table of InnoDB with the same columns and keys of the
/// definition.
pub(super) fn stand_in(text: &[u8], backslash: bool) -> Option<(String, Edits<'static>)> {
    // A definition that is a comment for some servers would lose the comment's end.
    if text.starts_with(b"/*") {
        return None;
    }
    let mut edits = Edits::new();
    let mut cursor = Cursor::new(text, backslash);
    let mut depth = 0_usize;
    let columns_end = loop {
        let token = cursor.next()?;
        match token.kind {
            Kind::Mark(b'(') => depth += 1,
            Kind::Mark(b')') if depth == 1 => break token.range.end,
            Kind::Mark(b')') => depth = depth.saturating_sub(1),
            // An option that only the engine knows, as in `a` int `FLAG`=1.
            Kind::Word | Kind::Quoted(_) if depth == 1 => {
                let mut ahead = cursor.clone();
                if ahead.skip_mark(b'=') && ahead.next().is_some() {
                    edits.push((token.range.start..ahead.position(), Cow::Borrowed(&b""[..])));
                    cursor = ahead;
                }
            }
            _ => {}
        }
    };
    let mut engine = None;
    let mut options = b" ENGINE=InnoDB".to_vec();
    while let Some(token) = cursor.next() {
        let word = text.get(token.range.clone()).filter(|_| token.kind == Kind::Word).unwrap_or_default();
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        if is("PARTITION") {
            break;
        }
        let kept = ["CHARSET", "COLLATE", "AUTO_INCREMENT"].iter().any(|name| is(name));
        let mut ahead = cursor.clone();
        if !(kept || is("ENGINE")) || !ahead.skip_mark(b'=') {
            continue;
        }
        let value = ahead.next()?;
        if kept {
            options.push(b' ');
            options.extend_from_slice(text.get(token.range.start..value.range.end)?);
        } else {
            engine.get_or_insert(name_of(text, &value)?);
        }
        cursor = ahead;
    }
    let engine = engine.filter(|engine| REACHING.iter().any(|name| name.eq_ignore_ascii_case(engine)))?;
    edits.push((columns_end..text.len(), Cow::Owned(options)));
    Some((engine.to_ascii_uppercase(), edits))
}

/// Under which modes rows are loaded, besides those that the dump sets: dates that no calendar has are stored as they are, and
/// an engine that is not there is an error rather than another engine.
const MODES: [&str; 2] = ["ALLOW_INVALID_DATES", "NO_ENGINE_SUBSTITUTION"];

/// The list of modes that the head of a dump sets while it keeps the session's own ones, and the list to set in its place.
pub(super) fn modes(text: &[u8], backslash: bool) -> Option<(Range<usize>, Vec<u8>)> {
    let mut cursor = Cursor::new(text, backslash);
    let mut is_variable = false;
    while let Some(token) = cursor.next() {
        let mut ahead = cursor.clone();
        let is_mode = token.kind == Kind::Word
            && text.get(token.range.clone())?.eq_ignore_ascii_case(b"SQL_MODE")
            && !is_variable
            && ahead.skip_mark(b'=');
        is_variable = token.kind == Kind::Mark(b'@');
        if !is_mode {
            continue;
        }
        let value = ahead.next()?;
        let list = name_of(text, &value).filter(|_| value.kind == Kind::Quoted(b'\''))?;
        let mut modes: Vec<&str> = list.split(',').map(str::trim).filter(|mode| !mode.is_empty()).collect();
        for wanted in MODES {
            if !modes.iter().any(|mode| mode.eq_ignore_ascii_case(wanted)) {
                modes.push(wanted);
            }
        }
        return Some((value.range, format!("'{}'", modes.join(",")).into_bytes()));
    }
    None
}
