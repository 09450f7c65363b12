//! A repository in a directory that is mounted over SSH: it returns EIO once when it reconnects.

use std::{fs, path::Path, process::Command};

use testkit::{
    Tool,
    postgres_world::{Setup, World, cmd_with, fill},
    process::run_ok,
    running::Running,
    skip, skip_unless,
};

use super::{
    mount::in_private_namespace,
    sftp::{SSHD, kill_children, start_sshd},
};

#[test]
fn a_connection_of_sshfs_that_is_killed_costs_nothing() {
    skip_unless!(Tool::Sshfs);
    if !Path::new(SSHD).exists() {
        return skip("an SSH server (apt-get install openssh-server)");
    }
    in_private_namespace(|| {
        let Some(world) = World::new(&["a"], Setup { repository: "retry_for = \"10m\"", ..Setup::default() })
        else {
            return;
        };
        let dir = tempfile::tempdir().unwrap();
        let (sshd, port) = start_sshd(dir.path());
        let [point, storage] = ["mnt", "storage"].map(|name| world.config.dir().join(name));
        fs::create_dir(&point).unwrap();
        fs::create_dir(&storage).unwrap();
        let user = String::from_utf8(run_ok(Command::new("id").arg("-un"), b"")).unwrap();
        let mut sshfs = Command::new(Tool::Sshfs.path().unwrap());
        sshfs.arg(format!("{}@127.0.0.1:{}", user.trim(), storage.display())).arg(&point);
        sshfs.args(["-f", "-p", &port.to_string(), "-o"]).arg(format!(
            "reconnect,StrictHostKeyChecking=no,UserKnownHostsFile=/dev/null,IdentityFile={}",
            dir.path().join("user").display()
        ));
        let mut mounted = Running::start(sshfs);
        let device = |path: &Path| rustix::fs::stat(path).map(|stat| stat.st_dev);
        testkit::running::wait_until("it is mounted or refused", || {
            mounted.has_ended() || device(&point) != device(world.config.dir())
        });
        if mounted.has_ended() {
            return skip(&format!("the right to mount with FUSE ({})", mounted.stderr().trim()));
        }
        let repo = point.join("repo");
        let config = world.relocated("sshfs.toml", &repo);
        cmd_with(&config).arg("init").run().ok();
        cmd_with(&config).arg("backup").run().ok();
        fill(&world.server, "a", "small", 3_000, "more");
        let hold = world.clients.hold("a");
        let mut run = Running::start(cmd_with(&config).arg("backup").into_command());
        hold.wait_reached_within(&mut run, &world.config.state_dir(), "pg/a");
        kill_children(&sshd);
        hold.release();
        run.finish().expect_code(0);
        world.clients.heal("a");
        let stored = storage.join("repo");
        for restic in [&world.old, &world.new] {
            restic.check(&stored, &world.config.password_file(), true);
        }
        assert_eq!(world.new.snapshots_json(&stored, &world.config.password_file()).len(), 2);
        rustix::mount::unmount(&point, rustix::mount::UnmountFlags::DETACH).unwrap();
    });
}
