//! What came of a run.

use std::time::Instant;

use jiff::Zoned;
use serde::Serialize;

use crate::{
    alert::{self, Cause, Delivery},
    error::{Error, Problem},
    history::{Content, message::Line},
    outcome::{ItemOutcome, ItemReport, NAMED, new_run_name, partial_error, unchecked_error},
    repository::writer::Committed,
    source::manifest::Omitted,
};

/// So many omitted objects are in a report; the manifest names all.
const LISTED: usize = 1000;

impl ItemReport {
    /// An item that the source no longer has.
    pub(super) fn vanished(source: &str, item: &str, kind: &str) -> Self {
        let text = "it was dropped or renamed during the run; its snapshots are kept";
        Self {
            outcome: ItemOutcome::Vanished,
            error: None,
            notes: vec![text.to_owned()],
            ..Self::failed(source, Some(item), kind, Error::failed(text))
        }
    }

    /// The same item, whose snapshot cannot be relied on.
    pub(super) fn stored_in_vain(self, error: Error) -> Self {
        Self {
            bytes_read: self.bytes_read,
            seconds: self.seconds,
            ..Self::failed(&self.source, self.item.as_deref(), &self.kind, error)
        }
    }

    /// An item whose snapshot is stored.
    pub(super) fn stored(
        source: &str,
        item: &str,
        kind: &str,
        committed: &Committed,
        content: Option<&Content>,
        begin: Instant,
    ) -> Self {
        let unchecked = content.and_then(|content| content.unchecked.as_deref());
        let omitted = content.map(Content::omitted).unwrap_or_default();
        let partial = || partial_error(&format!("{source}/{item}"), omitted, omitted.len() as u64);
        let (outcome, error) = match unchecked {
            Some(reason) if omitted.is_empty() => (ItemOutcome::Unchecked, Some(unchecked_error(reason))),
            Some(reason) => {
                (ItemOutcome::Unchecked, Some(unchecked_error(reason).because_text(lacks(omitted))))
            }
            None if omitted.is_empty() => (ItemOutcome::Ok, None),
            None => (ItemOutcome::Partial, Some(partial())),
        };
        Self {
            source: source.to_owned(),
            item: Some(item.to_owned()),
            kind: kind.to_owned(),
            outcome,
            snapshot: Some(committed.snapshot.clone()),
            bytes_read: committed.bytes_read,
            bytes_added: committed.bytes_added,
            seconds: super::seconds(begin.elapsed()),
            error: error.map(Problem::from),
            known_items: None,
            notes: content.map(|content| content.notes.clone()).unwrap_or_default(),
            suspicious: Vec::new(),
            omitted: omitted.iter().take(LISTED).cloned().collect(),
        }
    }

    /// Takes into account that some of what a partial snapshot lacks has been accepted: `open` has not, of `all`.
    pub(super) fn accept_omitted(&mut self, open: &[Omitted], all: &[Omitted]) {
        if open.is_empty() {
            let few = &all[..all.len().min(NAMED)];
            let named = Omitted::listed(few, all.len() as u64);
            self.outcome = ItemOutcome::Ok;
            self.error = None;
            self.notes.push(format!("the backup lacks what cannot be read, which was accepted: {named}"));
        } else {
            self.error = Some(partial_error(&self.name(), open, open.len() as u64).into());
        }
    }
}

/// The same as a part of another problem.
fn lacks(omitted: &[Omitted]) -> String {
    let few = &omitted[..omitted.len().min(NAMED)];
    format!("it also lacks what could not be read: {}", Omitted::listed(few, omitted.len() as u64))
}

/// An item that has snapshots and gets no more since this run. The field names are a promise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DroppedItem {
    /// Source name.
    pub source: String,
    /// Item name.
    pub item: String,
    /// The rule that excludes it; absent if the source no longer has it.
    pub rule: Option<String>,
}

/// What came of a run as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RunOutcome {
    /// Every item succeeded.
    Ok,
    /// Some items failed or are partial, others succeeded.
    Partial,
    /// Nothing succeeded.
    Failed,
}

/// A finished run. The field names are a promise.
#[derive(Debug, Serialize)]
pub struct RunReport {
    /// Name of the run: when it began, and something to tell runs of the same second apart.
    pub run: String,
    /// What came of it.
    pub outcome: RunOutcome,
    /// When it began.
    #[serde(with = "crate::moment")]
    pub started: Zoned,
    /// Time it took.
    pub seconds: f64,
    /// Its items.
    pub items: Vec<ItemReport>,
    /// What the sources that answered have, whether it was to be backed up in this run or not.
    pub discovered: u64,
    /// What dropped out of the backup with this run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<DroppedItem>,
    /// Old snapshots that retention removed.
    pub forgotten: u64,
    /// What ended the run as a whole.
    #[serde(serialize_with = "as_text")]
    pub error: Option<Error>,
    /// What came of telling whoever must know.
    pub alerts: Delivery,
    /// Whether something that happened is not in the history.
    #[serde(skip)]
    pub unwritten: bool,
    /// Whether `error` is that something of the repository was lost before: a problem of the repository, which no source has
    /// failed for.
    #[serde(skip)]
    pub has_lost: bool,
    #[serde(skip)]
    pub(super) repository_failed: bool,
    #[serde(skip)]
    clock: Instant,
}

fn as_text<S: serde::Serializer>(error: &Option<Error>, serializer: S) -> Result<S::Ok, S::Error> {
    error.as_ref().map(ToString::to_string).serialize(serializer)
}

impl RunOutcome {
    /// As in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Partial => "partial",
            Self::Failed => "failed",
        }
    }
}

impl RunReport {
    pub(super) fn begin() -> Self {
        let started = Zoned::now();
        Self {
            run: new_run_name(),
            outcome: RunOutcome::Failed,
            started,
            seconds: 0.0,
            items: Vec::new(),
            discovered: 0,
            dropped: Vec::new(),
            forgotten: 0,
            error: None,
            alerts: Delivery::default(),
            unwritten: false,
            has_lost: false,
            repository_failed: false,
            clock: Instant::now(),
        }
    }

    pub(super) fn finish(&mut self) {
        self.seconds = super::seconds(self.clock.elapsed());
        let problems = self.items.iter().filter(|item| item.is_problem()).count();
        let succeeded = self.items.iter().any(ItemReport::succeeded);
        self.outcome = match (problems, succeeded, &self.error) {
            (0, _, None) if !self.items.is_empty() => RunOutcome::Ok,
            (_, true, _) => RunOutcome::Partial,
            _ => RunOutcome::Failed,
        };
        self.items.sort_by(|a, b| (&a.source, &a.item).cmp(&(&b.source, &b.item)));
    }

    /// The exit code of the run: see the design's list.
    pub fn exit_code(&self) -> u8 {
        match self.outcome {
            _ if self.repository_failed => 4,
            // Whoever had to know does not.
            RunOutcome::Ok if !self.alerts.failed.is_empty() => 1,
            RunOutcome::Ok => 0,
            RunOutcome::Partial => 3,
            RunOutcome::Failed => 1,
        }
    }

    /// Why items failed, each reason once; without what ended the run as a whole, which is told by itself.
    pub fn causes(&self) -> Vec<Cause> {
        let whole = self.error.as_ref().map(Problem::from);
        let failed = self.items.iter().filter(|item| item.error.is_some() && item.error != whole);
        let lines: Vec<Line> = failed
            .map(|item| {
                let Problem { text, hint } = item.error.clone().unwrap_or_default();
                Line {
                    subject: item.name(),
                    kind: item.outcome.as_str().to_owned(),
                    text,
                    since: None,
                    hint,
                    items: item.known_items,
                    ..Line::default()
                }
            })
            .collect();
        alert::causes(&lines)
    }

    /// Has an item or source failed with what ended the run as a whole? Then it was told with that.
    pub fn error_is_of_items(&self) -> bool {
        let whole = self.error.as_ref().map(Problem::from);
        whole.is_some() && self.items.iter().any(|item| item.error == whole)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "report_tests.rs"]
mod tests;
