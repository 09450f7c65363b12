//! What a run protects: everything there is, unless a rule says otherwise, and never less without a word.

use testkit::{
    ConfigBuilder, MyFlavour,
    mysql::text,
    mysql_world::{SOURCE, as_account, configured, full, secret, server},
    reports::{assert_says, backup, discover, edit, ids_of, item, manifest_of, ready, try_backup},
};

on_both!(databases_join_by_themselves, a_list_cannot_hide_what_it_misses);

fn databases_join_by_themselves(flavour: MyFlavour) {
    let server = server(flavour);
    for name in ["shop", "scratch_1", "it's \"a\" `db`/x", "größe ☃", "empty"] {
        server.create_database(name);
    }
    server.sql(Some("shop"), "CREATE TABLE t (x int); INSERT INTO t VALUES (1)");
    let config = configured(&server, "exclude = [\"scratch_*\"]");
    let found = discover(&config, 0);
    let mut items = found.items.clone();
    items.sort();
    assert_eq!(items, ["@globals", "empty", "größe ☃", "it's \"a\" `db`/x", "shop"]);
    let rule = |name: &str| found.excluded.iter().find(|(n, _)| n == name).map(|(_, rule)| rule.as_str());
    assert_eq!(rule("scratch_1"), Some("exclude = \"scratch_*\""));
    for name in ["mysql", "sys", "information_schema", "performance_schema"] {
        assert_eq!(rule(name), Some("built-in: system database"), "{:?}", found.excluded);
    }

    let report = backup(&config);
    assert_eq!(report["items"].as_array().unwrap().len(), 5, "{report:#}");
    assert!(manifest_of(&config, &full("empty"), "latest")["objects"].as_array().unwrap().is_empty());
    assert_eq!(manifest_of(&config, &full("it's \"a\" `db`/x"), "latest")["item"], "it's \"a\" `db`/x");
    server.create_database("tomorrow");
    server.sql(None, "DROP DATABASE `empty`");
    let report = backup(&config);
    assert_eq!(item(&report, "tomorrow")["outcome"], "ok");
    assert_eq!(ids_of(&config, &full("empty")).len(), 1, "what is gone keeps its snapshots");

    server.create_database("@globals");
    let found = discover(&config, 3);
    assert_says(&found.failed, &["@globals means the server's users", "rename the database"]);
    server.sql(None, "DROP DATABASE `@globals`");

    let ran = try_backup(&config, &["my/scratch_1"]).expect_code(1);
    assert_says(&ran.stdout, &["it is excluded: exclude = \\\"scratch_*\\\""]);
    edit(
        &config,
        "exclude = [\"scratch_*\"]",
        "databases = [\"shop\", \"größe*\", \"shopp\"]\nglobals = false",
    );
    let ran = try_backup(&config, &[]).expect_code(3);
    let report = ran.json();
    assert_says(item(&report, "shopp")["error"].as_str().unwrap(), &["no such database", "correct the name"]);
    assert_eq!(
        (&item(&report, "shop")["outcome"], report["items"].as_array().unwrap().len()),
        (&"ok".into(), 3)
    );
    let found = discover(&config, 3);
    assert!(
        found.excluded.contains(&("tomorrow".into(), "not in `databases`".into())),
        "{:?}",
        found.excluded
    );
    assert!(found.excluded.contains(&("@globals".into(), "globals = false".into())), "{:?}", found.excluded);
}

/// An account that does not see all databases must not be believed when it lists them.
fn a_list_cannot_hide_what_it_misses(flavour: MyFlavour) {
    let server = server(flavour);
    server.create_database("shop");
    server.create_database("hidden");
    let routines = match flavour {
        MyFlavour::Mysql97 => "GRANT SHOW_ROUTINE ON *.* TO few@localhost",
        MyFlavour::Mariadb1011 => "GRANT SELECT ON mysql.proc TO few@localhost",
    };
    server.sql(
        None,
        &format!(
            "CREATE USER few@localhost IDENTIFIED BY {}; GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON shop.* TO few@localhost; \
             {routines}",
            text("few and far")
        ),
    );
    let builder = ConfigBuilder::new();
    let password = builder.secret("few", "few and far");
    let config = ready(builder.source(SOURCE, &as_account(&server, "few", &password, "globals = false")));
    let found = discover(&config, 1);
    assert_says(&found.failed, &["may not see all databases", "GRANT SHOW DATABASES ON *.*", "`databases`"]);
    try_backup(&config, &[]).expect_code(1);
    edit(&config, "globals = false", "globals = false\ndatabases = [\"shop\"]");
    assert_eq!(discover(&config, 0).items, ["shop"]);
    backup(&config);
    edit(&config, "[\"shop\"]", "[\"shop\", \"hidden\"]");
    let ran = try_backup(&config, &[]).expect_code(3);
    assert_says(&ran.stdout, &["hides it from this account"]);
    edit(&config, "[\"shop\", \"hidden\"]", "[\"sho*\"]");
    assert_says(&discover(&config, 1).failed, &["GRANT SHOW DATABASES"]);

    let wrong = secret(&config, "wrong", "not this one");
    edit(&config, password.to_str().unwrap(), wrong.to_str().unwrap());
    let found = discover(&config, 1);
    assert_says(&found.failed, &["Access denied", "the password is wrong"]);
    assert!(!found.failed.contains("not this one"), "{}", found.failed);
}
