//! A repository on an SFTP server: OpenSSH on this machine, with a key.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::{Pid, Signal, kill_process};
use testkit::{
    postgres::assert_same_dump,
    postgres_world::{Setup, World, cmd_with, fill},
    process::run_ok,
    program::quoted,
    running::{Running, processes_naming},
    skip,
};

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

#[test]
fn an_sftp_server_is_a_repository_like_any_other() {
    if !Path::new(SSHD).exists() {
        return skip("an SSH server (apt-get install openssh-server)");
    }
    let Some(world) = World::new(&["a"], Setup::default()) else { return };
    let dir = tempfile::tempdir().unwrap();
    let (mut sshd, port) = start_sshd(dir.path());
    let user = String::from_utf8(run_ok(Command::new("id").arg("-un"), b"")).unwrap();
    let location = format!("sftp://{}@127.0.0.1:{port}{}", user.trim(), world.repo().display());
    let sftp_config = |name: &str, retry_for: &str| {
        let line = |place: &str| format!("location = {}", quoted(place));
        let to = format!(
            "{}\nretry_for = \"{retry_for}\"\noptions = {{ key = {}, known_hosts_strategy = \"accept\" }}",
            line(&location),
            quoted(&dir.path().join("user").display().to_string())
        );
        let hasty = ("retry_for = \"1s\"\n", "");
        world.variant(name, &[hasty, (&line(&world.repo().display().to_string()), &to)])
    };
    let config: PathBuf = sftp_config("sftp.toml", "1s");
    // The client must not store this host's key in the user's home.
    let home = tempfile::tempdir().unwrap();
    let connections = Connections(home.path());
    let cmd = |args: &[&str]| cmd_with(&config).env("HOME", home.path()).args(args).run();
    cmd(&["init"]).ok();
    for _ in 0..2 {
        cmd(&["backup"]).ok();
    }
    world.clean();
    world.whole(world.snapshots("pg/a").first().unwrap(), "pg/a");
    // The server's side of every connection is killed in the middle of a dump.
    let patient = sftp_config("patient.toml", "10m");
    let before = world.snapshots("pg/a");
    fill(&world.server, "a", "small", 3_000, "more");
    let hold = world.clients.hold("a");
    let mut run =
        Running::start(cmd_with(&patient).env("HOME", home.path()).args(["backup", "pg/a"]).into_command());
    hold.wait_reached_within(&mut run, &world.config.state_dir(), "pg/a");
    kill_children(&sshd);
    hold.release();
    run.finish().expect_code(0);
    world.clients.heal("a");
    world.clean();
    let after = world.snapshots("pg/a");
    world.whole(after.difference(&before).next().expect("a new snapshot"), "pg/a");
    cmd(&["check", "--read-data"]).ok();
    cmd(&["restore", "pg/a", "--into", "copy"]).ok();
    assert_same_dump(&world.server.dump_text("a"), &world.server.dump_text("copy"));
    cmd(&["prune"]).ok();
    world.clean();
    assert!(!sshd.has_ended());
    let left = processes_naming(connections.0);
    assert!(left.is_empty(), "connections outlive the program: {left:#?}");
}

/// Kills what a server has started for its connections.
pub fn kill_children(server: &Running) {
    let id = server.id();
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    for pid in children.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)) {
        kill_process(pid, Signal::KILL).ok();
    }
}

/// Ends, when dropped, the SSH clients whose files are below a directory, so that a failed test leaves none behind.
struct Connections<'a>(&'a Path);

impl Drop for Connections<'_> {
    fn drop(&mut self) {
        for process in processes_naming(self.0) {
            let pid = process.split(':').next().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
            if let Some(pid) = pid {
                kill_process(pid, Signal::TERM).ok();
            }
        }
    }
}
