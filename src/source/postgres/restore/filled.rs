//! What a restore has left out.

use std::collections::BTreeMap;

/// At most this many errors that belong to no entry are kept.
const OTHERS: usize = 5;

/// The result of a restore.
#[derive(Debug, Default)]
pub(super) struct Filled {
    /// Bytes of the dump.
    pub(super) bytes: u64,
    /// The entries that failed, and why.
    pub(super) failed: BTreeMap<i32, String>,
    /// Errors that belong to no entry.
    pub(super) others: Vec<String>,
}

impl Filled {
    /// Whether everything was restored.
    pub(super) fn is_empty(&self) -> bool {
        self.failed.is_empty() && self.others.is_empty()
    }

    /// Adds what another process could not restore.
    pub(super) fn extend(&mut self, other: Self) {
        self.failed.extend(other.failed);
        for error in other.others {
            self.other(error);
        }
    }

    /// Adds an error that belongs to no entry.
    pub(super) fn other(&mut self, error: String) {
        // Several processes report the same one, for example a setting that the server does not know.
        if self.others.len() < OTHERS && !self.others.contains(&error) {
            self.others.push(error);
        }
    }
}
