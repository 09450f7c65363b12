//! `[anomalies]`: what counts as a change that somebody should look at.

use std::time::Duration;

use crate::settings::reader::Reader;

/// When a backup differs so much from those before it that its item's older snapshots are held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnomalyRules {
    /// A table that lost more than this part of its rows, in percent; 0 for never.
    pub rows_lost: u8,
    /// Tables that had fewer rows than this are not looked at.
    pub min_rows: u64,
    /// A backup that lost more than this part of its usual size, in percent; 0 for never.
    pub size_lost: u8,
    /// Items whose usual size, in bytes, is smaller are not looked at.
    pub min_size: u64,
    /// Whether a table or schema that is no longer there counts.
    pub vanished: bool,
    /// Content that stayed the same for longer than this, and for unusually long; zero for never.
    pub unchanged: Duration,
}

impl Default for AnomalyRules {
    fn default() -> Self {
        Self {
            rows_lost: 50,
            min_rows: 100,
            size_lost: 50,
            min_size: 64 << 10,
            vanished: true,
            unchanged: Duration::from_secs(7 * 86_400),
        }
    }
}

/// Reads a table of rules; what it leaves out is taken from `base`, or from the defaults.
pub(super) fn read(mut reader: Reader<'_>, base: Option<&AnomalyRules>) -> AnomalyRules {
    let mut rules = base.cloned().unwrap_or_default();
    for (key, field) in [("rows_lost", &mut rules.rows_lost), ("size_lost", &mut rules.size_lost)] {
        if let Some(percent) = reader.integer(key, 0..=99).and_then(|percent| percent.try_into().ok()) {
            *field = percent;
        }
    }
    if let Some(rows) = reader.integer("min_rows", 0..=i64::MAX).and_then(|rows| rows.try_into().ok()) {
        rules.min_rows = rows;
    }
    if let Some(size) = reader.size("min_size", 0..=u64::MAX) {
        rules.min_size = size;
    }
    rules.vanished = reader.boolean("vanished", rules.vanished);
    let longest = Duration::from_secs(10 * 365 * 86_400);
    if let Some(unchanged) = reader.duration("unchanged", Duration::ZERO..=longest) {
        rules.unchanged = unchanged;
    }
    reader.finish();
    rules
}
