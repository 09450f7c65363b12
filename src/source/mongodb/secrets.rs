//! The secrets of a connection string.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

/// Options whose values are not secret and may be shown in messages.
const OPEN_OPTIONS: [&str; 14] = [
    "authmechanism",
    "authsource",
    "connecttimeoutms",
    "directconnection",
    "maxpoolsize",
    "readpreference",
    "readconcernlevel",
    "replicaset",
    "retryreads",
    "retrywrites",
    "serverselectiontimeoutms",
    "ssl",
    "tls",
    "w",
];
/// Parts of a secret with this length (in bytes) are not shown in errors of a malformed connection string.
pub(super) const PIECE: usize = 3;

/// Shorter secrets (in bytes) may occur in ordinary words.
const WORD: usize = 4;

/// Secrets that must not appear in messages.
#[derive(Clone, Default)]
pub(super) struct Secrets(Vec<Zeroizing<String>>);

impl Secrets {
    pub(super) fn of(uri: &str) -> Self {
        let mut secrets = Self::default();
        secrets.push(uri);
        let (_, rest) = uri.split_once("://").unwrap_or(("", uri));
        if let Some((user_info, _)) = rest.rsplit_once('@') {
            secrets.push(user_info);
            let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
            secrets.push(user);
            secrets.push(password);
        } else {
            let authority = rest.split_once('?').map_or(rest, |(authority, _)| authority);
            odd_ports(authority).into_iter().for_each(|port| secrets.push(port));
        }
        let (_, options) = rest.split_once('?').unwrap_or_default();
        for (name, value) in options.split('&').filter_map(|option| option.split_once('=')) {
            if !OPEN_OPTIONS.contains(&name.to_ascii_lowercase().as_str()) {
                secrets.push(value);
            }
        }
        secrets
    }

    /// Adds a text, as it is and decoded.
    pub(super) fn push(&mut self, text: &str) {
        let decoded = percent_decode_str(text).decode_utf8_lossy();
        self.0.extend(
            [Cow::Borrowed(text), decoded]
                .into_iter()
                .filter(|t| !t.is_empty())
                .map(|text| Zeroizing::new(text.into_owned())),
        );
        // The longer ones first: otherwise the rest of one would remain after a shorter one was replaced.
        self.0.sort_unstable_by_key(|secret| std::cmp::Reverse(secret.len()));
        self.0.dedup();
    }

    /// The text without any of them.
    pub(super) fn clean(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "***"))
    }

    /// Whether a text contains a secret that is so short that ordinary words contain it too: the replacement would
    /// make the text unreadable, and reveal the secret.
    pub(super) fn would_garble(&self, text: &str) -> bool {
        self.0.iter().any(|secret| secret.len() < WORD && text.contains(secret.as_str()))
    }

    /// Whether a text of the driver contains a part of one.
    pub(super) fn betrayed_by(&self, text: &str) -> bool {
        // The parts of the whole string include the hosts and the names of options.
        self.0.iter().filter(|secret| !secret.contains("://")).any(|secret| {
            let piece = PIECE.min(secret.len());
            secret
                .as_bytes()
                .windows(piece)
                .any(|piece| memchr::memmem::find(text.as_bytes(), piece).is_some())
        })
    }
}

/// An invalid port: without an @ it may be a password.
pub(super) fn odd_ports(authority: &str) -> Vec<&str> {
    let hosts = authority.split(',').filter(|host| !host.starts_with('['));
    let ports = hosts.filter_map(|host| host.split_once(':').map(|(_, port)| port));
    ports.filter(|port| !port.split('/').next().is_some_and(is_port)).collect()
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
