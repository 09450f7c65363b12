//! What came of a run.

use std::time::Instant;

use jiff::{Timestamp, Zoned};
use serde::Serialize;

use crate::{
    alert::{self, Cause, Delivery, message::Line},
    error::{Error, Kind},
    history::Content,
    repository::writer::Committed,
    source::manifest::Omitted,
};

/// So many omitted objects are named in a text, and so many in a report; the manifest names all.
const NAMED: usize = 5;
const LISTED: usize = 1000;

/// What came of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ItemOutcome {
    /// A snapshot of it is stored.
    Ok,
    /// A snapshot is stored, but what was dumped could not be understood: nothing of it was checked.
    Unchecked,
    /// A snapshot is stored that is whole except for objects that could not be read.
    Partial,
    /// The source no longer has it: it was dropped or renamed after the run had found it.
    Vanished,
    /// No snapshot was made.
    Failed,
}

impl ItemOutcome {
    /// As in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unchecked => "unchecked",
            Self::Partial => "partial",
            Self::Vanished => "vanished",
            Self::Failed => "failed",
        }
    }
}

/// An item of a finished run. The field names are a promise.
#[derive(Debug, Clone, Serialize)]
pub struct ItemReport {
    /// Source name.
    pub source: String,
    /// Item name; absent if the source itself could not be asked.
    pub item: Option<String>,
    /// Kind of the source.
    pub kind: String,
    /// What came of it.
    pub outcome: ItemOutcome,
    /// Id of the snapshot.
    pub snapshot: Option<String>,
    /// Bytes read from the source.
    pub bytes_read: u64,
    /// Bytes added to the repository.
    pub bytes_added: u64,
    /// Time it took.
    pub seconds: f64,
    /// Why it failed, with what to do next.
    pub error: Option<String>,
    /// If a source could not be asked: how many of its known items were not backed up for that reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub known_items: Option<u64>,
    /// What an operator should know although it succeeded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// In what it differs suspiciously from before; its older snapshots are held until that is accepted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub suspicious: Vec<String>,
    /// What the snapshot lacks because it could not be read, a thousand objects at most: its manifest names all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub omitted: Vec<Omitted>,
}

impl ItemReport {
    /// An item that failed before it was streamed.
    pub fn failed(source: &str, item: Option<&str>, kind: &str, error: Error) -> Self {
        Self {
            source: source.to_owned(),
            item: item.map(str::to_owned),
            kind: kind.to_owned(),
            outcome: ItemOutcome::Failed,
            snapshot: None,
            bytes_read: 0,
            bytes_added: 0,
            seconds: 0.0,
            error: Some(error.to_string()),
            known_items: None,
            notes: Vec::new(),
            suspicious: Vec::new(),
            omitted: Vec::new(),
        }
    }

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
            error: error.map(|error| error.to_string()),
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
            self.error = Some(partial_error(&self.name(), open, open.len() as u64).to_string());
        }
    }

    /// How many items it stands for: a source that could not be asked, for those that are known of it.
    pub fn stands_for(&self) -> u64 {
        match &self.item {
            Some(_) => 1,
            None => self.known_items.unwrap_or(0),
        }
    }

    /// Was a snapshot made?
    pub fn succeeded(&self) -> bool {
        matches!(self.outcome, ItemOutcome::Ok | ItemOutcome::Unchecked | ItemOutcome::Partial)
    }

    /// Was a snapshot made in which nothing is in doubt, and which names what it lacks? Only then may older ones go.
    pub fn is_understood(&self) -> bool {
        matches!(self.outcome, ItemOutcome::Ok | ItemOutcome::Partial)
    }

    /// Is there something to do about it?
    pub fn is_problem(&self) -> bool {
        self.is_failure() || self.outcome == ItemOutcome::Partial
    }

    /// Was no snapshot made, or one in which nothing could be checked?
    pub fn is_failure(&self) -> bool {
        matches!(self.outcome, ItemOutcome::Failed | ItemOutcome::Unchecked)
    }

    /// `source/item`, or the source if there is no item.
    pub fn name(&self) -> String {
        match &self.item {
            Some(item) => format!("{}/{item}", self.source),
            None => self.source.clone(),
        }
    }
}

/// What is wrong with a snapshot whose dump was not understood, and what to do about it.
pub(crate) fn unchecked_error(reason: &str) -> Error {
    Error::failed(format!(
        "a snapshot is stored, but the dump could not be understood, so nothing in it was checked: {reason}"
    ))
    .hint(
        "use a tik-backup that knows this version, or client tools of a version that this one knows; until then no older \
         snapshot is removed",
    )
}

/// What is wrong with a snapshot that lacks `total` objects, of which `some` are known, and what to do about it.
pub(crate) fn partial_error(item: &str, some: &[Omitted], total: u64) -> Error {
    let few = &some[..some.len().min(NAMED)];
    let (objects, them, each) =
        if total == 1 { ("an object", "it", "it") } else { ("objects", "them", "each of them") };
    let named = Omitted::listed(few, total);
    Error::failed(format!("a snapshot is stored, but it lacks {objects} that could not be read: {named}")).hint(format!(
        "make {them} readable, exclude {them} ({}), or accept that the backup lacks {them}: `tik-backup accept '{item}'`; \
         the newest snapshot that holds {each} is kept, whatever the retention",
        exclusion(few)
    ))
}

/// How objects like these are excluded.
fn exclusion(omitted: &[Omitted]) -> &'static str {
    let is_file = |omitted: &Omitted| {
        let kinds =
            ["file", "files", "folder", "link", "pipe", "socket", "device", "attributes", "blob", "blobs"];
        kinds.contains(&omitted.kind.as_str())
    };
    if !omitted.is_empty() && omitted.iter().all(is_file) {
        "`exclude = [\"/path\"]` of the source"
    } else {
        "MySQL and MariaDB: `exclude_tables`"
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

/// A name for a run: when it begins, and something to tell runs of the same second apart.
pub(crate) fn new_run_name() -> String {
    let mut random = [0; 3];
    // Without random numbers names of runs may collide, which harms nobody.
    let _ = getrandom::fill(&mut random);
    let suffix: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{suffix}", Timestamp::now().strftime("%Y%m%dT%H%M%SZ"))
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
        let whole = self.error.as_ref().map(ToString::to_string);
        let failed = self.items.iter().filter(|item| item.error.is_some() && item.error != whole);
        let lines: Vec<Line> = failed
            .map(|item| {
                let error = item.error.as_deref().unwrap_or_default();
                let (text, hint) =
                    error.split_once("\n  → ").map_or((error, None), |(text, hint)| (text, Some(hint)));
                Line {
                    subject: item.name(),
                    kind: item.outcome.as_str().to_owned(),
                    text: text.to_owned(),
                    since: None,
                    hint: hint.map(str::to_owned),
                    items: item.known_items,
                    ..Line::default()
                }
            })
            .collect();
        alert::causes(&lines)
    }

    /// Has an item or source failed with what ended the run as a whole? Then it was told with that.
    pub fn error_is_of_items(&self) -> bool {
        let whole = self.error.as_ref().map(ToString::to_string);
        whole.is_some() && self.items.iter().any(|item| item.error == whole)
    }

    /// The kind of the error that ended the run, if one did.
    pub fn error_kind(&self) -> Option<Kind> {
        self.error.as_ref().map(Error::kind)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "report_tests.rs"]
mod tests;
