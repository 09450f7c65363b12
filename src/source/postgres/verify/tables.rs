//! Comparing the tables of two dumps. Rows need not be in the table that they were read from: a restore loads the rows of
//! some partitions through the root, and a standby dumps no rows of unlogged tables.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    error::Result,
    source::{
        manifest::{Manifest, Object},
        postgres::{
            Detail,
            archive::{TocEntry, routes},
            restore,
        },
        verify::compare,
    },
    stream::{digest::Digest128, files::Files},
};

/// Schema and name.
type Name = (String, String);

/// The result of comparing the tables.
#[derive(Debug, Default)]
pub(crate) struct Compared {
    pub(crate) differences: Vec<String>,
    /// Tables with equal row counts, whose digests were computed in different ways.
    pub(crate) unclear: Vec<String>,
}

/// Compares rows and content of all tables. Tables and sequences without content on a standby are removed from `restored`,
/// because they are no difference.
pub(crate) fn compare(
    stored: &Manifest,
    restored: &mut Manifest,
    files: &dyn Files,
    notes: &mut Vec<String>,
) -> Result<Compared> {
    let differences = compare::objects(&stored.objects, &restored.objects);
    if differences.is_empty() && sequences(stored).is_superset(&sequences(restored)) {
        return Ok(Compared::default());
    }
    let toc = restore::read_toc(files)?;
    forget_unlogged(stored, restored, &toc, notes);
    Ok(by_root(stored, restored, &toc))
}

fn name_of(object: &Object) -> Name {
    (object.schema.clone().unwrap_or_default(), object.name.clone())
}

fn sequences(manifest: &Manifest) -> BTreeSet<Name> {
    let all = manifest.detail::<Detail>().into_iter().flat_map(|detail| &detail.sequences);
    all.map(|sequence| (sequence.schema.clone(), sequence.name.clone())).collect()
}

/// The entries of one kind with such definitions.
fn names(toc: &[TocEntry], desc: &str, wanted: impl Fn(&str) -> bool) -> BTreeSet<Name> {
    let entries = toc.iter().filter(|entry| entry.desc == desc && wanted(&entry.defn));
    entries.map(|entry| (entry.namespace.clone().unwrap_or_default(), entry.tag.clone())).collect()
}

/// Removes the empty tables and unused sequences that a standby did not dump: it has only the definitions of unlogged
/// objects, not their content.
fn forget_unlogged(stored: &Manifest, restored: &mut Manifest, toc: &[TocEntry], notes: &mut Vec<String>) {
    let data = names(toc, "TABLE DATA", |_| true);
    let set = names(toc, "SEQUENCE SET", |_| true);
    let tables = names(toc, "TABLE", |defn| defn.starts_with("CREATE UNLOGGED TABLE "));
    // The sequence of an identity column is unlogged if its table is.
    let counters = names(toc, "SEQUENCE", |defn| {
        defn.starts_with("CREATE UNLOGGED SEQUENCE ") || defn.contains(" AS IDENTITY (")
    });
    let before = restored.objects.len();
    restored.objects.retain(|object| {
        let name = name_of(object);
        object.rows > 0 || data.contains(&name) || !tables.contains(&name)
    });
    let left_out = before - restored.objects.len();
    // Later manifests list them.
    if left_out > 0 && stored.left_out.is_empty() {
        notes.push(format!(
            "rows of {left_out} unlogged tables are not in the backup: it was made on a standby, which does not have them"
        ));
    }
    let known = sequences(stored);
    if let Some(detail) = restored.detail_mut::<Detail>() {
        detail.sequences.retain(|sequence| {
            let name = (sequence.schema.clone(), sequence.name.clone());
            sequence.is_called || known.contains(&name) || set.contains(&name) || !counters.contains(&name)
        });
    }
}

/// Compares partitions whose rows are loaded by way of another table as if they were that table.
fn by_root(stored: &Manifest, restored: &Manifest, toc: &[TocEntry]) -> Compared {
    let roots: BTreeMap<Name, Name> = routes(toc)
        .into_iter()
        .map(|routed| ((routed.schema, routed.name), (routed.into_schema, routed.into_name)))
        .collect();
    // Earlier versions digested rows with the columns in the order of the dump.
    let (before, after) = (by_column(stored), by_column(restored));
    let unlike: BTreeSet<Name> =
        before.symmetric_difference(&after).map(|name| roots.get(name).unwrap_or(name).clone()).collect();
    let (mut stored, mut restored) = (merged(&stored.objects, &roots), merged(&restored.objects, &roots));
    let mut unclear = Vec::new();
    if !unlike.is_empty() {
        let changed = |object: &Object| unlike.contains(&name_of(object));
        unclear = stored.iter().filter(|o| changed(o)).map(|o| shown(&name_of(o))).collect();
        for object in
            stored.iter_mut().chain(&mut restored).filter(|object| unlike.contains(&name_of(object)))
        {
            (object.bytes, object.digest) = (0, Digest128::ZERO);
        }
    }
    Compared { differences: compare::objects(&stored, &restored), unclear }
}

fn shown((schema, name): &Name) -> String {
    format!("{schema}.{name}")
}

/// Tables whose digest does not depend on the order of the columns.
fn by_column(manifest: &Manifest) -> BTreeSet<Name> {
    let all = manifest.detail::<Detail>().into_iter().flat_map(|detail| &detail.by_column);
    all.map(|table| (table.schema.clone(), table.name.clone())).collect()
}

/// The tables, with those of one root combined: digests are sums, so the digest of all rows is the sum over the partitions.
fn merged(objects: &[Object], roots: &BTreeMap<Name, Name>) -> Vec<Object> {
    let mut groups: BTreeMap<&Name, Object> = BTreeMap::new();
    let mut rest = Vec::new();
    for object in objects {
        let Some(root) = roots.get(&name_of(object)) else {
            rest.push(object.clone());
            continue;
        };
        let sum = groups.entry(root).or_insert_with(|| Object {
            schema: Some(root.0.clone()),
            name: root.1.clone(),
            rows: 0,
            bytes: 0,
            digest: Digest128::ZERO,
            ..object.clone()
        });
        sum.rows = sum.rows.saturating_add(object.rows);
        sum.bytes = sum.bytes.saturating_add(object.bytes);
        sum.digest += object.digest;
    }
    rest.extend(groups.into_values());
    rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{
        manifest::{Digested, TableName},
        postgres::{Sequence, archive::Section},
    };

    fn entry(desc: &str, tag: &str, defn: &str, copy_stmt: &str) -> TocEntry {
        TocEntry {
            dump_id: 1,
            had_dumper: desc == "TABLE DATA",
            table_oid: 0,
            oid: 0,
            tag: tag.to_owned(),
            desc: desc.to_owned(),
            section: Section::Data,
            defn: defn.to_owned(),
            drop_stmt: String::new(),
            copy_stmt: (!copy_stmt.is_empty()).then(|| copy_stmt.to_owned()),
            namespace: Some("public".to_owned()),
            tablespace: None,
            table_am: None,
            relkind: None,
            owner: None,
            dependencies: Vec::new(),
        }
    }

    fn manifest(tables: &[(&str, &[&str])]) -> Manifest {
        let mut manifest = Manifest::begin("pg", "shop", "postgres");
        manifest.digested = Digested::Yes;
        manifest.set_detail(Detail::default());
        for (name, rows) in tables {
            manifest.objects.push(Object {
                kind: "table".to_owned(),
                schema: Some("public".to_owned()),
                name: (*name).to_owned(),
                rows: rows.len() as u64,
                bytes: rows.iter().map(|row| row.len() as u64).sum(),
                digest: rows.iter().map(|row| Digest128::of(row.as_bytes())).sum(),
            });
        }
        manifest
    }

    #[test]
    fn rows_that_moved_between_partitions_of_a_root_are_no_difference() {
        let toc = [
            entry("TABLE DATA", "t0", "", "COPY public.t (a) FROM stdin;\n"),
            entry("TABLE DATA", "t1", "", "COPY public.t (a) FROM stdin;\n"),
            entry("TABLE DATA", "o0", "", "COPY public.o0 (a) FROM stdin;\n"),
            entry("TABLE DATA", "o1", "", "COPY public.o1 (a) FROM stdin;\n"),
        ];
        let stored = manifest(&[("t0", &["a", "b"]), ("t1", &["c"]), ("o0", &["a"]), ("o1", &[])]);
        let moved = manifest(&[("t0", &["c"]), ("t1", &["a", "b"]), ("o0", &["a"]), ("o1", &[])]);
        assert!(by_root(&stored, &moved, &toc).differences.is_empty());
        let lost = manifest(&[("t0", &["c"]), ("t1", &["a"]), ("o0", &[]), ("o1", &["a"])]);
        assert_eq!(
            by_root(&stored, &lost, &toc).differences,
            [
                "table public.o0: 1 row was backed up, 0 were restored",
                "table public.o1: 0 rows were backed up, 1 was restored",
                "table public.t: 3 rows were backed up, 2 were restored",
            ]
        );
        let changed = manifest(&[("t0", &["c"]), ("t1", &["a", "x"]), ("o0", &["a"]), ("o1", &[])]);
        assert_eq!(
            by_root(&stored, &changed, &toc).differences,
            ["table public.t: the content of its 3 rows differs"]
        );
    }

    #[test]
    fn digests_that_were_made_in_another_way_are_not_called_different() {
        let toc = [entry("TABLE DATA", "t0", "", "COPY public.t (a, b) FROM stdin;\n")];
        let stored = manifest(&[("t0", &["1\t2"])]);
        let mut restored = manifest(&[("t0", &["2\t1"])]);
        let table = TableName { schema: "public".to_owned(), name: "t0".to_owned() };
        restored.detail_mut::<Detail>().into_iter().for_each(|detail| detail.by_column.push(table.clone()));
        let compared = by_root(&stored, &restored, &toc);
        assert!(compared.differences.is_empty(), "{compared:?}");
        assert_eq!(compared.unclear, ["public.t"]);
    }

    #[test]
    fn what_a_standby_does_not_have_is_no_difference_unless_there_are_rows() {
        let toc = [
            entry("TABLE", "u", "CREATE UNLOGGED TABLE public.u (\n", ""),
            entry("SEQUENCE", "s", "CREATE UNLOGGED SEQUENCE public.s\n", ""),
        ];
        let sequence =
            |is_called| Sequence { schema: "public".into(), name: "s".into(), value: 1, is_called };
        let stored = manifest(&[]);
        let restored = |rows: &[&str], is_called| {
            let mut restored = manifest(&[("u", rows)]);
            restored.detail_mut::<Detail>().into_iter().for_each(|d| d.sequences.push(sequence(is_called)));
            restored
        };
        let mut notes = Vec::new();
        let mut empty = restored(&[], false);
        forget_unlogged(&stored, &mut empty, &toc, &mut notes);
        assert!(empty.objects.is_empty() && sequences(&empty).is_empty(), "{empty:?}");
        assert_eq!(notes.len(), 1);
        let mut full = restored(&["a"], true);
        forget_unlogged(&stored, &mut full, &toc, &mut notes);
        assert_eq!((full.objects.len(), sequences(&full).len()), (1, 1));
    }
}
