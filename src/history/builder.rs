//! Builds the ledger from the history, the configuration and the clock.

use std::{collections::HashMap, time::Duration};

use jiff::Zoned;

use super::{
    History, Opened,
    due::Due,
    entry::{ahead, count_unprotected, days, excluded_together, gone, lacks, late_together, summarise},
    hex,
    ledger::{Entry, Ledger, Point, Problem, ProblemKind, RepositoryEntry, SourceEntry, State},
    millis,
    read::{Doubt, Read, Row, Stored, read},
    shared, unsigned, zoned,
};
use crate::{
    config::{Config, SourceConfig},
    error::{Problem as Recorded, Result},
    repository::{HostShare, foreign_hint},
};

/// Input for the ledger in addition to the history.
#[derive(Debug)]
pub struct LedgerInput<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// The current time.
    pub now: &'a Zoned,
    /// The result of the survey of the repository.
    pub repository: RepositoryEntry,
    /// Further notes.
    pub notes: Vec<String>,
}

impl History {
    /// Builds the ledger.
    pub fn ledger(&self, input: LedgerInput<'_>) -> Result<Ledger> {
        let LedgerInput { config, now, repository, notes } = input;
        let guess = config.sources.is_empty();
        let read = self.read(|tx| read(tx, guess, millis(now)))?;
        let is_blind = self.opened() == Opened::Memory;
        let due = config.sources.iter().filter_map(|source| Some((source.name.as_str(), Due::of(source)?)));
        let builder =
            LedgerBuilder { config, now, read: &read, now_millis: millis(now), due: due.collect(), is_blind };
        let mut items = builder.entries();
        if guess && items.is_empty() && repository.error.is_none() {
            items.push(nothing_at_all());
        }
        items.sort_by(|a, b| (&a.source, &a.item).cmp(&(&b.source, &b.item)));
        let sources: Vec<_> = config.sources.iter().map(|source| builder.source(source)).collect();
        let alerts = self.channels(&channel_kinds(config), now)?;
        let mut problems: Vec<Problem> = self.own_problem()?.into_iter().collect();
        problems.extend(self.damage_of_repository()?);
        problems.extend(self.snapshots_missed(config)?);
        let mut summary = summarise(&items);
        summary.problems += problems.len() as u64;
        summary.ok = summary.problems == 0
            && repository.error.is_none()
            && alerts.iter().all(|channel| channel.failing_since.is_none());
        Ok(Ledger {
            at: now.clone(),
            host: config.repository.host.clone(),
            summary,
            problems,
            items,
            sources,
            running: read.running,
            alerts,
            repository,
            notes,
        })
    }
}

/// The entry for a host that only watches and finds no snapshot, which is a problem.
fn nothing_at_all() -> Entry {
    let mut entry = Entry::blank("the repository", None, "", State::NeverBackedUp);
    let hint = "check that `repository.location` is right and that backups are written there";
    entry.problem(
        ProblemKind::NeverBackedUp,
        None,
        "it has no snapshot of this program".to_owned(),
        Some(hint.to_owned()),
    );
    entry.settle();
    entry
}

/// Adds the anomalies that are not accepted.
fn suspects(entry: &mut Entry, doubts: &[Doubt], since: impl Fn(i64) -> Option<Zoned>) {
    let Some(first) = doubts.first() else { return };
    let texts: Vec<_> = doubts.iter().take(5).map(|doubt| doubt.text.as_str()).collect();
    let more = doubts.len().saturating_sub(texts.len());
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    let hint = format!(
        "if this change is intended: `tik-backup accept '{}'`; until then no older snapshot is removed",
        entry.name()
    );
    let text = format!("{}{more}", texts.join("; "));
    entry.problem(ProblemKind::Anomaly, since(first.time), text, Some(hint));
}

/// Builds the entries.
struct LedgerBuilder<'a> {
    config: &'a Config,
    now: &'a Zoned,
    now_millis: i64,
    read: &'a Read,
    due: HashMap<&'a str, Due<'a>>,
    /// Only the repository is known, not a history.
    is_blind: bool,
}

impl LedgerBuilder<'_> {
    fn entries(&self) -> Vec<Entry> {
        let mut next = HashMap::new();
        for source in &self.config.sources {
            let due = source.schedule.as_ref().and_then(|calendar| calendar.next(self.now));
            next.insert(source.name.as_str(), due);
        }
        let mut entries: Vec<Entry> = Vec::with_capacity(self.read.rows.len());
        for row in &self.read.rows {
            // A source itself is shown only while it has a problem as a whole.
            if row.name.is_empty() && row.failed_since.is_none() {
                continue;
            }
            let mut entry = self.entry(row);
            entry.next = next.get(row.source.as_str()).cloned().flatten();
            entries.push(entry);
        }
        for source in &self.config.sources {
            let name = source.name.as_str();
            let seen = self.read.rows.iter().any(|row| row.source == name);
            if !seen && !self.read.busy_sources.iter().any(|busy| busy == name) {
                let mut entry = Entry::blank(name, None, source.kind.as_str(), State::NeverBackedUp);
                entry.why = Some("no run yet".to_owned());
                entry.next = next.get(name).cloned().flatten();
                let hint = self.with_other_hosts(
                    name,
                    format!("run `tik-backup backup {name}`, and check that its timer is enabled"),
                );
                let text = "this source has never been backed up".to_owned();
                entry.problem(ProblemKind::NeverBackedUp, None, text, Some(hint));
                entries.push(entry);
            }
        }
        count_unprotected(&mut entries, |source| {
            let row = self.read.rows.iter().find(|row| row.source == source && row.name.is_empty());
            row.and_then(|row| row.last_time)
        });
        entries
    }

    /// Extends the hint if this host has no snapshot but others have: this machine may replace another.
    fn with_other_hosts(&self, source: &str, advice: String) -> String {
        let shares = shared::shares(self.read.foreign.iter().filter(|foreign| foreign.source == source));
        if shares.is_empty() {
            return advice;
        }
        format!(
            "{advice}; other hosts have snapshots of this source: {}: {}",
            HostShare::list(&shares),
            foreign_hint(self.config, &format!("snapshots {source}"), &shares, false, false)
        )
    }

    fn entry(&self, row: &Row) -> Entry {
        let item = (!row.name.is_empty()).then(|| row.name.clone());
        let mut entry = Entry::blank(&row.source, item, &row.kind, State::Protected);
        let stored = self.read.stored.get(&row.id);
        if let Some(stored) = stored {
            if stored.is_credible() {
                entry.last_backup = Some(zoned(stored.newest));
                entry.age_seconds = Some((self.now_millis - stored.newest) / 1000);
            }
            entry.snapshot = Some(hex(&stored.id));
            entry.snapshots = stored.count;
            entry.bytes = Some(unsigned(row.bytes.unwrap_or(stored.bytes)));
            entry.omitted = self.read.omitted.get(&row.id).map_or(0, |lacking| lacking.count);
        }
        entry.rows = row.rows.map(unsigned);
        entry.seconds = row.good_millis.map(|millis| millis as f64 / 1000.0);
        entry.last_proof = row.proof_time.map(zoned);
        entry.proof_age_seconds = row.proof_time.map(|time| (self.now_millis - time) / 1000);
        entry.restore_seconds = row.restore_millis.map(|millis| millis as f64 / 1000.0);
        entry.notes =
            row.notes.as_deref().and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
        entry.trend = row
            .trend
            .iter()
            .map(|[time, bytes, took]| Point {
                time: zoned(time * 1000),
                bytes: unsigned(*bytes),
                seconds: *took as f64 / 1000.0,
            })
            .collect();
        let source = self.config.source(&row.source);
        let doubts = self.read.doubts.get(&row.id).map(Vec::as_slice).unwrap_or_default();
        entry.held = !doubts.is_empty() || row.unproven_since.is_some();
        if source.is_none() && !self.config.sources.is_empty() {
            entry.state = State::Unconfigured;
            entry.why = Some("its source is no longer in the configuration".to_owned());
            entry.held = false;
        } else if let Some(rule) = &row.excluded {
            entry.state = State::Excluded;
            entry.why = Some(rule.clone());
            if let Some(doubt) = doubts.iter().find(|doubt| doubt.gone) {
                let hint = format!("if this is intended: `tik-backup accept '{}'`", entry.name());
                entry.problem(ProblemKind::Excluded, self.moment(doubt.time), doubt.text.clone(), Some(hint));
                entry.shares(excluded_together(&row.source, doubt.time, rule));
            }
        } else if let Some(since) = row.gone_since {
            gone(&mut entry, since, self.moment(since), doubts);
        } else {
            self.judge(&mut entry, row, source, stored, doubts);
        }
        entry
    }

    /// Adds the problems of an item that should be backed up.
    fn judge(
        &self,
        entry: &mut Entry,
        row: &Row,
        source: Option<&SourceConfig>,
        stored: Option<&Stored>,
        doubts: &[Doubt],
    ) {
        if let Some(since) = row.failed_since {
            let Recorded { text, hint } = row.error.clone().unwrap_or_else(|| Recorded::new("failed"));
            entry.problem(ProblemKind::Failed, self.moment(since), text, hint);
        }
        if row.name.is_empty() {
            entry.settle();
            return;
        }
        match stored {
            Some(stored) => self.judge_age(entry, row, stored),
            None => self.judge_missing(entry, row),
        }
        if let Some(reason) = &row.unchecked {
            let error = crate::outcome::unchecked_error(reason);
            let since = stored.and_then(|stored| self.moment(stored.newest));
            let hint = error.hint_text().map(str::to_owned);
            entry.problem(ProblemKind::Unchecked, since, error.summary(), hint);
        }
        if let Some(lacking) = self.read.omitted.get(&row.id).filter(|_| stored.is_some()) {
            lacks(entry, lacking, lacking.since.and_then(|since| self.moment(since)));
        }
        suspects(entry, doubts, |time| self.moment(time));
        self.judge_proof(entry, row, source);
        entry.settle();
    }

    /// Adds the problems of an item without a snapshot.
    fn judge_missing(&self, entry: &mut Entry, row: &Row) {
        if row.failed_since.is_some() {
            return;
        }
        if let Some(first_seen) = self.new_since(row) {
            entry.mark_new(first_seen);
            return;
        }
        if self.read.busy_sources.contains(&row.source) {
            return;
        }
        let text = if row.seen {
            "it was found, and there is no snapshot of it"
        } else {
            "there is no snapshot of it"
        };
        let hint = self.with_other_hosts(&row.source, format!("run `tik-backup backup '{}'`", entry.name()));
        let since = row.first_seen.map(zoned);
        entry.problem(ProblemKind::NeverBackedUp, since, text.to_owned(), Some(hint));
    }

    /// Returns since when an item is new: found so recently that the next run of its source is not late yet. A run of a
    /// single item lists all items of a source. Items that were backed up or tried before are not new, nor are items
    /// that no source has reported. `None` if the clock was wrong then; the next listing of the source corrects that.
    fn new_since(&self, row: &Row) -> Option<Zoned> {
        if !row.seen || row.good_millis.is_some() || row.tried {
            return None;
        }
        let first_seen = row.first_seen?;
        let age = u128::try_from(self.now_millis - first_seen).unwrap_or(0);
        let since = zoned(first_seen);
        self.limit(row, &since).is_some_and(|limit| age <= limit.as_millis()).then_some(since)
    }

    /// A stored time, unless it is in the future because a clock was wrong.
    fn moment(&self, time: i64) -> Option<Zoned> {
        shared::credible(time, self.now_millis).map(zoned)
    }

    /// The age from which a snapshot taken at `taken` is too old: by the configuration of its source, or else (also for
    /// a schedule that has ended) by the usual interval between its snapshots.
    fn limit(&self, row: &Row, taken: &Zoned) -> Option<Duration> {
        let usual = || {
            let times = self.read.usual.get(&row.id).map(Vec::as_slice).unwrap_or_default();
            self.config.max_age.map_or_else(|| Due::usual(times), Due::Age).max_age(taken)
        };
        self.due.get(row.source.as_str()).and_then(|due| due.max_age(taken)).or_else(usual)
    }

    fn judge_age(&self, entry: &mut Entry, row: &Row, stored: &Stored) {
        ahead(entry, stored, self.now);
        if !stored.is_credible() {
            return;
        }
        let taken = zoned(stored.newest);
        let Some(limit) = self.limit(row, &taken) else { return };
        entry.max_age_seconds = Some(limit.as_secs_f64().round() as u64);
        let age = self.now_millis - stored.newest;
        if u64::try_from(age).unwrap_or(0) > limit.as_millis() as u64 {
            let text = format!(
                "the newest snapshot is {} old; it should not be older than {}",
                days(age / 1000),
                days((limit.as_secs_f64() / 60.0).round() as i64 * 60)
            );
            let hint = if self.config.sources.is_empty() {
                // A host that only watches cannot back it up.
                "check whether its timer runs on the host that backs it up, and what it says".to_owned()
            } else {
                let name = entry.name();
                format!("check whether its timer runs and what it says, or run `tik-backup backup '{name}'`")
            };
            let since = taken.checked_add(limit).ok();
            entry.problem(ProblemKind::Late, since, text, Some(hint));
            entry.shares(late_together());
        }
    }

    fn judge_proof(&self, entry: &mut Entry, row: &Row, source: Option<&SourceConfig>) {
        if entry.snapshots == 0 {
            return;
        }
        let drill = format!("`tik-backup drill '{}'`", entry.name());
        if let Some(since) = row.unproven_since {
            let found = row.unproven_text.clone().unwrap_or_else(|| Recorded::new("it does not restore"));
            let advice = found.hint.map(|hint| format!("{hint}; ")).unwrap_or_default();
            let found = found.text;
            let text = format!("A DRILL FOUND THAT IT DOES NOT RESTORE AS IT WAS: {found}");
            let hint = format!(
                "{advice}inspect it with {drill}; until a newer snapshot is proven, no snapshot before that one is removed"
            );
            entry.problem(ProblemKind::NotProven, self.moment(since), text, Some(hint));
            return;
        }
        // Without a usable history, drills are unknown.
        if self.config.sources.is_empty() || self.is_blind {
            return;
        }
        let Some(limit) = source.map_or(self.config.max_proof_age, |source| source.max_proof_age) else {
            return;
        };
        // An item that was never proven gets `max_proof_age` from the time it was first seen; none if a clock was wrong
        // then.
        let since = row.proof_time.or(row.first_seen);
        let age = since.map(|since| u64::try_from(self.now_millis - since).unwrap_or(0));
        if age.is_some_and(|age| age <= limit.as_millis() as u64) {
            return;
        }
        let mut text = match entry.proof_age_seconds {
            Some(age) => format!("the last proven snapshot is {} old", days(age)),
            None => "it was never proven by a drill".to_owned(),
        };
        let mut hint = format!("run {drill}, and check that its timer is enabled");
        if let Some(reason) = &row.unprovable_text {
            text.push_str(&format!("; the last drill could not prove it: {}", reason.text));
            hint = reason.hint.as_ref().map_or(hint, |advice| format!("{advice}; then run {drill}"));
        }
        let since = since.and_then(|since| zoned(since).checked_add(limit).ok());
        entry.problem(ProblemKind::NotProven, since, text, Some(hint));
    }

    fn source(&self, config: &SourceConfig) -> SourceEntry {
        let name = config.name.as_str();
        let asked = self.read.sources.get(name);
        SourceEntry {
            source: name.to_owned(),
            kind: config.kind.as_str().to_owned(),
            schedule: config.schedule.as_ref().map(ToString::to_string),
            next: config.schedule.as_ref().and_then(|calendar| calendar.next(self.now)),
            last_run: self.last_run(name),
            last_discovery: asked.and_then(|asked| self.moment(asked.time)),
            discovered: asked.map_or(0, |asked| asked.items),
            excluded: asked.map_or(0, |asked| asked.excluded),
        }
    }
    fn last_run(&self, source: &str) -> Option<Zoned> {
        let row = self.read.rows.iter().find(|row| row.source == source && row.name.is_empty())?;
        row.last_time.map(zoned)
    }
}

/// Names and kinds of the configured channels.
fn channel_kinds(config: &Config) -> Vec<(String, &'static str)> {
    config.alerts.iter().map(|alert| (alert.name.clone(), alert.kind.as_str())).collect()
}
