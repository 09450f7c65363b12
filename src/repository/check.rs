//! Check: whether all data of the repository is present and intact.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use rustic_core::{CheckOptions, FileType, Id, ReadBackend, TreeId, repofile::SnapshotFile};
use serde::Serialize;

use super::{
    DamagedFile, Hosts, Incomplete, Repository, Subset, crypto::hash, findings::Finding, handle::READERS,
    keys, known::KnownBlobs, maintenance::caught, needed::Depth, pack_list::Seen, rustic_error,
};
use crate::{
    error::{Error, Result},
    output::shell::word,
    stream::cancel::Cancel,
    workers,
};

/// The command that removes incomplete snapshots is given for this many items at most.
const COMMANDS: usize = 10;

/// The result of a check.
#[derive(Debug, Clone, Default, Serialize)]
pub struct CheckReport {
    /// Damage.
    pub errors: Vec<String>,
    /// Harmless findings, such as unreferenced packs.
    pub warnings: Vec<String>,
    /// Snapshots of any program with missing data, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub incomplete: Vec<Incomplete>,
    /// Steps against the damage, in this order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub advice: Vec<String>,
    /// Snapshots of this program.
    pub snapshots: u64,
    /// Packs in the repository.
    pub packs: u64,
    /// Packs whose content was read.
    pub packs_read: u64,
    /// The packs of the repository.
    #[serde(skip)]
    pub(crate) there: HashSet<Id>,
    /// Those whose content was read.
    #[serde(skip)]
    pub(crate) read: HashSet<Id>,
    /// The damaged ones among them. Each has one entry at the end of `errors`.
    #[serde(skip)]
    pub(crate) damaged: Vec<Id>,
}

/// A snapshot, index or key file.
enum SmallFile {
    /// It is intact; with the tree of a snapshot.
    Sound(Option<TreeId>),
    /// It was removed since it was listed.
    Gone,
    /// The storage does not return it.
    Unreadable(Error),
    /// Its content cannot be used.
    Damaged,
    /// By its content it should have this name; with the tree of a snapshot.
    Misnamed(Id, Option<TreeId>),
}

/// The result for all small files.
#[derive(Default)]
struct SmallFiles {
    /// Whether files have wrong names.
    are_misnamed: bool,
    /// Whether an index file is damaged.
    lacks_index: bool,
    /// The trees of all readable snapshots.
    trees: BTreeSet<TreeId>,
}

impl Repository {
    /// Checks the repository: its structure, and the content of the packs in `subset`.
    pub fn check(&self, subset: Subset, cancel: &Cancel) -> Result<CheckReport> {
        let packs = self.packs()?;
        let (snapshots, damaged) = self.readable_snapshots(Hosts::All)?;
        let mut report = CheckReport {
            errors: damaged.iter().map(Error::summary).collect(),
            snapshots: snapshots.len() as u64,
            packs: packs.len() as u64,
            there: packs.iter().map(|(id, _)| *id).collect(),
            ..CheckReport::default()
        };
        if !damaged.is_empty() {
            report
                .advise("move damaged snapshot files away (docs/operations.md, \"Damaged snapshot files\")");
        }
        let known_damaged: HashSet<Id> =
            damaged.iter().filter_map(|error| error.fact::<DamagedFile>()).map(|file| file.0).collect();
        let files = self.check_files(&mut report, &known_damaged, cancel)?;
        if files.lacks_index {
            // Nothing else can be checked without the index.
            report.advise("`tik-backup repair index` rebuilds the index from the packs; it removes no data");
            return Ok(report);
        }
        if files.are_misnamed {
            report.advise("rename the files as reported, or run `tik-backup repair index` for index files");
        }
        let (known, seen) = KnownBlobs::load_with(&self.inner, &self.storage, packs.clone())?;
        let lost = self.lost_index(&known, Depth::All, cancel)?;
        let is_lost = lost.is_some();
        if let Some(lost) = lost {
            report.errors.push(lost);
            report.advise(
                "`tik-backup repair index` rebuilds the index from the packs; until then remove no snapshot and run no prune",
            );
        }
        if !(known.missing.is_empty() && known.misfits.is_empty()) {
            report.advise("run a backup: it stores lost data again if the sources still have it");
        }
        self.check_structure(&mut report, is_lost, seen, files.trees)?;
        cancel.check()?;
        // Without a complete index, nothing can be said about the snapshots.
        if !(is_lost || report.errors.is_empty()) {
            report.incomplete = self.incomplete(&known, cancel)?;
            report.add_incomplete(self.host());
        }
        let read = self.read_subset(subset, &packs, cancel)?;
        if !read.errors.is_empty() {
            report.advise("for packs whose content is damaged: `tik-backup repair packs ID…`, then a backup");
        }
        report.errors.extend(read.errors);
        report.packs_read = read.read;
        (report.read, report.damaged) = (read.packs, read.damaged);
        Ok(report)
    }

    /// Compares the small files with their names, which are the SHA-256 of their content. Files in `known_damaged` are not
    /// reported again.
    fn check_files(
        &self,
        report: &mut CheckReport,
        known_damaged: &HashSet<Id>,
        cancel: &Cancel,
    ) -> Result<SmallFiles> {
        let backend = self.storage.backend();
        let mut files = SmallFiles::default();
        for (tpe, what) in
            [(FileType::Snapshot, "snapshot"), (FileType::Index, "index"), (FileType::Key, "key")]
        {
            let listed =
                backend.list(tpe).map_err(|e| rustic_error(&format!("cannot list {what} files"), e))?;
            let panicked = |_: &Id| SmallFile::Damaged;
            let found = workers::map_or(&listed, READERS, panicked, |id| {
                if cancel.is_cancelled() { SmallFile::Gone } else { self.check_file(tpe, what, id) }
            });
            cancel.check()?;
            for (id, file) in listed.iter().zip(found) {
                match file {
                    SmallFile::Gone => {}
                    SmallFile::Sound(tree) => files.trees.extend(tree),
                    SmallFile::Unreadable(error) => {
                        files.lacks_index |= tpe == FileType::Index;
                        report.errors.push(error.summary());
                    }
                    SmallFile::Damaged if tpe == FileType::Key => {
                        report.errors.push(format!(
                            "key file {} is damaged; another key has opened the repository",
                            id.to_hex().as_str()
                        ));
                        report.advise(
                            "move damaged key files away (docs/operations.md, \"Damaged key files\")",
                        );
                    }
                    SmallFile::Damaged => {
                        files.lacks_index |= tpe == FileType::Index;
                        report.errors.push(format!("{what} file {} is damaged", id.to_hex().as_str()));
                    }
                    SmallFile::Misnamed(should, tree) => {
                        files.trees.extend(tree);
                        if !known_damaged.contains(id) {
                            files.are_misnamed = true;
                            report.errors.push(misnamed(what, id, &should));
                        }
                    }
                }
            }
        }
        Ok(files)
    }

    fn check_file(&self, tpe: FileType, what: &str, id: &Id) -> SmallFile {
        let backend = self.storage.backend();
        let data = match backend.read_full(tpe, id) {
            Ok(data) => data,
            // Retention may have removed it since, and another run may have replaced it.
            Err(_) if !backend.list(tpe).is_ok_and(|there| there.contains(id)) => return SmallFile::Gone,
            Err(error) => {
                let doing = format!("cannot read {what} file {}", id.to_hex().as_str());
                return SmallFile::Unreadable(rustic_error(&doing, error));
            }
        };
        let is_damaged = match tpe {
            FileType::Index => self.parse_index(&data).is_none(),
            FileType::Key => !keys::is_usable(&data),
            // Damaged snapshots are reported with the cause.
            _ => false,
        };
        if is_damaged {
            return SmallFile::Damaged;
        }
        let tree = if tpe == FileType::Snapshot { self.tree_of(&data) } else { None };
        let should = hash(&data);
        if should == *id { SmallFile::Sound(tree) } else { SmallFile::Misnamed(should, tree) }
    }

    /// The tree of a snapshot file; `None` if it is damaged.
    fn tree_of(&self, encrypted: &[u8]) -> Option<TreeId> {
        let json = self.cipher.decrypt_file(encrypted)?;
        serde_json::from_slice::<SnapshotFile>(&json).ok().map(|snapshot| snapshot.tree)
    }

    /// Adds the library's findings about index, packs and directories; `is_lost` if the index, or a part of it, is known to be lost.
    fn check_structure(
        &self,
        report: &mut CheckReport,
        is_lost: bool,
        seen: Seen,
        trees: BTreeSet<TreeId>,
    ) -> Result<()> {
        let (library, _) = self.reopen_with(seen)?;
        // The library only checks the structure: its reading of packs aborts the program if a tree is damaged and the machine is
        // busy.
        let results = caught("cannot check the repository", || {
            library.check_with_trees(CheckOptions::default(), trees.into_iter().collect())
        })?;
        let mut unreferenced = 0;
        for (level, finding) in results.0 {
            match Finding::read(&level, &finding) {
                Finding::NotInIndex => unreferenced += 1,
                Finding::Damage(text) => report.errors.push(text),
                Finding::Odd(text) => report.warnings.push(text),
            }
        }
        if unreferenced > 0 && !is_lost {
            let packs = crate::output::count(unreferenced, "pack");
            let them = if unreferenced == 1 { "it" } else { "them" };
            let what = if report.errors.is_empty() {
                format!("no snapshot needs {them}, and `tik-backup prune` removes unused packs")
            } else {
                // With damage, it is not known for certain what snapshots need.
                format!("or from a lost part of the index: `tik-backup repair index` lists {them}")
            };
            report.warnings.push(format!(
                "{packs} in no index file, from a run that is in progress or was interrupted; {what}"
            ));
        }
        Ok(())
    }
}

impl CheckReport {
    fn advise(&mut self, what: &str) {
        self.advice.push(what.to_owned());
    }

    /// Adds the error and the advice about incomplete snapshots; `own` is the host of the configuration.
    fn add_incomplete(&mut self, own: &str) {
        let number = self.incomplete.len();
        if number == 0 {
            return;
        }
        let (are, they) = if number == 1 { ("is", "it needs") } else { ("are", "they need") };
        let snapshots = crate::output::count(number, "snapshot");
        self.errors.push(format!("{snapshots} {are} incomplete: data that {they} is missing"));
        let commands = removing(&self.incomplete, own);
        self.advice.push(format!(
            "if `tik-backup check` still calls snapshots incomplete after a backup, their missing data is lost. \
             Remove them, or keep them for the data that they still have: {}",
            commands.join("; ")
        ));
    }

    /// The damage other than the content of packs, in one sentence.
    pub(crate) fn structure_damage(&self) -> Option<String> {
        let number = self.errors.len().saturating_sub(self.damaged.len());
        let first = self.errors.first().filter(|_| number > 0)?;
        let what = match self.incomplete.len() {
            0 if number == 1 => first.clone(),
            0 => format!("{first}, and {} more", number - 1),
            1 => "1 snapshot is incomplete".to_owned(),
            number => format!("{number} snapshots are incomplete"),
        };
        Some(format!("the repository is damaged, as `tik-backup check` has found: {what}"))
    }

    /// Ids of packs whose content was read and is damaged.
    pub(crate) fn damaged_packs(&self) -> impl Iterator<Item = String> {
        self.damaged.iter().map(|id| id.to_hex().as_str().to_owned())
    }

    /// Whether a damaged pack still exists and was not read by this check.
    pub(crate) fn may_still_be_damaged(&self, pack: &str) -> bool {
        let Ok(id) = pack.parse::<Id>() else { return false };
        self.there.contains(&id) && !self.read.contains(&id)
    }
}

/// The commands that remove these snapshots.
fn removing(incomplete: &[Incomplete], own: &str) -> Vec<String> {
    let mut commands: BTreeMap<(Option<String>, &str), Vec<&str>> = BTreeMap::new();
    for snapshot in incomplete {
        commands.entry((snapshot.name(), &snapshot.host)).or_default().push(snapshot.short_id());
    }
    let command = |((name, host), ids): (&(Option<String>, &str), &Vec<&str>)| match name {
        Some(name) => {
            let host = if *host == own { String::new() } else { format!(" --host {}", word(host)) };
            format!("`tik-backup forget {}{host} --id {}`", word(name), ids.join(" --id "))
        }
        None => format!("`restic forget {}` (of another program)", ids.join(" ")),
    };
    let all = commands.len();
    let mut listed: Vec<String> = commands.iter().take(COMMANDS).map(command).collect();
    if all > COMMANDS {
        listed.push(format!("and so on for {} more", crate::output::count(all - COMMANDS, "item")));
    }
    listed
}

fn misnamed(what: &str, name: &Id, should: &Id) -> String {
    format!(
        "{what} file {} has a wrong name: by its content it should be {}",
        name.to_hex().as_str(),
        should.to_hex().as_str()
    )
}
