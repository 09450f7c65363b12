//! The alert channels. Each formats a message and sends it to its service.

mod email;
mod heartbeat;
mod html;
mod http;
mod ntfy;
mod tries;
mod webhook;

use std::{path::Path, time::Duration};

pub use heartbeat::{Heartbeat, Phase};
pub use tries::{Tries, with_tries};

use crate::{
    config::{AlertConfig, AlertKind},
    error::{Error, Result},
    history::message::Message,
    output::count,
    stream::cancel::Cancel,
};

/// Longest title of a message, in characters.
const TITLE: usize = 300;
/// The line that starts a certificate in a PEM file.
const PEM: &str = "-----BEGIN CERTIFICATE-----";

/// Delivers messages.
pub trait Channel: Send + Sync {
    /// Sends a message once, without retries.
    ///
    /// # Errors
    /// It was not delivered.
    fn send(&self, message: &Message, cancel: &Cancel) -> Result<(), Refused>;
}

/// A message that could not be delivered.
#[derive(Debug)]
pub struct Refused {
    /// The error, without secrets.
    pub error: Error,
    /// Retrying cannot help: the address or the credentials are wrong.
    pub lasting: bool,
    /// The delay that the receiver requests.
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

/// The channel for a section of the configuration; `None` for a heartbeat, which does not deliver messages.
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

/// The certificates in a `ca_file`.
fn read_authorities(path: &Path) -> Result<Vec<u8>> {
    let shown = path.display();
    let bytes = std::fs::read(path).map_err(|error| {
        Error::usage(format!("the certificates in {shown} (ca_file of an alert) cannot be read"))
            .because(&error)
    })?;
    // The libraries accept a file without certificates, and then trust no server.
    if !bytes.windows(PEM.len()).any(|window| window == PEM.as_bytes()) {
        let error = Error::usage(format!("{shown} (ca_file of an alert) holds no certificate"));
        return Err(error.hint(format!("it must be a PEM file, with {PEM} in it")));
    }
    Ok(bytes)
}

/// `text` cut to at most `limit` units as `measure` counts them, at the end of a line, saying how many lines are left
/// out. A line that would take more than half of the room by itself is shown as far as it fits.
fn fit(text: &str, limit: usize, measure: impl Fn(&str) -> usize) -> String {
    if measure(text) <= limit {
        return text.to_owned();
    }
    let lines: Vec<&str> = text.lines().collect();
    let tail = |left: usize| format!("… and {}: see `tik-backup status`", count(left, "more line"));
    let room = limit.saturating_sub(measure(&tail(lines.len())) + 1);
    let mut kept = String::new();
    for (index, line) in lines.iter().enumerate() {
        let longer = format!("{kept}{line}\n");
        if measure(&longer) <= room {
            kept = longer;
            continue;
        }
        let mut shown = index;
        if measure(line) > room / 2 {
            let ends: Vec<usize> = line.char_indices().map(|(start, _)| start).collect();
            let cut = |end: usize| format!("{kept}{}…\n", &line[..end]);
            let fitting = ends.partition_point(|end| measure(&cut(*end)) <= room);
            if fitting > 1 {
                kept = cut(ends[fitting - 1]);
                shown += 1;
            }
        }
        return kept + &tail(lines.len() - shown);
    }
    kept
}

/// A title, cut to what every receiver has room for.
fn short(title: &str) -> String {
    if title.chars().count() <= TITLE {
        return title.to_owned();
    }
    title.chars().take(TITLE - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_at_a_line_and_says_so() {
        let text: String = (0..100).map(|line| format!("line {line}\n")).collect();
        let cut = fit(&text, 200, str::len);
        assert!(cut.len() <= 200 && cut.starts_with("line 0\nline 1\n"), "{cut}");
        assert!(cut.ends_with("more lines: see `tik-backup status`"), "{cut}");
        assert_eq!(fit("short", 200, str::len), "short");
        assert!(fit("", 0, str::len).is_empty());
    }

    #[test]
    fn a_long_line_is_cut_at_any_limit_and_in_any_script() {
        let text = format!("heading\n{}\nlast\n", "ü€🔥".repeat(100));
        for limit in 120..400 {
            let cut = fit(&text, limit, str::len);
            assert!(cut.len() <= limit && cut.starts_with("heading\nü"), "{limit}: {cut}");
            assert!(cut.contains("…\n… and 1 more line:"), "{limit}: {cut}");
        }
    }

    #[test]
    fn a_long_title_is_cut() {
        assert_eq!(short("brief"), "brief");
        let cut = short(&"ü".repeat(1000));
        assert!(cut.chars().count() == TITLE && cut.ends_with('…'));
    }
}
