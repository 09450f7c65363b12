//! Detects losses of rows and of whole objects. A loss is usual only if the operator has accepted losses of this object
//! before that were at least as great. A loss of all rows is never usual.

use std::collections::{HashMap, HashSet};

use super::{
    anomaly::{Finding, Kind, Open, Past, PastObject, Verdict, lost, percent},
    content::{Content, Counted, Key, pattern},
    groups::{PARTITIONED, date_of, files_of, is_group, reported_as, series_of},
};
use crate::{
    config::AnomalyRules,
    output::{count, name},
};

/// Number of recent counts by which a loss is judged, so that a slow loss over a week is found too.
const COUNTS: usize = 7;
/// A loss is usual after this many acceptances.
const USUAL: usize = 2;
/// If an accepted loss left less than this part of `min_rows`, small differences do not matter.
const FEW: u64 = 10;

/// Judges rows and objects.
pub(super) fn judge(rules: &AnomalyRules, past: &Past, content: &Content, verdict: &mut Verdict) {
    if !content.is_counted() {
        // Nothing was counted: no new anomaly, and none is closed.
        return;
    }
    let judging = Judging::new(rules, past, content);
    for object in &content.objects {
        judging.object(object, verdict);
    }
    judging.drop_reported_by_group(verdict);
    if rules.vanished {
        judging.missing(verdict);
    }
    judging.whole(verdict);
}

struct Judging<'a> {
    rules: &'a AnomalyRules,
    past: &'a Past,
    content: &'a Content,
    now: HashMap<&'a Key, &'a Counted>,
    /// Partitioned tables without a past, by the name patterns of their partitions: the table of a missing partition is
    /// unknown.
    roots: HashMap<String, &'a str>,
    /// Names of all tables and partitioned tables, now and before.
    tables: HashSet<String>,
    /// For each series: the number of its earlier members, and the oldest date among the current ones.
    members: HashMap<Key, usize>,
    oldest: HashMap<Key, Vec<u64>>,
}

impl<'a> Judging<'a> {
    fn new(rules: &'a AnomalyRules, past: &'a Past, content: &'a Content) -> Self {
        let now: HashMap<_, _> = content.objects.iter().map(|object| (&object.key, object)).collect();
        let named = past.objects.keys().chain(now.keys().copied());
        let named = named.filter(|key| matches!(key.kind.as_str(), PARTITIONED | "table"));
        let known = past.objects.keys().filter(|key| key.kind == PARTITIONED).map(Key::name);
        let known: HashSet<String> = known.collect();
        let parts = content.objects.iter().filter_map(|object| Some((object, object.part_of.as_deref()?)));
        let roots = parts
            .filter(|(_, root)| !known.contains(*root))
            .map(|(object, root)| (pattern(&object.key.name()), root))
            .filter(|(pattern, _)| pattern.contains('#'))
            .collect();
        let mut members = HashMap::new();
        for series in past.objects.keys().filter_map(series_of) {
            *members.entry(series).or_default() += 1;
        }
        let mut oldest: HashMap<Key, Vec<u64>> = HashMap::new();
        for key in now.keys() {
            let Some((series, date)) = series_of(key).zip(date_of(&key.name)) else { continue };
            let oldest = oldest.entry(series).or_insert_with(|| date.clone());
            if date < *oldest {
                *oldest = date;
            }
        }
        Self { rules, past, content, roots, tables: named.map(Key::name).collect(), members, oldest, now }
    }

    fn open(&self, kind: Kind, object: &str) -> Option<&'a Open> {
        self.past.open.iter().find(|open| open.kind == kind && open.object == object)
    }

    fn lost(&self, before: u64, after: u64) -> bool {
        lost(before, after, self.rules.rows_lost)
    }

    /// Judges the rows of an existing object.
    fn object(&self, object: &Counted, verdict: &mut Verdict) {
        let shown = object.key.name();
        let after = object.rows + self.unread(&object.key);
        let gone = self.open(Kind::Object, &shown);
        if let Some(gone) = gone {
            verdict.resolved.push(gone.id);
        }
        if let Some(open) = self.open(Kind::Rows, &shown) {
            // A table and the object for it and its child tables have the same name.
            if object.part_of.as_ref() == Some(&shown) {
                return;
            }
            if !self.lost(open.before, after) {
                verdict.resolved.push(open.id);
            } else if self.is_worse(open.after, after) {
                // Snapshots older than the new anomaly are kept, which include those held by the first.
                verdict.resolved.push(open.id);
                verdict.found.push(fewer(object, &shown, open.before, after));
            }
            return;
        }
        if object.part_of.is_some() {
            return;
        }
        // An object that is back is compared with its rows before it was gone.
        let before = gone.map(|gone| gone.before).or_else(|| self.reference(&object.key));
        let Some(before) = before.filter(|before| *before >= self.rules.min_rows) else { return };
        if self.lost(before, after) && !self.is_usual_loss(&shown, before, after) {
            verdict.found.push(fewer(object, &shown, before, after));
        }
    }

    /// The loss of a series is not repeated for each member, nor the loss of files in a directory as a loss of entries.
    fn drop_reported_by_group(&self, verdict: &mut Verdict) {
        let told: HashSet<String> = self
            .content
            .objects
            .iter()
            .filter(|object| is_group(&object.key))
            .map(|object| object.key.name())
            .filter(|series| {
                let found = verdict.found.iter().any(|f| f.kind == Kind::Rows && f.object == *series);
                found
                    || self.open(Kind::Rows, series).is_some_and(|open| !verdict.resolved.contains(&open.id))
            })
            .collect();
        if told.is_empty() {
            return;
        }
        let group = |key: &Key| series_of(key).or_else(|| files_of(key));
        let members = self.content.objects.iter().filter_map(|object| Some((object, group(&object.key)?)));
        let members: HashSet<String> = members
            .filter(|(_, group)| told.contains(&group.name()))
            .map(|(object, _)| object.key.name())
            .collect();
        // A known loss that has become worse is reported again.
        let again = |f: &Finding| self.open(Kind::Rows, &f.object).is_some();
        verdict.found.retain(|f| f.kind != Kind::Rows || !members.contains(&f.object) || again(f));
    }

    /// Whether a known loss has become so much worse that it must be reported again.
    fn is_worse(&self, left: u64, after: u64) -> bool {
        (after == 0 && left > 0) || (left >= self.rules.min_rows && self.lost(left, after))
    }

    /// Whether losses that left no more than this were accepted often enough.
    fn is_usual_loss(&self, shown: &str, before: u64, after: u64) -> bool {
        let accepted = self.past.accepted.iter().filter(|a| a.kind == Kind::Rows && a.object == shown);
        let mut left: Vec<u64> =
            accepted.filter(|a| a.before > 0).map(|a| scaled(before, a.remaining, a.before)).collect();
        left.sort_unstable();
        match left.get(USUAL - 1) {
            Some(left) => after > 0 && (*left <= self.rules.min_rows / FEW || !self.lost(*left, after)),
            None => false,
        }
    }

    /// The baseline of an object: the most rows in its recent counts since a loss was accepted.
    fn reference(&self, key: &Key) -> Option<u64> {
        let of = |key: &Key| self.past.objects.get(key).and_then(most);
        let own = of(key);
        match key.kind.as_str() {
            // It may have been an ordinary table before.
            PARTITIONED if !self.past.objects.contains_key(key) => {
                of(&Key { kind: "table".to_owned(), ..key.clone() }).max(self.members(key))
            }
            _ if is_group(key) && !self.past.objects.contains_key(key) => self.members(key),
            "table" => {
                let partitioned = Key { kind: PARTITIONED.to_owned(), ..key.clone() };
                if self.now.contains_key(&partitioned) { own } else { own.max(of(&partitioned)) }
            }
            _ => own,
        }
    }

    /// Rows of the members of a group, if the group itself has no past.
    fn members(&self, group: &Key) -> Option<u64> {
        let members = self.past.objects.iter().filter(|(key, past)| self.belongs(key, past, group));
        members.map(|(_, past)| past.counts.last().copied().unwrap_or(0)).reduce(|sum, rows| sum + rows)
    }

    fn belongs(&self, key: &Key, past: &PastObject, group: &Key) -> bool {
        if is_group(key) {
            return false;
        }
        if group.kind != PARTITIONED {
            return past.part_of.is_none() && series_of(key).as_ref() == Some(group);
        }
        let present = self.now.get(key).and_then(|object| object.part_of.as_deref());
        present.or_else(|| self.root(key, past)) == Some(group.name().as_str())
    }

    /// The partitioned table to which a missing object belonged.
    fn root<'r>(&'r self, key: &Key, past: &'r PastObject) -> Option<&'r str> {
        past.part_of.as_deref().or_else(|| self.roots.get(&pattern(&key.name())).copied())
    }

    /// Rows of a group's members that exist but are unreadable or excluded this time.
    fn unread(&self, group: &Key) -> u64 {
        if !is_group(group) || (self.content.omitted().is_empty() && self.content.excluded.is_empty()) {
            return 0;
        }
        let unread = |(key, past): &(&Key, &PastObject)| {
            !self.now.contains_key(key) && self.content.omits(key) && self.belongs(key, past, group)
        };
        let members = self.past.objects.iter().filter(unread);
        members.map(|(_, past)| past.counts.last().copied().unwrap_or(0)).sum()
    }

    /// Finds missing objects. If all objects of a schema are gone, the schema is reported. Unreadable objects are not
    /// missing.
    fn missing(&self, verdict: &mut Verdict) {
        let is_missing = |key: &Key| !self.now.contains_key(key) && !self.content.omits(key);
        let mut missing: Vec<_> = self.past.objects.iter().filter(|(key, _)| is_missing(key)).collect();
        if missing.is_empty() {
            return;
        }
        missing.sort_by_key(|(key, _)| *key);
        let fresh = self.content.objects.iter();
        let fresh = fresh.filter(|object| object.rows > 0 && !self.past.objects.contains_key(&object.key));
        let digests: HashSet<_> = fresh.map(|object| object.digest.to_bits()).collect();
        let patterns: HashSet<String> = self.now.keys().map(|key| pattern(&key.name())).collect();
        let mut without_rows = Vec::new();
        for (key, object) in missing {
            let shown = key.name();
            let rows = object.counts.last().copied().unwrap_or(0);
            // Objects with the same rows under a new name were renamed, not lost.
            let renamed = rows > 0 && digests.contains(&object.digest.to_bits());
            if renamed || self.open(Kind::Object, &shown).is_some() || self.is_reported_by_group(key, object)
            {
                continue;
            }
            if self.is_usual_end(&pattern(&shown), rows, &patterns) {
                continue;
            }
            if rows == 0 {
                without_rows.push(key);
            } else {
                verdict.found.push(self.gone(key, &shown, rows));
            }
        }
        verdict.found.extend(self.empty_gone(&without_rows));
    }

    /// Reports missing objects without rows in one line. Not after an accepted loss, because an emptied database is
    /// often created anew.
    fn empty_gone(&self, keys: &[&Key]) -> Option<Finding> {
        /// Names in the text.
        const FEW: usize = 5;
        let first = keys.first().filter(|_| !self.past.just_accepted)?;
        let shown = first.name();
        if keys.len() == 1 {
            return Some(self.gone(first, &shown, 0));
        }
        let mut named: Vec<String> = keys.iter().take(FEW).map(|key| name(&key.name())).collect();
        if keys.len() > FEW {
            named.push(format!("{} more", keys.len() - FEW));
        }
        let same_kind = keys.iter().all(|key| key.kind == first.kind);
        let what = count(keys.len(), if same_kind { &first.kind } else { "object" });
        let counted = counted(&first.kind, 0);
        Some(Finding {
            kind: Kind::Object,
            object: shown,
            before: 0,
            after: 0,
            text: format!("{what} without {counted} are gone: {}", named.join(", ")),
        })
    }

    /// Whether a missing object is judged as part of its group.
    fn is_reported_by_group(&self, key: &Key, object: &PastObject) -> bool {
        let there = |kind: &str| {
            let other = Key { kind: kind.to_owned(), ..key.clone() };
            self.now.contains_key(&other)
        };
        match key.kind.as_str() {
            PARTITIONED => return there("table"),
            "table" if there(PARTITIONED) => return true,
            // A single table is reported by its own name.
            _ if is_group(key) => return self.members_of(key) < 2 || self.unread(key) > 0,
            _ => {}
        }
        if let Some(root) = self.root(key, object) {
            return self.tables.contains(root);
        }
        let Some(series) = series_of(key) else { return false };
        if self.now.contains_key(&series) {
            // The oldest members expire. Any other missing one was removed.
            let oldest = self.oldest.get(&series);
            return oldest.zip(date_of(&key.name)).is_some_and(|(oldest, date)| date < *oldest);
        }
        self.past.objects.contains_key(&series) && self.members_of(&series) > 1
    }

    /// Number of earlier members of a series.
    fn members_of(&self, series: &Key) -> usize {
        self.members.get(series).copied().unwrap_or(0)
    }

    /// Whether the removal of objects with this name pattern and as many rows was accepted often enough. Not for the
    /// last one.
    fn is_usual_end(&self, pattern_of: &str, rows: u64, there: &HashSet<String>) -> bool {
        if pattern_of.contains('#') && !there.contains(pattern_of) {
            return false;
        }
        let accepted = self.past.accepted.iter();
        let accepted = accepted.filter(|a| a.kind == Kind::Object && pattern(&a.object) == pattern_of);
        let mut before: Vec<u64> = accepted.map(|a| a.before).collect();
        before.sort_unstable_by(|a, b| b.cmp(a));
        before.get(USUAL - 1).is_some_and(|most| rows <= most.saturating_mul(2).max(self.rules.min_rows))
    }

    fn gone(&self, key: &Key, shown: &str, rows: u64) -> Finding {
        let whole = !key.schema.is_empty() && !self.now.keys().any(|other| other.schema == key.schema);
        let of = if whole { format!(" (as is the whole of {})", name(&key.schema)) } else { String::new() };
        let (kind, counted) = (&key.kind, counted(&key.kind, rows));
        Finding {
            kind: Kind::Object,
            object: shown.to_owned(),
            before: rows,
            after: 0,
            text: format!("{kind} {} with {rows} {counted} is gone{of}", name(shown)),
        }
    }

    /// Many tables, each with too few rows to be judged alone, are a loss if all of them are empty.
    fn whole(&self, verdict: &mut Verdict) {
        let single = |key: &Key| !is_group(key);
        let objects = self.content.objects.iter().filter(|object| single(&object.key));
        let after: u64 = objects.map(|object| object.rows).sum();
        if let Some(open) = self.open(Kind::Rows, "") {
            if after > 0 && !self.lost(open.before, after) {
                verdict.resolved.push(open.id);
            }
            return;
        }
        if after > 0 {
            return;
        }
        let gone = |shown: &str| {
            let found = verdict.found.iter().any(|f| f.kind == Kind::Object && f.object == shown);
            found || self.open(Kind::Object, shown).is_some()
        };
        let small = |(key, object): &(&Key, &PastObject)| {
            // Larger tables and partitions are already reported.
            let apart = single(key) && self.root(key, object).is_none();
            let few = most(object).is_some_and(|rows| rows > 0 && rows < self.rules.min_rows);
            apart && few && !self.content.omits(key) && !gone(&key.name())
        };
        let small: Vec<_> = self.past.objects.iter().filter(small).collect();
        let before: u64 = small.iter().filter_map(|(_, object)| most(object)).sum();
        let Some((key, _)) = small.first().filter(|_| before >= self.rules.min_rows) else { return };
        if self.lost(before, after) {
            let (tables, kind) = (small.len(), &key.kind);
            let text = format!("nothing is left of {before} {} in {tables} {kind}s", counted(kind, before));
            verdict.found.push(Finding { kind: Kind::Rows, object: String::new(), before, after, text });
        }
    }
}

fn most(object: &PastObject) -> Option<u64> {
    object.counts.iter().rev().take(COUNTS).max().copied()
}

/// The share `part` / `whole` of `rows`.
fn scaled(rows: u64, part: u64, whole: u64) -> u64 {
    let scaled = u128::from(rows) * u128::from(part) / u128::from(whole.max(1));
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

fn fewer(object: &Counted, shown: &str, before: u64, after: u64) -> Finding {
    let (kind, told) = reported_as(&object.key);
    Finding {
        kind: Kind::Rows,
        object: shown.to_owned(),
        before,
        after,
        text: format!(
            "{kind} {} had {before} {} and has {after} now ({})",
            name(&told),
            counted(&object.key.kind, before),
            percent(before, after)
        ),
    }
}

/// What is counted for objects of a kind. For a directory or share, all its entries.
fn counted(kind: &str, number: u64) -> &'static str {
    let (one, several) = match kind {
        "collection" | "collection series" => ("document", "documents"),
        "container" | "container files" => ("blob", "blobs"),
        "folder" | "share" => ("entry", "entries"),
        "folder files" | "share files" => ("file", "files"),
        _ => ("row", "rows"),
    };
    if number == 1 { one } else { several }
}

#[cfg(test)]
#[path = "losses_tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
