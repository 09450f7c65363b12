//! Empties tables in the statement that fills them.
//!
//! A table that is emptied in the transaction that loads its rows needs no write-ahead log for them if the server's
//! `wal_level` is `minimal`: the file is written to disk at the end of the transaction instead.

use std::collections::BTreeMap;

use super::{
    header::Header,
    routed::copy_target,
    toc::TocEntry,
    wire::{Cursor, Stop, counted},
};

/// The start of an archive (header and table of contents), with a `TRUNCATE` in front of the `COPY` of each of these entries.
/// `tables` has the entry's number and the quoted name of its table. Entries whose rows are loaded into another table stay
/// unchanged, as does everything that cannot be parsed.
pub fn truncating(head: &[u8], tables: &BTreeMap<i32, String>) -> Vec<u8> {
    let mut out = Vec::with_capacity(head.len() + tables.len() * 64);
    let mut copied = 0;
    // What was parsed before the end or an error is changed, and the rest follows as it is.
    let _: Result<(), Stop> = parse(head, &mut |entry, start, end, int_size| {
        let part = head.get(start..end).unwrap_or_default();
        let Some((statement, changed)) = changed(entry, tables) else { return };
        let Some(at) = memchr::memmem::find(part, &counted(statement, int_size)) else { return };
        out.extend_from_slice(head.get(copied..start + at).unwrap_or_default());
        out.extend(counted(&changed, int_size));
        copied = start + at + counted(statement, int_size).len();
    });
    out.extend_from_slice(head.get(copied..).unwrap_or_default());
    out
}

/// The statement of an entry, and the one to replace it.
fn changed<'e>(entry: &'e TocEntry, tables: &BTreeMap<i32, String>) -> Option<(&'e str, String)> {
    let table = tables.get(&entry.dump_id)?;
    let statement = entry.copy_stmt.as_deref()?;
    let (schema, name) = copy_target(statement)?;
    let own = name == entry.tag && schema == entry.namespace;
    own.then(|| (statement, format!("TRUNCATE TABLE ONLY {table};\n{statement}")))
}

/// Visits each entry with the positions of its first byte and behind its last one, and the width of integers.
fn parse(head: &[u8], visit: &mut dyn FnMut(&TocEntry, usize, usize, usize)) -> Result<(), Stop> {
    let mut cursor = Cursor::new(head, 1);
    let header = Header::parse(&mut cursor)?;
    let entries = cursor.int()?;
    for _ in 0..entries {
        let start = cursor.pos();
        let (entry, _) = TocEntry::parse(&mut cursor, &header)?;
        visit(&entry, start, cursor.pos(), header.int_size);
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{super::ArchiveReader, *};

    const PG15: &[u8] = include_bytes!("../../../../tests/fixtures/pg15-sample.dump");
    const PG18: &[u8] = include_bytes!("../../../../tests/fixtures/pg18-sample.dump");

    #[test]
    fn only_the_statements_of_these_tables_change() {
        for archive in [PG15, PG18] {
            let read = |bytes: &[u8]| {
                let mut reader = ArchiveReader::new();
                reader.feed(bytes);
                reader.finish()
            };
            let before = read(archive);
            let data = before.toc.iter().filter(|entry| entry.desc == "TABLE DATA").skip(1);
            let tables: BTreeMap<i32, String> =
                data.map(|entry| (entry.dump_id, format!("\"{}\"", entry.tag))).collect();
            assert!(!tables.is_empty());
            let after = read(&truncating(archive, &tables));
            assert_eq!(after.undigested, before.undigested);
            assert_eq!((&after.tables, after.large_objects), (&before.tables, before.large_objects));
            let mut changed = 0;
            for (before, after) in before.toc.iter().zip(&after.toc) {
                let mut expected = before.clone();
                if let Some((_, statement)) = super::changed(before, &tables) {
                    expected.copy_stmt = Some(statement);
                    changed += 1;
                }
                assert_eq!(*after, expected);
            }
            assert!(changed > 0);
            assert_eq!(truncating(archive, &BTreeMap::new()), archive);
        }
    }

    #[test]
    fn what_is_no_archive_stays_as_it_is() {
        let tables = BTreeMap::from([(1, "t".to_owned())]);
        assert_eq!(truncating(b"-- a script", &tables), b"-- a script");
        assert_eq!(truncating(&PG15[..100], &tables), &PG15[..100]);
    }
}
