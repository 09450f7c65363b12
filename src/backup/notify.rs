//! Notifications of a run: heartbeats when it begins and ends, and one alert with all changes.

use std::{thread, time::Duration};

use serde_json::json;

use super::{Observer, RunReport, Selector};
use crate::{
    alert::{self, Beat, Delivery, Failure},
    config::Config,
    error::{Error, Kind, Result},
    history::{
        History,
        builder::LedgerInput,
        ledger::{Ledger, RepositoryEntry},
    },
    outcome::ItemOutcome,
    stream::cancel::Cancel,
};

/// The number of problems listed in a heartbeat.
const NAMED: usize = 100;
/// The time limit for all notifications.
const BUDGET: Duration = Duration::from_secs(300);
/// The limit when the program was asked to end.
const SHORT_BUDGET: Duration = Duration::from_secs(15);

/// Sends the notifications of one run.
pub(super) struct Notifier<'a> {
    config: &'a Config,
    history: &'a History,
    /// Sources that the run covers as a whole.
    sources: Vec<&'a str>,
    cancel: &'a Cancel,
    failed: Vec<Failure>,
}

impl<'a> Notifier<'a> {
    /// Prepares the notifications of a run.
    pub(super) fn new(
        config: &'a Config,
        selectors: &[Selector],
        history: &'a History,
        cancel: &'a Cancel,
    ) -> Self {
        let whole = |name: &str| {
            selectors.is_empty() || selectors.iter().any(|s| s.source == name && s.item.is_none())
        };
        let sources = config.sources.iter().map(|source| source.name.as_str()).filter(|name| whole(name));
        Self { config, history, sources: sources.collect(), cancel, failed: Vec::new() }
    }

    /// Does `work`, and sends the start heartbeat meanwhile.
    pub(super) fn while_running<T>(&mut self, run: &str, work: impl FnOnce() -> T) -> T {
        let body =
            json!({"run": run, "host": self.config.repository.host, "sources": self.sources}).to_string();
        let (config, history, sources) = (self.config, self.history, &self.sources);
        let (done, failed) = thread::scope(|scope| {
            let starting = scope.spawn(|| {
                let cancel = alert::within(SHORT_BUDGET);
                alert::beat(config, history, sources, &|_, _| (Beat::Start, body.clone()), &cancel)
            });
            let done = work();
            (done, starting.join().unwrap_or_default())
        });
        self.failed = failed;
        done
    }

    /// Sends the result of the run.
    pub(super) fn after(
        self,
        report: &RunReport,
        repository: Option<RepositoryEntry>,
        observer: &dyn Observer,
    ) -> Delivery {
        let budget = if self.cancel.is_cancelled() { SHORT_BUDGET } else { BUDGET };
        let cancel = alert::within(budget);
        let ledger = self.ledger(report, repository);
        let mut delivery = match &ledger {
            Ok(ledger) => alert::notify(self.config, self.history, ledger, &[], &cancel),
            Err(error) => Err(error.clone()),
        }
        .unwrap_or_else(|error| {
            let failure = Failure { channel: "all".to_owned(), error: error.to_string() };
            Delivery { sent: 0, failed: vec![failure] }
        });
        let beats = |sources: &[&str], all: &[&str]| self.beat(report, ledger.as_ref().ok(), sources, all);
        delivery.failed.extend(alert::beat(self.config, self.history, &self.sources, &beats, &cancel));
        // If only the start heartbeat failed, the monitoring service still knows that the run took place.
        let ended: Vec<&str> = delivery.failed.iter().map(|failure| failure.channel.as_str()).collect();
        let begin = self.failed.iter().filter(|failure| !ended.contains(&failure.channel.as_str()));
        for failure in begin {
            observer.notice(&format!(
                "{}: the start of the run could not be reported: {}",
                failure.channel, failure.error
            ));
        }
        for failure in &delivery.failed {
            observer.failure(&format!("{}: COULD NOT ALERT: {}", failure.channel, failure.error));
        }
        // A failure of the history is reported separately.
        if delivery.failed.is_empty()
            && self.history.failure().is_none()
            && let Err(error) = self.history.mark_notified(&report.run)
        {
            observer.failure(&format!("the sent alerts cannot be recorded: {error}"));
        }
        delivery
    }

    fn ledger(&self, report: &RunReport, repository: Option<RepositoryEntry>) -> Result<Ledger> {
        let now = jiff::Zoned::now();
        let refused = report.error.as_ref().filter(|error| error.kind() == Kind::Repository);
        let mut notes = Vec::new();
        let repository = match (repository, refused) {
            (Some(seen), _) => seen,
            // The same problem as other commands report, so that it stays one problem until it is solved.
            (None, Some(error)) => crate::survey::unreachable(self.config, self.history, error),
            (None, None) => crate::survey::not_surveyed(self.config),
        };
        if repository.error.is_none() {
            let error = report.error.as_ref().map(Error::summary);
            // A failure of the history is a problem of the ledger already.
            let history = self.history.failure().map(|error| error.summary());
            notes.extend(error.filter(|error| history.as_ref() != Some(error)));
        }
        let mut ledger =
            self.history.ledger(LedgerInput { config: self.config, now: &now, repository, notes })?;
        // The error that ended the run is usually a problem of its sources or items, and is reported as one.
        let problems: Vec<&str> = ledger
            .items
            .iter()
            .flat_map(|entry| &entry.problems)
            .map(|problem| problem.text.as_str())
            .collect();
        let is_told = |note: &String| problems.contains(&note.as_str());
        ledger.notes = std::mem::take(&mut ledger.notes).into_iter().filter(|note| !is_told(note)).collect();
        Ok(ledger)
    }

    /// Whether the ledger is complete for `all`, of which the run covered `sources`. A new history lacks the failures of
    /// other runs.
    fn ledger_is_known(&self, sources: &[&str], all: &[&str]) -> bool {
        alert::knows_other_runs(self.history) || all.iter().all(|source| sources.contains(source))
    }

    /// The heartbeat for a channel that covers `all` these sources, of which the run covered `sources`. It is a success only if
    /// none of them is failed or late: this run alone would hide the failure of an earlier run of another source.
    fn beat(
        &self,
        report: &RunReport,
        ledger: Option<&Ledger>,
        sources: &[&str],
        all: &[&str],
    ) -> (Beat, String) {
        let ledger = ledger.filter(|_| self.ledger_is_known(sources, all));
        let mut problems = ledger.map(|ledger| alert::troubles(ledger, all));
        let more = problems.as_ref().map_or(0, |problems| problems.len().saturating_sub(NAMED));
        // Without a ledger, the report of a run that covered everything is sufficient.
        let well = match &problems {
            Some(problems) => problems.is_empty(),
            None => all.iter().all(|source| sources.contains(source)),
        };
        if let Some(problems) = &mut problems {
            problems.truncate(NAMED);
        }
        let of = |source: &str| sources.contains(&source);
        let items: Vec<_> = report.items.iter().filter(|item| of(&item.source)).collect();
        let backed_up = items.iter().filter(|item| item.is_understood()).count();
        // A source that did not answer counts as many times as it has known items.
        let failed: u64 =
            items.iter().filter(|item| item.is_failure()).map(|item| item.stands_for().max(1)).sum();
        let discovered = items.iter().filter(|item| item.item.is_some()).count();
        let partial = items.iter().filter(|item| item.outcome == ItemOutcome::Partial).count();
        let proven = ledger.map_or(0, |ledger| {
            ledger.items.iter().filter(|entry| of(&entry.source) && entry.last_proof.is_some()).count()
        });
        let suspicious = items.iter().filter(|item| !item.suspicious.is_empty()).count();
        let well = well && failed == 0 && partial == 0 && report.error.is_none();
        let phase = if well { Beat::Success } else { Beat::Failure };
        let failures: Vec<_> = items
            .iter()
            .filter(|item| item.is_problem())
            .map(|item| json!({"item": item.name(), "error": item.error}))
            .collect();
        let body = json!({
            "run": report.run,
            "host": self.config.repository.host,
            "outcome": report.outcome,
            "sources": sources,
            "discovered": discovered,
            "backed_up": backed_up,
            "failed": failed,
            "partial": partial,
            "proven": proven,
            "suspicious": suspicious,
            "seconds": report.seconds,
            "error": report.error.as_ref().map(ToString::to_string),
            "failures": failures,
            "concerns": all,
            "known": problems.is_some(),
            "problems": problems,
            "more_problems": more,
        });
        (phase, body.to_string())
    }
}
