//! Users, roles and grants: the stored script recreates them on a new server.

use testkit::{
    ConfigBuilder, MyFlavour, MyServer,
    mysql::text,
    mysql_world::{SOURCE, as_account, configured, full, server, url},
    reports::{assert_says, backup, manifest_of, ready, restore, try_restore},
};

on_both!(users_and_roles_come_back, an_account_keeps_at_least_its_own_grants);

/// Accounts with names, rights and settings of all kinds.
fn create_users(server: &MyServer) {
    server.sql(
        None,
        r#"CREATE DATABASE shop; CREATE DATABASE `odd``db_%`; USE shop; CREATE TABLE t (a int, b int, `c'd` int);
           CREATE PROCEDURE p() SELECT 1; CREATE FUNCTION `f``n`() RETURNS int DETERMINISTIC RETURN 1;
           CREATE ROLE reader, `the writer's`, nested;
           GRANT SELECT ON shop.* TO reader; GRANT reader TO nested WITH ADMIN OPTION; GRANT INSERT, UPDATE ON shop.* TO `the writer's`;
           CREATE USER 'o''brien'@'%' IDENTIFIED BY 'it''s "secret" \\ # ;';
           CREATE USER 'back`tick "x"'@'10.0.0.0/255.0.0.0' IDENTIFIED BY 'x' REQUIRE SSL WITH MAX_QUERIES_PER_HOUR 7;
           CREATE USER 'größe ☃'@'%.example.org' IDENTIFIED BY 'x' PASSWORD EXPIRE INTERVAL 30 DAY;
           CREATE USER ''@'nobody.example'; CREATE USER locked@'%' IDENTIFIED BY 'x' ACCOUNT LOCK;
           CREATE USER tls@'%' REQUIRE SUBJECT '/CN="me"; x' AND ISSUER '/CN=ca';
           CREATE USER 'DEFAULT ROLE x REQUIRE y'@'%'; CREATE USER expired@'%' IDENTIFIED BY 'x' PASSWORD EXPIRE;
           CREATE USER limited@'%' IDENTIFIED BY 'x' WITH MAX_QUERIES_PER_HOUR 5 MAX_UPDATES_PER_HOUR 6 MAX_CONNECTIONS_PER_HOUR 7
             MAX_USER_CONNECTIONS 8 PASSWORD EXPIRE NEVER;
           GRANT SELECT (a, `c'd`), UPDATE (b) ON shop.t TO 'o''brien'@'%'; GRANT EXECUTE ON PROCEDURE shop.p TO 'o''brien'@'%' WITH GRANT OPTION;
           GRANT EXECUTE ON FUNCTION shop.`f``n` TO 'back`tick "x"'@'10.0.0.0/255.0.0.0';
           GRANT ALL ON `odd``db\_\%`.* TO 'größe ☃'@'%.example.org'; GRANT ALL ON *.* TO locked@'%' WITH GRANT OPTION;
           GRANT reader TO 'o''brien'@'%'; GRANT `the writer's` TO 'o''brien'@'%'; GRANT nested TO locked@'%';
           GRANT PROXY ON locked@'%' TO tls@'%';"#,
    );
    let more = match server.flavour() {
        MyFlavour::Mysql97 => {
            "SET DEFAULT ROLE reader, `the writer's` TO 'o''brien'@'%'; SET DEFAULT ROLE nested TO locked@'%';
             ALTER USER limited@'%' PASSWORD HISTORY 3 PASSWORD REUSE INTERVAL 5 DAY FAILED_LOGIN_ATTEMPTS 3 PASSWORD_LOCK_TIME 2;
             GRANT BACKUP_ADMIN, ROLE_ADMIN ON *.* TO reader; ALTER USER tls@'%' COMMENT 'it''s; a \"comment\"';
             CREATE USER two@'%' IDENTIFIED BY 'one'; ALTER USER two@'%' IDENTIFIED BY 'two' RETAIN CURRENT PASSWORD"
        }
        MyFlavour::Mariadb1011 => {
            "SET DEFAULT ROLE reader FOR 'o''brien'@'%'; SET DEFAULT ROLE nested FOR locked@'%';
             ALTER USER limited@'%' WITH MAX_STATEMENT_TIME 1.5;
             CREATE USER two@'%' IDENTIFIED VIA unix_socket OR mysql_native_password USING PASSWORD('x'); GRANT SELECT ON shop.t TO PUBLIC"
        }
    };
    server.sql(None, more);
}

/// Every account as the server itself tells how to make it, with what it may do.
fn told(server: &MyServer) -> String {
    let role = match server.flavour() {
        MyFlavour::Mysql97 => "'N'",
        MyFlavour::Mariadb1011 => "is_role",
    };
    let accounts = server.sql(
        None,
        &format!(
            "SELECT HEX(User), HEX(Host), {role} FROM mysql.user WHERE User NOT LIKE 'mysql.%' AND User NOT LIKE 'mariadb.%' \
             ORDER BY 1, 2"
        ),
    );
    let plain = |hex: &str| server.sql(None, &format!("SELECT CONVERT(UNHEX('{hex}') USING utf8mb4)"));
    let mut all = String::new();
    for line in accounts.split('\n') {
        let fields: Vec<_> = line.split('\t').collect();
        let name = match fields[2] {
            "Y" => testkit::mysql::quote(&plain(fields[0])),
            _ => format!("{}@{}", text(&plain(fields[0])), text(&plain(fields[1]))),
        };
        if fields[2] != "Y" {
            let hex = if server.flavour() == MyFlavour::Mysql97 {
                "SET print_identified_with_as_hex = ON; "
            } else {
                ""
            };
            all += &format!("{}\n", server.sql(None, &format!("{hex}SHOW CREATE USER {name}")));
        }
        let grants = server.sql(None, &format!("SHOW GRANTS FOR {name}"));
        let mut grants: Vec<_> = grants.split('\n').collect();
        grants.sort_unstable();
        // MariaDB counts the administrator's right to act for anybody twice once it was granted again.
        grants.dedup();
        all += &format!("{}\n", grants.join("\n"));
    }
    all
}

fn users_and_roles_come_back(flavour: MyFlavour) {
    let server = server(flavour);
    create_users(&server);
    let config = configured(&server, "");
    backup(&config);
    let manifest = manifest_of(&config, &full("@globals"), "latest");
    let notes = manifest.get("notes").map(|notes| notes.to_string()).unwrap_or_default();
    match flavour {
        MyFlavour::Mysql97 => assert_says(&notes, &["second passwords", "two@%"]),
        MyFlavour::Mariadb1011 => assert_eq!(notes, ""),
    }
    let names: Vec<_> = manifest["mysql"]["accounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| a["user"].as_str().unwrap())
        .collect();
    for name in ["o'brien", "back`tick \"x\"", "größe ☃", "", "the writer's", "backup", "root"] {
        assert!(names.contains(&name), "{names:?}");
    }

    let folder = config.dir().join("files");
    try_restore(&config, &full("@globals"), &["--to", folder.to_str().unwrap()]).ok();
    let script = std::fs::read(folder.join("globals.sql")).unwrap();
    assert!(!String::from_utf8_lossy(&script).contains("secret"), "hashes, not passwords");
    let other = MyServer::start(flavour);
    // What is there already is not touched: least of all the way by which the one who loads the script comes in.
    other.sql(None, "CREATE USER two@'%' IDENTIFIED BY 'mine'");
    let mine = |server: &MyServer| server.sql(None, "SHOW CREATE USER two@'%'");
    let existing = mine(&other);
    // Grants on routines need the routines: databases come back before users.
    for database in ["shop", "odd`db_%"] {
        restore(&config, &full(database), &["--into", &url(&other, database)]);
    }
    other.load("mysql", &script);
    assert_eq!(mine(&other), existing);
    other.sql(None, "DROP USER two@'%'");
    other.load("mysql", &script);
    let (before, after) = (told(&server), told(&other));
    assert!(
        before.contains("`c'd`") && before.contains("the writer's") && before.lines().count() > 25,
        "{before}"
    );
    testkit::postgres::assert_same_dump(&before, &after);

    // Again, and on the server itself: nothing changes.
    other.load("mysql", &script);
    server.load("mysql", &script);
    assert_eq!((told(&server), told(&other)), (before.clone(), before));
}

fn an_account_keeps_at_least_its_own_grants(flavour: MyFlavour) {
    let server = server(flavour);
    create_users(&server);
    let routines = match flavour {
        MyFlavour::Mysql97 => "SHOW_ROUTINE ON *.*",
        MyFlavour::Mariadb1011 => "SELECT ON mysql.proc",
    };
    server.sql(
        None,
        &format!(
            "CREATE USER few@localhost IDENTIFIED BY 'few'; GRANT SHOW DATABASES ON *.* TO few@localhost;
             GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON shop.* TO few@localhost; GRANT {routines} TO few@localhost"
        ),
    );
    let builder = ConfigBuilder::new();
    let password = builder.secret("few", "few");
    let config =
        ready(builder.source(SOURCE, &as_account(&server, "few", &password, "databases = [\"shop\"]")));
    backup(&config);
    let manifest = manifest_of(&config, &full("@globals"), "latest");
    assert_says(
        &manifest["notes"].to_string(),
        &["only the account's own grants", "GRANT SELECT ON mysql.*"],
    );
    let folder = config.dir().join("files");
    try_restore(&config, &full("@globals"), &["--to", folder.to_str().unwrap()]).ok();
    let script = std::fs::read_to_string(folder.join("globals.sql")).unwrap();
    assert_says(&script, &["ON `shop`.* TO `few`@`localhost`", "SHOW DATABASES"]);
    assert!(!script.contains("brien"), "{script}");
}
