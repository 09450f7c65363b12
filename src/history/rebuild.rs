//! Rebuilds a history from the repository: after it was lost or damaged, and on a new machine.

use std::collections::{HashMap, HashSet};

use jiff::Zoned;
use rusqlite::{Transaction, params};

use super::{
    Content, History, Opened,
    good::succeeded,
    millis,
    record::{OK, PARTIAL},
    rows::item_id,
    signed,
};
use crate::{
    config::{AnomalyRules, Config},
    error::Result,
    outcome::{ItemOutcome, ItemReport},
    repository::{Hosts, Repository, Snapshot, SnapshotFiles},
    source::manifest::Manifest,
    stream::cancel::Cancel,
};

/// Snapshots further apart than this are not of the same run.
const ONE_RUN: i64 = 6 * 3_600_000;
/// Key which marks that this history was rebuilt from manifests.
const DONE: &str = "rebuilt";

/// The result of a rebuild.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuilt {
    /// Snapshots read.
    pub snapshots: usize,
    /// Their items.
    pub items: usize,
    /// Snapshots with unreadable manifests.
    pub unreadable: usize,
}

impl Rebuilt {
    /// The result as a sentence.
    pub fn text(&self) -> String {
        let unreadable = match self.unreadable {
            0 => String::new(),
            n => format!(" (the manifests of {n} could not be read)"),
        };
        format!(
            "the history was rebuilt from {} of {}{unreadable}; earlier failures, vanished items and acceptances are not known",
            crate::output::count(self.snapshots, "snapshot"),
            crate::output::count(self.items, "item")
        )
    }
}

impl History {
    /// Fills a new history from the repository's snapshots and manifests, oldest first, as if each were backed up now,
    /// so that suspicious changes are found again. Returns `None` if there was nothing to do.
    pub fn rebuild(
        &self,
        config: &Config,
        repository: &Repository,
        cancel: &Cancel,
    ) -> Result<Option<Rebuilt>> {
        if self.opened() == Opened::Memory || self.read(|tx| Self::meta(tx, DONE))?.is_some() {
            return Ok(None);
        }
        let empty = self.read(|tx| {
            let query = "SELECT NOT EXISTS (SELECT 1 FROM attempt WHERE outcome IN (?1, ?2))";
            tx.query_row(query, [OK, PARTIAL], |row| row.get(0))
        })?;
        let (snapshots, _) = repository.readable_snapshots(Hosts::Own)?;
        let mut done = None;
        if empty && !snapshots.is_empty() {
            done = Some(self.read_manifests(config, repository, &snapshots, cancel)?);
        }
        let said = done.as_ref().map(Rebuilt::text).unwrap_or_default();
        self.change(|tx| Self::set_meta(tx, DONE, &format!("{}\n{said}", millis(&Zoned::now()))))?;
        Ok(done)
    }

    /// When and from what the history was rebuilt, if it was.
    pub fn rebuilt_note(&self) -> Result<Option<String>> {
        let meta = self.read(|tx| Self::meta(tx, DONE))?;
        Ok(meta.as_deref().and_then(|text| text.split_once('\n')).filter(|(_, said)| !said.is_empty()).map(
            |(time, said)| {
                let time = super::zoned(time.parse().unwrap_or(0));
                format!("on {} {said}", time.strftime("%Y-%m-%d %H:%M"))
            },
        ))
    }

    fn read_manifests(
        &self,
        config: &Config,
        repository: &Repository,
        snapshots: &[Snapshot],
        cancel: &Cancel,
    ) -> Result<Rebuilt> {
        let reader = repository.reader()?;
        let mut rebuilt = Rebuilt { snapshots: snapshots.len(), items: 0, unreadable: 0 };
        let mut runs = Runs::default();
        let usual = AnomalyRules::default();
        let mut items = HashSet::new();
        for snapshot in snapshots {
            cancel.check()?;
            items.insert((snapshot.source.as_str(), snapshot.item.as_str()));
            let files = SnapshotFiles::new(&reader, snapshot);
            let manifest = Manifest::of(&files, &snapshot.source, &snapshot.item);
            let content = manifest.as_ref().map(Content::of).unwrap_or_else(|_| {
                rebuilt.unreadable += 1;
                Content {
                    time: snapshot.time.timestamp().as_millisecond(),
                    bytes: snapshot.bytes,
                    ..Content::default()
                }
            });
            let rules = config.source(&snapshot.source).map_or(&usual, |source| &source.anomalies);
            let took = manifest.as_ref().map_or(0.0, |m| m.started.duration_until(&m.ended).as_secs_f64());
            self.change(|tx| runs.add(tx, snapshot, &content, took, rules))?;
        }
        rebuilt.items = items.len();
        Ok(rebuilt)
    }
}

/// Groups snapshots into runs: those of a source that are close in time, each item once.
#[derive(Default)]
struct Runs {
    last: HashMap<String, (i64, i64, HashSet<String>)>,
}

impl Runs {
    fn add(
        &mut self,
        tx: &Transaction<'_>,
        snapshot: &Snapshot,
        content: &Content,
        took: f64,
        rules: &AnomalyRules,
    ) -> rusqlite::Result<()> {
        let fits = self.last.get(&snapshot.source).is_some_and(|(_, started, items)| {
            content.time - started < ONE_RUN && !items.contains(&snapshot.item)
        });
        if !fits {
            let name = format!("rebuilt-{}", snapshot.id);
            tx.execute(
                "INSERT INTO run (name, kind, host, started, ended, outcome, told) VALUES (?1, 'rebuilt', ?2, ?3, ?3, 'ok', 1)",
                params![name, snapshot.host, content.time],
            )?;
            let run = (tx.last_insert_rowid(), content.time, HashSet::new());
            self.last.insert(snapshot.source.clone(), run);
        }
        let Some((run, started, items)) = self.last.get_mut(&snapshot.source) else { return Ok(()) };
        let (run, started) = (*run, *started);
        items.insert(snapshot.item.clone());
        let item = item_id(tx, &snapshot.source, &snapshot.item, &snapshot.kind, content.time)?;
        tx.execute("UPDATE item SET first_seen = MIN(first_seen, ?2) WHERE id = ?1", [item, content.time])?;
        let partial = !content.omitted().is_empty();
        let report = ItemReport {
            source: snapshot.source.clone(),
            item: Some(snapshot.item.clone()),
            kind: snapshot.kind.clone(),
            outcome: match content.unchecked {
                Some(_) => ItemOutcome::Unchecked,
                None if partial => ItemOutcome::Partial,
                None => ItemOutcome::Ok,
            },
            snapshot: Some(snapshot.id.clone()),
            bytes_read: content.bytes,
            bytes_added: 0,
            seconds: took,
            error: None,
            notes: Vec::new(),
            known_items: None,
            suspicious: Vec::new(),
            omitted: Vec::new(),
        };
        tx.execute(
            "INSERT INTO attempt (run, item, began, took, outcome, bytes, rows) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                run,
                item,
                content.time - started,
                (took * 1000.0) as i64,
                if partial { PARTIAL } else { OK },
                signed(content.bytes),
                content.rows.map(signed)
            ],
        )?;
        succeeded(tx, run, item, &report, content, rules).map(|_| ())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::source::manifest::Omitted;

    fn day(day: i64) -> Zoned {
        let begin: Zoned = "2026-10-05T02:00:00+00:00[UTC]".parse().unwrap();
        begin.checked_add(jiff::Span::new().days(day)).unwrap()
    }

    /// A history of one snapshot a day, each without these objects, given by kind and name.
    fn rebuilt(nights: &[&[(&str, &str)]]) -> History {
        let history = History::in_memory().unwrap();
        let mut runs = Runs::default();
        for (number, objects) in (0_u8..).zip(nights) {
            let time = day(i64::from(number));
            let mut manifest = Manifest::begin("my", "shop", "mysql");
            manifest.started = time.clone();
            manifest.omitted = objects
                .iter()
                .map(|(kind, name)| Omitted {
                    kind: (*kind).to_owned(),
                    name: (*name).to_owned(),
                    reason: "its table is gone".to_owned(),
                    definition: None,
                })
                .collect();
            let content = Content { unchecked: None, ..Content::of(&manifest) };
            let snapshot = Snapshot::example("my", "shop", "mysql", time, number);
            let rules = AnomalyRules::default();
            history.change(|tx| runs.add(tx, &snapshot, &content, 1.0, &rules)).unwrap();
        }
        history
    }

    /// The days from which on something is lacking.
    fn lacking_since(history: &History) -> Vec<i64> {
        let mut since = history.lacking_since("my", "shop").unwrap();
        since.sort_unstable();
        since.into_iter().map(|moment| (moment - millis(&day(0))) / 86_400_000).collect()
    }

    #[test]
    fn what_snapshots_lack_is_known_again_from_their_manifests() {
        let (v, w) = (("view", "v"), ("view", "w"));
        let history = rebuilt(&[&[w], &[], &[v], &[v, w]]);
        assert_eq!(lacking_since(&history), [2, 3]);
        let outcomes: Vec<String> =
            history.past("my", "shop").unwrap().unwrap().attempts.into_iter().map(|a| a.outcome).collect();
        assert_eq!(outcomes, ["partial", "partial", "ok", "partial"]);
    }

    #[test]
    fn what_is_lacking_as_part_of_a_folder_or_without_a_name_is_known_again() {
        let (folder, x) = (("folder", "a"), ("file", "a/x"));
        assert_eq!(lacking_since(&rebuilt(&[&[], &[folder], &[x]])), [1]);
        assert_eq!(lacking_since(&rebuilt(&[&[], &[x], &[folder], &[folder]])), [1, 2]);
        assert_eq!(lacking_since(&rebuilt(&[&[], &[x], &[folder], &[x]])), [1]);
        assert!(lacking_since(&rebuilt(&[&[], &[x], &[folder], &[]])).is_empty());
        let (b, c, others) = (("blob", "b"), ("blob", "c"), ("blobs", "(others)"));
        assert_eq!(lacking_since(&rebuilt(&[&[], &[c], &[b, others]])), [1, 2]);
        assert_eq!(lacking_since(&rebuilt(&[&[], &[b, others], &[c]])), [1]);
    }
}
