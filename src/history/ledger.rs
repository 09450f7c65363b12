//! The ledger: every item ever seen, with its state, ages and problems, as one document. What fills it stands in
//! [`super::builder`]; here are its words, whose field names are a promise to programs.

use jiff::Zoned;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{error::Problem as Recorded, repository::HostShare};

/// All that is known at one moment.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Ledger {
    /// When it was drawn up.
    #[serde(with = "crate::moment")]
    #[schemars(with = "jiff::Timestamp")]
    pub at: Zoned,
    /// The host that drew it up.
    pub host: String,
    /// Counts and the verdict.
    pub summary: Summary,
    /// Every item ever seen, by source and item.
    pub items: Vec<Entry>,
    /// What is wrong and concerns no item. Each kind stands here once at most.
    pub problems: Vec<Problem>,
    /// The sources.
    pub sources: Vec<SourceEntry>,
    /// Runs that are going on.
    pub running: Vec<Running>,
    /// The channels of alerts.
    pub alerts: Vec<ChannelEntry>,
    /// The repository.
    pub repository: RepositoryEntry,
    /// What else an operator should know, in sentences.
    pub notes: Vec<String>,
}

/// Counts of the ledger. Every item is in exactly one state.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct Summary {
    /// Whether nothing has a problem.
    pub ok: bool,
    /// Everything that was ever seen.
    pub items: u64,
    /// What should be backed up: neither excluded nor vanished nor of a source that is no longer configured.
    pub expected: u64,
    /// Of these, those with a good snapshot that is young enough.
    pub backed_up: u64,
    /// Of these, those with a proof that is young enough.
    pub proven: u64,
    /// How long it would take to restore all of them one after the other, in seconds, by what drills measured; what was not
    /// measured is estimated from its size. Absent if nothing was measured.
    pub restore_seconds: Option<f64>,
    /// Those of them that were not measured.
    pub restore_unmeasured: u64,
    /// Problems.
    pub problems: u64,
    /// Items in each state, in the order of [`State`], without those that no item is in.
    pub states: Vec<StateCount>,
}

/// How many items are in a state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct StateCount {
    /// The state.
    pub state: State,
    /// How many.
    pub items: u64,
}

/// State of an item, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// The last attempt failed, or its source could not be asked.
    Failed,
    /// It is there, and there is no snapshot of it.
    NeverBackedUp,
    /// The newest snapshot is older than it should be.
    Late,
    /// The newest snapshot holds a dump that could not be understood: nothing in it was checked.
    Unchecked,
    /// The newest snapshot is whole except for objects that could not be read.
    Partial,
    /// What was backed up differs from before in a way that somebody should look at, or a snapshot is dated in the future; its
    /// snapshots are held.
    Suspicious,
    /// The source no longer has it.
    Vanished,
    /// No drill has restored it lately.
    NotProven,
    /// It was found lately, and no run of its source has been due since: there is no snapshot of it yet.
    New,
    /// Backed up in time.
    Protected,
    /// A rule excludes it.
    Excluded,
    /// Its source is no longer in the configuration.
    Unconfigured,
}

impl State {
    /// All states, the worst first.
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

/// One item ever seen, or a source that could not be asked.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Entry {
    /// Source name.
    pub source: String,
    /// Item name; absent for the source itself.
    pub item: Option<String>,
    /// Kind of the source.
    pub kind: String,
    /// The worst that is true of it.
    pub state: State,
    /// Since when it is in that state, as far as known.
    #[serde(with = "crate::moment::option")]
    #[schemars(with = "Option<jiff::Timestamp>")]
    pub since: Option<Zoned>,
    /// Why, in one line: the error, the rule that excludes it, what shrank.
    pub why: Option<String>,
    /// All that somebody should do something about.
    pub problems: Vec<Problem>,
    /// Retention is held for it: nothing is removed until it is accepted, or until what is dated in the future is gone.
    pub held: bool,
    /// Moment of the newest snapshot that is not dated in the future.
    #[serde(with = "crate::moment::option")]
    #[schemars(with = "Option<jiff::Timestamp>")]
    pub last_backup: Option<Zoned>,
    /// Its age in seconds.
    pub age_seconds: Option<i64>,
    /// The age from which it is late, in seconds.
    pub max_age_seconds: Option<u64>,
    /// Id of the newest snapshot.
    pub snapshot: Option<String>,
    /// Snapshots of it.
    pub snapshots: u64,
    /// Moment of the snapshot that was last proven.
    #[serde(with = "crate::moment::option")]
    #[schemars(with = "Option<jiff::Timestamp>")]
    pub last_proof: Option<Zoned>,
    /// Its age in seconds.
    pub proof_age_seconds: Option<i64>,
    /// How long the last restore of it took in a drill, in seconds.
    pub restore_seconds: Option<f64>,
    /// Bytes of the newest snapshot.
    pub bytes: Option<u64>,
    /// Rows, documents or files of it, where they were counted.
    pub rows: Option<u64>,
    /// How long the last successful backup took, in seconds.
    pub seconds: Option<f64>,
    /// The last successful backups, oldest first, at most 12.
    pub trend: Vec<Point>,
    /// What the last backup wants known, such as what it could not protect.
    pub notes: Vec<String>,
    /// Objects that the newest snapshot lacks because they could not be read, whether that was accepted or not.
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
    /// Time it took, in seconds.
    pub seconds: f64,
}

/// What kind of problem it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProblemKind {
    /// The last attempt failed.
    Failed,
    /// There is no snapshot although it was seen.
    NeverBackedUp,
    /// The newest snapshot is too old.
    Late,
    /// The dump could not be understood.
    Unchecked,
    /// Objects could not be read, and the newest snapshot lacks them.
    Partial,
    /// The content differs from before: see [`super::anomaly`].
    Anomaly,
    /// The source no longer has it.
    Vanished,
    /// A rule excludes what was backed up before.
    Excluded,
    /// No fresh proof.
    NotProven,
    /// A snapshot is dated in the future: a clock was wrong.
    FutureSnapshot,
    /// The repository cannot be read.
    Repository,
    /// The history was damaged, or cannot be written.
    History,
    /// Something of the repository is lost or damaged, and no check has been clean since.
    Damage,
    /// The newest snapshots of items are gone from the repository, and this program did not remove them.
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

/// Something that somebody should do something about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Problem {
    /// What kind.
    pub kind: ProblemKind,
    /// Since when, as far as known.
    #[serde(with = "crate::moment::option")]
    #[schemars(with = "Option<jiff::Timestamp>")]
    pub since: Option<Zoned>,
    /// What happened, in one line or a few.
    pub text: String,
    /// What to do next.
    pub hint: Option<String>,
    /// Known items of a source that were not backed up because it failed as a whole; absent for an item.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<u64>,
    /// The cause that it shares with problems of other items.
    #[serde(skip)]
    pub shared: Option<Shared>,
}

/// A cause that several items may share although the text of each is another: each has its own age or its own name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shared {
    /// What is the same for all of them: kind of problem, source, moment and rule, as far as they belong to it.
    pub key: String,
    /// What is told of several at once.
    pub text: String,
    /// What to do next about several.
    pub hint: Option<String>,
}

impl Problem {
    /// What a problem that concerns no item is a problem of.
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
    /// When it was last asked successfully what it has.
    #[serde(with = "crate::moment::option")]
    #[schemars(with = "Option<jiff::Timestamp>")]
    pub last_discovery: Option<Zoned>,
    /// What it had then.
    pub discovered: u64,
    /// What was excluded then.
    pub excluded: u64,
}

/// A run that is going on.
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
    /// Items being read at this moment.
    pub items: Vec<String>,
}

/// A channel of alerts.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ChannelEntry {
    /// Its name.
    pub channel: String,
    /// Its kind.
    pub kind: String,
    /// When it last took a message.
    #[serde(with = "crate::moment::option")]
    #[schemars(with = "Option<jiff::Timestamp>")]
    pub last_delivery: Option<Zoned>,
    /// Messages that wait to be delivered.
    pub waiting: u64,
    /// Since when it takes none, if it does not.
    #[serde(with = "crate::moment::option")]
    #[schemars(with = "Option<jiff::Timestamp>")]
    pub failing_since: Option<Zoned>,
    /// What it said last, if it does not.
    pub error: Option<String>,
}

/// The repository.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RepositoryEntry {
    /// Where it is, without passwords.
    pub location: String,
    /// Bytes of its packs, where they can be counted quickly.
    pub bytes: Option<u64>,
    /// Bytes free where it lies.
    pub free: Option<u64>,
    /// Snapshots of this program in it that this host made; of all hosts where only the repository is watched.
    pub snapshots: u64,
    /// Other hosts that have snapshots in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_hosts: Vec<HostShare>,
    /// Why it could not be read now. Ages are then those of the last look.
    #[schemars(with = "Option<String>")]
    pub error: Option<Recorded>,
}
