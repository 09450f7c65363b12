//! Unreadable and excluded tables and views are left out of a dump; everything else is in it.

use serde_json::{Value, json};
use testkit::{
    MyFlavour, MyServer,
    mysql_world::{configured, full, server, url},
    reports::{assert_says, backup, edit, item, manifest_of, restore, try_backup, try_restore},
};

on_both!(
    views_that_are_broken_are_left_out,
    tables_that_cannot_be_read_are_left_out,
    a_table_whose_rows_are_damaged_is_left_out,
    a_pattern_means_its_own_database,
    tables_are_excluded_by_pattern
);

fn fill(server: &MyServer) {
    server.create_database("shop");
    server.sql(
        Some("shop"),
        "CREATE TABLE kept (a int); INSERT INTO kept VALUES (1), (2);
         CREATE TABLE gone (a int); CREATE TABLE shrunk (a int, b int); CREATE TABLE cache (a int, b int);
         CREATE TRIGGER tr BEFORE INSERT ON cache FOR EACH ROW SET NEW.b = 1;
         CREATE FUNCTION f() RETURNS int DETERMINISTIC RETURN 1;
         CREATE VIEW good AS SELECT a FROM kept; CREATE VIEW of_gone AS SELECT a FROM gone;
         CREATE VIEW of_view AS SELECT a FROM of_gone; CREATE VIEW of_column AS SELECT b FROM shrunk;
         CREATE VIEW of_function AS SELECT f() AS f;
         CREATE DEFINER = nobody@nowhere VIEW of_nobody AS SELECT a FROM kept;
         CREATE VIEW of_cache AS SELECT a FROM cache",
    );
}

/// Kind and name of what a manifest says was left out.
fn omitted(manifest: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let list = manifest["omitted"].as_array().cloned().unwrap_or_default();
    list.iter().map(|one| (text(&one["type"]), text(&one["name"]))).collect()
}

fn views(names: &[&str]) -> Vec<(String, String)> {
    names.iter().map(|name| ("view".to_owned(), (*name).to_owned())).collect()
}

fn names(manifest: &Value, kind: &str) -> Vec<String> {
    let objects = manifest["mysql"]["schema_objects"].as_array().unwrap().iter();
    objects.filter(|o| o["type"] == kind).map(|o| o["name"].as_str().unwrap().to_owned()).collect()
}

fn views_that_are_broken_are_left_out(flavour: MyFlavour) {
    let server = server(flavour);
    fill(&server);
    server.sql(Some("shop"), "DROP TABLE gone; ALTER TABLE shrunk DROP COLUMN b; DROP FUNCTION f");
    let config = configured(&server, "");
    // The output of the run is not checked here.
    try_backup(&config, &[]).expect_code(3);
    let manifest = manifest_of(&config, &full("shop"), "latest");
    assert_eq!(omitted(&manifest), views(&["of_column", "of_function", "of_gone", "of_view"]));
    for one in manifest["omitted"].as_array().unwrap() {
        assert_says(one["reason"].as_str().unwrap(), &["references invalid table(s) or column(s)"]);
        assert_eq!(one["definition"], "left-out.sql");
    }
    assert_eq!(names(&manifest, "view"), ["good", "of_cache", "of_nobody"]);
    assert_eq!(names(&manifest, "table"), ["cache", "kept", "shrunk"]);

    restore(&config, &full("shop"), &["--into", &url(&server, "again")]);
    assert_eq!(server.sql(Some("again"), "SELECT COUNT(*) FROM good"), "2");
    let folder = config.dir().join("files");
    try_restore(&config, &full("shop"), &["--to", folder.to_str().unwrap()]).ok();
    let script = std::fs::read_to_string(folder.join("left-out.sql")).unwrap();
    assert_says(&script, &["-- view `of_column`: View 'shop.of_column' references invalid"]);
    // The definitions work once what they read is there again.
    server.sql(
        Some("shop"),
        "DROP VIEW of_view, of_gone, of_column, of_function; CREATE TABLE gone (a int); ALTER TABLE shrunk ADD COLUMN b int;
         CREATE FUNCTION f() RETURNS int DETERMINISTIC RETURN 1",
    );
    for attempt in 0..2 {
        // A view may come before another one that it reads.
        let loaded = server.try_sql(Some("shop"), &script.replace("CREATE ", "CREATE OR REPLACE "));
        assert!(attempt == 0 || loaded.is_ok(), "{loaded:?}");
        server.sql(Some("shop"), "CREATE OR REPLACE VIEW of_gone AS SELECT a FROM gone");
    }
    assert_eq!(server.sql(Some("shop"), "SELECT f FROM of_function; SELECT COUNT(*) FROM of_view"), "1\n0");
    backup(&config);
    assert!(omitted(&manifest_of(&config, &full("shop"), "latest")).is_empty());
}

fn tables_that_cannot_be_read_are_left_out(flavour: MyFlavour) {
    let mut server = server(flavour);
    server.create_database("shop");
    server.sql(
        Some("shop"),
        "CREATE TABLE kept (a int) COMMENT 'own words'; INSERT INTO kept VALUES (1);
         CREATE TABLE damaged (a int, KEY (a)) ENGINE = MyISAM; INSERT INTO damaged VALUES (1), (2);
         CREATE TABLE lost (a int) COMMENT 'own words'; INSERT INTO lost VALUES (1);
         CREATE TRIGGER tr BEFORE INSERT ON lost FOR EACH ROW SET NEW.a = 1;
         CREATE VIEW of_lost AS SELECT a FROM lost;
         CREATE VIEW of_kept AS SELECT a, a AS lost, '`shop`.`lost`' AS t FROM kept",
    );
    server.stop();
    let data = server.data_dir().join("shop");
    std::fs::write(data.join("damaged.MYI"), "not an index").unwrap();
    std::fs::remove_file(data.join("lost.ibd")).unwrap();
    server.restart();
    let config = configured(&server, "");
    try_backup(&config, &[]).expect_code(3);
    let manifest = manifest_of(&config, &full("shop"), "latest");
    let expected = [("table", "damaged"), ("table", "lost"), ("trigger", "tr"), ("view", "of_lost")];
    assert_eq!(omitted(&manifest), expected.map(|(kind, name)| (kind.to_owned(), name.to_owned())));
    let reasons = manifest["omitted"].to_string();
    assert_says(&reasons, &["Incorrect file format 'damaged'", "ablespace is missing"]);
    assert_eq!(names(&manifest, "table"), ["kept"]);
    assert_eq!(names(&manifest, "view"), ["of_kept"]);
    assert_eq!(manifest["consistency"], "snapshot", "what is not in it does not count");
    let done = restore(&config, &full("shop"), &["--into", &url(&server, "again")]);
    assert_eq!((&done["tables"], &done["rows"]), (&json!(1), &json!(1)));
}

/// What only reading shows: the dump fails on it, and the next try goes without it.
fn a_table_whose_rows_are_damaged_is_left_out(flavour: MyFlavour) {
    let mut server = server(flavour);
    server.create_database("shop");
    server.sql(
        Some("shop"),
        "CREATE TABLE kept (a int); INSERT INTO kept VALUES (1);
         CREATE TABLE torn (a int, t varchar(2000)) ENGINE = MyISAM; INSERT INTO torn VALUES (1, REPEAT('x', 1500)), (2, REPEAT('y', 1500));
         CREATE TABLE torn_too (a int, f float, t varchar(2000)) ENGINE = MyISAM;
         INSERT INTO torn_too VALUES (1, 1234567.5, REPEAT('x', 1500)), (2, 0.1, REPEAT('y', 1500))",
    );
    server.stop();
    // Of the second the sessions beside the dump find it out.
    for name in ["torn", "torn_too"] {
        let file = server.data_dir().join(format!("shop/{name}.MYD"));
        std::fs::OpenOptions::new().write(true).open(file).unwrap().set_len(1700).unwrap();
    }
    server.restart();
    let config = configured(&server, "");
    let report = try_backup(&config, &[]).expect_code(3).json();
    assert_eq!(item(&report, "shop")["outcome"], "partial", "{report:#}");
    let manifest = manifest_of(&config, &full("shop"), "latest");
    let torn = ["torn", "torn_too"].map(|name| ("table".to_owned(), name.to_owned()));
    assert_eq!(omitted(&manifest), torn, "{manifest:#}");
    assert_eq!(names(&manifest, "table"), ["kept"]);
    // Once it is repaired all is well.
    server.sql(Some("shop"), "TRUNCATE TABLE torn; TRUNCATE TABLE torn_too");
    let report = backup(&config);
    assert_eq!(item(&report, "shop")["outcome"], "ok", "{report:#}");
}

/// A pattern for tables of one database does not apply to another one whose name begins with the same word.
fn a_pattern_means_its_own_database(flavour: MyFlavour) {
    let server = server(flavour);
    for name in ["shop", "shop.eu"] {
        server.create_database(name);
        server.sql(Some(name), "CREATE TABLE orders (a int); INSERT INTO orders VALUES (1)");
    }
    let config = configured(&server, "");
    backup(&config);
    edit(&config, "kind = \"mysql\"", "kind = \"mysql\"\nexclude_tables = [\"shop.*\"]");
    let report = backup(&config);
    assert_eq!(item(&report, "shop")["suspicious"], json!(null), "an excluded table is not gone: {report:#}");
    assert!(names(&manifest_of(&config, &full("shop"), "latest"), "table").is_empty());
    assert_eq!(names(&manifest_of(&config, &full("shop.eu"), "latest"), "table"), ["orders"]);
    edit(&config, "[\"shop.*\"]", "[\"shop.eu.o*\"]");
    backup(&config);
    assert!(names(&manifest_of(&config, &full("shop.eu"), "latest"), "table").is_empty());
}

fn tables_are_excluded_by_pattern(flavour: MyFlavour) {
    let server = server(flavour);
    fill(&server);
    server.create_database("other");
    server.sql(Some("other"), "CREATE TABLE cache (a int); CREATE TABLE gone (a int)");
    server.sql(Some("shop"), "DROP TABLE gone");
    let config = configured(&server, "exclude_tables = [\"shop.of_[gv]*\", \"*.cache\"]");
    backup(&config);
    let manifest = manifest_of(&config, &full("shop"), "latest");
    assert!(omitted(&manifest).is_empty(), "what is excluded is not missing: {manifest:#}");
    assert_says(
        &manifest["notes"].to_string(),
        &[
            "excluded by exclude_tables: 3 tables and views: cache, of_gone, of_view",
            "with them views that read them, with their definitions in left-out.sql: of_cache",
        ],
    );
    assert_eq!(names(&manifest, "table"), ["kept", "shrunk"]);
    assert_eq!(names(&manifest, "trigger"), [""; 0], "the trigger of the table is excluded with it");
    assert_eq!(names(&manifest, "view"), ["good", "of_column", "of_function", "of_nobody"]);
    assert_eq!(names(&manifest_of(&config, &full("other"), "latest"), "table"), ["gone"]);
    restore(&config, &full("shop"), &["--into", &url(&server, "again")]);
    edit(&config, "\"*.cache\"", "\"cache\"");
    let ran = try_backup(&config, &[]).expect_code(2);
    assert_says(&ran.stderr, &["exclude_tables", "cache", "names no database: write", "*.cache"]);
}
