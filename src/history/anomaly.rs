//! What is suspicious about a backup, judged against the item's own history and nothing else: a loss of rows, of size,
//! of tables, and content that stands still although it never did before.

use std::collections::HashMap;

use super::{
    content::{Content, Key},
    losses,
};
use crate::{
    config::AnomalyRules,
    output::{duration, size},
};

/// How many of the last backups the size is compared with.
const SIZES: usize = 7;
/// Content must have changed so often before its standing still means anything.
const CHANGES: u64 = 5;
/// Standing still is unusual from so many times the longest it ever did.
const STILL: i64 = 3;
/// Runs do not begin at the same second: what is longer by so many milliseconds is not longer.
const SLACK: i64 = 3_600_000;

/// Kinds of anomaly, as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A table lost rows.
    Rows,
    /// A table or schema is no longer there.
    Object,
    /// The whole is smaller.
    Size,
    /// The content is the same for unusually long.
    Still,
    /// The item itself is no longer there.
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

/// What was found suspicious.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What kind.
    pub kind: Kind,
    /// The object; empty for the whole.
    pub object: String,
    /// Rows, bytes or objects before; for content that stands still the moment of its last change.
    pub before: u64,
    /// The same now.
    pub after: u64,
    /// In words.
    pub text: String,
}

/// An anomaly found earlier that nobody has accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// Its number.
    pub id: i64,
    /// What kind.
    pub kind: Kind,
    /// The object; empty for the whole.
    pub object: String,
    /// What there was before.
    pub before: u64,
    /// What was left when it was found.
    pub after: u64,
}

/// A loss that an operator accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedLoss {
    /// What kind.
    pub kind: Kind,
    /// The object; empty for the whole.
    pub object: String,
    /// Rows before.
    pub before: u64,
    /// Rows when it was accepted.
    pub remaining: u64,
    /// When it was accepted, in milliseconds since 1970.
    pub time: i64,
}

/// What is known of an item before a backup is judged.
#[derive(Debug, Default)]
pub struct Past {
    /// Sizes of the last good backups that count, oldest first.
    pub sizes: Vec<u64>,
    /// Its objects that were there last time.
    pub objects: HashMap<Key, PastObject>,
    /// Losses of rows and of objects that an operator accepted.
    pub accepted: Vec<AcceptedLoss>,
    /// Anomalies that are open.
    pub open: Vec<Open>,
    /// Whether a loss was accepted since the last good backup.
    pub just_accepted: bool,
    /// How often the content has changed.
    pub changes: u64,
    /// When it changed last, in milliseconds since 1970.
    pub changed: Option<i64>,
    /// The longest it stayed the same before that, in milliseconds.
    pub longest_still: i64,
    /// Whether the content is the same as last time.
    pub same: bool,
}

/// What is known of an object.
#[derive(Debug, Clone, Default)]
pub struct PastObject {
    /// Rows of the last backups since a loss of it was accepted, oldest first.
    pub counts: Vec<u64>,
    /// Digest of the last one.
    pub digest: crate::stream::digest::Digest128,
    /// The partitioned table that it is a part of.
    pub part_of: Option<String>,
}

/// What came of judging a backup.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What is newly suspicious.
    pub found: Vec<Finding>,
    /// Numbers of open anomalies that are no longer true.
    pub resolved: Vec<i64>,
}

/// Judges a backup.
pub fn judge(rules: &AnomalyRules, past: &Past, content: &Content, now: i64) -> Verdict {
    let mut verdict = Verdict::default();
    let open = |kind: Kind, object: &str| past.open.iter().find(|o| o.kind == kind && o.object == object);
    losses::judge(rules, past, content, &mut verdict);
    judge_size(rules, past, content, &mut verdict, &open);
    judge_stillness(rules, past, now, &mut verdict, &open);
    // The item was backed up just now: it is there.
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

fn judge_stillness<'a>(
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
                "its content has been exactly the same for {}; before it never was for longer than {longest}",
                crate::output::count(days, "day")
            ),
        });
    }
}

/// Is `after` less than what may be left of `before`?
pub(super) fn lost(before: u64, after: u64, percent: u8) -> bool {
    percent > 0 && u128::from(after) * 100 < u128::from(before) * u128::from(100 - percent.min(100))
}

/// A name with its numbers taken out: partitions named by date come and go, and are one kind of thing.
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
