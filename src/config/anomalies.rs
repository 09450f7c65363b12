//! `[anomalies]`: the thresholds from which a change is suspicious.

use std::time::Duration;

use crate::settings::reader::Reader;

/// Thresholds for the difference to earlier backups. Beyond them, older snapshots of the item are kept until the change is
/// accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnomalyRules {
    /// Percentage of its rows that a table may lose; 0 turns the check off.
    pub rows_lost: u8,
    /// Tables that had fewer rows than this are not checked.
    pub min_rows: u64,
    /// Percentage of its usual size that a backup may lose; 0 turns the check off.
    pub size_lost: u8,
    /// Items with a smaller usual size, in bytes, are not checked.
    pub min_size: u64,
    /// Whether a table or schema that vanished is suspicious.
    pub vanished: bool,
    /// How long content may stay unchanged, if that is unusual for the item; zero turns the check off.
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

/// Reads a table of rules; missing keys are taken from `base`, or from the defaults.
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
