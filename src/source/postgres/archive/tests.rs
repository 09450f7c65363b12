//! The reader against real archives (of PostgreSQL 15 and 18) and against generated ones.
#![allow(clippy::unwrap_used)]

use super::*;

const PG15: &[u8] = include_bytes!("../../../../tests/fixtures/pg15-sample.dump");
const PG18: &[u8] = include_bytes!("../../../../tests/fixtures/pg18-sample.dump");
const PG15_GZIP: &[u8] = include_bytes!("../../../../tests/fixtures/pg15-sample-z6.dump");
const PG18_GZIP: &[u8] = include_bytes!("../../../../tests/fixtures/pg18-sample-z6.dump");

fn read(archive: &[u8]) -> ArchiveSummary {
    let mut reader = ArchiveReader::new();
    reader.feed(archive);
    reader.finish()
}

fn same(a: &ArchiveSummary, b: &ArchiveSummary) -> bool {
    a.toc == b.toc
        && a.tables == b.tables
        && a.large_objects == b.large_objects
        && (a.format, a.schema_digest, a.complete) == (b.format, b.schema_digest, b.complete)
        && (&a.undigested, &a.sequences, &a.database) == (&b.undigested, &b.sequences, &b.database)
}

fn table<'a>(summary: &'a ArchiveSummary, name: &str) -> &'a TableDigest {
    summary.tables.iter().find(|table| table.name == name).unwrap()
}

fn digest_of(rows: impl IntoIterator<Item = String>) -> Digest128 {
    rows.into_iter().map(|row| Digest128::of(row.as_bytes())).sum()
}

/// Deterministic random numbers.
struct Xorshift(u64);

impl Xorshift {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound.max(1)
    }
}

/// Writes made-up archives.
struct Maker(Vec<u8>, u8);

impl Maker {
    fn new(minor: u8, compression: u8, entries: i32) -> Self {
        let mut maker = Self([b"PGDMP", &[1, minor, 0, 4, 8, 1][..]].concat(), minor);
        if minor >= 15 {
            maker.0.push(compression)
        } else {
            maker.int(compression.into())
        }
        (0..7).for_each(|part| maker.int(part));
        ["db", "9.0", "9.0"].into_iter().for_each(|text| maker.text(text));
        maker.int(entries);
        maker
    }

    fn int(&mut self, value: i32) {
        self.0.push(value.is_negative().into());
        self.0.extend(value.unsigned_abs().to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.int(text.len() as i32);
        self.0.extend(text.as_bytes());
    }

    fn entry(&mut self, id: i32, desc: &str, tag: &str, defn: &str, copy_stmt: &str) {
        self.int(id);
        self.int(desc.ends_with("DATA").into());
        ["1259", "16384", tag, desc].into_iter().for_each(|text| self.text(text));
        self.int(2);
        [defn, "", copy_stmt, "public", ""].into_iter().for_each(|text| self.text(text));
        if self.1 >= 14 {
            self.text("heap");
        }
        if self.1 >= 16 {
            self.int('r' as i32);
        }
        ["owner", "false"].into_iter().for_each(|text| self.text(text));
        self.int(-1);
        self.0.push(if desc.ends_with("DATA") { 1 } else { 3 });
        self.0.extend([0; 8]);
    }

    fn block(&mut self, id: i32, chunks: &[&str]) {
        self.0.push(1);
        self.int(id);
        chunks.iter().for_each(|chunk| self.text(chunk));
        self.int(0);
    }
}

#[test]
fn real_archives_are_read_to_the_last_row() {
    for (archive, format, version) in
        [(PG15, (1, 14, 0), "15.20 (Debian 15.20-0+deb12u1)"), (PG18, (1, 16, 0), "18.6")]
    {
        let summary = read(archive);
        assert_eq!((summary.format, summary.compression), (Some(format), Some(Compression::None)));
        assert_eq!((summary.server_version.as_str(), summary.dump_version.as_str()), (version, version));
        assert_eq!((summary.database.as_str(), summary.encoding.as_deref()), ("sample", Some("UTF8")));
        assert!(summary.complete);
        assert_eq!(summary.undigested, None);
        // As the SQL that filled the sample inserted them.
        let rows: Vec<(&str, &str, u64)> =
            summary.tables.iter().map(|t| (t.schema.as_str(), t.name.as_str(), t.rows)).collect();
        let odd = "Odd schema/ü";
        let expected = [
            (odd, "a \"quoted\" /table", 2),
            (odd, "new\nline", 7),
            ("public", "bytes", 20),
            ("public", "child", 1),
            ("public", "customers", 100),
            ("public", "empty_table", 0),
            ("public", "measures_2024", 11),
            ("public", "measures_2025h1", 19),
            ("public", "no_columns", 3),
            ("public", "orders", 40),
            ("public", "other_default", 0),
            ("public", "parent", 1),
            ("public", "scratch", 2),
            ("public", "texts", 12),
        ];
        assert_eq!(rows, expected);
    }
}

#[test]
fn digests_are_those_of_the_rows_in_copy_format_whatever_the_version() {
    let orders =
        digest_of((1..=40).map(|i| format!("{i}\t{}\t{}.{:02}", 1 + i, i * 125 / 100, i * 125 % 100)));
    let long = "long ".repeat(400);
    let texts = digest_of(
        [
            r"tab\there",
            r"line\nbreak",
            r"back\\slash",
            r"\\.",
            r"\\.\n",
            "",
            "",
            r"\N",
            r"cr\rlf\r\n",
            "üñí→😀",
            &long,
            r"\\N",
        ]
        .map(str::to_owned),
    );
    let objects: Digest128 = [
        (50001u32, b"hello".to_vec()),
        (50002, [0, 255, 10].repeat(3000)),
        (50003, vec![]),
        (4_000_000_001, b"high oid".to_vec()),
    ]
    .iter()
    .map(|(oid, content)| Digest128::of(&[&oid.to_le_bytes()[..], content].concat()))
    .sum();
    let (pg15, pg18) = (read(PG15), read(PG18));
    for summary in [&pg15, &pg18] {
        assert_eq!(table(summary, "orders").digest, orders);
        assert_eq!(table(summary, "texts").digest, texts);
        assert_eq!(table(summary, "no_columns").digest, digest_of(vec![String::new(); 3]));
        assert_eq!(summary.large_objects, LargeObjects { count: 4, bytes: 9013, digest: objects });
        let sequences: Vec<_> =
            summary.sequences.iter().map(|s| (s.name.as_str(), s.value, s.is_called)).collect();
        let expected = [
            ("it's, a (seq)", 123_456_789_012, false),
            ("customers_id_seq", 100, true),
            ("down", -1, true),
            ("lonely", 42, false),
            ("orders_id_seq", 40, true),
        ];
        assert_eq!(sequences, expected);
    }
    assert_eq!(pg15.tables, pg18.tables);
}

#[test]
fn every_way_to_cut_the_bytes_gives_the_same_summary() {
    let mut random = Xorshift(42);
    for archive in [PG15, PG18, PG18_GZIP] {
        let whole = read(archive);
        for size in 1..=64 {
            let mut reader = ArchiveReader::new();
            archive.chunks(size).for_each(|piece| reader.feed(piece));
            assert!(same(&reader.finish(), &whole), "pieces of {size}");
        }
        for _ in 0..50 {
            let mut reader = ArchiveReader::new();
            let mut rest = archive;
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(random.below(rest.len().min(3000) + 1));
                reader.feed(piece);
                rest = after;
            }
            assert!(same(&reader.finish(), &whole));
        }
    }
}

#[test]
fn an_archive_cut_off_anywhere_is_incomplete_and_keeps_what_it_told() {
    let whole = read(PG15);
    for end in (0..PG15.len()).step_by(61).chain([PG15.len() - 1]) {
        let part = read(&PG15[..end]);
        assert!(!part.complete, "cut at {end}");
        assert!(part.undigested.is_some());
        assert!(whole.toc.starts_with(&part.toc));
        assert!(part.tables.iter().all(|table| whole.tables.contains(table)));
    }
    let part = read(&PG15[..PG15.len() - 1]);
    assert_eq!(part.tables, whole.tables);
    assert_eq!(part.schema_digest, whole.schema_digest);
    assert_eq!(part.undigested.as_deref(), Some("the archive ends too early"));
}

#[test]
fn bytes_after_the_last_data_are_of_no_account() {
    assert!(same(&read(&[PG18, b"\0S\0\0\0 a second table of contents"].concat()), &read(PG18)));
}

#[test]
fn compressed_archives_tell_their_objects_but_not_their_rows() {
    for (plain, compressed) in [(PG15, PG15_GZIP), (PG18, PG18_GZIP)] {
        let (plain, summary) = (read(plain), read(compressed));
        assert_eq!(summary.compression, Some(Compression::Gzip));
        assert_eq!(summary.undigested.as_deref(), Some("the archive is compressed with gzip"));
        assert!(summary.complete && summary.tables.is_empty());
        assert_eq!(summary.large_objects, LargeObjects::default());
        assert_eq!((summary.schema_digest, summary.sequences), (plain.schema_digest, plain.sequences));
        assert!(!read(&compressed[..compressed.len() - 1]).complete);
    }
    assert_eq!(read(&Maker::new(16, 3, 0).0).compression, Some(Compression::Zstd));
    let unknown = read(&Maker::new(16, 9, 0).0).undigested.unwrap();
    assert!(unknown.ends_with("an unknown algorithm (number 9)"), "{unknown}");
}

#[test]
fn all_known_versions_are_read_and_others_are_named() {
    for minor in 12..=16 {
        let mut maker = Maker::new(minor, 0, 2);
        maker.entry(1, "TABLE", "t", "CREATE TABLE t (a text);", "");
        maker.entry(2, "TABLE DATA", "t", "", "COPY public.t (a) FROM stdin;\n");
        maker.block(2, &["x\ny", "\n", "\\", ".\n\n\n"]);
        let summary = read(&maker.0);
        assert_eq!((summary.undigested.as_deref(), summary.complete), (None, true), "1.{minor}");
        assert_eq!(
            (summary.tables[0].rows, summary.tables[0].digest),
            (2, digest_of(["x".into(), "y".into()]))
        );
        assert_eq!(summary.toc[0].table_am.is_some(), minor >= 14);
        assert_eq!(summary.toc[0].relkind, (minor >= 16).then_some('r'));
    }
    for (major, minor) in [(1, 11), (1, 17), (2, 0)] {
        let mut archive = Maker::new(16, 0, 0).0;
        (archive[5], archive[6]) = (major, minor);
        let reason = read(&archive).undigested.unwrap();
        assert!(reason.contains(&format!("format version {major}.{minor}")), "{reason}");
    }
    for no_archive in [&b"PGDMX"[..], b"-- PostgreSQL database dump", &[0; 300]] {
        let summary = read(no_archive);
        assert!(summary.undigested.unwrap().contains("not an archive"));
        assert_eq!((summary.format, summary.complete), (None, false));
    }
}

#[test]
fn rows_as_inserts_and_unreadable_data_are_said() {
    let mut maker = Maker::new(14, 0, 2);
    maker.entry(1, "TABLE DATA", "t", "", "");
    maker.entry(2, "TABLE DATA", "u", "", "COPY public.u (a) FROM stdin;\n");
    maker.block(1, &["INSERT INTO public.t VALUES (1);\n"]);
    let before = maker.0.len();
    maker.block(2, &["x\n\\.\n\n\n"]);
    let summary = read(&maker.0);
    assert_eq!(summary.undigested.as_deref(), Some("rows were dumped as INSERT statements"));
    assert_eq!(summary.tables.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(), ["u"]);
    let reason_with = |tail: &[u8]| read(&[&maker.0[..before], tail].concat()).undigested.unwrap();
    assert!(reason_with(&[7]).ends_with("a data block of unknown kind 7"));
    assert!(reason_with(&[1, 0, 9, 0, 0, 0]).ends_with("an unknown entry 9"));
    assert!(reason_with(&[1, 0, 1, 0, 0, 0]).ends_with("a second data block for entry 1"));
    assert!(reason_with(&[1, 0, 2, 0, 0, 0, 1, 1, 0, 0, 0]).ends_with("a data chunk of negative length"));
    maker.0.truncate(before);
    maker.block(2, &["x\n"]);
    assert!(read(&maker.0).undigested.unwrap().ends_with("the rows of entry 2 end without an end marker"));
}

#[test]
fn a_huge_table_of_contents_is_given_up_and_no_length_is_believed() {
    let mut reader = ArchiveReader::with_toc_limit(10_000);
    PG15.chunks(1000).for_each(|piece| reader.feed(piece));
    assert!(reader.failure.as_ref().unwrap().1.contains("more than 10000 bytes"));
    assert_eq!(reader.buffer.capacity(), 0);

    let mut maker = Maker::new(14, 0, i32::MAX);
    maker.int(1);
    maker.int(0);
    maker.int(i32::MAX);
    let mut reader = ArchiveReader::new();
    for _ in 0..100 {
        reader.feed(&maker.0);
    }
    assert!(reader.failure.is_none());
    assert!(reader.buffer.capacity() <= 256 * maker.0.len());
    assert!(!reader.finish().complete);
}

#[test]
fn definitions_differ_when_an_object_does_and_secrets_are_not_shown() {
    let archive = |defn: &str, id: i32, name: &str| {
        let mut maker = Maker::new(16, 0, 2);
        maker.entry(id, "SUBSCRIPTION", "s", defn, "");
        maker.entry(id + 1, "DATABASE", name, &format!("CREATE DATABASE {name};"), "");
        read(&maker.0)
    };
    let base = archive("CREATE SUBSCRIPTION s CONNECTION 'password=hunter2'", 1, "a");
    let renumbered = archive("CREATE SUBSCRIPTION s CONNECTION 'password=hunter2'", 7, "b");
    let changed = archive("CREATE SUBSCRIPTION s CONNECTION 'password=hunter3'", 1, "a");
    assert_eq!(base.schema_digest, renumbered.schema_digest);
    assert_ne!(base.schema_digest, changed.schema_digest);
    let names: Vec<_> = base.schema_objects().into_iter().map(|object| (object.desc, object.name)).collect();
    assert_eq!(names, [("SUBSCRIPTION".to_owned(), "s".to_owned())]);
    assert_ne!(base.schema_objects(), changed.schema_objects());
    let shown = format!("{base:?} {}", serde_json::to_string(&base).unwrap());
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn damaged_archives_never_panic_and_never_take_more_memory_than_they_are_long() {
    let mut random = Xorshift(0x9e37_79b9_7f4a_7c15);
    let mut small = Maker::new(16, 0, 2);
    small.entry(1, "TABLE", "t", "CREATE TABLE t (a text)\nINHERITS (u);", "");
    small.entry(2, "TABLE DATA", "t", "", "COPY public.t (a, b) FROM stdin;\n");
    small.block(2, &["x\ty\n", "v\tw\n", "\\.\n\n\n"]);
    let mut understood = 0;
    for round in 0..20_000 {
        let source = [PG15, PG18, &small.0][if round % 10 < 2 { round % 2 } else { 2 }];
        let mut archive = source.to_vec();
        for _ in 0..=random.below(3) {
            let at = random.below(archive.len());
            match random.below(5) {
                0 => archive[at] ^= 1 << random.below(8),
                1 => archive[at] = random.below(256) as u8,
                2 => archive.insert(at, random.below(256) as u8),
                3 => drop(archive.drain(at..(at + random.below(9)).min(archive.len()))),
                _ => archive.truncate(at.max(1)),
            }
        }
        let mut reader = ArchiveReader::new();
        for piece in archive.chunks(1 + random.below(8192)) {
            reader.feed(piece);
            assert!(reader.buffer.capacity() <= 2 * archive.len() + 64);
            assert!(reader.toc.len() <= archive.len() / 50);
        }
        let summary = reader.finish();
        understood += u32::from(summary.complete);
        assert!(summary.complete || summary.undigested.is_some());
        assert_eq!(summary.undigested.is_some(), summary.doubt.is_some());
        if summary.doubt == Some(Doubt::Unknown) {
            // Only what says of itself that it is of another kind; all other damage is taken for what it is.
            let other_version = summary.format.is_none();
            let other_form = summary.compression != Some(Compression::None);
            let inserts = summary.toc.iter().any(|e| e.desc == "TABLE DATA" && e.copy_stmt.is_none());
            assert!(other_version || other_form || inserts, "{:?}", summary.undigested);
        }
    }
    assert!((100..19_000).contains(&understood), "{understood} of the damaged archives were read whole");
}
