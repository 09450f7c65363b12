//! The parts of a table's definition as servers write it: columns, keys and constraints, and which of these can be added after
//! the rows with the same result. What is not understood stays where it is.

use std::{collections::BTreeSet, ops::Range};

use super::tokens::{Cursor, Kind, Token, Tokens, name_of};

/// A `CREATE TABLE` whose columns, keys and constraints were understood.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Definition {
    /// The name as written, with its quotes.
    name: Range<usize>,
    /// Whether a table of this definition is an ordinary InnoDB table: neither partitioned nor versioned.
    ordinary: bool,
    /// The columns of the primary key; empty without one.
    primary: Vec<String>,
    /// The column that counts.
    counter: Option<String>,
    /// Whether a column is computed, or rows have periods.
    computed: bool,
    /// Keys besides the primary key.
    keys: Vec<Key>,
    /// Foreign keys.
    foreign: Vec<Part>,
    /// The lower-case names of the tables that foreign keys refer to.
    referenced: BTreeSet<String>,
}

/// A key besides the primary key.
#[derive(Debug, PartialEq, Eq)]
struct Key {
    part: Part,
    /// Whether it is a B-tree over columns or their beginnings, with no option but a comment or its visibility.
    plain: bool,
}

/// A line of a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    /// From the comma in front of it to its end.
    with_comma: Range<usize>,
    /// Its text.
    text: Range<usize>,
}

/// What is added to a table after its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Later {
    /// All keys besides the primary key.
    pub(super) keys: bool,
    /// All foreign keys.
    pub(super) foreign: bool,
}

impl Definition {
    /// Reads a definition.
    pub(super) fn parse(text: &[u8], backslash: bool) -> Option<Self> {
        let mut cursor = Cursor::new(text, backslash);
        if !cursor.skip_all(&["CREATE", "TABLE"]) || text.starts_with(b"/*") {
            return None;
        }
        cursor.skip_all(&["IF", "NOT", "EXISTS"]);
        let first = cursor.next()?;
        let mut end = first.range.end;
        while cursor.skip_mark(b'.') {
            end = cursor.next()?.range.end;
        }
        let mut definition = Self { name: first.range.start..end, ..Self::default() };
        if !cursor.skip_mark(b'(') {
            return None;
        }
        let (parts, after) = parts(text, cursor.position(), backslash)?;
        for part in parts {
            definition.add(text, part, backslash)?;
        }
        definition.ordinary = is_ordinary(text.get(after..)?, backslash);
        Some(definition)
    }

    fn add(&mut self, text: &[u8], part: Part, backslash: bool) -> Option<()> {
        let line = text.get(part.text.clone())?;
        let mut cursor = Cursor::new(line, backslash);
        let first = cursor.next()?;
        if first.kind == Kind::Quoted(b'`') {
            return self.column(line, &first, cursor);
        }
        let mut cursor = Cursor::new(line, backslash);
        if cursor.skip_all(&["PRIMARY", "KEY"]) {
            self.primary = columns(&mut cursor)?;
        } else if cursor.skip_all(&["UNIQUE", "KEY"]) || cursor.skip("KEY") {
            cursor.name()?;
            let plain = columns(&mut cursor).is_some() && has_plain_options(cursor);
            self.keys.push(Key { part, plain });
        } else if ["FULLTEXT", "SPATIAL", "VECTOR"].iter().any(|word| cursor.skip_all(&[*word, "KEY"])) {
            self.keys.push(Key { part, plain: false });
        } else if cursor.skip("PERIOD") {
            self.computed = true;
        } else if cursor.skip("CONSTRAINT") {
            cursor.name()?;
            if cursor.skip_all(&["FOREIGN", "KEY"]) {
                self.referenced.insert(referenced(&mut cursor)?);
                self.foreign.push(part);
            } else if !cursor.skip("CHECK") {
                return None;
            }
        } else if !cursor.skip("CHECK") {
            return None;
        }
        Some(())
    }

    fn column(&mut self, line: &[u8], name: &Token, mut cursor: Cursor<'_>) -> Option<()> {
        let name = name_of(line, name)?;
        let mut depth = 0_usize;
        while let Some(token) = cursor.next() {
            match token.kind {
                Kind::Mark(b'(') => depth += 1,
                Kind::Mark(b')') => depth = depth.checked_sub(1)?,
                Kind::Word if depth == 0 => {
                    let word = line.get(token.range)?;
                    let is = |wanted: &str| word.eq_ignore_ascii_case(wanted.as_bytes());
                    if is("AUTO_INCREMENT") {
                        self.counter = Some(name.clone());
                    }
                    self.computed |= is("GENERATED") || is("AS");
                }
                _ => {}
            }
        }
        Some(())
    }

    /// Whether rows may be loaded in any order and by several sessions, and come back in the same order: that of the primary key.
    pub(super) fn takes_rows_in_any_order(&self) -> bool {
        self.ordinary && !self.primary.is_empty()
    }

    /// Whether the table is the same if all keys but the primary one are added after its rows.
    pub(super) fn keys_can_follow(&self) -> bool {
        let counts = self.counter.as_ref().is_none_or(|counter| self.primary.first() == Some(counter));
        let plain = self.keys.iter().all(|key| key.plain);
        self.takes_rows_in_any_order() && !self.computed && counts && plain && !self.keys.is_empty()
    }

    /// Whether it has foreign keys.
    pub(super) fn has_foreign_keys(&self) -> bool {
        !self.foreign.is_empty()
    }

    /// The lower-case names of the tables that its foreign keys refer to.
    pub(super) fn referenced(&self) -> &BTreeSet<String> {
        &self.referenced
    }

    /// The definition without what comes later.
    pub(super) fn without(&self, text: &[u8], later: Later) -> Vec<u8> {
        let mut parts: Vec<&Range<usize>> = self.later(later).map(|part| &part.with_comma).collect();
        parts.sort_by_key(|range| range.start);
        let mut short = Vec::with_capacity(text.len());
        let mut at = 0;
        for range in parts {
            short.extend_from_slice(text.get(at..range.start).unwrap_or_default());
            at = range.end;
        }
        short.extend_from_slice(text.get(at..).unwrap_or_default());
        short
    }

    /// The statement that adds what comes later, without a delimiter.
    pub(super) fn addition(&self, text: &[u8], later: Later) -> Vec<u8> {
        let mut statement = b"ALTER TABLE ".to_vec();
        statement.extend_from_slice(text.get(self.name.clone()).unwrap_or_default());
        for (number, part) in self.later(later).enumerate() {
            statement.extend_from_slice(if number == 0 { b" ADD " } else { b", ADD " });
            statement.extend_from_slice(text.get(part.text.clone()).unwrap_or_default());
        }
        statement
    }

    fn later(&self, later: Later) -> impl Iterator<Item = &Part> {
        let keys = self.keys.iter().map(|key| &key.part).filter(move |_| later.keys);
        keys.chain(self.foreign.iter().filter(move |_| later.foreign))
    }
}

/// The lower-case names of the tables that a definition which was not understood may refer to.
pub(super) fn may_refer_to(text: &[u8], backslash: bool) -> BTreeSet<String> {
    let mut cursor = Cursor::new(text, backslash);
    let mut found = BTreeSet::new();
    while let Some(token) = cursor.next() {
        let word = text.get(token.range).filter(|_| token.kind == Kind::Word);
        if word.is_some_and(|word| word.eq_ignore_ascii_case(b"REFERENCES")) {
            found.extend(cursor.clone().qualified_name().map(|name| name.to_lowercase()));
        }
    }
    found
}

/// The parts between the parentheses that were opened before `begin`, and where what follows them begins.
fn parts(text: &[u8], begin: usize, backslash: bool) -> Option<(Vec<Part>, usize)> {
    let mut found = Vec::new();
    let (mut depth, mut open) = (0_usize, 0_usize);
    let (mut comma, mut start, mut end) = (begin, None, begin);
    for Token { kind, range } in Tokens::new(text.get(begin..)?, backslash) {
        let range = begin + range.start..begin + range.end;
        let closes = depth == 0 && open == 0;
        match kind {
            Kind::Mark(b',' | b')') if closes => {
                found.push(Part { with_comma: comma..end, text: start.take()?..end });
                if kind == Kind::Mark(b')') {
                    return Some((found, range.end));
                }
                (comma, end) = (range.start, range.end);
                continue;
            }
            Kind::Mark(b'(') => depth += 1,
            Kind::Mark(b')') => depth = depth.checked_sub(1)?,
            Kind::Open => open += 1,
            Kind::Close => open = open.checked_sub(1)?,
            Kind::Space => continue,
            // No server writes one between columns: it would be lost or move.
            Kind::Comment => return None,
            _ => {}
        }
        start.get_or_insert(range.start);
        end = range.end;
    }
    None
}

/// The columns of a key that has nothing but columns and their beginnings.
fn columns(cursor: &mut Cursor<'_>) -> Option<Vec<String>> {
    if !cursor.skip_mark(b'(') {
        return None;
    }
    let mut names = Vec::new();
    loop {
        let mut ahead = cursor.clone();
        // An expression begins with a parenthesis.
        if !matches!(ahead.next()?.kind, Kind::Quoted(b'`')) {
            return None;
        }
        names.push(cursor.name()?);
        if cursor.skip_mark(b'(') {
            cursor.word()?;
            if !cursor.skip_mark(b')') {
                return None;
            }
        }
        let _ = cursor.skip("DESC") || cursor.skip("ASC");
        if cursor.skip_mark(b')') {
            return Some(names);
        }
        if !cursor.skip_mark(b',') {
            return None;
        }
    }
}

/// Whether a key has no option but those that make no difference to how it is built.
fn has_plain_options(mut cursor: Cursor<'_>) -> bool {
    loop {
        if cursor.skip("INVISIBLE") || cursor.skip("IGNORED") || cursor.skip_all(&["USING", "BTREE"]) {
            continue;
        }
        if !cursor.skip("COMMENT") {
            return cursor.next().is_none();
        }
        if !cursor.next().is_some_and(|token| token.kind == Kind::Quoted(b'\'')) {
            return false;
        }
    }
}

/// The lower-case name of the table that a foreign key refers to.
fn referenced(cursor: &mut Cursor<'_>) -> Option<String> {
    columns(cursor)?;
    if !cursor.skip("REFERENCES") {
        return None;
    }
    Some(cursor.qualified_name()?.to_lowercase())
}

/// Options of tables that make no difference to how rows and keys are added.
const OPTIONS: [&str; 21] = [
    "AUTOEXTEND_SIZE",
    "AUTO_INCREMENT",
    "AVG_ROW_LENGTH",
    "CHARSET",
    "CHECKSUM",
    "COLLATE",
    "COMMENT",
    "COMPRESSION",
    "DELAY_KEY_WRITE",
    "DIRECTORY",
    "ENCRYPTED",
    "ENCRYPTION",
    "ENGINE",
    "MAX_ROWS",
    "MIN_ROWS",
    "PACK_KEYS",
    "ROW_FORMAT",
    "STATS_AUTO_RECALC",
    "STATS_PERSISTENT",
    "STATS_SAMPLE_PAGES",
    "TABLESPACE",
];

/// Whether the options behind the columns are those of an InnoDB table without partitions, history or compressed pages.
fn is_ordinary(text: &[u8], backslash: bool) -> bool {
    let mut cursor = Cursor::new(text, backslash);
    let mut innodb = false;
    loop {
        let _ = cursor.skip("DEFAULT") || cursor.skip("DATA") || cursor.skip("INDEX");
        let Some(token) = cursor.next() else { return innodb };
        // MariaDB quotes options that engines define.
        let name = name_of(text, &token).unwrap_or_default().to_ascii_uppercase();
        let known = OPTIONS.contains(&name.as_str());
        let Some(value) =
            (if known && (cursor.skip_mark(b'=') || name == "TABLESPACE") { cursor.next() } else { None })
        else {
            return false;
        };
        let value = name_of(text, &value).unwrap_or_default().to_ascii_uppercase();
        match name.as_str() {
            "ENGINE" => innodb = value == "INNODB",
            "ROW_FORMAT" if value == "COMPRESSED" => return false,
            _ => {}
        }
    }
}

#[cfg(test)]
#[path = "definition_tests.rs"]
mod tests;
