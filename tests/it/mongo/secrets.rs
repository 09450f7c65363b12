//! Accounts: the right password lets in, a wrong one says what to do, and neither is ever seen.

use std::{fs, thread, time::Duration};

use mongodb::bson::doc;
use testkit::{
    Cmd, Config, ConfigBuilder, MongoServer, Tool,
    onlookers::{contains, family, visible},
    reports::{assert_says, backup, files_below, ids_of, ready, restore, try_backup, try_restore},
    running::Running,
    skip_unless,
};

use super::{
    link::{assert_same, link},
    support::{SOURCE, files_of, full, numbered, once_after, source_of},
};

const PASSWORD: &str = "Pw-4c1e/of:the@account";
/// As it stands in a connection string.
const ESCAPED: &str = "Pw-4c1e%2Fof%3Athe%40account";
const USER: &str = "backup-7d21";

/// A server with authentication, filled before it was enabled.
fn guarded() -> MongoServer {
    let mut server = MongoServer::start();
    link(&server).insert("shop", "orders", &numbered(0..3000));
    let account = doc! { "createUser": USER, "pwd": PASSWORD, "roles": ["root"] };
    server.command("admin", account);
    server.restart_with(&["--auth", "--enable-test-commands"]);
    server
}

fn uri(server: &MongoServer, password: &str) -> String {
    format!("mongodb://{USER}:{password}@127.0.0.1:{}/?directConnection=true&authSource=admin", server.port())
}

fn config(server: &MongoServer, password: &str) -> Config {
    let builder = ConfigBuilder::new();
    let lines = source_of(&builder, SOURCE, &uri(server, password), "");
    ready(builder.source(SOURCE, &lines))
}

/// Fails if the text shows the password or a telling piece of it, or the user.
#[track_caller]
fn assert_discreet(text: &[u8]) {
    for secret in [PASSWORD, ESCAPED, "4c1e", USER] {
        assert!(!contains(text, secret), "{}", String::from_utf8_lossy(text));
    }
}

#[test]
fn a_password_lets_in_and_is_never_seen() {
    skip_unless!(Tool::Mongo);
    let server = guarded();
    let right = config(&server, ESCAPED);
    let ran = Cmd::with(&right).args(["-vvv", "backup"]).run().ok();
    assert_discreet(format!("{}{}", ran.stdout, ran.stderr).as_bytes());
    assert_eq!(ids_of(&right, &full("shop")).len(), 1);

    for wrong in ["Pw-4c1e-wrong", ""] {
        let config = config(&server, wrong);
        for ran in [try_backup(&config, &[]), Cmd::with(&config).args(["-vvv", "discover"]).run()] {
            let ran = ran.expect_code(1);
            let all = format!("{}{}", ran.stdout, ran.stderr);
            assert_says(&all, &["cannot connect to 127.0.0.1", "authSource"]);
            assert_discreet(all.as_bytes());
        }
        assert!(ids_of(&config, &full("shop")).is_empty());
    }

    // Restored by name over the source's own account, and over a URL with the password from a file.
    restore(&right, &full("shop"), &["--into", "copy"]);
    let file = right.dir().join("target password");
    fs::write(&file, PASSWORD).unwrap();
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let url =
        format!("mongodb://{USER}@127.0.0.1:{}/by_url?directConnection=true&authSource=admin", server.port());
    let options = ["--into", &url, "--password-file", file.to_str().unwrap()];
    restore(&right, &full("shop"), &options);
    fs::write(&file, "Pw-4c1e-wrong").unwrap();
    let ran = try_restore(&right, &full("shop"), &options).expect_code(1);
    assert!(!ran.stderr.contains("4c1e"), "{}", ran.stderr);

    // Neither the snapshot nor what lies beside it holds any of it.
    let files = files_of(&right, "shop");
    let kept =
        [files_below(files.path()), files_below(&right.repo()), files_below(&right.state_dir())].concat();
    assert!(kept.len() > 5, "{kept:?}");
    kept.iter().for_each(|file| assert_discreet(&fs::read(file).unwrap()));
}

#[test]
fn no_secret_is_in_arguments_or_environment() {
    skip_unless!(Tool::Mongo);
    let server = guarded();
    let config = config(&server, ESCAPED);
    // Through the account: the server's own client has none.
    let admin = super::atlas::connect(&uri(&server, ESCAPED));
    let block = doc! { "failCommands": ["getMore"], "blockConnection": true, "blockTimeMS": 2000 };
    let mode = once_after(1);
    admin.raw(
        "admin",
        mongodb::bson::RawDocumentBuf::try_from(
            &doc! { "configureFailPoint": "failCommand", "mode": mode, "data": block },
        )
        .unwrap(),
    );
    let mut running = Running::start(Cmd::with(&config).args(["--json", "backup"]).into_command());
    let mut looks = 0;
    while !running.has_ended() {
        for pid in family(running.id()) {
            assert_discreet(&visible(pid));
        }
        looks += 1;
        thread::sleep(Duration::from_millis(5));
    }
    running.finish().expect_code(0);
    assert!(looks > 20, "only {looks} looks");
    restore(&config, &full("shop"), &["--into", "copy"]);
    assert_same(&admin.content("copy"), &admin.content("shop"));
    backup(&config);
}
