//! Families and versions of servers and clients: what does not fit together is refused before anything happens.

use testkit::{
    ConfigBuilder, FakeClients, MyFlavour, MyOptions, MyServer, Tool,
    mysql_world::{SOURCE, configured, exists, full, server, started, url},
    postgres::assert_same_dump,
    program::quoted,
    reports::{assert_says, backup, discover, manifest_of, ready, restore, try_backup, try_restore},
    skip_unless,
};

on_both!(a_client_that_does_not_fit_is_refused, a_history_of_transactions_is_no_obstacle);

fn other(flavour: MyFlavour) -> MyFlavour {
    match flavour {
        MyFlavour::Mysql97 => MyFlavour::Mariadb1011,
        MyFlavour::Mariadb1011 => MyFlavour::Mysql97,
    }
}

fn a_client_that_does_not_fit_is_refused(flavour: MyFlavour) {
    skip_unless!(other(flavour).tool());
    let server = server(flavour);
    server.create_database("shop");
    let dir = |flavour: MyFlavour| quoted(&flavour.client_dir().display().to_string());
    let wrong = server.config_toml().replace(&dir(flavour), &dir(other(flavour)));
    let config = ready(ConfigBuilder::new().source(SOURCE, &wrong));
    let found = discover(&config, 1);
    // MySQL's client lacks MariaDB's authentication by passwords altogether.
    let says: &[&str] = match flavour {
        MyFlavour::Mysql97 => &["the server is MySQL 9.7", "the other family's client", "client_dirs"],
        MyFlavour::Mariadb1011 => &["mysql_native_password", "install the client of the server's own family"],
    };
    assert_says(&found.failed, says);
    try_backup(&config, &[]).expect_code(1);
    let (name, package) = match flavour {
        MyFlavour::Mysql97 => ("the server is MySQL 9.7", "install the client of MySQL 9.7 or newer"),
        MyFlavour::Mariadb1011 => {
            ("the server is MariaDB 10.11", "install the client of MariaDB 10.11 or newer")
        }
    };
    let old = match flavour {
        MyFlavour::Mysql97 => "mysqldump  Ver 8.4.3 for Linux on x86_64 (MySQL Community Server - GPL)",
        MyFlavour::Mariadb1011 => {
            "mysqldump  Ver 10.19 Distrib 10.6.22-MariaDB, for debian-linux-gnu (x86_64)"
        }
    };
    let fake = FakeClients::of_version(flavour, old);
    let config = ready(ConfigBuilder::new().source(SOURCE, &fake.instead(flavour, &server.config_toml())));
    let found = discover(&config, 1);
    assert_says(&found.failed, &[name, "an older client may not know", package]);

    // Both installed: the one that fits is found, in whatever order they are searched.
    let both = server.config_toml().replace(
        &format!("[{}]", dir(flavour)),
        &format!("[{}, {}, {}]", quoted(fake.path().to_str().unwrap()), dir(other(flavour)), dir(flavour)),
    );
    let config = ready(ConfigBuilder::new().source(SOURCE, &both));
    backup(&config);
    let tool = &manifest_of(&config, &full("shop"), "latest")["tools"][0];
    assert_says(tool["version"].as_str().unwrap(), &[flavour.version()]);

    // A dump of one family does not go into a server of the other.
    let target = MyServer::start(other(flavour));
    let ran = try_restore(&config, &full("shop"), &["--into", &url(&target, "shop")]).expect_code(1);
    assert_says(&ran.stderr, &["each family writes what the other cannot load", "--to DIR"]);
    assert!(!exists(&target, "shop"));
}

fn a_history_of_transactions_is_no_obstacle(flavour: MyFlavour) {
    let with_history = |id: &str| {
        let mut options = MyOptions::new(flavour).setting("log-bin=binlog").setting(id);
        if flavour == MyFlavour::Mysql97 {
            options = options.setting("gtid-mode=ON").setting("enforce-gtid-consistency=ON");
        }
        let server = started(options);
        server.create_database("shop");
        server.sql(Some("shop"), "CREATE TABLE t (x int PRIMARY KEY, y text)");
        for n in 0..5 {
            server.sql(Some("shop"), &format!("INSERT INTO t VALUES ({n}, '{id}')"));
        }
        server
    };
    let (one, other) = (with_history("server-id=11"), with_history("server-id=12"));
    let history = |server: &MyServer| match flavour {
        MyFlavour::Mysql97 => server.sql(None, "SELECT @@gtid_executed"),
        MyFlavour::Mariadb1011 => server.sql(None, "SELECT @@gtid_binlog_pos"),
    };
    let before = (history(&one), history(&other));
    assert!(!before.0.is_empty() && before.0 != before.1);
    let config = configured(&one, "");
    backup(&config);
    assert_eq!(history(&one), before.0, "a backup writes nothing");
    restore(&config, &full("shop"), &["--into", &url(&other, "copy")]);
    assert_same_dump(&one.dump_text("shop"), &other.dump_text("copy"));
    let after = history(&other);
    assert_ne!(after, before.1, "what is restored is part of the target's own history, for its replicas");
    if flavour == MyFlavour::Mysql97 {
        let uuid = before.0.split(':').next().unwrap();
        assert!(!after.contains(uuid), "and not of the original's: {after}");
    }
}

#[test]
fn the_sandbox_line_of_mariadb_is_kept_and_restored() {
    skip_unless!(Tool::Mariadb);
    let server = server(MyFlavour::Mariadb1011);
    server.create_database("shop");
    let config = configured(&server, "");
    backup(&config);
    let folder = config.dir().join("files");
    try_restore(&config, &full("shop"), &["--to", folder.to_str().unwrap()]).ok();
    let script = std::fs::read_to_string(folder.join("database.sql")).unwrap();
    assert!(
        script.starts_with("/*M!999999\\- enable the sandbox mode */"),
        "{}",
        &script[..200.min(script.len())]
    );
    // The name of the target goes into a script that the client runs in this mode: `ALTER DATABASE` and the like.
    restore(&config, &full("shop"), &["--into", &url(&server, "shop `2`")]);
    assert!(exists(&server, "shop `2`"));
}
