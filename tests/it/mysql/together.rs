//! Databases whose views read each other: one alone is restored but for those views, and a whole server with them.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use serde_json::Value;
use testkit::{
    Cmd, Config, MyFlavour, MyServer, Ran,
    mysql_world::{configured, dump_of, exists, full, server, url},
    process::run,
    reports::{assert_says, backup, item, restore, try_backup, try_restore},
};

on_both!(
    a_database_alone_lacks_the_views_that_read_others,
    a_whole_server_comes_back,
    a_whole_server_is_new_or_nothing_is_changed,
    a_database_that_fails_does_not_stop_the_others,
    a_view_over_a_view_whose_definer_is_gone_keeps_nothing_else_out,
);

/// Two databases whose views, keys and routines refer to each other.
fn entangled(server: &MyServer) {
    server.sql(
        None,
        "CREATE DATABASE xa; CREATE DATABASE xb;
         CREATE TABLE xa.t (id int PRIMARY KEY, n varchar(9));
         CREATE TABLE xb.t (id int PRIMARY KEY, a int, FOREIGN KEY (a) REFERENCES xa.t (id));
         INSERT INTO xa.t VALUES (1, 'x'), (2, 'y'); INSERT INTO xb.t VALUES (1, 1), (5, 2), (6, 2);
         CREATE FUNCTION xb.f(i int) RETURNS int READS SQL DATA RETURN (SELECT COUNT(*) FROM xa.t WHERE id < i);
         CREATE PROCEDURE xa.p() SELECT * FROM xb.t;
         CREATE TRIGGER xa.tr AFTER INSERT ON xa.t FOR EACH ROW DELETE FROM xb.t WHERE id = -NEW.id;
         CREATE VIEW xa.own AS SELECT id FROM xa.t;
         CREATE VIEW xa.a_checked AS SELECT id FROM xa.own WHERE id < 9 WITH CHECK OPTION;
         CREATE VIEW xa.v AS SELECT a.id, b.a FROM xa.t a JOIN xb.t b ON b.a = a.id;
         CREATE VIEW xb.w AS SELECT * FROM xa.v;
         CREATE VIEW xa.z AS SELECT * FROM xb.w;
         CREATE VIEW xa.aa AS SELECT id, xb.f(id) AS x FROM xa.v;
         CREATE VIEW xb.v AS SELECT id FROM xa.t;
         CREATE VIEW xb.checked AS SELECT id FROM xa.own WHERE id < 10 WITH CHECK OPTION",
    );
}

/// `restore --json`, run where the file with what is missing may be written.
fn restore_in(folder: &Path, config: &Config, arguments: &[&str]) -> Ran {
    Cmd::with(config).in_folder(folder).args(["--json", "restore"]).args(arguments).run()
}

fn missing(done: &Value) -> Vec<&str> {
    done["missing"].as_array().unwrap().iter().map(|missing| missing["name"].as_str().unwrap()).collect()
}

/// The URL of the server, without a database.
fn server_url(server: &MyServer) -> String {
    url(server, "").replace("/?", "?")
}

fn views(server: &MyServer, database: &str) -> String {
    server.sql(
        None,
        &format!(
            "SELECT TABLE_NAME FROM information_schema.VIEWS WHERE TABLE_SCHEMA = '{database}' ORDER BY 1"
        ),
    )
}

fn a_database_alone_lacks_the_views_that_read_others(flavour: MyFlavour) {
    let (server, target) = (server(flavour), server(flavour));
    entangled(&server);
    let config = configured(&server, "");
    backup(&config);
    let folder = tempfile::tempdir().unwrap();
    let into = url(&target, "xa");
    let done =
        restore_in(folder.path(), &config, &[&full("xa"), "--into", &into, "--verify"]).expect_code(3).json();
    let done = &done["database"];
    assert_eq!(missing(done), ["aa", "v", "z"], "{done:#}");
    assert_says(&done["missing"][1]["reason"].to_string(), &["ERROR 1", "xb"]);
    assert_says(&done["notes"].to_string(), &["xb.t", "xb.w", "xb.f", "restore those databases too"]);
    assert_eq!((&done["rows"], &done["compared"]), (&2.into(), &true.into()), "all else is there: {done:#}");
    assert_eq!(views(&target, "xa"), "a_checked\nown", "no stand-in stays");
    assert_eq!(target.sql(Some("xa"), "SELECT COUNT(*) FROM own"), "2");

    let first = Path::new(done["missing_file"].as_str().unwrap()).to_owned();
    assert_eq!(first.parent().unwrap().canonicalize().unwrap(), folder.path().canonicalize().unwrap());
    assert_eq!(fs::metadata(&first).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&first).unwrap();
    let at = |view: &str| text.find(&format!("VIEW `{view}` AS")).unwrap();
    assert!(at("v") < at("aa"), "a view comes behind those that it reads: {text}");

    // The other one finds its tables, and lacks only what reads a view that is missing.
    let into = url(&target, "xb");
    let done = restore_in(folder.path(), &config, &[&full("xb"), "--into", &into]).expect_code(3).json();
    assert_eq!(missing(&done["database"]), ["w"], "{done:#}");
    assert_eq!(views(&target, "xb"), "checked\nv");
    let second = Path::new(done["database"]["missing_file"].as_str().unwrap()).to_owned();
    // They read each other in turn: what fails at first is there once the other file was loaded.
    for file in [&first, &second, &first] {
        let mut client = target.client("mysql");
        run(client.arg("--force"), &fs::read(file).unwrap(), Duration::from_secs(60));
    }
    for database in ["xa", "xb"] {
        assert_eq!(dump_of(&target, database), dump_of(&server, database));
    }

    // As text, with another name, and where it finds what it needs.
    let ran = Cmd::with(&config)
        .in_folder(folder.path())
        .args(["restore", &full("xa"), "--into", &url(&server, "xa again")])
        .run()
        .ok();
    assert!(!ran.stdout.contains("MISSING"), "{}", ran.stdout);
    assert_eq!(server.sql(Some("xa again"), "SELECT COUNT(*) FROM v"), "3");
    target.sql(None, "SET FOREIGN_KEY_CHECKS = 0; DROP DATABASE xa; DROP DATABASE xb");
    let ran = Cmd::with(&config)
        .in_folder(folder.path())
        .args(["restore", &full("xa"), "--into", &url(&target, "xa")])
        .run()
        .expect_code(3);
    assert_says(&ran.stdout, &["MISSING: 3 entries", "VIEW v: ERROR", "the statements are in"]);
}

fn a_whole_server_comes_back(flavour: MyFlavour) {
    let (server, target) = (server(flavour), server(flavour));
    entangled(&server);
    if flavour == MyFlavour::Mariadb1011 {
        server.sql(
            None,
            "CREATE SEQUENCE xb.s START WITH 7; CREATE TABLE xa.d (id int DEFAULT nextval(xb.s), n int)",
        );
        server.sql(None, "INSERT INTO xa.d (n) VALUES (1), (2)");
    }
    server.sql(
        None,
        "CREATE USER app@'%' IDENTIFIED BY 'of the app'; CREATE ROLE reader; GRANT SELECT ON xa.t TO reader;
         GRANT reader TO app@'%'; GRANT SELECT (id) ON xb.v TO app@'%'; GRANT EXECUTE ON FUNCTION xb.f TO app@'%';
         CREATE USER there@'%' IDENTIFIED BY 'of the source'; GRANT INSERT ON xa.t TO there@'%'",
    );
    target.sql(
        None,
        "CREATE USER there@'%' IDENTIFIED BY 'of the target'; CREATE DATABASE xb CHARACTER SET latin1",
    );
    let untouched = "SHOW CREATE USER there@'%'; SHOW GRANTS FOR there@'%'";
    let before = target.sql(None, untouched);
    let config = configured(&server, "");
    backup(&config);
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["my", "--all", "--into", &server_url(&target), "--verify"];
    let report = restore_in(folder.path(), &config, &arguments).ok().json();
    assert_eq!(report["outcome"], "ok", "{report:#}");
    for database in ["xa", "xb"] {
        let done = &item(&report, database)["database"];
        assert!(done["missing"].is_null() && done["compared"] == true, "{report:#}");
        assert_eq!(dump_of(&target, database), dump_of(&server, database));
    }
    assert_eq!(item(&report, "xb")["database"]["created"], false, "{report:#}");
    let accounts = item(&report, "@globals");
    assert_eq!(accounts["whole"], true, "{report:#}");
    assert_says(&accounts["notes"].to_string(), &["existing accounts were not changed", "there@%"]);
    assert_eq!(target.sql(None, untouched), before);
    for grants in ["SHOW CREATE USER app@'%'", "SHOW GRANTS FOR app@'%'", "SHOW GRANTS FOR reader"] {
        assert_eq!(target.sql(None, grants), server.sql(None, grants));
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is missing");

    // As text; without definers there are no accounts.
    target.sql(None, "SET FOREIGN_KEY_CHECKS = 0; DROP DATABASE xa; DROP DATABASE xb; DROP USER app@'%'");
    let ran = Cmd::with(&config)
        .args(["restore", "my", "--all", "--no-owner", "--into", &server_url(&target)])
        .run()
        .ok();
    assert_says(
        &ran.stdout,
        &["restored my/xa into the new database xa", "items restored with all", "--no-owner"],
    );
    assert_eq!(target.sql(None, "SELECT COUNT(*) FROM mysql.user WHERE User = 'app'"), "0");
}

fn a_whole_server_is_new_or_nothing_is_changed(flavour: MyFlavour) {
    let (server, target) = (server(flavour), server(flavour));
    entangled(&server);
    server.sql(None, "CREATE USER app@'%'");
    let config = configured(&server, "");
    backup(&config);
    target.sql(None, "CREATE DATABASE xb; CREATE TABLE xb.mine (n int)");
    let into = server_url(&target);
    let ran = try_restore(&config, "my", &["--all", "--into", &into]).expect_code(1);
    assert_says(&ran.stderr, &["xb is not empty", "table mine", "nothing was changed"]);
    assert!(!exists(&target, "xa"));
    assert_eq!(target.sql(None, "SELECT COUNT(*) FROM mysql.user WHERE User = 'app'"), "0");
    for (arguments, says) in [
        (&["--all", "--into", &url(&target, "xa")][..], "must not name a database"),
        (&["--all", "--into", "postgresql://me@localhost"][..], "MySQL or MariaDB"),
        (&["--all", "--into", &into, "--at", "abcdef01"][..], "goes with one item"),
        (&["--all", "--into", &into, "--table", "t"][..], "cannot be used with"),
        (&["--into", &into][..], "--all restores all"),
    ] {
        let ran = try_restore(&config, "my", arguments).expect_code(2);
        assert!(ran.stderr.contains(says), "{says}: {}", ran.stderr);
    }
    assert!(!exists(&target, "xa"));
}

fn a_database_that_fails_does_not_stop_the_others(flavour: MyFlavour) {
    let (server, target) = (server(flavour), server(flavour));
    entangled(&server);
    server.sql(
        None,
        "CREATE DATABASE wide; CREATE TABLE wide.b (x longblob); INSERT INTO wide.b VALUES (REPEAT('x', 3000000))",
    );
    let config = configured(&server, "");
    backup(&config);
    target.sql(None, "SET GLOBAL max_allowed_packet = 1048576");
    let report = try_restore(&config, "my", &["--all", "--into", &server_url(&target)]).expect_code(3).json();
    assert_eq!(report["outcome"], "partial", "{report:#}");
    assert_says(&item(&report, "wide")["error"].to_string(), &["max_allowed_packet", "drop it"]);
    for database in ["xa", "xb"] {
        assert_eq!(item(&report, database)["whole"], true, "{report:#}");
        assert_eq!(dump_of(&target, database), dump_of(&server, database));
    }
    // The others can be restored by themselves later.
    target.sql(None, "SET GLOBAL max_allowed_packet = 67108864; DROP DATABASE wide");
    assert_eq!(restore(&config, &full("wide"), &["--into", &url(&target, "wide")])["rows"], 1);
}

fn a_view_over_a_view_whose_definer_is_gone_keeps_nothing_else_out(flavour: MyFlavour) {
    let server = server(flavour);
    server.create_database("dg");
    server.sql(
        Some("dg"),
        "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2);
         CREATE USER soon@localhost; GRANT ALL ON dg.* TO soon@localhost;
         CREATE DEFINER = soon@localhost VIEW v1 AS SELECT * FROM t; CREATE DEFINER = root@localhost VIEW v2 AS SELECT * FROM v1;
         DROP USER soon@localhost",
    );
    let config = configured(&server, "");
    // A server may show such a view as broken: then it is left out of the backup.
    let report = try_backup(&config, &[]).json();
    let lacks = item(&report, "dg")["outcome"] == "partial";
    let folder = config.dir().join("here");
    std::fs::create_dir(&folder).unwrap();
    let ran = restore_in(&folder, &config, &["my/dg", "--into", &url(&server, "again")]);
    let done = ran.json()["database"].clone();
    assert_eq!(server.sql(Some("again"), "SELECT COUNT(*) FROM t"), "2", "{done:#}");
    assert_eq!(
        (ran.code(), lacks || missing(&done) == ["v2"]),
        (Some(if lacks { 0 } else { 3 }), true),
        "{done:#}"
    );
    if !lacks {
        assert!(done["notes"].to_string().contains("--no-owner"), "{done:#}");
    }
    restore_in(&folder, &config, &["my/dg", "--no-owner", "--into", &url(&server, "ours")]).expect_code(0);
}
