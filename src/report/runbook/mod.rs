//! The recovery runbook: instructions for disaster recovery, generated for this installation. Its commands need only
//! stock restic and the databases' own clients; those in blocks marked `sh` are complete and can be run unchanged.

mod items;
mod people;
mod places;

use std::collections::{BTreeMap, HashSet};

use jiff::Zoned;

use crate::{
    config::{Config, SourceConfig},
    error::Result,
    history::ledger::{Entry, Ledger, State},
    output::{duration, size, time},
    repository::{Hosts, Repository, Snapshot, SnapshotFiles},
    source::{
        manifest::Manifest,
        recovery::{Commands, is_globals},
    },
    stream::cancel::Cancel,
};

/// Information from the repository, in addition to the configuration.
#[derive(Default)]
pub struct Known {
    /// When the repository was read; absent if it was not.
    at: Option<Zoned>,
    /// The host whose snapshots are used.
    host: String,
    /// The stored items, by source and item.
    items: BTreeMap<(String, String), Stored>,
    /// Errors because of which the information is incomplete.
    pub problems: Vec<String>,
}

/// The newest snapshot of an item with its details.
struct Stored {
    snapshot: Snapshot,
    manifest: Option<Manifest>,
    entry: Option<Entry>,
}

impl Known {
    /// Reads the repository. Items whose newest snapshot cannot be read are listed in `problems`.
    ///
    /// # Errors
    /// The repository cannot be opened or listed, or `cancel` was set.
    pub fn of(repository: &Repository, ledger: &Ledger, cancel: &Cancel) -> Result<Self> {
        let (mut snapshots, damaged) = repository.readable_snapshots(Hosts::All)?;
        leave_out_other_hosts(&mut snapshots, repository.host(), ledger);
        let mut known =
            Self { at: Some(ledger.at.clone()), host: repository.host().to_owned(), ..Self::default() };
        known.problems.extend(damaged.iter().map(ToString::to_string));
        let mut newest: BTreeMap<(String, String), Snapshot> = BTreeMap::new();
        for snapshot in snapshots {
            let key = (snapshot.source.clone(), snapshot.item.clone());
            // Snapshots dated in the future are used only if there is no other.
            let now = jiff::Timestamp::now();
            let rank =
                |one: &Snapshot| (one.host == repository.host(), !one.is_ahead(now), one.time.timestamp());
            if newest.get(&key).is_none_or(|other| rank(other) < rank(&snapshot)) {
                newest.insert(key, snapshot);
            }
        }
        let reader = repository.reader()?;
        for (key, snapshot) in newest {
            cancel.check()?;
            let files = SnapshotFiles::new(&reader, &snapshot);
            let manifest = match Manifest::of(&files, &snapshot.source, &snapshot.item) {
                Ok(manifest) => Some(manifest),
                Err(error) => {
                    known.problems.push(format!("{}: {error}", snapshot.name()));
                    None
                }
            };
            let same = |entry: &&Entry| entry.source == key.0 && entry.item.as_deref() == Some(&key.1);
            let entry = ledger.items.iter().find(same).cloned();
            known.items.insert(key, Stored { snapshot, manifest, entry });
        }
        Ok(known)
    }

    fn host(&self) -> &str {
        &self.host
    }

    fn of_source<'a>(&'a self, source: &'a str) -> impl Iterator<Item = (&'a str, &'a Stored)> {
        self.items
            .iter()
            .filter(move |((name, _), _)| name == source)
            .map(|((_, item), stored)| (item.as_str(), stored))
    }
}

/// Another host's snapshots are included only if this host has none of the same source, or none at all: they may be
/// from a former host name, or from the machine that this one replaces.
fn leave_out_other_hosts(snapshots: &mut Vec<Snapshot>, host: &str, ledger: &Ledger) {
    let own: HashSet<String> =
        snapshots.iter().filter(|one| one.host == host).map(|one| one.source.clone()).collect();
    let configured = |source: &str| ledger.sources.iter().any(|entry| entry.source == source);
    snapshots.retain(|one| {
        one.host == host || own.is_empty() || (!own.contains(&one.source) && configured(&one.source))
    });
}

/// The runbook as Markdown. Without information from the repository it has one example for each source.
pub fn text(config: &Config, known: &Known) -> String {
    let mut page = Page::default();
    people::opening(&mut page, config, known);
    people::contacts(&mut page, config);
    places::prerequisites(&mut page, config, known);
    overview(&mut page, config, known);
    places::worst_day(&mut page, config);
    places::preparation(&mut page, config);
    page.line("## Every source");
    page.line("");
    page.line(
        "In the order of recovery. Each block can be copied into the shell of *Preparation*; `latest` may be replaced by the \
         id of an older snapshot, from `restic snapshots --path`. Run the first block of a source again before any of its items: \
         it says which server is meant.",
    );
    page.line("");
    for source in in_order(config) {
        items::source(&mut page, config, source, known);
    }
    items::unconfigured_items(&mut page, config, known);
    people::afterwards(&mut page, config);
    people::exercises(&mut page);
    people::notes(&mut page, config);
    page.finish()
}

/// The recovery commands of an item; `None` if its source is not configured.
pub fn commands(config: &Config, source: &str, item: &str) -> Option<Commands> {
    let mut commands = items::commands(config, config.source(source)?, item);
    commands.stock.splice(0..0, places::environment(config));
    Some(commands)
}

/// The sources in the order of recovery.
fn in_order(config: &Config) -> Vec<&SourceConfig> {
    let order = &config.runbook.order;
    let place = |source: &&SourceConfig| order.iter().position(|name| name == source.name.as_str());
    let mut sources: Vec<_> = config.sources.iter().collect();
    sources.sort_by_key(|source| place(source).unwrap_or(order.len()));
    sources
}

fn overview(page: &mut Page, config: &Config, known: &Known) {
    page.line("## What there is, in the order of recovery");
    page.line("");
    let Some(at) = &known.at else {
        page.line("Written from the configuration alone: `tik-backup runbook` on the host itself lists every item here.");
        page.line("");
        let rows = in_order(config).into_iter().enumerate().map(|(index, source)| {
            let schedule = source.schedule.as_ref().map_or("by hand".to_owned(), ToString::to_string);
            vec![
                (index + 1).to_string(),
                cell(source.name.as_str()),
                source.kind.as_str().to_owned(),
                schedule,
            ]
        });
        page.table(&["", "source", "kind", "backed up"], rows);
        return;
    };
    page.line(&format!(
        "As of {}. Times are those that the last drill took on this host; `~` marks an estimate.",
        time(at)
    ));
    page.line("");
    let order: Vec<_> = in_order(config).into_iter().map(|source| source.name.as_str().to_owned()).collect();
    let place = |name: &str| order.iter().position(|other| other == name).unwrap_or(order.len());
    let mut all: Vec<_> = known.items.iter().collect();
    all.sort_by_key(|((source, item), _)| (place(source), source.clone(), !is_globals(item), item.clone()));
    let speed = speed(known);
    let mut total = 0.0;
    let rows: Vec<_> = all
        .iter()
        .enumerate()
        .map(|(index, ((source, item), stored))| {
            let (seconds, shown) = expected(stored, speed);
            total += seconds.unwrap_or(0.0);
            let proof = stored.entry.as_ref().and_then(|entry| entry.last_proof.as_ref());
            vec![
                (index + 1).to_string(),
                cell(&format!("{source}/{item}")),
                stored.snapshot.kind.clone(),
                time(&stored.snapshot.time),
                proof.map_or("**never**".to_owned(), time),
                size(stored.snapshot.bytes),
                shown,
            ]
        })
        .collect();
    page.table(&["", "item", "kind", "newest snapshot", "proven", "size", "to restore"], rows.into_iter());
    if total > 0.0 {
        page.line(&format!("All of it, one after the other: about {}.", duration(total)));
        page.line("");
    }
    for problem in &known.problems {
        page.line(&format!("- **Could not be read:** {}", cell(problem)));
    }
}

/// The measured restore rate in bytes per second.
fn speed(known: &Known) -> Option<f64> {
    let measured = known.items.values().filter_map(|stored| {
        let seconds = stored.entry.as_ref()?.restore_seconds?;
        (seconds > 0.0).then_some((stored.snapshot.bytes as f64, seconds))
    });
    let (bytes, seconds) = measured.fold((0.0, 0.0), |(b, s), (bytes, seconds)| (b + bytes, s + seconds));
    (seconds > 0.0 && bytes > 0.0).then_some(bytes / seconds)
}

/// Duration of a restore: measured, or else estimated from the size.
fn expected(stored: &Stored, speed: Option<f64>) -> (Option<f64>, String) {
    if let Some(seconds) = stored.entry.as_ref().and_then(|entry| entry.restore_seconds) {
        return (Some(seconds), duration(seconds));
    }
    match speed {
        Some(speed) => {
            let seconds = stored.snapshot.bytes as f64 / speed;
            (Some(seconds), format!("~{}", duration(seconds)))
        }
        None => (None, "not measured".to_owned()),
    }
}

/// Whether an item is still expected to be backed up.
fn is_current(stored: &Stored) -> bool {
    stored
        .entry
        .as_ref()
        .is_none_or(|entry| !matches!(entry.state, State::Vanished | State::Unconfigured | State::Excluded))
}

/// Escapes a text from a server for use in a table cell or within a line: no Markdown, no line breaks.
fn cell(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in crate::output::printable(text).chars() {
        if r"\`*_{}[]<>|#&~".contains(c) {
            escaped.push('\\');
        }
        escaped.push(if c == '\n' { ' ' } else { c });
    }
    escaped
}

/// A Markdown document under construction.
#[derive(Default)]
struct Page(String);

impl Page {
    fn line(&mut self, text: &str) {
        self.0.push_str(text);
        self.0.push('\n');
    }

    /// A code block: `sh` can be run unchanged, `console` may need adapting.
    fn code(&mut self, language: &str, lines: &[String]) {
        // The fence must be longer than any run of backticks within.
        let longest = lines.iter().flat_map(|line| line.split(|c| c != '`').map(str::len)).max().unwrap_or(0);
        let fence = "`".repeat(longest.max(2) + 1);
        self.line(&format!("{fence}{language}"));
        for line in lines {
            self.line(line);
        }
        self.line(&fence);
        self.line("");
    }

    fn table(&mut self, headings: &[&str], rows: impl Iterator<Item = Vec<String>>) {
        self.line(&format!("| {} |", headings.join(" | ")));
        self.line(&format!("|{}", "---|".repeat(headings.len())));
        for row in rows {
            self.line(&format!("| {} |", row.join(" | ")));
        }
        self.line("");
    }

    fn finish(self) -> String {
        self.0.trim_end().to_owned() + "\n"
    }
}
