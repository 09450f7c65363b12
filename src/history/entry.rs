//! Helpers for building an entry of the ledger.

use jiff::Zoned;

use super::{
    hex,
    ledger::{Entry, Problem, ProblemKind, Shared, State, StateCount, Summary},
    omitted::Lacking,
    read::{Doubt, Stored},
    zoned,
};
use crate::{error::Error, output, source::manifest::Omitted};

impl Entry {
    /// An empty entry.
    pub(crate) fn blank(source: &str, item: Option<String>, kind: &str, state: State) -> Self {
        Self {
            source: source.to_owned(),
            item,
            kind: kind.to_owned(),
            state,
            since: None,
            why: None,
            problems: Vec::new(),
            held: false,
            last_backup: None,
            age_seconds: None,
            max_age_seconds: None,
            snapshot: None,
            snapshots: 0,
            last_proof: None,
            proof_age_seconds: None,
            restore_seconds: None,
            bytes: None,
            rows: None,
            seconds: None,
            trend: Vec::new(),
            notes: Vec::new(),
            omitted: 0,
            next: None,
        }
    }

    /// Adds a problem.
    pub(super) fn problem(
        &mut self,
        kind: ProblemKind,
        since: Option<Zoned>,
        text: String,
        hint: Option<String>,
    ) {
        self.problems.push(Problem { kind, since, text, hint, items: None, shared: None });
    }

    /// Sets the shared cause of the last problem.
    pub(super) fn shares(&mut self, shared: Shared) {
        if let Some(last) = self.problems.last_mut() {
            last.shared = Some(shared);
        }
    }

    /// Whether it should be backed up. False for a source itself.
    fn is_expected(&self) -> bool {
        self.item.is_some() && !matches!(self.state, State::Vanished | State::Excluded | State::Unconfigured)
    }

    /// Marks it as new: found recently, and no run of its source is late since.
    pub(super) fn mark_new(&mut self, since: Zoned) {
        self.state = State::New;
        self.since = Some(since);
        self.why = Some("new: no run of its source is late since it was found".to_owned());
    }

    /// Sets the state to that of its worst problem.
    pub(super) fn settle(&mut self) {
        let worst = self.problems.iter().min_by_key(|problem| state_of(problem.kind));
        if let Some(worst) = worst {
            self.state = state_of(worst.kind);
            self.since = worst.since.clone();
            self.why = worst.text.lines().next().map(str::to_owned);
        }
    }
}

fn state_of(kind: ProblemKind) -> State {
    match kind {
        ProblemKind::Failed
        | ProblemKind::Repository
        | ProblemKind::History
        | ProblemKind::Damage
        | ProblemKind::SnapshotsGone => State::Failed,
        ProblemKind::NeverBackedUp => State::NeverBackedUp,
        ProblemKind::Late => State::Late,
        ProblemKind::Unchecked => State::Unchecked,
        ProblemKind::Partial => State::Partial,
        ProblemKind::Anomaly | ProblemKind::FutureSnapshot => State::Suspicious,
        ProblemKind::Vanished => State::Vanished,
        ProblemKind::Excluded => State::Excluded,
        ProblemKind::NotProven => State::NotProven,
    }
}

/// The source no longer has it. This is a problem until an operator accepts it; the last snapshots are kept in any
/// case.
pub(super) fn gone(entry: &mut Entry, moment: i64, since: Option<Zoned>, doubts: &[Doubt]) {
    let kept = match entry.snapshots {
        0 => "there is no snapshot of it".to_owned(),
        1 => "its last snapshot is kept".to_owned(),
        n => format!("its last {n} snapshots are kept"),
    };
    entry.state = State::Vanished;
    entry.since.clone_from(&since);
    match doubts.iter().find(|doubt| doubt.gone) {
        Some(doubt) => {
            let hint = format!(
                "if this change is intended: `tik-backup accept '{}'`; {kept} in any case",
                entry.name()
            );
            entry.problem(ProblemKind::Vanished, since, doubt.text.clone(), Some(hint));
            // An item that was probably renamed is reported by itself, with its new name.
            if doubt.object.is_empty() {
                entry.shares(gone_together(&entry.source, moment));
            }
            entry.why = Some(doubt.text.clone());
        }
        None => entry.why = Some(kept),
    }
}

/// The shared cause of items missing since the same listing of a source.
fn gone_together(source: &str, moment: i64) -> Shared {
    Shared {
        key: format!("vanished {source} {moment}"),
        text: "the source no longer has them: dropped, renamed, or not visible to the account that is used".to_owned(),
        hint: Some(
            "if this change is intended: `tik-backup accept 'SOURCE/ITEM'`; the last snapshots of each are kept in any case"
                .to_owned(),
        ),
    }
}

/// The shared cause of items excluded by one rule since the same listing of a source.
pub(super) fn excluded_together(source: &str, moment: i64, rule: &str) -> Shared {
    Shared {
        key: format!("excluded {source} {moment} {rule}"),
        text: format!("the source still has them, and they are no longer backed up: {rule}"),
        hint: Some("if this is intended: `tik-backup accept 'SOURCE/ITEM'`".to_owned()),
    }
}

/// The shared cause of late items.
pub(super) fn late_together() -> Shared {
    Shared {
        key: "late".to_owned(),
        text: "the newest snapshot of each is older than it should be".to_owned(),
        hint: Some(
            "check whether the timers run and what they say, or run `tik-backup backup 'SOURCE/ITEM'`"
                .to_owned(),
        ),
    }
}

/// Sets for each source that failed as a whole how many of its known items have no snapshot since the start of that run
/// (`began`, in milliseconds since 1970). A source is omitted if each of its items has the same failure: problems are
/// counted by items.
pub(super) fn count_unprotected(entries: &mut Vec<Entry>, began: impl Fn(&str) -> Option<i64>) {
    let failure = |entry: &Entry| {
        let failed = entry.problems.iter().find(|problem| problem.kind == ProblemKind::Failed);
        failed.map(|problem| problem.text.clone())
    };
    let mut told = Vec::new();
    for index in 0..entries.len() {
        let entry = &entries[index];
        let Some(text) = failure(entry).filter(|_| entry.item.is_none()) else { continue };
        let began = began(&entry.source);
        let is_open = |item: &&Entry| {
            let newest = item.last_backup.as_ref().map(super::millis);
            let is_after = newest.is_some_and(|newest| began.is_some_and(|began| newest >= began));
            item.source == entry.source && item.is_expected() && !is_after
        };
        let open: Vec<&Entry> = entries.iter().filter(is_open).collect();
        if open.is_empty() {
            continue;
        }
        if open.iter().all(|item| failure(item).as_ref() == Some(&text)) {
            told.push(entry.source.clone());
            continue;
        }
        let number = open.len() as u64;
        for problem in &mut entries[index].problems {
            if problem.kind == ProblemKind::Failed {
                problem.items = Some(number);
            }
        }
    }
    entries.retain(|entry| entry.item.is_some() || !told.contains(&entry.source));
}

/// The newest snapshot lacks objects. This is a problem until an operator accepts it; after that it is shown as a note.
pub(super) fn lacks(entry: &mut Entry, lacking: &Lacking, since: Option<Zoned>) {
    if lacking.open == 0 {
        let named = Omitted::listed(&lacking.few, lacking.count);
        entry.notes.push(format!("the backup lacks unreadable objects, which was accepted: {named}"));
        return;
    }
    let error = crate::outcome::partial_error(&entry.name(), &lacking.few, lacking.open);
    let hint = error.hint_text().map(str::to_owned);
    entry.problem(ProblemKind::Partial, since, error.summary(), hint);
}

/// Snapshots that are dated in the future. Their age is unknown, so they do not count as recent.
pub(super) fn ahead(entry: &mut Entry, stored: &Stored, now: &Zoned) {
    let Some(ahead) = &stored.ahead else { return };
    let error = from_the_future(
        &entry.name(),
        FromTheFuture {
            ahead: ahead.count,
            all: stored.count,
            id: &hex(&ahead.id)[..8],
            last: &zoned(ahead.time),
            now,
        },
    );
    entry.held = true;
    let hint = error.hint_text().map(str::to_owned);
    entry.problem(ProblemKind::FutureSnapshot, None, error.summary(), hint);
}

/// Snapshots of an item that are dated in the future.
pub(crate) struct FromTheFuture<'a> {
    /// Their number.
    pub(crate) ahead: u64,
    /// Number of all snapshots of the item.
    pub(crate) all: u64,
    /// The short id of the last of them.
    pub(crate) id: &'a str,
    /// Its date.
    pub(crate) last: &'a Zoned,
    /// The time of this machine's clock.
    pub(crate) now: &'a Zoned,
}

/// The error, the same wherever it is reported. A single such snapshot was made while a clock was wrong. If there are
/// several, or if all are such, this machine's clock may be behind and the snapshots good: then no command is named
/// that removes them.
pub(crate) fn from_the_future(item: &str, found: FromTheFuture<'_>) -> Error {
    let FromTheFuture { ahead, all, id, last, now } = found;
    let (last, now, name) = (output::time(last), output::time(now), output::name(item));
    let none = if ahead < all { "" } else { "; there is no other, so the age of the backup is unknown" };
    if ahead == 1 && ahead < all {
        let text = format!(
            "snapshot {id} is dated in the future, {last}: a clock was wrong when it was made, or this one is now"
        );
        return Error::failed(text).hint(format!(
            "check that the clock is right; then run `tik-backup backup '{name}'`, and `tik-backup forget '{name}' --id {id}` \
             shows and removes it; until then no older snapshot is removed"
        ));
    }
    let text = match ahead {
        1 => format!("snapshot {id} is dated in the future, {last}"),
        n => format!("{n} snapshots are dated in the future, the last, {id}, of {last}"),
    };
    Error::failed(format!("{text}: perhaps the clock of this machine is behind, it says {now}{none}")).hint(format!(
        "set the clock of this machine if it is wrong: then they are good, and nothing else is to be done. If it is right, a \
         clock was wrong when they were made: see \"A snapshot dated in the future\" in docs/status.md; until then no snapshot of \
         {name} is removed"
    ))
}

/// Counts of the ledger.
pub(super) fn summarise(items: &[Entry]) -> Summary {
    let mut summary = Summary::default();
    for entry in items {
        summary.problems += entry.problems.len() as u64;
        if entry.item.is_none() {
            continue;
        }
        summary.items += 1;
        let expected = !matches!(entry.state, State::Vanished | State::Excluded | State::Unconfigured);
        if expected {
            let has = |kind| entry.problems.iter().any(|problem| problem.kind == kind);
            summary.expected += 1;
            // The age of a snapshot dated in the future is unknown.
            let in_time = entry.last_backup.is_some() && !has(ProblemKind::Late);
            summary.backed_up += u64::from(in_time);
            summary.proven += u64::from(entry.last_proof.is_some() && !has(ProblemKind::NotProven));
        }
    }
    (summary.restore_seconds, summary.restore_unmeasured) = restore_all(items);
    for state in State::ALL {
        let count = items.iter().filter(|entry| entry.item.is_some() && entry.state == state).count();
        if count > 0 {
            summary.states.push(StateCount { state, items: count as u64 });
        }
    }
    summary
}

/// Time to restore all expected items, and the number of items without a measurement.
fn restore_all(items: &[Entry]) -> (Option<f64>, u64) {
    let gone = |entry: &&Entry| {
        entry.snapshots > 0 && !matches!(entry.state, State::Vanished | State::Excluded | State::Unconfigured)
    };
    let (mut seconds, mut bytes, mut rest, mut unmeasured) = (0.0, 0, 0, 0);
    for entry in items.iter().filter(gone) {
        let size = entry.bytes.unwrap_or(0);
        match entry.restore_seconds {
            Some(took) => {
                seconds += took;
                bytes += size;
            }
            None => {
                rest += size;
                unmeasured += 1;
            }
        }
    }
    if seconds <= 0.0 || bytes == 0 {
        return (None, unmeasured);
    }
    (Some(seconds + rest as f64 * seconds / bytes as f64), unmeasured)
}

/// An age in seconds in readable form, in a suitable unit.
pub(super) fn days(seconds: i64) -> String {
    let (count, unit) = match seconds {
        ..=119 => (seconds, "second"),
        120..=7_199 => (seconds / 60, "minute"),
        7_200..=172_799 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {}", crate::output::plural(count.unsigned_abs(), unit))
}
