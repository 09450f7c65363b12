//! Sends queued messages to each channel, with retries. Messages that cannot be delivered stay queued for the next run.

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

/// How long a process reserves the messages that it is sending.
const HOLD: Duration = Duration::from_secs(15 * 60);

/// The result of a delivery.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Delivery {
    /// Number of delivered messages.
    pub sent: u64,
    /// Channels that could not be reached or refused a message.
    pub failed: Vec<Failure>,
}

/// A channel to which a message could not be delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Name of the channel.
    pub channel: String,
    /// Why the delivery failed.
    pub error: String,
}

/// Sends all queued messages. Never fails as a whole: undelivered messages are in the result and stay queued.
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

/// Sends the messages queued for one channel, oldest first, and stops at the first failure.
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
        // Not `message`: that is the field of the text itself.
        tracing::info!(channel = alert.name, alert = message.id, tries, delivered, "an alert was sent");
        if let Err(error) = outcome {
            // Release the reservation, so that another process may retry.
            for rest in &waiting[index + 1..] {
                history.release(rest.id)?;
            }
            return Err(error);
        }
        sent += 1;
    }
    Ok(sent)
}

/// The content of a test heartbeat. It reports the real state, because the monitoring service cannot tell it from a
/// run's.
fn test_beat(config: &Config, alert: &AlertConfig, cancel: &Cancel) -> (channel::Phase, String) {
    let seen = crate::survey::ledger_despite_errors(config, cancel).ok();
    let seen = seen.filter(|seen| super::knows_other_runs(&seen.history));
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
        remarks: vec!["This is a test. Alerts about failed backups will arrive here.".to_owned()],
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
            // A failure to record the result is ignored: the result itself is printed.
            let _ = history.sent(name, None, outcome.as_ref().copied(), &Zoned::now());
        }
    }
    tested
}
