//! A directory with secrets, and channels opened from lines of configuration.

use std::{fs, os::unix::fs::PermissionsExt};

use jiff::Zoned;
use tempfile::TempDir;
use tik_backup::{
    alert::channel::{self, Channel, Refused},
    config::{AlertConfig, Config},
    error::Result,
    history::message::{Line, Message, Purpose},
    stream::cancel::Cancel,
};

pub struct ChannelSetup(TempDir);

impl ChannelSetup {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Puts a secret into a file that configurations name by `name`.
    pub fn secret(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    pub fn config(&self, lines: &str) -> AlertConfig {
        let text =
            format!("[repository]\nlocation = \"r\"\npassword_file = \"password\"\n[[alerts]]\n{lines}\n");
        Config::parse(&text, &self.0.path().join("c.toml")).unwrap().alerts.remove(0)
    }

    pub fn open(&self, lines: &str) -> Result<Box<dyn Channel>> {
        channel::open(&self.config(lines)).map(Option::unwrap)
    }

    /// Sends a message of one line.
    pub fn send(&self, lines: &str) -> Result<(), Refused> {
        self.open(lines).unwrap().send(&message(1), &Cancel::new())
    }
}

/// `count` items that failed.
pub fn message(count: usize) -> Message {
    let line = |number: usize| Line {
        subject: format!("pg/item-{number}"),
        kind: "failed".to_owned(),
        text: format!("pg_dump ended with code {number}"),
        since: Some("2026-10-05T02:00:00+00:00[UTC]".parse::<Zoned>().unwrap()),
        hint: None,
        ..Line::default()
    };
    Message {
        purpose: Purpose::Problem,
        at: "2026-10-05T03:00:00+00:00[UTC]".parse().unwrap(),
        host: "db1".to_owned(),
        new: (0..count).map(line).collect(),
        persisting: Vec::new(),
        recovered: Vec::new(),
        remarks: Vec::new(),
    }
}
