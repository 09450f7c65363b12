//! Groups of tables: the partitions of a table, and tables whose names differ only by a date. Single members come and
//! go, so their total is judged. Also the files of a directory or share, apart from its subdirectories.

use std::collections::HashMap;

use super::content::{Counted, Key, pattern};
use crate::{source::manifest::Partitioned, stream::digest::Digest128};

/// Kind of the object for all partitions of a table.
pub(super) const PARTITIONED: &str = "partitioned table";
/// Suffix for the kind of the object for a series of tables with dates in their names.
const SERIES: &str = " series";
/// Suffix for the kind of the object for the files of a directory or share.
const FILES: &str = " files";
/// Prefix for the name of the object for the files of a directory or share. No other object has this prefix.
const FILES_OF: &str = "files of ";

/// The object for the files of a directory, share or container, whose own rows count all entries. Empty directories
/// must not hide that files are gone.
pub(super) fn files_of(key: &Key) -> Option<Key> {
    if !matches!(key.kind.as_str(), "folder" | "share" | "container") {
        return None;
    }
    Some(Key {
        kind: format!("{}{FILES}", key.kind),
        schema: String::new(),
        name: format!("{FILES_OF}{}", key.name()),
    })
}

/// The kind and name under which an object is reported: for files, those of their directory or share.
pub(super) fn reported_as(key: &Key) -> (String, String) {
    let (kind, shown) = (key.kind.as_str(), key.name());
    match kind.strip_suffix(FILES).zip(shown.strip_prefix(FILES_OF)) {
        Some((kind, name)) => (kind.to_owned(), name.to_owned()),
        None => (kind.to_owned(), shown),
    }
}

/// Adds an object for the files of a directory or share.
pub(super) fn add_files(objects: &mut Vec<Counted>, files: u64) {
    let of = objects.iter().find_map(|object| Some((files_of(&object.key)?, object.digest)));
    objects.extend(of.map(|(key, digest)| Counted { key, rows: files, digest, part_of: None }));
}

/// Names of the objects whose accepted loss applies to this object too: its groups, and objects that count the same.
pub(super) fn accepted_with<'k>(key: &'k Key, part_of: Option<&'k str>) -> impl Iterator<Item = String> + 'k {
    let entries = key.kind.ends_with(FILES).then(|| reported_as(key).1);
    let groups = [series_of(key), files_of(key)].into_iter().flatten().map(|group| group.name());
    groups.chain(entries).chain(part_of.map(str::to_owned))
}

/// Adds an object for each partitioned table, and marks its partitions.
pub(super) fn add_partitioned(objects: &mut Vec<Counted>, partitioned: &[Partitioned]) {
    if partitioned.is_empty() {
        return;
    }
    let tables = objects.iter().enumerate().filter(|(_, object)| object.key.kind == "table");
    let index: HashMap<(String, String), usize> = tables
        .map(|(number, object)| ((object.key.schema.clone(), object.key.name.clone()), number))
        .collect();
    for root in partitioned {
        let key = Key { kind: PARTITIONED.to_owned(), schema: root.schema.clone(), name: root.name.clone() };
        let mut whole = Counted { key, rows: 0, digest: Digest128::ZERO, part_of: None };
        let shown = whole.key.name();
        // A table with child tables may have rows of its own.
        let own = (root.schema.clone(), root.name.clone());
        let parts = root.partitions.iter().map(|part| (part.schema.clone(), part.name.clone()));
        for number in parts.chain([own]).filter_map(|part| index.get(&part)) {
            let part = &mut objects[*number];
            if part.part_of.is_none() {
                part.part_of = Some(shown.clone());
                whole.rows += part.rows;
                whole.digest += part.digest;
            }
        }
        objects.push(whole);
    }
}

/// Whether the object represents several others.
pub(super) fn is_group(key: &Key) -> bool {
    key.kind == PARTITIONED || key.kind.ends_with(SERIES) || key.kind.ends_with(FILES)
}

/// The series of a table or collection with a date in its name.
pub(super) fn series_of(key: &Key) -> Option<Key> {
    if !matches!(key.kind.as_str(), "table" | "collection") || date_of(&key.name).is_none() {
        return None;
    }
    let kind = format!("{}{SERIES}", key.kind);
    Some(Key { kind, schema: key.schema.clone(), name: pattern(&key.name) })
}

/// The numbers of a name, starting with a year with a month or a day (`2026_11`, `202611`, `20261130`). Mere counters
/// (`shard_2`) are not dates, nor is a year alone: a removal that happens only once a year should be reported.
pub(super) fn date_of(name: &str) -> Option<Vec<u64>> {
    let mut numbers = name.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
    let first = numbers.find(|digits| is_date(digits))?;
    let mut date = vec![first.parse().ok()?];
    for digits in numbers {
        if digits.len() > 3 {
            return None;
        }
        date.push(digits.parse().ok()?);
    }
    if first.len() == 4 && date.len() == 1 {
        return None;
    }
    Some(date)
}

fn is_date(digits: &str) -> bool {
    let part = |from: usize, to: usize| digits.get(from..to).and_then(|part| part.parse::<u32>().ok());
    let year = part(0, 4).is_some_and(|year| (1990..2100).contains(&year));
    let month = || part(4, 6).is_some_and(|month| (1..=12).contains(&month));
    let day = || part(6, 8).is_some_and(|day| (1..=31).contains(&day));
    match digits.len() {
        4 => year,
        6 => year && month(),
        8 | 10 => year && month() && day(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str) -> Key {
        Key { kind: "table".into(), schema: "public".into(), name: name.into() }
    }

    #[test]
    fn names_with_a_date_are_told_from_names_with_a_number() {
        for (name, date) in [
            ("events_2026_11", vec![2026, 11]),
            ("events_2026_w9", vec![2026, 9]),
            ("log20261130", vec![20_261_130]),
            ("p202611", vec![202_611]),
            ("v2_events_2026_01_31", vec![2026, 1, 31]),
        ] {
            assert_eq!(date_of(name), Some(date), "{name}");
        }
        for name in
            ["users", "shard_2", "tenant_0042", "p1", "t_202613", "x_3026_11", "a_2026_1234567", "sales_2026"]
        {
            assert_eq!(date_of(name), None, "{name}");
        }
        assert_eq!(
            series_of(&table("events_2026_11")).map(|key| key.name()),
            Some("public.events_#_#".into())
        );
        assert_eq!(series_of(&Key { kind: "container".into(), ..table("logs-2026-11") }), None);
    }

    #[test]
    fn partitions_are_summed_and_marked_once() {
        let counted = |name: &str, rows| Counted {
            key: table(name),
            rows,
            digest: Digest128::of(name.as_bytes()),
            part_of: None,
        };
        let mut objects = vec![counted("e_1", 5), counted("e_2", 7), counted("other", 1)];
        let part =
            |name: &str| crate::source::manifest::TableName { schema: "public".into(), name: name.into() };
        let root = Partitioned {
            schema: "public".into(),
            name: "e".into(),
            partitions: vec![part("e_1"), part("e_2"), part("excluded")],
        };
        let empty = Partitioned { schema: "public".into(), name: "none".into(), partitions: Vec::new() };
        add_partitioned(&mut objects, &[root, empty]);
        let parts: Vec<_> = objects.iter().map(|o| (o.key.name(), o.rows, o.part_of.as_deref())).collect();
        assert_eq!(
            parts,
            [
                ("public.e_1".to_owned(), 5, Some("public.e")),
                ("public.e_2".to_owned(), 7, Some("public.e")),
                ("public.other".to_owned(), 1, None),
                ("public.e".to_owned(), 12, None),
                ("public.none".to_owned(), 0, None),
            ]
        );
    }
}
