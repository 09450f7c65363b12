//! Anomalies of backups, and the past of an item by which a backup is judged.

use std::collections::HashMap;

use super::content::Key;

/// Kinds of anomaly, as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A table has lost rows.
    Rows,
    /// A table or schema is gone.
    Object,
    /// The item as a whole is smaller.
    Size,
    /// The content is unchanged for unusually long.
    Still,
    /// The item itself is gone.
    Gone,
}

impl Kind {
    /// As stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Object => "object",
            Self::Size => "size",
            Self::Still => "still",
            Self::Gone => "gone",
        }
    }

    /// The reverse of [`Self::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Rows, Self::Object, Self::Size, Self::Still, Self::Gone]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }
}

/// An anomaly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its kind.
    pub kind: Kind,
    /// The object; empty for the item as a whole.
    pub object: String,
    /// Rows, bytes or objects before; for unchanged content, the time of its last change.
    pub before: u64,
    /// The same value now.
    pub after: u64,
    /// Its description.
    pub text: String,
}

/// An earlier anomaly that is not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// Its id.
    pub id: i64,
    /// Its kind.
    pub kind: Kind,
    /// The object; empty for the item as a whole.
    pub object: String,
    /// The value before.
    pub before: u64,
    /// The value when it was found.
    pub after: u64,
}

/// A loss that an operator accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedLoss {
    /// Its kind.
    pub kind: Kind,
    /// The object; empty for the item as a whole.
    pub object: String,
    /// Rows before.
    pub before: u64,
    /// Rows when it was accepted.
    pub remaining: u64,
    /// When it was accepted, in milliseconds since 1970.
    pub time: i64,
}

/// The past of an item for judging a backup.
#[derive(Debug, Default)]
pub struct Past {
    /// Sizes of the last good backups that are a valid measure, oldest first.
    pub sizes: Vec<u64>,
    /// Its objects in the last backup.
    pub objects: HashMap<Key, PastObject>,
    /// Accepted losses of rows and of objects.
    pub accepted: Vec<AcceptedLoss>,
    /// Open anomalies.
    pub open: Vec<Open>,
    /// Whether a loss was accepted since the last good backup.
    pub just_accepted: bool,
    /// How often the content has changed.
    pub changes: u64,
    /// When it last changed, in milliseconds since 1970.
    pub changed: Option<i64>,
    /// The longest period without a change before that, in milliseconds.
    pub longest_still: i64,
    /// Whether the content is the same as last time.
    pub same: bool,
}

/// The past of an object.
#[derive(Debug, Clone, Default)]
pub struct PastObject {
    /// Rows of the last backups since a loss of it was accepted, oldest first.
    pub counts: Vec<u64>,
    /// Digest of the last count.
    pub digest: crate::stream::digest::Digest128,
    /// The partitioned table that it is a part of.
    pub part_of: Option<String>,
}

/// The result of judging a backup.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// New anomalies.
    pub found: Vec<Finding>,
    /// Ids of open anomalies that no longer hold.
    pub resolved: Vec<i64>,
}

/// Whether `after` is less than may be left of `before`.
pub(super) fn lost(before: u64, after: u64, percent: u8) -> bool {
    percent > 0 && u128::from(after) * 100 < u128::from(before) * u128::from(100 - percent.min(100))
}

pub(super) fn percent(before: u64, after: u64) -> String {
    let part = (before.saturating_sub(after)) as f64 * 100.0 / (before.max(1)) as f64;
    format!("-{part:.0} %")
}
