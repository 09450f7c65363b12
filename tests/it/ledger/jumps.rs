//! Consequences of a clock that was wrong for a while.

use std::{fs, path::PathBuf};

use serde_json::Value;
use testkit::{
    Cmd, Config, ConfigBuilder, Ran, Tool,
    program::quoted,
    receiver::{Receiver, Request},
    site::{at, item, lines},
};

/// A directory that is backed up once a day, with alerts to a receiver.
struct Clocked {
    config: Config,
    receiver: Receiver,
    data: PathBuf,
}

impl Clocked {
    fn new(top: &str, tables: &str) -> Option<Self> {
        if !Tool::Faketime.or_skip() {
            return None;
        }
        let receiver = Receiver::start();
        let builder = ConfigBuilder::new().top(top);
        let url = builder.secret("hook-url", &receiver.url("/hook"));
        let data = url.with_file_name("data");
        fs::create_dir(&data).unwrap();
        fs::write(data.join("file"), "content").unwrap();
        let hook =
            format!("[[alerts]]\nkind = \"webhook\"\nurl_file = {}\n", quoted(&url.display().to_string()));
        let path = quoted(&data.display().to_string());
        let source = format!("kind = \"directory\"\npaths = [{path}]\nschedule = \"02:00\"\n");
        let config = builder.tables(tables).tables(&hook).source("disk", &source).build();
        let site = Self { config, receiver, data };
        site.at("2026-10-01 01:00:00", &["init"]).ok();
        Some(site)
    }

    fn at(&self, moment: &str, command: &[&str]) -> Ran {
        at(Cmd::with(&self.config), moment).args(command).run()
    }

    fn messages(&self) -> Vec<Value> {
        self.receiver.take().iter().map(Request::json).collect()
    }
}

#[test]
fn what_was_told_under_a_clock_that_was_ahead_is_told_again_at_once() {
    let Some(site) = Clocked::new("", "") else { return };
    site.at("2026-10-05 02:00:00", &["backup"]).ok();
    let away = site.data.with_extension("away");
    fs::rename(&site.data, &away).unwrap();
    assert_ne!(site.at("2031-10-05 02:00:00", &["backup"]).code(), Some(0));
    let told = site.messages();
    assert!(lines(&told[0]["new"]).contains(&"disk/data: failed".to_owned()), "{told:#?}");
    site.at("2026-10-05 03:00:00", &["watch"]).expect_code(5);
    let told = site.messages();
    assert_eq!(told.len(), 1, "{told:#?}");
    assert_eq!(lines(&told[0]["persisting"]), ["disk/data: failed"]);
    assert!(!told[0]["persisting"].to_string().contains("2031"), "{told:#?}");
    let shown = site.at("2026-10-05 03:00:00", &["--json", "status"]).ok().json();
    assert!(!shown["items"].to_string().contains("2031"), "{shown:#}");
    // From then on as usual.
    site.at("2026-10-05 05:00:00", &["watch"]).expect_code(5);
    assert_eq!(site.messages().len(), 0);
    site.at("2026-10-06 03:00:00", &["watch"]).expect_code(5);
    assert_eq!(site.messages().len(), 1);
}

#[test]
fn what_was_first_seen_by_a_clock_that_was_ahead_is_told_as_never_proven() {
    let Some(site) = Clocked::new("max_proof_age = \"10d\"", "") else { return };
    site.at("2031-10-05 02:00:00", &["backup"]).ok();
    let shown = site.at("2026-10-05 02:00:00", &["--json", "status"]).ok().json();
    let problems = item(&shown, "data")["problems"].as_array().unwrap().clone();
    let kinds: Vec<&str> = problems.iter().map(|problem| problem["kind"].as_str().unwrap()).collect();
    assert!(kinds.contains(&"not-proven"), "{problems:#?}");
}

#[test]
fn a_run_under_a_clock_that_is_ahead_removes_nothing_that_only_time_keeps() {
    let rules = "[retention]\nkeep_within = \"60h\"\nkeep_daily = 0\nkeep_weekly = 0\n";
    let Some(site) = Clocked::new("", rules) else { return };
    let count = || {
        let listed = site.at("2026-10-05 04:00:00", &["--json", "snapshots"]).ok().json();
        listed["snapshots"].as_array().unwrap().len()
    };
    for day in 1..=5 {
        site.at(&format!("2026-10-0{day} 02:00:00"), &["backup"]).ok();
    }
    assert_eq!(count(), 3);
    let ran = site.at("2031-10-05 02:00:00", &["backup"]).ok();
    assert_eq!(count(), 4, "{}", ran.stderr);
    // As every day, the oldest one is removed.
    let ran = site.at("2031-10-06 02:00:00", &["backup"]).ok();
    assert_eq!(count(), 4, "{}", ran.stderr);
}

#[test]
fn a_snapshot_that_is_a_little_ahead_was_made_just_now() {
    let Some(site) = Clocked::new("", "") else { return };
    site.at("2026-10-05 02:00:00", &["backup"]).ok();
    let shown = site.at("2026-10-05 01:30:00", &["status"]).ok().stdout;
    assert!(shown.contains("0 s") && !shown.contains("in the future"), "{shown}");
}
