//! Records the run in the history while it happens. A failure to record must not prevent backups: it is reported, and
//! fails the run at its end.

use jiff::Zoned;
use parking_lot::{Mutex, MutexGuard};

use super::{DroppedItem, Observer, Plan, RunReport, Selector};
use crate::{
    config::{AnomalyRules, Config},
    error::{Error, Kind, Result},
    history::{
        Check, Content, Dropped, History, Opened, RunBegin, RunEnd, RunRecord, ledger::RepositoryEntry,
    },
    outcome::{ItemOutcome, ItemReport},
    repository::{Hosts, Repository},
    stream::cancel::Cancel,
};

/// The reason is reported once, at the end of the run.
const UNWRITTEN: &str = "the history cannot be written: the reason follows at the end of the run";
/// Up to this many items that are no longer backed up for the same reason are reported separately.
const APART: usize = 3;

/// The history of the repository, or one in memory with the reason. `opened` is the history of the repository last seen at the configured
/// location, which is used if the repository cannot be opened.
///
/// # Errors
/// Not even a history in memory can be opened.
pub(super) fn history_of(
    opened: Result<History>,
    repository: Option<&Repository>,
    observer: &dyn Observer,
) -> Result<(History, Option<Error>)> {
    let open = || {
        let history = opened?;
        let note = repository.map_or(Ok(None), |repository| history.meet(repository, Check::Full))?;
        Ok((history, note))
    };
    match open() {
        Ok((history, note)) => {
            match history.opened() {
                Opened::Damaged(aside) => observer.notice(&format!(
                    "the history was damaged and has been set aside as {}; a new one is begun",
                    aside.display()
                )),
                Opened::Lost(file) => observer
                    .notice(&format!("the history was lost: {} is gone; a new one is begun", file.display())),
                _ => {}
            }
            note.iter().for_each(|note| observer.notice(note));
            Ok((history, None))
        }
        Err(error) => {
            observer.notice(UNWRITTEN);
            Ok((History::in_memory_because(&error)?, Some(error)))
        }
    }
}

/// Records a run in the history.
pub(super) struct Recorder<'a> {
    config: &'a Config,
    selectors: Vec<Selector>,
    observer: &'a dyn Observer,
    history: &'a History,
    record: Option<RunRecord<'a>>,
    problem: Mutex<Option<Error>>,
    /// Whether the history has records of earlier runs.
    whole: Mutex<bool>,
}

impl<'a> Recorder<'a> {
    /// Records the begin of a run. `problem` is the reason why the history is only in memory.
    pub(super) fn begin(
        config: &'a Config,
        selectors: &[Selector],
        report: &RunReport,
        history: &'a History,
        problem: Option<Error>,
        observer: &'a dyn Observer,
    ) -> Self {
        let sources: Vec<_> = config
            .sources
            .iter()
            .map(|source| (source.name.as_str().to_owned(), source.kind.as_str()))
            .filter(|(name, _)| selectors.is_empty() || selectors.iter().any(|s| s.source == *name))
            .collect();
        let whole = Mutex::new(problem.is_none());
        let mut recorder = Self {
            config,
            selectors: selectors.to_vec(),
            observer,
            history,
            record: None,
            problem: Mutex::new(problem),
            whole,
        };
        let invocation = std::env::var("INVOCATION_ID").ok();
        let begun = history.mark_interrupted(&report.started).and_then(|dead| {
            if dead > 0 {
                observer.notice("an earlier run was interrupted: it was killed or the machine went down");
            }
            history.begin_run(&RunBegin {
                name: &report.run,
                kind: "backup",
                started: &report.started,
                host: &config.repository.host,
                sources: &sources,
                invocation: invocation.as_deref(),
            })
        });
        recorder.record = recorder.noted(begun);
        recorder
    }

    fn problem_slot(&self) -> MutexGuard<'_, Option<Error>> {
        self.problem.lock()
    }

    /// Keeps the first error of a write to the history and reports it, as a problem of the history.
    fn noted<T>(&self, outcome: Result<T>) -> Option<T> {
        self.kept(outcome.inspect_err(|error| self.history.fails_with(error)))
    }

    /// Keeps the first error and reports it.
    fn kept<T>(&self, outcome: Result<T>) -> Option<T> {
        match outcome {
            Ok(value) => Some(value),
            Err(error) => {
                let mut problem = self.problem_slot();
                if problem.is_none() {
                    // If the repository does not answer, the history itself is intact.
                    if error.kind() == Kind::Repository {
                        self.observer.notice(&format!("the repository cannot be looked at: {error}"));
                    } else {
                        self.observer.notice(UNWRITTEN);
                    }
                    *problem = Some(error);
                }
                None
            }
        }
    }

    /// The first error of the history.
    pub(super) fn problem(&self) -> Option<Error> {
        self.problem_slot().clone()
    }

    /// Builds a new history from the snapshots of the repository.
    pub(super) fn rebuild(&self, repository: &Repository, cancel: &Cancel) {
        let rebuilt = self.history.rebuild(self.config, repository, cancel);
        if rebuilt.is_err() {
            *self.whole.lock() = false;
        }
        if let Some(Some(rebuilt)) = self.kept(rebuilt) {
            self.observer.notice(&rebuilt.text());
        }
    }

    /// Fails if the repository is not the one whose history records this run.
    pub(super) fn require(&self, repository: &Repository) -> Result<()> {
        match self.history.require(repository) {
            Err(error) if error.kind() == Kind::Repository => Err(error),
            other => {
                self.noted(other);
                Ok(())
            }
        }
    }

    /// Whether it is known which snapshots are held.
    pub(super) fn knows_holds(&self) -> bool {
        *self.whole.lock() && self.problem_slot().is_none()
    }

    /// The time (in milliseconds since 1970) from which on snapshots of an item may be removed, if it is held.
    pub(super) fn held_from(&self, source: &str, item: &str) -> Result<Option<i64>> {
        self.history.held_from(source, item)
    }

    /// The times (in milliseconds since 1970) from which on backups of an item lack unreadable objects.
    pub(super) fn lacking_since(&self, source: &str, item: &str) -> Result<Vec<i64>> {
        self.history.lacking_since(source, item)
    }

    /// Takes into account which omitted objects of a partial snapshot were accepted.
    pub(super) fn accept_omitted(&self, report: &mut ItemReport, content: Option<&Content>) {
        let (ItemOutcome::Partial, Some(item), Some(content)) = (report.outcome, &report.item, content)
        else {
            return;
        };
        let open = self.history.not_accepted(&report.source, item, content.omitted());
        if let Some(open) = self.noted(open) {
            report.accept_omitted(&open, content.omitted());
        }
    }

    /// Records the items of sources that have just answered. Returns and reports items that are no longer backed up.
    pub(super) fn discovered(&self, plan: &Plan) -> Vec<DroppedItem> {
        let Some(record) = &self.record else { return Vec::new() };
        let mut dropped = Vec::new();
        for (source, found) in plan.fresh() {
            let name = source.name();
            let answer = self.noted(record.discovered(name, source.kind(), found, &Zoned::now()));
            let Dropped { gone, excluded } = answer.unwrap_or_default();
            let gone = gone.into_iter().map(|item| (item, None));
            let excluded = excluded.into_iter().map(|(item, rule)| (item, Some(rule)));
            dropped.extend(gone.chain(excluded).map(|(item, rule)| DroppedItem {
                source: name.to_owned(),
                item,
                rule,
            }));
        }
        told(&dropped).iter().for_each(|line| self.observer.notice(line));
        dropped
    }

    /// The number of known items that were not backed up because their source did not answer.
    pub(super) fn known_items(&self, plan: &Plan, failed: &ItemReport) -> Option<u64> {
        let record = self.record.as_ref().filter(|_| failed.item.is_none())?;
        let known = self.noted(record.known_items(&failed.source))?;
        let found = plan.sources.iter().find(|(source, _)| source.name() == failed.source);
        let has_answered = |item: &str| found.is_some_and(|(_, found)| found.lists(item));
        let wanted = |item: &str| {
            self.selectors.is_empty()
                || self.selectors.iter().any(|selector| selector.matches(&failed.source, item))
        };
        let open = known.iter().filter(|item| wanted(item) && !has_answered(item)).count() as u64;
        (open > 0).then_some(open)
    }

    /// Records that an item is being read.
    pub(super) fn item_started(&self, source: &str, item: &str, kind: &str) {
        let Some(record) = &self.record else { return };
        self.noted(record.item_started(source, item, kind, &Zoned::now()));
    }

    /// Records the outcome of an item. Returns its suspicious changes.
    pub(super) fn item_finished(&self, report: &ItemReport, content: Option<&Content>) -> Vec<String> {
        let Some(record) = &self.record else { return Vec::new() };
        let usual = AnomalyRules::default();
        let rules = self.config.source(&report.source).map_or(&usual, |source| &source.anomalies);
        let found = self.noted(record.item_finished(report, content, rules, &Zoned::now()));
        found.unwrap_or_default().into_iter().map(|finding| finding.text).collect()
    }

    /// Records that data of the repository is lost: an alert until a check is clean.
    pub(super) fn lost(&self, loss: &Error) {
        self.noted(self.history.note_loss(loss, &Zoned::now()));
    }

    /// Records that these snapshots are about to be removed, so that they do not count as missing.
    pub(super) fn will_forget<'i>(&self, ids: impl Iterator<Item = &'i str>) -> Result<()> {
        self.history.will_forget(ids)
    }

    /// Surveys the repository for the ledger.
    pub(super) fn look(&self, repository: &Repository) -> Option<RepositoryEntry> {
        if let Some(bytes) = repository.packed_bytes() {
            self.noted(self.history.set_repository_bytes(bytes));
        }
        let (entry, _) = self.kept(crate::survey::survey_repository(
            self.config,
            self.history,
            repository,
            Hosts::watched(self.config),
        ))?;
        if let Some(note) = self.kept(self.history.gone_note(&Zoned::now())).flatten() {
            self.observer.notice(&note);
        }
        Some(entry)
    }

    /// Records the end of the run.
    pub(super) fn finish(self, report: &RunReport) -> Option<Error> {
        let error = report.error.as_ref().map(ToString::to_string);
        let end = RunEnd {
            outcome: report.outcome.as_str(),
            error: error.as_deref(),
            fails_sources: !(report.has_lost || report.unwritten),
            forgotten: report.forgotten,
        };
        let Self { record, problem, history, .. } = self;
        let finished = record.map_or(Ok(()), |record| record.finish(&end, &Zoned::now()));
        let finished = finished.inspect_err(|error| history.fails_with(error));
        let problem = problem.into_inner();
        problem.or(finished.err())
    }
}

/// Lines about items that are no longer backed up: each item separately, or many with the same reason together.
fn told(dropped: &[DroppedItem]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut reasons: Vec<(&str, Option<&str>)> = Vec::new();
    for item in dropped {
        let reason = (item.source.as_str(), item.rule.as_deref());
        if reasons.contains(&reason) {
            continue;
        }
        reasons.push(reason);
        let is_alike = |other: &&DroppedItem| (other.source.as_str(), other.rule.as_deref()) == reason;
        let names: Vec<String> = dropped
            .iter()
            .filter(is_alike)
            .map(|item| crate::output::name(&format!("{}/{}", item.source, item.item)))
            .collect();
        let what = |they_are: &str, their: &str| match &item.rule {
            Some(rule) => format!(
                "EXCLUDED since this run: {they_are} no longer backed up: {rule}; {their} snapshots are kept"
            ),
            None => format!("VANISHED: the source no longer has {they_are}; {their} snapshots are kept"),
        };
        if names.len() <= APART {
            let is = if item.rule.is_some() { "it is" } else { "it" };
            lines.extend(names.iter().map(|name| format!("{name}: {}", what(is, "its"))));
        } else {
            let are = if item.rule.is_some() { "they are" } else { "them" };
            let few = names[..APART].join(", ");
            let more = names.len() - APART;
            let items = crate::output::count(names.len(), "item");
            lines.push(format!("{items} ({few} and {more} more): {}", what(are, "their")));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dropped(item: &str, rule: Option<&str>) -> DroppedItem {
        DroppedItem { source: "pg".to_owned(), item: item.to_owned(), rule: rule.map(str::to_owned) }
    }

    #[test]
    fn what_drops_out_is_said_with_its_rule_and_many_of_one_reason_together() {
        let rule = Some("it admits no connections");
        assert_eq!(
            told(&[dropped("gone", None), dropped("a", rule)]),
            [
                "pg/gone: VANISHED: the source no longer has it; its snapshots are kept",
                "pg/a: EXCLUDED since this run: it is no longer backed up: it admits no connections; its snapshots are kept",
            ]
        );
        let many: Vec<_> = ["a", "b", "c", "d"].map(|item| dropped(item, rule)).to_vec();
        assert_eq!(
            told(&many),
            [
                "4 items (pg/a, pg/b, pg/c and 1 more): EXCLUDED since this run: they are no longer backed up: it admits no \
              connections; their snapshots are kept"
            ]
        );
    }
}
