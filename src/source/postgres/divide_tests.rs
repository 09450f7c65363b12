//! Several processes give what a single one gives, or nothing.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use testkit::{PgServer, PgVersion, Tool, skip_unless};

use super::*;
use crate::source::{
    manifest::Manifest,
    postgres::{Detail, Postgres, clients::Clients, connect::ConnectParams},
    verify::sink::NullSink,
};

/// Tables whose digests depend on definitions, and names that are patterns or need quotes.
const ODD: &str = r#"
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TABLE root (id int, mood mood, t text) PARTITION BY HASH (mood);
CREATE TABLE root_0 PARTITION OF root FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE root_1 PARTITION OF root FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO root SELECT n, (ARRAY['sad', 'ok', 'happy'])[1 + n % 3]::mood, repeat('h', n % 7) FROM generate_series(1, 900) n;
CREATE TABLE mixed (id int, mood mood) PARTITION BY LIST (mood);
CREATE TABLE mixed_0 PARTITION OF mixed FOR VALUES IN ('sad');
CREATE TABLE mixed_1 (mood mood, id int);
ALTER TABLE mixed ATTACH PARTITION mixed_1 FOR VALUES IN ('ok', 'happy');
INSERT INTO mixed SELECT n, (ARRAY['sad', 'ok', 'happy'])[1 + n % 3]::mood FROM generate_series(1, 900) n;
CREATE TABLE years (day date, t text) PARTITION BY RANGE (day);
CREATE TABLE years_1 PARTITION OF years FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE years_2 PARTITION OF years FOR VALUES FROM ('2026-01-01') TO ('2027-01-01') PARTITION BY LIST (t);
CREATE TABLE years_2_a PARTITION OF years_2 FOR VALUES IN ('a');
CREATE TABLE years_2_b PARTITION OF years_2 DEFAULT;
INSERT INTO years SELECT date '2025-06-01' + n, chr(97 + n % 3) FROM generate_series(1, 500) n;
CREATE TABLE elder (a int, b text);
CREATE TABLE younger (c int) INHERITS (elder);
CREATE TABLE youngest (a int) INHERITS (younger);
INSERT INTO elder SELECT n, 'elder' FROM generate_series(1, 100) n;
INSERT INTO younger SELECT n, 'younger', n FROM generate_series(1, 100) n;
INSERT INTO youngest SELECT n, 'youngest', n FROM generate_series(1, 100) n;
CREATE TABLE made (a int, twice int GENERATED ALWAYS AS (a * 2) STORED, id bigint GENERATED ALWAYS AS IDENTITY);
INSERT INTO made (a) SELECT n FROM generate_series(1, 100) n;
CREATE MATERIALIZED VIEW seen AS SELECT a, count(*) FROM elder GROUP BY a;
CREATE FOREIGN DATA WRAPPER nothing;
CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing;
CREATE FOREIGN TABLE abroad (a int) SERVER nowhere;
CREATE UNLOGGED TABLE fleeting AS SELECT n FROM generate_series(1, 100) n;
ALTER TABLE made ENABLE ROW LEVEL SECURITY;
ALTER TABLE made FORCE ROW LEVEL SECURITY;
CREATE POLICY none ON made USING (false);
SELECT lo_from_bytea(0, decode(repeat('00ff', n), 'hex')) FROM generate_series(1, 20) n;
DO $$
DECLARE
    name text;
    number int := 0;
BEGIN
    CREATE SCHEMA "*";
    CREATE SCHEMA "A.""b""";
    FOREACH name IN ARRAY ARRAY['*', '?', 'a*', 'ab', 'abc', 'A', 'a', 'a|b', '(a)', '[a]', 'a$', '^a', 'a+', '\d', '\', '"', '""',
        '".".', 'a.b', '.', 'a b', ' a', E'a\nb', E'\n', E'a\rb', E'\t', 'ä', 'Ä', '--table', '***:', '(?i)a', 'a{1}', '$1', '''', '%'] LOOP
        number := number + 1;
        EXECUTE format('CREATE TABLE "*".%I (n int)', name);
        EXECUTE format('INSERT INTO "*".%I SELECT generate_series(1, %s)', name, number);
        EXECUTE format('CREATE TABLE "A.""b""".%I (n int)', name);
        EXECUTE format('INSERT INTO "A.""b""".%I SELECT generate_series(1, %s)', name, 2 * number);
    END LOOP;
END $$;
"#;

fn source(server: &PgServer) -> Postgres {
    let params = ConnectParams {
        host: server.socket_dir().display().to_string(),
        port: server.port(),
        user: Some("postgres".to_owned()),
        ..ConnectParams::default()
    };
    let clients = Clients::find(&[server.version().bin_dir()]);
    Postgres::at("pg", params, clients, "postgres")
}

fn read(source: &Postgres, database: &str, processes: usize) -> Manifest {
    let division = Division { processes, eager: true };
    source.read(database, division, &NullSink::default(), &Cancel::new()).unwrap()
}

/// What is compared of a manifest, in an order of its own.
fn content(manifest: &Manifest) -> (BTreeMap<String, String>, String) {
    let tables: Vec<_> = manifest
        .objects
        .iter()
        .map(|o| {
            let name = format!("{}.{}", o.schema.as_deref().unwrap_or_default(), o.name);
            (name, format!("{} {} {:?}", o.rows, o.bytes, o.digest))
        })
        .collect();
    let by_name: BTreeMap<_, _> = tables.iter().cloned().collect();
    assert_eq!(by_name.len(), tables.len(), "each table once");
    let mut detail = manifest.detail::<Detail>().unwrap().clone();
    // Positions in the dump, of which several processes make several.
    detail.blocks.clear();
    detail.by_column.sort_by_key(|table| (table.schema.clone(), table.name.clone()));
    (by_name, format!("{detail:#?} {:?} {:?}", manifest.digested, manifest.left_out))
}

/// The names of the tables that further processes would read.
fn shares(server: &PgServer, source: &Postgres, database: &str, division: Division) -> Vec<Vec<String>> {
    let known = source.server(&Cancel::new()).unwrap();
    let mut session = source.session(database, &Cancel::new()).unwrap();
    assert_eq!(server.version().bin_dir(), source.clients.newest().unwrap().dir);
    let shares = division.shares(&mut session, &known, true).unwrap();
    shares.into_iter().map(|share| share.tables.into_iter().map(|table| table.name).collect()).collect()
}

fn several_give_what_one_gives(version: PgVersion) {
    let server = PgServer::start(version);
    server.create_varied("varied");
    server.create_database("odd");
    server.psql("odd", ODD);
    if testkit::extension::install_test_extension(&server) {
        testkit::extension::create_test_extension(&server, "odd");
    }
    let source = source(&server);
    for (database, least) in [("varied", 40), ("odd", 80)] {
        let one = content(&read(&source, database, 1));
        assert!(one.0.len() > least, "{:#?}", one.0);
        for processes in [2, 3, 5] {
            let several = content(&read(&source, database, processes));
            assert_eq!(one.0, several.0);
            assert_eq!(one.1, several.1);
        }
    }
    let all: Vec<String> = shares(&server, &source, "odd", Division { processes: 90, eager: true })
        .into_iter()
        .flatten()
        .collect();
    for name in ["*", "\n", "\"", "years_1", "years_2_b", "elder", "made"] {
        assert!(all.iter().any(|other| other == name), "{name:?} is in no share: {all:?}");
    }
    for name in ["younger", "youngest", "mixed_0", "mixed_1", "abroad", "seen", "entry"] {
        assert!(!all.iter().any(|other| other == name), "{name:?} is in a share");
    }
    // Nothing here is large.
    assert!(shares(&server, &source, "odd", Division { processes: 4, eager: false }).is_empty());
    assert!(shares(&server, &source, "odd", Division { processes: 1, eager: true }).is_empty());
}

#[test]
fn several_processes_give_what_one_gives_on_15() {
    skip_unless!(Tool::Pg15);
    several_give_what_one_gives(PgVersion::V15);
}

#[test]
fn several_processes_give_what_one_gives_on_18() {
    skip_unless!(Tool::Pg18);
    several_give_what_one_gives(PgVersion::V18);
}

#[test]
fn a_change_in_the_table_of_any_process_changes_its_digest_only() {
    skip_unless!(Tool::Pg15);
    let server = PgServer::start(PgVersion::V15);
    server.create_database("shop");
    let source = source(&server);
    for (name, rows) in [("large", 4000), ("middle", 2000), ("small", 1000)] {
        server.psql("shop", &format!("CREATE TABLE {name} AS SELECT n FROM generate_series(1, {rows}) n"));
    }
    let division = Division { processes: 2, eager: true };
    assert_eq!(shares(&server, &source, "shop", division), [["middle", "small"]]);
    for name in ["large", "middle", "small"] {
        let before = content(&read(&source, "shop", 2)).0;
        server.psql("shop", &format!("UPDATE {name} SET n = n + 1 WHERE n = 500"));
        let after = content(&read(&source, "shop", 2)).0;
        let changed: Vec<_> = after.iter().filter(|(table, text)| before[*table] != **text).collect();
        assert_eq!(changed.len(), 1, "{changed:?}");
        assert_eq!(changed[0].0, &format!("public.{name}"));
    }
}

#[test]
fn a_process_that_fails_ends_the_others_and_its_error_is_shown() {
    skip_unless!(Tool::Pg15);
    let server = PgServer::start(PgVersion::V15);
    server.create_database("shop");
    server.psql(
        "shop",
        "CREATE TABLE large AS SELECT n, repeat('x', 100) AS t FROM generate_series(1, 100000) n;
         CREATE TABLE small AS SELECT n, repeat('x', 100) AS t FROM generate_series(1, 50000) n",
    );
    let source = source(&server);
    let division = Division { processes: 2, eager: true };
    assert_eq!(shares(&server, &source, "shop", division), [["small"]]);
    // The last pages of the file are zero bytes with a header that is none.
    let file = server.psql("shop", "SELECT pg_relation_filepath('small')");
    server.psql("shop", "CHECKPOINT");
    let path = server.data_dir().join(file);
    let mut bytes = std::fs::read(&path).unwrap();
    let length = bytes.len();
    bytes[length - 8192..].fill(0x5a);
    std::fs::write(&path, bytes).unwrap();
    let mut server = server;
    server.restart();
    let error = source.read("shop", division, &NullSink::default(), &Cancel::new()).unwrap_err();
    assert!(error.summary().contains("invalid page"), "{error}");
}

#[test]
fn tables_are_divided_by_size() {
    let table = |(oid, bytes): (u32, u64)| Table {
        oid,
        schema: "public".to_owned(),
        name: oid.to_string(),
        bytes,
        total: 0,
        relations: 0,
    };
    let of = |sizes: &[u64], total: u64, processes: usize, least: u64| -> Vec<Vec<u32>> {
        let tables = (1..).zip(sizes.iter().copied()).map(table).collect();
        let shares = divide(tables, total, processes, least);
        shares.into_iter().map(|share| share.tables.iter().map(|table| table.oid).collect()).collect()
    };
    assert_eq!(of(&[500, 400, 60, 40], 1000, 2, 10), [[1]], "tables below an eighth stay together");
    assert_eq!(of(&[500, 400, 60, 40], 1000, 2, 0), [[2, 3, 4]], "all are divided");
    assert_eq!(of(&[400, 300, 300], 2000, 2, 10), [[1, 2, 3]], "the rest is read by the first process");
    assert_eq!(of(&[400, 300, 300], 1000, 3, 10), [vec![2], vec![3]]);
    assert!(of(&[400, 300, 300], 1000, 2, 700).is_empty(), "a share must be worth a process");
    assert!(of(&[1000], 1000, 4, 10).is_empty(), "one table is read by one process");
    assert!(of(&[], 0, 2, 0).is_empty());
}

#[test]
fn names_in_patterns_are_quoted() {
    let table = Table {
        oid: 1,
        schema: "A.b".to_owned(),
        name: "it's \"*\"\n".to_owned(),
        bytes: 1,
        total: 1,
        relations: 1,
    };
    let share = Share { tables: vec![table] };
    let arguments: Vec<_> = share.only_these().collect();
    assert_eq!(arguments, ["--data-only", "--strict-names", "--table=\"A.b\".\"it's \"\"*\"\"\n\""]);
    assert_eq!(share.all_else().collect::<Vec<_>>(), ["--exclude-table-data=\"A.b\".\"it's \"\"*\"\"\n\""]);
}
