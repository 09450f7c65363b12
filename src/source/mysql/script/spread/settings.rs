//! Settings in a dump that concern one object or the rows of one table.

use super::super::{
    lexer::Statement,
    tokens::{Cursor, Kind},
};

/// Whether a statement sets a variable that dump tools set for one object and set back behind it. What ends the dump is not
/// among them.
pub(super) fn is_of_one_object(variable: Option<&str>, value: &str, statement: Statement<'_>) -> bool {
    const KNOWN: [&str; 5] =
        ["character_set_client", "character_set_results", "collation_connection", "sql_mode", "time_zone"];
    const AT_THE_END: &str = "@old_";
    if let Some(variable) = variable {
        return KNOWN.contains(&variable) && !value.to_ascii_lowercase().starts_with(AT_THE_END);
    }
    // One variable of the user, which keeps what is set back.
    let mut cursor = Cursor::new(statement.text, statement.backslash);
    let keeps = cursor.skip("SET") && cursor.skip_mark(b'@') && !cursor.skip_mark(b'@');
    let keeps = keeps && cursor.word().is_some_and(|name| name.to_ascii_lowercase().starts_with(b"save"));
    keeps && std::iter::from_fn(|| cursor.next()).all(|token| token.kind != Kind::Mark(b','))
}

/// Whether a statement allows, or no longer allows, rows of the history of a versioned table to be inserted, as MariaDB's dump tool
/// writes it around the rows of such a table.
pub(super) fn is_for_history(statement: Statement<'_>) -> bool {
    const BEGIN: &[u8] = b"/*M!101100 SET @old_system_versioning_insert_history=\
        @@session.system_versioning_insert_history, @@session.system_versioning_insert_history=1 */";
    const END: &[u8] =
        b"/*M!101100 SET system_versioning_insert_history=@old_system_versioning_insert_history */";
    [BEGIN, END].contains(&statement.text.trim_ascii())
}

/// Whether a statement only begins or ends a transaction for the rows of a table. Sessions run each statement by itself.
pub(super) fn sets_autocommit(statement: Statement<'_>) -> bool {
    const WORDS: [&[u8]; 7] = [b"SET", b"SESSION", b"AUTOCOMMIT", b"OLD_AUTOCOMMIT", b"LOCAL", b"0", b"1"];
    let mut cursor = Cursor::new(statement.text, statement.backslash);
    let mut found = false;
    for token in std::iter::from_fn(|| cursor.next()) {
        match token.kind {
            Kind::Word => {
                let word = statement.text.get(token.range).unwrap_or_default();
                if !WORDS.iter().any(|known| known.eq_ignore_ascii_case(word)) {
                    return false;
                }
                found |= word.eq_ignore_ascii_case(b"AUTOCOMMIT");
            }
            Kind::Mark(b'@' | b'=' | b',' | b'.') => {}
            _ => return false,
        }
    }
    found
}
