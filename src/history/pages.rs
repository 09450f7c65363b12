//! Details of single items and runs, for the dashboard and the API. Field names are a stable interface.

use jiff::Zoned;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The past of an item.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct Past {
    /// Attempts to back it up, newest first.
    pub attempts: Vec<Attempt>,
    /// Its snapshots, newest first.
    pub snapshots: Vec<StoredSnapshot>,
    /// Its tables, collections and other objects, those with the most rows first.
    pub objects: Vec<ObjectPast>,
    /// Its drills, newest first.
    pub drills: Vec<DrillPast>,
    /// Its events, newest first.
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
    /// Duration in seconds; absent while it is in progress.
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
    /// The time of its data.
    #[serde(with = "crate::moment")]
    #[schemars(with = "jiff::Timestamp")]
    pub time: Zoned,
    /// Bytes of its files.
    pub bytes: u64,
    /// Whether retention currently keeps it.
    pub keep: bool,
    /// The reasons.
    pub reasons: Vec<String>,
}

/// A table, collection or other object.
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
    /// When its content last changed, according to the backups.
    #[serde(with = "crate::moment")]
    #[schemars(with = "jiff::Timestamp")]
    pub changed: Zoned,
    /// Since when it is gone, if so.
    #[serde(with = "crate::moment::option")]
    #[schemars(with = "Option<jiff::Timestamp>")]
    pub gone: Option<Zoned>,
    /// Its rows over time, oldest first.
    pub trend: Vec<RowsPoint>,
}

/// Rows at a point in time.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RowsPoint {
    /// The time.
    #[serde(with = "crate::moment")]
    #[schemars(with = "jiff::Timestamp")]
    pub time: Zoned,
    /// The number of rows.
    pub rows: u64,
}

/// A drill of an item.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct DrillPast {
    /// When it began.
    #[serde(with = "crate::moment")]
    #[schemars(with = "jiff::Timestamp")]
    pub time: Zoned,
    /// Time of the snapshot.
    #[serde(with = "crate::moment")]
    #[schemars(with = "jiff::Timestamp")]
    pub snapshot_time: Zoned,
    /// The first digits of the snapshot's id.
    pub snapshot: String,
    /// `proven`, `failed`, `unproven`, `interrupted` or `running`.
    pub outcome: String,
    /// Duration in seconds.
    pub seconds: Option<f64>,
    /// The differences found, or why nothing could be proven.
    pub detail: Option<String>,
}

/// An event of an item.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Event {
    /// When it happened.
    #[serde(with = "crate::moment")]
    #[schemars(with = "jiff::Timestamp")]
    pub time: Zoned,
    /// The event.
    pub what: String,
    /// Details.
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
    /// When it ended; absent while it is in progress.
    #[serde(with = "crate::moment::option")]
    #[schemars(with = "Option<jiff::Timestamp>")]
    pub ended: Option<Zoned>,
    /// `ok`, `partial`, `failed` or `interrupted`; absent while it is in progress.
    pub outcome: Option<String>,
    /// The error that ended it as a whole.
    pub error: Option<String>,
    /// Its sources.
    pub sources: Vec<String>,
    /// Number of items that succeeded, or were proven.
    pub succeeded: u64,
    /// Number of items that did not.
    pub failed: u64,
    /// Bytes read from the sources.
    pub bytes_read: u64,
    /// Bytes added to the repository.
    pub bytes_added: u64,
    /// Its progress, while it is in progress and reports it.
    pub progress: Option<Progress>,
}

/// Progress of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Progress {
    /// When this was recorded.
    #[serde(with = "crate::moment")]
    #[schemars(with = "jiff::Timestamp")]
    pub at: Zoned,
    /// Number of items that it will try; absent until all sources were listed.
    pub items: Option<u64>,
    /// Number of items done.
    pub done: u64,
    /// Number of those that failed.
    pub failed: u64,
    /// Bytes read so far.
    pub bytes: u64,
    /// Current rate in bytes per second.
    pub bytes_per_second: f64,
    /// Items being read.
    pub running: Vec<ItemProgress>,
}

/// Progress of an item.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ItemProgress {
    /// `source/item`.
    pub item: String,
    /// Bytes read so far.
    pub bytes: u64,
    /// Estimated total bytes.
    pub estimate: Option<u64>,
    /// When reading began.
    #[serde(with = "crate::moment")]
    #[schemars(with = "jiff::Timestamp")]
    pub started: Zoned,
}
