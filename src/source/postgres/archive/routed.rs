//! Partitions whose rows are loaded through the root table. `pg_dump` does this if rows may belong to other partitions on
//! another server: by itself for hash partitions over an enum, for others on request.

use std::collections::BTreeMap;

use super::{rows::columns_of, toc::TocEntry};

/// A table whose rows are loaded into another one, which routes each row to its partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routed {
    /// Number of its data in the archive.
    pub dump_id: i32,
    /// Schema of the table that the rows were read from.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Schema of the table that the rows are loaded into.
    pub into_schema: String,
    /// Its name.
    pub into_name: String,
    /// Whether the tables that are loaded into that one have different column orders, so that a row is written differently
    /// after it moved.
    pub by_column: bool,
}

/// The tables whose `COPY` statement names another table, in the order of the archive.
pub fn routes(toc: &[TocEntry]) -> Vec<Routed> {
    let mut found = Vec::new();
    // The columns of the first table of each root, and whether all others list them in this order.
    let mut columns: BTreeMap<(String, String), (Vec<&str>, bool)> = BTreeMap::new();
    for entry in toc.iter().filter(|entry| entry.desc == "TABLE DATA") {
        let Some(statement) = entry.copy_stmt.as_deref() else { continue };
        let Some((into_schema, into_name)) = copy_target(statement) else { continue };
        let schema = entry.namespace.clone().unwrap_or_default();
        // Archives of old versions name no schema.
        let into_schema = into_schema.unwrap_or_else(|| schema.clone());
        if into_schema == schema && into_name == entry.tag {
            continue;
        }
        let listed: Vec<&str> = columns_of(statement).collect();
        let root = (into_schema.clone(), into_name.clone());
        let (first, same) = columns.entry(root).or_insert_with(|| (listed.clone(), true));
        *same &= *first == listed;
        let (dump_id, name) = (entry.dump_id, entry.tag.clone());
        found.push(Routed { dump_id, schema, name, into_schema, into_name, by_column: false });
    }
    for routed in &mut found {
        let root = (routed.into_schema.clone(), routed.into_name.clone());
        routed.by_column = columns.get(&root).is_some_and(|(_, same)| !same);
    }
    found
}

/// Schema, if it is named, and name of the table in a `COPY schema.name (…) FROM stdin;` statement.
pub fn copy_target(statement: &str) -> Option<(Option<String>, String)> {
    let (first, rest) = identifier(statement.strip_prefix("COPY ")?)?;
    match rest.strip_prefix('.') {
        Some(rest) => identifier(rest).map(|(name, _)| (Some(first), name)),
        None => Some((None, first)),
    }
}

/// The identifier at the start, without quotes, and what follows it.
fn identifier(text: &str) -> Option<(String, &str)> {
    let Some(mut rest) = text.strip_prefix('"') else {
        let end = text.find(['.', ' ', '(']).unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        return (!name.is_empty()).then(|| (name.to_owned(), rest));
    };
    let mut name = String::new();
    loop {
        let (part, after) = rest.split_once('"')?;
        name.push_str(part);
        let Some(more) = after.strip_prefix('"') else { return Some((name, after)) };
        name.push('"');
        rest = more;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::source::postgres::archive::Section;

    fn data(dump_id: i32, name: &str, copy_stmt: &str) -> TocEntry {
        TocEntry {
            dump_id,
            had_dumper: true,
            table_oid: 0,
            oid: 0,
            tag: name.to_owned(),
            desc: "TABLE DATA".to_owned(),
            section: Section::Data,
            defn: String::new(),
            drop_stmt: String::new(),
            copy_stmt: Some(copy_stmt.to_owned()),
            namespace: Some("public".to_owned()),
            tablespace: None,
            table_am: None,
            relkind: None,
            owner: None,
            dependencies: Vec::new(),
        }
    }

    #[test]
    fn the_table_of_a_statement_is_read_with_its_quotes() {
        let of = |statement: &str| copy_target(statement).unwrap();
        assert_eq!(of("COPY public.t (a) FROM stdin;\n"), (Some("public".into()), "t".into()));
        assert_eq!(of("COPY t (a) FROM stdin;\n"), (None, "t".into()));
        assert_eq!(of("COPY \"a.b \"\"c\"\"\".\"t (x\" (a) FROM"), (Some("a.b \"c\"".into()), "t (x".into()));
        assert_eq!(of("COPY größe.\"☃\"  FROM stdin;\n"), (Some("größe".into()), "☃".into()));
        assert_eq!(
            of("COPY \"Odd \"\"s\".\"a.b (c)\" (x) FROM stdin;"),
            (Some("Odd \"s".into()), "a.b (c)".into())
        );
        assert_eq!(of("COPY public.t  FROM stdin;\n"), (Some("public".into()), "t".into()));
        assert_eq!(copy_target("INSERT INTO t"), None);
        assert_eq!(copy_target("COPY \"open"), None);
    }

    #[test]
    fn partitions_that_are_loaded_by_way_of_the_root_are_found() {
        let toc = [
            data(1, "own", "COPY public.own (a, b) FROM stdin;\n"),
            data(2, "t0", "COPY public.t (a, b) FROM stdin;\n"),
            data(3, "t1", "COPY public.t (a, b) FROM stdin;\n"),
            data(4, "u0", "COPY other.u (a, b) FROM stdin;\n"),
            data(5, "u1", "COPY other.u (b, a) FROM stdin;\n"),
        ];
        let found = routes(&toc);
        let short: Vec<_> = found
            .iter()
            .map(|r| (r.dump_id, r.into_schema.as_str(), r.into_name.as_str(), r.by_column))
            .collect();
        assert_eq!(
            short,
            [
                (2, "public", "t", false),
                (3, "public", "t", false),
                (4, "other", "u", true),
                (5, "other", "u", true)
            ]
        );
    }
}
