//! Heartbeats for a monitoring service that alerts when they stop. They are never queued: an undelivered one must be
//! missed.

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

/// The body of a heartbeat.
pub type Beat = Phase;

/// A cancellation flag with a timeout.
pub fn within(budget: Duration) -> Cancel {
    let cancel = Cancel::new();
    let later = cancel.clone();
    // Without this thread, only the number of tries and their timeouts limit the time.
    let _ = thread::Builder::new().name("budget".to_owned()).spawn(move || {
        thread::sleep(budget);
        later.cancel("telling took too long");
    });
    cancel
}

/// A problem that prevents a heartbeat from reporting success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// `source/item`, a source, or the repository.
    pub item: String,
    /// The kind of problem, as in the ledger.
    pub problem: &'static str,
    /// What happened.
    pub error: String,
    /// For a source: number of known items that were not backed up for this reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<u64>,
}

/// Failed and late items of these sources in the ledger, and problems that concern all sources. Items that are backed
/// up but need attention (suspicious, vanished, excluded, not proven) do not count: they raise alerts, while a
/// heartbeat reports missing backups.
pub fn troubles(ledger: &Ledger, sources: &[&str]) -> Vec<Trouble> {
    let of_them = ledger.items.iter().filter(|entry| sources.contains(&entry.source.as_str()));
    let mut troubles: Vec<Trouble> = of_them
        .flat_map(|entry| entry.problems.iter().map(move |problem| (entry, problem)))
        .filter(|(entry, problem)| !has_good_backup(entry, problem.kind))
        .map(|(entry, problem)| Trouble {
            item: entry.name(),
            problem: problem.kind.as_str(),
            error: problem.text.clone(),
            items: problem.items,
        })
        .collect();
    // Damage to the repository concerns all sources: items that count as backed up may not be restorable.
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

/// Whether the item has a good backup nevertheless.
fn has_good_backup(entry: &Entry, kind: ProblemKind) -> bool {
    use ProblemKind::{Anomaly, Excluded, FutureSnapshot, NotProven, Vanished};
    match kind {
        Anomaly | Vanished | Excluded | NotProven => true,
        // Without another snapshot, the age of the backup is unknown.
        FutureSnapshot => entry.last_backup.is_some(),
        _ => false,
    }
}

/// Whether this history knows the outcome of other runs. A new one may replace one that was lost.
pub fn knows_other_runs(history: &History) -> bool {
    matches!(history.opened(), Opened::Present)
}

/// The sources of the configuration that a channel concerns.
pub(super) fn concerned<'c>(config: &'c Config, alert: &AlertConfig) -> Vec<&'c str> {
    let names = config.sources.iter().map(|source| source.name.as_str());
    names.filter(|name| alert.sources.matched(name).is_some()).collect()
}

/// Produces the heartbeat's content from the run's sources that concern it, and from all sources that do.
pub type Say<'s> = dyn Fn(&[&str], &[&str]) -> (Beat, String) + Sync + 's;

/// Sends each heartbeat that concerns one of `sources`, with the content from `say`. Returns the failures.
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
