//! A drill does not touch data outside of the server that a dump of MySQL or MariaDB names, and reports warnings of the server while it
//! loads.

use std::{fs, path::Path};

use tempfile::TempDir;
use testkit::{
    ConfigBuilder, FakeClients, MyFlavour, MyOptions,
    mysql_world::started,
    reports::{assert_says, backup, files_below, item, ready},
    skip_unless,
};

use super::{drill_table, proven, try_drill};

/// A directory that every server may write to.
fn place() -> TempDir {
    let place = tempfile::Builder::new().prefix("tik-place-").tempdir_in("/tmp").unwrap();
    let mode = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o777);
    fs::set_permissions(place.path(), mode).unwrap();
    place
}

/// Names and lengths of all files below a directory.
fn content(folder: &Path) -> Vec<(String, u64)> {
    let mut found: Vec<_> = files_below(folder)
        .into_iter()
        .map(|file| (file.display().to_string(), file.metadata().unwrap().len()))
        .collect();
    found.sort();
    found
}

fn all_that_lies_outside(flavour: MyFlavour) {
    let place = place();
    let at = place.path().display().to_string();
    let options = MyOptions::new(flavour);
    let (options, special) = match flavour {
        MyFlavour::Mysql97 => (
            options.setting(&format!("innodb-directories={at}")).setting("federated"),
            "CREATE TABLESPACE elsewhere ADD DATAFILE 'elsewhere.ibd' ENGINE=InnoDB;
             CREATE TABLE special (id int PRIMARY KEY) TABLESPACE elsewhere; INSERT INTO special VALUES (1);
             CREATE TABLE away (x int NOT NULL, y varchar(9) DEFAULT 'z', KEY (y)) ENGINE=FEDERATED COMMENT='far away'
                 CONNECTION='mysql://nobody@127.0.0.1:9/none/none';
             CREATE VIEW of_it AS SELECT y FROM away",
        ),
        MyFlavour::Mariadb1011 => (
            options,
            "CREATE TABLE special (id int PRIMARY KEY) ENGINE=MyISAM DATA DIRECTORY='PLACE' INDEX DIRECTORY='PLACE';
             INSERT INTO special VALUES (1);
             CREATE TABLE checked (n int CHECK (n > 0)); SET check_constraint_checks = 0; INSERT INTO checked VALUES (-1)",
        ),
    };
    let mut server = started(options);
    server.create_database("far");
    let wide: Vec<_> = (0..40).map(|n| format!("c{n} char(255)")).collect();
    server.sql(
        Some("far"),
        &format!(
            "SET innodb_strict_mode = OFF, sql_mode = 'ALLOW_INVALID_DATES';
             CREATE TABLE a (id int PRIMARY KEY) ENGINE=InnoDB DATA DIRECTORY='{at}';
             CREATE TABLE p (id int PRIMARY KEY) ENGINE=InnoDB PARTITION BY RANGE (id)
                 (PARTITION p0 VALUES LESS THAN (10) DATA DIRECTORY='{at}', PARTITION p1 VALUES LESS THAN MAXVALUE);
             INSERT INTO a VALUES (1), (2); INSERT INTO p VALUES (1), (11);
             CREATE TABLE dates (d date); INSERT INTO dates VALUES ('2023-02-31');
             CREATE TABLE colours (c enum('red', 'green')); INSERT INTO colours VALUES ('nonsense');
             CREATE TABLE one (x int) ENGINE=MyISAM; INSERT INTO one VALUES (1);
             CREATE TABLE merged (x int) ENGINE=MERGE UNION=(one) INSERT_METHOD=LAST;
             CREATE TABLE wide ({}) ENGINE=InnoDB CHARACTER SET latin1 ROW_FORMAT=COMPACT;
             {}",
            wide.join(", "),
            special.replace("PLACE", &at)
        ),
    );
    let config = ready(ConfigBuilder::new().mysql("my", &server, "").tables(&drill_table("")));
    backup(&config);
    let before = content(place.path());
    assert!(before.len() >= 2, "{before:?}");
    // The directory's files are still there, and would conflict with tables that are created as they are defined.
    let report = proven(&config, &["my/far"]);
    assert_eq!(content(place.path()), before, "nothing outside is touched");
    let notes = item(&report, "far")["notes"].to_string();
    assert_says(&notes, &["restored without DATA DIRECTORY", "a, p, special", "gave warnings", "1265"]);
    assert!(!notes.contains("nonsense"), "{notes}");
    if flavour == MyFlavour::Mysql97 {
        assert_says(&notes, &["the definition of table away is not proven: its engine FEDERATED"]);
    }
    server.stop();
    proven(&config, &["--all"]);
}

#[test]
fn all_that_lies_outside_of_a_mysql_server_is_left_alone() {
    skip_unless!(MyFlavour::Mysql97.tool());
    all_that_lies_outside(MyFlavour::Mysql97);
}

#[test]
fn all_that_lies_outside_of_a_mariadb_server_is_left_alone() {
    skip_unless!(MyFlavour::Mariadb1011.tool());
    all_that_lies_outside(MyFlavour::Mariadb1011);
}

/// A script that makes the client read a file is not a dump, and fails.
fn a_thief(flavour: MyFlavour) {
    let server = started(MyOptions::new(flavour));
    server.create_database("theft");
    server.sql(Some("theft"), "CREATE TABLE loot (line text)");
    let clients = FakeClients::of_mysql(flavour);
    let source = clients.instead(flavour, &server.config_toml());
    let config = ready(ConfigBuilder::new().source("my", &source).tables(&drill_table("")));
    let file = config.dir().join("secret");
    fs::write(&file, "a-secret-of-this-machine\n").unwrap();
    let added = config.dir().join("added");
    let steal = format!("LOAD DATA LOCAL INFILE '{}' INTO TABLE loot;\n", file.display());
    fs::write(&added, format!("SET GLOBAL local_infile = ON;\n{steal}")).unwrap();
    let script = format!(
        "dump \"$@\" | grep -av '^-- Dump completed'; cat '{}'; echo '-- Dump completed'",
        added.display()
    );
    clients.script("theft", &script);
    backup(&config);
    let ran = try_drill(&config, &["my/theft"]).expect_code(1);
    let report = ran.json();
    let theft = item(&report, "theft");
    assert_eq!(theft["outcome"], "failed", "{theft:#}");
    assert_says(&theft["error"].as_str().unwrap().to_lowercase(), &["local"]);
    assert!(!(ran.stdout + &ran.stderr).contains("a-secret"));
}

#[test]
fn a_dump_of_mysql_gets_no_file_of_this_machine() {
    skip_unless!(MyFlavour::Mysql97.tool());
    a_thief(MyFlavour::Mysql97);
}

#[test]
fn a_dump_of_mariadb_gets_no_file_of_this_machine() {
    skip_unless!(MyFlavour::Mariadb1011.tool());
    a_thief(MyFlavour::Mariadb1011);
}
