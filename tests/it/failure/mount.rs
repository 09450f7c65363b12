//! The mount guard: nothing is written if the storage is not, or no longer, mounted.

use std::{
    ffi::CString,
    fs,
    path::{Path, PathBuf},
};

use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, mount_remount, unmount};
pub use testkit::namespace::in_private_namespace;
use testkit::{
    postgres_world::{Setup, World, cmd_with, files, locks},
    process::run_ok,
    program::quoted,
};

/// Mounts an empty file system of this size in MiB; it is unmounted when dropped.
pub struct Tmpfs(PathBuf);

impl Tmpfs {
    pub fn mount(at: &Path, mib: u32) -> Self {
        let options = CString::new(format!("size={mib}m")).unwrap();
        mount("tmpfs", at, "tmpfs", MountFlags::empty(), options.as_c_str()).unwrap();
        Self(at.to_owned())
    }

    /// Unmounts it while it is in use.
    pub fn vanish(self) {
        unmount(&self.0, UnmountFlags::DETACH).unwrap();
        std::mem::forget(self);
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        unmount(&self.0, UnmountFlags::DETACH).ok();
    }
}

/// A world, its mount point, the repository below it and its configuration.
struct Mounted {
    world: World,
    point: PathBuf,
    repo: PathBuf,
    config: PathBuf,
}

fn mounted() -> Option<Mounted> {
    let world = World::new(&["a", "b"], Setup { repository: "min_free = \"1MiB\"", ..Setup::default() })?;
    let point = world.config.dir().join("mnt");
    fs::create_dir(&point).unwrap();
    let repo = point.join("repo");
    let moved = world.relocated("moved.toml", &repo);
    let text = fs::read_to_string(&moved).unwrap();
    let line = format!("[repository]\nmount = {}", quoted(&point.display().to_string()));
    let config = world.config.dir().join("mounted.toml");
    fs::write(&config, text.replace("[repository]", &line)).unwrap();
    Some(Mounted { world, point, repo, config })
}

#[test]
fn nothing_is_written_where_nothing_is_mounted() {
    in_private_namespace(|| {
        let Some(Mounted { world, point, repo, config }) = mounted() else { return };
        let refused = |what: &str| {
            for command in [&["init"][..], &["backup"], &["prune"], &["check"], &["snapshots"]] {
                let run = cmd_with(&config).args(command).run().expect_code(4);
                assert!(run.stderr.contains("nothing is mounted at"), "{what}, {command:?}: {}", run.stderr);
                assert!(run.stderr.contains("→ mount the storage"), "{}", run.stderr);
            }
        };
        refused("an empty folder");
        assert!(files(&point).is_empty() && fs::read_dir(&point).unwrap().count() == 0);
        // Not even if the directory contains files that look like the repository.
        world.new.init(&repo, &world.config.password_file());
        let before = files(&point);
        refused("a repository underneath");
        // Nor if the directory is bound onto itself, as by a sandbox that makes it writable for a service.
        mount_bind(&point, &point).unwrap();
        refused("a folder bound onto itself");
        unmount(&point, UnmountFlags::DETACH).unwrap();
        assert_eq!(files(&point), before);

        let storage = Tmpfs::mount(&point, 64);
        cmd_with(&config).arg("init").run().ok();
        cmd_with(&config).arg("backup").run().ok();
        cmd_with(&config).args(["check", "--read-data"]).run().ok();
        for restic in [&world.old, &world.new] {
            restic.check(&repo, &world.config.password_file(), true);
        }
        drop(storage);
        assert_eq!(files(&point), before);

        // The reverse: mounted, but the configured repository is elsewhere.
        let _storage = Tmpfs::mount(&point, 64);
        let outside = world.config.dir().join("outside");
        let text = fs::read_to_string(&config).unwrap();
        let location = |path: &Path| format!("location = {}", quoted(&path.display().to_string()));
        let wrong = world.config.dir().join("outside.toml");
        fs::write(&wrong, text.replace(&location(&repo), &location(&outside))).unwrap();
        for command in ["init", "backup"] {
            let run = cmd_with(&wrong).arg(command).run().expect_code(2);
            assert!(
                run.stderr.contains("repository.mount: `location`") && run.stderr.contains("is not below"),
                "{}",
                run.stderr
            );
        }
        // A symbolic link does not bypass it.
        fs::create_dir(&outside).unwrap();
        std::os::unix::fs::symlink(&outside, &repo).unwrap();
        cmd_with(&config).arg("init").run().expect_code(2);
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    });
}

/// A killed backup has left a lock, and the storage is read where it is mounted read-only.
#[test]
fn a_stale_lock_on_a_storage_that_can_only_be_read_keeps_nobody_from_reading() {
    in_private_namespace(|| {
        let Some(Mounted { world, point, repo, config }) = mounted() else { return };
        let storage = Tmpfs::mount(&point, 64);
        cmd_with(&config).arg("init").run().ok();
        cmd_with(&config).arg("backup").run().ok();
        let hold = world.clients.hold("a");
        let mut run =
            testkit::running::Running::start(cmd_with(&config).args(["backup", "pg/a"]).into_command());
        hold.wait_reached_within(&mut run, &world.config.state_dir(), "pg/a");
        run.kill();
        world.clients.heal("a");
        assert_eq!(locks(&repo), 1);
        mount_remount(&point, MountFlags::RDONLY, c"").unwrap();
        let read = cmd_with(&config).arg("check").run().ok();
        for said in ["its process is dead", "it is left in place", "reading without a lock"] {
            assert!(read.stderr.contains(said), "{said}: {}", read.stderr);
        }
        let into = world.config.dir().join("restored");
        cmd_with(&config).args(["restore", "pg/b", "--to"]).arg(&into).run().ok();
        assert_eq!(locks(&repo), 1);
        // Writing commands are refused.
        cmd_with(&config).arg("prune").run().expect_code(4);
        mount_remount(&point, MountFlags::empty(), c"").unwrap();
        cmd_with(&config).arg("prune").run().ok();
        assert_eq!(locks(&repo), 0);
        drop(storage);
    });
}

/// The storage disappears or is replaced while a dump is running.
#[test]
fn storage_that_vanishes_during_a_run_fails_it() {
    in_private_namespace(|| {
        let Some(Mounted { world, point, repo, config }) = mounted() else { return };
        world.new.init(&repo, &world.config.password_file());
        let underneath = files(&point);
        for replaced in [false, true] {
            let storage = Tmpfs::mount(&point, 64);
            cmd_with(&config).arg("init").run().ok();
            cmd_with(&config).arg("backup").run().ok();
            let hold = world.clients.hold("a");
            let mut run =
                testkit::running::Running::start(cmd_with(&config).args(["backup", "pg/a"]).into_command());
            hold.wait_reached_within(&mut run, &world.config.state_dir(), "pg/a");
            let mut other = None;
            if replaced {
                // A copy of the repository, like an older state of the storage.
                let copy = world.config.dir().join("copy");
                run_ok(std::process::Command::new("cp").arg("-a").arg(&point).arg(&copy), b"");
                other = Some(Tmpfs::mount(&point, 64));
                run_ok(std::process::Command::new("cp").arg("-a").arg(copy.join("repo")).arg(&point), b"");
                fs::remove_dir_all(copy).unwrap();
            } else {
                storage.vanish();
            }
            let before = files(&point);
            hold.release();
            let ended = run.finish().expect_code(4);
            let message =
                if replaced { "is no longer the directory it was" } else { "nothing is mounted at" };
            assert!(
                ended.stderr.contains("pg/a: FAILED: ") && ended.stderr.contains(message),
                "{}",
                ended.stderr
            );
            assert_eq!(files(&point), before, "nothing is written to what is there now");
            world.clients.heal("a");
            if other.take().is_some() {
                for restic in [&world.old, &world.new] {
                    restic.check(&repo, &world.config.password_file(), true);
                }
                cmd_with(&config).arg("backup").run().ok();
            }
            while unmount(&point, UnmountFlags::DETACH).is_ok() {}
            assert_eq!(files(&point), underneath);
        }
    });
}

/// Runs `test` with a mounted repository that holds a backup, and another backup that is in the middle of a dump when the
/// storage is unmounted. The first argument mounts it again.
fn unmounted_in_the_middle(test: impl FnOnce(&dyn Fn(), &Mounted, testkit::running::Running) + Send) {
    in_private_namespace(|| {
        let Some(mounted) = mounted() else { return };
        let Mounted { world, point, config, .. } = &mounted;
        let patient =
            fs::read_to_string(config).unwrap().replace("retry_for = \"1s\"", "retry_for = \"10m\"");
        fs::write(config, patient).unwrap();
        // The storage is a bind mount of another directory, so that it can be mounted again with its content.
        let storage = world.config.dir().join("storage");
        fs::create_dir(&storage).unwrap();
        let mount_it = || mount_bind(&storage, point).unwrap();
        mount_it();
        cmd_with(config).arg("init").run().ok();
        let hold = world.clients.hold("a");
        let mut run =
            testkit::running::Running::start(cmd_with(config).args(["backup", "pg/a"]).into_command());
        hold.wait_reached_within(&mut run, &world.config.state_dir(), "pg/a");
        unmount(point, UnmountFlags::DETACH).unwrap();
        hold.release();
        run.wait_for("the storage does not answer, trying again");
        assert!(run.stderr().contains("nothing is mounted at"), "{}", run.stderr());
        assert!(files(point).is_empty(), "nothing is written underneath");
        test(&mount_it, &mounted, run);
        assert!(files(&storage).iter().all(|(path, _)| !path.to_string_lossy().contains("-tmp-")));
        unmount(point, UnmountFlags::DETACH).ok();
    });
}

#[test]
fn a_storage_that_is_mounted_again_is_used_again() {
    unmounted_in_the_middle(|mount_it, mounted, run| {
        mount_it();
        let ended = run.finish().expect_code(0);
        assert!(ended.stderr.contains("the storage answers again"), "{}", ended.stderr);
        let Mounted { world, repo, .. } = mounted;
        for restic in [&world.old, &world.new] {
            restic.check(repo, &world.config.password_file(), true);
        }
        assert_eq!(world.new.snapshots_json(repo, &world.config.password_file()).len(), 1);
    });
}

#[test]
fn sigterm_ends_the_waiting_for_a_storage() {
    unmounted_in_the_middle(|_, mounted, run| {
        run.signal(rustix::process::Signal::TERM);
        let ended = run.finish();
        assert!(ended.status.code().is_some_and(|code| code != 0), "{ended:?}");
        assert!(files(&mounted.point).is_empty());
    });
}
