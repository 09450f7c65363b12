//! Two hosts that share a repository and call their sources the same, a machine that replaces another, and the removal of
//! snapshots by hand.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use testkit::{
    Cmd, Config, ConfigBuilder, Ran, Tool,
    program::quoted,
    reports::{assert_says, item, ready},
    skip_unless,
};

use super::support::text;

/// A repository of several hosts. Each has a directory `data` of its own, the source `disk` and its own state.
pub struct Shared {
    pub dir: tempfile::TempDir,
    pub config: Config,
}

impl Shared {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir, config: ready(ConfigBuilder::new()) }
    }

    /// The configuration of a host, whose directory holds the file `of-HOST`.
    pub fn host(&self, host: &str) -> Host {
        let folder = self.dir.path().join(host);
        let root = folder.join("data");
        fs::create_dir_all(&root).unwrap();
        fs::write(root.join(format!("of-{host}")), host).unwrap();
        let config = folder.join("config.toml");
        let text = format!(
            "state_dir = {}\n[repository]\nlocation = {}\npassword_file = {}\nhost = {}\n[sources.disk]\nkind = \"directory\"\n\
             paths = [{}]\nschedule = \"02:00\"\n",
            quoted(text(&folder.join("state"))),
            quoted(text(&self.config.repo())),
            quoted(text(&self.config.password_file())),
            quoted(host),
            quoted(text(&root))
        );
        fs::write(&config, text).unwrap();
        Host { folder, config }
    }
}

pub struct Host {
    pub folder: PathBuf,
    pub config: PathBuf,
}

impl Host {
    pub fn cmd(&self, args: &[&str]) -> Cmd {
        Cmd::new().arg("--config").arg(&self.config).args(args)
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        self.cmd(args).run()
    }

    /// At this moment of its clock, in UTC.
    pub fn at(&self, moment: &str, args: &[&str]) -> Ran {
        self.cmd(args)
            .env("LD_PRELOAD", Tool::Faketime.path().unwrap())
            .env("FAKETIME", format!("@{moment}"))
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("TZ", "UTC")
            .run()
    }

    #[track_caller]
    pub fn json(&self, args: &[&str]) -> Value {
        let mut all = vec!["--json"];
        all.extend(args);
        self.run(&all).ok().json()
    }

    pub fn edit(&self, from: &str, to: &str) {
        let text = fs::read_to_string(&self.config).unwrap();
        assert!(text.contains(from), "{from:?} is not in {text}");
        fs::write(&self.config, text.replace(from, to)).unwrap();
    }

    pub fn out(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

pub fn hosts(listed: &Value) -> Vec<&str> {
    listed["snapshots"].as_array().unwrap().iter().map(|s| s["host"].as_str().unwrap()).collect()
}

pub fn names(folder: &Path) -> Vec<String> {
    let entries =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    entries.collect()
}

#[test]
fn each_of_two_hosts_sees_its_own_snapshots_and_gets_its_own_files_back() {
    let shared = Shared::new();
    let (a, b) = (shared.host("a"), shared.host("b"));
    a.run(&["backup"]).ok();
    b.run(&["backup"]).ok();

    let listed = a.json(&["snapshots", "disk/data"]);
    assert_eq!((hosts(&listed), &listed["other_hosts"][0]["host"]), (vec!["a"], &"b".into()));
    let told = a.run(&["snapshots"]).ok().stdout;
    assert_says(&told, &["Not shown: snapshots of other hosts: b (1 snapshot, the newest of", "--all-hosts"]);
    assert_eq!(hosts(&a.json(&["snapshots", "--host", "b"])), ["b"]);
    let mut all = a.json(&["snapshots", "--all-hosts"])["snapshots"].as_array().unwrap().len();
    assert_eq!(all, 2);

    a.run(&["restore", "disk/data", "--to", text(&a.out("own"))]).ok();
    assert_eq!(names(&a.out("own")), ["of-a"], "b's snapshot is younger");
    a.run(&["restore", "disk/data", "--host", "b", "--to", text(&a.out("foreign"))]).ok();
    assert_eq!(names(&a.out("foreign")), ["of-b"]);
    assert_says(&a.run(&["ls", "disk/data"]).ok().stdout, &["of-a"]);
    assert_says(&a.run(&["ls", "disk/data", "--host", "b"]).ok().stdout, &["of-b"]);
    let id = b.json(&["snapshots"])["snapshots"][0]["id"].as_str().unwrap().to_owned();
    let to = a.out("none");
    let ran = a.run(&["restore", "disk/data", "--at", &id[..8], "--to", text(&to)]).expect_code(1);
    assert_says(&ran.stderr, &["no snapshot whose id begins with", "--host b"]);

    // A proof of one host does not count for the other, on either host.
    b.run(&["drill", "--all"]).ok();
    assert_says(&b.run(&["drill", "--host", "a", "disk/data"]).ok().stderr, &["disk/data: proven"]);
    let ledger = a.json(&["status"]);
    assert_eq!(
        (&ledger["repository"]["snapshots"], &item(&ledger, "data")["last_proof"]),
        (&1.into(), &Value::Null)
    );
    assert_eq!(ledger["repository"]["other_hosts"][0]["host"], "b");
    let theirs = a.json(&["status", "--host", "b"]);
    assert_eq!((&theirs["host"], &item(&theirs, "data")["snapshots"]), (&"b".into(), &1.into()));
    assert_says(&a.run(&["status"]).ok().stdout, &["snapshots of other hosts", "b (1 snapshot"]);
    let ran = a.run(&["status", "--host", "bb"]).expect_code(2);
    assert_says(&ran.stderr, &["no snapshot of a host bb", "did you mean b?"]);

    // Retention of one removes nothing of the other.
    fs::write(a.folder.join("data/more"), "more").unwrap();
    a.edit("[sources.disk]", "[retention]\nkeep_last = 1\nkeep_daily = 0\nkeep_weekly = 0\n[sources.disk]");
    a.run(&["backup"]).ok();
    all = a.json(&["snapshots", "--all-hosts"])["snapshots"].as_array().unwrap().len();
    assert!(all >= 2, "{all}");
    assert_eq!(hosts(&b.json(&["snapshots"])), ["b"]);
}

#[test]
fn another_hosts_backup_makes_nothing_in_time() {
    skip_unless!(Tool::Faketime);
    let shared = Shared::new();
    let (a, b) = (shared.host("a"), shared.host("b"));
    a.at("2026-10-05 02:00:00", &["backup"]).ok();
    b.at("2026-10-09 02:00:00", &["backup"]).ok();
    let late = a.at("2026-10-09 03:00:00", &["--json", "status"]).ok().json();
    assert_eq!(
        (&item(&late, "data")["state"], &item(&late, "data")["snapshots"]),
        (&"late".into(), &1.into())
    );
    a.at("2026-10-09 03:00:00", &["watch"]).expect_code(5);
    b.at("2026-10-09 03:00:00", &["watch"]).ok();
    // A host that only watches keeps the two apart.
    let config = fs::read_to_string(&a.config).unwrap();
    let without = config.split("[sources.disk]").next().unwrap().replace("/a/state", "/a/watching");
    fs::write(&a.config, format!("max_age = \"36h\"\n{without}")).unwrap();
    a.edit("host = \"a\"", "host = \"c\"");
    let seen = a.at("2026-10-09 03:00:00", &["--json", "status"]).ok().json();
    let states: Vec<_> =
        seen["items"].as_array().unwrap().iter().map(|i| (&i["source"], &i["state"])).collect();
    assert_eq!(
        states,
        [(&"disk".into(), &"late".into()), (&"disk@b".into(), &"protected".into())],
        "the older of the two has the plain name"
    );
}

#[test]
fn on_a_machine_that_replaces_another_nothing_looks_lost() {
    let shared = Shared::new();
    let old = shared.host("old 'one' & two");
    old.run(&["backup"]).ok();
    let new = shared.host("new");
    let status = new.run(&["status"]).ok().stdout;
    assert_says(
        &status,
        &["THIS HOST, new, HAS NO SNAPSHOT IN THE REPOSITORY", "(1 snapshot, the newest of", "--host"],
    );
    let to = new.out("out");
    for command in
        [&["ls", "disk/data"][..], &["restore", "disk/data", "--to", text(&to)], &["drill", "disk/data"]]
    {
        let ran = new.run(command).expect_code(1);
        assert_says(
            &ran.stderr,
            &[
                "this host, new, has no snapshot of disk/data",
                "(1 snapshot",
                "--host 'old",
                "seems to be alive",
            ],
        );
        assert!(!ran.stderr.contains("host = "), "{}", ran.stderr);
    }
    assert_says(&new.run(&["snapshots", "disk/data"]).ok().stderr, &["there are snapshots of it of old"]);
    assert_says(&new.run(&["drill"]).expect_code(1).stderr, &["there is nothing to prove", "--host 'old"]);
    assert!(!to.exists());
    new.run(&["restore", "disk/data", "--host", "old 'one' & two", "--to", text(&to)]).ok();
    assert_eq!(names(&to), ["of-old 'one' & two"]);
    // Once it has snapshots of its own the others are only named.
    new.run(&["backup"]).ok();
    let status = new.run(&["status"]).ok().stdout;
    assert!(!status.contains("HAS NO SNAPSHOT") && status.contains("snapshots of other hosts"), "{status}");
}

#[test]
fn a_history_that_took_two_hosts_for_one_is_put_right() {
    let shared = Shared::new();
    let (a, b) = (shared.host("a"), shared.host("b"));
    a.run(&["backup"]).ok();
    b.run(&["backup"]).ok();
    a.run(&["status"]).ok();
    // As an earlier version left it: all snapshots belong to items, of which one is b's alone.
    let history = rusqlite::Connection::open(a.folder.join("state/history.db")).unwrap();
    history
        .execute_batch(
            "INSERT INTO item (source, name, kind, first_seen) VALUES ('disk', 'ghost', 'directory', 0);
             UPDATE snapshot SET item = (SELECT id FROM item WHERE name = 'ghost') WHERE host = 'b';
             UPDATE snapshot SET host = NULL, source = NULL;",
        )
        .unwrap();
    drop(history);
    let ledger = a.json(&["status", "--all"]);
    assert_eq!(ledger["repository"]["snapshots"], 1);
    let items: Vec<_> = ledger["items"].as_array().unwrap().iter().map(|i| &i["item"]).collect();
    assert_eq!(items, ["data"]);
    // Under its former name it is the other host: nothing has to be forgotten for that.
    a.edit("host = \"a\"", "host = \"b\"");
    a.edit("/a/state", "/a/another");
    let ledger = a.json(&["status"]);
    assert_eq!(
        (&ledger["repository"]["snapshots"], &ledger["repository"]["other_hosts"][0]["host"]),
        (&1.into(), &"a".into())
    );
}

#[test]
fn what_belongs_to_nothing_is_listed_and_removed_exactly_as_it_was_shown() {
    let shared = Shared::new();
    let (a, b) = (shared.host("a"), shared.host("b"));
    a.run(&["backup"]).ok();
    b.run(&["backup"]).ok();
    let orphans = a.json(&["forget"]);
    let orphan = &orphans["orphans"][0];
    assert_eq!(
        (&orphan["host"], &orphan["item"], &orphan["why"]),
        (&"b".into(), &"data".into(), &"other-host".into())
    );
    assert_eq!(orphans["orphans"].as_array().unwrap().len(), 1, "what is still backed up is not among them");

    let shown = a.run(&["forget", "disk/data", "--host", "b"]).ok().stdout;
    assert_says(
        &shown,
        &[
            "(the newest)",
            "no snapshot of this host is left of disk/data",
            "make sure that it no longer backs up",
            "--confirm",
        ],
    );
    let code = shown.trim_end().rsplit(' ').next().unwrap().to_owned();
    // The list has changed since.
    fs::write(b.folder.join("data/more"), "more").unwrap();
    b.run(&["backup"]).ok();
    let ran = a.run(&["forget", "disk/data", "--host", "b", "--confirm", &code]).expect_code(2);
    assert_says(&ran.stderr, &["nothing was removed"]);
    assert!(hosts(&a.json(&["snapshots", "--host", "b"])).contains(&"b"));
    let code = ran.stdout.trim_end().rsplit(' ').next().unwrap().to_owned();
    a.run(&["forget", "disk/data", "--host", "b", "--confirm", &code]).ok();
    assert_eq!(hosts(&a.json(&["snapshots", "--all-hosts"])), ["a"]);

    // A source that left the configuration still restores, is listed and drilled, and can be removed.
    a.edit("[sources.disk]", "[sources.disc]");
    a.run(&["restore", "disk/data", "--to", text(&a.out("former"))]).ok();
    assert_eq!(names(&a.out("former")), ["of-a"]);
    a.run(&["ls", "disk/data"]).ok();
    a.run(&["drill", "disk/data"]).ok();
    let status = a.run(&["status"]).ok().stdout;
    assert_says(&status, &["recent snapshots of 1 item of sources that this configuration does not have"]);
    assert!(!status.contains("`tik-backup forget`"), "what is a moment old is no orphan: {status}");
    assert_says(&a.run(&["forget"]).ok().stdout, &["RECENT; its source is no longer configured"]);
    let shown = a.run(&["forget", "disk"]).ok().stdout;
    assert_says(&shown, &["make sure that no other configuration of this host still backs it up"]);
    assert_eq!(a.json(&["forget"])["orphans"][0]["why"], "unconfigured");
    let code = a.json(&["forget", "disk"])["confirm"].as_str().unwrap().to_owned();
    a.run(&["forget", "disk", "--confirm", &code]).ok();
    assert_eq!(a.run(&["snapshots"]).ok().stdout, "no snapshots\n");
}

#[test]
fn a_host_that_only_watches_is_told_how_to_use_what_its_ledger_names() {
    let shared = Shared::new();
    let (one, two) = (shared.host("host1"), shared.host("host2"));
    one.run(&["backup"]).ok();
    two.run(&["backup"]).ok();
    let watcher = shared.host("watcher");
    let config = fs::read_to_string(&watcher.config).unwrap();
    fs::write(&watcher.config, config.split("[sources.disk]").next().unwrap()).unwrap();
    let ledger = watcher.json(&["status"]);
    let sources: Vec<_> = ledger["items"].as_array().unwrap().iter().map(|i| &i["source"]).collect();
    assert_eq!(sources, ["disk", "disk@host2"]);
    let ran = watcher.run(&["ls", "disk@host2/data"]).expect_code(2);
    assert_says(&ran.stderr, &["disk/data of the host host2", "ls 'disk/data' --host host2`"]);
    for command in [&["ls", "disk/data"][..], &["drill", "disk/data"], &["drill"]] {
        let stderr = watcher.run(command).expect_code(1).stderr;
        assert_says(&stderr, &["--host HOST`"]);
        assert!(!stderr.contains("replaces") && !stderr.contains("tik-backup backup"), "{stderr}");
    }
}

#[test]
fn what_another_configuration_of_the_same_host_backs_up_is_no_orphan() {
    skip_unless!(Tool::Faketime);
    let shared = Shared::new();
    let (one, other) = (shared.host("one"), shared.host("other"));
    other.edit("host = \"other\"", "host = \"one\"");
    other.edit("[sources.disk]", "[sources.bb]");
    one.at("2026-10-05 02:00:00", &["backup"]).ok();
    other.at("2026-10-05 02:00:00", &["backup"]).ok();
    let now = "2026-10-05 03:00:00";
    let listed = one.at(now, &["forget"]).ok().stdout;
    assert_says(&listed, &["RECENT; its source is no longer configured", "do not remove them"]);
    let shown = one.at(now, &["forget", "bb"]).ok().stdout;
    assert_says(
        &shown,
        &["Note: the source bb, which", "no other configuration of this host still backs it up"],
    );
    let status = one.at(now, &["status"]).ok().stdout;
    assert!(!status.contains("`tik-backup forget`"), "{status}");
    // Days later it is one.
    let later = "2026-10-20 03:00:00";
    let shown = one.at(later, &["forget", "bb"]).ok().stdout;
    assert!(!shown.contains("still backs it up"), "{shown}");
    assert_says(
        &one.at(later, &["status"]).ok().stdout,
        &["no longer configured: `tik-backup forget` lists them"],
    );
}
