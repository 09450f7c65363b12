//! Heartbeats with several sources.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use serde_json::{Value, json};
use testkit::{Cmd, ConfigBuilder, Tool, program::quoted, receiver::Receiver, site::at};
use tik_backup::config::{AlertKind, Config};

/// Two sources of directories, `a` and `b`, each due once a day, with these alerts and an existing repository.
struct Two {
    config: testkit::Config,
    folder: tempfile::TempDir,
}

impl Two {
    fn new(alerts: &str) -> Option<Self> {
        if !Tool::Faketime.or_skip() {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let mut builder = ConfigBuilder::new().tables(alerts);
        for name in ["a", "b"] {
            let path = folder.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::write(path.join("file"), name).unwrap();
            let path = quoted(&path.display().to_string());
            let source = format!("kind = \"directory\"\npaths = [{path}]\nschedule = \"02:00\"\n");
            builder = builder.source(name, &source);
        }
        let config = builder.build();
        Cmd::with(&config).arg("init").run().ok();
        Some(Self { config, folder })
    }

    /// Runs the program at this time of a day.
    fn day(&self, time: &str) -> Cmd {
        at(Cmd::with(&self.config), &format!("2026-10-05 {time}"))
    }

    fn back_up(&self, source: &str, time: &str) -> i32 {
        self.day(time).args(["backup", source]).run().code().unwrap()
    }

    /// Removes the data of a source, or restores it.
    fn move_away(&self, source: &str, away: bool) {
        let (here, there) = (self.folder.path().join(source), self.folder.path().join("away"));
        let (from, to) = if away { (here, there) } else { (there, here) };
        fs::rename(from, to).unwrap();
    }
}

/// A heartbeat to a receiver, with further lines.
fn heartbeat(folder: &Path, name: &str, receiver: &Receiver, lines: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, receiver.url(&format!("/{name}"))).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let path = quoted(&path.display().to_string());
    format!("[[alerts]]\nkind = \"heartbeat\"\nname = \"{name}\"\nurl_file = {path}\n{lines}\n")
}

/// The requests at the end of runs: path and body.
fn ends(receiver: &Receiver) -> Vec<(String, Value)> {
    let requests = receiver.take();
    let ends = requests.iter().filter(|request| !request.path.ends_with("/start"));
    ends.map(|request| (request.path.clone(), request.json())).collect()
}

#[test]
fn one_heartbeat_is_a_success_only_while_no_source_is_failed_or_late() {
    let (beats, secrets) = (Receiver::start(), tempfile::tempdir().unwrap());
    let Some(two) = Two::new(&heartbeat(secrets.path(), "all", &beats, "")) else { return };
    // The other source has never been backed up.
    assert_eq!(two.back_up("a", "02:00:00"), 0);
    let sent = ends(&beats);
    assert_eq!((sent.len(), sent[0].0.as_str()), (1, "/all/fail"));
    assert_eq!(two.back_up("b", "02:10:00"), 0);
    assert_eq!(ends(&beats)[0].0, "/all");

    two.move_away("a", true);
    assert_ne!(two.back_up("a", "03:00:00"), 0);
    assert_eq!(ends(&beats)[0].0, "/all/fail");
    assert_eq!(two.back_up("b", "03:00:01"), 0);
    let (path, body) = ends(&beats).remove(0);
    assert_eq!(path, "/all/fail", "the failure of another source is not over: {body:#}");
    assert_eq!((&body["outcome"], &body["failed"]), (&json!("ok"), &json!(0)), "its own run succeeded");
    assert_eq!((&body["sources"], &body["concerns"]), (&json!(["b"]), &json!(["a", "b"])));
    let problems = body["problems"].as_array().unwrap();
    assert!(
        problems.iter().any(|p| p["problem"] == "failed" && p["item"].as_str().unwrap().starts_with('a'))
    );

    two.move_away("a", false);
    assert_eq!(two.back_up("a", "04:00:00"), 0);
    assert_eq!(ends(&beats)[0].0, "/all", "everything is well again");

    // A day and a half later `a` is late, although no run of it has failed.
    let later = at(Cmd::with(&two.config), "2026-10-06 20:00:00").args(["backup", "b"]).run();
    later.ok();
    let (path, body) = ends(&beats).remove(0);
    assert_eq!((path.as_str(), &body["problems"][0]["problem"]), ("/all/fail", &json!("late")));
}

#[test]
fn a_heartbeat_for_each_source_is_not_concerned_by_the_other() {
    let (beats, secrets) = (Receiver::start(), tempfile::tempdir().unwrap());
    let alerts =
        ["a", "b"].map(|name| heartbeat(secrets.path(), name, &beats, &format!("sources = [\"{name}\"]")));
    let Some(two) = Two::new(&alerts.concat()) else { return };
    two.move_away("a", true);
    assert_ne!(two.back_up("a", "02:00:00"), 0);
    assert_eq!(two.back_up("b", "02:00:01"), 0);
    let paths: Vec<String> = ends(&beats).into_iter().map(|(path, _)| path).collect();
    assert_eq!(paths, ["/a/fail", "/b"]);
}

#[test]
fn without_a_history_a_run_of_one_source_does_not_speak_for_the_other() {
    let (beats, secrets) = (Receiver::start(), tempfile::tempdir().unwrap());
    let Some(two) = Two::new(&heartbeat(secrets.path(), "all", &beats, "")) else { return };
    two.day("02:00:00").arg("backup").run().ok();
    assert_eq!(ends(&beats)[0].0, "/all");
    for name in ["history.db", "history.db-wal", "history.db-shm"] {
        let _ = fs::remove_file(two.config.state_dir().join(name));
    }
    two.back_up("b", "03:00:00");
    let (path, body) = ends(&beats).remove(0);
    assert_eq!((path.as_str(), &body["known"]), ("/all/fail", &json!(false)));
}

#[test]
fn a_test_of_a_heartbeat_does_not_make_a_failure_green() {
    let (beats, secrets) = (Receiver::start(), tempfile::tempdir().unwrap());
    let Some(two) = Two::new(&heartbeat(secrets.path(), "all", &beats, "")) else { return };
    two.day("01:00:00").args(["alert", "test"]).run().ok();
    assert_eq!(ends(&beats)[0].0, "/all/fail", "nothing is backed up yet");
    two.day("02:00:00").arg("backup").run().ok();
    beats.take();
    two.day("02:30:00").args(["alert", "test"]).run().ok();
    assert_eq!(ends(&beats)[0].0, "/all");
}

#[test]
fn a_repository_that_is_away_is_told_once_for_all_sources() {
    let (hook, secrets) = (Receiver::start(), tempfile::tempdir().unwrap());
    let webhook = heartbeat(secrets.path(), "hook", &hook, "").replace("\"heartbeat\"", "\"webhook\"");
    let Some(two) = Two::new(&webhook) else { return };
    two.day("02:00:00").arg("backup").run().ok();
    assert_eq!(hook.take().len(), 0);
    fs::rename(two.config.repo(), secrets.path().join("away")).unwrap();
    two.day("03:00:00").args(["backup", "a"]).run().expect_code(4);
    let told = hook.take().remove(0).json();
    let causes = told["causes"].as_array().unwrap();
    assert_eq!(causes.len(), 1, "{causes:#?}");
    let mut subjects: Vec<&str> =
        causes[0]["subjects"].as_array().unwrap().iter().map(|subject| subject.as_str().unwrap()).collect();
    subjects.sort_unstable();
    assert_eq!(subjects, ["a", "the repository"]);
    let cause = causes[0]["text"].as_str().unwrap();
    assert_eq!(told["text"].as_str().unwrap().matches(cause).count(), 1, "{}", told["text"]);
    // Each source fails at its own time: a known cause is not alerted again, but its end is.
    two.day("03:00:30").args(["backup", "b"]).run().expect_code(4);
    assert_eq!(hook.take().len(), 0, "the cause has been told");
    let status = two.day("03:01:00").arg("status").run().expect_code(4);
    assert_eq!(status.stdout.matches(cause).count(), 1, "{}", status.stdout);
    assert!(status.stdout.contains("the last attempt failed for this reason: a, b (2 known items not"));
    assert!(told["title"].as_str().unwrap().ends_with(": the repository refused: 1 item not backed up"));
    fs::rename(secrets.path().join("away"), two.config.repo()).unwrap();
    two.day("04:00:00").arg("backup").run().ok();
    let told = hook.take().remove(0).json();
    assert_eq!((&told["purpose"], told["recovered"].as_array().unwrap().len()), (&json!("recovery"), 3));
}

#[test]
fn the_examples_of_the_manual_are_valid() {
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/alerts.md");
    let manual = fs::read_to_string(manual).unwrap();
    let section =
        manual.split("\n## ").find(|section| section.starts_with("`kind = \"heartbeat\"`")).unwrap();
    let examples: Vec<&str> =
        section.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let concerned = examples.iter().map(|example| {
        let head = "[repository]\nlocation = \"r\"\npassword_file = \"password\"\n\
            [sources.azure-postgres]\nkind = \"postgres\"\n[sources.files]\nkind = \"directory\"\npaths = [\"/srv\"]\n";
        let config = Config::parse(&format!("{head}{example}"), Path::new("/nowhere/config.toml")).unwrap();
        let alerts = config.alerts.iter().filter(|alert| matches!(alert.kind, AlertKind::Heartbeat(_)));
        alerts
            .map(|alert| ["azure-postgres", "files"].map(|name| alert.sources.matched(name).is_some()))
            .collect()
    });
    let concerned: Vec<Vec<[bool; 2]>> = concerned.collect();
    assert_eq!(concerned, [vec![[true, true]], vec![[true, false], [false, true]]]);
}
