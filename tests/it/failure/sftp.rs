//! A repository on an SFTP server: OpenSSH on this machine, with a key.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use testkit::{
    Cmd,
    postgres::assert_same_dump,
    postgres_world::{Setup, World, cmd_with, fill},
    process::run_ok,
    program::quoted,
    reports::files_below,
    running::{Running, processes_naming},
    skip,
};

use super::mount::{Tmpfs, in_private_namespace};

pub const SSHD: &str = "/usr/sbin/sshd";

/// A server that accepts the key in the directory.
pub fn start_sshd(dir: &Path) -> (Running, u16) {
    start_sshd_with(dir, "internal-sftp")
}

/// As [`start_sshd`], with this command for SFTP.
pub fn start_sshd_with(dir: &Path, sftp: &str) -> (Running, u16) {
    for key in ["host", "user"] {
        run_ok(
            Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(dir.join(key)),
            b"",
        );
    }
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    fs::create_dir_all("/run/sshd").ok();
    let mut sshd = Command::new(SSHD);
    sshd.args(["-D", "-e", "-f", "/dev/null", "-o", "ListenAddress=127.0.0.1", "-o"])
        .arg(format!("Port={port}"));
    for (name, value) in [
        ("HostKey", dir.join("host").display().to_string()),
        ("AuthorizedKeysFile", dir.join("user.pub").display().to_string()),
        ("PidFile", "none".to_owned()),
        ("StrictModes", "no".to_owned()),
        ("UsePAM", "no".to_owned()),
        ("PermitRootLogin", "yes".to_owned()),
        ("Subsystem", format!("sftp {sftp}")),
    ] {
        sshd.arg("-o").arg(format!("{name}={value}"));
    }
    let mut running = Running::start(sshd);
    running.wait_for("Server listening on");
    (running, port)
}

/// A world whose repository is on an SFTP server.
struct Served {
    world: World,
    sshd: Running,
    port: u16,
    /// Of the server's keys.
    keys: TempDir,
    /// The client must not use the user's own.
    home: TempDir,
}

impl Served {
    fn new() -> Option<Self> {
        if !Path::new(SSHD).exists() {
            skip("an SSH server (apt-get install openssh-server)");
            return None;
        }
        let world = World::new(&["a"], Setup::default())?;
        let (keys, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (sshd, port) = start_sshd(keys.path());
        Some(Self { world, sshd, port, keys, home })
    }

    /// A configuration with the repository in this directory of the server.
    fn config(&self, name: &str, directory: &Path, retry_for: &str) -> PathBuf {
        let user = String::from_utf8(run_ok(Command::new("id").arg("-un"), b"")).unwrap();
        let location = format!("sftp://{}@127.0.0.1:{}{}", user.trim(), self.port, directory.display());
        let line = |place: &str| format!("location = {}", quoted(place));
        let to = format!(
            "{}\nretry_for = \"{retry_for}\"\noptions = {{ key = {}, known_hosts_strategy = \"accept\" }}",
            line(&location),
            quoted(&self.keys.path().join("user").display().to_string())
        );
        let hasty = ("retry_for = \"1s\"\n", "");
        self.world.variant(name, &[hasty, (&line(&self.world.repo().display().to_string()), &to)])
    }

    fn cmd(&self, config: &Path, args: &[&str]) -> Cmd {
        cmd_with(config).env("HOME", self.home.path()).args(args)
    }

    /// Does this in the middle of the dump of a backup, which then goes on.
    fn backup_interrupted(&self, config: &Path, interrupt: impl FnOnce()) -> Running {
        let hold = self.world.clients.hold("a");
        let mut run = Running::start(self.cmd(config, &["backup", "pg/a"]).into_command());
        hold.wait_reached_within(&mut run, &self.world.config.state_dir(), "pg/a");
        interrupt();
        hold.release();
        run
    }
}

#[test]
fn an_sftp_server_is_a_repository_like_any_other() {
    let Some(mut served) = Served::new() else { return };
    let config = served.config("sftp.toml", &served.world.repo(), "1s");
    let connections = Connections(served.keys.path().join("user"));
    let world = &served.world;
    let cmd = |args: &[&str]| served.cmd(&config, args).run();
    cmd(&["init"]).ok();
    for _ in 0..2 {
        cmd(&["backup"]).ok();
    }
    world.clean();
    world.whole(world.snapshots("pg/a").first().unwrap(), "pg/a");
    // The server's side of every connection is killed in the middle of a dump.
    let patient = served.config("patient.toml", &world.repo(), "10m");
    let before = world.snapshots("pg/a");
    fill(&world.server, "a", "small", 3_000, "more");
    let run = served.backup_interrupted(&patient, || kill_children(&served.sshd));
    run.finish().expect_code(0);
    no_drafts(&world.repo());
    world.clients.heal("a");
    world.clean();
    let after = world.snapshots("pg/a");
    world.whole(after.difference(&before).next().expect("a new snapshot"), "pg/a");
    cmd(&["check", "--read-data"]).ok();
    cmd(&["restore", "pg/a", "--into", "copy"]).ok();
    assert_same_dump(&world.server.dump_text("a"), &world.server.dump_text("copy"));
    cmd(&["prune"]).ok();
    world.clean();
    let left = connections.open();
    assert!(!served.sshd.has_ended());
    assert!(left.is_empty(), "connections outlive the program: {left:#?}");
}

#[test]
fn a_key_that_is_revoked_during_a_run_ends_it() {
    let Some(served) = Served::new() else { return };
    let config = served.config("sftp.toml", &served.world.repo(), "10h");
    served.cmd(&config, &["init"]).run().ok();
    let run = served.backup_interrupted(&config, || {
        fs::write(served.keys.path().join("user.pub"), "").unwrap();
        kill_children(&served.sshd);
    });
    let ended = run.finish();
    assert_ne!(ended.status.code(), Some(0));
    assert!(ended.stderr.contains("the storage refuses this user"), "{}", ended.stderr);
}

#[test]
fn a_repository_that_is_away_for_a_while_loses_nothing() {
    let Some(served) = Served::new() else { return };
    let world = &served.world;
    let config = served.config("sftp.toml", &world.repo(), "10m");
    for args in [["init"], ["backup"]] {
        served.cmd(&config, &args).run().ok();
    }
    fill(&world.server, "a", "small", 3_000, "more");
    let away = world.repo().with_extension("away");
    let mut run = served.backup_interrupted(&config, || {
        fs::rename(world.repo(), &away).unwrap();
        // The mount point of its disk.
        fs::create_dir(world.repo()).unwrap();
    });
    run.wait_for("the repository is not there at present");
    assert_eq!(fs::read_dir(world.repo()).unwrap().count(), 0, "something was written below the mount point");
    fs::remove_dir(world.repo()).unwrap();
    fs::rename(&away, world.repo()).unwrap();
    let ended = run.finish().expect_code(0);
    assert!(!ended.stderr.contains("lost"), "{}", ended.stderr);
    world.clients.heal("a");
    world.clean();
    assert_eq!(world.snapshots("pg/a").len(), 2);
}

#[test]
fn a_full_disk_of_the_server_is_reported_at_once() {
    in_private_namespace(|| {
        let Some(served) = Served::new() else { return };
        let disk = served.world.config.dir().join("disk");
        fs::create_dir(&disk).unwrap();
        let _mounted = Tmpfs::mount(&disk, 3);
        let config = served.config("sftp.toml", &disk, "10h");
        served.cmd(&config, &["init"]).run().ok();
        fill(&served.world.server, "a", "large", 60_000, "large");
        let run = Running::start(served.cmd(&config, &["backup"]).into_command());
        let ended = run.finish();
        assert_ne!(ended.status.code(), Some(0));
        assert!(ended.stderr.contains("the storage is full"), "{}", ended.stderr);
        no_drafts(&disk);
    });
}

/// Fails if a file under a temporary name is left in a repository.
fn no_drafts(repository: &Path) {
    let drafts: Vec<_> = files_below(repository)
        .into_iter()
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().contains("-tmp-")))
        .collect();
    assert!(drafts.is_empty(), "{drafts:?}");
}

/// Kills what a server has started for its connections.
pub fn kill_children(server: &Running) {
    let id = server.id();
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    for pid in children.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)) {
        kill_process(pid, Signal::KILL).ok();
    }
}

/// The SSH clients that use a key. They are ended when this is dropped, so that a failed test leaves none behind.
struct Connections(PathBuf);

impl Connections {
    fn open(&self) -> Vec<String> {
        let mut processes = processes_naming(&self.0);
        processes.retain(|process| !process.contains(SSHD));
        processes
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        for process in self.open() {
            let pid = process.split(':').next().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
            if let Some(pid) = pid {
                kill_process(pid, Signal::TERM).ok();
            }
        }
    }
}
