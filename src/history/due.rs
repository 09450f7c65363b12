//! Determines when the newest snapshot of an item is too old.

use std::{cell::RefCell, time::Duration};

use jiff::Zoned;

use crate::{calendar::Calendar, config::SourceConfig};

/// The default interval, and the minimum for an interval derived from snapshots.
const DAY: Duration = Duration::from_secs(86_400);

/// The longest interval of a yearly schedule.
const YEAR: Duration = Duration::from_secs(366 * 86_400);

/// A schedule that is next due later than this counts as ended. It is also the longest `max_age`, and more than the
/// eight years between two leap days around 2100.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);

/// When an item is late.
#[derive(Debug, Clone)]
pub(crate) enum Due<'c> {
    /// From this age on, regardless of a schedule.
    Age(Duration),
    /// More than half an interval after it was due; with a cache of the last result, which applies to all items of one
    /// run.
    Schedule(&'c Calendar, RefCell<Option<Answer>>),
}

impl<'c> Due<'c> {
    /// The configured rule of a source; `None` if there is none.
    pub(super) fn of(source: &'c SourceConfig) -> Option<Self> {
        match (source.max_age, &source.schedule) {
            (Some(age), _) => Some(Self::Age(age)),
            (None, Some(calendar)) => Some(Self::Schedule(calendar, RefCell::default())),
            (None, None) => None,
        }
    }

    /// The rule derived from the times of an item's snapshots (in milliseconds since 1970, ascending): one and a half
    /// times the usual interval, a day at least.
    pub(super) fn usual(times: &[i64]) -> Self {
        let mut gaps: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        gaps.sort_unstable();
        let usual = gaps.get(gaps.len() / 2).copied().unwrap_or(0);
        let usual = Duration::from_millis(usual.try_into().unwrap_or(0)).max(DAY);
        Self::Age(usual + usual / 2)
    }

    /// Whether the schedule does not apply to a snapshot taken `now`: see [`Due::max_age`].
    pub(crate) fn is_silent(calendar: &Calendar, now: &Zoned) -> bool {
        Due::Schedule(calendar, RefCell::default()).max_age(now).is_none()
    }

    /// The age from which a snapshot taken at `taken` is too old; `None` if the schedule has ended or not begun, so
    /// that the age without a schedule applies.
    pub(super) fn max_age(&self, taken: &Zoned) -> Option<Duration> {
        match self {
            Self::Age(age) => Some(*age),
            Self::Schedule(calendar, last) => {
                let mut last = last.borrow_mut();
                let answer = match last.as_ref().filter(|answer| answer.is_of(taken)) {
                    Some(answer) => answer,
                    None => last.insert(Answer::of(calendar, taken)),
                };
                let half = answer.half?;
                answer
                    .due
                    .as_ref()
                    .map(|due| until(taken, due) + half)
                    .filter(|limit| *limit <= LONGEST + half)
            }
        }
    }
}

/// The limits for snapshots taken from one time of a schedule until the next.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// The time before, if any.
    from: Option<Zoned>,
    /// The time after, if any.
    due: Option<Zoned>,
    /// Half an interval; `None` if the schedule does not apply.
    half: Option<Duration>,
}

impl Answer {
    fn of(calendar: &Calendar, taken: &Zoned) -> Self {
        let (from, due) = (calendar.previous(taken), calendar.next(taken));
        let half = match (&from, &due) {
            // An interval above a year is accepted only for a recurring schedule, such as one for leap days.
            (Some(from), Some(due)) if until(from, due) > YEAR && calendar.next(due).is_none() => None,
            (Some(_), Some(due)) => Some(calendar.interval(due).unwrap_or(DAY) / 2),
            // It has ended; or it has not begun and does not apply to existing snapshots.
            _ => None,
        };
        Self { from, due, half }
    }

    fn is_of(&self, taken: &Zoned) -> bool {
        self.from.as_ref().is_none_or(|from| from <= taken) && self.due.as_ref().is_none_or(|due| taken < due)
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
        // Of some days only: as long as it has begun and is not over.
        assert_eq!(max_age("2026-11-22..26 02:00"), Some(36 * HOUR));
        assert_eq!(max_age("2026-11-24,25 02:00"), Some(36 * HOUR));
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
