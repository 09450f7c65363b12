//! Parts of drawing up an entry of the ledger.

use jiff::Zoned;

use super::{
    ledger::{Entry, Problem, ProblemKind, State, StateCount, Summary},
    omitted::Lacking,
    read::Stored,
    zoned,
};
use crate::{output, source::manifest::Omitted};

impl Entry {
    /// An entry of which nothing is known yet.
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
        self.problems.push(Problem { kind, since, text, hint });
    }

    /// It was found lately, and no run of its source is late since.
    pub(super) fn mark_new(&mut self, since: Zoned) {
        self.state = State::New;
        self.since = Some(since);
        self.why = Some("new: no run of its source is late since it was found".to_owned());
    }

    /// Takes the worst of its problems for its state.
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

/// The source no longer has it. That is a problem until somebody accepts it; the last snapshots are kept either way.
pub(super) fn gone<'a>(entry: &mut Entry, since: Zoned, doubts: impl Iterator<Item = (&'a str, bool)>) {
    let kept = match entry.snapshots {
        0 => "there is no snapshot of it".to_owned(),
        1 => "its last snapshot is kept".to_owned(),
        n => format!("its last {n} snapshots are kept"),
    };
    let mut open = doubts.filter(|(_, gone)| *gone);
    entry.state = State::Vanished;
    entry.since = Some(since.clone());
    match open.next() {
        Some((text, _)) => {
            let hint = format!(
                "if that is as it should be: `tik-backup accept '{}'`; {kept} in any case",
                entry.name()
            );
            entry.problem(ProblemKind::Vanished, Some(since), text.to_owned(), Some(hint));
            entry.why = Some(text.to_owned());
        }
        None => entry.why = Some(kept),
    }
}

/// The newest snapshot lacks objects. This is a problem until an operator accepts it; after that it is shown as a note.
pub(super) fn lacks(entry: &mut Entry, lacking: &Lacking) {
    if lacking.open == 0 {
        let named = Omitted::listed(&lacking.few, lacking.count);
        entry.notes.push(format!("the backup lacks what cannot be read, which was accepted: {named}"));
        return;
    }
    let error = crate::backup::partial_error(&entry.name(), &lacking.few, lacking.open);
    let hint = error.hint_text().map(str::to_owned);
    entry.problem(ProblemKind::Partial, lacking.since.map(zoned), error.summary(), hint);
}

/// Snapshots that are dated in the future. Their age is not known, and so they make nothing look well.
pub(super) fn ahead(entry: &mut Entry, stored: &Stored) {
    let Some(ahead) = &stored.ahead else { return };
    let id = &hex(&ahead.id)[..8];
    let last = output::time(&zoned(ahead.time));
    let mut text = match ahead.count {
        1 => format!(
            "snapshot {id} is dated in the future, {last}: a clock was wrong when it was made, or this one is now"
        ),
        n => format!(
            "{n} snapshots are dated in the future, the last, {id}, of {last}: a clock was wrong when they were made, or this \
             one is now"
        ),
    };
    if !stored.is_credible() {
        text.push_str("; there is no other, so that nobody knows how old the backup is");
    }
    let name = output::name(&entry.name());
    let hint = format!(
        "see that the clock is right; then run `tik-backup backup '{name}'`, and `tik-backup forget '{name}' --id {id}` shows and \
         removes it; until then no older snapshot is removed"
    );
    entry.held = true;
    entry.problem(ProblemKind::FutureSnapshot, None, text, Some(hint));
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
            // Of what is dated in the future nobody knows how old it is.
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

/// How long it takes to restore everything that is expected, and of how many items that is not known.
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

/// An age in seconds for people, in the unit that suits it.
pub(super) fn days(seconds: i64) -> String {
    let (count, unit) = match seconds {
        ..=119 => (seconds, "second"),
        120..=7_199 => (seconds / 60, "minute"),
        7_200..=172_799 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {}", crate::output::plural(count.unsigned_abs(), unit))
}

/// Bytes as hex digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
