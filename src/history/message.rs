//! What an alert says, before a channel gives it its form.

use jiff::Zoned;
use serde::{Deserialize, Serialize};

use crate::history::ledger::Shared;

/// Why a message is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Something is newly wrong (other things may have recovered meanwhile).
    Problem,
    /// What was told before is still wrong.
    Reminder,
    /// All that was told is well again, or a part of it and nothing new is wrong.
    Recovery,
    /// An operator asked for a test.
    Test,
}

/// One message: all that is to be told after a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Why it is sent.
    pub purpose: Purpose,
    /// When it was composed.
    #[serde(with = "crate::moment")]
    pub at: Zoned,
    /// The host it speaks of.
    pub host: String,
    /// What is newly wrong.
    pub new: Vec<Line>,
    /// What is still wrong.
    pub persisting: Vec<Line>,
    /// What is well again.
    pub recovered: Vec<Line>,
    /// What else to say, in sentences.
    pub remarks: Vec<String>,
}

/// What is told about one thing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// What it is about: `source/item`, a source, a unit.
    pub subject: String,
    /// The kind of problem, as in the ledger.
    pub kind: String,
    /// What happened; may have several lines.
    pub text: String,
    /// Since when.
    #[serde(default, with = "crate::moment::option")]
    pub since: Option<Zoned>,
    /// What to do next.
    pub hint: Option<String>,
    /// The cause that it shares with others, where their texts differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Shared>,
    /// Known items that were not backed up for this reason, if it is about a source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<u64>,
}
