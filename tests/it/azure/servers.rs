//! `azure = true`: database servers that are found in a tenant. The servers are real, the tenant is not.

use std::fs;

use testkit::{
    Cmd, Config, ConfigBuilder, LockedTable, MyFlavour, MyOptions, MyServer, PgOptions, PgServer, PgVersion,
    Tool,
    azure::{CLIENT, FakeAzure, Fault, SECRET, Server, TENANT},
    onlookers::{contains, family, visible},
    program::quoted,
    reports::{
        assert_says, backup, discover, edit, error_of, files_below, ids_of, item, ready, restore,
        snapshot_of, try_backup, try_restore,
    },
    running::{Running, wait_until},
    skip_unless,
};

use super::support::principal;

const POSTGRES: &str = "Microsoft.DBforPostgreSQL";
const MYSQL: &str = "Microsoft.DBforMySQL";

/// A tenant with one subscription, and its id.
fn tenant() -> (FakeAzure, String) {
    let azure = FakeAzure::start();
    let subscription = azure.add_subscription("Production");
    (azure, subscription)
}

fn add_server(azure: &FakeAzure, subscription: &str, provider: &str, name: &str, host: &str, state: &str) {
    azure.add_server(Server {
        provider: provider.to_owned(),
        subscription: subscription.to_owned(),
        name: name.to_owned(),
        host: host.to_owned(),
        version: "16".to_owned(),
        state: state.to_owned(),
    });
}

/// A configuration whose source `db` is all servers of the tenant, with a repository that exists.
fn configured(azure: &FakeAzure, password: &str, keys: &str) -> Config {
    let builder = ConfigBuilder::new();
    let principal = principal(&builder, azure);
    let password = builder.secret("server-password", password);
    let password = quoted(password.to_str().unwrap());
    ready(builder.source("db", &format!("azure = true\n{principal}password_file = {password}\n{keys}")))
}

fn postgres(azure: &FakeAzure, server: &PgServer, keys: &str) -> Config {
    let clients = quoted(server.version().bin_dir().to_str().unwrap());
    let port = server.port();
    let keys =
        format!("kind = \"postgres\"\nuser = \"postgres\"\nport = {port}\nclient_dirs = [{clients}]\n{keys}");
    configured(azure, PgServer::PASSWORD, &keys)
}

/// A server on two addresses, which counts as two: their names and not what they hold tell them apart.
fn on_two_addresses() -> PgServer {
    PgOptions::new(PgVersion::V15).tcp().setting("listen_addresses", "127.0.0.1,127.0.0.2").start()
}

fn items(report: &serde_json::Value) -> Vec<&str> {
    let mut items: Vec<_> =
        report["items"].as_array().unwrap().iter().map(|item| item["item"].as_str().unwrap()).collect();
    items.sort_unstable();
    items
}

#[test]
fn every_server_is_found_and_what_is_not_protected_is_said() {
    skip_unless!(Tool::Pg15);
    let server = on_two_addresses();
    server.psql("postgres", "CREATE ROLE app");
    for database in ["shop", "odd /name"] {
        server.create_database(database);
    }
    server.psql("shop", "CREATE TABLE t AS SELECT generate_series(1, 100) AS x; ALTER TABLE t OWNER TO app");
    let (azure, subscription) = tenant();
    add_server(&azure, &subscription, POSTGRES, "alpha", "127.0.0.1", "Ready");
    add_server(&azure, &subscription, MYSQL, "other", "127.0.0.9", "Ready");
    let config = postgres(&azure, &server, "sslmode = \"disable\"\n");

    let first = backup(&config);
    assert_eq!(items(&first), ["alpha/@globals", "alpha/odd /name", "alpha/shop"]);
    assert_eq!(item(&first, "alpha/shop")["kind"], "postgres");

    // A bare name is a database on the item's own server.
    let done = restore(&config, "db/alpha/shop", &["--into", "shop_copy"]);
    assert_eq!((&done["database"], &done["rows"]), (&"shop_copy".into(), &100.into()));
    assert_eq!(server.psql("shop_copy", "SELECT count(*) FROM t"), "100");
    restore(&config, "db/alpha/odd /name", &["--into", "odd_copy"]);
    // Roles that another server lacks come from the globals of the item's server.
    let other = PgOptions::new(PgVersion::V15).tcp().start();
    let url = format!("postgresql://postgres@127.0.0.1:{}/shop?sslmode=disable", other.port());
    let password = other.password_file();
    let done =
        restore(&config, "db/alpha/shop", &["--into", &url, "--password-file", password.to_str().unwrap()]);
    assert_eq!(done["roles_created"], serde_json::json!(["app"]), "{done:#}");
    let owner = "SELECT tableowner FROM pg_tables WHERE tablename = 't'";
    assert_eq!(other.psql("shop", owner), "app");
    for database in ["shop_copy", "odd_copy"] {
        server.psql("postgres", &format!("DROP DATABASE {database}"));
    }

    // A new server in another subscription, one that is stopped and one that does not answer.
    let second = azure.add_subscription("Test");
    add_server(&azure, &second, POSTGRES, "beta", "127.0.0.2", "Ready");
    let report = backup(&config);
    assert_eq!(item(&report, "beta/shop")["outcome"], "ok");
    assert_eq!(ids_of(&config, "db/beta/shop").len(), 1);
    add_server(&azure, &second, POSTGRES, "halted", "127.0.0.2", "Stopped");
    add_server(&azure, &second, POSTGRES, "silent", "127.0.0.9", "Ready");
    let ran = try_backup(&config, &[]).expect_code(3);
    let report = ran.json();
    assert_says(error_of(&report, "halted"), &["Stopped", "NOT protected", "exclude_servers"]);
    assert_says(error_of(&report, "silent"), &["127.0.0.9"]);
    assert_says(&ran.stderr, &["db/halted: FAILED", "db/silent: FAILED"]);
    for database in ["alpha/shop", "alpha/@globals", "beta/shop", "beta/odd /name"] {
        assert_eq!(item(&report, database)["outcome"], "ok");
    }
    let newest = ids_of(&config, "db/alpha/shop").pop();
    assert_eq!(newest.as_deref(), Some(snapshot_of(&report, "alpha/shop")));
    // Restoring asks for the one server only.
    restore(&config, "db/beta/shop", &["--into", "shop_copy"]);

    edit(
        &config,
        "azure = true",
        "azure = true\nexclude_servers = [\"halted\", \"sil*\"]\nexclude = [\"*_copy\"]",
    );
    let report = backup(&config);
    assert!(items(&report).iter().all(|item| item.starts_with("alpha/") || item.starts_with("beta/")));
    let found = discover(&config, 0);
    for (name, rule) in [
        ("halted", "exclude_servers = \"halted\""),
        ("silent", "exclude_servers = \"sil*\""),
        ("beta/shop_copy", "exclude = \"*_copy\""),
    ] {
        assert!(found.excluded.contains(&(name.to_owned(), rule.to_owned())), "{:?}", found.excluded);
    }
    let ran = try_restore(&config, "db/alpha/shop", &["--into", "shop_copy"]).expect_code(1);
    assert_says(&ran.stderr, &["shop_copy"]);
}

#[test]
fn a_subscription_that_refuses_hides_no_server_of_another() {
    let (azure, subscription) = tenant();
    add_server(&azure, &subscription, POSTGRES, "halted", "127.0.0.9", "Stopped");
    let second = azure.add_subscription("Test");
    let refuse = format!("/subscriptions/{second}/providers");
    azure.fault(Fault::answer("GET", &refuse, 403, "AuthorizationFailed").always());
    let config = configured(&azure, "none", "kind = \"postgres\"\nuser = \"postgres\"\n");
    let found = discover(&config, 1);
    assert_says(
        &found.failed,
        &[
            "db/halted: ",
            "Stopped",
            "db/subscription:Test: ",
            "could not be listed",
            "AuthorizationFailed",
            "Reader",
        ],
    );
}

#[test]
fn a_mariadb_server_is_found_backed_up_and_restored() {
    skip_unless!(MyFlavour::Mariadb1011.tool());
    let server = MyOptions::new(MyFlavour::Mariadb1011).tcp().start();
    server.create_backup_account();
    for host in ["localhost", "127.0.0.1"] {
        server.sql(None, &format!("GRANT SHOW DATABASES, EXECUTE ON *.* TO backup@'{host}'"));
        server.sql(None, &format!("GRANT ALL ON shop_copy.* TO backup@'{host}'"));
    }
    server.create_database("shop");
    server.sql(Some("shop"), "CREATE TABLE t (x INT PRIMARY KEY); INSERT INTO t VALUES (1), (2), (3)");
    let (azure, subscription) = tenant();
    add_server(&azure, &subscription, MYSQL, "maria", "127.0.0.1", "Ready");
    add_server(&azure, &subscription, POSTGRES, "other", "127.0.0.9", "Ready");
    let clients = quoted(server.flavour().client_dir().to_str().unwrap());
    let (port, keys) = (server.port(), "sslmode = \"disable\"\nglobals = false\n");
    let keys =
        format!("kind = \"mysql\"\nuser = \"backup\"\nport = {port}\nclient_dirs = [{clients}]\n{keys}");
    let config = configured(&azure, MyServer::PASSWORD, &keys);
    let report = backup(&config);
    assert_eq!(items(&report), ["maria/shop"]);
    let done = restore(&config, "db/maria/shop", &["--into", "shop_copy"]);
    assert_eq!((&done["database"], &done["rows"]), (&"shop_copy".into(), &3.into()));
    assert_eq!(server.sql(Some("shop_copy"), "SELECT sum(x) FROM t"), "6");
}

#[test]
fn what_is_wrong_with_the_service_principal_is_said_without_its_secret() {
    let (azure, subscription) = tenant();
    add_server(&azure, &subscription, MYSQL, "other", "127.0.0.9", "Ready");
    let keys = "kind = \"postgres\"\nuser = \"postgres\"\n";
    let config = configured(&azure, "Geheim-71c3", keys);
    let fails = |says: &[&str], secret: &str| {
        for command in [&["-vvv", "--json", "backup"][..], &["-vvv", "discover"]] {
            let ran = Cmd::with(&config).args(command).run().expect_code(1);
            let text = format!("{}{}", ran.stdout, ran.stderr);
            assert_says(&text, says);
            assert!(!text.contains(secret) && !text.contains("Geheim-71c3"), "{text}");
        }
    };
    fails(&["sees no flexible server", "Reader"], SECRET);
    azure.set_secret_expired(true);
    fails(&["the client secret has expired"], SECRET);
    azure.set_secret_expired(false);
    for (file, right, wrong, says) in [
        ("azure-secret", SECRET, "Wrong-5d1c~secret", "the client secret is wrong"),
        ("azure-client", CLIENT, "00000000-aaaa-bbbb-cccc-000000000000", "the client id is unknown"),
        ("azure-tenant", TENANT, "00000000-dddd-eeee-ffff-000000000000", "the tenant id is wrong"),
    ] {
        fs::write(config.dir().join(file), wrong).unwrap();
        fails(&[says], if file == "azure-secret" { wrong } else { SECRET });
        fs::write(config.dir().join(file), right).unwrap();
    }

    let text = fs::read_to_string(config.path()).unwrap();
    let tenant_line = text.lines().find(|line| line.starts_with("tenant_id_file")).unwrap();
    for (from, to, says) in [
        ("azure = true", "azure = true\nhost = \"db.example.net\"", "sources.db.host"),
        (tenant_line, "", "sources.db.tenant_id_file"),
        ("azure = true", "azure = false", "tenant_id_file"),
        ("azure = true", "azure = true\nexclude_server = [\"x\"]", "exclude_servers"),
    ] {
        edit(&config, from, to);
        let ran = Cmd::with(&config).arg("backup").run().expect_code(2);
        assert_says(&ran.stderr, &[says]);
        assert!(!ran.stderr.contains(SECRET));
        fs::write(config.path(), &text).unwrap();
    }
}

/// Found servers are verified as any other remote server is, although their names are not in the configuration.
#[test]
fn a_found_server_is_verified_and_no_secret_is_seen() {
    skip_unless!(Tool::Pg15, Tool::Openssl);
    let server = PgOptions::new(PgVersion::V15).tls().start();
    server.create_database("shop");
    server.psql("shop", "CREATE TABLE t AS SELECT 1 AS x");
    let (azure, subscription) = tenant();
    add_server(&azure, &subscription, POSTGRES, "alpha", "localhost", "Ready");
    // Its certificates are no public authority's: a source that does not mention TLS is refused.
    let config = postgres(&azure, &server, "");
    let ran = try_backup(&config, &[]).expect_code(1);
    assert_says(error_of(&ran.json(), "alpha"), &["certificate"]);
    let ca = quoted(server.ca_file().unwrap().to_str().unwrap());
    edit(&config, "azure = true", &format!("azure = true\nsslrootcert = {ca}"));

    let lock = LockedTable::hold(&server, "shop", "t");
    let command = Cmd::with(&config).args(["-vvv", "backup", "db/alpha/shop"]).into_command();
    let mut run = Running::start(command);
    // From its start until pg_dump waits for the table, and for some looks after that.
    let mut dumping = 0;
    wait_until("pg_dump was seen at work", || {
        assert!(!run.has_ended(), "it ended although the table is locked:\n{}", run.stderr());
        for pid in family(run.id()) {
            let text = visible(pid);
            for secret in [SECRET, PgServer::PASSWORD] {
                assert!(!contains(&text, secret), "seen: {}", String::from_utf8_lossy(&text));
            }
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            dumping += usize::from(name.trim() == "pg_dump");
        }
        dumping >= 20
    });
    drop(lock);
    let ended = run.finish().expect_code(0);
    for secret in [SECRET, PgServer::PASSWORD] {
        assert!(!ended.stdout.contains(secret) && !ended.stderr.contains(secret), "{}", ended.stderr);
        let holders: Vec<_> = files_below(config.dir())
            .into_iter()
            .filter(|file| contains(&fs::read(file).unwrap(), secret))
            .collect();
        assert_eq!(holders.len(), 1, "only the file that the configuration names: {holders:?}");
    }
    restore(&config, "db/alpha/shop", &["--into", "shop_copy"]);
    assert_eq!(server.psql("shop_copy", "SELECT x FROM t"), "1");
}
