//! Restores in several sessions: keys and foreign keys come after the rows, and nothing shows that they did.

use std::process::Stdio;

use rustix::process::Signal;
use testkit::{
    Cmd, Config, ConfigBuilder, FakeClients, MyFlavour, MyOptions, MyServer,
    mysql_world::{SOURCE, configured, dump_of, full, started, url, url_as},
    postgres::assert_same_dump,
    reports::{assert_proven, assert_says, backup, ready, restore, try_restore},
    running::{Running, wait_until},
};

on_both!(
    tables_of_all_sorts_come_back_equal,
    one_table_comes_back_alone,
    an_account_that_may_not_connect_often_loads_in_fewer_sessions,
    duplicates_and_broken_rows_are_reported_with_their_table,
    a_server_without_room_to_sort_keys_copies_the_table,
    an_interrupted_restore_leaves_no_session,
    a_warning_names_its_table,
);

/// Numbers from 1 to 3000; with this much text a table has more than a megabyte.
const NUMBERS: &str = "CREATE TABLE digits (d int PRIMARY KEY);
    INSERT INTO digits VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9);
    CREATE TABLE n (i int PRIMARY KEY);
    INSERT INTO n SELECT a.d + 10 * b.d + 100 * c.d + 1000 * d.d + 1 FROM digits a, digits b, digits c, digits d WHERE d.d < 3;";
const TEXT: &str = "CONCAT(SHA2(i, 256), REPEAT(SHA2(i + 7, 256), 6))";

/// Tables whose keys can be added later, and all others that servers have.
fn zoo(server: &MyServer, database: &str) {
    let flavour = server.flavour();
    let (hidden, special) = match flavour {
        MyFlavour::Mysql97 => (
            "INVISIBLE",
            format!(
                "CREATE TABLE functional (id int PRIMARY KEY, a varchar(500), KEY f ((lower(a))), KEY p ((id * 2), a(9)));
                 INSERT INTO functional SELECT i, {TEXT} FROM n;
                 CREATE TABLE hidden (my_row_id bigint unsigned NOT NULL AUTO_INCREMENT INVISIBLE PRIMARY KEY, a varchar(500),
                     KEY k (a(30))); INSERT INTO hidden (a) SELECT {TEXT} FROM n;
                 CREATE TABLE enforced (id int PRIMARY KEY, a varchar(500), KEY k (a(30)), CHECK (id > 0),
                     CONSTRAINT c2 CHECK (a <> '') NOT ENFORCED); INSERT INTO enforced SELECT i, {TEXT} FROM n;"
            ),
        ),
        MyFlavour::Mariadb1011 => (
            "IGNORED",
            format!(
                "CREATE SEQUENCE s START WITH 5000;
                 CREATE TABLE numbered (id int PRIMARY KEY DEFAULT NEXTVAL(s), a varchar(500), KEY k (a(30)));
                 INSERT INTO numbered SELECT i, {TEXT} FROM n;
                 CREATE TABLE versioned (id int PRIMARY KEY, a varchar(500), KEY k (a(30))) WITH SYSTEM VERSIONING;
                 INSERT INTO versioned SELECT i, {TEXT} FROM n; DELETE FROM versioned WHERE id < 5;
                 CREATE TABLE periods (id int PRIMARY KEY, a varchar(500), s date, e date, PERIOD FOR app (s, e), KEY k (a(30)));
                 INSERT INTO periods SELECT i, {TEXT}, '2020-01-01', '2021-01-01' FROM n;
                 CREATE TABLE long_unique (id int PRIMARY KEY, a text, UNIQUE KEY u (a), KEY k (a(30)));
                 INSERT INTO long_unique SELECT i, {TEXT} FROM n;
                 CREATE TABLE kinds (id int PRIMARY KEY, u uuid, six inet6, a text COMPRESSED, KEY u (u), KEY six (six));
                 INSERT INTO kinds SELECT i, CONCAT('123e4567-e89b-12d3-a456-', LPAD(i, 12, '0')), CONCAT('::', HEX(i)), {TEXT} FROM n;
                 CREATE TABLE checked (id int PRIMARY KEY CHECK (id > 0), a varchar(500), KEY k (a(30)), CONSTRAINT c CHECK (a <> ''));
                 INSERT INTO checked SELECT i, {TEXT} FROM n;"
            ),
        ),
    };
    server.sql(
        Some(database),
        &format!(
            "SET NAMES utf8mb4; SET foreign_key_checks = 0; {NUMBERS}
             CREATE TABLE plain (id int unsigned NOT NULL AUTO_INCREMENT, a int DEFAULT NULL, b varchar(40) NOT NULL, c varchar(500)
                 COLLATE utf8mb4_bin, d datetime DEFAULT '2020-02-02 00:00:00', PRIMARY KEY (id), KEY z (a), UNIQUE KEY u (b),
                 UNIQUE KEY nullable (d, a), KEY ab (a, b), KEY c (c(20)), KEY back (a DESC, b), KEY y (d) COMMENT 'it''s, `a` (key)',
                 KEY tree (c(5), a) USING BTREE, KEY gone (b(3)) {hidden}) COMMENT 'PARTITION, KEY `x` (`y`)';
             INSERT INTO plain (a, b, c, d) SELECT IF(i % 7 = 0, NULL, i % 100), LEFT(SHA2(i, 256), 32), {TEXT}, '2021-01-01' + INTERVAL i SECOND FROM n;
             UPDATE plain SET id = 900000 WHERE id = 10; ALTER TABLE plain AUTO_INCREMENT = 1000000;
             CREATE TABLE `odd \"name\" isn''t `` ☃` (`i d` int, `c``,(` varchar(500), `new\nline` int, PRIMARY KEY (`i d`),
                 KEY `k``, (1` (`c``,(`(30), `new\nline`), KEY `new\nline` (`new\nline`));
             INSERT INTO `odd \"name\" isn''t `` ☃` SELECT i, {TEXT}, i % 5 FROM n;
             CREATE TABLE a_child (id int PRIMARY KEY, code char(32), self int, a varchar(500), KEY code (code), KEY self (self),
                 CONSTRAINT second FOREIGN KEY (code) REFERENCES parent (code) ON DELETE CASCADE ON UPDATE SET NULL,
                 CONSTRAINT first FOREIGN KEY (self) REFERENCES a_child (id));
             CREATE TABLE parent (id int PRIMARY KEY, code char(32) UNIQUE, other int, a varchar(500), KEY other (other),
                 CONSTRAINT circle FOREIGN KEY (other) REFERENCES z_child (id));
             CREATE TABLE z_child (id int PRIMARY KEY, code char(32), a varchar(500), KEY both_ (code, id), KEY a (a(9)),
                 CONSTRAINT third FOREIGN KEY (code) REFERENCES parent (code));
             CREATE TABLE little_child (id int PRIMARY KEY, code char(32), CONSTRAINT fourth FOREIGN KEY (code) REFERENCES parent (code));
             INSERT INTO parent SELECT i, LEFT(SHA2(i, 256), 32), i, {TEXT} FROM n; INSERT INTO z_child SELECT i, LEFT(SHA2(i, 256), 32), {TEXT} FROM n;
             INSERT INTO a_child SELECT i, LEFT(SHA2(i, 256), 32), NULLIF(i, 1), {TEXT} FROM n; INSERT INTO little_child VALUES (1, LEFT(SHA2(5, 256), 32));
             CREATE TABLE counts_second (g int, id int NOT NULL AUTO_INCREMENT, a varchar(500), PRIMARY KEY (g, id), KEY id (id), KEY a (a(9)));
             INSERT INTO counts_second SELECT i % 3, i, {TEXT} FROM n;
             CREATE TABLE words (id int PRIMARY KEY, a text, b text, KEY k (a(30)), FULLTEXT KEY f (a, b), FULLTEXT KEY g (b));
             INSERT INTO words SELECT i, {TEXT}, 'some words' FROM n;
             CREATE TABLE places (id int PRIMARY KEY, p point NOT NULL, a varchar(500), KEY k (a(30)), SPATIAL KEY s (p));
             INSERT INTO places SELECT i, POINT(i, i), {TEXT} FROM n;
             CREATE TABLE computed (id int PRIMARY KEY, a varchar(500), v int AS (id + 1) VIRTUAL, s int AS (id * 2) STORED, KEY v (v), KEY s (s));
             INSERT INTO computed (id, a) SELECT i, {TEXT} FROM n;
             CREATE TABLE parts (id int, a varchar(500), PRIMARY KEY (id), KEY k (a(30))) PARTITION BY HASH (id) PARTITIONS 3;
             INSERT INTO parts SELECT i, {TEXT} FROM n;
             CREATE TABLE small_pages (id int PRIMARY KEY, a varchar(500), KEY k (a(30))) ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=8;
             INSERT INTO small_pages SELECT i, {TEXT} FROM n;
             CREATE TABLE old (id int, a varchar(500), KEY k (a(30)), KEY i (id)) ENGINE=MyISAM;
             INSERT INTO old SELECT i, {TEXT} FROM n;
             CREATE TABLE without_key (id int, a varchar(500), KEY k (a(30))); INSERT INTO without_key SELECT i % 10, {TEXT} FROM n;
             CREATE TABLE unique_only (id int NOT NULL, a varchar(500), UNIQUE KEY u (id), KEY k (a(30)));
             INSERT INTO unique_only SELECT i, {TEXT} FROM n;
             CREATE TABLE nothing (id int PRIMARY KEY, a int, KEY a (a));
             CREATE TABLE statements (id int PRIMARY KEY, a varchar(900), b varbinary(900), KEY a (a(50)), KEY b (b(50)));
             INSERT INTO statements SELECT i, CONCAT('\\');\\nALTER TABLE `plain` ADD x int;\\nDELIMITER ;;\\n-- it''s ', {TEXT}),
                 CONCAT('); DROP TABLE `plain`;\\0\\Z\\r\\n/*!40000 INSERT INTO `plain` VALUES (', {TEXT}) FROM n;
             {special}
             CREATE VIEW a_view AS SELECT id, code FROM parent; CREATE VIEW b_view AS SELECT * FROM a_view;
             CREATE TRIGGER first BEFORE INSERT ON plain FOR EACH ROW SET NEW.b = CONCAT('changed', NEW.b);
             CREATE TRIGGER second BEFORE INSERT ON plain FOR EACH ROW SET NEW.c = NULL;
             CREATE TRIGGER of_parent AFTER INSERT ON parent FOR EACH ROW INSERT INTO nothing VALUES (NEW.id, 1);
             CREATE PROCEDURE insert_one() INSERT INTO nothing VALUES (1, 1);
             CREATE FUNCTION one() RETURNS int DETERMINISTIC RETURN 1;
             CREATE EVENT never ON SCHEDULE EVERY 1 DAY STARTS '2035-01-01 00:00:00' DO DELETE FROM nothing;"
        ),
    );
}

/// A server with room in its buffer pool for several sessions.
fn roomy(flavour: MyFlavour) -> MyServer {
    started(MyOptions::new(flavour).setting("innodb-buffer-pool-size=320M"))
}

/// Records the statements that the server gets from now on.
fn record(server: &MyServer) {
    server.sql(
        None,
        "SET GLOBAL log_output = 'TABLE'; TRUNCATE mysql.general_log; SET GLOBAL general_log = ON",
    );
}

/// Statements that begin in this way, one a line, each with the number of its session.
fn recorded(server: &MyServer, begin: &str) -> Vec<(String, String)> {
    let rows = server.sql(
        None,
        &format!(
            "SELECT thread_id, LEFT(CONVERT(argument USING utf8mb4), 300) FROM mysql.general_log
             WHERE CONVERT(argument USING utf8mb4) LIKE '{begin}%' ORDER BY event_time"
        ),
    );
    rows.lines().filter_map(|row| row.split_once('\t')).map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
}

fn tables_of_all_sorts_come_back_equal(flavour: MyFlavour) {
    let server = roomy(flavour);
    server.sql(None, "CREATE DATABASE zoo CHARACTER SET utf8mb4; SET GLOBAL event_scheduler = OFF");
    zoo(&server, "zoo");
    let source = ConfigBuilder::new().mysql(SOURCE, &server, "");
    let config = ready(source.tables(&crate::drill::drill_table("")));
    backup(&config);
    record(&server);
    let done = restore(&config, &full("zoo"), &["--into", &url(&server, "again"), "--jobs", "3", "--verify"]);
    assert_eq!(done["compared"], true, "{done:#}");
    server.sql(None, "SET GLOBAL general_log = OFF");
    assert_same_dump(&dump_of(&server, "zoo"), &dump_of(&server, "again"));

    let added: Vec<String> =
        recorded(&server, "ALTER TABLE `%` ADD ").into_iter().map(|(_, text)| text).collect();
    let with = |text: &str| added.iter().filter(|statement| statement.contains(text)).count();
    for table in ["plain", "a_child", "parent", "z_child", "statements"] {
        assert_eq!(
            with(&format!("ALTER TABLE `{table}` ADD KEY"))
                + with(&format!("ALTER TABLE `{table}` ADD UNIQUE KEY")),
            1,
            "{table}: {added:#?}"
        );
    }
    assert_eq!(
        with("ADD CONSTRAINT `fourth` FOREIGN KEY"),
        1,
        "of a small table whose parent is large: {added:#?}"
    );
    for table in [
        "words",
        "places",
        "computed",
        "parts",
        "small_pages",
        "old",
        "without_key",
        "unique_only",
        "counts_second",
        "nothing",
    ] {
        assert_eq!(with(&format!("ALTER TABLE `{table}` ")), 0, "{table}: {added:#?}");
    }
    let mut sessions: Vec<String> =
        recorded(&server, "INSERT INTO `").into_iter().map(|(session, _)| session).collect();
    sessions.sort();
    sessions.dedup();
    assert!(sessions.len() > 1, "rows were loaded in one session: {sessions:?}");
    let of_unordered = recorded(&server, "INSERT INTO `without_key`");
    assert!(of_unordered.windows(2).all(|two| two[0].0 == two[1].0), "its rows keep their order");
    assert_proven(&config);
}

fn one_table_comes_back_alone(flavour: MyFlavour) {
    let server = roomy(flavour);
    server.sql(None, "CREATE DATABASE zoo CHARACTER SET utf8mb4; SET GLOBAL event_scheduler = OFF");
    zoo(&server, "zoo");
    let config = configured(&server, "");
    backup(&config);
    let definition = |database: &str, table: &str| {
        server
            .sql(Some(database), &format!("SHOW CREATE TABLE `{table}`"))
            .replace(" CHARACTER SET utf8mb4 COLLATE utf8mb4_", " COLLATE utf8mb4_")
    };
    for table in ["plain", "a_child"] {
        let into = url(&server, &format!("only {table}"));
        let done = restore(&config, &full("zoo"), &["--into", &into, "--jobs", "2", "--table", table]);
        assert_eq!((&done["tables"], &done["rows"]), (&1.into(), &3000.into()));
        let database = format!("only {table}");
        assert_eq!(definition(&database, table), definition("zoo", table));
        let checksum = format!("CHECKSUM TABLE zoo.{table}, `{database}`.{table}");
        let sums = server.sql(None, &checksum);
        let sums: Vec<&str> = sums.lines().filter_map(|line| line.split('\t').nth(1)).collect();
        assert!(sums.len() == 2 && sums[0] == sums[1], "{table}: {sums:?}");
    }
    assert_eq!(
        server.sql(
            Some("only plain"),
            "SELECT COUNT(*) FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = 'only plain'"
        ),
        "2"
    );
}

/// A database of two tables with keys, each of more than four megabytes.
fn two_tables(server: &MyServer) {
    server.create_database("two");
    server.sql(
        Some("two"),
        &format!(
            "{NUMBERS}
             CREATE TABLE one (id int PRIMARY KEY AUTO_INCREMENT, a varchar(500), b varchar(40), UNIQUE KEY u (b), KEY k (a(90)));
             INSERT INTO one (a, b) SELECT {TEXT}, LEFT(SHA2(i, 256), 32) FROM n; INSERT INTO one (a, b) SELECT a, CONCAT(b, '1') FROM one;
             INSERT INTO one (a, b) SELECT a, CONCAT(b, '2') FROM one; UPDATE one SET b = 'marked' WHERE id = 11000;
             CREATE TABLE two LIKE one; INSERT INTO two SELECT * FROM one"
        ),
    );
}

fn an_account_that_may_not_connect_often_loads_in_fewer_sessions(flavour: MyFlavour) {
    let server = roomy(flavour);
    two_tables(&server);
    server.sql(
        None,
        "CREATE USER few@localhost WITH MAX_USER_CONNECTIONS 2; GRANT ALL ON *.* TO few@localhost;
         CREATE USER some@localhost WITH MAX_USER_CONNECTIONS 3; GRANT ALL ON *.* TO some@localhost",
    );
    let config = configured(&server, "");
    backup(&config);
    for (account, number) in [("few", "1 instead of 4"), ("some", "instead of 4")] {
        let into = url_as(&server, account, account);
        let ran = try_restore(&config, &full("two"), &["--into", &into, "--jobs", "4"]).expect_code(0);
        assert_says(&ran.stderr, &[&format!("{number} sessions"), "max_user_connections"]);
        assert_same_dump(&dump_of(&server, "two"), &dump_of(&server, account));
    }
    // As many as there are, without a word.
    let ran =
        try_restore(&config, &full("two"), &["--into", &url(&server, "free"), "--jobs", "2"]).expect_code(0);
    assert!(!ran.stderr.contains("instead of"), "{}", ran.stderr);
}

/// A configuration whose dump tool changes the dumps of the database `two` by a shell filter, and its tools.
fn changed(server: &MyServer, filter: &str) -> (Config, FakeClients) {
    let clients = FakeClients::of_mysql(server.flavour());
    clients.script("two", &format!("dump \"$@\" | {filter}"));
    let source = clients.instead(server.flavour(), &server.config_toml());
    let config = ready(ConfigBuilder::new().source(SOURCE, &source));
    backup(&config);
    (config, clients)
}

fn sessions_in(server: &MyServer, database: &str) -> String {
    server.sql(None, &format!("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE DB = '{database}'"))
}

fn duplicates_and_broken_rows_are_reported_with_their_table(flavour: MyFlavour) {
    let server = roomy(flavour);
    two_tables(&server);
    let duplicate = server.sql(Some("two"), "SELECT b FROM two WHERE id = 5");
    let cases = [
        (format!("sed \"/INSERT INTO .two./,/ENABLE KEYS/s/'marked'/'{duplicate}'/\""), "Duplicate entry"),
        ("sed \"/INSERT INTO .two./,/ENABLE KEYS/s/'marked'/'marked', 5/\"".to_owned(), "ERROR 1136"),
        ("sed \"/INSERT INTO .two./,/ENABLE KEYS/s/'marked'/marked/\"".to_owned(), "ERROR 1054"),
    ];
    for (number, (filter, error)) in cases.iter().enumerate() {
        let (config, _clients) = changed(&server, filter);
        let target = format!("wrong{number}");
        let ran = try_restore(&config, &full("two"), &["--into", &url(&server, &target), "--jobs", "2"])
            .expect_code(1);
        assert_says(&ran.stderr, &["table two: ", error, "was created by this restore and is incomplete"]);
        wait_until("its sessions have ended", || sessions_in(&server, &target) == "0");
    }
}

fn a_server_without_room_to_sort_keys_copies_the_table(flavour: MyFlavour) {
    let place = tempfile::Builder::new().prefix("tik-tmp-").tempdir_in("/tmp").unwrap();
    let mode = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o777);
    std::fs::set_permissions(place.path(), mode).unwrap();
    let buffer = match flavour {
        MyFlavour::Mysql97 => "innodb-ddl-buffer-size=65536",
        MyFlavour::Mariadb1011 => "innodb-sort-buffer-size=65536",
    };
    let at = place.path().display().to_string();
    let server = started(MyOptions::new(flavour).setting(buffer).setting(&format!("innodb-tmpdir={at}")));
    two_tables(&server);
    let config = configured(&server, "");
    backup(&config);
    drop(place);
    let done = restore(&config, &full("two"), &["--into", &url(&server, "again"), "--jobs", "2", "--verify"]);
    assert_eq!(done["compared"], true);
    assert_says(
        &done["notes"].to_string(),
        &["the keys of the table one were built by copying it", "the table two"],
    );
    assert_same_dump(&dump_of(&server, "two"), &dump_of(&server, "again"));
}

fn an_interrupted_restore_leaves_no_session(flavour: MyFlavour) {
    let server = roomy(flavour);
    two_tables(&server);
    let config = configured(&server, "");
    backup(&config);
    server.create_database("cut");
    let command = Cmd::with(&config)
        .args(["restore", &full("two"), "--into", &url(&server, "cut"), "--jobs", "2"])
        .into_command();
    let run = Running::start(command);
    let created = "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'cut'";
    wait_until("it has begun", || server.sql(None, created) != "0");
    // From now on nothing is written, so the sessions wait.
    let mut lock = server.client("mysql");
    lock.args(["--execute", "FLUSH TABLES WITH READ LOCK; SELECT SLEEP(100)"]).stdout(Stdio::null());
    let mut lock = lock.spawn().unwrap();
    wait_until("sessions wait", || {
        let waiting =
            "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE DB = 'cut' AND STATE LIKE 'Waiting%'";
        server.sql(None, waiting) != "0"
    });
    run.signal(Signal::TERM);
    let ended = run.finish().expect_code(1);
    assert_says(&ended.stderr, &["stopped: terminated (SIGTERM)", "empty it before the next try"]);
    lock.kill().unwrap();
    lock.wait().unwrap();
    wait_until("its sessions have ended", || sessions_in(&server, "cut") == "0");
}

fn a_warning_names_its_table(flavour: MyFlavour) {
    let server = roomy(flavour);
    two_tables(&server);
    server.sql(
        Some("two"),
        "SET sql_mode = ''; CREATE TABLE colours (id int PRIMARY KEY, c enum('red', 'green'));
         INSERT INTO colours VALUES (1, 'nonsense'), (2, 'red')",
    );
    let config = configured(&server, "");
    backup(&config);
    let ran = try_restore(&config, &full("two"), &["--into", &url(&server, "warned"), "--jobs", "2"])
        .expect_code(3);
    let report = ran.json();
    let warnings = report["database"]["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 1, "{report:#}");
    assert_says(warnings[0].as_str().unwrap(), &["table colours: Warning (Code 1265)"]);
}
