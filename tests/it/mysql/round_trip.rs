//! A database of everything difficult comes back as it was, under another name and on another server.

use serde_json::Value;
use testkit::{
    MyFlavour, MyServer, fixture,
    mysql::quote,
    mysql_world::{configured, dump_of, full, server, url},
    postgres::assert_same_dump,
    reports::{backup, ids_of, item, manifest_of, restore},
};

on_both!(all_of_a_database_comes_back);

/// A name that has to be quoted everywhere; MariaDB's dump tool fails on quotes in it.
fn odd_name(flavour: MyFlavour) -> &'static str {
    match flavour {
        MyFlavour::Mysql97 => "The `restored` \"one\" isn't/a path ☃",
        MyFlavour::Mariadb1011 => "The `restored` one is/no path ☃",
    }
}

fn create_difficult(server: &MyServer, database: &str) {
    server.sql(None, "CREATE USER 'maker of things'@'%'; GRANT ALL ON *.* TO 'maker of things'@'%'");
    server.sql(None, &format!("CREATE DATABASE {} CHARACTER SET utf8mb4", quote(database)));
    let special = match server.flavour() {
        MyFlavour::Mysql97 => "mysql-mysql97.sql",
        MyFlavour::Mariadb1011 => "mysql-mariadb1011.sql",
    };
    for name in ["mysql-common.sql", special] {
        server.load(database, &std::fs::read(fixture(name)).unwrap());
    }
}

fn all_of_a_database_comes_back(flavour: MyFlavour) {
    let (server, odd) = (server(flavour), odd_name(flavour));
    create_difficult(&server, "original");
    let config = configured(&server, "");
    let report = backup(&config);
    assert_eq!(report["outcome"], "ok");
    assert!(item(&report, "original")["bytes_read"].as_u64().unwrap() > 5_000_000, "{report:#}");
    let manifest = manifest_of(&config, &full("original"), "latest");
    assert_manifest(&server, &manifest);

    let original = dump_of(&server, "original");
    assert!(
        original.contains("/*!50106 CREATE") && original.contains("another_before"),
        "the oracle sees events"
    );
    let done = restore(&config, &full("original"), &["--into", &url(&server, odd)]);
    assert_eq!((&done["created"], &done["database"]), (&true.into(), &odd.into()));
    assert_eq!(done["tables"], manifest["objects"].as_array().unwrap().len());
    assert_same_dump(&original, &dump_of(&server, odd));
    assert_eq!(properties(&server, "original"), properties(&server, odd));
    assert_works(&server, odd);
    restore(&config, &full("original"), &["--into", &url(&server, "second")]);

    // What was restored is, backed up under its own name, the same in every digest but for where it differs.
    server.sql(Some("second"), "UPDATE bytes SET l = INSERT(l, 1000000, 1, 'X') WHERE id = 2");
    backup(&config);
    let second = manifest_of(&config, &full("second"), "latest");
    assert_eq!(different(&manifest, &second, "objects"), ["bytes"]);
    assert_eq!(different(&manifest, &second, "mysql"), Vec::<String>::new());
    let again = manifest_of(&config, &full("original"), "latest");
    assert_eq!(different(&manifest, &again, "objects"), Vec::<String>::new());
    assert_eq!(ids_of(&config, &full(odd)).len(), 1, "the odd name is an item as any other");
    // The restored one was used, which only its table of rows without a key shows.
    let used = manifest_of(&config, &full(odd), "latest");
    assert_eq!(different(&manifest, &used, "objects"), ["egg", "without_key"]);

    let other = MyServer::start(flavour);
    let done = restore(&config, &full(odd), &["--into", &url(&other, "elsewhere")]);
    let notes = done["notes"].to_string();
    assert!(notes.contains("maker of things@%") && notes.contains("--no-owner"), "{notes}");
    assert_same_dump(&dump_of(&server, odd), &dump_of(&other, "elsewhere"));
}

/// Names of the objects that are not the same in two manifests, or are only in one of them.
fn different(one: &Value, other: &Value, list: &str) -> Vec<String> {
    let of = |manifest: &Value| -> Vec<String> {
        let objects = match list {
            "mysql" => &manifest["mysql"]["schema_objects"],
            _ => &manifest["objects"],
        };
        let objects = objects.as_array().unwrap_or_else(|| panic!("{manifest:#}"));
        assert!(
            objects.len() > 30 && objects.iter().all(|object| object["digest"].is_string()),
            "{objects:#?}"
        );
        objects.iter().map(|object| format!("{}\u{0}{object}", object["name"].as_str().unwrap())).collect()
    };
    let (one, other) = (of(one), of(other));
    let name = |text: &String| text.split('\u{0}').next().unwrap().to_owned();
    let only = |these: &[String], those: &[String]| -> Vec<String> {
        these.iter().filter(|object| !those.contains(object)).map(name).collect()
    };
    let mut names = [only(&one, &other), only(&other, &one)].concat();
    names.sort();
    names.dedup();
    names
}

fn properties(server: &MyServer, database: &str) -> String {
    let name = testkit::mysql::text(database);
    server.sql(
        None,
        &format!(
            "SELECT DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA \
             WHERE SCHEMA_NAME = {name}"
        ),
    )
}

/// The manifest tells what the server itself counts and lists.
fn assert_manifest(server: &MyServer, manifest: &Value) {
    assert_eq!(manifest["digested"], "yes", "{:#}", manifest["notes"]);
    assert_eq!(manifest["consistency"], "snapshot", "{:#}", manifest["notes"]);
    let tables = server.sql(
        None,
        "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'original' \
         AND TABLE_TYPE NOT IN ('VIEW', 'SEQUENCE')",
    );
    let objects = manifest["objects"].as_array().unwrap();
    assert_eq!(objects.len().to_string(), tables);
    let counts: Vec<_> = objects
        .iter()
        .map(|object| {
            let name = object["name"].as_str().unwrap();
            // Of this one the rows of earlier times are in the dump too.
            let all = if name == "versioned" { " FOR SYSTEM_TIME ALL" } else { "" };
            format!("SELECT COUNT(*) FROM {}{all};", quote(name))
        })
        .collect();
    let rows: Vec<_> = objects.iter().map(|object| object["rows"].to_string()).collect();
    let names: Vec<_> = objects.iter().map(|object| object["name"].as_str().unwrap()).collect();
    let counted = server.sql(Some("original"), &counts.concat());
    assert_eq!(rows, counted.split('\n').collect::<Vec<_>>(), "{names:?}");
    let kinds = |kind: &str| {
        let all = manifest["mysql"]["schema_objects"].as_array().unwrap();
        all.iter().filter(|object| object["type"] == kind).count()
    };
    let common = [kinds("trigger"), kinds("event"), kinds("function")];
    assert_eq!(common, [6, 2, 4], "{:#}", manifest["mysql"]["schema_objects"]);
    match server.flavour() {
        MyFlavour::Mysql97 => assert_eq!([kinds("procedure"), kinds("view")], [1, 7]),
        MyFlavour::Mariadb1011 => {
            assert_eq!([kinds("procedure"), kinds("view"), kinds("sequence")], [2, 5, 2]);
            assert_eq!([kinds("package"), kinds("package body")], [1, 1]);
        }
    }
    assert_eq!(manifest["mysql"]["database"]["charset"], "utf8mb4");
}

/// Routines, triggers and views do what they did.
fn assert_works(server: &MyServer, database: &str) {
    server.sql(
        Some(database),
        "CALL `odd proc's; name`(21, @b, @c); INSERT INTO egg VALUES (77, NULL); DELETE FROM `sp ace` WHERE 1 = 0",
    );
    let works = "SELECT chicken, @first FROM egg WHERE id = 77; SELECT twice FROM z_base WHERE id = 2; \
                 SELECT HEX(ansi()), HEX(CONVERT(of_another_collation() USING utf8mb4)); SELECT * FROM `no table`";
    let trigger = "INSERT INTO egg VALUES (78, NULL); ";
    let answer = server.sql(Some(database), &format!("{trigger}{works}"));
    assert_eq!(answer, "1\tit's first;\n4\n785C\tC3A9\n1\té☃");
    server.sql(Some(database), "SELECT COUNT(*) FROM `m on a's`");
    if server.flavour() == MyFlavour::Mariadb1011 {
        assert_eq!(server.sql(Some(database), "SET sql_mode = 'ORACLE'; SELECT pack.one()"), "1");
        // What the original would give next, though not used by it in between: values of its cache may be skipped.
        let next =
            |database: &str| server.sql(Some(database), "SELECT NEXTVAL(`se``q 1`)").parse::<i64>().unwrap();
        assert!(next(database) >= next("original"), "no number is given twice");
        assert_eq!(server.sql(Some(database), "SELECT v FROM versioned ORDER BY id"), "new\nkept");
    }
}
