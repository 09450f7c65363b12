//! Classifying the statements of a dump, and normalising definitions so that they can be compared.

use std::ops::Range;

use super::tokens::{Cursor, Kind, Token, Tokens, name_of};

/// The kind of a statement.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Defines an object.
    Create(Create),
    /// `CREATE` of an object that database dumps do not contain.
    CreateUnknown,
    /// `SET` of one variable of the session, its name in lower case and the value as it stands.
    SetOne(String, String),
    /// Any other `SET`.
    Set,
    /// `SET` of replication state of the server.
    SetServer,
    /// `ALTER DATABASE`: the name, where it stands, and what follows.
    AlterDatabase { name: Range<usize>, rest: String },
    /// `DROP`, `ALTER` or `ANALYZE` of a table.
    Table(String),
    /// `LOCK TABLES`, of which dump tools name one.
    Lock(String),
    /// `UNLOCK TABLES`.
    Unlock,
    /// `DROP SEQUENCE`.
    DropSequence(String),
    /// The next value of a sequence of MariaDB.
    SetValue(String, String),
    /// An `INSERT` without rows that could be read.
    Insert(String),
    /// Anything else.
    Other,
}

/// A statement that defines an object.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Create {
    pub(super) kind: &'static str,
    pub(super) name: String,
    /// Of a trigger.
    pub(super) table: Option<String>,
    /// Its definer, `user@host`.
    pub(super) definer: Option<String>,
    /// The position of the `DEFINER` clause.
    pub(super) definer_at: Option<Range<usize>>,
    /// Whether it is a stand-in for the final view.
    pub(super) stand_in: bool,
    /// The part in which names certainly refer to database objects; it is followed by the body as its author wrote it.
    pub(super) head: usize,
}

/// Classifies a statement.
pub(super) fn action(text: &[u8], backslash: bool) -> Action {
    read_action(text, backslash).unwrap_or(Action::Other)
}

fn read_action(text: &[u8], backslash: bool) -> Option<Action> {
    let mut cursor = Cursor::new(text, backslash);
    let verb = cursor.word()?.to_ascii_uppercase();
    match verb.as_slice() {
        b"CREATE" => Some(create(text, cursor).map_or(Action::CreateUnknown, Action::Create)),
        b"SET" => Some(set(text, cursor)),
        b"INSERT" | b"REPLACE" => Some(Action::Insert(insert_table(text)?)),
        b"ALTER" if cursor.skip("DATABASE") => {
            let name = cursor.next()?;
            name_of(text, &name)?;
            let rest = String::from_utf8_lossy(&text[cursor.position()..]).trim().to_owned();
            Some(Action::AlterDatabase { name: name.range, rest })
        }
        b"UNLOCK" => Some(Action::Unlock),
        b"DROP" if cursor.skip("SEQUENCE") => {
            cursor.skip_all(&["IF", "EXISTS"]);
            Some(Action::DropSequence(cursor.qualified_name()?))
        }
        b"DROP" | b"LOCK" | b"ALTER" | b"ANALYZE" => {
            cursor.skip("NO_WRITE_TO_BINLOG");
            if !["TABLE", "TABLES", "VIEW"].iter().any(|word| cursor.skip(word)) {
                return None;
            }
            cursor.skip_all(&["IF", "EXISTS"]);
            let name = cursor.qualified_name()?;
            Some(if verb == b"LOCK" { Action::Lock(name) } else { Action::Table(name) })
        }
        b"DO" if cursor.skip("SETVAL") && cursor.skip_mark(b'(') => {
            let name = cursor.qualified_name()?;
            let value = text[cursor.position()..].trim_ascii();
            let value = String::from_utf8_lossy(value);
            Some(Action::SetValue(
                name,
                value.trim_start_matches(',').trim().trim_end_matches(')').to_owned(),
            ))
        }
        _ => None,
    }
}

/// The table of an `INSERT`'s head.
pub(super) fn insert_table(head: &[u8]) -> Option<String> {
    let mut cursor = Cursor::new(head, true);
    while !cursor.skip("INTO") {
        cursor.word()?;
    }
    cursor.qualified_name()
}

/// The columns that an `INSERT`'s head names, if it names any.
pub(super) fn insert_columns(head: &[u8]) -> Option<Vec<String>> {
    let mut cursor = Cursor::new(head, true);
    while !cursor.skip("INTO") {
        cursor.word()?;
    }
    cursor.qualified_name()?;
    let mut columns = Vec::new();
    if !cursor.skip_mark(b'(') {
        return None;
    }
    loop {
        columns.push(cursor.name()?);
        if !cursor.skip_mark(b',') {
            return Some(columns);
        }
    }
}

/// Whether a statement changes how backslashes are parsed.
pub(super) fn sets_backslash(text: &[u8]) -> Option<bool> {
    if text.len() > 4096 || !text.windows(8).any(|part| part.eq_ignore_ascii_case(b"sql_mode")) {
        return None;
    }
    match action(text, true) {
        Action::SetOne(name, value) if name == "sql_mode" => {
            Some(!value.to_ascii_uppercase().contains("NO_BACKSLASH_ESCAPES"))
        }
        _ => None,
    }
}

fn set(text: &[u8], mut cursor: Cursor<'_>) -> Action {
    const OF_SERVER: [&str; 4] = ["gtid_purged", "sql_log_bin", "gtid_slave_pos", "mysqldump_temp_log_bin"];
    let mut words = cursor.clone();
    // A list of transactions may be long, but its variable stands in front.
    for token in std::iter::from_fn(|| words.next()).take(16).filter(|token| token.kind == Kind::Word) {
        let word = text.get(token.range).unwrap_or_default();
        if OF_SERVER.iter().any(|name| word.eq_ignore_ascii_case(name.as_bytes())) {
            return Action::SetServer;
        }
    }
    let Some(name) = cursor.word().filter(|_| cursor.skip_mark(b'=')) else { return Action::Set };
    let mut value = String::new();
    for token in std::iter::from_fn(|| cursor.next()) {
        if token.kind == Kind::Mark(b',') {
            return Action::Set;
        }
        value.push_str(&String::from_utf8_lossy(&text[token.range]));
    }
    Action::SetOne(String::from_utf8_lossy(name).to_ascii_lowercase(), value)
}

fn create(text: &[u8], mut cursor: Cursor<'_>) -> Option<Create> {
    let mut create = Create { stand_in: true, ..Create::default() };
    create.kind = loop {
        let token = cursor.next()?;
        let word = text.get(token.range.clone())?.to_ascii_uppercase();
        match word.as_slice() {
            b"OR" | b"REPLACE" | b"AGGREGATE" | b"TEMPORARY" | b"JSON" | b"RELATIONAL" | b"DUALITY"
            | b"MATERIALIZED" => {}
            b"ALGORITHM" => {
                cursor.skip_mark(b'=');
                cursor.next()?;
                create.stand_in = false;
            }
            b"SQL" => {
                cursor.next()?;
                cursor.next()?;
                create.stand_in = false;
            }
            b"DEFINER" => {
                create.definer = Some(definer(&mut cursor)?);
                create.definer_at = Some(token.range.start..cursor.position());
                create.stand_in = false;
            }
            b"TABLE" => break "table",
            b"VIEW" => break "view",
            b"TRIGGER" => break "trigger",
            b"PROCEDURE" => break "procedure",
            b"FUNCTION" => break "function",
            b"EVENT" => break "event",
            b"SEQUENCE" => break "sequence",
            b"LIBRARY" => break "library",
            b"PACKAGE" if cursor.skip("BODY") => break "package body",
            b"PACKAGE" => break "package",
            b"MASKING" if cursor.skip("POLICY") => break "masking policy",
            _ => return None,
        }
    };
    cursor.skip_all(&["IF", "NOT", "EXISTS"]);
    create.name = cursor.qualified_name()?;
    if create.kind == "trigger" {
        create.table = trigger_table(&mut cursor);
    }
    create.stand_in &= create.kind == "view";
    create.head =
        if matches!(create.kind, "table" | "view" | "sequence") { text.len() } else { cursor.position() };
    Some(create)
}

/// `= user@host`, `= role` or `= CURRENT_USER()`.
fn definer(cursor: &mut Cursor<'_>) -> Option<String> {
    cursor.skip_mark(b'=');
    let user = cursor.name()?;
    if cursor.skip_mark(b'@') {
        return Some(format!("{user}@{}", cursor.name()?));
    }
    if cursor.skip_mark(b'(') {
        cursor.skip_mark(b')');
    }
    Some(format!("{user}@"))
}

/// The table behind `ON` in `BEFORE INSERT OR UPDATE ON table`.
fn trigger_table(cursor: &mut Cursor<'_>) -> Option<String> {
    for _ in 0..64 {
        if cursor.skip("ON") {
            return cursor.qualified_name();
        }
        cursor.next()?;
    }
    None
}

/// The positions where a definition qualifies an object with `database`.
///
/// Servers add the database name only in some places, above all for sequences and in views that also use other databases. In
/// a view the name may also be a table: then nothing is returned.
pub(super) fn qualifiers(text: &[u8], backslash: bool, create: &Create, database: &str) -> Vec<Range<usize>> {
    let whole = matches!(create.kind, "table" | "view" | "sequence");
    let mut cursor = Cursor::new(text, backslash);
    let mut found = Vec::new();
    let mut after_dot = false;
    while let Some(token) = cursor.next().filter(|token| token.range.end <= create.head) {
        let can_be = match token.kind {
            Kind::Quoted(quote) => quote != b'\'',
            // A database may have the name of a keyword.
            Kind::Word => !whole,
            _ => false,
        };
        let dot = token.kind == Kind::Mark(b'.');
        if can_be && !after_dot && name_of(text, &token).is_some_and(|name| name == database) {
            let mut ahead = cursor.clone();
            if ahead.skip_mark(b'.') {
                found.push(token.range);
            } else if create.kind == "view" {
                return Vec::new();
            }
        }
        after_dot = dot;
    }
    found
}

/// The definition without parts that differ between a database and its copy: the definer (recorded separately), the next
/// `AUTO_INCREMENT`, the name of the database, character sets that a collation implies, the marks of conditional comments
/// and the amount of white space.
/// Also returns the removed `AUTO_INCREMENT`.
pub(super) fn normalised(
    text: &[u8],
    backslash: bool,
    create: &Create,
    database: Option<&str>,
) -> (Vec<u8>, Option<String>) {
    let databases = database.map(|name| qualifiers(text, backslash, create, name)).unwrap_or_default();
    let counter = if create.kind == "table" { auto_increment(text, backslash) } else { None };
    let charsets = if create.kind == "table" { charsets(text, backslash) } else { Vec::new() };
    let one = [create.definer_at.clone(), counter.clone().map(|(at, _)| at)];
    let left_out: Vec<_> = one.into_iter().flatten().chain(charsets).collect();
    let mut out = Vec::with_capacity(text.len());
    let mut space = false;
    for Token { kind, range } in Tokens::new(text, backslash) {
        let within = |at: &Range<usize>| at.start <= range.start && range.end <= at.end;
        if matches!(kind, Kind::Space | Kind::Open | Kind::Close) || left_out.iter().any(within) {
            space = true;
            continue;
        }
        if std::mem::take(&mut space) && !out.is_empty() {
            out.push(b' ');
        }
        if databases.contains(&range) {
            out.extend_from_slice(b"``");
        } else {
            out.extend_from_slice(&text[range]);
        }
    }
    (out, counter.map(|(_, value)| value))
}

/// Each `CHARACTER SET x` in front of a `COLLATE x_…`. MySQL writes it for a table that was loaded from a dump, but not
/// for the original, whose columns inherited the table's collation.
fn charsets(text: &[u8], backslash: bool) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut cursor = Cursor::new(text, backslash);
    while let Some(token) = cursor.next() {
        let mut ahead = cursor.clone();
        let starts = token.kind == Kind::Word
            && text[token.range.clone()].eq_ignore_ascii_case(b"CHARACTER")
            && ahead.skip("SET");
        let Some(charset) = starts.then(|| ahead.word()).flatten() else { continue };
        let end = ahead.position();
        let collation = if ahead.skip("COLLATE") { ahead.word() } else { None };
        let rest = collation.and_then(|collation| collation.strip_prefix(charset));
        if rest.is_some_and(|rest| rest.starts_with(b"_")) {
            found.push(token.range.start..end);
        }
    }
    found
}

/// The option `AUTO_INCREMENT=n` behind the columns of a table.
fn auto_increment(text: &[u8], backslash: bool) -> Option<(Range<usize>, String)> {
    let mut cursor = Cursor::new(text, backslash);
    let mut depth = 0_usize;
    while let Some(token) = cursor.next() {
        match token.kind {
            Kind::Mark(b'(') => depth += 1,
            Kind::Mark(b')') => depth = depth.saturating_sub(1),
            Kind::Word if depth == 0 && text[token.range.clone()].eq_ignore_ascii_case(b"AUTO_INCREMENT") => {
                let mut ahead = cursor.clone();
                if ahead.skip_mark(b'=') {
                    let value = String::from_utf8_lossy(ahead.word()?).into_owned();
                    return Some((token.range.start..ahead.position(), value));
                }
            }
            _ => {}
        }
    }
    None
}
