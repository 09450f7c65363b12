//! Where a restore goes, what it takes, and what it refuses without touching anything.

use std::fs;

use testkit::{
    Config, MyFlavour, MyServer, Restic,
    mysql::text,
    mysql_world::{configured, dump_of, exists, full, secret, server, url, url_as},
    postgres::assert_same_dump,
    reports::{assert_says, backup, manifest_of, restore, try_restore},
};

on_both!(
    a_target_is_new_or_empty,
    parts_and_definers,
    a_restore_stops_at_the_first_error,
    stock_tools_restore_too
);

/// A database with a table of two triggers, one that refers to it, a view and an event, some of them of another account.
fn shop(server: &MyServer) -> Config {
    server.sql(
        None,
        "CREATE USER ghost@localhost; GRANT ALL ON *.* TO ghost@localhost;
         CREATE DATABASE shop CHARACTER SET utf8mb4 COLLATE utf8mb4_polish_ci",
    );
    server.sql(
        Some("shop"),
        "CREATE TABLE customers (id int PRIMARY KEY, name varchar(50)) ENGINE InnoDB;
         CREATE TABLE orders (id int PRIMARY KEY AUTO_INCREMENT, customer int, what text, KEY idx (what(10)),
             CONSTRAINT of_customer FOREIGN KEY (customer) REFERENCES customers (id));
         INSERT INTO customers VALUES (1, 'Ada'), (2, 'Bob');
         INSERT INTO orders (customer, what) VALUES (1, 'a boat'), (1, NULL), (2, 'it''s; a `tick`');
         CREATE TRIGGER stamp BEFORE INSERT ON orders FOR EACH ROW SET NEW.what = IFNULL(NEW.what, 'nothing');
         CREATE DEFINER = ghost@localhost TRIGGER haunted AFTER INSERT ON orders FOR EACH ROW SET @x = NEW.id;
         CREATE TRIGGER renamed BEFORE UPDATE ON customers FOR EACH ROW SET @y = NEW.id;
         CREATE DEFINER = ghost@localhost VIEW spooky AS SELECT name FROM customers;
         CREATE FUNCTION one() RETURNS int DETERMINISTIC RETURN 1;
         CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY STARTS '2030-01-01 00:00:00' DO DELETE FROM orders;",
    );
    configured(server, "")
}

fn collation(server: &MyServer, database: &str) -> String {
    server.sql(Some(database), "SELECT @@collation_database")
}

fn a_target_is_new_or_empty(flavour: MyFlavour) {
    let server = server(flavour);
    let config = shop(&server);
    backup(&config);
    let contents = [
        ("CREATE TABLE keep AS SELECT 1 AS x", "table keep"),
        ("CREATE VIEW keep AS SELECT 1 AS x", "table keep"),
        ("CREATE FUNCTION keep() RETURNS int DETERMINISTIC RETURN 1", "function keep"),
        ("CREATE EVENT keep ON SCHEDULE EVERY 1 DAY DO SET @x = 1", "event keep"),
    ];
    for (sql, what) in contents {
        server.sql(None, "CREATE DATABASE taken CHARACTER SET latin1");
        server.sql(Some("taken"), sql);
        let before = dump_of(&server, "taken");
        let into = url(&server, "taken");
        let ran = try_restore(&config, &full("shop"), &["--into", &into]).expect_code(1);
        assert_says(&ran.stderr, &["taken is not empty", what, "nothing was changed"]);
        assert_eq!(dump_of(&server, "taken"), before, "not touched");
        assert!(collation(&server, "taken").starts_with("latin1"), "not touched");
        server.sql(None, "DROP DATABASE taken");
    }
    server.sql(None, "CREATE DATABASE taken CHARACTER SET latin1");
    let done = restore(&config, &full("shop"), &["--into", &url(&server, "taken")]);
    assert_eq!((&done["created"], &done["tables"], &done["rows"]), (&false.into(), &2.into(), &5.into()));
    assert_says(&done["notes"].to_string(), &["1 event was restored"]);
    assert_eq!(collation(&server, "taken"), "utf8mb4_polish_ci", "it gets the original's");
    assert_same_dump(&dump_of(&server, "shop"), &dump_of(&server, "taken"));
    backup(&config);
    let definitions =
        |item: &str| manifest_of(&config, &full(item), "latest")["mysql"]["schema_objects"].clone();
    assert_eq!(definitions("taken"), definitions("shop"), "digests are the same although MySQL shows more");
    let done = restore(&config, &full("shop"), &["--into", &url(&server, "compared"), "--verify"]);
    assert_eq!((&done["rows"], &done["compared"]), (&5.into(), &true.into()));
    try_restore(&config, &full("shop"), &["--into", &url(&server, "taken")]).expect_code(1);

    // By name alone it is the source's own server and account, which may only read.
    let ran = try_restore(&config, &full("shop"), &["--into", "by name"]).expect_code(1);
    assert_says(&ran.stderr, &["cannot create the database by name", "--password-file"]);
    server.sql(None, "GRANT ALL ON `by name`.* TO backup@localhost");
    let done = restore(&config, &full("shop"), &["--into", "by name", "--no-owner"]);
    assert_eq!(done["rows"], 5);

    let ran = try_restore(&config, &full("@globals"), &["--into", "x"]).expect_code(2);
    assert_says(&ran.stderr, &["contains no MySQL database", "--to DIR"]);
    let ran = try_restore(&config, &full("shop"), &["--into", "postgresql://me@localhost/x"]).expect_code(2);
    assert_says(&ran.stderr, &["of kind mysql", "of kind postgres"]);
    let ran = try_restore(&config, &full("shop"), &["--into", "x", "--no-roles"]).expect_code(2);
    assert_says(&ran.stderr, &["--no-roles is not supported"]);
    let ran = try_restore(&config, &full("shop"), &["--into", "x", "--continue"]).expect_code(2);
    assert_says(&ran.stderr, &["--continue is not supported for MySQL", "--to DIR"]);
    assert!(!exists(&server, "x"));

    // A password comes from a file, not from the URL, which other users can read.
    server.sql(None, &format!("CREATE USER admin@localhost IDENTIFIED BY {}", text(MyServer::PASSWORD)));
    server.sql(None, "GRANT ALL ON *.* TO admin@localhost");
    let by_admin = url_as(&server, "admin", "good");
    let file = server.password_file().display().to_string();
    restore(&config, &full("shop"), &["--into", &by_admin, "--password-file", &file]);
    let ran =
        try_restore(&config, &full("shop"), &["--into", &url_as(&server, "admin", "bad")]).expect_code(1);
    assert_says(&ran.stderr, &["Access denied"]);
    let wrong = secret(&config, "wrong", "Wrong-5d1c");
    let wrong = ["--into", &url_as(&server, "admin", "bad"), "--password-file", wrong.to_str().unwrap()];
    let ran = try_restore(&config, &full("shop"), &wrong).expect_code(1);
    assert_says(&ran.stderr, &["the password is wrong"]);
    assert!(!ran.stderr.contains("Wrong-5d1c"));
    let open = by_admin.replace("admin@", "admin:Wrong-5d1c@");
    let ran = try_restore(&config, &full("shop"), &["--into", &open]).expect_code(2);
    assert!(ran.stderr.contains("--password-file") && !ran.stderr.contains("Wrong-5d1c"), "{}", ran.stderr);
    assert!(!exists(&server, "bad"));
}

fn parts_and_definers(flavour: MyFlavour) {
    let server = server(flavour);
    let config = shop(&server);
    backup(&config);
    let done = restore(&config, &full("shop"), &["--into", &url(&server, "part"), "--table", "orders"]);
    assert_eq!((&done["tables"], &done["rows"]), (&1.into(), &3.into()));
    let list = "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() UNION ALL
                SELECT TRIGGER_NAME FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = DATABASE() UNION ALL
                SELECT ROUTINE_NAME FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = DATABASE() UNION ALL
                SELECT EVENT_NAME FROM information_schema.EVENTS WHERE EVENT_SCHEMA = DATABASE() ORDER BY 1";
    assert_eq!(server.sql(Some("part"), list), "haunted\norders\nstamp");
    let rows = "SELECT * FROM orders ORDER BY id";
    assert_eq!(server.sql(Some("part"), rows), server.sql(Some("shop"), rows));
    let dump = dump_of(&server, "part");
    let definition = dump.split("CREATE TABLE").nth(1).unwrap().split("/*!").next().unwrap();
    assert!(dump_of(&server, "shop").contains(definition), "keys and constraints too: {definition}");

    let ran = try_restore(&config, &full("shop"), &["--into", &url(&server, "x"), "--table", "order"])
        .expect_code(1);
    assert_says(&ran.stderr, &["no table order", "did you mean orders?"]);
    assert!(!exists(&server, "x"));

    let done = restore(&config, &full("shop"), &["--into", &url(&server, "all")]);
    assert!(!done["notes"].to_string().contains("definers"), "all are there: {done:#}");
    server.sql(None, "DROP USER ghost@localhost");
    let done = restore(&config, &full("shop"), &["--into", &url(&server, "haunted")]);
    assert_says(
        &done["notes"].to_string(),
        &["definers that do not exist here: ghost@localhost", "--no-owner"],
    );
    assert!(!done["notes"].to_string().contains("root@localhost"), "{done:#}");
    assert!(server.try_sql(Some("haunted"), "SELECT * FROM spooky").unwrap_err().contains("ghost"));
    let done = restore(&config, &full("shop"), &["--into", &url(&server, "exorcised"), "--no-owner"]);
    assert!(!done["notes"].to_string().contains("ghost"), "{done:#}");
    assert_eq!(server.sql(Some("exorcised"), "SELECT name FROM spooky WHERE name = 'Ada'"), "Ada");
    let definers = "SELECT DEFINER FROM information_schema.VIEWS WHERE TABLE_SCHEMA = 'exorcised' UNION
                    SELECT DEFINER FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = 'exorcised' UNION
                    SELECT DEFINER FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = 'exorcised' UNION
                    SELECT DEFINER FROM information_schema.EVENTS WHERE EVENT_SCHEMA = 'exorcised'";
    assert_eq!(server.sql(None, definers), "root@localhost");
}

fn a_restore_stops_at_the_first_error(flavour: MyFlavour) {
    let server = server(flavour);
    server.sql(
        None,
        "CREATE DATABASE wide; USE wide; CREATE TABLE a (x int); CREATE TABLE b (x longblob); CREATE TABLE c (x int);
         INSERT INTO a VALUES (1); INSERT INTO b VALUES (REPEAT('x', 3000000)); INSERT INTO c VALUES (1)",
    );
    let config = configured(&server, "");
    backup(&config);
    server.sql(None, "SET GLOBAL max_allowed_packet = 1048576");
    let ran = try_restore(&config, &full("wide"), &["--into", &url(&server, "narrow")]).expect_code(1);
    assert_says(
        &ran.stderr,
        &["max_allowed_packet", "narrow was created by this restore and is incomplete: drop it"],
    );
    let tables = server.sql(Some("narrow"), "SHOW TABLES");
    assert_eq!(tables, "a\nb", "nothing is loaded after the row that does not fit");
    server
        .sql(None, "SET GLOBAL max_allowed_packet = 67108864; DROP DATABASE narrow; CREATE DATABASE narrow");
    restore(&config, &full("wide"), &["--into", &url(&server, "narrow")]);
    assert_eq!(server.sql(Some("narrow"), "SELECT LENGTH(x) FROM b"), "3000000");
}

fn stock_tools_restore_too(flavour: MyFlavour) {
    let Some(restic) = Restic::new_() else { return };
    let server = server(flavour);
    let config = shop(&server);
    backup(&config);
    let folder = config.dir().join("new/folder");
    try_restore(&config, &full("shop"), &["--to", folder.to_str().unwrap()]).ok();
    let mut names: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["database.sql", "manifest.json"]);
    let script = fs::read(folder.join("database.sql")).unwrap();
    assert_eq!(manifest_of(&config, &full("shop"), "latest")["files"][0]["bytes"], script.len());
    server.sql(None, "CREATE DATABASE by_files COLLATE utf8mb4_polish_ci; CREATE DATABASE by_restic COLLATE utf8mb4_polish_ci");
    server.load("by_files", &script);
    assert_same_dump(&dump_of(&server, "shop"), &dump_of(&server, "by_files"));

    let args = ["dump", "latest", "--path", "/my/shop", "/my/shop/database.sql"];
    let script = restic.ok(&config.repo(), &config.password_file(), &args);
    server.load("by_restic", &script);
    assert_same_dump(&dump_of(&server, "shop"), &dump_of(&server, "by_restic"));
}
