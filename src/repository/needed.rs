//! Whether the data that snapshots need exists: listed by the index, in packs of the storage.

use std::collections::{HashMap, HashSet};

use rustic_core::{
    FileType, Id, IndexedFullStatus, ReadBackend, TreeId,
    repofile::{BlobType, SnapshotFile},
};

use super::{Repository, errors::rustic_error, handle::READERS, known::KnownBlobs};
use crate::{
    error::{Error, Result},
    stream::cancel::Cancel,
    workers,
};

/// A repository with its index in memory.
pub(super) type Reader = rustic_core::Repository<IndexedFullStatus>;

/// At most this many missing blobs are remembered: a single one decides.
const REMEMBERED: usize = 100_000;
/// If packs are in no index, a backup reads this many directories of the newest snapshots. `check` and `prune` read all.
const FEW_TREES: usize = 4096;

/// How much of the snapshots is read to determine whether the index is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// Their roots, and some directories of each item's newest snapshot.
    Newest,
    /// Everything.
    All,
}

/// The result for a few directories.
#[derive(Default)]
pub(super) struct Found {
    lacking: Vec<Id>,
    /// Whether some of them are directories, whose content is then unknown.
    lacks_trees: bool,
    pub(super) trees: Vec<Id>,
    /// Directories that cannot be read or directly lack something.
    pub(super) broken: Vec<Id>,
    pub(super) unreadable: Option<Error>,
}

/// Missing blobs below some trees.
#[derive(Default)]
pub(super) struct Lacking {
    /// Blobs that `known` does not have, 100,000 at most.
    blobs: HashSet<Id>,
    /// Whether some of them are directories.
    trees: bool,
    /// Why an existing tree cannot be read.
    problem: Option<Error>,
}

impl Lacking {
    /// Whether everything exists.
    ///
    /// # Errors
    /// Nothing is known to be missing, but something could not be read, which may be temporary.
    pub(super) fn finds_nothing(self) -> Result<bool> {
        match (self.blobs.is_empty(), self.problem) {
            (true, Some(error)) => Err(error),
            (is_empty, _) => Ok(is_empty),
        }
    }
}

/// The blobs below these trees that `known` lacks. At most `limit` trees are read.
///
/// # Errors
/// The work was stopped.
pub(super) fn lacking(
    reader: &Reader,
    known: &KnownBlobs,
    roots: Vec<Id>,
    most: usize,
    cancel: &Cancel,
) -> Result<Lacking> {
    let (mut seen, mut lacking) = (HashSet::new(), Lacking::default());
    let mut level = roots;
    loop {
        cancel.check()?;
        let left = most.saturating_sub(seen.len());
        level.retain(|id| seen.insert(*id));
        level.truncate(left);
        if level.is_empty() || lacking.blobs.len() >= REMEMBERED {
            return Ok(lacking);
        }
        let found = look_at_all(reader, known, &level);
        level.clear();
        for Found { lacking: more, lacks_trees, trees, unreadable, .. } in found {
            lacking.problem = lacking.problem.or(unreadable);
            lacking.blobs.extend(more);
            lacking.trees |= lacks_trees;
            level.extend(trees);
        }
    }
}

/// Reads these trees, several at a time.
pub(super) fn look_at_all(reader: &Reader, known: &KnownBlobs, trees: &[Id]) -> Vec<Found> {
    let parts: Vec<&[Id]> = trees.chunks(trees.len().div_ceil(READERS).max(1)).collect();
    let panicked = |ids: &&[Id]| Found {
        broken: ids.to_vec(),
        unreadable: Some(Error::repository("cannot read a directory of a snapshot")),
        ..Found::default()
    };
    workers::map_or(&parts, READERS, panicked, |ids| look(reader, known, ids))
}

fn look(reader: &Reader, known: &KnownBlobs, ids: &[Id]) -> Found {
    let mut found = Found::default();
    for id in ids {
        if !known.has(BlobType::Tree, id) {
            found.lacking.push(*id);
            found.lacks_trees = true;
            found.broken.push(*id);
            continue;
        }
        match reader.get_tree(&TreeId::from(*id)) {
            Ok(tree) => {
                let before = found.lacking.len();
                for node in tree.nodes {
                    let content = node.content.iter().flatten().map(|id| **id);
                    let room = REMEMBERED.saturating_sub(found.lacking.len());
                    found.lacking.extend(content.filter(|id| !known.has(BlobType::Data, id)).take(room));
                    found.trees.extend(node.subtree.map(|id| *id));
                }
                if found.lacking.len() > before {
                    found.broken.push(*id);
                }
            }
            Err(error) => {
                found.broken.push(*id);
                found.unreadable = Some(rustic_error("cannot read a directory of a snapshot", error));
            }
        }
    }
    found
}

impl Repository {
    /// Fails if snapshots need existing packs that no index file lists: then the index, or a part of it, is lost, and stored
    /// data cannot be found. A backup would store everything again, and a prune would remove data that can be recovered. Packs
    /// of runs that were killed or have not written their index yet are needed by no snapshot.
    pub(super) fn require_index(&self, known: &KnownBlobs, depth: Depth, cancel: &Cancel) -> Result<()> {
        match self.lost_index(known, depth, cancel)? {
            None => Ok(()),
            Some(lost) => Err(Error::repository(lost).hint(
                "`tik-backup repair index` rebuilds it from the packs; until then nothing is written or removed. Do not \
                 remove snapshots: what they need is there",
            )),
        }
    }

    /// Whether it has neither an index file nor a snapshot.
    pub(super) fn is_new(&self) -> Result<bool> {
        let index = self.storage.backend().list(FileType::Index);
        let index = index.map_err(|e| rustic_error("cannot list the index files", e))?;
        Ok(index.is_empty() && self.has_no_snapshot()?)
    }

    /// Fails if the index, or a part of it, is lost.
    pub(crate) fn require_whole_index(&self, cancel: &Cancel) -> Result<()> {
        let known = KnownBlobs::load(&self.inner, &self.storage)?;
        self.require_index(&known, Depth::Newest, cancel)
    }

    /// The message that the index is lost, if it is.
    pub(super) fn lost_index(
        &self,
        known: &KnownBlobs,
        depth: Depth,
        cancel: &Cancel,
    ) -> Result<Option<String>> {
        if known.unindexed.is_empty() {
            return Ok(None);
        }
        let Lacking { blobs: needed, trees: lacks_trees, .. } =
            self.needed_and_unknown(known, depth, cancel)?;
        if needed.is_empty() {
            return Ok(None);
        }
        for (pack, size) in &known.unindexed {
            cancel.check()?;
            // Unreadable data is reported elsewhere.
            let Ok(Some(blobs)) = self.pack_header(pack, *size) else { continue };
            let is_needed = blobs.iter().any(|blob| needed.contains(&blob.id));
            // The content of missing directories is unknown: it may be in these packs.
            let may_be_needed = lacks_trees && blobs.iter().any(|blob| !known.has(blob.tpe(), &blob.id));
            // A concurrent run may have written an index and a snapshot since ours were read.
            if (is_needed || may_be_needed) && !self.listed_packs()?.contains(pack) {
                return Ok(Some(lost_text(known, is_needed)));
            }
        }
        Ok(None)
    }

    /// Blobs that snapshots need and that are not stored. An unknown root says nothing about other snapshots.
    fn needed_and_unknown(&self, known: &KnownBlobs, depth: Depth, cancel: &Cancel) -> Result<Lacking> {
        let snapshots = self.snapshot_files()?;
        let unknown: Vec<Id> =
            snapshots.iter().map(|s| *s.tree).filter(|root| !known.has(BlobType::Tree, root)).collect();
        let (roots, most) = match depth {
            Depth::All => (snapshots.iter().map(|s| *s.tree).collect(), usize::MAX),
            Depth::Newest => (newest_roots(&snapshots), FEW_TREES),
        };
        let reader = self.reopen()?.to_indexed().map_err(super::known::unreadable_index)?;
        // A damaged directory does not mean that the index is lost.
        let mut lacking = lacking(&reader, known, roots, most, cancel)?;
        lacking.blobs.extend(unknown);
        Ok(lacking)
    }

    /// The readable snapshot files of all programs.
    pub(super) fn snapshot_files(&self) -> Result<Vec<SnapshotFile>> {
        let files = self
            .inner
            .stream_files::<SnapshotFile>()
            .map_err(|e| rustic_error("cannot list the snapshots", e))?;
        Ok(files.filter_map(|file| file.ok().map(|(_, snapshot)| snapshot)).collect())
    }
}

/// The message that the index, or a part of it, is lost. Either snapshots certainly need the unindexed packs, or possibly.
fn lost_text(known: &KnownBlobs, is_needed: bool) -> String {
    let part = if known.listed == 0 { "" } else { "a part of " };
    let (are, them) = if known.unindexed.len() == 1 { ("is", "it") } else { ("are", "them") };
    let packs = crate::output::count(known.unindexed.len(), "pack");
    let why = if is_needed {
        format!("snapshots need what is in {them}")
    } else {
        format!("snapshots may need what is in {them}: directories that would show it are missing as well")
    };
    format!("{part}the index is lost: {packs} in the storage {are} in no index file, and {why}")
}

/// The root of the newest snapshot of each host and path.
fn newest_roots(snapshots: &[SnapshotFile]) -> Vec<Id> {
    let mut newest: HashMap<(&str, String), &SnapshotFile> = HashMap::new();
    for snapshot in snapshots {
        let of = newest.entry((&snapshot.hostname, snapshot.paths.to_string())).or_insert(snapshot);
        if snapshot.time > of.time {
            *of = snapshot;
        }
    }
    newest.into_values().map(|snapshot| *snapshot.tree).collect()
}
