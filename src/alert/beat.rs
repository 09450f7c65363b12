//! Heartbeats: signs of life for somebody who raises the alarm when they stay away. They are never sent late: one that
//! could not be delivered must be missed.

use std::{thread, time::Duration};

use serde::Serialize;

use super::{
    Failure,
    channel::{Heartbeat, Phase, Tries, with_tries},
};
use crate::{
    config::{AlertConfig, Config},
    history::{
        History, Opened,
        ledger::{Entry, Ledger, ProblemKind},
    },
    stream::cancel::Cancel,
    workers,
};

/// What a heartbeat says.
pub type Beat = Phase;

/// A stop flag that sets itself after a while.
pub fn within(budget: Duration) -> Cancel {
    let cancel = Cancel::new();
    let later = cancel.clone();
    // Without the thread only the tries and their timeouts bound the time.
    let _ = thread::Builder::new().name("budget".to_owned()).spawn(move || {
        thread::sleep(budget);
        later.cancel("telling took too long");
    });
    cancel
}

/// Something that keeps a heartbeat from saying that all is well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// `source/item`, a source, or the repository.
    pub item: String,
    /// The kind of problem, as in the ledger.
    pub problem: &'static str,
    /// What happened.
    pub error: String,
    /// Known items that were not backed up for this reason, if it is about a source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<u64>,
}

/// What is failed or late, by the ledger, of these sources, or concerns all. What is backed up and only needs a look
/// (suspicious, vanished, excluded, not proven) does not count: alerts tell of it, and a heartbeat is about backups that are
/// not made.
pub fn troubles(ledger: &Ledger, sources: &[&str]) -> Vec<Trouble> {
    let of_them = ledger.items.iter().filter(|entry| sources.contains(&entry.source.as_str()));
    let mut troubles: Vec<Trouble> = of_them
        .flat_map(|entry| entry.problems.iter().map(move |problem| (entry, problem)))
        .filter(|(entry, problem)| !needs_only_a_look(entry, problem.kind))
        .map(|(entry, problem)| Trouble {
            item: entry.name(),
            problem: problem.kind.as_str(),
            error: problem.text.clone(),
            items: problem.items,
        })
        .collect();
    // What is lost of the repository concerns all: what counts as backed up may not be restored.
    let damage = |kind| matches!(kind, ProblemKind::Damage | ProblemKind::SnapshotsGone);
    troubles.extend(ledger.problems.iter().filter(|problem| damage(problem.kind)).map(|problem| Trouble {
        item: problem.subject().to_owned(),
        problem: problem.kind.as_str(),
        error: problem.text.clone(),
        items: None,
    }));
    if let Some(error) = &ledger.repository.error {
        let item = "the repository".to_owned();
        troubles.push(Trouble {
            item,
            problem: ProblemKind::Repository.as_str(),
            error: error.to_string(),
            items: None,
        });
    }
    troubles
}

/// Whether the item is backed up all the same.
fn needs_only_a_look(entry: &Entry, kind: ProblemKind) -> bool {
    use ProblemKind::{Anomaly, Excluded, FutureSnapshot, NotProven, Vanished};
    match kind {
        Anomaly | Vanished | Excluded | NotProven => true,
        // Without any other snapshot it is not known whether it is in time.
        FutureSnapshot => entry.last_backup.is_some(),
        _ => false,
    }
}

/// Does this history know what became of the other runs? One that was begun just now may have been lost before.
pub fn knows_the_past(history: &History) -> bool {
    matches!(history.opened(), Opened::Present)
}

/// The sources of the configuration that a channel concerns.
pub(super) fn concerned<'c>(config: &'c Config, alert: &AlertConfig) -> Vec<&'c str> {
    let names = config.sources.iter().map(|source| source.name.as_str());
    names.filter(|name| alert.sources.matched(name).is_some()).collect()
}

/// What to say to a heartbeat: given those of the sources in question that concern it, and all that do.
pub type Say<'s> = dyn Fn(&[&str], &[&str]) -> (Beat, String) + Sync + 's;

/// Sends to each heartbeat that concerns one of `sources` what `say` says for those of them that concern it, and for all
/// sources that do. Returns those that did not take it.
pub fn beat(
    config: &Config,
    history: &History,
    sources: &[&str],
    say: &Say<'_>,
    cancel: &Cancel,
) -> Vec<Failure> {
    let concerns = |alert: &AlertConfig| -> Vec<&str> {
        sources.iter().copied().filter(|name| alert.sources.matched(name).is_some()).collect()
    };
    let alerts = config.alerts.iter().map(|alert| (alert, concerns(alert)));
    let alerts: Vec<_> = alerts.filter(|(_, of)| !of.is_empty()).collect();
    let panicked = |_: &_| None;
    let failures = workers::map_or(&alerts, alerts.len(), panicked, |(alert, of)| {
        let sent = match Heartbeat::open(alert) {
            Ok(None) => return None,
            Ok(Some(heartbeat)) => {
                let (phase, body) = say(of, &concerned(config, alert));
                let mut tries = 0_u64;
                let once = || {
                    tries += 1;
                    heartbeat.ping(phase, &body, cancel)
                };
                let sent = with_tries(&Tries::new(alert.tries), cancel, once);
                tracing::info!(channel = alert.name, tries, delivered = sent.is_ok(), "a heartbeat was sent");
                sent.map_err(|refused| refused.error)
            }
            Err(error) => Err(error),
        };
        let noted = history.sent(&alert.name, None, sent.as_ref().copied(), &jiff::Zoned::now());
        let error = sent.and(noted).err()?;
        Some(Failure { channel: alert.name.clone(), error: error.to_string() })
    });
    failures.into_iter().flatten().collect()
}
