//! Shows the progress of a drill.

use crate::outcome::Verdict;

/// Follows a drill.
pub trait Observer: Sync {
    /// A message for the operator.
    fn notice(&self, message: &str);
    /// A message that needs attention.
    fn warning(&self, message: &str) {
        self.notice(message);
    }
    /// A failure that does not belong to an item, and does not end the drill.
    fn failure(&self, message: &str) {
        self.warning(message);
    }
    /// The proof of an item begins.
    fn started(&self, name: &str);
    /// An item has its verdict.
    fn finished(&self, verdict: &Verdict);
}
