//! In which order the parts of a selection are restored by several processes of `pg_restore`.
//!
//! First come definitions without data, then the data, several tables at a time, and at last what builds on the data: indexes,
//! constraints, triggers, privileges and materialized views. This is the order in which `pg_restore` itself works. With several
//! sessions it creates the indexes of a table as soon as that has its rows, and so does this program.

use std::collections::{BTreeMap, BTreeSet};

use super::feed::Feed;
use crate::source::postgres::archive::{Section, TocEntry};

/// Tables are restored together until they have this many bytes: a process costs a few hundredths of a second.
const TOGETHER: u64 = 4 << 20;
/// As many parts per process are made at least, if there are enough tables: so all processes end at about the same time.
const PARTS: u64 = 8;

/// Definitions that run code of their own while rows are loaded.
const CODE: [&str; 6] = ["FUNCTION", "PROCEDURE", "AGGREGATE", "EXTENSION", "OPERATOR", "CAST"];
/// In the definition of a table with a generated column.
const COMPUTED: &str = " GENERATED ALWAYS AS (";
/// Definitions that can require something of a row.
const RULES: [&str; 6] = ["TABLE", "DOMAIN", "TYPE", "CHECK CONSTRAINT", "DEFAULT", "FOREIGN TABLE"];

/// The parts of a selection, each with the numbers of its entries in the order of the archive.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Definitions.
    pub(super) before: Vec<i32>,
    /// Rows of tables, the parts with the most bytes first, and keys and indexes that need nothing but these rows.
    pub(super) rows: Vec<Vec<i32>>,
    /// What comes after the data.
    pub(super) after: Vec<i32>,
    /// Bytes of the data.
    pub(super) bytes: u64,
    /// Whether loading the rows of a table may need the rows of others: a check may call a function that reads them.
    pub(super) dependent: bool,
    /// Whether values depend on the order in which tables are loaded: they are computed by a function while a row is loaded.
    pub(super) is_ordered: bool,
}

impl Plan {
    /// Divides the selected entries for this number of processes. `knows_dependencies`: keys and indexes may follow the rows of
    /// their table, because the dump says what they need.
    pub(super) fn new(entries: &[TocEntry], feed: &Feed<'_>, jobs: usize, knows_dependencies: bool) -> Self {
        let may_depend = |from: &dyn Fn(&TocEntry) -> bool| may_depend(entries, from);
        let mut plan = Self {
            dependent: may_depend(&|entry| RULES.contains(&entry.desc.as_str())),
            is_ordered: may_depend(&|entry| entry.desc == "TABLE" && entry.defn.contains(COMPUTED)),
            ..Self::default()
        };
        let together = together(entries);
        let mut tables: Vec<(i32, u64)> = Vec::new();
        // Large objects, positions of sequences, and tables whose order matters.
        let (mut others, mut bytes_of_others) = (Vec::new(), 0);
        let mut section = Section::PreData;
        for entry in entries {
            // Comments and the like have no section: they follow the object that they belong to.
            if entry.section != Section::None {
                section = entry.section;
            }
            let bytes = feed.block(entry.dump_id).map(|block| block.end - block.start);
            if comes_last(entry) || section == Section::PostData {
                plan.after.push(entry.dump_id);
            } else if section != Section::Data {
                plan.before.push(entry.dump_id);
            } else if let (Some(bytes), "TABLE DATA", false) =
                (bytes, entry.desc.as_str(), together.contains(&entry.dump_id))
            {
                tables.push((entry.dump_id, bytes));
            } else {
                others.push(entry.dump_id);
                bytes_of_others += bytes.unwrap_or_default();
            }
        }
        plan.bytes = bytes_of_others + tables.iter().map(|(_, bytes)| bytes).sum::<u64>();
        plan.rows = parts((bytes_of_others, others), tables, plan.bytes / (PARTS * jobs.max(1) as u64));
        if knows_dependencies && !plan.dependent {
            plan.add_keys(entries);
        }
        plan
    }

    /// Moves the keys and indexes of each table to the part with its rows.
    fn add_keys(&mut self, entries: &[TocEntry]) {
        let keys = keys(entries);
        let places: BTreeMap<i32, usize> =
            entries.iter().enumerate().map(|(place, entry)| (entry.dump_id, place)).collect();
        let mut moved = BTreeSet::new();
        for part in &mut self.rows {
            let mut of_part: Vec<i32> =
                part.iter().filter_map(|id| keys.get(id)).flatten().copied().collect();
            of_part.sort_unstable_by_key(|id| places.get(id));
            moved.extend(of_part.iter().copied());
            part.extend(of_part);
        }
        self.after.retain(|id| !moved.contains(id));
    }
}

/// Divides data into parts, those with the most bytes first: tables with at least `enough` bytes are parts of their own, smaller
/// ones are restored together. `others` stay one part.
fn parts(others: (u64, Vec<i32>), tables: Vec<(i32, u64)>, enough: u64) -> Vec<Vec<i32>> {
    let enough = enough.max(TOGETHER);
    let mut parts: Vec<(u64, Vec<i32>)> = vec![others];
    let mut small: (u64, Vec<i32>) = Default::default();
    for (id, bytes) in tables {
        if bytes >= enough {
            parts.push((bytes, vec![id]));
            continue;
        }
        small.0 += bytes;
        small.1.push(id);
        if small.0 >= enough {
            parts.push(std::mem::take(&mut small));
        }
    }
    parts.push(small);
    parts.retain(|(_, ids)| !ids.is_empty());
    parts.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
    parts.into_iter().map(|(_, ids)| ids).collect()
}

/// Whether `pg_restore` restores the entry after all indexes, constraints and triggers, see `_tocEntryRestorePass` in
/// `pg_backup_archiver.c`.
fn comes_last(entry: &TocEntry) -> bool {
    matches!(
        entry.desc.as_str(),
        "ACL" | "ACL LANGUAGE" | "DEFAULT ACL" | "EVENT TRIGGER" | "MATERIALIZED VIEW DATA"
    ) || (entry.desc == "COMMENT" && entry.tag.starts_with("EVENT TRIGGER "))
}

/// The keys and indexes of tables that need nothing but the table, by the numbers of the tables' data. One that uses a function,
/// or an operator class of an extension, is not among them: it may run code that reads other tables.
fn keys(entries: &[TocEntry]) -> BTreeMap<i32, Vec<i32>> {
    let of = |desc: &'static str| entries.iter().filter(move |entry| entry.desc == desc);
    let tables: BTreeSet<i32> = of("TABLE").map(|entry| entry.dump_id).collect();
    let mut data: BTreeMap<i32, i32> = BTreeMap::new();
    for entry in of("TABLE DATA") {
        data.extend(
            entry.dependencies.iter().filter(|id| tables.contains(id)).map(|id| (*id, entry.dump_id)),
        );
    }
    let mut keys: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for entry in of("INDEX").chain(of("CONSTRAINT")) {
        let needed: BTreeSet<i32> = entry.dependencies.iter().copied().collect();
        let table = needed.first().filter(|_| needed.len() == 1).and_then(|id| data.get(id));
        if let Some(table) = table {
            keys.entry(*table).or_default().push(entry.dump_id);
        }
    }
    keys
}

/// The data of tables that must be loaded in the order of the archive: extensions have created these tables, perhaps with
/// foreign keys between them.
fn together(entries: &[TocEntry]) -> BTreeSet<i32> {
    let name = |entry: &TocEntry| (entry.namespace.clone(), entry.tag.clone());
    let created: BTreeSet<_> = entries.iter().filter(|entry| entry.desc == "TABLE").map(name).collect();
    let data: BTreeSet<i32> =
        entries.iter().filter(|entry| entry.desc == "TABLE DATA").map(|entry| entry.dump_id).collect();
    let mut together = BTreeSet::new();
    for entry in entries.iter().filter(|entry| data.contains(&entry.dump_id)) {
        let needed: Vec<i32> = entry.dependencies.iter().filter(|id| data.contains(id)).copied().collect();
        if !needed.is_empty() || !created.contains(&name(entry)) {
            together.insert(entry.dump_id);
            together.extend(needed);
        }
    }
    together
}

/// Whether a definition that is chosen by `from` needs, directly or not, one with code of its own.
fn may_depend(entries: &[TocEntry], from: &dyn Fn(&TocEntry) -> bool) -> bool {
    let by_id: BTreeMap<i32, &TocEntry> = entries.iter().map(|entry| (entry.dump_id, entry)).collect();
    let mut seen = BTreeSet::new();
    let mut open: Vec<&TocEntry> = entries.iter().filter(|entry| from(entry)).collect();
    while let Some(entry) = open.pop() {
        if CODE.contains(&entry.desc.as_str()) {
            return true;
        }
        if seen.insert(entry.dump_id) {
            open.extend(entry.dependencies.iter().filter_map(|id| by_id.get(id)));
        }
    }
    false
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::source::{
        manifest::{File, Manifest},
        postgres::{
            DUMP, Detail,
            archive::{ArchiveReader, ArchiveSummary, Block},
        },
    };
    use crate::{error::Result, stream::files::Files};

    const PG18: &[u8] = include_bytes!("../../../../tests/fixtures/pg18-sample.dump");

    fn read() -> ArchiveSummary {
        let mut reader = ArchiveReader::new();
        reader.feed(PG18);
        reader.finish()
    }

    /// The beginning of a dump, with data of any length.
    struct Head;

    impl Files for Head {
        fn list(&self) -> Result<Vec<(String, u64)>> {
            Ok(Vec::new())
        }

        fn read(&self, _path: &str) -> Result<Vec<u8>> {
            Ok(Vec::new())
        }

        fn copy(&self, _path: &str, target: &mut dyn std::io::Write) -> Result<u64> {
            let _ = target.write_all(PG18);
            Ok(u64::MAX)
        }
    }

    fn toc() -> Vec<TocEntry> {
        read().toc
    }

    fn plan(entries: &[TocEntry], bytes_of: impl Fn(&TocEntry) -> u64, jobs: usize) -> Plan {
        plan_with(entries, bytes_of, jobs, false)
    }

    fn plan_with(
        entries: &[TocEntry],
        bytes_of: impl Fn(&TocEntry) -> u64,
        jobs: usize,
        knows_dependencies: bool,
    ) -> Plan {
        let mut manifest = Manifest::begin("pg", "shop", "postgres");
        manifest.files.push(File { path: DUMP.to_owned(), bytes: u64::MAX });
        let mut start = read().blocks[0].start;
        let data = entries.iter().filter(|entry| matches!(entry.desc.as_str(), "TABLE DATA" | "BLOBS"));
        let blocks = data
            .map(|entry| {
                let block = Block { entry: entry.dump_id, start, end: start + bytes_of(entry) };
                start = block.end;
                block
            })
            .collect();
        let detail = Detail { blocks, ..Detail::default() };
        Plan::new(entries, &Feed::new(&Head, &manifest, &detail).unwrap(), jobs, knows_dependencies)
    }

    #[test]
    fn keys_that_need_only_their_table_follow_its_rows() {
        let mut entries = toc();
        for entry in entries.iter_mut().filter(|entry| RULES.contains(&entry.desc.as_str())) {
            entry.dependencies.clear();
        }
        let bytes = |_: &TocEntry| 1 << 30;
        let usual = plan(&entries, bytes, 2);
        let early = plan_with(&entries, bytes, 2, true);
        let moved: Vec<i32> = usual.after.iter().filter(|id| !early.after.contains(id)).copied().collect();
        assert!(moved.len() > 1, "{early:?}");
        let place = |id: &i32| entries.iter().position(|entry| entry.dump_id == *id).unwrap();
        for (part, without) in early.rows.iter().zip(&usual.rows) {
            assert!(part.starts_with(without) && part.is_sorted_by_key(place), "{part:?}");
            for id in &part[without.len()..] {
                let [table] = entries[place(id)].dependencies[..] else { panic!("it needs one table") };
                let needs_table = |data: &&i32| entries[place(data)].dependencies.contains(&table);
                assert!(without.iter().any(|data| needs_table(&data)), "its rows are in the same part");
            }
        }
        let mut all: Vec<i32> = early.rows.iter().flatten().chain(&early.after).copied().collect();
        let mut expected: Vec<i32> = usual.rows.iter().flatten().chain(&usual.after).copied().collect();
        all.sort_unstable();
        expected.sort_unstable();
        assert_eq!(all, expected);

        let function = entries.iter().find(|entry| entry.desc == "FUNCTION").unwrap().dump_id;
        let of_key = place(&moved[0]);
        entries[of_key].dependencies.push(function);
        assert!(plan_with(&entries, bytes, 2, true).after.contains(&moved[0]), "it may run code");
        let table = entries.iter().position(|entry| entry.desc == "TABLE").unwrap();
        entries[table].dependencies.push(function);
        assert_eq!(plan_with(&entries, bytes, 2, true), plan(&entries, bytes, 2));
    }

    #[test]
    fn every_entry_is_in_one_part_and_in_the_order_of_the_archive() {
        let entries = toc();
        let plan = plan(&entries, |entry| u64::from(entry.dump_id.unsigned_abs()) << 16, 3);
        let mut all: Vec<i32> = plan.before.iter().chain(&plan.after).copied().collect();
        all.extend(plan.rows.iter().flatten());
        all.sort_unstable();
        let mut expected: Vec<i32> = entries.iter().map(|entry| entry.dump_id).collect();
        expected.sort_unstable();
        assert_eq!(all, expected);
        let place = |id: &i32| entries.iter().position(|entry| entry.dump_id == *id).unwrap();
        for part in plan.rows.iter().chain([&plan.before, &plan.after]) {
            assert!(part.is_sorted_by_key(place));
        }
        let of = |part: &[i32], desc: &str| part.iter().any(|id| entries[place(id)].desc == desc);
        for (desc, before, after) in [
            ("TABLE", true, false),
            ("FUNCTION", true, false),
            ("INDEX", false, true),
            ("TRIGGER", false, true),
            ("ACL", false, true),
            ("MATERIALIZED VIEW DATA", false, true),
        ] {
            assert_eq!((of(&plan.before, desc), of(&plan.after, desc)), (before, after), "{desc}");
        }
    }

    #[test]
    fn large_tables_are_parts_of_their_own_and_come_first() {
        let entries = toc();
        let largest = entries.iter().rfind(|entry| entry.desc == "TABLE DATA").unwrap().dump_id;
        let plan = plan(&entries, |entry| if entry.dump_id == largest { 1 << 40 } else { 1000 }, 4);
        assert_eq!(plan.rows[0], [largest]);
        assert!(plan.rows.len() <= 3, "{plan:?}");
    }

    #[test]
    fn a_table_with_a_function_in_its_definition_may_depend_on_others() {
        let entries = toc();
        let mut parts: Vec<TocEntry> = entries
            .iter()
            .filter(|entry| matches!(entry.desc.as_str(), "TABLE" | "FUNCTION"))
            .cloned()
            .map(|mut entry| {
                entry.dependencies.clear();
                entry.defn = entry.defn.replace(COMPUTED, " ");
                entry
            })
            .collect();
        let bytes = |_: &TocEntry| 1;
        let known = |parts: &[TocEntry]| {
            let plan = plan(parts, bytes, 2);
            (plan.dependent, plan.is_ordered)
        };
        assert_eq!(known(&parts), (false, false));
        let function = parts.iter().find(|entry| entry.desc == "FUNCTION").unwrap().dump_id;
        let table = parts.iter().rposition(|entry| entry.desc == "TABLE").unwrap();
        parts[table].dependencies.push(function);
        assert_eq!(known(&parts), (true, false));
        parts[table].defn.push_str(" x int GENERATED ALWAYS AS (public.f()) STORED");
        assert_eq!(known(&parts), (true, true));
    }

    #[test]
    fn tables_of_extensions_are_loaded_in_the_order_of_the_archive() {
        let mut entries = toc();
        let table = entries.iter().find(|entry| entry.desc == "TABLE").unwrap().clone();
        let data = entries.iter().find(|e| e.desc == "TABLE DATA" && e.tag == table.tag).unwrap().dump_id;
        entries.retain(|entry| entry.dump_id != table.dump_id);
        let plan = plan(&entries, |_| 1 << 40, 2);
        assert!(!plan.rows.contains(&vec![data]), "{plan:?}");
        assert!(plan.rows.iter().flatten().any(|id| *id == data));
    }
}
