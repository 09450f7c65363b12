//! Which entries of an archive belong to one table, for restoring just that table.

use std::collections::{HashMap, HashSet};

use super::toc::TocEntry;

/// Entries around a table that [`entries_for_table`] does not include, by dump id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Objects that the selected entries depend on and the target must have: schemas, types, functions, sequences that the
    /// table does not own, tables it inherits from.
    pub needed: Vec<i32>,
    /// Objects that depend on the table and are not restored with it: triggers that call a function, foreign keys from and to
    /// other tables, rules and policies that use other objects, views, publications.
    pub dropped: Vec<i32>,
}

/// The dump ids, in the order of the archive, of a table and what is part of it.
///
/// Included are its definition, data, defaults, constraints, indexes, statistics, grants, comments and row security,
/// the sequences it owns with their values, the same for all partitions below it, and foreign keys among these.
/// Triggers, rules and policies are included only if all they depend on is included too. See [`left_out_for_table`]
/// for the rest. Tables that inherit from this one without being its partitions are not included. Without a table
/// (or foreign table) of this name the result is empty.
pub fn entries_for_table(toc: &[TocEntry], schema: &str, name: &str) -> Vec<i32> {
    let index = Index::of(toc);
    let mut chosen: HashSet<i32> =
        toc.iter().filter(|e| is_table(e) && e.is_named(schema, name)).map(|e| e.dump_id).collect();
    if chosen.is_empty() {
        return Vec::new();
    }
    index.spread(&mut chosen, |entry, chosen| is_partition_of(&index, entry, chosen));
    index.spread(&mut chosen, |entry, chosen| belongs(&index, entry, chosen));
    toc.iter().map(|entry| entry.dump_id).filter(|id| chosen.contains(id)).collect()
}

/// The entries left out by [`entries_for_table`], for a message to the operator.
pub fn left_out_for_table(toc: &[TocEntry], selection: &[i32]) -> LeftOut {
    let chosen: HashSet<i32> = selection.iter().copied().collect();
    let needed: HashSet<i32> = toc
        .iter()
        .filter(|entry| chosen.contains(&entry.dump_id))
        .flat_map(|entry| entry.dependencies.iter().copied())
        .filter(|id| !chosen.contains(id))
        .collect();
    let ids = |keep: &dyn Fn(&TocEntry) -> bool| toc.iter().filter(|e| keep(e)).map(|e| e.dump_id).collect();
    LeftOut {
        needed: ids(&|entry| needed.contains(&entry.dump_id)),
        dropped: ids(&|entry| {
            !chosen.contains(&entry.dump_id) && entry.dependencies.iter().any(|id| chosen.contains(id))
        }),
    }
}

/// Entries by number, and for each number the entries that depend on it.
struct Index<'a> {
    entries: HashMap<i32, &'a TocEntry>,
    dependents: HashMap<i32, Vec<&'a TocEntry>>,
}

impl<'a> Index<'a> {
    fn of(toc: &'a [TocEntry]) -> Self {
        let mut dependents: HashMap<i32, Vec<&TocEntry>> = HashMap::new();
        for entry in toc {
            for id in &entry.dependencies {
                dependents.entry(*id).or_default().push(entry);
            }
        }
        Self { entries: toc.iter().map(|entry| (entry.dump_id, entry)).collect(), dependents }
    }

    /// Adds dependents that the rule accepts, until there are no more. A rejected entry is checked again when another of its
    /// dependencies has been selected.
    fn spread(&self, chosen: &mut HashSet<i32>, rule: impl Fn(&TocEntry, &HashSet<i32>) -> bool) {
        let mut open: Vec<i32> = chosen.iter().copied().collect();
        while let Some(id) = open.pop() {
            for entry in self.dependents.get(&id).into_iter().flatten() {
                if !chosen.contains(&entry.dump_id) && rule(entry, chosen) {
                    chosen.insert(entry.dump_id);
                    open.push(entry.dump_id);
                }
            }
        }
    }

    fn is_relation(&self, id: i32) -> bool {
        self.entries
            .get(&id)
            .is_some_and(|e| is_table(e) || matches!(e.desc.as_str(), "VIEW" | "MATERIALIZED VIEW"))
    }

    fn is_schema(&self, id: i32) -> bool {
        self.entries.get(&id).is_some_and(|entry| entry.desc == "SCHEMA")
    }
}

fn is_table(entry: &TocEntry) -> bool {
    matches!(entry.desc.as_str(), "TABLE" | "FOREIGN TABLE")
}

/// Whether the table is attached to a selected one. Before PostgreSQL 14 this is in the table's own definition, since then in
/// a `TABLE ATTACH` entry that depends on both.
fn is_partition_of(index: &Index<'_>, entry: &TocEntry, chosen: &HashSet<i32>) -> bool {
    let attached_by = |other: &&TocEntry| {
        other.desc == "TABLE ATTACH"
            && other.tag == entry.tag
            && other.namespace == entry.namespace
            && other.dependencies.iter().any(|id| chosen.contains(id))
    };
    is_table(entry)
        && (entry.defn.contains(" ATTACH PARTITION ")
            || index.dependents.get(&entry.dump_id).into_iter().flatten().any(attached_by))
}

/// Whether an entry that depends on a selected one is part of the selected tables.
fn belongs(index: &Index<'_>, entry: &TocEntry, chosen: &HashSet<i32>) -> bool {
    let mut dependencies = entry.dependencies.iter().copied();
    match entry.desc.as_str() {
        "TABLE DATA" | "DEFAULT" | "CONSTRAINT" | "CHECK CONSTRAINT" | "FK CONSTRAINT" | "INDEX"
        | "INDEX ATTACH" | "STATISTICS" | "STATISTICS DATA" | "ROW SECURITY" | "TABLE ATTACH" | "ACL"
        | "COMMENT" | "SECURITY LABEL" | "SEQUENCE" | "SEQUENCE OWNED BY" | "SEQUENCE SET" => {
            dependencies.all(|id| chosen.contains(&id) || !index.is_relation(id))
        }
        "TRIGGER" | "RULE" | "POLICY" => dependencies.all(|id| chosen.contains(&id) || index.is_schema(id)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::ArchiveReader, *};

    const PG15: &[u8] = include_bytes!("../../../../tests/fixtures/pg15-sample.dump");
    const PG18: &[u8] = include_bytes!("../../../../tests/fixtures/pg18-sample.dump");

    fn toc(archive: &[u8]) -> Vec<TocEntry> {
        let mut reader = ArchiveReader::new();
        reader.feed(archive);
        reader.finish().toc
    }

    fn names(toc: &[TocEntry], ids: &[i32]) -> Vec<String> {
        let chosen = toc.iter().filter(|entry| ids.contains(&entry.dump_id));
        let mut names: Vec<_> = chosen.map(|entry| format!("{}: {}", entry.desc, entry.tag)).collect();
        names.sort();
        names
    }

    #[test]
    fn a_table_comes_with_what_is_part_of_it() {
        for archive in [PG15, PG18] {
            let toc = toc(archive);
            let chosen = entries_for_table(&toc, "public", "customers");
            let expected = [
                "ACL: TABLE customers",
                "COMMENT: COLUMN customers.name",
                "COMMENT: TABLE customers",
                "CONSTRAINT: customers customers_pkey",
                "DEFAULT: customers id",
                "FK CONSTRAINT: customers customers_boss_fkey",
                "INDEX: customers_name",
                "SEQUENCE OWNED BY: customers_id_seq",
                "SEQUENCE SET: customers_id_seq",
                "SEQUENCE: customers_id_seq",
                "STATISTICS: customers_stat",
                "TABLE DATA: customers",
                "TABLE: customers",
                "TRIGGER: customers customers_same",
            ];
            assert_eq!(names(&toc, &chosen), expected);
            let left_out = left_out_for_table(&toc, &chosen);
            assert_eq!(names(&toc, &left_out.needed), ["TYPE: mood"]);
            let expected = [
                "FK CONSTRAINT: orders orders_customer_fkey",
                "PUBLICATION TABLE: pub customers",
                "TABLE: other_default",
                "TRIGGER: customers customers_touch",
                "VIEW: happy",
            ];
            assert_eq!(names(&toc, &left_out.dropped), expected);
        }
    }

    #[test]
    fn partitions_come_with_their_table_but_a_partition_comes_alone() {
        for archive in [PG15, PG18] {
            let toc = toc(archive);
            let expected = [
                "INDEX ATTACH: measures_2024_day_idx",
                "INDEX ATTACH: measures_2025_day_idx",
                "INDEX ATTACH: measures_2025h1_day_idx",
                "INDEX: measures_2024_day_idx",
                "INDEX: measures_2025_day_idx",
                "INDEX: measures_2025h1_day_idx",
                "INDEX: measures_day",
                "TABLE ATTACH: measures_2024",
                "TABLE ATTACH: measures_2025",
                "TABLE ATTACH: measures_2025h1",
                "TABLE DATA: measures_2024",
                "TABLE DATA: measures_2025h1",
                "TABLE: measures",
                "TABLE: measures_2024",
                "TABLE: measures_2025",
                "TABLE: measures_2025h1",
            ];
            assert_eq!(names(&toc, &entries_for_table(&toc, "public", "measures")), expected);
            let alone = entries_for_table(&toc, "public", "measures_2024");
            let expected =
                ["INDEX: measures_2024_day_idx", "TABLE DATA: measures_2024", "TABLE: measures_2024"];
            assert_eq!(names(&toc, &alone), expected);
        }
    }

    #[test]
    fn row_security_and_its_policies_are_kept_and_inheriting_tables_are_not_taken() {
        let toc = toc(PG15);
        let orders = names(&toc, &entries_for_table(&toc, "public", "orders"));
        for kept in ["POLICY: orders own", "ROW SECURITY: orders", "SEQUENCE: orders_id_seq"] {
            assert!(orders.contains(&kept.to_owned()), "{kept} in {orders:?}");
        }
        assert_eq!(
            names(&toc, &entries_for_table(&toc, "public", "parent")),
            ["TABLE DATA: parent", "TABLE: parent"]
        );
        let child = entries_for_table(&toc, "public", "child");
        assert_eq!(names(&toc, &left_out_for_table(&toc, &child).needed), ["TABLE: parent"]);
    }

    #[test]
    fn odd_names_are_found_and_unknown_ones_give_nothing() {
        let toc = toc(PG18);
        assert_eq!(entries_for_table(&toc, "Odd schema/ü", "a \"quoted\" /table").len(), 2);
        assert_eq!(entries_for_table(&toc, "Odd schema/ü", "new\nline").len(), 2);
        assert!(entries_for_table(&toc, "public", "happy").is_empty());
        assert!(entries_for_table(&toc, "other", "customers").is_empty());
    }
}
