//! Programs that run in the background of a test, and functions to wait for them.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Waits until a condition is true.
///
/// # Panics
/// After two minutes. This is a limit for a broken program and not an expected time.
#[track_caller]
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < Duration::from_secs(120), "waited in vain until {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A running program; killed when dropped.
pub struct Running {
    child: Child,
    output: TempDir,
}

/// How a [`Running`] program ended.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// Fails the test unless the exit code is this one.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(
            self.status.code(),
            Some(code),
            "--- stdout\n{}\n--- stderr\n{}",
            self.stdout,
            self.stderr
        );
        self
    }
}

impl Running {
    /// Starts it from this thread, so that it lives in the thread's mount namespace.
    pub fn start(mut command: Command) -> Self {
        let output = tempfile::tempdir().unwrap();
        let file = |name: &str| File::create(output.path().join(name)).unwrap();
        command.stdout(file("out")).stderr(file("err"));
        command.stdin(Stdio::null());
        Self { child: command.spawn().unwrap(), output }
    }

    fn text(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.output.path().join(name)).unwrap()).into_owned()
    }

    /// Its stderr so far.
    pub fn stderr(&self) -> String {
        self.text("err")
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits until it has written this to stderr.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) {
        wait_until(&format!("stderr has {text:?}"), || {
            let ended = self.has_ended();
            let there = self.stderr().contains(text);
            assert!(there || !ended, "it ended without saying {text:?}:\n{}", self.stderr());
            there
        });
    }

    /// Waits for its end.
    #[track_caller]
    pub fn finish(mut self) -> Ended {
        wait_until("the program has ended", || self.has_ended());
        Ended { status: self.child.wait().unwrap(), stdout: self.text("out"), stderr: self.text("err") }
    }

    /// Kills it with SIGKILL, reaps it, and returns its exit status.
    pub fn kill(mut self) -> Ended {
        self.child.kill().unwrap();
        Ended { status: self.child.wait().unwrap(), stdout: self.text("out"), stderr: self.text("err") }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A stopped process must go as well; one that was waited for is left alone by `kill`.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Whether a process is running. A zombie is not.
pub fn lives(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Processes whose command line names something below this directory.
pub fn processes_naming(folder: &Path) -> Vec<String> {
    let needle = folder.display().to_string();
    let pids = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned());
    pids.filter(|pid| pid.bytes().all(|b| b.is_ascii_digit()))
        .filter_map(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            (line.contains(&needle) && lives(&pid)).then(|| format!("{pid}: {line}"))
        })
        .collect()
}

/// A place where a script stops and waits for the test.
pub struct Hold {
    ready: PathBuf,
    fifo: PathBuf,
}

impl Hold {
    /// Makes the fifo.
    pub fn new(folder: &Path, name: &str) -> Self {
        let hold =
            Self { ready: folder.join(format!("{name}.ready")), fifo: folder.join(format!("{name}.fifo")) };
        fs::remove_file(&hold.ready).ok();
        fs::remove_file(&hold.fifo).ok();
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &hold.fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        hold
    }

    /// The lines of a shell script that stop here until [`Self::release`].
    pub fn script(&self) -> String {
        format!(": > '{}'; read -r _ < '{}'", self.ready.display(), self.fifo.display())
    }

    /// Waits until the script has come here.
    #[track_caller]
    pub fn wait_reached(&self, by: &mut Running) {
        wait_until("the script is being held", || {
            assert!(!by.has_ended(), "it ended before:\n{}", by.stderr());
            self.ready.exists()
        });
    }

    /// As [`Self::wait_reached`], and until the run of the program with this state directory has begun to store the item: a dump is begun
    /// while the repository is still being opened.
    #[track_caller]
    pub fn wait_reached_within(&self, by: &mut Running, state_dir: &Path, item: &str) {
        self.wait_reached(by);
        wait_until("the run stores the item", || {
            assert!(!by.has_ended(), "it ended before:\n{}", by.stderr());
            let files = fs::read_dir(state_dir.join("running")).into_iter().flatten().flatten();
            let mut progress = files.filter_map(|file| fs::read_to_string(file.path()).ok());
            progress.any(|text| text.contains(&format!("\"item\":\"{item}\"")))
        });
    }

    /// Lets the script continue.
    #[track_caller]
    pub fn release(&self) {
        wait_until("the script reads the fifo", || self.release_if_there());
    }

    /// Lets the script continue if it is waiting; returns whether it was.
    pub fn release_if_there(&self) -> bool {
        use rustix::fs::{Mode, OFlags};
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match rustix::fs::open(&self.fifo, flags, Mode::empty()) {
            Ok(fd) => rustix::io::write(fd, b"go\n").is_ok(),
            Err(_) => false,
        }
    }
}
