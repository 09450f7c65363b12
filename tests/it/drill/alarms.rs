//! No false alarms: dumps that the vendor's own tools restore are proven, and resources that this machine lacks are named.

use serde_json::Value;
use testkit::{
    Cmd, ConfigBuilder, PgOptions, PgServer, PgVersion, Tool,
    reports::{backup, item, ready},
    skip_unless,
};

use super::{drill_table, proven, try_drill};

/// A configuration whose only source is this server.
pub fn builder(server: &PgServer, drill: &str) -> ConfigBuilder {
    let dirs = format!(
        "client_dirs = [{}]",
        testkit::program::quoted(&server.version().bin_dir().display().to_string())
    );
    ConfigBuilder::new().postgres("pg", server, &dirs).tables(&drill_table(drill))
}

fn enum_partitions(version: PgVersion) {
    let server = PgServer::start(version);
    // Labels get numbers that no other server gives them, and rows are hashed by these.
    server.psql("postgres", "SELECT count(lo_unlink(lo_create(0))) FROM generate_series(1, 3000)");
    server.create_database("moods");
    server.psql(
        "moods",
        r#"DO $$ BEGIN EXECUTE (SELECT 'CREATE TYPE mood AS ENUM (' || string_agg(quote_literal('m' || n), ',') || ')'
                                FROM generate_series(1, 40) n); END $$;
           CREATE TABLE t (id int, m mood, "of it" text) PARTITION BY HASH (m);
           CREATE TABLE t0 PARTITION OF t FOR VALUES WITH (MODULUS 3, REMAINDER 0);
           CREATE TABLE t1 ("of it" text, id int, m mood);
           ALTER TABLE t ATTACH PARTITION t1 FOR VALUES WITH (MODULUS 3, REMAINDER 1);
           CREATE TABLE t2 PARTITION OF t FOR VALUES WITH (MODULUS 3, REMAINDER 2);
           INSERT INTO t SELECT n, ('m' || 1 + n % 40)::mood, 'row ' || n FROM generate_series(1, 7000) n;
           CREATE TABLE many (id int, m mood[]) PARTITION BY HASH (m);
           CREATE TABLE many0 PARTITION OF many FOR VALUES WITH (MODULUS 2, REMAINDER 0);
           CREATE TABLE many1 PARTITION OF many FOR VALUES WITH (MODULUS 2, REMAINDER 1);
           INSERT INTO many SELECT n, ARRAY['m' || 1 + n % 40, 'm1']::mood[] FROM generate_series(1, 500) n;"#,
    );
    let config = ready(builder(&server, ""));
    backup(&config);
    let report = proven(&config, &["--all"]);
    assert_eq!(item(&report, "moods")["rows"], 7500, "{report:#}");

    let socket = server.socket_dir().display().to_string().replace('/', "%2F");
    let url = format!("postgresql://postgres@/again?host={socket}&port={}", server.port());
    Cmd::with(&config).args(["restore", "pg/moods", "--into", &url]).run().ok();
    let counts = |database: &str| server.row_counts(database);
    assert_ne!(counts("moods"), counts("again"), "the rows moved, or this shows nothing");
    assert_eq!(counts("moods").values().sum::<u64>(), counts("again").values().sum::<u64>());
}

#[test]
fn rows_that_belong_into_other_partitions_of_another_server_15() {
    skip_unless!(Tool::Pg15);
    enum_partitions(PgVersion::V15);
}

#[test]
fn rows_that_belong_into_other_partitions_of_another_server_18() {
    skip_unless!(Tool::Pg18);
    enum_partitions(PgVersion::V18);
}

/// Empty tables, in steps: one statement would need a lock for each of them.
fn create_tables(server: &PgServer, count: u32) {
    for first in (1..=count).step_by(1000) {
        let last = count.min(first + 999);
        server.psql(
            "wide",
            &format!(
                "DO $$ BEGIN FOR n IN {first}..{last} LOOP EXECUTE 'CREATE TABLE t' || n || ' (id int)'; END LOOP; END $$"
            ),
        );
    }
}

#[test]
fn many_tables_need_many_locks_and_get_them() {
    skip_unless!(Tool::Pg15);
    let server = PgServer::start(PgVersion::V15);
    server.create_database("wide");
    create_tables(&server, 3000);
    // So few connections have room for about 1,500 locks by default.
    let few = "jobs = 1\n[drill.postgres.settings]\nmax_connections = 10";
    let config = ready(builder(&server, few));
    backup(&config);
    proven(&config, &["pg/wide"]);

    let text = std::fs::read_to_string(config.path()).unwrap();
    let less = text.replace("max_connections = 10", "max_connections = 10\nmax_locks_per_transaction = 64");
    std::fs::write(config.path(), less).unwrap();
    let report = try_drill(&config, &["pg/wide"]).expect_code(1).json();
    let wide = item(&report, "wide");
    assert_eq!(wide["outcome"], "unproven", "{wide:#}");
    let error = wide["error"].as_str().unwrap();
    assert!(error.contains("max_locks_per_transaction") && error.contains("[drill.postgres]"), "{error}");
    assert_eq!(Cmd::with(&config).args(["status", "--check"]).run().code(), Some(0), "no alarm");
}

#[test]
fn fifteen_thousand_tables() {
    if !testkit::tools::stress_or_skip() {
        return;
    }
    skip_unless!(Tool::Pg15);
    let server = PgOptions::new(PgVersion::V15).setting("max_locks_per_transaction", "300").start();
    server.create_database("wide");
    create_tables(&server, 15_000);
    let config = ready(builder(&server, ""));
    backup(&config);
    proven(&config, &["--all"]);
}

#[test]
fn a_source_with_libraries_that_its_extensions_need() {
    skip_unless!(Tool::Pg15, Tool::PgCron, Tool::PgAudit);
    let server = PgOptions::new(PgVersion::V15)
        .setting("shared_preload_libraries", "pg_cron,pgaudit")
        .setting("cron.database_name", "jobs")
        .start();
    server.create_database("jobs");
    server.psql(
        "jobs",
        "CREATE EXTENSION pg_cron;
         CREATE EXTENSION pgaudit;
         SELECT cron.schedule('* * * * *', 'CREATE TABLE IF NOT EXISTS public.ran ()');
         CREATE TABLE words (w varchar(9) CHECK (w IN ('a', 'b')));
         INSERT INTO words VALUES ('a');
         CREATE ROLE audited;
         ALTER ROLE audited SET pgaudit.log = 'ddl';
         ALTER DATABASE jobs SET pgaudit.log = 'write'",
    );
    let config = ready(builder(&server, "jobs = 1"));
    backup(&config);
    let report = proven(&config, &["--all"]);
    assert!(item(&report, "jobs")["rows"].as_u64().unwrap() >= 2, "{report:#}");

    // A scratch server without them gives no verdict on the database, and the message says what is missing.
    let text = std::fs::read_to_string(config.path()).unwrap();
    std::fs::write(
        config.path(),
        format!("{text}\n[drill.postgres]\nsettings = {{ shared_preload_libraries = \"\" }}\n"),
    )
    .unwrap();
    let report = try_drill(&config, &["pg/jobs"]).expect_code(1).json();
    let jobs = item(&report, "jobs");
    assert_eq!(jobs["outcome"], "unproven", "{jobs:#}");
    assert!(jobs["error"].as_str().unwrap().contains("[drill.postgres] settings"), "{jobs:#}");
    assert_eq!(Cmd::with(&config).args(["status", "--check"]).run().code(), Some(0), "no alarm");
}

#[test]
fn a_server_whose_clock_shows_another_time() {
    skip_unless!(Tool::Pg15);
    let server = PgOptions::new(PgVersion::V15)
        .setting("timezone", "Asia/Kolkata")
        .setting("bytea_output", "escape")
        .start();
    server.create_database("times");
    server.psql(
        "times",
        r"CREATE TABLE t (at timestamptz, span tstzrange, b bytea, price money);
          INSERT INTO t VALUES ('2026-01-01 12:00+00', '[2026-01-01 00:00+00,2026-07-01 00:00+00)', '\x00ff'::bytea, 1.5)",
    );
    let config = ready(builder(&server, ""));
    backup(&config);
    proven(&config, &["--all"]);
}

fn standby(version: PgVersion) {
    let primary = PgServer::start(version);
    primary.create_database("shop");
    primary.psql(
        "shop",
        "CREATE TABLE orders (id serial PRIMARY KEY); INSERT INTO orders DEFAULT VALUES;
         CREATE UNLOGGED TABLE sessions (id serial PRIMARY KEY, at timestamptz DEFAULT now());
         INSERT INTO sessions DEFAULT VALUES;
         CREATE UNLOGGED TABLE hits (id bigint GENERATED ALWAYS AS IDENTITY, n int);
         INSERT INTO hits (n) VALUES (1);
         CREATE UNLOGGED TABLE empty (n int)",
    );
    let standby = primary.start_standby();
    assert_eq!(standby.psql("shop", "SELECT pg_is_in_recovery()"), "t");
    let config = ready(builder(&standby, ""));
    backup(&config);
    let report = proven(&config, &["--all"]);
    let notes = item(&report, "shop")["notes"].to_string();
    for table in ["sessions", "hits", "empty"] {
        let note = format!(
            "not in the dump: the rows of the unlogged table public.{table}, which a standby does not have"
        );
        assert_eq!(notes.matches(&note).count(), 1, "{report:#}");
    }
    assert!(!notes.contains("unlogged tables are not in the backup"), "said once: {report:#}");
}

#[test]
fn a_standby_has_no_rows_of_unlogged_tables_15() {
    skip_unless!(Tool::Pg15);
    standby(PgVersion::V15);
}

#[test]
fn a_standby_has_no_rows_of_unlogged_tables_18() {
    skip_unless!(Tool::Pg18);
    standby(PgVersion::V18);
}

#[test]
fn a_trigger_that_a_login_fires_adds_nothing() {
    skip_unless!(Tool::Pg18);
    let server = PgServer::start(PgVersion::V18);
    server.create_database("watched");
    server.psql(
        "watched",
        "CREATE TABLE logins (at timestamptz);
         CREATE FUNCTION log_login() RETURNS event_trigger LANGUAGE plpgsql AS
             $$ BEGIN INSERT INTO public.logins VALUES (now()); END $$;
         CREATE EVENT TRIGGER on_login ON login EXECUTE FUNCTION log_login();
         ALTER EVENT TRIGGER on_login ENABLE ALWAYS",
    );
    let before: u64 = server.psql("watched", "SELECT count(*) FROM logins").parse().unwrap();
    assert!(before > 0, "the trigger fires");
    let config = ready(builder(&server, ""));
    backup(&config);
    proven(&config, &["--all"]);
}

/// All output of the program about an item.
fn said(config: &testkit::Config, report: &Value) -> String {
    let status = Cmd::with(config).arg("status").run();
    let json = Cmd::with(config).args(["--json", "status"]).run();
    format!("{report:#}\n{}{}\n{}", status.stdout, status.stderr, json.stdout)
}

#[test]
fn what_a_restore_advises_stays_out_of_a_drill() {
    skip_unless!(Tool::Pg15);
    let server = PgServer::start(PgVersion::V15);
    let name = "production of it";
    server.create_database(name);
    // A check that reads another table by a name that a restore does not find: pg_restore itself cannot load this.
    server.psql(
        name,
        "CREATE TABLE limits (n int); INSERT INTO limits VALUES (5);
         CREATE FUNCTION allowed(int) RETURNS bool LANGUAGE plpgsql AS
             'BEGIN RETURN $1 <= (SELECT max(n) FROM limits); END';
         CREATE TABLE amounts (n int CHECK (allowed(n)));
         INSERT INTO amounts VALUES (1)",
    );
    let config = ready(builder(&server, ""));
    backup(&config);
    let report = try_drill(&config, &["--all"]).expect_code(3).json();
    assert_eq!(item(&report, name)["outcome"], "failed", "{report:#}");
    let said = said(&config, &report);
    assert!(said.contains("DOES NOT RESTORE"), "{said}");
    for advice in ["drop it", "empty it", "do not use it", "was created by this restore"] {
        assert!(!said.contains(advice), "{advice}: {said}");
    }
}
