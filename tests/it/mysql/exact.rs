//! Every value comes back as it was, by this program and by the stock client.

use std::{path::Path, process::Command};

use testkit::{
    Config, ConfigBuilder, FakeClients, MyFlavour, MyServer,
    mysql_world::{SOURCE, full, server, url},
    process::run_ok,
    program::quoted,
    reports::{assert_proven, backup, item, manifest_of, restore},
    running::{Running, wait_until},
    skip_unless,
};

on_both!(
    numbers_come_back_to_the_bit,
    numbers_that_change_during_the_dump_are_of_one_moment,
    text_of_which_two_codes_are_one_character_comes_back,
    dates_that_no_calendar_has_come_back,
);

/// A configuration whose drills find the server's programs, which may lie in a directory of their own.
fn provable(server: &MyServer) -> Config {
    let programs = server.bin("mysqld");
    let folder = programs.parent().unwrap();
    let text = |path: &Path| quoted(&path.display().to_string());
    // What a server of another directory needs lies beside it.
    let files = server.flavour().client_dir().parent().unwrap().join("root");
    let drill = format!(
        "[drill]\nmin_free = \"1MiB\"\nserver_dirs = [{}]\nserver_files = [{}]\n",
        text(folder),
        text(if files.exists() { &files } else { folder })
    );
    testkit::reports::ready(ConfigBuilder::new().mysql(SOURCE, server, "").tables(&drill))
}

/// The stored script, fed to the stock client.
fn load_by_hand(server: &MyServer, config: &Config, name: &str, database: &str) {
    let folder = config.dir().join(format!("by-hand-{database}"));
    restore(config, &full(name), &["--to", folder.to_str().unwrap()]);
    server.create_database(database);
    let script = std::fs::read(script_in(&folder)).unwrap();
    server.load(database, &script);
}

fn script_in(folder: &Path) -> std::path::PathBuf {
    let found = run_ok(Command::new("find").arg(folder).args(["-name", "database.sql"]), b"");
    String::from_utf8(found).unwrap().trim().into()
}

/// A digest of the result of a query.
fn all(server: &MyServer, database: &str, query: &str) -> String {
    server.sql(Some(database), query)
}

fn numbers_come_back_to_the_bit(flavour: MyFlavour) {
    let server = server(flavour);
    server.create_database("n");
    server.sql(
        Some("n"),
        "CREATE TABLE keyed (id int PRIMARY KEY, f float, d double, fm float(20,4), z float unsigned zerofill);
         INSERT INTO keyed VALUES (1, 1234567.5, 0.010516252368688583, 123456789.1234, 16777216),
            (2, 16777216, 1.7976931348623157e308, 0.1, 0.1), (3, 123456.7890625, 5e-324, 0.5, 3e38), (4, NULL, NULL, NULL, NULL),
            (5, 3.4028234e38, -2.2250738585072014e-308, -1, 1.1754944e-38), (6, -0e0, -0e0, -0e0, 0), (7, 0.1, 0.1, 0.1, 0.1),
            (8, 1.4e-45, 1e15, 1e-4, 8388609), (9, 3.402823466e38, 0, 0, 0), (10, -3.402823466e38, 0, 0, 0);
         CREATE TABLE keyless (a varchar(20), b varbinary(20), f float);
         INSERT INTO keyless VALUES ('it''s\\\\', 0x00ff27, 1234567.5), ('it''s\\\\', 0x00ff27, 1234568.5), (NULL, NULL, 16777217),
            ('NULL', '', 16777215), ('', 'x', 0.3), ('twice', 'x', 1234567.5), ('twice', 'x', 1234567.5), ('a\\tb\\nc', '\\\\', 16777213);
         CREATE TABLE `odd ``name` (`k ``y` float PRIMARY KEY, `v l` float, bits bit(12));
         INSERT INTO `odd ``name` VALUES (16777215, 16777214, 5), (16777216, 16777213, 0), (16777214, 16777212, 4095);
         CREATE TABLE covered (id int PRIMARY KEY, f float, KEY (f));
         CREATE TABLE parted (id int, f float, g double AS (f * 2), PRIMARY KEY (id)) PARTITION BY HASH (id) PARTITIONS 5;
         CREATE TABLE computed (id int PRIMARY KEY, a float, gen int AS (id + 1) STORED, f float, b blob);
         INSERT INTO computed (id, a, f, b) VALUES (1, 1234567.5, 16777215, NULL), (2, 0.1, 1234567.5, 'x');
         CREATE TABLE twins (x int, f float, t text, b blob, KEY (x, f));
         INSERT INTO twins VALUES (1, 1234570, 'a', 'b'), (1, 1234567.5, 'a', 'b'), (1, 1234568.5, 'a', 'b'), (2, 1, REPEAT('é', 5000), 0xff),
            (2, 16777213, REPEAT('é', 5000), 0xff);
         CREATE TABLE myisam (id int PRIMARY KEY, f float, u int, UNIQUE KEY (u)) ENGINE=MyISAM;
         INSERT INTO myisam VALUES (3, 16777215, 1), (1, 1234567.5, 3), (2, 16777213, NULL), (9, 16777211, NULL);
         CREATE TABLE rest (id int PRIMARY KEY AUTO_INCREMENT, f float, d double, t varchar(60));
         INSERT INTO rest (f, d, t) SELECT 1, 1, 'x' FROM keyed a, keyed b, keyed c, keyed d;
         UPDATE rest SET f = (RAND(3) - 0.5) * POW(10, FLOOR(RAND(4) * 12 - 4)), d = RAND(5) * POW(10, FLOOR(RAND(6) * 40 - 20));
         UPDATE rest SET f = id WHERE id > 3000;
         INSERT INTO covered SELECT id, f FROM rest; INSERT INTO parted (id, f) SELECT id, f FROM rest",
    );
    let queries = [
        "SELECT id, HEX(ST_AsWKB(POINT(f, d))), HEX(ST_AsWKB(POINT(fm, z))) FROM keyed ORDER BY id",
        "SELECT a, HEX(b), f * 1e0 FROM keyless ORDER BY 1, 2, 3",
        "SELECT `k ``y` * 1e0, `v l` * 1e0, bits + 0 FROM `odd ``name` ORDER BY 1",
        "SELECT id, f * 1e0 FROM covered ORDER BY id",
        "SELECT id, f * 1e0, HEX(ST_AsWKB(POINT(g, 0))) FROM parted ORDER BY id",
        "SELECT id, HEX(ST_AsWKB(POINT(f, d))) FROM rest ORDER BY id",
        "SELECT id, a * 1e0, gen, f * 1e0, HEX(b) FROM computed ORDER BY id",
        "SELECT x, f * 1e0, SHA2(t, 256), HEX(b) FROM twins ORDER BY 1, 2",
        "SELECT id, f * 1e0, u FROM myisam ORDER BY id",
    ];
    let config = provable(&server);
    let report = backup(&config);
    let notes = &item(&report, "n")["notes"];
    assert!(
        notes.as_array().unwrap().len() == 1
            && notes[0].as_str().unwrap().contains("no transactions: myisam"),
        "{notes}"
    );
    restore(&config, &full("n"), &["--into", &url(&server, "restored"), "--verify"]);
    load_by_hand(&server, &config, "n", "by_hand");
    for query in queries {
        let before = all(&server, "n", query);
        assert!(before.lines().count() >= 2, "{before}");
        for database in ["restored", "by_hand"] {
            assert_eq!(before, all(&server, database, query), "{database}: {query}");
        }
    }
    assert_proven(&config);
    // One bit more in one row is another content.
    let digest = |name: &str| {
        let manifest = manifest_of(&config, &full("n"), "latest");
        let objects = manifest["objects"].as_array().unwrap().clone();
        objects.iter().find(|object| object["name"] == name).unwrap()["digest"].clone()
    };
    let before = digest("keyed");
    server.sql(Some("n"), "UPDATE keyed SET f = 1234567.625 WHERE id = 1");
    backup(&config);
    assert_ne!(before, digest("keyed"));
}

fn numbers_that_change_during_the_dump_are_of_one_moment(flavour: MyFlavour) {
    let server = server(flavour);
    server.create_database("n");
    server.sql(
        Some("n"),
        "CREATE TABLE a (id int PRIMARY KEY AUTO_INCREMENT, f float, filler char(200) DEFAULT 'x');
         INSERT INTO a (f) VALUES (1), (1), (1), (1), (1), (1), (1), (1);
         INSERT INTO a (f) SELECT 1 FROM a x, a y, a z, a w; UPDATE a SET f = 1000000.5 + id;
         CREATE TABLE z LIKE a; INSERT INTO z SELECT * FROM a",
    );
    let sums = "SELECT COUNT(*), SUM(f * 1e0), MIN(f * 1e0), MAX(f * 1e0) FROM ";
    let before = ["a", "z"].map(|table| server.sql(Some("n"), &format!("{sums}{table}")));
    let clients = FakeClients::of_mysql(flavour);
    let source = clients.instead(flavour, &server.config_toml());
    let config = testkit::reports::ready(ConfigBuilder::new().source(SOURCE, &source));
    let hold = clients.hold("n");
    let mut running = Running::start(testkit::Cmd::with(&config).args(["backup", "my/n"]).into_command());
    hold.wait_reached(&mut running);
    let sessions = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = 'backup'";
    wait_until("a session before the dump's and one after it", || server.sql(None, sessions) == "3");
    server.sql(
        Some("n"),
        "UPDATE a SET f = f + 0.125 WHERE id % 3 = 0; DELETE FROM a WHERE id % 7 = 0; INSERT INTO a (f) SELECT f FROM a;
         UPDATE z SET f = f + 0.25; DELETE FROM z WHERE id % 5 = 1",
    );
    hold.release();
    running.finish().expect_code(0);
    let manifest = manifest_of(&config, &full("n"), "latest");
    assert_eq!(manifest["notes"], serde_json::Value::Null, "{manifest:#}");
    restore(&config, &full("n"), &["--into", &url(&server, "then")]);
    let after = ["a", "z"].map(|table| server.sql(Some("then"), &format!("{sums}{table}")));
    assert_eq!(before, after);
}

fn text_of_which_two_codes_are_one_character_comes_back(flavour: MyFlavour) {
    let server = server(flavour);
    server.create_database("t");
    server.sql(
        Some("t"),
        "CREATE TABLE t (id int PRIMARY KEY, c varchar(20) CHARACTER SET cp932, k varchar(20) CHARACTER SET ujis) CHARACTER SET utf8mb4;
         INSERT INTO t VALUES (1, X'ED40', 'x'), (2, X'FA5C', NULL), (3, 'plain', X'A4A2'), (4, NULL, ''), (5, X'81CA', X'A1A1');
         CREATE TABLE odd (id int PRIMARY KEY, c varchar(9) CHARACTER SET cp1251); INSERT INTO odd VALUES (1, X'98A0'), (2, X'E0');
         CREATE TABLE keyless (c text CHARACTER SET cp932, f float); INSERT INTO keyless VALUES (X'ED40', 16777215), (X'FA5C', 0.1), (X'ED40', 16777213)",
    );
    let config = provable(&server);
    backup(&config);
    restore(&config, &full("t"), &["--into", &url(&server, "restored")]);
    load_by_hand(&server, &config, "t", "by_hand");
    assert_eq!(
        all(&server, "t", "SELECT HEX(c) FROM odd ORDER BY id"),
        all(&server, "restored", "SELECT HEX(c) FROM odd ORDER BY id")
    );
    for query in
        ["SELECT id, HEX(c), HEX(k) FROM t ORDER BY id", "SELECT HEX(c), f * 1e0 FROM keyless ORDER BY 1, 2"]
    {
        let before = all(&server, "t", query);
        assert!(before.contains("ED40"), "{before}");
        for database in ["restored", "by_hand"] {
            assert_eq!(before, all(&server, database, query), "{database}: {query}");
        }
    }
    assert_proven(&config);
}

fn dates_that_no_calendar_has_come_back(flavour: MyFlavour) {
    let server = server(flavour);
    server.create_database("d");
    server.sql(
        Some("d"),
        "SET SESSION sql_mode = 'ALLOW_INVALID_DATES';
         CREATE TABLE d (id int PRIMARY KEY, a date, b datetime);
         INSERT INTO d VALUES (1, '2023-02-31', '2023-02-31 10:00:00'), (2, '0000-00-00', '2023-00-00 00:00:00'), (3, '2023-11-31', NULL)",
    );
    let config = provable(&server);
    backup(&config);
    restore(&config, &full("d"), &["--into", &url(&server, "restored")]);
    load_by_hand(&server, &config, "d", "by_hand");
    let query = "SELECT id, CAST(a AS CHAR), CAST(b AS CHAR) FROM d ORDER BY id";
    let before = all(&server, "d", query);
    assert!(before.contains("2023-02-31"), "{before}");
    for database in ["restored", "by_hand"] {
        assert_eq!(before, all(&server, database, query), "{database}");
    }
    assert_proven(&config);
}

#[test]
fn bytes_that_are_no_characters_come_back() {
    skip_unless!(MyFlavour::Mariadb1011.tool());
    let server = server(MyFlavour::Mariadb1011);
    server.create_database("b");
    server.sql(
        Some("b"),
        "SET SESSION sql_mode = ''; CREATE TABLE b (id int PRIMARY KEY, v varchar(20)) CHARACTER SET ascii; INSERT INTO b VALUES (1, X'41E942')",
    );
    let config = provable(&server);
    backup(&config);
    restore(&config, &full("b"), &["--into", &url(&server, "restored")]);
    assert_eq!(server.sql(Some("restored"), "SELECT HEX(v) FROM b"), "41E942");
    assert_proven(&config);
}

#[test]
fn earlier_versions_of_a_row_keep_their_numbers() {
    skip_unless!(MyFlavour::Mariadb1011.tool());
    let server = server(MyFlavour::Mariadb1011);
    server.create_database("h");
    server.sql(
        Some("h"),
        "CREATE TABLE h (id int PRIMARY KEY, f float, v int) WITH SYSTEM VERSIONING;
         INSERT INTO h VALUES (1, 1.5, 1), (2, 16777215, 1); UPDATE h SET f = 1.5000001, v = 2 WHERE id = 1;
         UPDATE h SET f = 1234567.5, v = 2 WHERE id = 2; DELETE FROM h WHERE id = 2",
    );
    let config = provable(&server);
    let report = backup(&config);
    assert_eq!(item(&report, "h")["notes"], serde_json::Value::Null, "{report:#}");
    restore(&config, &full("h"), &["--into", &url(&server, "restored")]);
    let query = "SELECT id, f * 1e0, v FROM h FOR SYSTEM_TIME ALL ORDER BY id, v";
    let before = all(&server, "h", query);
    assert_eq!(before.lines().count(), 4, "{before}");
    assert_eq!(before, all(&server, "restored", query));
    assert_proven(&config);
}

#[test]
fn rows_that_violate_a_constraint_come_back() {
    skip_unless!(MyFlavour::Mariadb1011.tool());
    let server = server(MyFlavour::Mariadb1011);
    server.create_database("c");
    server.sql(
        Some("c"),
        "CREATE TABLE c (id int PRIMARY KEY, v int CHECK (v > 0)); SET check_constraint_checks = 0;
         INSERT INTO c VALUES (1, -5), (2, 7)",
    );
    let config = provable(&server);
    backup(&config);
    restore(&config, &full("c"), &["--into", &url(&server, "restored")]);
    load_by_hand(&server, &config, "c", "by_hand");
    for database in ["restored", "by_hand"] {
        assert_eq!(server.sql(Some(database), "SELECT v FROM c ORDER BY id"), "-5\n7");
        assert!(
            server.try_sql(Some(database), "INSERT INTO c VALUES (3, -1)").is_err(),
            "the check is there"
        );
    }
    assert_proven(&config);
}
