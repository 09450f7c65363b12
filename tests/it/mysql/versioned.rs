//! Tables of MariaDB with system versioning keep their history; columns that are hidden keep their values.

use testkit::{
    MyFlavour, MyServer,
    mysql_world::{configured, full, server, url},
    reports::{assert_says, backup, manifest_of, restore},
    skip_unless,
};

on_both!(hidden_columns_come_back);

const HISTORY: &str = "
    SET timestamp = 1700000000;
    CREATE TABLE plain (a int PRIMARY KEY, b int) WITH SYSTEM VERSIONING;
    CREATE TABLE parted (a int, b int) WITH SYSTEM VERSIONING PARTITION BY SYSTEM_TIME (PARTITION p0 HISTORY, PARTITION pn CURRENT);
    CREATE TABLE timed (a int PRIMARY KEY, b int, rs timestamp(6) GENERATED ALWAYS AS ROW START,
      re timestamp(6) GENERATED ALWAYS AS ROW END, PERIOD FOR SYSTEM_TIME (rs, re)) WITH SYSTEM VERSIONING;
    CREATE TABLE hidden (a int PRIMARY KEY, b int, rs timestamp(6) GENERATED ALWAYS AS ROW START INVISIBLE,
      re timestamp(6) GENERATED ALWAYS AS ROW END INVISIBLE, PERIOD FOR SYSTEM_TIME (rs, re)) WITH SYSTEM VERSIONING;";

fn change(server: &MyServer, table: &str) {
    server.sql(
        Some("past"),
        &format!(
            "SET timestamp = 1700000100; INSERT INTO {table} (a, b) VALUES (1, 1), (2, 2), (3, 3);
             SET timestamp = 1700000200; UPDATE {table} SET b = 9 WHERE a = 1;
             SET timestamp = 1700000300; DELETE FROM {table} WHERE a = 2"
        ),
    );
}

#[test]
fn the_history_of_rows_comes_back() {
    skip_unless!(MyFlavour::Mariadb1011.tool());
    let server = server(MyFlavour::Mariadb1011);
    server.create_database("past");
    server.sql(Some("past"), HISTORY);
    let tables = ["hidden", "parted", "plain", "timed"];
    tables.iter().for_each(|table| change(&server, table));
    let config = configured(&server, "");
    backup(&config);
    let manifest = manifest_of(&config, &full("past"), "latest");
    assert_eq!(manifest["mysql"]["history"], serde_json::json!(tables));
    assert!(!manifest["notes"].to_string().contains("history"), "{manifest:#}");
    let rows: Vec<_> =
        manifest["objects"].as_array().unwrap().iter().map(|o| o["rows"].as_u64().unwrap()).collect();
    assert_eq!(rows, [4; 4], "three rows and the change of one");
    restore(&config, &full("past"), &["--into", &url(&server, "again")]);
    for table in tables {
        let (start, end) =
            if ["timed", "hidden"].contains(&table) { ("rs", "re") } else { ("row_start", "row_end") };
        let all = format!("SELECT a, b, {start}, {end} FROM {table} FOR SYSTEM_TIME ALL ORDER BY 1, 3");
        let before = server.sql(Some("past"), &all);
        assert_eq!(before.lines().count(), 4);
        assert_says(&before, &["2023-11-14"]);
        assert_eq!(server.sql(Some("again"), &all), before, "{table}");
    }
}

#[test]
fn a_history_by_transaction_is_left_out_and_said_so() {
    skip_unless!(MyFlavour::Mariadb1011.tool());
    let server = server(MyFlavour::Mariadb1011);
    server.create_database("past");
    server.sql(
        Some("past"),
        &format!(
            "{HISTORY} CREATE TABLE precise (a int PRIMARY KEY, b int, rs bigint unsigned GENERATED ALWAYS AS ROW START,
             re bigint unsigned GENERATED ALWAYS AS ROW END, PERIOD FOR SYSTEM_TIME (rs, re)) WITH SYSTEM VERSIONING"
        ),
    );
    for table in ["precise", "plain", "timed"] {
        change(&server, table);
    }
    let config = configured(&server, "");
    backup(&config);
    let manifest = manifest_of(&config, &full("past"), "latest");
    assert_says(
        &manifest["notes"].to_string(),
        &[
            "only the current rows of tables with system versioning are dumped",
            "versioned by transaction: precise",
        ],
    );
    assert!(manifest["mysql"]["history"].is_null());
    assert_eq!(manifest["mysql"]["row_times"], serde_json::json!(["hidden", "precise", "timed"]));
    restore(&config, &full("past"), &["--into", &url(&server, "again")]);
    for table in ["precise", "plain", "timed"] {
        assert_eq!(server.sql(Some("again"), &format!("SELECT a, b FROM {table}")), "1\t9\n3\t3", "{table}");
    }
}

fn hidden_columns_come_back(flavour: MyFlavour) {
    let server = server(flavour);
    server.create_database("hidden");
    server.sql(
        Some("hidden"),
        "CREATE TABLE t (a int, b int INVISIBLE DEFAULT 7, c int GENERATED ALWAYS AS (a + 1) VIRTUAL INVISIBLE);
         INSERT INTO t (a, b) VALUES (1, 2), (3, 4);
         CREATE TABLE k (id int AUTO_INCREMENT PRIMARY KEY INVISIBLE, a int); INSERT INTO k (id, a) VALUES (10, 1), (20, 2)",
    );
    let mut questions = vec!["SELECT a, b, c FROM t ORDER BY a", "SELECT id, a FROM k ORDER BY id"];
    if flavour == MyFlavour::Mysql97 {
        server.sql(
            Some("hidden"),
            "SET SESSION sql_generate_invisible_primary_key = ON; CREATE TABLE made (a int);
             INSERT INTO made VALUES (5), (6); DELETE FROM made WHERE a = 5",
        );
        questions.push("SELECT my_row_id, a FROM made");
    }
    let config = configured(&server, "");
    backup(&config);
    restore(&config, &full("hidden"), &["--into", &url(&server, "again")]);
    for question in questions {
        let before = server.sql(Some("hidden"), question);
        assert!(!before.is_empty());
        assert_eq!(server.sql(Some("again"), question), before);
    }
    assert_eq!(server.sql(Some("again"), "SELECT * FROM t"), "1\n3", "they are hidden there, too");
}
