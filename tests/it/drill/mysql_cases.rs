//! Databases of MySQL and MariaDB that need care when they are dumped are proven like any other.

use testkit::{
    Config, ConfigBuilder, MyFlavour, MyServer, mysql_world,
    reports::{assert_says, backup, item, ready},
    skip_unless,
};

use super::{drill_table, proven};

fn configured(server: &MyServer) -> Config {
    ready(ConfigBuilder::new().mysql("my", server, "").tables(&drill_table("jobs = 2")))
}

fn events(flavour: MyFlavour) {
    let server = mysql_world::server(flavour);
    server.create_database("jobs");
    server.load(
        "jobs",
        b"CREATE TABLE t (a text);
          DELIMITER $$
          CREATE EVENT a ON SCHEDULE EVERY 1 DAY COMMENT 'x;;y' DO INSERT INTO t VALUES (';;')$$
          CREATE FUNCTION f() RETURNS int DETERMINISTIC RETURN 1 -- the end
          $$
          CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW SET @a = 1 # the end
          $$",
    );
    server.create_database("kept");
    server.sql(Some("kept"), "CREATE TABLE t (a int INVISIBLE, b int); INSERT INTO t (a, b) VALUES (1, 2)");
    if flavour == MyFlavour::Mysql97 {
        server.sql(
            None,
            "ALTER DATABASE kept READ ONLY = 1; CREATE DATABASE secret; ALTER DATABASE secret DEFAULT ENCRYPTION 'Y'",
        );
    }
    let config = configured(&server);
    backup(&config);
    proven(&config, &["--all"]);
}

#[test]
fn events_and_bodies_that_the_tool_of_mysql_cannot_write() {
    skip_unless!(MyFlavour::Mysql97.tool());
    events(MyFlavour::Mysql97);
}

#[test]
fn events_and_bodies_that_the_tool_of_mariadb_cannot_write() {
    skip_unless!(MyFlavour::Mariadb1011.tool());
    events(MyFlavour::Mariadb1011);
}

#[test]
fn histories_are_proven_and_new_row_times_are_no_difference() {
    skip_unless!(MyFlavour::Mariadb1011.tool());
    let server = mysql_world::server(MyFlavour::Mariadb1011);
    let timed = "CREATE TABLE timed (a int PRIMARY KEY, rs timestamp(6) GENERATED ALWAYS AS ROW START,
        re timestamp(6) GENERATED ALWAYS AS ROW END, PERIOD FOR SYSTEM_TIME (rs, re)) WITH SYSTEM VERSIONING;
        CREATE TABLE plain (a int) WITH SYSTEM VERSIONING;
        INSERT INTO timed (a) VALUES (1), (2); INSERT INTO plain VALUES (1), (2); DELETE FROM plain WHERE a = 1;
        UPDATE timed SET a = 3 WHERE a = 2;";
    for database in ["past", "present"] {
        server.create_database(database);
        server.sql(Some(database), timed);
    }
    server.sql(
        Some("present"),
        "CREATE TABLE precise (a int PRIMARY KEY, rs bigint unsigned GENERATED ALWAYS AS ROW START,
         re bigint unsigned GENERATED ALWAYS AS ROW END, PERIOD FOR SYSTEM_TIME (rs, re)) WITH SYSTEM VERSIONING;
         INSERT INTO precise (a) VALUES (1)",
    );
    let config = configured(&server);
    backup(&config);
    let report = proven(&config, &["--all"]);
    let notes = item(&report, "present")["notes"].to_string();
    assert_says(
        &notes,
        &["only the number of rows was compared for tables with system versioning", ": precise, timed"],
    );
    assert!(!item(&report, "past")["notes"].to_string().contains("number of rows"), "{report:#}");
    assert_eq!(item(&report, "past")["rows"], 5, "two rows of `plain`, three of `timed`: {report:#}");
}
