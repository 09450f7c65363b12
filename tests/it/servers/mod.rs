//! The basis of the other tests: throwaway servers, the fixture with all difficult content, restic.

use std::{env, fs, net::TcpStream, path::Path, process::Command, thread, time::Duration};

use mongodb::bson::{RawDocumentBuf, doc};
use testkit::{
    Cmd, ConfigBuilder, MongoServer, MyFlavour, MyOptions, MyServer, PgOptions, PgServer, PgVersion, Restic,
    Tool,
    extension::{create_test_extension, install_test_extension},
    postgres::{answers, assert_same_dump},
    process::run,
    skip_unless,
};

/// `pg_dump | pg_restore` gives the same dump again, so a difference found later comes from this program and not from the fixture.
fn fixture_round_trip(version: PgVersion) {
    let server = PgServer::start(version);
    assert!(server.psql("postgres", "SHOW server_version").starts_with(&format!("{}.", version.major())));
    server.create_varied("original");
    server.create_database("restored");
    server.restore_custom("restored", &server.dump_custom("original"));
    let original = server.dump_text("original");
    assert_same_dump(&original, &server.dump_text("restored"));
    let counts = server.row_counts("original");
    assert_eq!(counts, server.row_counts("restored"));
    assert_eq!(counts["public.many_rows"], 50_000);
    assert_eq!(counts["public.no_columns"], 2);
    assert_eq!(counts["public.animal"], 1, "rows of inheriting tables are not counted twice");
    assert!(counts.contains_key("public.\"two\nlines\""));
    assert!(!counts.contains_key("public.unfilled"), "a view without data cannot be read");
    server.psql("restored", "UPDATE public.many_rows SET name = 'changed' WHERE id = 25000");
    assert_ne!(original, server.dump_text("restored"), "a changed row shows in the dump");
}

#[test]
fn fixture_round_trips_on_15() {
    skip_unless!(Tool::Pg15);
    fixture_round_trip(PgVersion::V15);
}

#[test]
fn fixture_round_trips_on_18() {
    skip_unless!(Tool::Pg18);
    fixture_round_trip(PgVersion::V18);
}

#[test]
fn fixture_moves_from_15_to_18() {
    skip_unless!(Tool::Pg15, Tool::Pg18);
    let (old, new) = (PgServer::start(PgVersion::V15), PgServer::start(PgVersion::V18));
    old.create_varied("moved");
    new.load_roles();
    new.create_database("moved");
    // By the old server's own pg_dump: a newer major version may be too old in its minor one. Version 15.20 keeps
    // an internal option `pg_attver` on every column; the pg_dump of 18.6 writes it down, and 18.6 refuses it.
    new.restore_custom("moved", &old.dump_custom("moved"));
    assert_eq!(old.row_counts("moved"), new.row_counts("moved"));
}

#[test]
fn configuration_tables_of_an_extension_are_dumped() {
    for version in PgVersion::ALL {
        skip_unless!(version.tool());
        let server = PgServer::start(version);
        if !install_test_extension(&server) {
            return;
        }
        server.create_database("a");
        create_test_extension(&server, "a");
        server.create_database("b");
        server.restore_custom("b", &server.dump_custom("a"));
        assert_same_dump(&server.dump_text("a"), &server.dump_text("b"));
        let rows = server.psql("b", "SELECT name FROM tik_test_settings.entry ORDER BY name");
        assert_eq!(rows, "also mine\nbuilt in\nmine");
        assert_eq!(server.psql("b", "SELECT nextval('tik_test_settings.kept_whole_id_seq')"), "4");
    }
}

#[test]
fn databases_may_have_hostile_names() {
    skip_unless!(Tool::Pg15);
    let server = PgServer::start(PgVersion::V15);
    for name in PgServer::HOSTILE_DATABASES {
        server.create_database(name);
        assert_eq!(server.psql(name, "SELECT current_database()"), name);
        server.psql(name, "CREATE TABLE t AS SELECT 1 AS x");
        assert!(server.dump_text(name).contains("CREATE TABLE public.t"));
    }
}

#[test]
fn a_port_asks_for_the_password() {
    for version in PgVersion::ALL {
        skip_unless!(version.tool());
        let server = PgOptions::new(version).tcp().start();
        let connect = |password: &str| {
            let mut psql = server.client("psql");
            psql.env("PGHOST", "127.0.0.1").env("PGPASSWORD", password).args(["-XAtc", "SELECT 1"]);
            run(&mut psql, b"", Duration::from_secs(60)).status.success()
        };
        assert!(connect(PgServer::PASSWORD));
        assert!(!connect("wrong"));
        assert_eq!(fs::read_to_string(server.password_file()).unwrap(), PgServer::PASSWORD);
    }
}

#[test]
fn tls_is_demanded_and_verified() {
    skip_unless!(Tool::Pg15, Tool::Openssl);
    let server = PgOptions::new(PgVersion::V15).tls().start();
    let ca = server.ca_file().unwrap();
    let connect = |mode: &str, ca: Option<&Path>| {
        let mut psql = server.client("psql");
        psql.env("PGHOST", "localhost").env("PGHOSTADDR", "127.0.0.1").env("PGPASSWORD", PgServer::PASSWORD);
        psql.env("PGSSLMODE", mode).env("PGSSLROOTCERT", ca.unwrap_or("/nonexistent".as_ref()));
        run(psql.args(["-XAtc", "SELECT 1"]), b"", Duration::from_secs(60)).status.success()
    };
    assert!(connect("verify-full", Some(&ca)));
    assert!(!connect("verify-full", None), "an authority nobody named is not trusted");
    assert!(!connect("disable", None), "in the clear nobody gets in");
}

#[test]
fn a_server_comes_back_with_its_data_and_goes_when_dropped() {
    skip_unless!(Tool::Pg15);
    let mut server = PgOptions::new(PgVersion::V15).setting("application_name", "it's").start();
    let socket = server.socket_dir().join(".s.PGSQL.5432");
    server.psql("postgres", "CREATE TABLE t (x int); CHECKPOINT; INSERT INTO t VALUES (1)");
    assert_eq!(server.psql("postgres", "SHOW application_name"), "psql");
    server.stop();
    assert!(!answers(&socket));
    server.restart();
    assert_eq!(server.psql("postgres", "SELECT count(*) FROM pg_tables WHERE tablename = 't'"), "1");
    let data = server.data_dir();
    drop(server);
    assert!(!answers(&socket) && !data.exists());
}

/// Not a test of its own: the next tests start it as a process and kill that while its server runs.
#[test]
#[ignore = "the tests of killed processes start it"]
fn inner_process_that_is_killed() {
    let report = env::var_os("TIK_BACKUP_TEST_INNER").expect("it is started by another test");
    let which = env::var("TIK_BACKUP_TEST_INNER_SERVER").unwrap();
    // Started by a thread that ends at once: the server must live on while the process does.
    let (sign, _server): (_, Box<dyn std::any::Any + Send>) = thread::spawn(move || match which.as_str() {
        "postgres" => {
            let server = PgServer::start(PgVersion::V15);
            (server.socket_dir().join(".s.PGSQL.5432"), Box::new(server) as _)
        }
        "mysql" => {
            let server = MyServer::start(MyFlavour::Mysql97);
            (server.socket(), Box::new(server) as _)
        }
        "mariadb" => {
            let server = MyServer::start(MyFlavour::Mariadb1011);
            (server.socket(), Box::new(server) as _)
        }
        other => {
            assert_eq!(other, "mongodb");
            let server = MongoServer::start();
            // It is ready when its port accepts connections.
            (server.data_dir().join(server.port().to_string()), Box::new(server) as _)
        }
    })
    .join()
    .unwrap();
    thread::sleep(Duration::from_millis(300));
    assert!(lives(&sign));
    fs::write(report, sign.to_str().unwrap()).unwrap();
    thread::sleep(Duration::from_secs(60));
}

/// Whether someone accepts connections on this socket, or on the port that the path ends in.
fn lives(sign: &Path) -> bool {
    match sign.file_name().and_then(|name| name.to_str()?.parse::<u16>().ok()) {
        Some(port) => TcpStream::connect(("127.0.0.1", port)).is_ok(),
        None => answers(sign),
    }
}

fn server_ends_with_a_killed_test_process(which: &str) {
    let report = tempfile::NamedTempFile::new().unwrap();
    let mut inner = Command::new(env::current_exe().unwrap())
        .args(["--exact", "servers::inner_process_that_is_killed", "--ignored", "--nocapture"])
        .env("TIK_BACKUP_TEST_INNER", report.path())
        .env("TIK_BACKUP_TEST_INNER_SERVER", which)
        .spawn()
        .unwrap();
    let wait_until = |what: &str, done: &dyn Fn() -> bool| {
        let met = (0..600).any(|_| {
            done() || {
                thread::sleep(Duration::from_millis(50));
                false
            }
        });
        assert!(met, "waited in vain until {what}");
    };
    wait_until("the inner process has a server", &|| fs::metadata(report.path()).unwrap().len() > 0);
    let sign = std::path::PathBuf::from(fs::read_to_string(report.path()).unwrap());
    assert!(lives(&sign));
    inner.kill().unwrap();
    inner.wait().unwrap();
    wait_until("the server has gone", &|| !lives(&sign));
    fs::remove_dir_all(sign.parent().unwrap().parent().unwrap()).unwrap();
}

#[test]
fn a_server_ends_with_a_killed_test_process() {
    skip_unless!(Tool::Pg15);
    server_ends_with_a_killed_test_process("postgres");
}

#[test]
fn mysql_servers_end_with_a_killed_test_process() {
    skip_unless!(Tool::Mysql97, Tool::Mariadb);
    server_ends_with_a_killed_test_process("mysql");
    server_ends_with_a_killed_test_process("mariadb");
}

#[test]
fn a_mongodb_server_ends_with_a_killed_test_process() {
    skip_unless!(Tool::Mongo);
    server_ends_with_a_killed_test_process("mongodb");
}

#[test]
fn mysql_servers_load_what_they_dump() {
    for flavour in MyFlavour::ALL {
        skip_unless!(flavour.tool());
        let mut server = MyServer::start(flavour);
        assert!(server.sql(None, "SELECT VERSION()").starts_with(flavour.version()), "{flavour:?}");
        for name in ["it's \"a\" `db`", "größe 東京", "--clean"].map(str::to_owned) {
            server.create_database(&name);
            assert_eq!(server.sql(Some(&name), "SELECT DATABASE()"), name);
        }
        server.create_database("a");
        server.sql(
            Some("a"),
            "CREATE TABLE t (id int PRIMARY KEY AUTO_INCREMENT, x varchar(99), y blob) CHARSET utf8mb4;
             INSERT INTO t (x, y) VALUES ('tab\\t🐘', x'00ff27'), (NULL, '');
             CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW SET NEW.x = 'by trigger';
             CREATE VIEW v AS SELECT count(*) AS n FROM t;
             CREATE EVENT e ON SCHEDULE EVERY 1 DAY STARTS '2020-01-01' DO DELETE FROM t;
             DELIMITER //
             CREATE PROCEDURE p() BEGIN INSERT INTO t (x) VALUES ('x'); END//",
        );
        assert_eq!(server.sql(Some("a"), "SELECT x, hex(y) FROM t"), "tab\\t🐘\t00FF27\nNULL\t");
        let dump = server.dump_text("a");
        server.sql(None, "CREATE DATABASE b COLLATE latin1_swedish_ci");
        server.load("b", dump.replace("`…`", "b").as_bytes());
        assert_same_dump(&dump, &server.dump_text("b"));
        server.sql(Some("b"), "CALL p()");
        assert_eq!(server.sql(Some("b"), "SELECT n FROM v"), "3");
        assert!(dump != server.dump_text("b"), "a row more is a difference");
        assert!(server.try_sql(Some("a"), "SELECT nothing").unwrap_err().contains("Unknown column"));

        server.stop();
        assert!(!answers(&server.socket()));
        server.restart();
        assert_eq!(server.sql(Some("b"), "SELECT x FROM t ORDER BY id DESC LIMIT 1"), "by trigger");
        let (data, socket) = (server.data_dir(), server.socket());
        drop(server);
        assert!(!answers(&socket) && !data.exists());
    }
}

#[test]
fn mysql_servers_demand_tls_and_a_password() {
    for flavour in MyFlavour::ALL {
        skip_unless!(flavour.tool(), Tool::Openssl);
        let server = MyOptions::new(flavour).tls().setting("log-bin=binlog").setting("server-id=7").start();
        assert_eq!(server.sql(None, "SELECT @@log_bin, @@server_id"), "1\t7");
        server.create_backup_account();
        let ca = server.ca_file().unwrap();
        let connect = |user: &str, password: &str, tls: &[&str]| {
            let mut client = Command::new(flavour.bin("mysql"));
            client.args(["--no-defaults", "--protocol=tcp", "--host=127.0.0.1"]).env("MYSQL_PWD", password);
            client.arg(format!("--port={}", server.port())).arg(format!("--user={user}")).args(tls);
            run(client.args(["-e", "SELECT 1"]), b"", Duration::from_secs(60)).status.success()
        };
        let trusted = format!("--ssl-ca={}", ca.display());
        let (verify, none) = match flavour {
            MyFlavour::Mysql97 => ("--ssl-mode=VERIFY_IDENTITY", "--ssl-mode=DISABLED"),
            MyFlavour::Mariadb1011 => ("--ssl-verify-server-cert", "--skip-ssl"),
        };
        assert!(connect("backup", MyServer::PASSWORD, &[verify, &trusted]), "{flavour:?}: {}", server.log());
        assert!(!connect("backup", "wrong", &[verify, &trusted]));
        assert!(
            !connect("root", "", &[verify, &trusted]),
            "{flavour:?}: root comes in over the socket alone"
        );
        assert!(!connect("backup", MyServer::PASSWORD, &[none]), "in the clear nobody gets in");
        assert!(!connect("backup", MyServer::PASSWORD, &[verify, "--ssl-ca=/nonexistent"]));
        let config = ConfigBuilder::new().mysql("my", &server, "exclude = [\"x\"]").build();
        let toml: toml::Table = fs::read_to_string(config.path()).unwrap().parse().unwrap();
        assert_eq!(toml["sources"]["my"]["host"].as_str(), server.socket().to_str());
        assert_eq!(fs::read_to_string(server.password_file()).unwrap(), MyServer::PASSWORD);
    }
}

#[test]
fn a_mongodb_server_keeps_documents_byte_for_byte() {
    skip_unless!(Tool::Mongo);
    let mut server = MongoServer::start();
    let version = server.command("admin", doc! { "buildInfo": 1 });
    assert!(version.get_str("version").unwrap().contains('.'), "{version}");
    let second = doc! { "_id": 2, "z": "größe 🐘", "a": { "n": 1_i64, "d": 0.5, "null": null } };
    server.insert("shop", "orders", [second.clone(), doc! { "_id": 1 }]);
    let expected = [doc! { "_id": 1 }, second].map(|document| RawDocumentBuf::try_from(&document).unwrap());
    assert_eq!(server.documents("shop", "orders"), expected);
    assert!(server.try_command("shop", doc! { "no such command": 1 }).is_err());
    let failing = doc! { "configureFailPoint": "failCommand", "mode": { "times": 1 },
    "data": { "failCommands": ["find"], "errorCode": 239 } };
    assert!(server.try_command("admin", failing.clone()).is_err(), "test commands must be asked for");

    let port = server.port();
    server.stop();
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    server.restart();
    assert_eq!((server.port(), server.documents("shop", "orders").len()), (port, 2));
    let config = ConfigBuilder::new().mongodb("mongo", &server, "exclude = [\"x\"]").build();
    let toml: toml::Table = fs::read_to_string(config.path()).unwrap().parse().unwrap();
    let file = toml["sources"]["mongo"]["uri_file"].as_str().unwrap();
    assert_eq!(fs::read_to_string(file).unwrap(), server.uri());
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&fs::metadata(file).unwrap()) & 0o777, 0o600);
    let data = server.data_dir();
    drop(server);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err() && !data.exists());

    let server = MongoServer::start_with_test_commands();
    server.insert("shop", "orders", [doc! { "_id": 1 }]);
    server.command("admin", failing);
    let error = server.try_command("shop", doc! { "find": "orders" }).unwrap_err();
    assert!(error.contains("239"), "{error}");
    assert!(server.try_command("shop", doc! { "find": "orders" }).is_ok(), "once is once");
}

#[test]
fn both_restics_work_and_read_each_other() {
    let (Some(old), Some(new)) = (Restic::old(), Restic::new_()) else { return };
    assert_ne!(old.version(), new.version());
    let config = ConfigBuilder::new().build();
    let (repo, password) = (config.repo(), config.password_file());
    old.init(&repo, &password);
    assert!(old.snapshots_json(&repo, &password).is_empty());
    for (restic, name) in [(&old, "by old"), (&new, "by new")] {
        restic.backup_stdin(&repo, &password, name, name.as_bytes());
    }
    for restic in [&old, &new] {
        restic.check(&repo, &password, true);
        let snapshots = restic.snapshots_json(&repo, &password);
        assert_eq!(snapshots.len(), 2);
        for snapshot in snapshots {
            let (id, path) = (snapshot["id"].as_str().unwrap(), snapshot["paths"][0].as_str().unwrap());
            assert_eq!(restic.dump(&repo, &password, id, path), path.trim_start_matches('/').as_bytes());
            let target = tempfile::tempdir().unwrap();
            restic.restore_verify(&repo, &password, id, target.path());
            assert!(target.path().join(path.trim_start_matches('/')).exists());
        }
    }
    let wrong = ConfigBuilder::new().password("wrong").build();
    assert!(!old.run(&repo, &wrong.password_file(), &["snapshots"]).status.success());
}

#[test]
fn configurations_are_toml_and_the_program_is_built() {
    let builder = ConfigBuilder::new();
    let secret = builder.secret("a secret", "x");
    let config = builder.top("x = 1").source("odd \"name\"", "kind = \"directory\"").build();
    let value: toml::Table = fs::read_to_string(config.path()).unwrap().parse().unwrap();
    assert_eq!(value["repository"]["location"].as_str(), config.repo().to_str());
    assert_eq!(value["sources"]["odd \"name\""]["kind"].as_str(), Some("directory"));
    for file in [secret, config.password_file()] {
        let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(file).unwrap());
        assert_eq!(mode & 0o777, 0o600);
    }
    Cmd::new().arg("--version").run().ok();
}
