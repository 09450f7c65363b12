//! When the newest snapshot of an item is too old.

use std::{cell::RefCell, time::Duration};

use jiff::Zoned;

use crate::{config::SourceConfig, schedule::Calendar};

/// What is taken for the interval where nothing says otherwise, and the least that is made out from snapshots.
const DAY: Duration = Duration::from_secs(86_400);

/// The longest time between two moments of a schedule that comes every year.
const YEAR: Duration = Duration::from_secs(366 * 86_400);

/// A schedule that is due later than this is taken for one that has run out: no item may wait for it so long. It is also
/// the longest `max_age`, and more than the eight years between two leap days around 2100.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);

/// When an item is late.
#[derive(Debug, Clone)]
pub(crate) enum Due<'c> {
    /// From this age on.
    Age(Duration),
    /// By more than half an interval after it was due; with the last answer, which serves all items of one run.
    Schedule(&'c Calendar, RefCell<Option<(Zoned, Zoned, Duration)>>),
}

impl<'c> Due<'c> {
    /// What the configuration says of a source; `None` if nothing.
    pub(super) fn of(source: &'c SourceConfig) -> Option<Self> {
        match (source.max_age, &source.schedule) {
            (Some(age), _) => Some(Self::Age(age)),
            (None, Some(calendar)) => Some(Self::Schedule(calendar, RefCell::default())),
            (None, None) => None,
        }
    }

    /// What the moments of an item's snapshots (in milliseconds since 1970, ascending) say: half as much again as the
    /// usual time between two of them, a day at least.
    pub(super) fn usual(times: &[i64]) -> Self {
        let mut gaps: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        gaps.sort_unstable();
        let usual = gaps.get(gaps.len() / 2).copied().unwrap_or(0);
        let usual = Duration::from_millis(usual.try_into().unwrap_or(0)).max(DAY);
        Self::Age(usual + usual / 2)
    }

    /// Whether the schedule says nothing of what is taken `now`: see [`Due::max_age`].
    pub(crate) fn is_silent(calendar: &Calendar, now: &Zoned) -> bool {
        Due::Schedule(calendar, RefCell::default()).max_age(now).is_none()
    }

    /// The age from which a snapshot of `taken` is too old; `None` if the schedule has no further time, or has not begun, so
    /// that the age without a schedule counts.
    pub(super) fn max_age(&self, taken: &Zoned) -> Option<Duration> {
        match self {
            Self::Age(age) => Some(*age),
            Self::Schedule(calendar, last) => {
                let mut last = last.borrow_mut();
                if let Some((_, due, half)) =
                    last.as_ref().filter(|(from, due, _)| from <= taken && taken < due)
                {
                    return Some(until(taken, due) + *half);
                }
                let due = calendar.next(taken).filter(|due| until(taken, due) <= LONGEST)?;
                // Before its first time a schedule with a year says nothing of what is there already.
                let from = calendar.previous(taken)?;
                // After a year and more only what comes again and again may be waited for, as a leap day.
                if until(&from, &due) > YEAR && calendar.next(&due).is_none() {
                    return None;
                }
                let half = calendar.interval(&due).unwrap_or(DAY) / 2;
                let limit = until(taken, &due) + half;
                // The same is true of all that was taken since the moment before.
                *last = Some((from, due, half));
                Some(limit)
            }
        }
    }
}

fn until(taken: &Zoned, due: &Zoned) -> Duration {
    Duration::try_from(taken.duration_until(due)).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn max_age(schedule: &str) -> Option<Duration> {
        let calendar: Calendar = schedule.parse().unwrap();
        let taken: Zoned = "2026-11-24T02:00:00+00:00[UTC]".parse().unwrap();
        Due::Schedule(&calendar, RefCell::default()).max_age(&taken)
    }

    #[test]
    fn what_is_due_again_is_late_after_half_an_interval() {
        assert_eq!(max_age("02:00"), Some(36 * HOUR));
        assert_eq!(max_age("Tue 02:00"), Some(10 * 24 * HOUR + 12 * HOUR));
        // The last time of one that has begun: half a week after it, as the times before are a week apart.
        assert_eq!(max_age("2026-11-24,1 02:00"), None);
        assert_eq!(max_age("2026-11,12-17,24,1 02:00"), Some((7 * 24 + 7 * 12) * HOUR));
    }

    #[test]
    fn a_schedule_that_has_run_out_or_comes_after_many_years_says_nothing() {
        assert_eq!([max_age("2026-01-01 02:00"), max_age("2150-01-01 02:00")], [None, None]);
        assert!(max_age("*-02-29 02:00").is_some());
        assert!(max_age("*-01-01 02:00").is_some());
    }

    #[test]
    fn what_is_to_begin_on_a_date_says_nothing_of_the_snapshots_before_it() {
        for schedule in
            ["2026-12-01 02:00", "2035-06-01 02:00", "2028..2040-*-* 02:00", "2020,2035-06-01 02:00"]
        {
            assert_eq!(max_age(schedule), None, "{schedule}");
        }
        assert_eq!(max_age("2026..2040-*-* 02:00"), Some(36 * HOUR));
    }
}
