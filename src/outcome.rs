//! What came of single items: of their backup, and of the proof that they can be restored.

use jiff::{Timestamp, Zoned};
use serde::Serialize;

use crate::{
    error::{Error, Problem},
    source::manifest::Omitted,
};

/// So many omitted objects are named in a text; the manifest names all.
pub(crate) const NAMED: usize = 5;

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
    pub error: Option<Problem>,
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
            error: Some(error.into()),
            known_items: None,
            notes: Vec::new(),
            suspicious: Vec::new(),
            omitted: Vec::new(),
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

/// What came of the proof of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was restored and is what was backed up.
    Proven,
    /// It cannot be restored, or is not what was backed up.
    Failed,
    /// Nothing is known about it: it could not be tried.
    Unproven,
}

/// The proof of one item. The field names are a promise.
#[derive(Debug, Clone, Serialize)]
pub struct Verdict {
    /// Source name.
    pub source: String,
    /// Item name.
    pub item: String,
    /// Kind of the source.
    pub kind: String,
    /// What came of it.
    pub outcome: Outcome,
    /// Id of the snapshot that was tried.
    pub snapshot: String,
    /// The moment of which it shows the data.
    #[serde(with = "crate::moment")]
    pub time: Zoned,
    /// Its age in seconds.
    pub age_seconds: i64,
    /// Whether it is the newest snapshot, and not older than the newest may be: proving yesterday's while today's is
    /// missing says little about today.
    pub fresh: bool,
    /// Time of the restore alone.
    pub restore_seconds: Option<f64>,
    /// Time of all of it.
    pub seconds: f64,
    /// Tables, collections, files or accounts that were compared.
    pub objects: u64,
    /// Rows or documents of these.
    pub rows: u64,
    /// Bytes that were read back.
    pub bytes: u64,
    /// In what the restored differs from what was backed up.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<String>,
    /// Why it could not be restored or tried, with what to do next.
    pub error: Option<String>,
    /// What an operator should know.
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

/// A name for a run: when it begins, and something to tell runs of the same second apart.
pub(crate) fn new_run_name() -> String {
    let mut random = [0; 3];
    // Without random numbers names of runs may collide, which harms nobody.
    let _ = getrandom::fill(&mut random);
    let suffix: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{suffix}", Timestamp::now().strftime("%Y%m%dT%H%M%SZ"))
}
