//! Passwords and TLS: the right ones let in, the wrong ones say what to do, and none is ever seen.

use std::{
    collections::BTreeSet,
    fs,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use testkit::{
    Cmd, Config, ConfigBuilder, LockedTable, PgOptions, PgServer, PgVersion, Tool, onlookers::family,
    process::run_ok, program::quoted, skip_unless,
};

use super::support::{SOURCE, assert_says, client_dirs, item, ready, snapshots, try_backup};

const REPOSITORY_PASSWORD: &str = "Rp-7f3a91 of the repository";

/// The server over its port, verified against an authority, with a password from a file.
fn over_tls(server: &PgServer, ca: &str, password: &str) -> Config {
    let builder = ConfigBuilder::new().password(REPOSITORY_PASSWORD);
    let file = builder.secret("database-password", password);
    ready(builder.source(
        SOURCE,
        &format!(
            "kind = \"postgres\"\nhost = \"localhost\"\nport = {}\nuser = \"postgres\"\npassword_file = {}\n\
             sslmode = \"verify-full\"\nsslrootcert = {}\n{}",
            server.port(),
            quoted(file.to_str().unwrap()),
            quoted(ca),
            client_dirs(&[server.version()])
        ),
    ))
}

fn another_authority(folder: &std::path::Path) -> String {
    let openssl = Tool::Openssl.path().unwrap();
    let args =
        ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
    let mut command = Command::new(openssl);
    command.current_dir(folder).args(args).args([
        "-subj",
        "/CN=another",
        "-keyout",
        "other.key",
        "-out",
        "other.crt",
    ]);
    run_ok(&mut command, b"");
    folder.join("other.crt").to_str().unwrap().to_owned()
}

#[test]
fn tls_is_verified_and_wrong_secrets_say_what_to_do() {
    skip_unless!(Tool::Pg15, Tool::Openssl);
    let server = PgOptions::new(PgVersion::V15).tls().start();
    server.create_database("shop");
    server.psql("shop", "CREATE TABLE t AS SELECT 1 AS x");
    let ca = server.ca_file().unwrap().to_str().unwrap().to_owned();
    let folder = tempfile::tempdir().unwrap();

    let config = over_tls(&server, &ca, PgServer::PASSWORD);
    let ran = try_backup(&config, &[]).ok();
    assert_eq!(snapshots(&config).len(), 2);
    assert!(!ran.stdout.contains(PgServer::PASSWORD) && !ran.stderr.contains(PgServer::PASSWORD));
    // A server that demands TLS and a name only in the configuration: restored by name, over the same way.
    super::support::restore(&config, "shop", &["--into", "copy"]);
    assert_eq!(server.psql("copy", "SELECT x FROM t"), "1");

    let config = over_tls(&server, &another_authority(folder.path()), PgServer::PASSWORD);
    let ran = try_backup(&config, &[]).expect_code(1);
    assert_says(&ran.stdout, &["certificate verify failed", "sslrootcert"]);
    assert!(snapshots(&config).is_empty());

    let wrong = "Wrong-5d1c password";
    let config = over_tls(&server, &ca, wrong);
    for ran in [try_backup(&config, &[]), Cmd::with(&config).args(["-vvv", "discover"]).run()] {
        let ran = ran.expect_code(1);
        assert_says(
            &format!("{}{}", ran.stdout, ran.stderr),
            &["password authentication failed", "password_file"],
        );
        assert!(!ran.stdout.contains(wrong) && !ran.stderr.contains(wrong));
    }
    assert!(snapshots(&config).is_empty());

    let config = over_tls(&server, &ca, PgServer::PASSWORD);
    fs::write(config.password_file(), "Wrong-5d1c repository").unwrap();
    let ran = try_backup(&config, &[]).expect_code(4);
    assert!(!ran.stderr.contains("Wrong-5d1c") && !ran.stdout.contains("Wrong-5d1c"));
}

/// What any user (arguments) or the same user (environment) can read of a process.
fn visible(pid: u32) -> Vec<u8> {
    let read = |what: &str| fs::read(format!("/proc/{pid}/{what}")).unwrap_or_default();
    [read("cmdline"), read("environ")].join(&b'\n')
}

fn contains(text: &[u8], part: &str) -> bool {
    text.windows(part.len()).any(|window| window == part.as_bytes())
}

#[test]
fn no_password_is_in_arguments_or_environment() {
    skip_unless!(Tool::Pg15, Tool::Openssl);
    let server = PgOptions::new(PgVersion::V15).tls().start();
    server.create_database("shop");
    server.psql("shop", "CREATE TABLE t AS SELECT 1 AS x");
    let ca = server.ca_file().unwrap().to_str().unwrap().to_owned();
    let config = over_tls(&server, &ca, PgServer::PASSWORD);
    let lock = LockedTable::hold(&server, "shop", "t");
    let mut command = Cmd::with(&config).args(["--json", "backup", "pg/shop"]).into_command();
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();

    // From its start until pg_dump waits for the table, and for some looks after that.
    let begin = Instant::now();
    let (mut seen, mut dumping) = (BTreeSet::new(), 0);
    while dumping < 20 {
        assert!(begin.elapsed() < Duration::from_secs(120), "pg_dump was not seen, only {seen:?}");
        assert!(child.try_wait().unwrap().is_none(), "the backup ended although the table is locked");
        for pid in family(child.id()) {
            let text = visible(pid);
            for secret in [PgServer::PASSWORD, REPOSITORY_PASSWORD] {
                assert!(!contains(&text, secret), "seen: {}", String::from_utf8_lossy(&text));
            }
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            dumping += u32::from(name.trim() == "pg_dump" && contains(&text, "PGPASSFILE="));
            seen.insert(name.trim().to_owned());
        }
        thread::sleep(Duration::from_millis(5));
    }
    assert!(seen.contains("psql") && seen.contains("tik-backup"), "{seen:?}");
    let passfiles: BTreeSet<String> = family(child.id())
        .into_iter()
        .flat_map(|pid| {
            let text = String::from_utf8_lossy(&visible(pid)).into_owned();
            text.split('\0')
                .filter_map(|v| v.strip_prefix("PGPASSFILE="))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect();
    assert!(!passfiles.is_empty());
    drop(lock);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let report = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(item(&report, "shop")["outcome"], "ok");
    for file in passfiles {
        assert!(!std::path::Path::new(&file).exists(), "{file} is removed at the end");
    }
}

/// pg_restore repeats the failed command, which may contain a password of another server.
#[test]
fn a_failed_restore_does_not_show_what_it_restores() {
    skip_unless!(Tool::Pg15);
    let server = PgServer::start(PgVersion::V15);
    server.create_database("shop");
    server.psql(
        "shop",
        "CREATE ROLE mapped; CREATE EXTENSION postgres_fdw;
         CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '192.0.2.1');
         CREATE USER MAPPING FOR mapped SERVER elsewhere OPTIONS (user 'x', password 'Remote-9b2e secret')",
    );
    let config = super::support::configured(&server, "");
    let ran = try_backup(&config, &[]).ok();
    assert!(!ran.stdout.contains("Remote-9b2e") && !ran.stderr.contains("Remote-9b2e"));
    let other = PgServer::start(PgVersion::V15);
    let into = super::support::url(&other, "postgres", "shop");
    let ran = super::support::try_restore(&config, "shop", &["--into", &into, "--no-roles"]).expect_code(1);
    assert_says(&ran.stderr, &["mapped", "does not exist"]);
    assert!(!ran.stderr.contains("Remote-9b2e") && !ran.stdout.contains("Remote-9b2e"), "{}", ran.stderr);
    let folder = tempfile::tempdir().unwrap();
    super::support::files_of(&config, "shop", "latest", folder.path());
    let manifest = fs::read_to_string(folder.path().join("manifest.json")).unwrap();
    assert!(!manifest.contains("Remote-9b2e"), "the manifest holds digests of definitions, not their text");
}
