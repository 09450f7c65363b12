//! The demo succeeds, shows the expected output, and leaves no files or processes behind.

use std::{
    fs,
    path::Path,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use testkit::{Cmd, Tool, skip_unless};

/// A directory in `/tmp` that a server's user may enter: a socket's path must be short.
fn place() -> TempDir {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::Builder::new().prefix("tik-demo-").tempdir_in("/tmp").unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

fn entries(dir: &Path) -> Vec<String> {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect()
}

/// Processes that have this text in their arguments.
fn processes_with(text: &str) -> Vec<String> {
    let commands = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        entry.file_name().to_string_lossy().parse::<u32>().ok()?;
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    });
    let servers = ["postgres", "mariadbd", "mysqld", "mongo", "secantus"];
    let is_server = |line: &String| servers.iter().any(|name| line.contains(name));
    commands.filter(|line| line.contains(text) && is_server(line)).collect()
}

fn wait_until(what: &str, done: impl Fn() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < Duration::from_secs(60), "{what}: not within a minute");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_story_is_told_and_nothing_is_left() {
    skip_unless!(Tool::Pg15, Tool::Mariadb, Tool::Mongo);
    let dir = place();
    let mongod = Tool::Mongo.path().unwrap();
    let demo = Cmd::new().env("TIK_BACKUP_DEMO_MONGOD", mongod).arg("demo").arg("--dir").arg(dir.path());
    let ran = demo.run().ok();
    for text in [
        "$ tik-backup discover",
        "exclude = \"scratch_*\"",
        "main/Größe & \"Maß\"/2026",
        "main/newsletter: ok",
        "$ tik-backup drill",
        "main/shop: proven",
        "wiki-server/@globals: proven",
        "documents/library: proven",
        "main/shop: VANISHED",
        "This arrived at the webhook",
        "$ tik-backup restore main/shop --into shop_restored",
        "110500 rows counted in 3 tables",
        "reporting=r/shop_owner",
        "$ tik-backup restore wiki-server/wiki --into wiki",
        "1000 rows counted in 1 table",
        "$ tik-backup restore documents/library --into library",
        "5000 documents counted in 1 collection",
        "the repository is sound",
        "The demo succeeded: 13 steps",
    ] {
        assert!(ran.stdout.contains(text), "{text} is not in\n{}", ran.stdout);
    }
    let restic = ran.stdout.contains("no errors were found")
        || ran.stdout.contains("SKIPPED: restic is not installed");
    assert!(restic, "{}", ran.stdout);
    assert_eq!(ran.stderr, "");
    assert_eq!(entries(dir.path()), Vec::<String>::new());
    assert_eq!(processes_with(&dir.path().display().to_string()), Vec::<String>::new());
}

#[test]
fn what_is_kept_is_named_in_the_json_document_and_can_be_used() {
    skip_unless!(Tool::Pg15, Tool::Mariadb);
    let dir = place();
    let document =
        Cmd::new().arg("demo").arg("--json").arg("--keep").arg("--dir").arg(dir.path()).run().ok().json();
    assert_eq!(document["outcome"], "ok");
    let steps = document["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 13);
    assert_eq!(steps[9]["outcome"], "skipped", "no MongoDB server was named");
    assert_eq!(steps[1]["commands"][0]["command"], "tik-backup init");
    let folder = Path::new(document["folder"].as_str().unwrap());
    assert!(folder.starts_with(dir.path().canonicalize().unwrap()), "{}", folder.display());
    assert!(!folder.join("data/postmaster.pid").exists(), "the server was stopped in order");
    let config = folder.join("config.toml");
    let stored = Cmd::new().arg("--config").arg(&config).arg("--json").arg("snapshots").run().ok().json();
    assert_eq!(stored["snapshots"].as_array().unwrap().len(), 19);
    assert_eq!(processes_with(&dir.path().display().to_string()), Vec::<String>::new());
}

#[test]
fn an_interrupted_demo_cleans_up() {
    skip_unless!(Tool::Pg15);
    let dir = place();
    let mut command = Cmd::new().arg("demo").arg("--dir").arg(dir.path()).into_command();
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let path = dir.path().display().to_string();
    wait_until("the server's start", || !processes_with(&path).is_empty());
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("interrupted (SIGINT)"), "{output:?}");
    assert_eq!(entries(dir.path()), Vec::<String>::new());
    assert_eq!(processes_with(&path), Vec::<String>::new());
}

#[test]
fn a_killed_demo_leaves_no_server() {
    skip_unless!(Tool::Pg15);
    let dir = place();
    let mut command = Cmd::new().arg("demo").arg("--dir").arg(dir.path()).into_command();
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let socket =
        || entries(dir.path()).iter().any(|name| dir.path().join(name).join("socket/.s.PGSQL.5432").exists());
    wait_until("the server's start", socket);
    child.kill().unwrap();
    child.wait().unwrap();
    let path = dir.path().display().to_string();
    wait_until("the server's end", || processes_with(&path).is_empty());
}

#[test]
fn a_failing_demo_says_why_and_exits_with_1() {
    let ran = Cmd::new().arg("demo").arg("--dir").arg("/nonexistent/folder").run().expect_code(1);
    assert!(ran.stderr.contains("/nonexistent/folder"), "{}", ran.stderr);
    assert!(ran.stdout.contains("FAILED at step 1"), "{}", ran.stdout);
}
