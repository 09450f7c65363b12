//! The answers of the JSON API. The field names are stable.

use schemars::JsonSchema;
use serde::Serialize;

use crate::history::{
    ledger::{Entry, SourceEntry},
    pages::{Attempt, Past, RunPast},
};

/// Items of the ledger.
#[derive(Serialize, JsonSchema)]
pub(super) struct Items {
    /// The items.
    pub(super) items: Vec<Entry>,
}

/// An item and its past.
#[derive(Serialize, JsonSchema)]
pub(super) struct ItemDetail {
    /// Its entry in the ledger.
    pub(super) entry: Entry,
    /// Its past.
    #[serde(flatten)]
    pub(super) past: Past,
}

/// The sources.
#[derive(Serialize, JsonSchema)]
pub(super) struct Sources {
    /// The sources.
    pub(super) sources: Vec<SourceEntry>,
}

/// Runs, newest first.
#[derive(Serialize, JsonSchema)]
pub(super) struct Runs {
    /// The runs.
    pub(super) runs: Vec<RunPast>,
}

/// A run and its attempts.
#[derive(Serialize, JsonSchema)]
pub(super) struct RunDetail {
    /// The run.
    pub(super) run: RunPast,
    /// Its attempts, failures first.
    pub(super) attempts: Vec<Attempt>,
}

/// An error.
#[derive(Serialize, JsonSchema)]
pub(super) struct Problem {
    /// The message.
    pub(super) error: String,
}
