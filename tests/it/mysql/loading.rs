//! What happens while a dump is loaded: nothing is lost without a word, nothing outside of the server is touched unless it is
//! wanted, and no file of this machine is sent.

use std::{fs, path::Path};

use tempfile::TempDir;
use testkit::{
    Cmd, Config, ConfigBuilder, FakeClients, MyFlavour, MyOptions, MyServer,
    mysql_world::{SOURCE, configured, dump_of, exists, full, secret, server, started, url},
    postgres::assert_same_dump,
    reports::{assert_says, backup, files_below, ready, restore, try_restore},
};

on_both!(
    dates_that_no_calendar_has_come_back,
    a_warning_of_the_server_is_a_problem_unless_all_is_compared,
    what_is_only_deprecated_is_no_problem,
    rows_that_break_a_check_are_loaded_or_the_way_is_told,
    tables_that_innodb_takes_without_its_strict_mode_only,
    a_script_gets_no_file_of_this_machine,
    commands_of_the_client_in_a_dump_do_nothing,
    folders_and_tablespaces_are_left_out_on_request,
    tables_without_rows_of_their_own_are_not_counted,
);

fn dates_that_no_calendar_has_come_back(flavour: MyFlavour) {
    let server = server(flavour);
    server.create_database("dates");
    server.sql(
        Some("dates"),
        "SET sql_mode = 'ALLOW_INVALID_DATES';
         CREATE TABLE d (id int PRIMARY KEY, a date DEFAULT '2023-02-31', b datetime);
         INSERT INTO d VALUES (1, '2023-02-31', '2023-04-31 10:00:00'), (2, '0000-00-00', '2023-00-10 00:00:00')",
    );
    let config = configured(&server, "");
    backup(&config);
    let done = restore(&config, &full("dates"), &["--into", &url(&server, "again")]);
    assert!(done["warnings"].is_null(), "{done:#}");
    let rows = server.sql(Some("again"), "SELECT * FROM d ORDER BY id");
    assert_eq!(rows, "1\t2023-02-31\t2023-04-31 10:00:00\n2\t0000-00-00\t2023-00-10 00:00:00");
    assert_same_dump(&dump_of(&server, "dates"), &dump_of(&server, "again"));
    restore(&config, &full("dates"), &["--into", &url(&server, "one"), "--table", "d", "--verify"]);
    assert_eq!(server.sql(Some("one"), "SELECT * FROM d ORDER BY id"), rows);
}

fn a_warning_of_the_server_is_a_problem_unless_all_is_compared(flavour: MyFlavour) {
    let server = server(flavour);
    server.create_database("odd");
    // Stored as the empty word of an enum, which no server takes without a warning.
    server.sql(
        Some("odd"),
        "SET sql_mode = ''; CREATE TABLE first (id int PRIMARY KEY);
         CREATE TABLE colours (id int PRIMARY KEY, c enum('red', 'green')); INSERT INTO first VALUES (1);
         INSERT INTO colours VALUES (1, 'nonsense'), (2, 'red')",
    );
    let config = configured(&server, "");
    backup(&config);
    let ran = try_restore(&config, &full("odd"), &["--into", &url(&server, "warned")]).expect_code(3);
    let report = ran.json();
    let done = &report["database"];
    let warnings = done["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 1, "{done:#}");
    assert_says(
        warnings[0].as_str().unwrap(),
        &["table colours: Warning (Code 1265): Data truncated for column 'c' at row 1"],
    );
    assert_eq!(done["rows"], 3, "it is restored all the same");
    let said = Cmd::with(&config)
        .args(["restore", &full("odd"), "--into", &url(&server, "told")])
        .run()
        .expect_code(3);
    assert_says(&said.stdout, &["WARNINGS of the server", "--verify", "table colours", "1265"]);

    let into = ["--into", &url(&server, "compared"), "--verify"];
    let said = Cmd::with(&config).arg("restore").arg(full("odd")).args(into).run().ok();
    assert_says(&said.stdout, &["note: the server warned", "the contents are equal", "1265"]);
}

fn what_is_only_deprecated_is_no_problem(flavour: MyFlavour) {
    let server = server(flavour);
    server.create_database("old");
    server.sql(
        Some("old"),
        "CREATE TABLE z (a int(5) zerofill, b float(7,3), c decimal(5,2) unsigned, d year(4), KEY one (a), KEY two (a));
         CREATE TABLE u (a varchar(9) CHARACTER SET utf8mb3, b varchar(9) CHARACTER SET ucs2) CHARACTER SET utf8mb3;
         CREATE TABLE g (a int, b int AS (a + 1) STORED, c int AS (a + 2) VIRTUAL);
         INSERT INTO z VALUES (1, 1.5, 2.5, 2020); INSERT INTO u VALUES ('a', 'b'); INSERT INTO g (a) VALUES (1);
         CREATE EVENT past ON SCHEDULE EVERY 1 DAY STARTS '2001-01-01' ENDS '2002-01-01' ON COMPLETION PRESERVE DO SELECT 1;
         SET sql_mode = 'NO_ZERO_DATE,NO_ZERO_IN_DATE';
         CREATE FUNCTION f(x varchar(9) CHARACTER SET utf8mb3) RETURNS int DETERMINISTIC RETURN 1;
         SET GLOBAL event_scheduler = OFF",
    );
    let config = configured(&server, "");
    backup(&config);
    let done = restore(&config, &full("old"), &["--into", &url(&server, "again")]);
    assert!(done["warnings"].is_null(), "{done:#}");
    assert_same_dump(&dump_of(&server, "old"), &dump_of(&server, "again"));
}

/// A configuration whose dump tool changes the dumps of one database by a shell filter.
fn changed(server: &MyServer, clients: &FakeClients, database: &str, filter: &str) -> Config {
    clients.script(database, &format!("dump \"$@\" | {filter}"));
    let source = clients.instead(server.flavour(), &server.config_toml());
    ready(ConfigBuilder::new().source(SOURCE, &source))
}

fn rows_that_break_a_check_are_loaded_or_the_way_is_told(flavour: MyFlavour) {
    let server = server(flavour);
    server.create_database("checked");
    server.sql(
        Some("checked"),
        "CREATE TABLE t (id int PRIMARY KEY, n int, CONSTRAINT positive CHECK (n > 0)); INSERT INTO t VALUES (1, 77)",
    );
    let clients = FakeClients::of_mysql(flavour);
    let config = changed(&server, &clients, "checked", "sed 's/(1,77)/(1,-77)/'");
    backup(&config);
    let into = ["--into", &url(&server, "again")];
    match flavour {
        MyFlavour::Mariadb1011 => {
            restore(&config, &full("checked"), &into);
            assert_eq!(server.sql(Some("again"), "SELECT n FROM t"), "-77");
            let refused = server.try_sql(Some("again"), "INSERT INTO t VALUES (2, -1)").unwrap_err();
            assert_says(&refused, &["positive"]);
        }
        MyFlavour::Mysql97 => {
            let ran = try_restore(&config, &full("checked"), &into).expect_code(1);
            assert_says(&ran.stderr, &["3819", "NOT ENFORCED", "--to DIR"]);
        }
    }
}

fn tables_that_innodb_takes_without_its_strict_mode_only(flavour: MyFlavour) {
    let server = server(flavour);
    server.create_database("wide");
    let columns: Vec<_> = (0..40).map(|n| format!("c{n} char(255)")).collect();
    server.sql(
        Some("wide"),
        &format!(
            "SET innodb_strict_mode = OFF; CREATE TABLE t (id int PRIMARY KEY, {}) ENGINE=InnoDB CHARACTER SET latin1 \
             ROW_FORMAT=COMPACT; INSERT INTO t (id) VALUES (1)",
            columns.join(", ")
        ),
    );
    let config = configured(&server, "");
    backup(&config);
    if flavour == MyFlavour::Mysql97 {
        let ran = try_restore(&config, &full("wide"), &["--into", &url(&server, "strict")]).expect_code(1);
        assert_says(&ran.stderr, &["1118", "innodb_strict_mode", "--no-tablespaces"]);
    }
    let done = restore(&config, &full("wide"), &["--into", &url(&server, "again"), "--no-tablespaces"]);
    assert!(done["warnings"].is_null(), "{done:#}");
    assert_eq!(server.sql(Some("again"), "SELECT id FROM t"), "1");
}

fn a_script_gets_no_file_of_this_machine(flavour: MyFlavour) {
    let server = server(flavour);
    server.create_database("theft");
    server.sql(Some("theft"), "SET GLOBAL local_infile = ON; CREATE TABLE loot (line text)");
    let clients = FakeClients::of_mysql(flavour);
    let config = changed(&server, &clients, "theft", "cat");
    let file = secret(&config, "only for root", "a-secret-of-this-machine\n");
    let steal = format!("LOAD DATA LOCAL INFILE '{}' INTO TABLE loot;", file.display());
    clients.script("theft", &appended(config.dir(), &steal));
    backup(&config);
    let ran = try_restore(&config, &full("theft"), &["--into", &url(&server, "taken")]).expect_code(1);
    assert_says(&ran.stderr, &["requests a file of this machine", "was not sent"]);
    assert_eq!(server.sql(Some("taken"), "SELECT COUNT(*) FROM loot"), "0");
    assert_eq!(
        server.try_sql(Some("theft"), &steal).is_ok(),
        flavour == MyFlavour::Mariadb1011,
        "MariaDB's client sends files unless it is told not to"
    );
}

/// A script for the dump tool that adds a line before the end of the dump.
fn appended(folder: &Path, line: &str) -> String {
    let file = folder.join("added");
    fs::write(&file, format!("{line}\n")).unwrap();
    format!("dump \"$@\" | grep -av '^-- Dump completed'; cat '{}'; echo '-- Dump completed'", file.display())
}

fn commands_of_the_client_in_a_dump_do_nothing(flavour: MyFlavour) {
    let server = server(flavour);
    server.create_database("commands");
    server.sql(Some("commands"), "CREATE TABLE t (x int)");
    let clients = FakeClients::of_mysql(flavour);
    let config = changed(&server, &clients, "commands", "cat");
    let trace = config.dir().join("trace");
    let at = trace.display();
    let sourced = config.dir().join("sourced");
    fs::write(&sourced, "CREATE TABLE sourced (x int);\n").unwrap();
    let commands = [
        format!("\\! touch {at}"),
        format!("system touch {at}"),
        format!("tee {at}"),
        format!("\\T {at}"),
        format!("pager cat >{at}"),
        format!("\\P cat >{at}"),
        format!("source {}", sourced.display()),
        format!("\\. {}", sourced.display()),
    ];
    for (number, command) in commands.iter().enumerate() {
        // A delimiter on a line of its own, so that the command is as one would type it.
        clients.script("commands", &appended(config.dir(), &format!("{command}\n;\nSELECT 1;")));
        backup(&config);
        let target = format!("target{number}");
        try_restore(&config, &full("commands"), &["--into", &url(&server, &target)]).expect_code(1);
        assert!(!trace.exists(), "{command}");
        assert_eq!(server.sql(Some(&target), "SHOW TABLES"), "t", "{command}");
    }
}

/// A directory that every server may write to.
fn place() -> TempDir {
    let place = tempfile::Builder::new().prefix("tik-place-").tempdir_in("/tmp").unwrap();
    let mode = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o777);
    fs::set_permissions(place.path(), mode).unwrap();
    place
}

fn folders_and_tablespaces_are_left_out_on_request(flavour: MyFlavour) {
    let place = place();
    let at = place.path().display().to_string();
    let options = MyOptions::new(flavour);
    let options = match flavour {
        MyFlavour::Mysql97 => options.setting(&format!("innodb-directories={at}")),
        MyFlavour::Mariadb1011 => options,
    };
    let server = started(options);
    server.create_database("far");
    server.sql(
        Some("far"),
        &format!(
            "CREATE TABLE a (id int PRIMARY KEY) ENGINE=InnoDB DATA DIRECTORY='{at}';
             CREATE TABLE p (id int PRIMARY KEY) ENGINE=InnoDB PARTITION BY RANGE (id)
                 (PARTITION p0 VALUES LESS THAN (10) DATA DIRECTORY='{at}', PARTITION p1 VALUES LESS THAN MAXVALUE);
             CREATE TABLE near (`data` int COMMENT 'DATA DIRECTORY=''x''') ENGINE=InnoDB;
             INSERT INTO a VALUES (1), (2); INSERT INTO p VALUES (1), (11)"
        ),
    );
    let special = match flavour {
        MyFlavour::Mysql97 => {
            "CREATE TABLESPACE elsewhere ADD DATAFILE 'elsewhere.ibd' ENGINE=InnoDB;
             CREATE TABLE special (id int PRIMARY KEY) TABLESPACE elsewhere; INSERT INTO special VALUES (1)"
        }
        MyFlavour::Mariadb1011 => {
            "CREATE TABLE special (id int PRIMARY KEY) ENGINE=MyISAM DATA DIRECTORY='@' INDEX DIRECTORY='@';
             INSERT INTO special VALUES (1)"
        }
    };
    server.sql(Some("far"), &special.replace('@', &at));
    let config = configured(&server, "");
    backup(&config);
    let before = files_below(place.path());
    assert!(before.len() >= 2, "{before:?}");

    let target = testkit::mysql_world::server(flavour);
    let ran = try_restore(&config, &full("far"), &["--into", &url(&target, "refused")]).expect_code(1);
    assert_says(&ran.stderr, &["--no-tablespaces"]);
    let into = ["--into", &url(&target, "again"), "--no-tablespaces", "--verify"];
    // What the attempt before has left there is not ours to count.
    let between = files_below(place.path());
    let done = restore(&config, &full("far"), &into);
    assert_eq!((&done["compared"], &done["rows"]), (&true.into(), &5.into()), "{done:#}");
    assert_says(&done["notes"].to_string(), &["restored without DATA DIRECTORY", "a, p, special"]);
    assert_eq!(files_below(place.path()), between);
    let table = |name: &str| target.sql(Some("again"), &format!("SHOW CREATE TABLE {name}"));
    for name in ["a", "p", "special"] {
        assert!(!table(name).contains("DIRECTORY") && !table(name).contains("TABLESPACE"), "{}", table(name));
    }
    assert_says(&table("near"), &["DATA DIRECTORY"]);
    assert!(exists(&target, "again"));
}

fn tables_without_rows_of_their_own_are_not_counted(flavour: MyFlavour) {
    let options = MyOptions::new(flavour);
    let server = started(match flavour {
        MyFlavour::Mysql97 => options.setting("federated"),
        MyFlavour::Mariadb1011 => options,
    });
    server.create_database("merged");
    server.sql(
        Some("merged"),
        "CREATE TABLE one (x int) ENGINE=MyISAM; CREATE TABLE two (x int) ENGINE=MyISAM;
         INSERT INTO one VALUES (1); INSERT INTO two VALUES (2);
         CREATE TABLE `all` (x int) ENGINE=MERGE UNION=(one, two) INSERT_METHOD=LAST",
    );
    if flavour == MyFlavour::Mysql97 {
        server.sql(
            Some("merged"),
            "CREATE TABLE hole (x int) ENGINE=BLACKHOLE; INSERT INTO hole VALUES (1);
             CREATE TABLE far (x int) ENGINE=FEDERATED CONNECTION='mysql://nobody@127.0.0.1:9/none/none'",
        );
    }
    let config = configured(&server, "");
    backup(&config);
    let done = restore(&config, &full("merged"), &["--into", &url(&server, "again"), "--verify"]);
    assert_eq!((&done["tables"], &done["rows"]), (&2.into(), &2.into()), "{done:#}");
    let expected = match flavour {
        MyFlavour::Mysql97 => "not counted, because their engine stores no rows: all, far, hole",
        MyFlavour::Mariadb1011 => "not counted, because their engine stores no rows: all",
    };
    assert_says(&done["notes"].to_string(), &[expected]);
    assert_eq!(server.sql(Some("again"), "SELECT x FROM `all` ORDER BY x"), "1\n2");
    assert_same_dump(&dump_of(&server, "merged"), &dump_of(&server, "again"));
}
