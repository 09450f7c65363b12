//! Detects suspicious changes in a backup, compared with the item's own history only: lost rows, a smaller size,
//! missing tables, and content that is unchanged for unusually long.

use std::collections::HashMap;

use super::{
    content::{Content, Key},
    losses,
};
use crate::{
    config::AnomalyRules,
    output::{duration, size},
};

/// Number of recent backups that the size is compared with.
const SIZES: usize = 7;
/// Number of content changes needed before unchanged content is suspicious.
const CHANGES: u64 = 5;
/// Unchanged content is suspicious from this multiple of the longest earlier period.
const STILL: i64 = 3;
/// Tolerance in milliseconds: runs do not begin at exactly the same time.
const SLACK: i64 = 3_600_000;

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

/// Judges a backup.
pub fn judge(rules: &AnomalyRules, past: &Past, content: &Content, now: i64) -> Verdict {
    let mut verdict = Verdict::default();
    let open = |kind: Kind, object: &str| past.open.iter().find(|o| o.kind == kind && o.object == object);
    losses::judge(rules, past, content, &mut verdict);
    judge_size(rules, past, content, &mut verdict, &open);
    judge_unchanged(rules, past, now, &mut verdict, &open);
    // The item was just backed up, so it is not gone.
    verdict.resolved.extend(past.open.iter().filter(|o| o.kind == Kind::Gone).map(|o| o.id));
    verdict
}

type FindOpen<'a> = dyn Fn(Kind, &str) -> Option<&'a Open> + 'a;

fn judge_size<'a>(
    rules: &AnomalyRules,
    past: &Past,
    content: &Content,
    verdict: &mut Verdict,
    open: &FindOpen<'a>,
) {
    if let Some(open) = open(Kind::Size, "") {
        if !lost(open.before, content.bytes, rules.size_lost) {
            verdict.resolved.push(open.id);
        }
        return;
    }
    let mut last: Vec<u64> = past.sizes.iter().rev().take(SIZES).copied().collect();
    last.sort_unstable();
    let Some(usual) = last.get(last.len() / 2).copied() else { return };
    if usual >= rules.min_size && lost(usual, content.bytes, rules.size_lost) {
        verdict.found.push(Finding {
            kind: Kind::Size,
            object: String::new(),
            before: usual,
            after: content.bytes,
            text: format!(
                "it was {} and is {} now ({})",
                size(usual),
                size(content.bytes),
                percent(usual, content.bytes)
            ),
        });
    }
}

fn judge_unchanged<'a>(
    rules: &AnomalyRules,
    past: &Past,
    now: i64,
    verdict: &mut Verdict,
    open: &FindOpen<'a>,
) {
    let open = open(Kind::Still, "");
    let Some(changed) = past.changed.filter(|_| past.same) else {
        verdict.resolved.extend(open.map(|open| open.id));
        return;
    };
    let least = i64::try_from(rules.unchanged.as_millis()).unwrap_or(i64::MAX);
    let unusual = now - changed > least.max(past.longest_still.saturating_mul(STILL)) + SLACK;
    if least > 0 && unusual && past.changes >= CHANGES && open.is_none() {
        let days = (now - changed + SLACK) / 86_400_000;
        let longest = duration((past.longest_still / 1000) as f64);
        verdict.found.push(Finding {
            kind: Kind::Still,
            object: String::new(),
            before: super::unsigned(changed),
            after: super::unsigned(now),
            text: format!(
                "its content has not changed for {}; the longest time without a change before was {longest}",
                crate::output::count(days, "day")
            ),
        });
    }
}

/// Whether `after` is less than may be left of `before`.
pub(super) fn lost(before: u64, after: u64, percent: u8) -> bool {
    percent > 0 && u128::from(after) * 100 < u128::from(before) * u128::from(100 - percent.min(100))
}

/// A name without its numbers: partitions named by date belong together.
pub fn pattern(name: &str) -> String {
    let mut pattern = String::with_capacity(name.len());
    for c in name.chars() {
        let c = if c.is_ascii_digit() { '#' } else { c };
        if c != '#' || !pattern.ends_with('#') {
            pattern.push(c);
        }
    }
    pattern
}

pub(super) fn percent(before: u64, after: u64) -> String {
    let part = (before.saturating_sub(after)) as f64 * 100.0 / (before.max(1)) as f64;
    format!("-{part:.0} %")
}

#[cfg(test)]
#[path = "anomaly_tests.rs"]
mod tests;
