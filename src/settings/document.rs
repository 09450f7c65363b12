//! The parsed TOML text, and a list of all problems in it, each with its line.

use std::{
    cell::RefCell,
    ops::Range,
    path::{Path, PathBuf},
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::error::{Error, Result};

/// A configuration text while it is read. Problems are collected, so that all are reported together.
pub(crate) struct Document<'t> {
    text: &'t str,
    file: &'t Path,
    folder: PathBuf,
    problems: RefCell<Vec<Problem>>,
}

struct Problem {
    line: Option<usize>,
    text: String,
}

impl<'t> Document<'t> {
    /// Wraps a text; `file` is its name in messages, and relative paths in it start from `folder`.
    pub(crate) fn new(text: &'t str, file: &'t Path, folder: PathBuf) -> Self {
        Self { text, file, folder, problems: RefCell::default() }
    }

    /// The directory that relative paths start from; absolute.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Parses the text. `None` if its syntax is invalid, because the values are then unreliable.
    pub(crate) fn parse(&self) -> Option<Spanned<DeTable<'t>>> {
        let (table, faults) = DeTable::parse_recoverable(self.text);
        let mut sound = true;
        let mut last_line = None;
        let mut repeated = None;
        for fault in faults {
            let line = fault.span().map(|span| self.line(span.start));
            let section = fault.span().and_then(|span| self.section(span.start));
            let text = match fault.span().and_then(|span| self.text.get(span)) {
                // The keys of a section that appears twice appear twice as well.
                Some(_) if fault.message() == "duplicate key" && section.is_some() && section == repeated => {
                    continue;
                }
                Some(_)
                    if fault.message() == "duplicate key"
                        && section.is_some_and(|(at, _)| Some(at) == line) =>
                {
                    repeated = section;
                    let name = section.map(|(_, text)| text).unwrap_or_default();
                    format!("the section {name} appears twice; put its keys together")
                }
                Some(key) if fault.message() == "duplicate key" => {
                    let name = key.trim_matches(['"', '\'']);
                    format!("duplicate key {name:?}")
                }
                _ => {
                    sound = false;
                    format!("not valid TOML: {}", fault.message())
                }
            };
            // One mistake often causes several errors of the parser in the same line.
            if line.is_none() || line != last_line {
                self.report(line, text);
            }
            last_line = line;
        }
        sound.then_some(table)
    }

    /// The line and the text of the header of the section that a byte offset is in.
    fn section(&self, offset: usize) -> Option<(usize, &'t str)> {
        let lines = self.text.lines().enumerate().take(self.line(offset));
        let headings = lines.filter(|(_, text)| text.trim_start().starts_with('['));
        headings.last().map(|(index, text)| (index + 1, text.trim()))
    }

    /// The line, from 1, of a byte offset.
    pub(crate) fn line(&self, offset: usize) -> usize {
        self.text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
    }

    /// Notes a problem.
    pub(crate) fn report(&self, line: Option<usize>, text: String) {
        self.problems.borrow_mut().push(Problem { line, text });
    }

    /// Returns the value that was read, if there are no problems.
    ///
    /// # Errors
    /// Exit code 2 with all problems, one a line, in the order of the file.
    pub(crate) fn finish<T>(self, value: Option<T>) -> Result<T> {
        let mut problems = self.problems.into_inner();
        match value {
            Some(value) if problems.is_empty() => return Ok(value),
            _ => problems.sort_by_key(|problem| problem.line),
        }
        let file = self.file.display();
        let lines: Vec<String> = problems
            .iter()
            .map(|Problem { line, text }| match line {
                Some(line) => format!("{file}:{line}: {text}"),
                None => format!("{file}: {text}"),
            })
            .collect();
        Err(Error::usage(match lines.as_slice() {
            [one] => one.clone(),
            _ => format!("{} problems in the configuration\n{}", lines.len(), lines.join("\n")),
        }))
    }
}

/// The entries of a table in the order of the file: name, position of the name, value.
pub(crate) fn in_file_order<'d, 't>(
    table: &'d DeTable<'t>,
) -> Vec<(&'d str, Range<usize>, &'d Spanned<DeValue<'t>>)> {
    let mut entries: Vec<_> =
        table.iter().map(|(key, value)| (key.get_ref().as_ref(), key.span(), value)).collect();
    entries.sort_by_key(|(_, span, _)| span.start);
    entries
}

/// A key's full name, quoted where TOML would need quotes.
pub(crate) fn join_key(parent: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    let key = if bare { key.to_owned() } else { format!("{key:?}") };
    if parent.is_empty() { key } else { format!("{parent}.{key}") }
}

/// The type of a value, in words.
pub(crate) fn type_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
