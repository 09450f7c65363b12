//! Times that the target's file system cannot store: it changes them without an error.

use std::path::Path;

use jiff::Timestamp;

use super::report::NAMED;
use crate::output::paths::{Listed, shown};

const SECOND: i128 = 1_000_000_000;
/// Smaller differences are due to the precision of the target, such as FAT with steps of two
/// seconds.
const OTHER: i128 = 2 * SECOND;

/// Compares the times that were set with those that were stored.
pub(super) struct Kept {
    other: Listed,
    coarse: u64,
}

impl Kept {
    pub(super) fn new() -> Self {
        Self { other: Listed::new(NAMED), coarse: 0 }
    }

    /// `kept` are the seconds and nanoseconds that the target reports after `wanted` was set.
    pub(super) fn compare(&mut self, wanted: Timestamp, kept: (i64, i64), path: &Path) {
        let kept = i128::from(kept.0) * SECOND + i128::from(kept.1);
        match (wanted.as_nanosecond() - kept).abs() {
            0 => {}
            difference if difference < OTHER => self.coarse += 1,
            _ => {
                let text = match Timestamp::from_nanosecond(kept) {
                    Ok(kept) => kept.to_string(),
                    Err(_) => "a time beyond the year 9999".to_owned(),
                };
                self.other.push(format!("{} (was {wanted}, is {text})", shown(path)));
            }
        }
    }

    /// The differences, as sentences.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.other.count() > 0 {
            let times = crate::output::count(self.other.count(), "modification time");
            notes
                .push(format!("the file system of the target cannot hold {times} as stored: {}", self.other));
        }
        if self.coarse > 0 {
            let differ = if self.coarse == 1 { "time differs" } else { "times differ" };
            notes.push(format!(
                "the file system of the target stores times less precisely: {} modification {differ} by less than two seconds",
                self.coarse
            ));
        }
        notes
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_was_clamped_is_told_from_what_was_rounded() {
        let time = |text: &str| text.parse::<Timestamp>().unwrap();
        let mut kept = Kept::new();
        kept.compare(time("1969-12-31T23:59:58.5Z"), (-2, 500_000_000), Path::new("same"));
        assert_eq!(kept.notes(), Vec::<String>::new());
        kept.compare(time("2001-02-03T04:05:06.7Z"), (981_173_106, 0), Path::new("whole seconds"));
        kept.compare(time("2001-02-03T04:05:07Z"), (981_173_106, 0), Path::new("fat"));
        assert_eq!(kept.notes().len(), 1);
        assert!(kept.notes()[0].contains("2 modification times differ by less"), "{:?}", kept.notes());
        kept.compare(time("1960-01-01T00:00:00Z"), (0, 0), Path::new("old"));
        kept.compare(time("2100-01-01T00:00:00Z"), (i64::from(i32::MAX), 0), Path::new("new"));
        kept.compare(time("2100-01-01T00:00:00Z"), (i64::MAX, 0), Path::new("odd"));
        let notes = kept.notes();
        assert!(notes[0].contains("cannot hold 3 modification times"), "{notes:?}");
        assert!(notes[0].contains("old (was 1960-01-01T00:00:00Z, is 1970-01-01T00:00:00Z)"), "{notes:?}");
        assert!(notes[0].contains("new (was 2100-01-01T00:00:00Z, is 2038-01-19T03:14:07Z)"), "{notes:?}");
        assert!(notes[0].contains("odd (was 2100-01-01T00:00:00Z, is a time beyond"), "{notes:?}");
    }
}
