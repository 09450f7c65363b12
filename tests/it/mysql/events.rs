//! Events, routines and triggers whose text is in the way of the dump tools come back as they were, by this program and by
//! the SQL client alone.

use testkit::{
    MyFlavour, MyServer,
    mysql_world::{configured, full, server, url},
    reports::{backup, item, manifest_of, restore, try_restore},
};

on_both!(events_that_the_tool_cannot_write_come_back, a_body_may_end_in_a_comment);

/// What the server says about all events of a database.
fn events(server: &MyServer, database: &str) -> String {
    server.sql(
        None,
        &format!(
            "SELECT EVENT_NAME, DEFINER, TIME_ZONE, SQL_MODE, STATUS, STARTS, ON_COMPLETION, CHARACTER_SET_CLIENT, \
             COLLATION_CONNECTION, DATABASE_COLLATION, HEX(EVENT_COMMENT), HEX(EVENT_DEFINITION) \
             FROM information_schema.EVENTS WHERE EVENT_SCHEMA = '{database}' ORDER BY 1"
        ),
    )
}

/// The files of a snapshot can be loaded with the client alone, without this program.
fn load_alone(server: &MyServer, script: &[u8], database: &str) {
    server.sql(None, &format!("CREATE DATABASE `{database}` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"));
    server.load(database, script);
}

fn events_that_the_tool_cannot_write_come_back(flavour: MyFlavour) {
    let server = server(flavour);
    server.sql(None, "CREATE DATABASE jobs CHARACTER SET utf8mb4 COLLATE utf8mb4_bin; CREATE DATABASE plain");
    server.sql(Some("plain"), "CREATE EVENT one ON SCHEDULE EVERY 1 DAY DO SELECT 1");
    // MariaDB's tool fails on the events of a database with such a name.
    let odd = "it's a \"name\"";
    server.create_database(odd);
    server.sql(Some(odd), "CREATE EVENT one ON SCHEDULE EVERY 1 DAY DO SELECT 1; CREATE TABLE t (a int)");
    server.load(
        "jobs",
        b"CREATE TABLE done (a text);
          INSERT INTO done VALUES ('row');
          DELIMITER $$
          CREATE EVENT commented ON SCHEDULE EVERY 1 DAY COMMENT 'first;; second' DO INSERT INTO done VALUES (1)$$
          CREATE DEFINER = nobody@nowhere EVENT in_body ON SCHEDULE EVERY 2 HOUR STARTS '2030-01-01 00:00:00'
            ON COMPLETION PRESERVE DISABLE DO BEGIN INSERT INTO done VALUES (';;'), ('//'), ('it''s'); END$$
          SET time_zone = '+03:00'$$
          SET sql_mode = 'NO_BACKSLASH_ESCAPES,ANSI_QUOTES'$$
          CREATE EVENT \"we`ird\" ON SCHEDULE AT '2035-01-01 00:00:00' DO INSERT INTO done VALUES ('a\\'), (';;')$$
          SET sql_mode = ''$$
          SET time_zone = 'SYSTEM'$$
          SET NAMES latin1$$
          CREATE EVENT latin ON SCHEDULE EVERY 1 MONTH DO INSERT INTO done VALUES ('gr\xfc\xdfe;;')$$
          SET NAMES utf8mb4$$
          ALTER DATABASE jobs COLLATE latin1_swedish_ci$$
          CREATE EVENT elsewhere ON SCHEDULE EVERY 1 YEAR DO SELECT ';;'$$
          ALTER DATABASE jobs COLLATE utf8mb4_bin$$
          DELIMITER ;
          ",
    );
    let config = configured(&server, "");
    let report = backup(&config);
    for name in ["jobs", "plain", odd] {
        assert_eq!(item(&report, name)["outcome"], "ok", "{report:#}");
    }
    restore(&config, &full(odd), &["--into", &url(&server, "of odd")]);
    assert_eq!(events(&server, "of odd").lines().count(), 1);
    let manifest = manifest_of(&config, &full("jobs"), "latest");
    assert_eq!(manifest["digested"], "yes");
    let kept = manifest["mysql"]["schema_objects"].as_array().unwrap();
    assert_eq!(kept.iter().filter(|object| object["type"] == "event").count(), 5, "{manifest:#}");

    let before = events(&server, "jobs");
    assert_eq!(before.lines().count(), 5, "{before}");
    restore(&config, &full("jobs"), &["--into", &url(&server, "again")]);
    assert_eq!(events(&server, "again"), before);
    let collation =
        "SELECT DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = 'again'";
    assert_eq!(server.sql(None, collation), "utf8mb4_bin", "it was changed for one event, and changed back");

    let folder = config.dir().join("files");
    try_restore(&config, &full("jobs"), &["--to", folder.to_str().unwrap()]).ok();
    load_alone(&server, &std::fs::read(folder.join("database.sql")).unwrap(), "alone");
    // The change of collation is written with the name of the database, by the tools as well.
    let others = |events: String| -> Vec<String> {
        events.lines().filter(|line| !line.starts_with("elsewhere")).map(str::to_owned).collect()
    };
    assert_eq!(others(events(&server, "alone")), others(before));
    // Its events run by now, and add rows.
    assert_eq!(server.sql(Some("alone"), "SELECT COUNT(*) FROM done WHERE a = 'row'"), "1");

    // What was restored is, backed up under its own name, the same in every digest.
    backup(&config);
    let again = manifest_of(&config, &full("again"), "latest");
    assert_eq!(again["mysql"]["schema_objects"], manifest["mysql"]["schema_objects"]);
}

fn a_body_may_end_in_a_comment(flavour: MyFlavour) {
    let server = server(flavour);
    server.create_database("noted");
    server.load(
        "noted",
        b"CREATE TABLE t (a int, b varchar(20));
          INSERT INTO t VALUES (1, '-- # ;;');
          DELIMITER $$
          CREATE FUNCTION f() RETURNS varchar(10) DETERMINISTIC RETURN ';;' # the end
          $$
          CREATE PROCEDURE p() SELECT 1 -- the end
          $$
          CREATE PROCEDURE q() BEGIN SELECT ';;' /* ;; */; END$$
          CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW SET NEW.b = ';;' -- the end
          $$
          CREATE TRIGGER tr2 BEFORE UPDATE ON t FOR EACH ROW SET NEW.b = 'x' $$
          CREATE EVENT e ON SCHEDULE EVERY 1 DAY DO SELECT 1 -- the end
          $$
          DELIMITER ;
          CREATE VIEW v AS SELECT f() AS f, a FROM t;
          ",
    );
    let config = configured(&server, "");
    backup(&config);
    restore(&config, &full("noted"), &["--into", &url(&server, "again")]);
    assert_eq!(server.sql(Some("again"), "SELECT * FROM v; CALL p"), ";;\t1\n1");
    server.sql(Some("again"), "INSERT INTO t (a) VALUES (2)");
    assert_eq!(server.sql(Some("again"), "SELECT b FROM t WHERE a = 2"), ";;");
    let bodies = |database: &str| {
        server.sql(
            None,
            &format!(
                "SELECT ROUTINE_NAME, ROUTINE_DEFINITION FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = '{database}' \
                 UNION ALL SELECT TRIGGER_NAME, ACTION_STATEMENT FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = '{database}' \
                 UNION ALL SELECT EVENT_NAME, EVENT_DEFINITION FROM information_schema.EVENTS WHERE EVENT_SCHEMA = '{database}' \
                 ORDER BY 1"
            ),
        )
    };
    assert_eq!(bodies("noted").lines().count(), 6, "{}", bodies("noted"));
    assert_eq!(bodies("again"), bodies("noted"));
    let folder = config.dir().join("files");
    try_restore(&config, &full("noted"), &["--to", folder.to_str().unwrap()]).ok();
    load_alone(&server, &std::fs::read(folder.join("database.sql")).unwrap(), "alone");
    assert_eq!(server.sql(Some("alone"), "SELECT * FROM v; CALL p"), ";;\t1\n1");
}
