//! Finds incomplete snapshots.

use std::collections::HashSet;

use jiff::Zoned;
use rustic_core::{Id, repofile::SnapshotFile};
use serde::Serialize;

use super::{
    Repository, Snapshot,
    known::{KnownBlobs, unreadable_index},
    needed::{Found, Reader, look_at_all},
    rustic_error,
};
use crate::{
    error::{Passing, Result},
    stream::cancel::Cancel,
};

/// A snapshot with missing data. The field names are stable.
#[derive(Debug, Clone, Serialize)]
pub struct Incomplete {
    /// Its id, 64 hex digits.
    pub id: String,
    /// Host that made it.
    pub host: String,
    /// Source name; absent for a snapshot of another program.
    pub source: Option<String>,
    /// Item name; absent for a snapshot of another program.
    pub item: Option<String>,
    /// The time of its data.
    #[serde(with = "crate::moment")]
    pub time: Zoned,
}

impl Incomplete {
    fn of(id: Id, mut file: SnapshotFile) -> Self {
        file.id = id.into();
        let (id, host, time) = (id.to_hex().as_str().to_owned(), file.hostname.clone(), file.time.clone());
        let (source, item) =
            Snapshot::from_file(file).map(|snapshot| (snapshot.source, snapshot.item)).unzip();
        Self { id, host, source, item, time }
    }

    /// The first eight digits of the id, as restic prints it.
    pub fn short_id(&self) -> &str {
        self.id.get(..8).unwrap_or(&self.id)
    }

    /// `source/item`, if this program made it.
    pub fn name(&self) -> Option<String> {
        Some(format!("{}/{}", self.source.as_ref()?, self.item.as_ref()?))
    }
}

/// The results for trees so far, so that shared trees are read once.
struct Walk<'a> {
    reader: &'a Reader,
    known: &'a KnownBlobs,
    /// Trees below which nothing is missing.
    complete: HashSet<Id>,
    /// Trees that cannot be read or directly lack something.
    broken: HashSet<Id>,
}

impl Walk<'_> {
    fn is_complete(&mut self, root: Id, cancel: &Cancel) -> Result<bool> {
        let (mut seen, mut level) = (HashSet::new(), vec![root]);
        loop {
            cancel.check()?;
            level.retain(|id| !self.complete.contains(id) && seen.insert(*id));
            if level.is_empty() {
                self.complete.extend(seen);
                return Ok(true);
            }
            if level.iter().any(|id| self.broken.contains(id)) {
                return Ok(false);
            }
            let found = look_at_all(self.reader, self.known, &level);
            level.clear();
            for Found { trees, broken, unreadable, .. } in found {
                // A storage that does not answer says nothing about the snapshot.
                match unreadable {
                    Some(error) if error.passing() == Some(Passing::Storage) => return Err(error),
                    _ => {}
                }
                self.broken.extend(broken);
                level.extend(trees);
            }
            if seen.iter().any(|id| self.broken.contains(id)) {
                return Ok(false);
            }
        }
    }
}

impl Repository {
    /// The snapshots of all programs with missing data, oldest first.
    pub(super) fn incomplete(&self, known: &KnownBlobs, cancel: &Cancel) -> Result<Vec<Incomplete>> {
        let reader = self.reopen()?.to_indexed().map_err(unreadable_index)?;
        let mut walk = Walk { reader: &reader, known, complete: HashSet::new(), broken: HashSet::new() };
        let files = self
            .inner
            .stream_files::<SnapshotFile>()
            .map_err(|e| rustic_error("cannot list the snapshots", e))?;
        let mut incomplete = Vec::new();
        // Unreadable snapshot files are reported separately.
        for (id, file) in files.into_iter().filter_map(|file| file.ok()) {
            if !walk.is_complete(*file.tree, cancel)? {
                incomplete.push(Incomplete::of(*id, file));
            }
        }
        incomplete.sort_by(|a, b| a.time.cmp(&b.time).then_with(|| a.id.cmp(&b.id)));
        Ok(incomplete)
    }
}
