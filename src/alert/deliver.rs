//! Sending what is queued: each channel by itself, with several tries; what cannot be delivered waits for the next run.

use std::time::Duration;

use jiff::Zoned;
use serde::Serialize;

use super::channel::{self, Tries, with_tries};
use crate::{
    config::{AlertConfig, AlertKind, Config},
    error::{Error, Result},
    history::{
        History,
        message::{Message, Purpose},
    },
    stream::cancel::Cancel,
    workers,
};

/// How long a process keeps messages to itself that it has begun to send.
const HOLD: Duration = Duration::from_secs(15 * 60);

/// What came of telling.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Delivery {
    /// Messages that arrived.
    pub sent: u64,
    /// Channels that did not take what was to be told.
    pub failed: Vec<Failure>,
}

/// A channel that did not take a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Name of the channel.
    pub channel: String,
    /// What it said.
    pub error: String,
}

/// Sends all that is queued. Never fails as a whole: what did not arrive is in the result, and stays queued.
pub fn deliver(config: &Config, history: &History, cancel: &Cancel) -> Delivery {
    let channels: Vec<_> =
        config.alerts.iter().filter(|alert| !matches!(alert.kind, AlertKind::Heartbeat(_))).collect();
    let results = workers::map_or(
        &channels,
        channels.len(),
        |_| Err(Error::failed("sending to it panicked")),
        |alert| deliver_to(alert, history, cancel),
    );
    let mut delivery = Delivery::default();
    for (alert, result) in channels.iter().zip(results) {
        match result {
            Ok(sent) => delivery.sent += sent,
            Err(error) => {
                delivery.failed.push(Failure { channel: alert.name.clone(), error: error.to_string() })
            }
        }
    }
    delivery
}

/// Sends what waits for one channel, oldest first, and stops at the first that it does not take.
fn deliver_to(alert: &AlertConfig, history: &History, cancel: &Cancel) -> Result<u64> {
    let waiting = history.claim(&alert.name, &Zoned::now(), HOLD)?;
    if waiting.is_empty() {
        return Ok(0);
    }
    let opened = channel::open(alert);
    let mut sent = 0;
    for (index, message) in waiting.iter().enumerate() {
        let mut tries = 0_u64;
        let outcome = match &opened {
            Ok(Some(channel)) => {
                let once = || {
                    tries += 1;
                    channel.send(&message.message, cancel)
                };
                with_tries(&Tries::new(alert.tries), cancel, once).map_err(|refused| refused.error)
            }
            Ok(None) => Ok(()),
            Err(error) => Err(error.clone()),
        };
        history.sent(&alert.name, Some(message.id), outcome.as_ref().copied(), &Zoned::now())?;
        let delivered = outcome.is_ok();
        tracing::info!(channel = alert.name, message = message.id, tries, delivered, "an alert was sent");
        if let Err(error) = outcome {
            // Given back, for whoever tries next.
            for rest in &waiting[index + 1..] {
                history.release(rest.id)?;
            }
            return Err(error);
        }
        sent += 1;
    }
    Ok(sent)
}

/// What a heartbeat says in a test: the truth, as whoever watches it may take it for that of a run.
fn test_beat(config: &Config, alert: &AlertConfig, cancel: &Cancel) -> (channel::Phase, String) {
    let seen = crate::survey::ledger_whatever(config, cancel).ok();
    let seen = seen.filter(|seen| super::knows_the_past(&seen.history));
    let problems = seen.map(|seen| super::troubles(&seen.ledger, &super::beat::concerned(config, alert)));
    let well = problems.as_ref().is_some_and(Vec::is_empty);
    let phase = if well { channel::Phase::Success } else { channel::Phase::Failure };
    (phase, serde_json::json!({"test": true, "known": problems.is_some(), "problems": problems}).to_string())
}

/// Sends a test message through every channel, at once and without the queue.
pub fn test(
    config: &Config,
    history: Option<&History>,
    cancel: &Cancel,
) -> Vec<(String, &'static str, Result<()>)> {
    let message = Message {
        purpose: Purpose::Test,
        at: Zoned::now(),
        host: config.repository.host.clone(),
        new: Vec::new(),
        persisting: Vec::new(),
        recovered: Vec::new(),
        remarks: vec!["This is a test. Whoever reads it will be told when a backup fails.".to_owned()],
    };
    let one = |alert: &AlertConfig| -> Result<()> {
        let refused = |refused: channel::Refused| refused.error;
        match channel::open(alert)? {
            Some(channel) => channel.send(&message, cancel).map_err(refused),
            None => match channel::Heartbeat::open(alert)? {
                Some(heartbeat) => {
                    let (phase, body) = test_beat(config, alert, cancel);
                    heartbeat.ping(phase, &body, cancel).map_err(refused)
                }
                None => Ok(()),
            },
        }
    };
    let tested = config.alerts.iter().map(|alert| (alert.name.clone(), alert.kind.as_str(), one(alert)));
    let tested: Vec<_> = tested.collect();
    if let Some(history) = history {
        for (name, _, outcome) in &tested {
            // What cannot be written down was printed all the same.
            let _ = history.sent(name, None, outcome.as_ref().copied(), &Zoned::now());
        }
    }
    tested
}
