//! A drill that is killed, runs out of space, or loses its server: the verdict is clear, and no files or processes are left.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use testkit::{
    Cmd, Config, ConfigBuilder, PgServer, PgVersion, Tool,
    process::run_ok,
    program::quoted,
    reports::{backup, item, ready},
    skip, skip_unless,
};

use super::{drill_table, processes_with, proven};

/// A table that takes much more room, and time, in a database than in its dump.
const LARGE: &str = "CREATE TABLE large AS SELECT n FROM generate_series(1, 700000) n;
    CREATE INDEX ON large ((repeat(n::text, 40)))";

struct Place {
    dir: tempfile::TempDir,
    config: Config,
}

/// A configuration with the large table backed up, and drills in a directory of their own.
fn place() -> Place {
    let server = PgServer::start(PgVersion::V15);
    server.create_database("large");
    server.psql("large", LARGE);
    let dir = tempfile::Builder::new().prefix("tik-drill-").tempdir_in("/tmp").unwrap();
    let mode = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
    fs::set_permissions(dir.path(), mode).unwrap();
    let drill = drill_table(&format!("dir = {}", quoted(&dir.path().display().to_string())));
    let config = ready(ConfigBuilder::new().postgres("pg", &server, "").tables(&drill));
    backup(&config);
    Place { dir, config }
}

impl Place {
    fn spawn(&self) -> Child {
        let mut command = Cmd::with(&self.config).args(["--json", "drill"]).into_command();
        command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
    }

    fn path(&self) -> String {
        self.dir.path().display().to_string()
    }

    /// The scratch server, once a restore into it is going on.
    fn server(&self, drill: u32) -> u32 {
        let restoring = || {
            let tools = processes_with("pg_restore");
            // How the server is reached stands in the environment, or in a file that it names.
            tools.iter().any(|pid| parents(*pid).contains(&drill))
        };
        wait_until("the restore", restoring);
        let servers = processes_with(&format!("{}/", self.path()));
        let of = |pid: &u32| {
            let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split('\0').next().is_some_and(|program| program.ends_with("/postgres"))
        };
        servers.into_iter().find(of).expect("a scratch server")
    }

    fn folders(&self) -> Vec<PathBuf> {
        fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect()
    }
}

/// The ancestors of a process.
fn parents(mut pid: u32) -> Vec<u32> {
    let mut all = Vec::new();
    while pid > 1 {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let after_name = stat.rsplit(") ").next().unwrap_or_default();
        pid = after_name.split(' ').nth(1).and_then(|parent| parent.parse().ok()).unwrap_or(0);
        all.push(pid);
    }
    all
}

fn wait_until(what: &str, done: impl Fn() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < Duration::from_secs(60), "{what}: not within a minute");
        thread::sleep(Duration::from_millis(10));
    }
}

fn report(child: Child) -> Value {
    let output = child.wait_with_output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn kill(pid: u32) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL).unwrap();
}

#[test]
fn a_drill_that_is_killed_or_loses_its_server_leaves_nothing() {
    skip_unless!(Tool::Pg15);
    let place = place();

    // Its server dies: nothing is known about the backup.
    let drill = place.spawn();
    let server = place.server(drill.id());
    let network = |process: &str| fs::read_link(format!("/proc/{process}/ns/net")).unwrap();
    if Command::new("unshare").args(["--net", "true"]).status().is_ok_and(|status| status.success()) {
        assert_ne!(network(&server.to_string()), network("self"), "a scratch server reaches nobody");
    }
    kill(server);
    let found = report(drill);
    let large = item(&found, "large");
    assert_eq!(large["outcome"], "unproven", "{found:#}");
    assert!(large["error"].as_str().unwrap().contains("was ended by signal 9"), "{large:#}");
    assert_eq!(place.folders(), Vec::<PathBuf>::new());
    assert_eq!(Cmd::with(&place.config).args(["status", "--check"]).run().code(), Some(0));

    // It gets the signal to end.
    let drill = place.spawn();
    place.server(drill.id());
    kill_process(Pid::from_child(&drill), Signal::TERM).unwrap();
    let found = report(drill);
    assert_eq!(item(&found, "large")["outcome"], "unproven", "{found:#}");
    assert_eq!(place.folders(), Vec::<PathBuf>::new());

    // It is killed: its server ends with it, and the next drill removes the directory.
    let mut drill = place.spawn();
    let server = place.server(drill.id());
    kill(drill.id());
    drill.wait().unwrap();
    wait_until("the server's end", || !Path::new(&format!("/proc/{server}")).exists());
    wait_until("the end of all of it", || processes_with(&place.path()).is_empty());
    let left = place.folders();
    assert_eq!(left.len(), 1);
    run_ok(Command::new("touch").args(["-d", "2 minutes ago"]).arg(&left[0]), b"");
    let status = Cmd::with(&place.config).args(["--json", "status"]).run().ok().json();
    assert_eq!(status["running"].as_array().unwrap().len(), 0, "{status:#}");
    proven(&place.config, &[]);
    assert_eq!(place.folders(), Vec::<PathBuf>::new());
}

#[test]
fn a_full_disk_is_not_held_against_the_backup() {
    skip_unless!(Tool::Pg15);
    let place = place();
    // In a mount namespace that ends with the drill.
    let run = |mib: u32| {
        let script = format!(
            "mount -t tmpfs -o size={mib}m,mode=0755 tmpfs '{dir}' || exit 77
             '{program}' --config '{config}' --json drill; code=$?
             [ -z \"$(ls '{dir}')\" ] || exit 78
             exit $code",
            dir = place.path(),
            program = testkit::program::bin().display(),
            config = place.config.path().display(),
        );
        Command::new("unshare").args(["--mount", "sh", "-c", &script]).output().unwrap()
    };
    let full = run(335);
    if full.status.code() == Some(77) || String::from_utf8_lossy(&full.stderr).contains("unshare failed") {
        skip("the right to mount");
        return;
    }
    assert_eq!(full.status.code(), Some(3), "{full:?}");
    let found: Value = serde_json::from_slice(&full.stdout).unwrap();
    let large = item(&found, "large");
    assert_eq!(large["outcome"], "unproven", "{large:#}");
    assert!(large["error"].as_str().unwrap().contains("no room left"), "{large:#}");
    assert!(large["error"].as_str().unwrap().contains("drill.dir"), "{large:#}");

    // What cannot fit is not even begun.
    let small = run(100);
    assert_eq!(small.status.code(), Some(1), "{small:?}");
    let found: Value = serde_json::from_slice(&small.stdout).unwrap();
    assert!(item(&found, "large")["error"].as_str().unwrap().contains("must stay free"), "{found:#}");
}
