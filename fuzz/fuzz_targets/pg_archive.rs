//! Any bytes, however cut, are read as an archive without a panic and to the same result.
//!
//! `cargo +nightly fuzz run pg_archive fuzz/corpus/pg_archive tests/fixtures`
#![no_main]

use libfuzzer_sys::fuzz_target;
use tik_backup::source::postgres::archive::{
    ArchiveReader, ArchiveSummary, entries_for_table, left_out_for_table,
};

fn read(bytes: &[u8], piece: usize) -> ArchiveSummary {
    let mut reader = ArchiveReader::new();
    bytes.chunks(piece).for_each(|piece| reader.feed(piece));
    reader.finish()
}

fuzz_target!(|bytes: &[u8]| {
    let piece = 1 + usize::from(bytes.last().copied().unwrap_or_default());
    let whole = read(bytes, bytes.len().max(1));
    let pieces = read(bytes, piece);
    assert_eq!(whole.toc, pieces.toc);
    assert_eq!(whole.tables, pieces.tables);
    assert_eq!(whole.large_objects, pieces.large_objects);
    assert_eq!((whole.complete, &whole.undigested), (pieces.complete, &pieces.undigested));
    for entry in whole.toc.iter().take(3) {
        let schema = entry.namespace.as_deref().unwrap_or_default();
        let chosen = entries_for_table(&whole.toc, schema, &entry.tag);
        left_out_for_table(&whole.toc, &chosen);
    }
});
