//! An account that may not read everything does not make a backup that lacks something.

use testkit::{
    Config, ConfigBuilder, MyFlavour, MyServer,
    mysql_world::{SOURCE, as_account, full, server},
    reports::{assert_says, backup, discover, error_of, item, manifest_of, ready, try_backup},
};

on_both!(each_missing_privilege_is_named, privileges_through_roles_suffice);

const NEEDED: [&str; 4] = ["SELECT", "SHOW VIEW", "TRIGGER", "EVENT"];

fn fill(server: &MyServer) {
    server.create_database("shop");
    server.sql(
        Some("shop"),
        "CREATE TABLE t (x int); INSERT INTO t VALUES (1), (2);
         CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW SET NEW.x = 1;
         CREATE FUNCTION of_root() RETURNS int DETERMINISTIC RETURN 1;
         CREATE PROCEDURE p_of_root() SELECT 1;
         CREATE VIEW v AS SELECT x FROM t; CREATE EVENT e ON SCHEDULE EVERY 1 DAY DO SET @x = 1;",
    );
}

fn config_of(server: &MyServer, account: &str) -> Config {
    let builder = ConfigBuilder::new();
    let password = builder.secret("password", "pass word");
    ready(builder.source(SOURCE, &as_account(server, account, &password, "globals = false")))
}

/// What lets an account see routines that others wrote, besides SELECT on everything.
fn routines(flavour: MyFlavour) -> &'static str {
    match flavour {
        MyFlavour::Mysql97 => "SHOW_ROUTINE ON *.*",
        MyFlavour::Mariadb1011 => "SELECT ON mysql.proc",
    }
}

fn each_missing_privilege_is_named(flavour: MyFlavour) {
    let server = server(flavour);
    fill(&server);
    server.sql(
        None,
        "CREATE USER part@localhost IDENTIFIED BY 'pass word'; GRANT SHOW DATABASES ON *.* TO part@localhost",
    );
    let config = config_of(&server, "part");
    let grant = |what: &str| server.sql(None, &format!("GRANT {what} TO part@localhost"));
    grant(routines(flavour));
    for missing in NEEDED {
        let others: Vec<_> = NEEDED.into_iter().filter(|privilege| *privilege != missing).collect();
        grant(&format!("{} ON shop.*", others.join(", ")));
        let found = discover(&config, 1);
        let says = [format!("the account lacks {missing}: "), format!("GRANT {missing} ON `shop`.* TO …")];
        assert_says(&found.failed, &says.each_ref().map(String::as_str));
        let report = try_backup(&config, &[]).expect_code(1).json();
        assert_says(error_of(&report, "shop"), &says.each_ref().map(String::as_str));
        server.sql(None, "REVOKE ALL ON shop.* FROM part@localhost");
    }
    grant(&format!("{} ON shop.*", NEEDED.join(", ")));
    let report = backup(&config);
    assert_eq!(item(&report, "shop")["outcome"], "ok");
    assert_whole(&config);

    server.sql(None, &format!("REVOKE {} FROM part@localhost", routines(flavour)));
    let report = try_backup(&config, &[]).expect_code(1).json();
    assert_says(
        error_of(&report, "shop"),
        &["routines that others wrote", &format!("GRANT {} TO …", routines(flavour))],
    );

    // MariaDB describes a view only to those who may call the functions in it.
    if flavour == MyFlavour::Mariadb1011 {
        grant(routines(flavour));
        server.sql(Some("shop"), "CREATE VIEW calls AS SELECT of_root() AS x");
        let report = try_backup(&config, &[]).expect_code(1).json();
        assert_says(error_of(&report, "shop"), &["execute command denied", "GRANT EXECUTE ON *.* TO …"]);
        grant("EXECUTE ON *.*");
        backup(&config);
    }
}

/// Everything of [`fill`] is in the snapshot.
#[track_caller]
fn assert_whole(config: &Config) {
    let manifest = manifest_of(config, &full("shop"), "latest");
    let objects = manifest["mysql"]["schema_objects"].as_array().unwrap();
    let mut names: Vec<_> = objects.iter().map(|object| object["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["e", "of_root", "p_of_root", "t", "tr", "v"]);
}

fn privileges_through_roles_suffice(flavour: MyFlavour) {
    let server = server(flavour);
    fill(&server);
    server.sql(
        None,
        &format!(
            "CREATE ROLE `back upper`; GRANT {}, SHOW DATABASES ON *.* TO `back upper`;
             CREATE USER member@localhost IDENTIFIED BY 'pass word'; GRANT `back upper` TO member@localhost",
            NEEDED.join(", ")
        ),
    );
    let config = config_of(&server, "member");
    let found = discover(&config, 1);
    assert_says(&found.failed, &["may not see all databases"]);
    let default = match flavour {
        MyFlavour::Mysql97 => "SET DEFAULT ROLE `back upper` TO member@localhost",
        MyFlavour::Mariadb1011 => "SET DEFAULT ROLE `back upper` FOR member@localhost",
    };
    server.sql(None, default);
    backup(&config);
    assert_whole(&config);
}
