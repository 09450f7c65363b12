//! The files that `[[alerts]]` names: URLs, topics, tokens and certificates, checked without sending anything.

use std::path::Path;

use super::alerts::{AlertConfig, AlertKind, HeartbeatConfig, NtfyConfig, Topic, WebhookConfig, is_topic};
use crate::{
    error::{Error, Result},
    settings::{Host, Patterns, Secret, SecretFile},
};

impl AlertConfig {
    /// The patterns in `sources` that match none of these names.
    pub(crate) fn unmatched<'a>(&'a self, names: &[&str]) -> Vec<&'a str> {
        let fits = |pattern: &str| {
            Patterns::new([pattern]).is_ok_and(|one| names.iter().any(|name| one.matched(name).is_some()))
        };
        self.sources.iter().filter(|pattern| !fits(pattern)).collect()
    }

    /// The file with certificate authorities that it trusts besides the system's.
    pub(crate) fn ca_file(&self) -> Option<&Path> {
        match &self.kind {
            AlertKind::Webhook(webhook) => webhook.ca_file.as_deref(),
            AlertKind::Ntfy(ntfy) => ntfy.ca_file.as_deref(),
            AlertKind::Email(email) => email.ca_file.as_deref(),
            AlertKind::Heartbeat(heartbeat) => heartbeat.ca_file.as_deref(),
        }
    }

    /// Problems with the files that it names, as far as they can be found without sending anything. Credentials that only a
    /// systemd unit has are not checked.
    pub(crate) fn unusable_files(&self) -> Vec<Error> {
        let mut problems = Vec::new();
        for file in self.secret_files().into_iter().filter(|file| !file.is_elsewhere()) {
            problems.extend(self.judge(file).err());
        }
        if let Some(path) = self.ca_file()
            && let Err(error) = std::fs::read(path)
        {
            let hint =
                crate::fs::owner::reading_hint(path, &error).unwrap_or_else(|| "correct the path".to_owned());
            let what = format!("alerts ({}): ca_file: the file {} cannot be read", self.name, path.display());
            problems.push(Error::usage(what).because(&error).hint(hint));
        }
        problems
    }

    fn judge(&self, file: &SecretFile) -> Result<()> {
        match &self.kind {
            AlertKind::Webhook(WebhookConfig { url_file, .. })
            | AlertKind::Heartbeat(HeartbeatConfig { url_file, .. })
                if url_file == file =>
            {
                load_url(file).map(drop)
            }
            AlertKind::Ntfy(NtfyConfig { topic: Topic::File(topic), .. }) if topic == file => {
                load_topic(file).map(drop)
            }
            _ => file.load().map(drop),
        }
    }

    /// All files with secrets that it names.
    pub fn secret_files(&self) -> Vec<&SecretFile> {
        match &self.kind {
            AlertKind::Webhook(webhook) => {
                [Some(&webhook.url_file), webhook.token_file.as_ref()].into_iter().flatten().collect()
            }
            AlertKind::Ntfy(ntfy) => {
                let topic = match &ntfy.topic {
                    Topic::File(file) => Some(file),
                    Topic::Given(_) => None,
                };
                [topic, ntfy.token_file.as_ref()].into_iter().flatten().collect()
            }
            AlertKind::Email(email) => email.login.iter().map(|(_, file)| file).collect(),
            AlertKind::Heartbeat(heartbeat) => vec![&heartbeat.url_file],
        }
    }
}

/// The fault of an alert's URL, without repeating any part of it.
pub(crate) fn url_fault(text: &str) -> Option<&'static str> {
    let Ok(url) = reqwest::Url::parse(text.trim()) else {
        return Some("is not valid: it must begin with https:// and the name of a host");
    };
    let Some(host) = url.host_str().filter(|host| !host.is_empty()) else {
        return Some("does not begin with https:// and the name of a host");
    };
    let local = Host::Tcp(host.trim_matches(['[', ']']).to_owned()).is_local();
    match url.scheme() {
        "https" => None,
        "http" if local => None,
        "http" => Some("begins with http://, which is not encrypted; use https://"),
        _ => Some("does not begin with https://"),
    }
}

/// Loads the file with the URL of an alert.
///
/// # Errors
/// Exit code 2: the file cannot be used, or its content is not a URL that messages can be sent to.
pub(crate) fn load_url(file: &SecretFile) -> Result<Secret> {
    let url = file.load()?;
    match url_fault(url.expose()) {
        None => Ok(url),
        Some(fault) => Err(Error::usage(format!("{}: the URL in {file} {fault}", file.key()))
            .hint("write the whole URL into the file, as the service shows it: https://…")),
    }
}

/// Loads the file with the topic of ntfy.
///
/// # Errors
/// Exit code 2: the file cannot be used, or its content is not the name of a topic.
pub(crate) fn load_topic(file: &SecretFile) -> Result<Secret> {
    let topic = file.load()?;
    if is_topic(topic.expose()) {
        return Ok(topic);
    }
    Err(Error::usage(format!("{}: the topic in {file} must be 1 to 64 of A-Z a-z 0-9 _ -", file.key()))
        .hint("write the name of the topic alone into the file, not its URL"))
}
