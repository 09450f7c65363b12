//! The channels: each gives a message its form and hands it to whoever carries it.

mod email;
mod heartbeat;
mod http;
mod ntfy;
mod tries;
mod webhook;

use std::{path::Path, time::Duration};

pub use heartbeat::{Heartbeat, Phase};
pub use tries::{Tries, with_tries};

use super::message::Message;
use crate::{
    config::{AlertConfig, AlertKind},
    error::{Error, Result},
    stream::cancel::Cancel,
};

/// Carries messages.
pub trait Channel: Send + Sync {
    /// Its name in the configuration.
    fn name(&self) -> &str;

    /// Its kind, as written in the configuration.
    fn kind(&self) -> &'static str;

    /// Tries once to deliver a message.
    ///
    /// # Errors
    /// It was not taken.
    fn send(&self, message: &Message, cancel: &Cancel) -> Result<(), Refused>;
}

/// A message that was not taken.
#[derive(Debug)]
pub struct Refused {
    /// What happened, without secrets.
    pub error: Error,
    /// Trying again cannot help: the address or the login is wrong.
    pub lasting: bool,
    /// How long the other side asks to wait.
    pub wait: Option<Duration>,
}

impl Refused {
    fn lasting(error: Error) -> Self {
        Self { error, lasting: true, wait: None }
    }

    fn passing(error: Error) -> Self {
        Self { error, lasting: false, wait: None }
    }
}

/// The channel that a part of the configuration describes; `None` for a heartbeat, which carries no messages.
///
/// # Errors
/// A file that it names cannot be used.
pub fn open(config: &AlertConfig) -> Result<Option<Box<dyn Channel>>> {
    Ok(match &config.kind {
        AlertKind::Webhook(webhook) => Some(Box::new(webhook::Webhook::open(config, webhook)?)),
        AlertKind::Ntfy(ntfy) => Some(Box::new(ntfy::Ntfy::open(config, ntfy)?)),
        AlertKind::Email(email) => Some(Box::new(email::Email::open(config, email)?)),
        AlertKind::Heartbeat(_) => None,
    })
}

/// The certificates in a file of further authorities.
fn read_authorities(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| {
        Error::usage(format!("the certificates in {} (ca_file of an alert) cannot be read", path.display()))
            .because(&error)
    })
}

/// `text` cut to at most `limit` units as `measure` counts them, at the end of a line, saying how many lines are left out.
fn fit(text: &str, limit: usize, measure: impl Fn(&str) -> usize) -> String {
    if measure(text) <= limit {
        return text.to_owned();
    }
    let lines: Vec<&str> = text.lines().collect();
    let tail = |left: usize| format!("… and {left} more lines: see `tik-backup status`");
    let room = limit.saturating_sub(measure(&tail(lines.len())) + 1);
    let mut kept = String::new();
    for (index, line) in lines.iter().enumerate() {
        let longer = format!("{kept}{line}\n");
        if measure(&longer) > room {
            return kept + &tail(lines.len() - index);
        }
        kept = longer;
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_cut_at_a_line_and_says_so() {
        let text: String = (0..100).map(|line| format!("line {line}\n")).collect();
        let cut = fit(&text, 200, str::len);
        assert!(cut.len() <= 200 && cut.starts_with("line 0\nline 1\n"), "{cut}");
        assert!(cut.ends_with("more lines: see `tik-backup status`"), "{cut}");
        assert_eq!(fit("short", 200, str::len), "short");
        assert!(fit(&"x".repeat(500), 200, str::len).len() <= 200);
    }
}
