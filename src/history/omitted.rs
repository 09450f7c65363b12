//! Unreadable objects that the newest backup of an item lacks: since when, and whether an operator has accepted this.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    iter::once,
};

use rusqlite::{OptionalExtension, Transaction, params};

use super::{Content, History, rows::event, unsigned};
use crate::{
    error::Result,
    source::{
        manifest::Omitted,
        omissions::{BLOBS, FILES},
    },
};

/// Objects of an item named in the ledger.
const NAMED: u32 = 5;
/// `seen` of a covered row: the newest backup lacks the object but does not name it, because it names a directory above
/// it, or only counts further objects. Retention uses these rows; an operator sees the named objects.
const COVERED: i64 = 0;
/// Kinds of objects with a path. A backup that lacks one has nothing at this path and below it. Attributes are not
/// among them: the rest of the file is in the backup.
const AT_PATHS: [&str; 6] = ["folder", "file", "link", "pipe", "socket", "device"];
/// The name of the backed-up directory itself.
const TOP: &str = ".";

/// Kind and name.
type Key<'k> = (&'k str, &'k str);

/// The objects that the newest backup of an item lacks.
#[derive(Debug, Default)]
pub(super) struct Lacking {
    /// How many objects.
    pub(super) count: u64,
    /// How many of them are not accepted.
    pub(super) open: u64,
    /// Since when there is one that is not accepted.
    pub(super) since: Option<i64>,
    /// The first few that are not accepted, or of all if every one is accepted.
    pub(super) few: Vec<Omitted>,
}

/// An object that the previous backup lacked.
struct Row {
    kind: String,
    name: String,
    since: i64,
    covered: bool,
}

impl Row {
    fn key(&self) -> Key<'_> {
        (&self.kind, &self.name)
    }
}

/// The objects that the current backup lacks.
struct Now<'k> {
    keys: HashSet<Key<'k>>,
    /// Paths that it lacks with everything below.
    paths: HashSet<&'k str>,
    /// Kind of the entry that counts the objects without a name, if there are any.
    others: Option<&'k str>,
    /// The last named object.
    last: Option<Key<'k>>,
}

impl<'k> Now<'k> {
    fn of(omitted: &'k [Omitted]) -> Self {
        let keys = move || omitted.iter().map(|object| (object.kind.as_str(), object.name.as_str()));
        Self {
            keys: keys().collect(),
            paths: keys().filter(|(kind, _)| AT_PATHS.contains(kind)).map(|(_, name)| name).collect(),
            others: keys().map(|(kind, _)| kind).find(|kind| are_others(kind)),
            last: keys().filter(|(kind, _)| !are_others(kind)).max(),
        }
    }

    /// Whether the backup lacks, or may lack, an object that it does not name.
    fn covers(&self, row: &Row) -> bool {
        let unnamed = match self.others {
            None => false,
            // A directory above it may be one of them.
            Some(FILES) => true,
            // The named ones come first.
            Some(_) => Some(row.key()) > self.last,
        };
        let lost = |path: Cow<'_, str>| self.paths.contains(&*path);
        !are_others(&row.kind) && (unnamed || at_and_above(&row.name).any(lost))
    }
}

/// The objects that the previous backup lacked.
struct Past<'k> {
    keys: HashSet<Key<'k>>,
    /// Since when backups lacked paths that are no longer named.
    paths: HashMap<&'k str, i64>,
    /// The same for paths that may have been readable in between.
    doubtful: HashMap<&'k str, i64>,
    /// Since when there were objects without a name, if there were any.
    others: Option<i64>,
    /// The last named object.
    last: Option<Key<'k>>,
}

impl<'k> Past<'k> {
    fn of(rows: &'k [Row], now: &Now<'_>) -> Self {
        let others = rows.iter().filter(|row| are_others(&row.kind));
        let named = move || rows.iter().filter(|row| !row.covered && !are_others(&row.kind));
        let mut past = Self {
            keys: rows.iter().map(Row::key).collect(),
            paths: HashMap::new(),
            doubtful: HashMap::new(),
            others: others.map(|row| row.since).min(),
            last: named().map(Row::key).max(),
        };
        let at_path = |row: &&Row| AT_PATHS.contains(&row.kind.as_str());
        let lost: HashSet<&str> = named().filter(at_path).map(|row| row.name.as_str()).collect();
        for row in rows.iter().filter(at_path).filter(|row| !now.keys.contains(&row.key())) {
            // The content of an unreadable directory was unknown; the others had only lost their name.
            let known = !row.covered || at_and_above(&row.name).any(|path| lost.contains(&*path));
            let paths = if known { &mut past.paths } else { &mut past.doubtful };
            let since = paths.entry(&row.name).or_insert(row.since);
            *since = row.since.min(*since);
        }
        past
    }

    /// Since when backups lack an object that is named for the first time, if that is earlier than now: it was part of
    /// another missing object.
    fn since(&self, kind: &str, name: &str) -> Option<i64> {
        if self.keys.contains(&(kind, name)) {
            return None;
        }
        // Objects sorted before the last named one were readable.
        let unnamed = self.others.filter(|_| are_others(kind) || Some((kind, name)) > self.last);
        let of_path = |path: Cow<'_, str>| {
            let doubtful = self.doubtful.get(&*path).filter(|_| unnamed.is_some());
            self.paths.get(&*path).into_iter().chain(doubtful).min().copied()
        };
        at_and_above(name).filter_map(of_path).chain(unnamed).min()
    }
}

/// Whether an entry is not an object but the count of unnamed ones.
fn are_others(kind: &str) -> bool {
    [BLOBS, FILES].contains(&kind)
}

/// A path and the paths of the directories above it. A path with unprintable characters is quoted.
fn at_and_above(name: &str) -> impl Iterator<Item = Cow<'_, str>> {
    let quoted = name.starts_with('"') && name.ends_with('"');
    let slashes = move || name.match_indices('/').map(|(at, _)| at);
    let plain = slashes().map(move |at| Cow::Borrowed(&name[..at]));
    let shown = slashes().filter(move |_| quoted).flat_map(move |at| {
        let bare = name.get(1..at).unwrap_or_default().replace("\\\"", "\"").replace("\\\\", "\\");
        [Cow::<str>::Owned(format!("{}\"", &name[..at])), Cow::Owned(bare)]
    });
    let top = (name != TOP).then_some(Cow::Borrowed(TOP));
    once(Cow::Borrowed(name)).chain(plain).chain(shown).chain(top)
}

fn rows(tx: &Transaction<'_>, item: i64) -> rusqlite::Result<Vec<Row>> {
    let mut statement = tx.prepare_cached(
        "SELECT kind, name, since, seen FROM omitted WHERE item = ?1 AND since IS NOT NULL",
    )?;
    let rows = statement.query_map([item], |row| {
        Ok(Row {
            kind: row.get(0)?,
            name: row.get(1)?,
            since: row.get(2)?,
            covered: row.get::<_, i64>(3)? == COVERED,
        })
    })?;
    rows.collect()
}

/// Updates the missing objects of an item after a backup. Accepted objects stay accepted even if they were readable in
/// between. An object may change its name without having been readable: it was part of an unreadable directory that is
/// readable now, or is part of one that has become unreadable.
pub(super) fn update(tx: &Transaction<'_>, item: i64, content: &Content) -> rusqlite::Result<()> {
    // Unknown this time: change nothing.
    let Some(omitted) = &content.omitted else { return Ok(()) };
    let rows = rows(tx, item)?;
    let now = Now::of(omitted);
    let past = Past::of(&rows, &now);
    let mut add = tx.prepare_cached(
        "INSERT INTO omitted (item, kind, name, reason, since, seen) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
         ON CONFLICT DO UPDATE SET reason = ?4, since = MIN(COALESCE(since, ?5), ?5), seen = ?6",
    )?;
    for Omitted { kind, name, reason, .. } in omitted {
        let since = past.since(kind, name).map_or(content.time, |since| since.min(content.time));
        add.execute(params![item, kind, name, reason, since, content.time])?;
    }
    let mut cover =
        tx.prepare_cached("UPDATE omitted SET seen = ?4 WHERE item = ?1 AND kind = ?2 AND name = ?3")?;
    let mut remove = tx.prepare_cached(
        "DELETE FROM omitted WHERE item = ?1 AND kind = ?2 AND name = ?3 AND accepted IS NULL",
    )?;
    let mut end =
        tx.prepare_cached("UPDATE omitted SET since = NULL WHERE item = ?1 AND kind = ?2 AND name = ?3")?;
    for row in rows.iter().filter(|row| !now.keys.contains(&row.key())) {
        if now.covers(row) {
            cover.execute(params![item, row.kind, row.name, COVERED])?;
        } else if remove.execute(params![item, row.kind, row.name])? == 0 {
            end.execute(params![item, row.kind, row.name])?;
        }
    }
    Ok(())
}

/// The objects named as missing by the newest backup of each item, without items that lack nothing.
pub(super) fn read(tx: &Transaction<'_>) -> rusqlite::Result<HashMap<i64, Lacking>> {
    let mut statement = tx.prepare(
        "SELECT item, count(*), sum(accepted IS NULL), min(CASE WHEN accepted IS NULL THEN since END) FROM omitted \
         WHERE since IS NOT NULL AND seen <> ?1 GROUP BY item",
    )?;
    let rows = statement.query_map([COVERED], |row| {
        let lacking = Lacking {
            count: unsigned(row.get(1)?),
            open: unsigned(row.get(2)?),
            since: row.get(3)?,
            few: Vec::new(),
        };
        Ok((row.get::<_, i64>(0)?, lacking))
    })?;
    let mut all: HashMap<i64, Lacking> = rows.collect::<rusqlite::Result<_>>()?;
    for (item, lacking) in &mut all {
        lacking.few = few(tx, *item, lacking.open > 0)?;
    }
    Ok(all)
}

fn few(tx: &Transaction<'_>, item: i64, open: bool) -> rusqlite::Result<Vec<Omitted>> {
    let mut statement = tx.prepare_cached(
        "SELECT kind, name, reason FROM omitted WHERE item = ?1 AND since IS NOT NULL AND (accepted IS NULL) = ?2 \
         AND seen <> ?4 ORDER BY kind, name LIMIT ?3",
    )?;
    let rows = statement.query_map(params![item, open, NAMED, COVERED], |row| {
        Ok(Omitted { kind: row.get(0)?, name: row.get(1)?, reason: row.get(2)?, definition: None })
    })?;
    rows.collect()
}

/// Accepts exactly the objects that the newest backup of an item names as missing. Returns a description, if there was
/// anything to accept.
pub(super) fn accept(tx: &Transaction<'_>, item: i64, now: i64) -> rusqlite::Result<Option<String>> {
    let open: i64 = tx.query_row(
        "SELECT count(*) FROM omitted WHERE item = ?1 AND since IS NOT NULL AND accepted IS NULL AND seen <> ?2",
        [item, COVERED],
        |row| row.get(0),
    )?;
    if open == 0 {
        return Ok(None);
    }
    let named = Omitted::listed(&few(tx, item, true)?, unsigned(open));
    tx.execute("DELETE FROM omitted WHERE item = ?1 AND since IS NULL", [item])?;
    tx.execute(
        "UPDATE omitted SET accepted = ?2 WHERE item = ?1 AND accepted IS NULL AND seen <> ?3",
        [item, now, COVERED],
    )?;
    let text = format!("its backups lack unreadable objects: {named}");
    event(tx, item, now, "accepted", Some(&text))?;
    Ok(Some(text))
}

/// Items that lack objects which are not accepted: their numbers, sources and names.
pub(super) fn open_items(tx: &Transaction<'_>) -> rusqlite::Result<Vec<(i64, String, String)>> {
    let mut statement = tx.prepare(
        "SELECT id, source, name FROM item WHERE id IN \
         (SELECT item FROM omitted WHERE since IS NOT NULL AND accepted IS NULL AND seen <> ?1)",
    )?;
    let rows = statement.query_map([COVERED], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    rows.collect()
}

impl History {
    /// Those of `omitted` that are not accepted for this item.
    pub fn not_accepted(&self, source: &str, item: &str, omitted: &[Omitted]) -> Result<Vec<Omitted>> {
        self.read(|tx| {
            let id: Option<i64> = tx
                .query_row("SELECT id FROM item WHERE source = ?1 AND name = ?2", [source, item], |row| {
                    row.get(0)
                })
                .optional()?;
            let Some(id) = id else { return Ok(omitted.to_vec()) };
            let mut accepted = tx.prepare_cached(
                "SELECT 1 FROM omitted WHERE item = ?1 AND kind = ?2 AND name = ?3 AND accepted IS NOT NULL",
            )?;
            let mut open = Vec::new();
            for object in omitted {
                if !accepted.exists(params![id, object.kind, object.name])? {
                    open.push(object.clone());
                }
            }
            Ok(open)
        })
    }

    /// The times, in milliseconds since 1970, from which on backups of an item lack unreadable objects. Retention
    /// always keeps the newest snapshot before each of them: it is the newest one that has these objects.
    pub fn lacking_since(&self, source: &str, item: &str) -> Result<Vec<i64>> {
        self.read(|tx| {
            let mut statement = tx.prepare_cached(
                "SELECT DISTINCT since FROM omitted WHERE since IS NOT NULL AND item = \
                 (SELECT id FROM item WHERE source = ?1 AND name = ?2)",
            )?;
            let rows = statement.query_map([source, item], |row| row.get(0))?;
            rows.collect()
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "omitted_tests.rs"]
mod tests;
