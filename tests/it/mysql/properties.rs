//! What a database is besides its content: read only, encrypted by default.

use testkit::{
    MyFlavour,
    mysql_world::{configured, full, server, url},
    reports::{backup, manifest_of, restore, try_restore},
    skip_unless,
};

#[test]
fn a_read_only_database_is_read_only_again_once_it_is_loaded() {
    skip_unless!(MyFlavour::Mysql97.tool());
    let server = server(MyFlavour::Mysql97);
    server.create_database("still");
    server.sql(
        Some("still"),
        "CREATE TABLE t (a int); INSERT INTO t VALUES (1), (2); CREATE TABLE u (a int);
         CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW SET @a = 1; CREATE EVENT e ON SCHEDULE EVERY 1 DAY DO SELECT 1;
         CREATE VIEW v AS SELECT a FROM t; CREATE PROCEDURE p() SELECT 1; ALTER DATABASE still READ ONLY = 1",
    );
    server.sql(None, "CREATE DATABASE secret; ALTER DATABASE secret DEFAULT ENCRYPTION 'Y'");
    let config = configured(&server, "");
    backup(&config);
    let manifest = manifest_of(&config, &full("still"), "latest");
    assert_eq!(manifest["mysql"]["database"]["read_only"], true);
    assert!(manifest["mysql"]["database"]["encrypted"].is_null());
    let manifest = manifest_of(&config, &full("secret"), "latest");
    assert_eq!(manifest["mysql"]["database"]["encrypted"], true);
    assert!(manifest["mysql"]["database"]["read_only"].is_null());

    restore(&config, &full("still"), &["--into", &url(&server, "again")]);
    let refused = server.try_sql(Some("again"), "INSERT INTO t VALUES (3)").unwrap_err();
    assert!(refused.contains("ERROR 3989"), "{refused}");
    assert_eq!(server.sql(Some("again"), "SELECT COUNT(*) FROM v"), "2");
    restore(&config, &full("still"), &["--into", &url(&server, "one"), "--table", "t"]);
    server.sql(Some("one"), "INSERT INTO t VALUES (3)");
    restore(&config, &full("secret"), &["--into", &url(&server, "again secret")]);
    let encryption =
        "SELECT DEFAULT_ENCRYPTION FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = 'again secret'";
    assert_eq!(server.sql(None, encryption), "YES");

    // Who may load a database need not have the right to make it encrypted by default: that is said.
    server.sql(
        None,
        "CREATE USER loader@localhost; GRANT ALL ON `third secret`.* TO loader@localhost; \
         SET GLOBAL table_encryption_privilege_check = ON",
    );
    let into = testkit::mysql_world::url_as(&server, "loader", "third secret");
    let ran = try_restore(&config, &full("secret"), &["--into", &into]).ok();
    let notes = ran.json()["database"]["notes"].to_string();
    assert!(notes.contains("encrypted by default") && notes.contains("ALTER DATABASE"), "{notes}");
}
