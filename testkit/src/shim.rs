//! A library loaded into the program that makes calls on the repository's files fail: see `shim.c`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::io::Errno;
use tempfile::TempDir;

use crate::{Cmd, process::run_ok, skip};

/// The compiled library.
pub struct Shim {
    dir: TempDir,
}

impl Shim {
    /// Compiles it, or skips visibly if there is no C compiler.
    pub fn build() -> Option<Self> {
        if Command::new("cc").arg("--version").output().is_err() {
            skip("a C compiler (cc)");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/shim.c");
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O1", "-w", "-o"]).arg(dir.path().join("shim.so")).arg(source);
        run_ok(cc.arg("-ldl"), b"");
        Some(Self { dir })
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// The run with these rules for files below `root`.
    pub fn load(&self, cmd: Cmd, root: &Path, rules: &[String]) -> Cmd {
        fs::remove_file(self.log()).ok();
        cmd.env("LD_PRELOAD", self.dir.path().join("shim.so"))
            .env("SHIM_ROOT", root)
            .env("SHIM_RULES", rules.join("\n"))
            .env("SHIM_LOG", self.log())
    }

    /// The calls that were changed in the last run.
    pub fn hits(&self) -> Vec<String> {
        fs::read_to_string(self.log()).unwrap_or_default().lines().map(str::to_owned).collect()
    }
}

/// Every one of these calls fails.
pub fn always(call: &str, place: &str, errno: Errno) -> String {
    format!("{call} {place} {} 0 -1 0", errno.raw_os_error())
}

/// Of every `period` of these calls the first `count` fail.
pub fn sometimes(call: &str, place: &str, errno: Errno, count: u32, period: u32) -> String {
    format!("{call} {place} {} 0 {count} {period}", errno.raw_os_error())
}

/// Every one of these calls has a bit of its data changed.
pub fn flip(call: &str, place: &str) -> String {
    format!("{call} {place} flip 0 -1 0")
}

/// The process is killed at the call after `calls` others that sync a file or a directory: the data is in a temporary file
/// then, or the file has just got its name.
pub fn kill_after(calls: u32) -> String {
    format!("sync * kill {calls} 1 0")
}
