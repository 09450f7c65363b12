//! Databases whose views read other databases of the same server: both are proven, each with the definitions of the other; and
//! where there is no backup of the other, nothing is said against what was backed up.

use std::fs;

use testkit::{
    Cmd, ConfigBuilder, MyFlavour, MyServer, mysql_world,
    program::quoted,
    reports::{assert_says, backup, item, ready},
    skip_unless,
};

use super::{drill_table, proven, try_drill};

fn entangled(server: &MyServer) {
    server.sql(
        None,
        "CREATE DATABASE xa; CREATE DATABASE xb; CREATE DATABASE xc;
         CREATE TABLE xa.t (id int PRIMARY KEY, n varchar(9)); INSERT INTO xa.t VALUES (1, 'x'), (2, 'y');
         CREATE TABLE xb.t (id int PRIMARY KEY, a int, FOREIGN KEY (a) REFERENCES xa.t (id));
         INSERT INTO xb.t VALUES (1, 1), (5, 2), (6, 2);
         CREATE TABLE xc.t (id int PRIMARY KEY); INSERT INTO xc.t VALUES (9);
         CREATE FUNCTION xb.f(i int) RETURNS int READS SQL DATA RETURN (SELECT COUNT(*) FROM xa.t WHERE id < i);
         CREATE TRIGGER xb.tr AFTER INSERT ON xb.t FOR EACH ROW DELETE FROM xa.t WHERE id = -NEW.id;
         CREATE VIEW xa.own AS SELECT id FROM xa.t;
         CREATE VIEW xa.v AS SELECT a.id, b.a FROM xa.t a JOIN xb.t b ON b.a = a.id;
         CREATE VIEW xc.far AS SELECT id FROM xc.t;
         CREATE VIEW xb.w AS SELECT v.*, far.id AS f FROM xa.v JOIN xc.far;
         CREATE ALGORITHM = MERGE VIEW xa.z AS SELECT w.id, xb.f(w.id) AS x FROM xb.w",
    );
}

fn mutual(flavour: MyFlavour) {
    let mut server = mysql_world::server(flavour);
    entangled(&server);
    if flavour == MyFlavour::Mariadb1011 {
        server.sql(None, "CREATE SEQUENCE xb.s; CREATE TABLE xa.d (id int DEFAULT nextval(xb.s), n int)");
    }
    let config = ready(ConfigBuilder::new().mysql("my", &server, "").tables(&drill_table("jobs = 3")));
    backup(&config);
    server.stop();
    let report = proven(&config, &["my", "--all"]);
    for name in ["xa", "xb"] {
        let notes = item(&report, name)["notes"].to_string();
        assert_says(&notes, &["its views read other databases", "xc"]);
    }
    assert!(!item(&report, "xc")["notes"].to_string().contains("its views read"), "{report:#}");
    assert_eq!(item(&report, "xb")["rows"], 3, "{report:#}");
    // One alone too, and twice: nothing is left on the server of the first.
    proven(&config, &["my/xa"]);
    proven(&config, &["my/xa", "my/xb"]);
}

#[test]
fn databases_that_read_each_other_on_mysql() {
    skip_unless!(MyFlavour::Mysql97.tool());
    mutual(MyFlavour::Mysql97);
}

#[test]
fn databases_that_read_each_other_on_mariadb() {
    skip_unless!(MyFlavour::Mariadb1011.tool());
    mutual(MyFlavour::Mariadb1011);
}

fn without_the_other(flavour: MyFlavour) {
    let server = mysql_world::server(flavour);
    entangled(&server);
    let more = "exclude = [\"xb\"]";
    let config = ready(ConfigBuilder::new().mysql("my", &server, more).tables(&drill_table("jobs = 2")));
    backup(&config);
    let report = try_drill(&config, &["my"]).expect_code(3).json();
    let xa = item(&report, "xa");
    assert_eq!(xa["outcome"], "unproven", "{report:#}");
    assert_says(xa["error"].as_str().unwrap(), &["v (ERROR", "xb", "z (ERROR", "back up those databases"]);
    assert_eq!(item(&report, "xc")["outcome"], "proven", "{report:#}");
    let ran = Cmd::with(&config).args(["drill", "my/xa"]).run();
    assert!(ran.stderr.contains("CANNOT BE PROVEN") && !ran.stderr.contains("NOT PROVEN:"), "{}", ran.stderr);
    // It is not a verdict on the backup: retention goes on, and nothing is late yet.
    assert_eq!(Cmd::with(&config).args(["status", "--check"]).run().code(), Some(0));
}

#[test]
fn a_database_that_reads_what_is_not_backed_up_on_mysql() {
    skip_unless!(MyFlavour::Mysql97.tool());
    without_the_other(MyFlavour::Mysql97);
}

#[test]
fn a_database_that_reads_what_is_not_backed_up_on_mariadb() {
    skip_unless!(MyFlavour::Mariadb1011.tool());
    without_the_other(MyFlavour::Mariadb1011);
}

#[test]
fn all_of_named_sources_is_proven() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "content").unwrap();
    let lines = format!("kind = \"directory\"\npaths = [{}]", quoted(&folder.path().display().to_string()));
    let builder = ConfigBuilder::new().source("one", &lines).source("two", &lines).source("three", &lines);
    // Named sources have no time limit.
    let config = ready(builder.tables(&drill_table("max_duration = \"1m\"")));
    backup(&config);
    let sources = |arguments: &[&str]| -> Vec<String> {
        let report = proven(&config, arguments);
        let items = report["items"].as_array().unwrap().iter();
        items.map(|item| item["source"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(sources(&["one", "--all"]), ["one"]);
    assert_eq!(sources(&["two", "one", "--all"]), ["one", "two"]);
    assert_eq!(sources(&["two"]), ["two"]);
    assert_eq!(sources(&["--all"]), ["one", "three", "two"]);
    let name = folder.path().file_name().unwrap().to_str().unwrap();
    let ran = try_drill(&config, &[&format!("one/{name}"), "--all"]).expect_code(2);
    assert_says(&ran.stderr, &["--all goes with names of sources", "leave --all out"]);
    assert!(try_drill(&config, &["none", "--all"]).expect_code(2).stderr.contains("no snapshot of none"));
}
