//! Heartbeats in the way of healthchecks: a URL, and `/start` and `/fail` below it.

use super::{
    Refused,
    http::{Body, Sender},
};
use crate::{
    config::{AlertConfig, AlertKind, load_url},
    error::{Error, Result},
    settings::Secret,
    stream::cancel::Cancel,
};

/// What a heartbeat says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// A run begins.
    Start,
    /// A run ended, and all is well.
    Success,
    /// A run ended, and something failed.
    Failure,
}

/// A heartbeat.
pub struct Heartbeat {
    url: Secret,
    sender: Sender,
}

impl Heartbeat {
    /// Reads the files that the configuration names; `None` if it describes another kind of alert.
    ///
    /// # Errors
    /// A file cannot be used.
    pub fn open(config: &AlertConfig) -> Result<Option<Self>> {
        let AlertKind::Heartbeat(heartbeat) = &config.kind else { return Ok(None) };
        Ok(Some(Self {
            url: load_url(&heartbeat.url_file)?,
            sender: Sender::new(config.timeout, heartbeat.ca_file.as_deref(), None)?,
        }))
    }

    /// Tries once to send it.
    ///
    /// # Errors
    /// It was not taken.
    pub fn ping(&self, phase: Phase, body: &str, cancel: &Cancel) -> Result<(), Refused> {
        let end = match phase {
            Phase::Start => "/start",
            Phase::Success => "",
            Phase::Failure => "/fail",
        };
        let url = self.url.expose().trim();
        // A query stays at the end.
        let (path, query) =
            url.split_once('?').map_or((url, String::new()), |(path, q)| (path, format!("?{q}")));
        let url = Secret::new(format!("{}{end}{query}", path.trim_end_matches('/')));
        let body = Body { content_type: "application/json", content: body.to_owned() };
        let answer = self.sender.post(&url, &body, cancel)?;
        // Healthchecks answers 200 to whoever names a check by its UUID, even if it does not count.
        let uncounted = |what: &str| Error::failed(format!("the heartbeat does not count: {what}"));
        match answer.trim() {
            "OK (not found)" => {
                let error = uncounted("there is no such check");
                Err(Refused::lasting(error.hint("correct the URL in the file of the alert")))
            }
            "OK (rate limited)" => {
                let error = uncounted("there were too many");
                let hint =
                    "let fewer sources share one check: `sources` of the alert names those that it concerns";
                Err(Refused::passing(error.hint(hint)))
            }
            _ => Ok(()),
        }
    }
}
