//! Stock restic, old and new: an independent check of repositories.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{Tool, process::run};

/// One restic program, with a home of its own so that no cache is shared.
#[derive(Debug)]
pub struct Restic {
    program: PathBuf,
    home: TempDir,
}

impl Restic {
    /// The oldest that must read our repositories, or a visible skip.
    pub fn old() -> Option<Self> {
        Self::of(Tool::Restic)
    }

    /// The newest, or a visible skip.
    pub fn new_() -> Option<Self> {
        Self::of(Tool::ResticNew)
    }

    fn of(tool: Tool) -> Option<Self> {
        if !tool.or_skip() {
            return None;
        }
        Some(Self { program: tool.path()?, home: tempfile::tempdir().unwrap() })
    }

    /// The output of `restic version`.
    pub fn version(&self) -> String {
        let output = run(Command::new(&self.program).arg("version"), b"", Duration::from_secs(60));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Runs it on a repository with this stdin, and returns the result.
    fn run_with(&self, repo: &Path, password_file: &Path, args: &[&str], stdin: &[u8]) -> Output {
        let mut command = Command::new(&self.program);
        for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("RESTIC_")) {
            command.env_remove(name);
        }
        command.env("HOME", self.home.path()).env("XDG_CACHE_HOME", self.home.path().join("cache"));
        command
            .arg("--no-cache")
            .arg("--repo")
            .arg(repo)
            .arg("--password-file")
            .arg(password_file)
            .args(args);
        run(&mut command, stdin, Duration::from_secs(300))
    }

    /// Runs it on a repository.
    pub fn run(&self, repo: &Path, password_file: &Path, args: &[&str]) -> Output {
        self.run_with(repo, password_file, args, b"")
    }

    /// Stdout of a run that must succeed.
    ///
    /// # Panics
    /// With restic's output if it fails.
    pub fn ok(&self, repo: &Path, password_file: &Path, args: &[&str]) -> Vec<u8> {
        self.checked(args, self.run(repo, password_file, args))
    }

    fn checked(&self, args: &[&str], output: Output) -> Vec<u8> {
        assert!(
            output.status.success(),
            "{} {args:?}: {}\n{}{}",
            self.version(),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    }

    /// Creates a repository of format version 2.
    pub fn init(&self, repo: &Path, password_file: &Path) {
        self.ok(repo, password_file, &["init", "--repository-version", "2"]);
    }

    /// Stores bytes as a file of this name in a snapshot of its own.
    pub fn backup_stdin(&self, repo: &Path, password_file: &Path, name: &str, content: &[u8]) {
        let args = ["backup", "--stdin", "--stdin-filename", name];
        self.checked(&args, self.run_with(repo, password_file, &args, content));
    }

    /// All snapshots as restic lists them.
    pub fn snapshots_json(&self, repo: &Path, password_file: &Path) -> Vec<Value> {
        let json = self.ok(repo, password_file, &["snapshots", "--json"]);
        // No snapshot at all is `null` in some versions.
        serde_json::from_slice::<Option<Vec<Value>>>(&json).unwrap().unwrap_or_default()
    }

    /// Checks the repository, with `read_data` every byte of it.
    ///
    /// # Panics
    /// With restic's output if it finds anything wrong.
    pub fn check(&self, repo: &Path, password_file: &Path, read_data: bool) {
        let args: &[&str] = if read_data { &["check", "--read-data"] } else { &["check"] };
        self.ok(repo, password_file, args);
    }

    /// One file of a snapshot.
    pub fn dump(&self, repo: &Path, password_file: &Path, snapshot: &str, path: &str) -> Vec<u8> {
        self.ok(repo, password_file, &["dump", snapshot, path])
    }

    /// Restores a snapshot into a directory and has restic read back what it wrote.
    pub fn restore_verify(&self, repo: &Path, password_file: &Path, snapshot: &str, target: &Path) {
        let target = target.to_str().expect("a path in UTF-8");
        self.ok(repo, password_file, &["restore", snapshot, "--target", target, "--verify"]);
    }
}
