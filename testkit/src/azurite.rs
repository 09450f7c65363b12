//! Temporary blob services: Azurite, Microsoft's emulator, with accounts and keys of the test's choice.

use std::{
    fs,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::{Tool, process::spawn_bound};

/// A running Azurite that keeps blobs in memory; killed when dropped, or when the test process ends in any other way.
#[derive(Debug)]
pub struct Azurite {
    child: Child,
    port: u16,
    accounts: Vec<String>,
    // Dropped last: the program must have stopped before its directory goes.
    dir: TempDir,
}

impl Azurite {
    /// Starts one on a free port of 127.0.0.1, with these accounts.
    ///
    /// # Panics
    /// With its log if it does not start, or if it is not installed: `skip_unless!(Tool::Azurite)` first.
    pub fn start(accounts: &[&str]) -> Self {
        let folder = Tool::Azurite.path().expect("Azurite is there: skip_unless!(Tool::Azurite) first");
        let dir = tempfile::Builder::new().prefix("tik-azurite-").tempdir().unwrap();
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let keys: Vec<_> = accounts
            .iter()
            .map(|account| format!("{account}:{}:{}", key_of(account), second_key_of(account)))
            .collect();
        let mut command = Command::new("node");
        command.arg(folder.join("node_modules/azurite/dist/src/blob/main.js"));
        command.args(["--blobHost", "127.0.0.1", "--blobPort", "0", "--inMemoryPersistence"]);
        command.args(["--disableTelemetry", "--silent"]);
        command.env("AZURITE_ACCOUNTS", keys.join(";")).env("HOME", dir.path()).current_dir(dir.path());
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let mut child = spawn_bound(command, Signal::KILL).expect("node starts");
        let begin = Instant::now();
        let port = loop {
            let log = fs::read_to_string(dir.path().join("log")).unwrap_or_default();
            let line = log.lines().find(|line| line.contains("successfully listens on"));
            if let Some(port) = line.and_then(|line| line.rsplit(':').next()?.trim().parse().ok()) {
                break port;
            }
            let ended = child.try_wait().unwrap().is_some();
            if ended || begin.elapsed() > Duration::from_secs(60) {
                child.kill().ok();
                child.wait().ok();
                panic!("Azurite did not start:\n{log}");
            }
            thread::sleep(Duration::from_millis(20));
        };
        let accounts = accounts.iter().map(|&account| account.to_owned()).collect();
        Self { child, port, accounts, dir }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address of an account's blob service.
    pub fn endpoint(&self, account: &str) -> String {
        self.endpoint_at(self.port, account)
    }

    /// The address of an account's blob service behind a relay on another port.
    pub fn endpoint_at(&self, port: u16, account: &str) -> String {
        assert!(self.accounts.iter().any(|known| known == account), "no account {account}");
        format!("http://127.0.0.1:{port}/{account}/")
    }

    /// The account's key.
    pub fn key(&self, account: &str) -> String {
        key_of(account)
    }

    /// The account's second key.
    pub fn second_key(&self, account: &str) -> String {
        second_key_of(account)
    }

    /// Its output so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Azurite {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Each account has keys of its own, so that a mix-up shows.
fn key_of(account: &str) -> String {
    STANDARD.encode(format!("the key of {account}"))
}

fn second_key_of(account: &str) -> String {
    STANDARD.encode(format!("the second key of {account}"))
}
