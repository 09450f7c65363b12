//! Passwords with every character that must be escaped work, and are never shown.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use testkit::{
    Cmd, ConfigBuilder, FakeClients, MyFlavour, MyOptions, MyServer,
    mysql_world::{SOURCE, started},
    onlookers::{contains, family, visible},
    reports::{files_below, ready, try_backup},
    running::Running,
};

on_both!(passwords_are_never_seen);

/// A part of [`MyServer::PASSWORD`] that is the same however it is escaped.
const PART: &str = "w%20o@r/d?#;=";

fn passwords_are_never_seen(flavour: MyFlavour) {
    assert!(MyServer::PASSWORD.contains(PART));
    let server = started(MyOptions::new(flavour).tcp());
    server.create_database("shop");
    server.sql(Some("shop"), "CREATE TABLE t (x longtext); INSERT INTO t VALUES (REPEAT('x', 3000000))");
    let clients = FakeClients::of_mysql(flavour);
    // Over the port: there the server asks for the password, and a client might show it to ask.
    let source = clients.instead(flavour, &server.config_toml());
    let socket = format!("host = \"{}\"", server.socket().display());
    assert!(source.contains(&socket));
    let source = source.replace(&socket, &format!("host = \"127.0.0.1\"\nport = {}", server.port()));
    let repository = "Rp-7f3a91 of the repository";
    let config = ready(ConfigBuilder::new().password(repository).source(SOURCE, &source));
    let hold = clients.hold("shop");
    let mut running = Running::start(Cmd::with(&config).args(["-vvv", "backup"]).into_command());
    hold.wait_reached(&mut running);
    let seen: Vec<_> = family(running.id()).into_iter().map(visible).collect();
    let dumps = seen.iter().filter(|bytes| contains(bytes, "--single-transaction")).count();
    assert!(dumps >= 2, "the script and the real tool are among the {} processes", seen.len());
    for bytes in &seen {
        let text = String::from_utf8_lossy(bytes);
        assert!(!contains(bytes, PART) && !contains(bytes, repository), "{text}");
    }
    let options = seen.iter().find_map(|bytes| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        text.split('\0').find_map(|argument| argument.strip_prefix("--defaults-file=").map(str::to_owned))
    });
    let options = options.expect("a dump tool with an option file");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(options.as_ref()), mode(Path::new(&options).parent().unwrap())), (0o600, 0o700));
    hold.release();
    let ended = running.finish().expect_code(0);
    assert!(!Path::new(&options).exists(), "the option file goes with the run");
    for text in [&ended.stdout, &ended.stderr] {
        assert!(!text.contains(PART) && !text.contains(repository), "{text}");
    }
    let files = files_below(config.dir());
    assert!(files.len() > 5 && files.contains(&config.path()), "{files:?}");
    for file in files.iter().filter(|file| **file != config.password_file()) {
        let bytes = fs::read(file).unwrap();
        assert!(!contains(&bytes, PART) && !contains(&bytes, repository), "{file:?}");
    }

    // A tool that prints its option file shows no more than that it did.
    clients
        .script("shop", "for a; do case $a in --defaults-file=*) cat \"${a#*=}\" >&2;; esac; done; exit 1");
    let ran = try_backup(&config, &["my/shop"]).expect_code(1);
    assert!(ran.stderr.contains("[client]") || ran.stdout.contains("[client]"), "{}", ran.stdout);
    assert!(!ran.stderr.contains(MyServer::PASSWORD) && !ran.stdout.contains(MyServer::PASSWORD));
}
