//! The types of the ledger: every item ever seen, with its state, ages and problems. Field names are a stable
//! interface. [`super::builder`] builds a ledger.

use jiff::Zoned;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{error::Problem as Recorded, repository::HostShare};

/// The state of everything at one moment.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Ledger {
    /// When it was built.
    #[serde(with = "crate::moment")]
    #[schemars(with = "jiff::Timestamp")]
    pub at: Zoned,
    /// The host that built it.
    pub host: String,
    /// Counts, and whether everything is well.
    pub summary: Summary,
    /// Every item ever seen, by source and item.
    pub items: Vec<Entry>,
    /// Problems that concern no item, at most one of each kind.
    pub problems: Vec<Problem>,
    /// The sources.
    pub sources: Vec<SourceEntry>,
    /// Runs in progress.
    pub running: Vec<Running>,
    /// The alert channels.
    pub alerts: Vec<ChannelEntry>,
    /// The repository.
    pub repository: RepositoryEntry,
    /// Notes for the operator, in sentences.
    pub notes: Vec<String>,
}

/// Counts of the ledger. Every item is in exactly one state.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct Summary {
    /// Whether nothing has a problem.
    pub ok: bool,
    /// All items ever seen.
    pub items: u64,
    /// Items that should be backed up: not excluded, not vanished, and of a configured source.
    pub expected: u64,
    /// Expected items with a good and recent enough snapshot.
    pub backed_up: u64,
    /// Expected items with a recent enough proof.
    pub proven: u64,
    /// Time in seconds to restore all of them one after the other, as measured by drills; estimated from the size for
    /// items without a measurement. Absent if nothing was measured.
    pub restore_seconds: Option<f64>,
    /// Expected items without a measurement.
    pub restore_unmeasured: u64,
    /// Number of problems.
    pub problems: u64,
    /// Items in each state, in the order of [`State`], without empty states.
    pub states: Vec<StateCount>,
}

/// Number of items in a state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct StateCount {
    /// The state.
    pub state: State,
    /// The number of items.
    pub items: u64,
}

/// State of an item, worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// The last attempt failed, or its source as a whole did.
    Failed,
    /// It exists, and there is no snapshot of it.
    NeverBackedUp,
    /// The newest snapshot is older than it should be.
    Late,
    /// The newest snapshot holds a dump that could not be parsed and was not checked.
    Unchecked,
    /// The newest snapshot is complete except for unreadable objects.
    Partial,
    /// The last backup differs suspiciously from earlier ones, or a snapshot is dated in the future. Its snapshots are
    /// held.
    Suspicious,
    /// The source no longer has it.
    Vanished,
    /// No recent drill has restored it.
    NotProven,
    /// It was found recently, has no snapshot yet, and no run of its source has been due since.
    New,
    /// Backed up in time.
    Protected,
    /// A rule excludes it.
    Excluded,
    /// Its source is no longer in the configuration.
    Unconfigured,
}

impl State {
    /// All states, worst first.
    pub const ALL: [Self; 12] = [
        Self::Failed,
        Self::NeverBackedUp,
        Self::Late,
        Self::Unchecked,
        Self::Partial,
        Self::Suspicious,
        Self::Vanished,
        Self::NotProven,
        Self::New,
        Self::Protected,
        Self::Excluded,
        Self::Unconfigured,
    ];

    /// Its name, as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::NeverBackedUp => "never-backed-up",
            Self::Late => "late",
            Self::Unchecked => "unchecked",
            Self::Partial => "partial",
            Self::Suspicious => "suspicious",
            Self::Vanished => "vanished",
            Self::NotProven => "not-proven",
            Self::New => "new",
            Self::Protected => "protected",
            Self::Excluded => "excluded",
            Self::Unconfigured => "unconfigured",
        }
    }
}

/// An item ever seen, or a source that failed as a whole.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Entry {
    /// Source name.
    pub source: String,
    /// Item name; absent for the source itself.
    pub item: Option<String>,
    /// Kind of the source.
    pub kind: String,
    /// Its worst state.
    pub state: State,
    /// Since when it is in that state, if known.
    #[serde(with = "crate::moment::option")]
    #[schemars(with = "Option<jiff::Timestamp>")]
    pub since: Option<Zoned>,
    /// The reason in one line: the error, the rule that excludes it, the suspicious change.
    pub why: Option<String>,
    /// Problems that need attention.
    pub problems: Vec<Problem>,
    /// Retention is held for it: no snapshot is removed until the change is accepted, or until the snapshot dated in
    /// the future is gone.
    pub held: bool,
    /// Time of the newest snapshot that is not dated in the future.
    #[serde(with = "crate::moment::option")]
    #[schemars(with = "Option<jiff::Timestamp>")]
    pub last_backup: Option<Zoned>,
    /// Its age in seconds.
    pub age_seconds: Option<i64>,
    /// The age from which it is late, in seconds.
    pub max_age_seconds: Option<u64>,
    /// Id of the newest snapshot.
    pub snapshot: Option<String>,
    /// Number of its snapshots.
    pub snapshots: u64,
    /// Time of the snapshot that was last proven.
    #[serde(with = "crate::moment::option")]
    #[schemars(with = "Option<jiff::Timestamp>")]
    pub last_proof: Option<Zoned>,
    /// Its age in seconds.
    pub proof_age_seconds: Option<i64>,
    /// Duration of its restore in the last drill, in seconds.
    pub restore_seconds: Option<f64>,
    /// Bytes of the newest snapshot.
    pub bytes: Option<u64>,
    /// Its rows, documents or files, if counted.
    pub rows: Option<u64>,
    /// Duration of the last successful backup, in seconds.
    pub seconds: Option<f64>,
    /// The last successful backups, oldest first, at most 12.
    pub trend: Vec<Point>,
    /// Notes from the last backup, such as objects that it could not protect.
    pub notes: Vec<String>,
    /// Unreadable objects that the newest snapshot lacks, accepted or not.
    pub omitted: u64,
    /// When it is due next.
    #[serde(with = "crate::moment::option")]
    #[schemars(with = "Option<jiff::Timestamp>")]
    pub next: Option<Zoned>,
}

impl Entry {
    /// `source/item`, or the source.
    pub fn name(&self) -> String {
        match &self.item {
            Some(item) => format!("{}/{item}", self.source),
            None => self.source.clone(),
        }
    }
}

/// One successful backup, for a trend.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Point {
    /// When it began.
    #[serde(with = "crate::moment")]
    #[schemars(with = "jiff::Timestamp")]
    pub time: Zoned,
    /// Bytes read from the source.
    pub bytes: u64,
    /// Duration in seconds.
    pub seconds: f64,
}

/// Kind of a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProblemKind {
    /// The last attempt failed.
    Failed,
    /// There is no snapshot of an item that exists.
    NeverBackedUp,
    /// The newest snapshot is too old.
    Late,
    /// The dump could not be parsed.
    Unchecked,
    /// The newest snapshot lacks unreadable objects.
    Partial,
    /// The content has changed suspiciously: see [`super::anomaly`].
    Anomaly,
    /// The source no longer has it.
    Vanished,
    /// A rule excludes an item that was backed up before.
    Excluded,
    /// There is no recent proof.
    NotProven,
    /// A snapshot is dated in the future: a clock was wrong.
    FutureSnapshot,
    /// The repository cannot be read.
    Repository,
    /// The history was damaged, or cannot be written.
    History,
    /// Parts of the repository are lost or damaged, and no check has been clean since.
    Damage,
    /// The newest snapshots of items are missing from the repository, and this program did not remove them.
    SnapshotsGone,
}

impl ProblemKind {
    /// Its name, as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::NeverBackedUp => "never-backed-up",
            Self::Late => "late",
            Self::Unchecked => "unchecked",
            Self::Partial => "partial",
            Self::Anomaly => "anomaly",
            Self::Vanished => "vanished",
            Self::Excluded => "excluded",
            Self::NotProven => "not-proven",
            Self::FutureSnapshot => "future-snapshot",
            Self::Repository => "repository",
            Self::History => "history",
            Self::Damage => "damage",
            Self::SnapshotsGone => "snapshots-gone",
        }
    }
}

/// A problem that needs attention.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Problem {
    /// Its kind.
    pub kind: ProblemKind,
    /// Since when, if known.
    #[serde(with = "crate::moment::option")]
    #[schemars(with = "Option<jiff::Timestamp>")]
    pub since: Option<Zoned>,
    /// The problem, in one line or a few.
    pub text: String,
    /// What to do next.
    pub hint: Option<String>,
    /// For a source that failed as a whole: number of its known items that were not backed up. Absent for an item.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<u64>,
    /// The cause shared with problems of other items.
    #[serde(skip)]
    pub shared: Option<Shared>,
}

/// A cause that several items share although their texts differ in age or name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shared {
    /// The key, equal for all of them: kind of problem, and source, time and rule where they apply.
    pub key: String,
    /// The text for several items.
    pub text: String,
    /// The hint for several items.
    pub hint: Option<String>,
}

impl Problem {
    /// The subject of a problem that concerns no item.
    pub fn subject(&self) -> &'static str {
        match self.kind {
            ProblemKind::History => "the history",
            _ => "the repository",
        }
    }
}

/// A source of the configuration.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct SourceEntry {
    /// Its name.
    pub source: String,
    /// Its kind.
    pub kind: String,
    /// Its schedule, as configured.
    pub schedule: Option<String>,
    /// When it is due next.
    #[serde(with = "crate::moment::option")]
    #[schemars(with = "Option<jiff::Timestamp>")]
    pub next: Option<Zoned>,
    /// When its last run began.
    #[serde(with = "crate::moment::option")]
    #[schemars(with = "Option<jiff::Timestamp>")]
    pub last_run: Option<Zoned>,
    /// When its items were last listed successfully.
    #[serde(with = "crate::moment::option")]
    #[schemars(with = "Option<jiff::Timestamp>")]
    pub last_discovery: Option<Zoned>,
    /// Number of items listed then.
    pub discovered: u64,
    /// Number of items excluded then.
    pub excluded: u64,
}

/// A run in progress.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Running {
    /// Name of the run.
    pub run: String,
    /// `backup` or `drill`.
    pub kind: String,
    /// When it began.
    #[serde(with = "crate::moment")]
    #[schemars(with = "jiff::Timestamp")]
    pub started: Zoned,
    /// Items being read now.
    pub items: Vec<String>,
}

/// An alert channel.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ChannelEntry {
    /// Its name.
    pub channel: String,
    /// Its kind.
    pub kind: String,
    /// When it last accepted a message.
    #[serde(with = "crate::moment::option")]
    #[schemars(with = "Option<jiff::Timestamp>")]
    pub last_delivery: Option<Zoned>,
    /// Number of messages waiting for delivery.
    pub waiting: u64,
    /// Since when deliveries fail, if they do.
    #[serde(with = "crate::moment::option")]
    #[schemars(with = "Option<jiff::Timestamp>")]
    pub failing_since: Option<Zoned>,
    /// The last error, if deliveries fail.
    pub error: Option<String>,
}

/// The repository.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RepositoryEntry {
    /// Its location, without passwords.
    pub location: String,
    /// Size of its packs in bytes, if it can be determined quickly.
    pub bytes: Option<u64>,
    /// Free space at its location, in bytes.
    pub free: Option<u64>,
    /// Number of snapshots made by this program on this host; on all hosts if only the repository is watched.
    pub snapshots: u64,
    /// Other hosts that have snapshots in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_hosts: Vec<HostShare>,
    /// Why it could not be read now. Ages are then as of the last survey.
    #[schemars(with = "Option<String>")]
    pub error: Option<Recorded>,
}
