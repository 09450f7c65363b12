//! Drills: what is stored is restored into scratch servers and found to be what was backed up; or found not to be.

#![allow(clippy::unwrap_used)]

#[path = "../azure/support.rs"]
#[allow(dead_code)]
mod azure_storage;
#[path = "../common/mod.rs"]
mod common;
#[path = "../ledger/receiver.rs"]
#[allow(dead_code)]
mod receiver;
#[path = "../common/reports.rs"]
mod reports;
#[path = "../failure/running.rs"]
#[allow(dead_code)]
mod running;
#[path = "../ledger/site.rs"]
#[allow(dead_code)]
mod site;
#[path = "../mysql/support.rs"]
#[allow(dead_code)]
mod support;

mod alarms;
mod disasters;
mod frozen;
mod frozen_sources;
mod proofs;
mod selftest;
mod told;
mod writers;

use serde_json::Value;

use common::{Cmd, Config, Ran, program::quoted};

/// `[drill]` with the servers of the tests.
fn drill_table(more: &str) -> String {
    use common::{MyFlavour, PgVersion, Tool};
    let mut dirs = Vec::new();
    if Tool::Pg18.path().is_some() {
        dirs.push(PgVersion::V18.bin_dir());
    }
    if Tool::Mysql97.path().is_some() {
        dirs.push(MyFlavour::Mysql97.client_dir());
    }
    let dirs: Vec<_> = dirs.iter().map(|dir| quoted(&dir.display().to_string())).collect();
    let mongod = Tool::Mongo.path().map(|path| format!("mongod = {}\n", quoted(&path.display().to_string())));
    let mongod = mongod.unwrap_or_default();
    format!("[drill]\nmin_free = \"1MiB\"\nserver_dirs = [{}]\n{mongod}{more}\n", dirs.join(", "))
}

fn try_drill(config: &Config, arguments: &[&str]) -> Ran {
    Cmd::with(config).args(["--json", "drill"]).args(arguments).run()
}

/// The verdicts of a drill that must prove all it tries.
#[track_caller]
fn proven(config: &Config, arguments: &[&str]) -> Value {
    let report = try_drill(config, arguments).ok().json();
    assert_eq!(report["outcome"], "ok", "{report:#}");
    for item in report["items"].as_array().unwrap() {
        assert_eq!(item["outcome"], "proven", "{item:#}");
    }
    report
}

/// Processes that have this text in their arguments.
fn processes_with(text: &str) -> Vec<u32> {
    let running = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let pid: u32 = entry.file_name().to_string_lossy().parse().ok()?;
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        String::from_utf8_lossy(&line).contains(text).then_some(pid)
    });
    running.filter(|pid| *pid != std::process::id()).collect()
}
