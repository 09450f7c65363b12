//! The manifest of a database: its content, and digests that change only with the data.

use serde_json::{Value, json};
use testkit::{PgServer, PgVersion, Tool, skip_unless};

use super::support::{assert_says, backup, configured, digest, files_of, manifest_of, snapshot_of};

const SHOP: &str = "
    CREATE SCHEMA stock;
    CREATE EXTENSION hstore;
    CREATE TABLE goods (id serial PRIMARY KEY, name text, price numeric);
    INSERT INTO goods (name, price) VALUES ('apple', 1.5), ('pear', 2), ('pear', 2), (NULL, NULL);
    CREATE TABLE stock.shelves (id int, place text);
    INSERT INTO stock.shelves VALUES (1, 'left'), (2, 'right');
    CREATE TABLE nothing (x int);
    CREATE SEQUENCE fresh START 5;
    SELECT lo_from_bytea(4711, 'ten bytes!'), lo_from_bytea(4712, '');";

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

fn fields(version: PgVersion) {
    let server = PgServer::start(version);
    server.create_database("shop");
    server.psql("shop", SHOP);
    let config = configured(&server, "");
    backup(&config);
    let folder = tempfile::tempdir().unwrap();
    files_of(&config, "shop", "latest", folder.path());
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    let manifest: Value = serde_json::from_slice(&read("manifest.json")).unwrap();

    assert_eq!(manifest["format"], 1);
    assert_says(text(&manifest["program"]), &["tik-backup ", env!("CARGO_PKG_VERSION")]);
    assert_eq!((&manifest["source"], &manifest["item"]), (&json!("pg"), &json!("shop")));
    assert_eq!((&manifest["kind"], &manifest["consistency"]), (&json!("postgres"), &json!("serializable")));
    assert_eq!(manifest["digested"], "yes");
    let time = |key: &str| text(&manifest[key]).parse::<jiff::Zoned>().unwrap();
    assert!(time("started") <= time("ended"));
    assert_eq!(manifest["server_version"], server.psql("shop", "SHOW server_version"));
    assert_eq!(manifest["tools"].as_array().unwrap().len(), 1);
    assert_eq!(manifest["tools"][0]["name"], "pg_dump");
    assert!(text(&manifest["tools"][0]["version"]).starts_with(&format!("{}.", version.major())));
    assert_eq!(manifest["files"], json!([{"path": "database.dump", "bytes": read("database.dump").len()}]));

    let rows = |schema: &str, name: &str| {
        let objects = manifest["objects"].as_array().unwrap();
        let object = objects.iter().find(|o| o["schema"] == schema && o["name"] == name).unwrap();
        assert_eq!(object["type"], "table");
        assert_eq!(text(&object["digest"]).len(), 32);
        (object["rows"].as_u64().unwrap(), object["bytes"].as_u64().unwrap())
    };
    assert_eq!(rows("public", "goods").0, 4);
    assert_eq!(rows("stock", "shelves"), (2, "1\tleft2\tright".len() as u64));
    assert_eq!(rows("public", "nothing"), (0, 0));
    assert_detail(&server, &manifest["postgres"]);
}

fn assert_detail(server: &PgServer, detail: &Value) {
    let database = &detail["database"];
    assert_eq!((&database["owner"], &database["encoding"]), (&json!("postgres"), &json!("UTF8")));
    assert_eq!((&database["connection_limit"], &database["default_grants"]), (&json!(-1), &json!(true)));
    let extensions = server.psql(
        "shop",
        "SELECT json_agg(json_build_object('name', extname, 'version', extversion) ORDER BY extname) FROM pg_extension",
    );
    assert_eq!(detail["extensions"], serde_json::from_str::<Value>(&extensions).unwrap());
    let sequences = json!([
        {"schema": "public", "name": "fresh", "value": 5, "is_called": false},
        {"schema": "public", "name": "goods_id_seq", "value": 4, "is_called": true}
    ]);
    let mut found = detail["sequences"].as_array().unwrap().clone();
    found.sort_by_key(|sequence| sequence["name"].to_string());
    assert_eq!(Value::Array(found), sequences);
    let large = &detail["large_objects"];
    assert_eq!((&large["count"], &large["bytes"]), (&json!(2), &json!(10)));
    assert_eq!(text(&large["digest"]).len(), 32);
    assert_eq!(text(&detail["schema_digest"]).len(), 32);
    let objects = detail["schema_objects"].as_array().unwrap();
    assert!(objects.iter().any(|o| o["type"] == "TABLE" && o["schema"] == "stock" && o["name"] == "shelves"));
}

#[test]
fn the_manifest_describes_the_database_on_15() {
    skip_unless!(Tool::Pg15);
    fields(PgVersion::V15);
}

#[test]
fn the_manifest_describes_the_database_on_18() {
    skip_unless!(Tool::Pg18);
    fields(PgVersion::V18);
}

#[test]
fn digests_change_with_the_content_and_with_nothing_else() {
    skip_unless!(Tool::Pg15);
    let server = PgServer::start(PgVersion::V15);
    server.create_database("shop");
    server.psql("shop", SHOP);
    server.create_database("shuffled");
    server.psql(
        "shuffled",
        &SHOP.replace("('apple', 1.5), ('pear', 2), ('pear', 2), (NULL, NULL)", "(NULL, NULL)"),
    );
    // The same rows in another order, after others that are gone; ids included.
    server.psql(
        "shuffled",
        "TRUNCATE goods;
         INSERT INTO goods VALUES (4, NULL, NULL), (9, 'gone', 0), (3, 'pear', 2), (1, 'apple', 1.5), (2, 'pear', 2);
         DELETE FROM goods WHERE id = 9; UPDATE goods SET name = 'pear' WHERE id = 3;
         SELECT setval('goods_id_seq', 4)",
    );
    let config = configured(&server, "retention = { keep_last = 20 }");
    let take = || {
        let report = backup(&config);
        let of = |name: &str| manifest_of(&config, name, snapshot_of(&report, name));
        (of("shop"), of("shuffled"))
    };
    let (first, shuffled) = take();
    assert_eq!(
        digest(&first, "public", "goods"),
        digest(&shuffled, "public", "goods"),
        "order does not count"
    );
    assert_eq!(first["postgres"]["schema_digest"], shuffled["postgres"]["schema_digest"]);
    assert_eq!(first["postgres"]["large_objects"], shuffled["postgres"]["large_objects"]);

    server.psql("shop", "VACUUM FULL; ANALYZE");
    let (again, _) = take();
    assert_eq!(first["objects"], again["objects"], "unchanged data has unchanged digests");
    assert_eq!(first["postgres"], again["postgres"]);

    let changes = [
        ("one cell", "UPDATE goods SET price = 2.0 WHERE id = 2"),
        ("NULL is not empty", "UPDATE goods SET name = '' WHERE id = 4"),
        ("one row less", "DELETE FROM goods WHERE id = 3"),
        (
            "the same cells in other rows",
            "UPDATE goods SET price = CASE id WHEN 1 THEN 2.0 ELSE 1.5 END WHERE id IN (1, 2)",
        ),
    ];
    let mut before = again;
    for (what, sql) in changes {
        server.psql("shop", sql);
        let (after, _) = take();
        assert_ne!(digest(&before, "public", "goods"), digest(&after, "public", "goods"), "{what}");
        assert_eq!(digest(&before, "stock", "shelves"), digest(&after, "stock", "shelves"), "{what}");
        assert_eq!(before["postgres"]["schema_digest"], after["postgres"]["schema_digest"], "{what}");
        before = after;
    }
    server.psql("shop", "SELECT lo_put(4711, 0, 'T'); ALTER TABLE stock.shelves ADD CHECK (id > 0)");
    let (after, _) = take();
    assert_eq!(before["objects"], after["objects"], "rows did not change");
    assert_ne!(before["postgres"]["large_objects"], after["postgres"]["large_objects"]);
    assert_ne!(before["postgres"]["schema_digest"], after["postgres"]["schema_digest"]);
}
