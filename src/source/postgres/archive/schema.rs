//! Information in the table of contents besides the data: object definitions, sequence values, the encoding.

use serde::Serialize;

use super::toc::TocEntry;
use crate::stream::digest::Digest128;

/// The state of one sequence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SequenceValue {
    /// The sequence's schema.
    pub schema: String,
    /// The sequence's name.
    pub name: String,
    /// Its `last_value`.
    pub value: i64,
    /// Whether `value` has been used, so that the next value is its successor.
    pub is_called: bool,
}

/// One object definition of the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SchemaObject {
    /// Its kind, such as `TABLE`, `INDEX`, `ACL`.
    pub desc: String,
    /// Its schema; empty for objects without a schema.
    pub schema: String,
    /// Its name; for some kinds with its table or its kind in front.
    pub name: String,
    /// Hash of kind, schema, name, definition, owner, tablespace and access method.
    pub digest: Digest128,
}

/// The digest of each object definition, in the order of the archive.
///
/// Entries that a correct restore under another name changes are left out: data, sequence values, statistics, settings of the
/// session, the database itself with its comments, grants and settings. Internal numbers are ignored as well.
/// Definitions are compared without parentheses and casts, because PostgreSQL writes some expressions (such as
/// `CHECK (state IN ('new', 'old'))` over a `varchar`) in another way once they were restored.
pub fn schema_objects(toc: &[TocEntry]) -> Vec<SchemaObject> {
    let object = |entry: &TocEntry| SchemaObject {
        desc: entry.desc.clone(),
        schema: entry.namespace.clone().unwrap_or_default(),
        name: entry.tag.clone(),
        digest: entry_digest(entry),
    };
    toc.iter().filter(|entry| is_definition(entry)).map(object).collect()
}

/// The order-independent sum of the digests that [`schema_objects`] gives.
pub fn schema_digest(toc: &[TocEntry]) -> Digest128 {
    toc.iter().filter(|entry| is_definition(entry)).map(entry_digest).sum()
}

/// The encoding of the archive's text, as its `ENCODING` entry names it.
pub(super) fn encoding(toc: &[TocEntry]) -> Option<String> {
    let entry = toc.iter().find(|entry| entry.desc == "ENCODING")?;
    Some(entry.defn.split('\'').nth(1)?.to_owned())
}

/// The values that the `SEQUENCE SET` entries set.
pub(super) fn sequences(toc: &[TocEntry]) -> Vec<SequenceValue> {
    toc.iter().filter(|entry| entry.desc == "SEQUENCE SET").filter_map(sequence_value).collect()
}

/// Parses `SELECT pg_catalog.setval('name', 42, true);` from its end, because the name may contain any text.
fn sequence_value(entry: &TocEntry) -> Option<SequenceValue> {
    let mut arguments = entry.defn.trim_end().strip_suffix(");")?.rsplit(", ");
    let is_called = arguments.next()?.parse().ok()?;
    let value = arguments.next()?.parse().ok()?;
    let (schema, name) = (entry.namespace.clone().unwrap_or_default(), entry.tag.clone());
    Some(SequenceValue { schema, name, value, is_called })
}

fn is_definition(entry: &TocEntry) -> bool {
    let of_database = matches!(entry.desc.as_str(), "COMMENT" | "ACL" | "SECURITY LABEL")
        && entry.tag.starts_with("DATABASE ");
    let skipped = matches!(
        entry.desc.as_str(),
        "ENCODING"
            | "STDSTRINGS"
            | "SEARCHPATH"
            | "DATABASE"
            | "DATABASE PROPERTIES"
            | "TABLE DATA"
            | "BLOBS"
            | "SEQUENCE SET"
            | "STATISTICS DATA"
    );
    !(skipped || of_database || entry.had_dumper)
}

fn entry_digest(entry: &TocEntry) -> Digest128 {
    // The body of a function is stored as text; only a body in standard SQL is rewritten by the server.
    let verbatim = match entry.desc.as_str() {
        "FUNCTION" | "PROCEDURE" => !entry.defn.contains("BEGIN ATOMIC"),
        desc => desc == "COMMENT",
    };
    let definition = if verbatim { entry.defn.clone() } else { without_casts(&entry.defn) };
    let parts = [
        Some(entry.desc.as_str()),
        entry.namespace.as_deref(),
        Some(entry.tag.as_str()),
        Some(definition.as_str()),
        entry.owner.as_deref(),
        entry.tablespace.as_deref(),
        entry.table_am.as_deref(),
    ];
    let mut text = Vec::new();
    for part in parts.map(Option::unwrap_or_default) {
        text.extend_from_slice(&(part.len() as u64).to_le_bytes());
        text.extend_from_slice(part.as_bytes());
    }
    Digest128::of(&text)
}

/// The SQL without its parentheses and casts, except inside quotes. Only good for comparing.
fn without_casts(sql: &str) -> String {
    let mut plain = String::with_capacity(sql.len());
    let mut rest = sql;
    while let Some(c) = rest.chars().next() {
        let skipped = match c {
            '(' | ')' => 1,
            ':' if rest.starts_with("::") => 2 + type_len(rest.get(2..).unwrap_or_default()),
            _ => 0,
        };
        let kept = match c {
            _ if skipped > 0 => 0,
            '\'' | '"' => quoted_len(rest, c),
            _ => c.len_utf8(),
        };
        plain.push_str(rest.get(..kept).unwrap_or_default());
        rest = rest.get(skipped + kept..).unwrap_or_default();
    }
    plain
}

/// Bytes of the quoted text at the start, up to and with the next quote.
fn quoted_len(text: &str, quote: char) -> usize {
    text.get(1..).and_then(|inner| inner.find(quote)).map_or(text.len(), |end| end + 2)
}

/// Bytes of the type's name at the start: `text[]`, `numeric(10,2)`, `character varying`, `"My Schema"."Type"`.
fn type_len(text: &str) -> usize {
    let mut at = 0;
    let rest = |at: usize| text.get(at..).unwrap_or_default();
    loop {
        at += if rest(at).starts_with('"') {
            quoted_len(rest(at), '"')
        } else {
            let end = rest(at).find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'));
            end.unwrap_or(rest(at).len())
        };
        if !rest(at).starts_with('.') {
            break;
        }
        at += 1;
    }
    at += modifier_len(rest(at));
    for words in [" varying", " precision", " with time zone", " without time zone"] {
        if rest(at).starts_with(words) {
            at += words.len();
        }
    }
    at += modifier_len(rest(at));
    while rest(at).starts_with("[]") {
        at += 2;
    }
    at
}

/// Bytes of a type's modifier at the start, such as `(10,2)`.
fn modifier_len(text: &str) -> usize {
    let digits = |inner: &str| inner.bytes().all(|b| b.is_ascii_digit() || b == b',');
    match text.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
        Some((inner, _)) if digits(inner) => inner.len() + 2,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_write_an_expression_compare_equal() {
        let first = "CHECK (((state)::text = ANY ((ARRAY['new'::character varying, 'old'::character varying])::text[])))";
        let again = "CHECK (((state)::text = ANY (ARRAY[('new'::character varying)::text, ('old'::character varying)::text])))";
        assert_eq!(without_casts(first), "CHECK state = ANY ARRAY['new', 'old']");
        assert_eq!(without_casts(first), without_casts(again));
        let other = "CHECK (((state)::text = ANY ((ARRAY['new'::character varying, 'odd'::character varying])::text[])))";
        assert_ne!(without_casts(first), without_casts(other));
    }

    #[test]
    fn types_of_every_form_are_skipped_and_quotes_are_not() {
        for cast in [
            "numeric(10,2)",
            "character varying(10)[]",
            "timestamp(3) without time zone",
            "double precision",
            "\"My s\".\"T.x\"[][]",
            "públic.mood",
        ] {
            assert_eq!(without_casts(&format!("a::{cast} + b")), "a + b", "{cast}");
        }
        assert_eq!(without_casts("'(x)::int' || \"f(\""), "'(x)::int' || \"f(\"");
        assert_eq!(without_casts("x::"), "x");
        assert_eq!(without_casts("'open (::"), "'open (::");
    }
}
