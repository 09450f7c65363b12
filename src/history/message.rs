//! The content of an alert, before a channel formats it.

use jiff::Zoned;
use serde::{Deserialize, Serialize};

use crate::history::ledger::Shared;

/// Why a message is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// There are new problems (others may have recovered meanwhile).
    Problem,
    /// Problems that were alerted before persist.
    Reminder,
    /// Problems that were alerted before are over, and there is no new one.
    Recovery,
    /// An operator asked for a test.
    Test,
}

/// A message: everything to be reported after a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Why it is sent.
    pub purpose: Purpose,
    /// When it was composed.
    #[serde(with = "crate::moment")]
    pub at: Zoned,
    /// The host it is about.
    pub host: String,
    /// New problems.
    pub new: Vec<Line>,
    /// Persisting problems.
    pub persisting: Vec<Line>,
    /// Problems that are over.
    pub recovered: Vec<Line>,
    /// Further notes, in sentences.
    pub remarks: Vec<String>,
}

/// A problem of one subject.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The subject: `source/item`, a source, a unit.
    pub subject: String,
    /// The kind of problem, as in the ledger.
    pub kind: String,
    /// The problem; may have several lines.
    pub text: String,
    /// Since when.
    #[serde(default, with = "crate::moment::option")]
    pub since: Option<Zoned>,
    /// What to do next.
    pub hint: Option<String>,
    /// The cause shared with other lines whose texts differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Shared>,
    /// For a source: number of known items that were not backed up for this reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<u64>,
}
