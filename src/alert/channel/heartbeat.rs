//! Heartbeats in the style of healthchecks.io: a URL, and `/start` and `/fail` below it.

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

/// The state that a heartbeat reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// A run has started.
    Start,
    /// A run has ended and there are no problems.
    Success,
    /// A run has ended and something has failed.
    Failure,
}

/// A heartbeat.
pub struct Heartbeat {
    url: Secret,
    sender: Sender,
}

impl Heartbeat {
    /// Reads the files named in the configuration; `None` if it describes another kind of alert.
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

    /// Sends it once, without retries.
    ///
    /// # Errors
    /// It was not delivered.
    pub fn ping(&self, phase: Phase, body: &str, cancel: &Cancel) -> Result<(), Refused> {
        let end = match phase {
            Phase::Start => "/start",
            Phase::Success => "",
            Phase::Failure => "/fail",
        };
        let url = self.url.expose().trim();
        // The query of the URL stays at the end.
        let (path, query) =
            url.split_once('?').map_or((url, String::new()), |(path, q)| (path, format!("?{q}")));
        let url = Secret::new(format!("{}{end}{query}", path.trim_end_matches('/')));
        let body = Body { content_type: "application/json", content: body.to_owned() };
        let answer = self.sender.post(&url, &body, cancel)?;
        // Healthchecks answers 200 to every ping that addresses a check by UUID, even if it ignores the ping.
        let uncounted = |what: &str| Error::failed(format!("the heartbeat was ignored: {what}"));
        match answer.trim() {
            "OK (not found)" => {
                let error = uncounted("there is no such check");
                Err(Refused::lasting(error.hint("correct the URL in the file of the alert")))
            }
            "OK (rate limited)" => {
                let error = uncounted("too many pings");
                let hint = "let fewer sources share one check: set `sources` of the alert";
                Err(Refused::passing(error.hint(hint)))
            }
            _ => Ok(()),
        }
    }
}
