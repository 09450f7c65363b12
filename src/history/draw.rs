//! Drawing up the ledger from the history, the configuration and the clock.

use std::{collections::HashMap, time::Duration};

use jiff::Zoned;

use super::{
    History,
    due::Due,
    entry::{ahead, days, gone, hex, lacks, summarise},
    ledger::{Entry, Ledger, Point, Problem, ProblemKind, RepositoryEntry, SourceEntry, State},
    millis,
    read::{Doubt, Read, Row, Stored, read},
    shared, unsigned, zoned,
};
use crate::{
    alert::channel_kinds,
    config::{Config, SourceConfig},
    error::Result,
    known::foreign_hint,
    repository::HostShare,
};

/// What the ledger needs to know that does not stand in the history.
#[derive(Debug)]
pub struct Look<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// The moment.
    pub now: &'a Zoned,
    /// What was found when the repository was asked.
    pub repository: RepositoryEntry,
    /// What else to say.
    pub notes: Vec<String>,
}

impl History {
    /// Draws up the ledger.
    pub fn ledger(&self, look: Look<'_>) -> Result<Ledger> {
        let Look { config, now, repository, notes } = look;
        let guess = config.sources.is_empty();
        let read = self.read(|tx| read(tx, guess, millis(now)))?;
        let due = config.sources.iter().filter_map(|source| Some((source.name.as_str(), Due::of(source)?)));
        let draw = Draw { config, now, read: &read, now_millis: millis(now), due: due.collect() };
        let mut items = draw.entries();
        if guess && items.is_empty() && repository.error.is_none() {
            items.push(nothing_at_all());
        }
        items.sort_by(|a, b| (&a.source, &a.item).cmp(&(&b.source, &b.item)));
        let sources: Vec<_> = config.sources.iter().map(|source| draw.source(source)).collect();
        let alerts = self.channels(&channel_kinds(config))?;
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

/// A host that only watches, and finds nothing: that is no good news.
fn nothing_at_all() -> Entry {
    let mut entry = Entry::blank("the repository", None, "", State::NeverBackedUp);
    let hint = "see that `repository.location` is right and that backups are written there";
    entry.problem(
        ProblemKind::NeverBackedUp,
        None,
        "it has no snapshot of this program".to_owned(),
        Some(hint.to_owned()),
    );
    entry.settle();
    entry
}

/// The anomalies that nobody has accepted.
fn suspects(entry: &mut Entry, doubts: &[Doubt]) {
    let Some(first) = doubts.first() else { return };
    let texts: Vec<_> = doubts.iter().take(5).map(|doubt| doubt.text.as_str()).collect();
    let more = doubts.len().saturating_sub(texts.len());
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    let hint = format!(
        "if that is as it should be: `tik-backup accept '{}'`; until then no older snapshot is removed",
        entry.name()
    );
    let text = format!("{}{more}", texts.join("; "));
    entry.problem(ProblemKind::Anomaly, Some(zoned(first.time)), text, Some(hint));
}

/// Draws the entries.
struct Draw<'a> {
    config: &'a Config,
    now: &'a Zoned,
    now_millis: i64,
    read: &'a Read,
    due: HashMap<&'a str, Due<'a>>,
}

impl Draw<'_> {
    fn entries(&self) -> Vec<Entry> {
        let mut next = HashMap::new();
        for source in &self.config.sources {
            let due = source.schedule.as_ref().and_then(|calendar| calendar.next(self.now));
            next.insert(source.name.as_str(), due);
        }
        let mut entries: Vec<Entry> = Vec::with_capacity(self.read.rows.len());
        for row in &self.read.rows {
            // A source itself is shown only while something is wrong with it as a whole.
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
                entry.problems.push(Problem {
                    kind: ProblemKind::NeverBackedUp,
                    since: None,
                    text: "this source has never been backed up".to_owned(),
                    hint: Some(self.or_of_another_host(
                        name,
                        format!("run `tik-backup backup {name}`, and see that its timer is on"),
                    )),
                });
                entries.push(entry);
            }
        }
        entries
    }

    /// What to do where this host has no snapshot: on a machine that replaces another, that one's are still there.
    fn or_of_another_host(&self, source: &str, advice: String) -> String {
        let shares = shared::shares(self.read.foreign.iter().filter(|foreign| foreign.source == source));
        let Some(first) = shares.first() else { return advice };
        format!(
            "{advice}; other hosts have snapshots of this source: {}: {}",
            HostShare::list(&shares),
            foreign_hint(&format!("snapshots {source}"), &first.host)
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
                let hint = format!("if that is meant: `tik-backup accept '{}'`", entry.name());
                entry.problem(ProblemKind::Excluded, Some(zoned(doubt.time)), doubt.text.clone(), Some(hint));
            }
        } else if let Some(since) = row.gone_since {
            let doubts = doubts.iter().map(|doubt| (doubt.text.as_str(), doubt.gone));
            gone(&mut entry, zoned(since), doubts);
        } else {
            self.judge(&mut entry, row, source, stored, doubts);
        }
        entry
    }

    /// What is wrong with an item that should be backed up.
    fn judge(
        &self,
        entry: &mut Entry,
        row: &Row,
        source: Option<&SourceConfig>,
        stored: Option<&Stored>,
        doubts: &[Doubt],
    ) {
        if let Some(since) = row.failed_since {
            let error = row.error.as_deref().unwrap_or("failed");
            let (text, hint) = match error.split_once("\n  → ") {
                Some((text, hint)) => (text, Some(hint.to_owned())),
                None => (error, None),
            };
            entry.problem(ProblemKind::Failed, Some(zoned(since)), text.to_owned(), hint);
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
            let error = crate::backup::unchecked_error(reason);
            let since = stored.map(|stored| zoned(stored.newest));
            let hint = error.hint_text().map(str::to_owned);
            entry.problem(ProblemKind::Unchecked, since, error.summary(), hint);
        }
        if let Some(lacking) = self.read.omitted.get(&row.id).filter(|_| stored.is_some()) {
            lacks(entry, lacking);
        }
        suspects(entry, doubts);
        self.judge_proof(entry, row, source);
        entry.settle();
    }

    /// What is wrong with an item of which there is no snapshot.
    fn judge_missing(&self, entry: &mut Entry, row: &Row) {
        if row.failed_since.is_some() {
            return;
        }
        if self.is_new(row) {
            entry.mark_new(zoned(row.first_seen));
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
        let hint =
            self.or_of_another_host(&row.source, format!("run `tik-backup backup '{}'`", entry.name()));
        let since = Some(zoned(row.first_seen));
        entry.problem(ProblemKind::NeverBackedUp, since, text.to_owned(), Some(hint));
    }

    /// Was it found so lately that the next backup of its source is not late yet? A run of another item finds all that a
    /// source has. What has been backed up before, or a run has tried, is not new, nor what no source has reported.
    fn is_new(&self, row: &Row) -> bool {
        if !row.seen || row.good_millis.is_some() || row.last_time.is_some() {
            return false;
        }
        if row.first_seen > shared::credible_until(self.now_millis) {
            // A clock was wrong then; the next answer of the source corrects it.
            return false;
        }
        let age = u128::try_from(self.now_millis - row.first_seen).unwrap_or(0);
        self.limit(row, &zoned(row.first_seen)).is_some_and(|limit| age <= limit.as_millis())
    }

    /// The age from which a snapshot of `taken` is too old: by the configuration of its source, or else, as for a schedule
    /// that has run out, by the usual time between its snapshots.
    fn limit(&self, row: &Row, taken: &Zoned) -> Option<Duration> {
        let usual = || {
            let times = self.read.usual.get(&row.id).map(Vec::as_slice).unwrap_or_default();
            self.config.max_age.map_or_else(|| Due::usual(times), Due::Age).max_age(taken)
        };
        self.due.get(row.source.as_str()).and_then(|due| due.max_age(taken)).or_else(usual)
    }

    fn judge_age(&self, entry: &mut Entry, row: &Row, stored: &Stored) {
        ahead(entry, stored);
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
            let hint = format!(
                "see whether its timer runs and what it says, or run `tik-backup backup '{}'`",
                entry.name()
            );
            let since = taken.checked_add(limit).ok();
            entry.problem(ProblemKind::Late, since, text, Some(hint));
        }
    }

    fn judge_proof(&self, entry: &mut Entry, row: &Row, source: Option<&SourceConfig>) {
        if entry.snapshots == 0 {
            return;
        }
        let drill = format!("`tik-backup drill '{}'`", entry.name());
        if let Some(since) = row.unproven_since {
            let found = row.unproven_text.as_deref().unwrap_or("it does not restore");
            let (found, advice) = match found.split_once("\n  → ") {
                Some((text, hint)) => (text, format!("{hint}; ")),
                None => (found, String::new()),
            };
            let text = format!("A DRILL FOUND THAT IT DOES NOT RESTORE AS IT WAS: {found}");
            let hint = format!(
                "{advice}look at it with {drill}; until a newer snapshot is proven, no snapshot before that one is removed"
            );
            entry.problem(ProblemKind::NotProven, Some(zoned(since)), text, Some(hint));
            return;
        }
        // A host that has only the repository knows of no drills.
        if self.config.sources.is_empty() {
            return;
        }
        let Some(limit) = source.map_or(self.config.max_proof_age, |source| source.max_proof_age) else {
            return;
        };
        // What was never proven gets as much time as a proof lasts.
        let since = row.proof_time.unwrap_or(row.first_seen);
        if u64::try_from(self.now_millis - since).unwrap_or(0) <= limit.as_millis() as u64 {
            return;
        }
        let mut text = match entry.proof_age_seconds {
            Some(age) => format!("what was last proven to restore is {} old", days(age)),
            None => "it was never proven that it restores".to_owned(),
        };
        let mut hint = format!("run {drill}, and see that its timer is on");
        if let Some(reason) = &row.unprovable_text {
            let (reason, advice) = match reason.split_once("\n  → ") {
                Some((text, hint)) => (text, Some(hint)),
                None => (reason.as_str(), None),
            };
            text.push_str(&format!("; the last drill could not prove it: {reason}"));
            hint = advice.map_or(hint, |advice| format!("{advice}; then run {drill}"));
        }
        let since = zoned(since).checked_add(limit).ok();
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
            last_discovery: asked.map(|asked| zoned(asked.time)),
            discovered: asked.map_or(0, |asked| asked.items),
            excluded: asked.map_or(0, |asked| asked.excluded),
        }
    }
    fn last_run(&self, source: &str) -> Option<Zoned> {
        let row = self.read.rows.iter().find(|row| row.source == source && row.name.is_empty())?;
        row.last_time.map(zoned)
    }
}
