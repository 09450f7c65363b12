//! A history belongs to one repository at one location, for one host; and a damaged history is reported.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use rusqlite::Connection;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};
use serde_json::{Value, json};
use testkit::{
    Cmd, Config, ConfigBuilder, Ran,
    namespace::in_private_namespace,
    program::quoted,
    receiver::{Receiver, Request},
    reports::edit,
    site::{item, lines},
};

/// A directory that is backed up and proven, with alerts to a receiver.
struct World {
    config: Config,
    receiver: Receiver,
}

impl World {
    fn new() -> Self {
        let receiver = Receiver::start();
        let builder = ConfigBuilder::new();
        let url = builder.secret("hook-url", &receiver.url("/hook"));
        let hook = format!("[[alerts]]\nkind = \"webhook\"\nurl_file = {}\n", path(&url));
        let data = url.with_file_name("data");
        fs::create_dir(&data).unwrap();
        fs::write(data.join("file"), "content").unwrap();
        let source = format!("kind = \"directory\"\npaths = [{}]\n", path(&data));
        let config = builder.tables(&hook).source("disk", &source).build();
        let world = Self { config, receiver };
        world.run(&["init"]).ok();
        world
    }

    fn proven() -> Self {
        let world = Self::new();
        world.run(&["backup"]).ok();
        world.run(&["drill"]).ok();
        assert!(world.is_proven());
        world
    }

    fn run(&self, command: &[&str]) -> Ran {
        Cmd::with(&self.config).args(command).run()
    }

    fn status(&self) -> Value {
        self.run(&["--json", "status"]).ok().json()
    }

    fn is_proven(&self) -> bool {
        !item(&self.status(), "data")["last_proof"].is_null()
    }

    fn notes(&self) -> String {
        self.status()["notes"].to_string()
    }

    fn messages(&self) -> Vec<Value> {
        self.receiver.take().iter().map(Request::json).collect()
    }

    /// Sets another location of the repository.
    fn locate(&self, from: &Path, to: &Path) {
        edit(&self.config, &format!("location = {}", path(from)), &format!("location = {}", path(to)));
    }

    fn history(&self) -> PathBuf {
        self.config.state_dir().join("history.db")
    }

    fn files(&self) -> usize {
        let names = fs::read_dir(self.config.state_dir()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("history") && name.ends_with(".db")).count()
    }

    /// As left by a version that had only one history.
    fn as_before_there_was_a_list(&self) {
        fs::remove_file(self.config.state_dir().join("repositories.json")).unwrap();
        let history = Connection::open(self.history()).unwrap();
        assert_eq!(history.execute("DELETE FROM meta WHERE key = 'repository'", []).unwrap(), 1);
    }
}

fn path(path: &Path) -> String {
    quoted(&path.display().to_string())
}

#[test]
fn what_was_proven_in_one_repository_is_not_proven_in_another() {
    let world = World::proven();
    let (first, second) = (world.config.repo(), world.config.dir().join("second"));
    world.locate(&first, &second);
    world.run(&["init"]).ok();
    assert_eq!(world.status()["repository"]["snapshots"], 0);
    world.run(&["backup"]).ok();
    let ledger = world.status();
    let data = item(&ledger, "data");
    assert_eq!((&data["last_proof"], &data["snapshots"]), (&Value::Null, &json!(1)), "{data:#}");
    // Each keeps its own.
    world.locate(&second, &first);
    assert!(world.is_proven());
    assert_eq!(world.files(), 2);
}

#[test]
fn two_configurations_and_two_hosts_with_one_state_folder_are_kept_apart() {
    let world = World::proven();
    let text = fs::read_to_string(world.config.path()).unwrap();
    let other = world.config.dir().join("other.toml");
    let run = |command: &[&str]| Cmd::new().arg("--config").arg(&other).args(command).run();
    // Another repository.
    let second = path(&world.config.dir().join("second"));
    let elsewhere =
        text.replace(&format!("location = {}", path(&world.config.repo())), &format!("location = {second}"));
    let missing =
        elsewhere.replace(&path(&world.config.dir().join("data")), &path(Path::new("/no/such/folder")));
    assert!(elsewhere != text && missing != elsewhere);
    fs::write(&other, missing).unwrap();
    run(&["init"]).ok();
    run(&["backup"]).expect_code(1);
    let ledger = run(&["--json", "status"]).ok().json();
    assert_ne!(ledger["summary"]["problems"], 0, "{ledger:#}");
    assert_eq!(world.status()["summary"]["problems"], 0);
    world.messages();
    world.run(&["watch"]).ok();
    assert_eq!(world.messages().len(), 0, "what failed elsewhere is not told to be well here");
    // Another host.
    fs::write(&other, text.replace("[repository]\n", "[repository]\nhost = \"another\"\n")).unwrap();
    run(&["backup"]).ok();
    let ledger = run(&["--json", "status"]).ok().json();
    assert_eq!(item(&ledger, "data")["last_proof"], Value::Null, "{ledger:#}");
    assert!(world.is_proven());
    assert_eq!(world.files(), 3);
}

#[test]
fn another_repository_at_the_same_place_begins_anew_and_says_so() {
    let world = World::proven();
    let (repo, aside) = (world.config.repo(), world.config.dir().join("aside"));
    fs::rename(&repo, &aside).unwrap();
    world.run(&["init"]).ok();
    let said = world.run(&["backup"]).ok().stderr;
    assert!(said.contains("is another one than before") && said.contains("kept in history.db"), "{said}");
    assert!(!world.is_proven());
    assert!(world.notes().contains("is another one than before"), "{}", world.notes());
    // Two disks that are mounted in turn.
    fs::rename(&repo, world.config.dir().join("second")).unwrap();
    fs::rename(&aside, &repo).unwrap();
    assert!(world.is_proven());
    assert!(!world.notes().contains("another one"), "{}", world.notes());
}

#[test]
fn a_history_from_before_belongs_to_the_first_repository_whose_snapshots_it_knows() {
    let world = World::proven();
    world.as_before_there_was_a_list();
    assert!(world.is_proven());
    assert_eq!(world.files(), 1);
    // The location is changed together with the program.
    world.as_before_there_was_a_list();
    let (first, second) = (world.config.repo(), world.config.dir().join("second"));
    world.locate(&first, &second);
    world.run(&["init"]).ok();
    world.run(&["backup"]).ok();
    assert!(!world.is_proven());
    world.locate(&second, &first);
    assert!(world.is_proven());
}

#[test]
fn the_same_place_in_other_words_is_the_same() {
    let world = World::proven();
    let repo = world.config.repo();
    let (slash, link) = (PathBuf::from(format!("{}/", repo.display())), world.config.dir().join("link"));
    std::os::unix::fs::symlink(&repo, &link).unwrap();
    world.locate(&repo, &slash);
    assert!(world.is_proven());
    world.locate(&slash, &link);
    assert!(world.is_proven());
    assert_eq!(world.files(), 1);
}

#[test]
fn a_repository_that_has_moved_keeps_its_history_when_an_operator_says_so() {
    let world = World::proven();
    let (old, new) = (world.config.repo(), world.config.dir().join("moved"));
    fs::rename(&old, &new).unwrap();
    world.locate(&old, &new);
    assert!(!world.is_proven(), "it might be a copy");
    let hint =
        format!("tik-backup init --moved-from '{}'", old.canonicalize().unwrap_or(old.clone()).display());
    assert!(world.notes().contains(&hint), "{}", world.notes());
    let wrong = world.run(&["init", "--moved-from", "/no/such/place"]).expect_code(2);
    assert!(wrong.stderr.contains(&old.display().to_string()), "{}", wrong.stderr);
    world.run(&["init", "--moved-from", &old.display().to_string()]).ok();
    assert!(world.is_proven());
    world.run(&["backup"]).ok();
    assert!(world.is_proven());
    assert!(!world.notes().contains("moved-from"), "{}", world.notes());
}

fn damage(path: &Path, kind: &str) {
    let mut bytes = fs::read(path).unwrap();
    match kind {
        "garbage" => bytes = b"this is no database at all".repeat(1000),
        "empty" => bytes.clear(),
        "truncated" => bytes.truncate(bytes.len() / 2),
        "a page" => bytes[4096..20_000].fill(0xa5),
        _ => {
            fs::remove_file(path).unwrap();
            return fs::create_dir(path).unwrap();
        }
    }
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_damaged_history_is_told_once_and_is_a_problem_until_it_is_accepted() {
    let world = World::proven();
    for kind in ["garbage", "empty", "truncated", "a page", "a folder"] {
        world.messages();
        damage(&world.history(), kind);
        let run = world.run(&["--json", "backup"]).ok();
        assert!(run.stderr.contains("set aside as"), "{kind}: {}", run.stderr);
        assert_eq!(run.json()["items"][0]["outcome"], "ok", "{kind}");
        assert_eq!(world.run(&["status", "--check"]).code(), Some(5), "{kind}");
        world.run(&["watch"]).expect_code(5);
        world.run(&["backup"]).ok();
        let told = world.messages();
        assert_eq!(told.len(), 1, "{kind}: {told:#?}");
        assert_eq!(lines(&told[0]["new"]), ["the history: history"], "{kind}");
        let text = told[0]["text"].as_str().unwrap();
        assert!(text.contains("history.db.damaged-") && text.contains("accept --history"), "{kind}: {text}");
        let accepted = world.run(&["accept", "--history"]).ok().stdout;
        assert!(accepted.contains("history.db.damaged-"), "{kind}: {accepted}");
        world.run(&["status", "--check"]).ok();
        world.run(&["watch"]).ok();
        assert_eq!(world.messages().len(), 0, "{kind}: who accepts knows");
    }
    assert!(world.run(&["accept", "--history"]).ok().stdout.contains("was not damaged"));
}

#[test]
fn a_history_that_is_gone_is_told_once_and_is_a_problem_until_it_is_accepted() {
    let world = World::proven();
    world.messages();
    for end in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{end}", world.history().display()));
    }
    let shown = world.run(&["status", "--check"]).expect_code(5).stdout;
    assert!(shown.starts_with("A PROBLEM WITH THE HISTORY: 1 of 1 item"), "{shown}");
    assert!(shown.contains("the history was lost: ") && shown.contains("accept --history"), "{shown}");
    world.run(&["backup"]).ok();
    world.run(&["watch"]).expect_code(5);
    let told = world.messages();
    assert_eq!(told.len(), 1, "{told:#?}");
    assert_eq!(lines(&told[0]["new"]), ["the history: history"]);
    let accepted = world.run(&["accept", "--history"]).ok().stdout;
    assert!(accepted.contains("history.db was gone"), "{accepted}");
    world.run(&["status", "--check"]).ok();
}

#[test]
fn without_a_state_folder_the_ledger_is_made_from_the_repository_and_the_reason_is_said_once() {
    let world = World::new();
    world.run(&["backup"]).ok();
    let state = world.config.state_dir();
    fs::rename(&state, state.with_extension("away")).unwrap();
    fs::write(&state, "a file is in the way").unwrap();
    let reason = "cannot use the state directory";
    let shown = world.run(&["status"]).ok();
    assert!(
        shown.stdout.starts_with("A PROBLEM WITH THE HISTORY: 1 of 1 item is backed up"),
        "{}",
        shown.stdout
    );
    assert!(shown.stdout.contains(reason) && shown.stdout.contains("disk/data"), "{}", shown.stdout);
    assert_eq!(world.run(&["status", "--check"]).code(), Some(5));
    let watched = world.run(&["watch"]).expect_code(5);
    let said = |ran: &Ran| format!("{}{}", ran.stdout, ran.stderr).matches(reason).count();
    assert_eq!(said(&watched), 1, "{}{}", watched.stdout, watched.stderr);
    let ran = world.run(&["backup"]).expect_code(3);
    assert_eq!(said(&ran), 1, "{}{}", ran.stdout, ran.stderr);
    let verdict = "1 item backed up, but THE HISTORY COULD NOT BE WRITTEN";
    assert!(ran.stdout.contains(verdict), "{}", ran.stdout);
}

#[test]
fn a_history_that_cannot_be_used_is_told_by_whoever_looks() {
    let world = World::proven();
    world.messages();
    Connection::open(world.history()).unwrap().pragma_update(None, "user_version", 999).unwrap();
    world.run(&["watch"]).expect_code(5);
    let told = world.messages();
    assert_eq!(told.len(), 1);
    assert!(lines(&told[0]["new"]).contains(&"the history: history".to_owned()), "{told:#?}");
    let run = world.run(&["backup"]).expect_code(3);
    let told = world.messages();
    assert_eq!(told.len(), 1, "{}", run.stderr);
    assert!(lines(&told[0]["new"]).contains(&"the history: history".to_owned()), "{told:#?}");
}

#[test]
fn while_the_state_folder_cannot_be_written_everything_is_backed_up_and_told() {
    in_private_namespace(|| {
        let world = World::new();
        let state = world.config.state_dir();
        fs::create_dir(&state).unwrap();
        mount("tmpfs", &state, "tmpfs", MountFlags::empty(), c"size=2m").unwrap();
        world.run(&["backup"]).ok();
        let filler = state.join("filler");
        for trouble in ["full", "read-only"] {
            if trouble == "full" {
                let mut file = fs::File::create(&filler).unwrap();
                while file.write_all(&[0; 4096]).is_ok() {}
            } else {
                mount_remount(&state, MountFlags::RDONLY, c"").unwrap();
            }
            world.messages();
            let run = world.run(&["--json", "backup"]).expect_code(3);
            assert_eq!(run.json()["items"][0]["outcome"], "ok", "{trouble}");
            let told = world.messages();
            assert_eq!(told.len(), 1, "{trouble}: {}", run.stderr);
            assert_eq!(lines(&told[0]["new"]), ["the history: history"], "{trouble}");
            assert_ne!(world.run(&["status", "--check"]).code(), Some(0), "{trouble}");
            world.run(&["watch"]).expect_code(5);
            assert_eq!(world.messages().len(), 1, "{trouble}");
            if trouble == "full" {
                fs::remove_file(&filler).unwrap();
                world.run(&["status", "--check"]).ok();
            }
        }
        unmount(&state, UnmountFlags::empty()).unwrap();
    });
}
