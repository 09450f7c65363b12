//! The history and the alerts of a drill.

use std::time::Duration;

use jiff::Zoned;

use super::{
    observer::Observer,
    plan::{Candidate, Request},
    verdict::Report,
};
use crate::{
    alert,
    config::Config,
    error::Result,
    history::{Check, History, builder, ledger::Ledger},
    repository::{Hosts, Repository, Snapshot, future_warning},
};

/// The time limit for sending alerts.
const BUDGET: Duration = Duration::from_secs(300);

/// The history of this host and repository; one in memory if it cannot be used, or if the snapshots are of another host: its
/// results do not apply to the backups of this host.
pub(super) fn open_history(
    config: &Config,
    request: &Request,
    repository: &Repository,
    report: &mut Report,
    observer: &dyn Observer,
) -> Result<History> {
    if request.foreign {
        return History::in_memory();
    }
    let open = || {
        let history = History::open(config, Check::Full)?;
        let note = history.meet(repository, Check::Full)?;
        Ok((history, note))
    };
    match open() {
        Ok((history, note)) => {
            note.iter().for_each(|note| observer.warning(note));
            Ok(history)
        }
        Err(error) => {
            observer.failure("the results cannot be recorded: the reason follows at the end of the run");
            let history = History::in_memory_because(&error);
            report.error = Some(error);
            history
        }
    }
}

/// Warns of snapshots of the chosen items that are dated in the future.
pub(super) fn warn_of_future(chosen: &[Candidate<'_>], snapshots: &[Snapshot], observer: &dyn Observer) {
    let now = jiff::Timestamp::now();
    let ahead: Vec<Snapshot> = snapshots.iter().filter(|snapshot| snapshot.is_ahead(now)).cloned().collect();
    for Candidate { snapshot, .. } in chosen {
        let of_item: Vec<Snapshot> = ahead
            .iter()
            .filter(|s| (&s.source, &s.item) == (&snapshot.source, &snapshot.item))
            .cloned()
            .collect();
        future_warning(snapshot, &of_item).iter().for_each(|warning| observer.warning(warning));
    }
}

/// Builds the ledger.
pub(super) fn ledger(config: &Config, history: &History, repository: &Repository) -> Result<Ledger> {
    let (repository, notes) =
        crate::survey::survey_repository(config, history, repository, Hosts::watched(config))?;
    history.ledger(builder::LedgerInput { config, now: &Zoned::now(), repository, notes })
}

/// Sends alerts about the result. Failures to send are part of the report.
pub(super) fn send_alerts(
    config: &Config,
    history: &History,
    repository: &Repository,
    report: &mut Report,
    observer: &dyn Observer,
) {
    let cancel = alert::within(BUDGET);
    let told = ledger(config, history, repository)
        .and_then(|ledger| alert::notify(config, history, &ledger, &[], &cancel));
    report.alerts = told.unwrap_or_else(|error| alert::Delivery {
        sent: 0,
        failed: vec![alert::Failure { channel: "all".to_owned(), error: error.to_string() }],
    });
    for failure in &report.alerts.failed {
        observer.failure(&format!("{}: COULD NOT ALERT: {}", failure.channel, failure.error));
    }
    if report.alerts.failed.is_empty()
        && let Err(error) = history.mark_notified(&report.run)
    {
        observer.failure(&format!("the sent alerts cannot be recorded: {error}"));
    }
}
