//! Messages about a storage that does not answer.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// A failing operation is reported after this time, and again each time the duration has doubled.
const TELL_AFTER: Duration = Duration::from_secs(3);
/// The same for an operation that has neither failed nor ended: a large file over a slow connection takes long.
pub(super) const TELL_SILENT_AFTER: Duration = Duration::from_secs(60);

/// A running storage operation.
pub(super) struct Operation {
    pub(super) begun: Instant,
    /// When it first failed, and its last error.
    pub(super) failed: Option<(Instant, String)>,
}

/// The reports about the present outage.
pub(super) struct Reporter {
    pub(super) limit: Duration,
    /// When it began, and its duration at the last report.
    pub(super) told: Option<(Instant, Duration)>,
}

impl Reporter {
    /// The message to print now. `recovered` means that a failed operation has finally succeeded.
    pub(super) fn look(&mut self, operations: &BTreeMap<u64, Operation>, recovered: bool) -> Option<String> {
        // The one that has been failing longest, or else the slowest one.
        let failing =
            operations.values().filter_map(|operation| operation.failed.as_ref()).min_by_key(|f| f.0);
        let slowest = operations.values().map(|operation| operation.begun).min();
        let (since, after, error) = match (failing, slowest) {
            (Some((since, error)), _) => (*since, TELL_AFTER, Some(error)),
            (None, Some(begun)) if begun.elapsed() >= TELL_SILENT_AFTER => (begun, TELL_SILENT_AFTER, None),
            _ => {
                let (since, _) = self.told.take()?;
                // Abandoned or refused: the caller reports that. The success of another operation does not end the outage.
                return recovered
                    .then(|| format!("the storage answers again after {}", spoken(since.elapsed())));
            }
        };
        let lasted = since.elapsed();
        let next = self.told.map_or(after, |(_, told)| told * 2);
        if lasted < next {
            return None;
        }
        self.told = Some((since, lasted));
        let lasted = spoken(lasted);
        Some(match error {
            Some(error) => format!(
                "the storage does not answer, trying again, {lasted} of at most {}: {error}",
                spoken(self.limit)
            ),
            None => format!("the storage has taken {lasted} for one operation and has not answered yet"),
        })
    }
}

/// A rounded duration for people.
pub(super) fn spoken(time: Duration) -> String {
    match time.as_secs_f64().round() as u64 {
        seconds @ 0..=99 => format!("{seconds} s"),
        seconds => format!("{} min", (seconds + 30) / 60),
    }
}
