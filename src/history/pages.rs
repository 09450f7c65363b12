//! What somebody sees who looks closely: one item with all that happened to it, and the runs. Field names are a promise to
//! programs.

use jiff::Zoned;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// All that is remembered of an item.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct Past {
    /// Attempts to back it up, the newest first.
    pub attempts: Vec<Attempt>,
    /// Its snapshots, the newest first.
    pub snapshots: Vec<StoredSnapshot>,
    /// Its tables, collections and the like, those with the most rows first.
    pub objects: Vec<ObjectPast>,
    /// Its drills, the newest first.
    pub drills: Vec<DrillPast>,
    /// What happened to it, the newest first.
    pub events: Vec<Event>,
}

/// An attempt to back an item up.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Attempt {
    /// Source name.
    pub source: String,
    /// Item name; absent for the source itself.
    pub item: Option<String>,
    /// Name of the run.
    pub run: String,
    /// When it began.
    #[serde(with = "crate::moment")]
    #[schemars(with = "jiff::Timestamp")]
    pub started: Zoned,
    /// How long it took, in seconds; absent while it goes on.
    pub seconds: Option<f64>,
    /// `running`, `ok`, `partial`, `unchecked`, `vanished`, `failed` or `interrupted`.
    pub outcome: String,
    /// Bytes read from the source.
    pub bytes_read: Option<u64>,
    /// Bytes added to the repository.
    pub bytes_added: Option<u64>,
    /// Bytes of the snapshot.
    pub bytes: Option<u64>,
    /// Rows, documents or files.
    pub rows: Option<u64>,
    /// The first digits of the snapshot's id.
    pub snapshot: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
}

/// A snapshot in the repository.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct StoredSnapshot {
    /// Its id.
    pub id: String,
    /// Its moment.
    #[serde(with = "crate::moment")]
    #[schemars(with = "jiff::Timestamp")]
    pub time: Zoned,
    /// Bytes of its files.
    pub bytes: u64,
    /// Whether retention keeps it, as things stand.
    pub keep: bool,
    /// Why.
    pub reasons: Vec<String>,
}

/// A table, collection or the like.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ObjectPast {
    /// `table`, `collection`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// Schema or other name space.
    pub schema: Option<String>,
    /// Name.
    pub name: String,
    /// Rows or documents in the last good backup.
    pub rows: u64,
    /// When its content last changed, as far as backups tell.
    #[serde(with = "crate::moment")]
    #[schemars(with = "jiff::Timestamp")]
    pub changed: Zoned,
    /// Since when it is gone.
    #[serde(with = "crate::moment::option")]
    #[schemars(with = "Option<jiff::Timestamp>")]
    pub gone: Option<Zoned>,
    /// Its rows over time, oldest first.
    pub trend: Vec<RowsPoint>,
}

/// Rows at a moment.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RowsPoint {
    /// The moment.
    #[serde(with = "crate::moment")]
    #[schemars(with = "jiff::Timestamp")]
    pub time: Zoned,
    /// The rows.
    pub rows: u64,
}

/// A drill of an item.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct DrillPast {
    /// When it began.
    #[serde(with = "crate::moment")]
    #[schemars(with = "jiff::Timestamp")]
    pub time: Zoned,
    /// Moment of the snapshot.
    #[serde(with = "crate::moment")]
    #[schemars(with = "jiff::Timestamp")]
    pub snapshot_time: Zoned,
    /// The first digits of the snapshot's id.
    pub snapshot: String,
    /// `proven`, `failed`, `unproven`, `interrupted` or `running`.
    pub outcome: String,
    /// How long it took, in seconds.
    pub seconds: Option<f64>,
    /// What it found, or why nothing could be proven.
    pub detail: Option<String>,
}

/// Something that happened to an item.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Event {
    /// When.
    #[serde(with = "crate::moment")]
    #[schemars(with = "jiff::Timestamp")]
    pub time: Zoned,
    /// What.
    pub what: String,
    /// More of it.
    pub detail: Option<String>,
}

/// A run.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RunPast {
    /// Its name.
    pub run: String,
    /// `backup` or `drill`.
    pub kind: String,
    /// The host that made it.
    pub host: String,
    /// When it began.
    #[serde(with = "crate::moment")]
    #[schemars(with = "jiff::Timestamp")]
    pub started: Zoned,
    /// When it ended; absent while it goes on.
    #[serde(with = "crate::moment::option")]
    #[schemars(with = "Option<jiff::Timestamp>")]
    pub ended: Option<Zoned>,
    /// `ok`, `partial`, `failed` or `interrupted`; absent while it goes on.
    pub outcome: Option<String>,
    /// What ended it as a whole.
    pub error: Option<String>,
    /// Its sources.
    pub sources: Vec<String>,
    /// Items that succeeded, or were proven.
    pub succeeded: u64,
    /// Items that did not.
    pub failed: u64,
    /// Bytes read from the sources.
    pub bytes_read: u64,
    /// Bytes added to the repository.
    pub bytes_added: u64,
    /// How far it is, while it goes on and tells.
    pub progress: Option<Progress>,
}

/// How far a run is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Progress {
    /// When this was written down.
    #[serde(with = "crate::moment")]
    #[schemars(with = "jiff::Timestamp")]
    pub at: Zoned,
    /// Items that it will try; absent before the sources have answered.
    pub items: Option<u64>,
    /// Items that are done.
    pub done: u64,
    /// Items among them that failed.
    pub failed: u64,
    /// Bytes read so far.
    pub bytes: u64,
    /// Bytes read in a second, lately.
    pub bytes_per_second: f64,
    /// Items being read.
    pub running: Vec<ItemProgress>,
}

/// How far an item is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ItemProgress {
    /// `source/item`.
    pub item: String,
    /// Bytes read so far.
    pub bytes: u64,
    /// Bytes it may have in the end.
    pub estimate: Option<u64>,
    /// Since when it is read.
    #[serde(with = "crate::moment")]
    #[schemars(with = "jiff::Timestamp")]
    pub started: Zoned,
}
