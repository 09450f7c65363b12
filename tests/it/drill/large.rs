//! Large tables are read back by processes of their own, and every difference in them is found.

use testkit::{
    Cmd, ConfigBuilder, PgServer, PgVersion, Tool,
    program::quoted,
    reports::{backup, item, ready},
    skip_unless,
};

use super::{drill_table, proven, try_drill};

/// Two large tables, one of which is read by a process of its own, and small content of every kind.
const LARGE: &str = r#"
CREATE TABLE large AS SELECT n, repeat(md5(n::text), 30) AS t FROM generate_series(1, 45000) n;
CREATE TABLE "The ""Other"".*?" AS SELECT n, repeat(md5(n::text), 30) AS t FROM generate_series(1, 30000) n;
CREATE TABLE small (id serial PRIMARY KEY, t text);
INSERT INTO small (t) SELECT n::text FROM generate_series(1, 100) n;
CREATE TABLE heir (x int) INHERITS (small);
INSERT INTO heir (t, x) VALUES ('of an heir', 1);
CREATE TABLE days (day date, t text) PARTITION BY RANGE (day);
CREATE TABLE days_1 PARTITION OF days FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
INSERT INTO days SELECT date '2026-01-01' + n, 'x' FROM generate_series(1, 300) n;
SELECT lo_from_bytea(0, decode(repeat('00ff', 3000), 'hex'));
"#;

/// Each time the view is filled, also at the end of a restore, a row of each large table changes.
const CHANGING: &str = r#"
CREATE FUNCTION touch() RETURNS bigint LANGUAGE plpgsql AS
    $f$BEGIN
        UPDATE public."The ""Other"".*?" SET t = t || 'x' WHERE n = 777;
        UPDATE public.large SET t = t || 'x' WHERE n = 777;
        RETURN 1;
    END$f$;
CREATE MATERIALIZED VIEW touched AS SELECT touch() AS n;
"#;

fn large_tables(version: PgVersion) {
    let mut server = PgServer::start(version);
    for (database, more) in [("good", ""), ("changing", CHANGING)] {
        server.create_database(database);
        server.psql(database, LARGE);
        server.psql(database, more);
    }
    let dirs = format!("client_dirs = [{}]", quoted(&version.bin_dir().display().to_string()));
    let builder = ConfigBuilder::new().postgres("pg", &server, &dirs).tables(&drill_table("jobs = 1"));
    let config = ready(builder);
    backup(&config);
    server.stop();
    let report = proven(&config, &["pg/good"]);
    assert_eq!(item(&report, "good")["rows"], 75401, "{report:#}");

    let report = try_drill(&config, &["pg/changing"]).expect_code(1).json();
    let changing = item(&report, "changing");
    assert_eq!(changing["outcome"], "failed", "{report:#}");
    let differences = changing["differences"].to_string();
    for (table, rows) in [(r#"The \"Other\".*?"#, 30000), ("large", 45000)] {
        let text = format!("table public.{table}: the content of its {rows} rows differs");
        assert!(differences.contains(&text), "{differences}");
    }
    assert!(!differences.contains("small"), "{differences}");

    let said = Cmd::with(&config).args(["-vv", "drill", "pg/good"]).run().ok().stderr;
    let several = std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1);
    assert_eq!(said.contains("several processes read the database"), several, "{said}");
    assert!(!said.contains("read again by a single process"), "{said}");
}

#[test]
fn large_tables_of_15_are_read_by_several_processes() {
    skip_unless!(Tool::Pg15);
    large_tables(PgVersion::V15);
}

#[test]
fn large_tables_of_18_are_read_by_several_processes() {
    skip_unless!(Tool::Pg18);
    large_tables(PgVersion::V18);
}
