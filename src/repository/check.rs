//! Check: whether all data of the repository is present and intact.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use rustic_core::{CheckOptions, FileType, Id, ReadBackend, TreeId};
use serde::Serialize;

use super::{
    DamagedFile, Hosts, Incomplete, Repository, Subset, crypto::hash, findings::Finding, handle::READERS,
    keys, known::KnownBlobs, maintenance::caught, needed::Depth, rustic_error,
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

/// What is wrong with a file.
enum Flaw {
    /// It cannot be read.
    Unreadable(String),
    /// It is a damaged file of the index.
    Index,
    /// It is a damaged key.
    Key,
    /// It should have this name.
    Name(Id),
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
        let (unnamed, unreadable) = self.check_files(&mut report, &known_damaged, cancel)?;
        if unreadable {
            // Nothing else can be checked without the index.
            report.advise("`tik-backup repair index` rebuilds the index from the packs; it removes no data");
            return Ok(report);
        }
        if unnamed {
            report.advise("rename the files as reported, or run `tik-backup repair index` for index files");
        }
        let known = KnownBlobs::load(&self.inner, &*self.storage.backend())?;
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
        self.check_structure(&mut report, is_lost)?;
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

    /// Compares the small files with their names, which are the SHA-256 of their content. Returns whether files have wrong
    /// names, and whether an index file is damaged. Files in `known_damaged` are not reported again.
    fn check_files(
        &self,
        report: &mut CheckReport,
        known_damaged: &HashSet<Id>,
        cancel: &Cancel,
    ) -> Result<(bool, bool)> {
        let (mut unnamed, mut unreadable) = (false, false);
        for (tpe, what) in
            [(FileType::Snapshot, "snapshot"), (FileType::Index, "index"), (FileType::Key, "key")]
        {
            let listed = self.storage.backend().list(tpe);
            let listed = listed.map_err(|e| rustic_error(&format!("cannot list {what} files"), e))?;
            let found = workers::map(&listed, READERS, |id| {
                if cancel.is_cancelled() { None } else { self.flaw_of(tpe, what, id) }
            });
            cancel.check()?;
            for (id, flaw) in listed.iter().zip(found) {
                let name = id.to_hex();
                match flaw {
                    None => {}
                    Some(Flaw::Unreadable(error)) => {
                        unreadable |= tpe == FileType::Index;
                        report.errors.push(error);
                    }
                    Some(Flaw::Index) => {
                        unreadable = true;
                        report.errors.push(format!("index file {} is damaged", name.as_str()));
                    }
                    Some(Flaw::Key) => {
                        report.errors.push(format!(
                            "key file {} is damaged; another key has opened the repository",
                            name.as_str()
                        ));
                        report.advise(
                            "move damaged key files away (docs/operations.md, \"Damaged key files\")",
                        );
                    }
                    Some(Flaw::Name(_)) if known_damaged.contains(id) => {}
                    Some(Flaw::Name(should)) => {
                        unnamed = true;
                        report.errors.push(misnamed(what, id, &should));
                    }
                }
            }
        }
        Ok((unnamed, unreadable))
    }

    /// What is wrong with a small file.
    fn flaw_of(&self, tpe: FileType, what: &str, id: &Id) -> Option<Flaw> {
        let backend = self.storage.backend();
        let data = match backend.read_full(tpe, id) {
            Ok(data) => data,
            // Retention may have removed it since, and another run may have replaced it.
            Err(_) if !backend.list(tpe).is_ok_and(|there| there.contains(id)) => return None,
            Err(error) => {
                let doing = format!("cannot read {what} file {}", id.to_hex().as_str());
                return Some(Flaw::Unreadable(rustic_error(&doing, error).summary()));
            }
        };
        if tpe == FileType::Index && self.parse_index(&data).is_none() {
            return Some(Flaw::Index);
        }
        if tpe == FileType::Key && !keys::is_usable(&data) {
            return Some(Flaw::Key);
        }
        let should = hash(&data);
        (should != *id).then_some(Flaw::Name(should))
    }

    /// Adds the library's findings about index, packs and directories; `is_lost` if the index, or a part of it, is known to be lost.
    fn check_structure(&self, report: &mut CheckReport, is_lost: bool) -> Result<()> {
        let trees: BTreeSet<TreeId> =
            self.snapshot_files()?.into_iter().map(|snapshot| snapshot.tree).collect();
        // The library only checks the structure: its reading of packs aborts the program if a tree is damaged and the machine is
        // busy.
        let results = caught("cannot check the repository", || {
            self.inner.check_with_trees(CheckOptions::default(), trees.into_iter().collect())
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
