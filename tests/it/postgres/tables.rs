//! One table out of a database.

use serde_json::Value;
use testkit::{PgServer, PgVersion, Tool, skip_unless};

use super::support::{assert_says, backup, configured, exists, restore, rows, try_restore};

#[test]
fn one_table_comes_back() {
    skip_unless!(Tool::Pg15);
    let server = PgServer::start(PgVersion::V15);
    server.create_varied("original");
    let config = configured(&server, "");
    backup(&config);
    let odd = "Odd \"schema\"/ü";
    let cases = [
        ("public", "large_values"),
        ("public", "twins"),
        ("public", "no_columns"),
        ("public", "table"),
        ("select", "Table"),
        ("public", "two\nlines"),
        ("public", "generated"),
        (odd, "größer 東京 🐘"),
        (odd, "a.b"),
        (odd, "--clean"),
        (odd, "*.*?[a-z]"),
        ("sales", "orders"),
        ("sales", "hashed"),
    ];
    for (number, (schema, table)) in cases.into_iter().enumerate() {
        let target = format!("target {number}");
        let done = restore(&config, "original", &["--into", &target, &format!("--table={schema}.{table}")]);
        assert_eq!(done["database"]["created"], true);
        let expected = rows(&server, "original", schema, table);
        assert_eq!(rows(&server, &target, schema, table), expected, "{schema}.{table}");
        assert_eq!(done["database"]["rows"].as_u64().unwrap().to_string(), expected, "{schema}.{table}");
        let strangers = server.psql(
            &target,
            "SELECT count(*) FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'm') AND NOT relispartition
             AND relnamespace::regnamespace::text !~ '^(pg_|information_schema)'",
        );
        assert_eq!(strangers, "1", "{schema}.{table} and nothing else");
    }
    assert_partitioned(&server, "target 11");
    assert_sequences(&server, "target 6");

    // The schema may be left out where it is public.
    let done = restore(&config, "original", &["--into", "short", "--table", "twins"]);
    assert_eq!(done["database"]["rows"], 7);
    // Into a database that has other things, but not over a table of that name.
    restore(&config, "original", &["--into", "short", "--table", "public.large_values"]);
    assert_eq!(rows(&server, "short", "public", "twins"), "7");
    let ran =
        try_restore(&config, "original", &["--into", "short", "--table", "public.twins"]).expect_code(1);
    assert_says(&ran.stderr, &["has a table public.twins already"]);
    assert_eq!(rows(&server, "short", "public", "twins"), "7");

    for unknown in ["public.nothing", "nowhere.twins", "public.Twins", "public.active"] {
        let ran = try_restore(&config, "original", &["--into", "unknown", "--table", unknown]).expect_code(2);
        assert_says(&ran.stderr, &["no table", unknown]);
    }
    assert!(!exists(&server, "unknown"), "nothing was created for a table that is not there");
}

fn assert_partitioned(server: &PgServer, target: &str) {
    let partitions = "SELECT count(*) FROM pg_partition_tree('sales.orders')";
    assert_eq!(server.psql(target, partitions), server.psql("original", partitions));
    let by_partition = "SELECT json_object_agg(p, n) FROM
        (SELECT tableoid::regclass::text AS p, count(*) AS n FROM sales.orders GROUP BY 1 ORDER BY 1) AS q";
    assert_eq!(server.psql(target, by_partition), server.psql("original", by_partition));
    let indexes = "SELECT count(*) FROM pg_indexes WHERE schemaname = 'sales' AND tablename ~ 'orders'";
    assert_eq!(server.psql(target, indexes), server.psql("original", indexes));
}

/// The sequences that a table owns are restored with it, with their values.
fn assert_sequences(server: &PgServer, target: &str) {
    let standing = "SELECT json_object_agg(sequencename, last_value ORDER BY sequencename) FROM pg_sequences
                    WHERE sequencename ~ '^generated'";
    let original = server.psql("original", standing);
    assert!(serde_json::from_str::<Value>(&original).unwrap().as_object().unwrap().len() >= 3, "{original}");
    assert_eq!(server.psql(target, standing), original);
}

/// A table that uses things of other schemas goes where these are; elsewhere the failure names what is missing.
#[test]
fn a_table_needs_what_it_is_made_of() {
    skip_unless!(Tool::Pg15);
    let server = PgServer::start(PgVersion::V15);
    server.create_varied("original");
    let config = configured(&server, "");
    backup(&config);
    server.create_database("prepared");
    server.psql("prepared", "CREATE SCHEMA extensions; CREATE EXTENSION pg_trgm WITH SCHEMA extensions");
    restore(&config, "original", &["--into", "prepared", "--table", "public.many_rows"]);
    assert_eq!(rows(&server, "prepared", "public", "many_rows"), "50000");
    let ran =
        try_restore(&config, "original", &["--into", "bare", "--table", "types.everything"]).expect_code(1);
    assert_says(&ran.stderr, &["types", "does not exist"]);
}
