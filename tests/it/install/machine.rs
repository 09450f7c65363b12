//! A throwaway machine: the system of this one with a systemd, processes and mounts of its own, over a layer in memory
//! that takes everything it writes. Its network is this machine's, so that it reaches what a test listens on.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use testkit::{Tool, skip, tools::in_ci};

/// Mounts the layer and starts systemd, in a mount namespace that ends with it. `$1` is a directory, `$2` a name, and all
/// further arguments are control groups.
const BOOT: &str = r#"
set -e
for group in "${@:3}"; do
    echo $$ >"$group/cgroup.procs"
done
mkdir "$1/memory" "$1/root"
mount -t tmpfs tmpfs "$1/memory"
mkdir "$1/memory/upper" "$1/memory/work"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/memory/upper,workdir=$1/memory/work" "$1/root"
rm -f "$1/root/etc/machine-id"
: >"$1/root/etc/machine-id"
# Nothing that this machine has configured starts in the other one, and nothing of ours is there yet.
rm -f "$1/root"/etc/systemd/system/timers.target.wants/*
rm -rf "$1/root/var/lib/tik-backup" "$1/root/etc/tik-backup"
# What a machine of its own allows, and nspawn does not by itself.
landlock="landlock_create_ruleset landlock_add_rule landlock_restrict_self"
exec systemd-nspawn --quiet --directory "$1/root" --machine "$2" --register=no --keep-unit --link-journal=no \
    --system-call-filter="$landlock" --console=pipe /lib/systemd/systemd --unit=basic.target --log-target=journal --show-status=0
"#;

pub struct Machine {
    process: Child,
    leader: i32,
    groups: Vec<PathBuf>,
    dir: TempDir,
}

impl Machine {
    /// Starts one; `None`, and a visible skip, where that is not possible.
    pub fn boot() -> Option<Self> {
        if !Tool::Nspawn.or_skip() {
            return None;
        }
        if !rustix::process::geteuid().is_root() {
            skip("root, to start a machine with a systemd of its own");
            return None;
        }
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("tik-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::SeqCst));
        let dir = tempfile::Builder::new().prefix("tik-machine-").tempdir().unwrap();
        let groups = own_groups(&name);
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let process = Command::new("unshare")
            .args([
                "--mount",
                "--propagation",
                "private",
                "--fork",
                "--kill-child",
                "bash",
                "-c",
                BOOT,
                "boot",
            ])
            .arg(dir.path())
            .arg(name)
            .args(&groups)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut machine = Self { process, leader: 0, groups, dir };
        if machine.wait_for_boot() {
            return Some(machine);
        }
        let log = fs::read_to_string(machine.dir.path().join("log")).unwrap_or_default();
        assert!(!in_ci(), "no machine could be started:\n{log}");
        skip(&format!("a machine with a systemd of its own, which did not start: {log}"));
        None
    }

    fn wait_for_boot(&mut self) -> bool {
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(60) {
            if self.process.try_wait().unwrap().is_some() {
                return false;
            }
            if self.leader == 0 {
                self.leader = first_of_namespace(self.process.id()).unwrap_or(0);
            } else if matches!(self.try_sh("systemctl is-system-running").0.trim(), "running" | "degraded") {
                return true;
            }
            sleep(Duration::from_millis(100));
        }
        false
    }

    /// Runs a script of bash in the machine as root; its output and whether it succeeded.
    pub fn try_sh(&self, script: &str) -> (String, Option<i32>) {
        let output = self.output(script);
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (text, output.status.code())
    }

    /// Runs a script that must succeed; its stdout.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        let output = self.output(script);
        assert!(
            output.status.success(),
            "{script}\nended with {}\n--- stdout\n{}\n--- stderr\n{}\n--- journal\n{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
            self.try_sh("journalctl --no-pager --lines 60 --output cat").0
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Writes a file in the machine.
    pub fn write(&self, path: &str, mode: u32, text: &str) {
        self.feed(
            &format!("umask 077; mkdir -p \"$(dirname '{path}')\"; cat >'{path}'; chmod {mode:o} '{path}'"),
            text,
        );
    }

    /// Copies a file of this machine into it: directories for temporary files of this machine do not exist there.
    pub fn copy(&self, from: &Path, to: &str) {
        let file = fs::File::open(from).unwrap();
        let status = self.command(&format!("cat >'{to}'")).stdin(file).status().unwrap();
        assert!(status.success());
    }

    fn command(&self, script: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--all", "--target", &self.leader.to_string(), "--", "bash", "-c", script])
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", "/root")
            .env("LANG", "C.UTF-8")
            .env("SYSTEMD_PAGER", "");
        command
    }

    fn output(&self, script: &str) -> Output {
        self.command(script).stdin(Stdio::null()).output().unwrap()
    }

    fn feed(&self, script: &str, input: &str) {
        let mut child = self.command(script).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // The end of its first process ends all of its processes, and with the last of them go the mounts.
        let leader = rustix::process::Pid::from_raw(self.leader);
        if let Some(leader) = leader {
            let _ = rustix::process::kill_process(leader, rustix::process::Signal::KILL);
        }
        let begin = Instant::now();
        while self.process.try_wait().is_ok_and(|status| status.is_none()) {
            if leader.is_none() || begin.elapsed() > Duration::from_secs(10) {
                let _ = self.process.kill();
            }
            sleep(Duration::from_millis(20));
        }
        for group in &self.groups {
            remove_group(group);
        }
    }
}

/// Makes a control group of this name below that of this process in each hierarchy which systemd uses. Two machines in the
/// same group would remove each other's groups.
fn own_groups(name: &str) -> Vec<PathBuf> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let found =
        |prefix: &str| Some(own.lines().find_map(|line| line.split_once(prefix))?.1.trim_start_matches('/'));
    let roots = [
        ("/sys/fs/cgroup/systemd", ":name=systemd:"),
        ("/sys/fs/cgroup/unified", "0::"),
        ("/sys/fs/cgroup", "0::"),
    ];
    roots
        .into_iter()
        .filter(|(root, _)| Path::new(root).join("cgroup.procs").exists())
        .filter_map(|(root, prefix)| Some(Path::new(root).join(found(prefix)?).join(name)))
        .filter(|group| fs::create_dir(group).is_ok())
        .collect()
}

/// Removes a control group with those below it, which are empty when their processes have ended.
fn remove_group(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_group(&entry.path());
        }
    }
    let _ = fs::remove_dir(group);
}

/// The first process of a process namespace below `ancestor`.
fn first_of_namespace(ancestor: u32) -> Option<i32> {
    let children = fs::read_to_string(format!("/proc/{ancestor}/task/{ancestor}/children")).ok()?;
    for child in children.split_whitespace() {
        let status = fs::read_to_string(format!("/proc/{child}/status")).ok()?;
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
        let numbers: Vec<_> = numbers.split_whitespace().collect();
        let comm = fs::read_to_string(format!("/proc/{child}/comm")).ok()?;
        if numbers.len() > 1 && numbers.last() == Some(&"1") && comm.trim() == "systemd" {
            return child.parse().ok();
        }
        if let Some(found) = child.parse().ok().and_then(first_of_namespace) {
            return Some(found);
        }
    }
    None
}
