//! Good snapshots of every kind are proven, with difficult content, while the source is switched off.

use std::{fs, path::Path, time::SystemTime};

use mongodb::bson::doc;
use testkit::{
    Cmd, ConfigBuilder, FakeClients, MongoServer, MyFlavour, PgServer, PgVersion, Tool, fixture, mysql,
    mysql_world,
    postgres::quote,
    program::quoted,
    reports::{backup, item, ready},
    skip_unless,
};

use super::{drill_table, proven, try_drill};

/// Every file of a repository, with its length and time.
fn everything(folder: &Path) -> Vec<(String, u64, SystemTime)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let meta = entry.metadata().unwrap();
        if meta.is_dir() {
            found.extend(everything(&entry.path()));
        } else {
            found.push((entry.path().display().to_string(), meta.len(), meta.modified().unwrap()));
        }
    }
    found.sort();
    found
}

fn postgres(version: PgVersion) {
    let mut server = PgServer::start(version);
    server.create_varied("original");
    server.psql(
        "postgres",
        r#"ALTER DATABASE original OWNER TO tik_owner;
           ALTER DATABASE original CONNECTION LIMIT 42;
           REVOKE TEMPORARY ON DATABASE original FROM tik_owner;
           ALTER DATABASE original SET search_path = "$user", "Odd ""schema""/ü", public;
           ALTER ROLE tik_app IN DATABASE original SET search_path = '';
           CREATE ROLE tik_backup_drill;
           CREATE ROLE "GRANTED BY me" ADMIN tik_owner;
           COMMENT ON ROLE tik_backup_drill IS E'CREATE ROLE postgres;\nof two lines';"#,
    );
    // A check on a list of words is written otherwise by a server that has loaded it.
    let words =
        "CREATE TABLE words (w varchar(9) CHECK (w IN ('a', 'b', 'it''s')), n int CHECK (n IN (1, 2)));
                 CREATE VIEW few AS SELECT * FROM words WHERE w IN ('a', 'b');
                 INSERT INTO words VALUES ('a', 1)";
    for name in ["a/b \"c\" 'd'", "Größe ☃", "tik_backup_drill_again"] {
        server.create_database(name);
        server.psql(name, words);
    }
    let dirs = format!("client_dirs = [{}]", quoted(&version.bin_dir().display().to_string()));
    let more = format!("{dirs}\ninclude_system = true");
    let builder = ConfigBuilder::new().postgres("pg", &server, &more).tables(&drill_table("jobs = 2"));
    let config = ready(builder);
    backup(&config);
    let before = everything(&config.repo());
    // A drill needs nothing of the source.
    server.stop();
    let report = proven(&config, &["--all"]);
    assert_eq!(everything(&config.repo()), before, "the repository is as it was");
    let original = item(&report, "original");
    assert!(original["objects"].as_u64().unwrap() > 30, "{original:#}");
    assert!(original["restore_seconds"].as_f64().unwrap() > 0.0 && original["fresh"] == true);
    assert!(item(&report, "postgres")["outcome"] == "proven");
    let status = Cmd::with(&config).args(["--json", "status"]).run().ok().json();
    assert_eq!(status["summary"]["proven"], status["summary"]["expected"], "{status:#}");
    assert!(status["summary"]["restore_seconds"].as_f64().unwrap() > 0.0);
}

#[test]
fn a_postgresql_server_of_15() {
    skip_unless!(Tool::Pg15);
    postgres(PgVersion::V15);
}

#[test]
fn a_postgresql_server_of_18() {
    skip_unless!(Tool::Pg18);
    postgres(PgVersion::V18);
}

fn mysql(flavour: MyFlavour) {
    let mut server = mysql_world::server(flavour);
    server.sql(None, "CREATE USER 'maker of things'@'%'; GRANT ALL ON *.* TO 'maker of things'@'%'");
    let special = match flavour {
        MyFlavour::Mysql97 => "mysql-mysql97.sql",
        MyFlavour::Mariadb1011 => "mysql-mariadb1011.sql",
    };
    for database in ["original", "The `odd` one ☃"] {
        server.sql(None, &format!("CREATE DATABASE {} CHARACTER SET utf8mb4", mysql::quote(database)));
        let files: &[&str] = if database == "original" { &["mysql-common.sql", special] } else { &[] };
        for name in files {
            server.load(database, &fs::read(fixture(name)).unwrap());
        }
    }
    server.sql(
        Some("original"),
        "CREATE TABLE `of grants` (`a b` int, `c``d` int);
         CREATE PROCEDURE doing() SELECT 1;
         CREATE FUNCTION answer() RETURNS int DETERMINISTIC RETURN 42;
         CREATE ROLE 'readers of it';
         CREATE USER 'it''s me'@'10.%' IDENTIFIED BY 'a password';
         GRANT SELECT (`a b`), UPDATE (`c``d`, `a b`) ON `of grants` TO 'it''s me'@'10.%' ;
         GRANT DELETE ON `of grants` TO 'readers of it';
         GRANT EXECUTE ON PROCEDURE doing TO 'it''s me'@'10.%';
         GRANT EXECUTE ON FUNCTION answer TO 'it''s me'@'10.%';
         GRANT SELECT ON `orig%`.* TO 'readers of it';
         GRANT 'readers of it' TO 'it''s me'@'10.%'",
    );
    let builder = ConfigBuilder::new().mysql("my", &server, "").tables(&drill_table("jobs = 2"));
    let config = ready(builder);
    backup(&config);
    server.stop();
    let report = proven(&config, &["--all"]);
    assert!(item(&report, "original")["objects"].as_u64().unwrap() > 30, "{report:#}");
    assert!(item(&report, "@globals")["objects"].as_u64().unwrap() >= 4, "{report:#}");
}

#[test]
fn a_mysql_server() {
    skip_unless!(MyFlavour::Mysql97.tool());
    mysql(MyFlavour::Mysql97);
}

#[test]
fn a_mariadb_server() {
    skip_unless!(MyFlavour::Mariadb1011.tool());
    mysql(MyFlavour::Mariadb1011);
}

#[test]
fn a_mongodb_server() {
    skip_unless!(Tool::Mongo);
    let mut server = MongoServer::start();
    for database in ["shop", "Größe"] {
        let documents =
            (0..3000).map(|n| doc! { "_id": n, "name": format!("n {n}"), "deep": { "a": [n, "x"] } });
        server.insert(database, "a b/c.d", documents);
        let index = doc! { "key": { "name": 1, "deep.a": -1 }, "name": "by name", "unique": true };
        server.command(database, doc! { "createIndexes": "a b/c.d", "indexes": [index] });
        server.command(database, doc! { "create": "empty" });
        let pipeline = [doc! { "$match": { "_id": { "$gt": 10 } } }];
        server.command(database, doc! { "create": "some", "viewOn": "a b/c.d", "pipeline": pipeline });
    }
    let config = ready(ConfigBuilder::new().mongodb("mg", &server, "").tables(&drill_table("")));
    backup(&config);
    server.stop();
    let report = proven(&config, &["--all"]);
    assert_eq!(item(&report, "shop")["rows"], 3000, "{report:#}");
}

#[test]
fn folders_are_read_back_in_parts_until_all_was_read() {
    let dir = tempfile::tempdir().unwrap();
    for n in 0..200 {
        fs::write(dir.path().join(format!("file {n}")), format!("{n} {}", "x".repeat(n))).unwrap();
    }
    fs::create_dir(dir.path().join("sub ☃")).unwrap();
    std::os::unix::fs::symlink("file 1", dir.path().join("link")).unwrap();
    fs::hard_link(dir.path().join("file 2"), dir.path().join("sub ☃/same")).unwrap();
    fs::write(dir.path().join("empty"), "").unwrap();
    let lines = format!("kind = \"directory\"\npaths = [{}]", quoted(&dir.path().display().to_string()));
    let config = ready(ConfigBuilder::new().source("files", &lines).tables(&drill_table("")));
    backup(&config);
    let report = proven(&config, &[]);
    let whole = report["items"][0]["bytes"].as_u64().unwrap();
    let fields =
        |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(fields(&report), "run outcome started seconds items left error alerts");
    assert_eq!(
        fields(&report["items"][0]),
        "source item kind outcome snapshot time age_seconds fresh restore_seconds seconds objects rows bytes error",
        "the names are a promise"
    );
    assert_eq!(report["items"][0]["objects"], 202, "{report:#}");
    assert!(report["items"][0]["restore_seconds"].is_number());

    let parts: Vec<u64> = (0..4)
        .map(|number| {
            let report = proven(&config, &["--sample", "25%"]);
            let item = &report["items"][0];
            let note = item["notes"][0].as_str().unwrap();
            assert!(note.contains(&format!("part {} of 4", number + 1)), "{note}");
            item["bytes"].as_u64().unwrap()
        })
        .collect();
    assert_eq!(parts.iter().sum::<u64>(), whole, "each file has its turn once");
    assert!(parts.iter().all(|part| *part < whole / 2), "{parts:?}");
}

#[test]
fn what_is_missing_to_prove_something_is_named() {
    skip_unless!(Tool::Pg15, MyFlavour::Mysql97.tool());
    let server = mysql_world::server(MyFlavour::Mysql97);
    server.create_database("shop");
    let folder = tempfile::tempdir().unwrap();
    let lines = format!("kind = \"directory\"\npaths = [{}]", quoted(&folder.path().display().to_string()));
    // The client's directory has the server too: it must not be found there unless it is configured.
    let clients = FakeClients::of_mysql(MyFlavour::Mysql97);
    let source = clients.instead(MyFlavour::Mysql97, &server.config_toml());
    let builder = ConfigBuilder::new()
        .source("my", &source)
        .source("files", &lines)
        .tables("[drill]\nmin_free = \"1MiB\"");
    let config = ready(builder);
    backup(&config);
    let report = try_drill(&config, &[]).expect_code(3).json();
    let shop = item(&report, "shop");
    assert_eq!(shop["outcome"], "unproven");
    let error = shop["error"].as_str().unwrap();
    for text in ["no server of MySQL 9.7 is installed", "install", "drill.server_dirs"] {
        assert!(error.contains(text), "{error}");
    }
    assert_eq!(item(&report, folder.path().file_name().unwrap().to_str().unwrap())["outcome"], "proven");
    // That is no verdict on the backup: nothing is held, and no alert is sent before the proof is due.
    assert_eq!(Cmd::with(&config).args(["status", "--check"]).run().code(), Some(0));
}

#[test]
fn the_oldest_proof_comes_first_and_single_snapshots_can_be_proven() {
    skip_unless!(Tool::Pg15);
    let server = PgServer::start(PgVersion::V15);
    server.create_database("a");
    let folder = tempfile::tempdir().unwrap();
    let lines = format!("kind = \"directory\"\npaths = [{}]", quoted(&folder.path().display().to_string()));
    let builder = ConfigBuilder::new().postgres("pg", &server, "globals = false").source("files", &lines);
    let config = ready(builder.tables(&drill_table("jobs = 1")));
    let first = backup(&config);
    server.psql("a", &format!("CREATE TABLE {} (n int)", quote("new one")));
    backup(&config);
    proven(&config, &["pg/a"]);
    let ran = Cmd::with(&config).arg("drill").run().ok();
    let (files, database) = (ran.stderr.find("files/").unwrap(), ran.stderr.find("pg/a").unwrap());
    assert!(files < database, "{}", ran.stderr);

    let old = item(&first, "a")["snapshot"].as_str().unwrap();
    let report = proven(&config, &["pg/a", "--at", &old[..8]]);
    assert_eq!((&report["items"][0]["snapshot"], &report["items"][0]["fresh"]), (&old.into(), &false.into()));
    assert_eq!(try_drill(&config, &["pg", "--at", &old[..8]]).code(), Some(2));
    assert!(try_drill(&config, &["pg/none"]).expect_code(2).stderr.contains("no snapshot of pg/none"));
    assert!(try_drill(&config, &["--sample", "0"]).expect_code(2).stderr.contains("1% to 100%"));
}
