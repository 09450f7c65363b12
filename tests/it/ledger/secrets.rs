//! Secrets planted in all places do not appear in any output or file.

use std::{fs, path::Path};

use testkit::{
    Cmd, ConfigBuilder, PgOptions, PgServer, PgVersion, Tool,
    program::quoted,
    receiver::{Mode, Receiver},
    site::{HOOK_SECRET, at},
    skip_unless,
};

const REPOSITORY: &str = "5ecret-of-the-repository";
const DATABASE: &str = PgServer::PASSWORD;

/// All files below a directory that contain one of the secrets.
fn leaks(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            leaks(&path, found);
        } else {
            let bytes = fs::read(&path).unwrap();
            for secret in [REPOSITORY, DATABASE, HOOK_SECRET] {
                if bytes.windows(secret.len()).any(|window| window == secret.as_bytes()) {
                    found.push(format!("{secret} in {}", path.display()));
                }
            }
        }
    }
}

#[test]
fn no_log_alert_history_row_or_metric_holds_a_secret() {
    skip_unless!(Tool::Pg15, Tool::Faketime);
    let server = PgOptions::new(PgVersion::V15).tcp().start();
    server.create_database("shop");
    let mut receiver = Receiver::start();
    let builder = ConfigBuilder::new().password(REPOSITORY);
    let url = builder.secret("hook-url", &receiver.url(&format!("/hooks/{HOOK_SECRET}")));
    let password = builder.secret("db-password", DATABASE);
    let hook = format!(
        "[[alerts]]\nkind = \"webhook\"\nurl_file = {}\ntimeout = \"1s\"\ntries = 1\n",
        quoted(&url.display().to_string())
    );
    let beat = format!(
        "[[alerts]]\nkind = \"heartbeat\"\nurl_file = {}\ntimeout = \"1s\"\ntries = 1\n",
        quoted(&url.display().to_string())
    );
    let source = format!(
        "kind = \"postgres\"\nhost = \"127.0.0.1\"\nport = {}\nuser = \"postgres\"\nsslmode = \"disable\"\npassword_file = {}",
        server.port(),
        quoted(&password.display().to_string())
    );
    let config = builder.tables(&hook).tables(&beat).source("pg", &source).build();
    let mut said = Cmd::with(&config).arg("init").run().ok().stderr;
    let mut run = |moment: &str, command: &[&str]| {
        let ran = at(Cmd::with(&config), moment).arg("-vvv").args(command).run();
        said += &ran.stdout;
        said += &ran.stderr;
    };
    run("2026-10-05 02:00:00", &["backup"]);
    // Provoke every kind of error message.
    fs::write(&password, "wr0ng").unwrap();
    receiver.answer(Mode::Answer(500, "", format!("no such path /hooks/{HOOK_SECRET}")));
    run("2026-10-06 02:00:00", &["backup"]);
    receiver.down();
    run("2026-10-06 03:00:00", &["watch"]);
    run("2026-10-06 03:00:00", &["status"]);
    run("2026-10-06 03:00:00", &["--json", "status"]);
    run("2026-10-06 03:00:00", &["status", "--prometheus"]);
    run("2026-10-06 03:00:00", &["alert", "test"]);
    for secret in [REPOSITORY, DATABASE, HOOK_SECRET] {
        assert!(!said.contains(secret), "{secret} in\n{said}");
    }
    assert!(
        said.contains("COULD NOT ALERT") && said.contains("pg: FAILED"),
        "the failures were shown: {said}"
    );
    for request in receiver.take() {
        for secret in [REPOSITORY, DATABASE, HOOK_SECRET] {
            assert!(!request.body.contains(secret), "{secret} in {}", request.body);
        }
    }
    let mut found = Vec::new();
    leaks(&config.state_dir(), &mut found);
    assert!(fs::metadata(config.state_dir().join("history.db")).unwrap().len() > 0);
    assert_eq!(found, Vec::<String>::new());
}
