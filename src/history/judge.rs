//! Detects suspicious changes in a backup, compared with the item's own history only: lost rows, a smaller size,
//! missing tables, and content that is unchanged for unusually long.

use super::{
    anomaly::{Finding, Kind, Open, Past, Verdict, lost, percent},
    content::Content,
    losses, unsigned,
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
            before: unsigned(changed),
            after: unsigned(now),
            text: format!(
                "its content has not changed for {}; the longest time without a change before was {longest}",
                crate::output::count(days, "day")
            ),
        });
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
