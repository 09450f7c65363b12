//! The report of a drill.

use std::time::Instant;

use jiff::Zoned;
use serde::Serialize;

use crate::{
    alert::Delivery,
    error::{Error, Kind},
    history::ledger::{Entry, Ledger},
    outcome::{Outcome, Verdict, new_run_name},
    repository::Snapshot,
    source::verify::{Fault, Proof},
};

impl Verdict {
    /// The verdict on a snapshot before it is proven.
    pub(super) fn undecided(snapshot: &Snapshot, ledger: &Ledger) -> Self {
        let now = Zoned::now();
        // A snapshot dated in the future has no age.
        let age = (now.timestamp().as_second() - snapshot.time.timestamp().as_second()).max(0);
        let known =
            |entry: &&Entry| entry.source == snapshot.source && entry.item.as_deref() == Some(&snapshot.item);
        let entry = ledger.items.iter().find(known);
        let newest = entry.and_then(|entry| entry.snapshot.as_deref());
        let fresh = is_fresh(snapshot, newest, entry.and_then(|entry| entry.max_age_seconds));
        Self {
            source: snapshot.source.clone(),
            item: snapshot.item.clone(),
            kind: snapshot.kind.clone(),
            outcome: Outcome::Unproven,
            snapshot: snapshot.id.clone(),
            time: snapshot.time.clone(),
            age_seconds: age,
            fresh,
            restore_seconds: None,
            seconds: 0.0,
            objects: 0,
            rows: 0,
            bytes: 0,
            differences: Vec::new(),
            error: None,
            notes: Vec::new(),
        }
    }

    pub(super) fn decide(&mut self, proven: Result<Proof, Fault>) {
        match proven {
            Ok(proof) => {
                self.outcome = Outcome::Proven;
                self.restore_seconds = proof.restore.map(|time| rounded(time.as_secs_f64()));
                self.objects = proof.objects;
                self.rows = proof.rows;
                self.bytes = proof.bytes;
                self.notes = proof.notes;
            }
            Err(Fault::Differs(differences)) => {
                self.outcome = Outcome::Failed;
                self.differences = differences;
            }
            Err(Fault::Failed(error)) => {
                self.outcome = Outcome::Failed;
                // Details may quote rows.
                let quotes = |line: &&str| {
                    !["DETAIL:", "CONTEXT:"].iter().any(|word| line.trim_start().starts_with(word))
                };
                self.error = Some(error.to_string().lines().filter(quotes).collect::<Vec<_>>().join("\n"));
            }
            Err(Fault::Cannot(error) | Fault::Refused(error)) => {
                self.outcome = Outcome::Unproven;
                self.error = Some(error.to_string());
            }
            // The kind does not ask for that again when the item runs alone.
            Err(Fault::Alone(databases)) => {
                self.outcome = Outcome::Unproven;
                let list: Vec<_> = databases.into_iter().collect();
                self.error = Some(format!("it refers to other databases: {}", list.join(", ")));
            }
        }
    }
}

/// Whether a snapshot is the newest of its item, and not older than the maximum age of a backup.
pub(super) fn is_fresh(snapshot: &Snapshot, newest: Option<&str>, max_age_seconds: Option<u64>) -> bool {
    let age = Zoned::now().timestamp().as_second() - snapshot.time.timestamp().as_second();
    !snapshot.is_ahead(jiff::Timestamp::now())
        && newest.is_none_or(|newest| newest == snapshot.id)
        && max_age_seconds.is_none_or(|limit| u64::try_from(age).unwrap_or(0) <= limit)
}

/// Seconds to the millisecond.
pub(super) fn rounded(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

/// An item that was not tried.
#[derive(Debug, Clone, Serialize)]
pub struct Left {
    /// Source name.
    pub source: String,
    /// Item name.
    pub item: String,
    /// Why.
    pub reason: String,
}

/// A finished drill. The field names are stable.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Name of the run.
    pub run: String,
    /// `ok`: all proven; `partial`: some; `failed`: none.
    pub outcome: &'static str,
    /// When it began.
    #[serde(with = "crate::moment")]
    pub started: Zoned,
    /// Its duration.
    pub seconds: f64,
    /// The items that were tried.
    pub items: Vec<Verdict>,
    /// The items that were not tried.
    pub left: Vec<Left>,
    /// The error that ended the drill as a whole.
    #[serde(serialize_with = "as_text")]
    pub error: Option<Error>,
    /// The results of sending alerts.
    pub alerts: Delivery,
    #[serde(skip)]
    clock: Instant,
}

fn as_text<S: serde::Serializer>(error: &Option<Error>, serializer: S) -> Result<S::Ok, S::Error> {
    error.as_ref().map(ToString::to_string).serialize(serializer)
}

impl Report {
    pub(super) fn begin() -> Self {
        Self {
            run: new_run_name(),
            outcome: "failed",
            started: Zoned::now(),
            seconds: 0.0,
            items: Vec::new(),
            left: Vec::new(),
            error: None,
            alerts: Delivery::default(),
            clock: Instant::now(),
        }
    }

    pub(super) fn finish(&mut self) {
        self.seconds = rounded(self.clock.elapsed().as_secs_f64());
        self.items.sort_by(|a, b| (&a.source, &a.item).cmp(&(&b.source, &b.item)));
        let proven = self.proven();
        self.outcome = match (proven, self.items.len(), &self.error) {
            (all, items, None) if all == items => "ok",
            (0, _, _) => "failed",
            _ => "partial",
        };
    }

    /// How many items are proven.
    pub fn proven(&self) -> usize {
        self.items.iter().filter(|item| item.outcome == Outcome::Proven).count()
    }

    /// The exit code of the drill.
    pub fn exit_code(&self) -> u8 {
        match self.outcome {
            _ if self.error.as_ref().is_some_and(|error| error.kind() == Kind::Repository) => 4,
            "ok" if !self.alerts.failed.is_empty() => 1,
            "ok" => 0,
            "partial" => 3,
            _ => 1,
        }
    }
}
