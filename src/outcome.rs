//! Outcomes of single items: of their backup, and of their drill.

use jiff::{Timestamp, Zoned};
use serde::Serialize;

use crate::{
    error::{Error, Problem},
    source::manifest::Omitted,
};

/// Omitted objects named in a text; the manifest names all.
pub(crate) const NAMED: usize = 5;

/// Outcome of the backup of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ItemOutcome {
    /// A snapshot of it is stored.
    Ok,
    /// A snapshot is stored, but the dump could not be parsed and was not checked.
    Unchecked,
    /// A snapshot is stored that is complete except for unreadable objects.
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

/// An item of a finished run. The field names are stable.
#[derive(Debug, Clone, Serialize)]
pub struct ItemReport {
    /// Source name.
    pub source: String,
    /// Item name; absent if the source as a whole failed.
    pub item: Option<String>,
    /// Kind of the source.
    pub kind: String,
    /// Outcome.
    pub outcome: ItemOutcome,
    /// Id of the snapshot.
    pub snapshot: Option<String>,
    /// Bytes read from the source.
    pub bytes_read: u64,
    /// Bytes added to the repository.
    pub bytes_added: u64,
    /// Duration.
    pub seconds: f64,
    /// The error, with a hint.
    pub error: Option<Problem>,
    /// For a source that failed as a whole: number of its known items that were therefore not backed up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub known_items: Option<u64>,
    /// Notes for the operator despite success.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Suspicious changes; older snapshots are held until these are accepted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub suspicious: Vec<String>,
    /// Unreadable objects that the snapshot lacks, a thousand at most; its manifest names all.
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
            error: Some(error.into()),
            known_items: None,
            notes: Vec::new(),
            suspicious: Vec::new(),
            omitted: Vec::new(),
        }
    }

    /// Number of items that it represents: for a source that failed as a whole, its known items.
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

    /// Was a snapshot made without any doubt, and with a list of what it lacks? Only then may older ones be removed.
    pub fn is_understood(&self) -> bool {
        matches!(self.outcome, ItemOutcome::Ok | ItemOutcome::Partial)
    }

    /// Does it need the operator's attention?
    pub fn is_problem(&self) -> bool {
        self.is_failure() || self.outcome == ItemOutcome::Partial
    }

    /// Was no snapshot made, or one that could not be checked?
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

/// The error for a snapshot whose dump could not be parsed.
pub(crate) fn unchecked_error(reason: &str) -> Error {
    Error::failed(format!(
        "a snapshot is stored, but the dump could not be understood, so nothing in it was checked: {reason}"
    ))
    .hint(
        "use a tik-backup that knows this version, or client tools of a version that this one knows; until then no older \
         snapshot is removed",
    )
}

/// The error for a snapshot that lacks `total` objects, of which `some` are known.
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

/// The key that excludes objects of these kinds.
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

/// Outcome of the drill of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was restored and equals what was backed up.
    Proven,
    /// It cannot be restored, or differs from what was backed up.
    Failed,
    /// It could not be tried, so nothing is known.
    Unproven,
}

/// The drill of one item. The field names are stable.
#[derive(Debug, Clone, Serialize)]
pub struct Verdict {
    /// Source name.
    pub source: String,
    /// Item name.
    pub item: String,
    /// Kind of the source.
    pub kind: String,
    /// Outcome.
    pub outcome: Outcome,
    /// Id of the tested snapshot.
    pub snapshot: String,
    /// The time of the data in it.
    #[serde(with = "crate::moment")]
    pub time: Zoned,
    /// Its age in seconds.
    pub age_seconds: i64,
    /// Whether it is the newest snapshot and not too old: proving yesterday's snapshot says little if today's is
    /// missing.
    pub fresh: bool,
    /// Duration of the restore alone.
    pub restore_seconds: Option<f64>,
    /// Total duration.
    pub seconds: f64,
    /// Number of compared tables, collections, files or accounts.
    pub objects: u64,
    /// Number of their rows or documents.
    pub rows: u64,
    /// Bytes read back.
    pub bytes: u64,
    /// Differences between the restored data and the backed-up data.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<String>,
    /// Why it could not be restored or tried, with a hint.
    pub error: Option<String>,
    /// Notes for the operator.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl Verdict {
    /// `source/item`
    pub fn name(&self) -> String {
        format!("{}/{}", self.source, self.item)
    }

    /// Why it is not proven.
    pub fn reason(&self) -> Option<String> {
        if self.differences.is_empty() { self.error.clone() } else { Some(self.differences.join("; ")) }
    }
}

/// The name of a run: its start time and a random suffix, for runs of the same second.
pub(crate) fn new_run_name() -> String {
    let mut random = [0; 3];
    // Without random numbers names may collide, which is harmless.
    let _ = getrandom::fill(&mut random);
    let suffix: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{suffix}", Timestamp::now().strftime("%Y%m%dT%H%M%SZ"))
}
