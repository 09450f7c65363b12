//! The schedules of the configuration with the next times of each.

use jiff::Zoned;
use serde::{Serialize, Serializer};

use crate::{calendar::Calendar, config::Config, history::Due};

/// Number of times that are shown for each schedule.
const SHOWN: usize = 3;

/// A schedule of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Planned {
    /// What it starts: `backup`, `drill`, `check`, `prune` or `watch`.
    pub what: &'static str,
    /// The source that is backed up; absent for jobs that concern all sources.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The expression as configured.
    pub schedule: String,
    /// The next times, at most three; none for a schedule whose last time has passed.
    #[serde(serialize_with = "rfc_3339")]
    pub next: Vec<Zoned>,
    /// Whether the default age decides when items are late, as without a schedule, because the next time is too far away.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub late_by_default: bool,
}

fn rfc_3339<S: Serializer>(times: &[Zoned], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(times.iter().map(crate::moment::rfc3339))
}

impl Planned {
    fn of(what: &'static str, source: Option<&str>, schedule: &Calendar, now: &Zoned) -> Self {
        Self {
            what,
            source: source.map(str::to_owned),
            schedule: schedule.to_string(),
            next: schedule.upcoming(now, SHOWN),
            late_by_default: false,
        }
    }

    /// What it starts, in words: `backup of pg`, `drill`.
    pub fn title(&self) -> String {
        self.source
            .as_ref()
            .map_or_else(|| self.what.to_owned(), |source| format!("{} of {source}", self.what))
    }
}

/// The schedules of all sources, then those of the jobs that concern all of them, with their times after `now`.
pub fn planned(config: &Config, now: &Zoned) -> Vec<Planned> {
    let backups = config.sources.iter().filter_map(|source| {
        let schedule = source.schedule.as_ref()?;
        let late_by_default = source.max_age.is_none() && Due::is_silent(schedule, now);
        Some(Planned { late_by_default, ..Planned::of("backup", Some(source.name.as_str()), schedule, now) })
    });
    let systemd = &config.systemd;
    let jobs = [
        ("drill", &systemd.drill),
        ("check", &systemd.check),
        ("prune", &systemd.prune),
        ("watch", &systemd.watch),
    ];
    let jobs = jobs.into_iter().filter_map(|(what, schedule)| {
        schedule.as_ref().map(|schedule| Planned::of(what, None, schedule, now))
    });
    backups.chain(jobs).collect()
}
