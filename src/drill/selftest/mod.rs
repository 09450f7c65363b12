//! The self-test of drills: known content is backed up, damaged in every way that matters, and drilled. Each damage must
//! be found. Attacks that a backup can contain must fail.

mod attack;
mod repository;
mod tamper;

use std::{collections::BTreeMap, path::Path, time::Instant};

use serde::Serialize;

use self::{
    repository::Stored,
    tamper::{How, Tampered},
};
use super::{
    plan::Candidate,
    pool::{self, Job, ScratchPool},
    verdict::rounded,
};
use crate::{
    config::Config,
    error::{Error, Result},
    history::Past,
    repository::{Snapshot, SnapshotFiles},
    scratch::ScratchDir,
    settings::DrillConfig,
    source::{
        GLOBALS, KINDS, Kind, MANIFEST,
        manifest::Manifest,
        subject::{Named, Subject, Subjects, Target},
        verify::{Ahead, Fault, Globals, Proven, Setup, files::Part},
    },
    stream::{cancel::Cancel, files::Files},
};

/// Content is divided among this many processes, whatever the machine has.
const SELF_TEST_PROCESSES: usize = 2;

/// One way in which something was damaged, or attacked.
#[derive(Debug, Clone, Serialize)]
pub struct Mutation {
    /// The kind of source; for MySQL, the family of the server.
    pub kind: String,
    /// The damage or attack.
    pub mutation: String,
    /// Whether it was found; of an attack, whether it was prevented.
    pub detected: bool,
    /// The difference or error that showed it, or the answer if it was not found.
    pub by: String,
}

/// A kind that could not be tested.
#[derive(Debug, Clone, Serialize)]
pub struct Untested {
    /// The kind.
    pub kind: String,
    /// Why.
    pub reason: String,
}

/// The report of a self-test. The field names are stable.
#[derive(Debug, Serialize)]
pub struct SelfTest {
    /// `ok`: every damage was found, and undamaged content was proven; `partial`: the same, but some kinds could not be tested; `failed`.
    pub outcome: &'static str,
    /// Its duration.
    pub seconds: f64,
    /// Damages and attacks.
    pub mutations: Vec<Mutation>,
    /// Kinds that could not be tested.
    pub untested: Vec<Untested>,
    /// Tests that do not apply.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl SelfTest {
    /// The exit code of the self-test.
    pub fn exit_code(&self) -> u8 {
        match self.outcome {
            "ok" => 0,
            "partial" => 3,
            _ => 1,
        }
    }
}

/// Tests the kinds of source that the configuration has, or those of the sources named.
///
/// # Errors
/// A named source is not configured.
pub fn self_test(
    config: &Config,
    sources: &[String],
    tell: &(dyn Fn(&Mutation) + Sync),
    cancel: &Cancel,
) -> Result<SelfTest> {
    let begin = Instant::now();
    // Ordered by name.
    let mut kinds: BTreeMap<&str, &'static dyn Kind> = BTreeMap::new();
    let mut add = |kind: &'static dyn Kind| {
        kinds.insert(kind.name(), kind);
    };
    for name in sources {
        let source =
            config.source(name).ok_or_else(|| Error::usage(format!("there is no source `{name}`")))?;
        add(source.kind.kind());
    }
    match (sources.is_empty(), config.sources.is_empty()) {
        (false, _) => {}
        (true, false) => config.sources.iter().for_each(|source| add(source.kind.kind())),
        (true, true) => KINDS.iter().copied().for_each(add),
    }
    let mut test = SelfTest {
        outcome: "failed",
        seconds: 0.0,
        mutations: Vec::new(),
        untested: Vec::new(),
        notes: Vec::new(),
    };
    for kind in kinds.into_values() {
        cancel.check()?;
        let dir = ScratchDir::new(config.drill.dir.as_deref())?;
        let subjects = subjects(kind, &config.drill, dir.path(), cancel);
        for (name, subject) in subjects {
            let tested = subject.and_then(|subject| {
                test.notes.extend(subject.no_attacks().map(|why| format!("{name}: {why}")));
                let stored = Stored::new(&dir.path().join(format!("repository-{name}")), &*subject, cancel)?;
                Ok(Bench { subject: &*subject, stored: &stored, drill: &config.drill, cancel, tell }.run())
            });
            match tested {
                Ok(mutations) => test.mutations.extend(mutations),
                Err(error) => test.untested.push(Untested { kind: name, reason: error.to_string() }),
            }
        }
    }
    test.seconds = rounded(begin.elapsed().as_secs_f64());
    test.outcome = match (test.mutations.iter().all(|m| m.detected), test.untested.is_empty()) {
        (false, _) => "failed",
        (true, true) => "ok",
        (true, false) if test.mutations.is_empty() => "failed",
        (true, false) => "partial",
    };
    Ok(test)
}

/// The test subjects of a kind. A kind without subjects is reported as not tested.
fn subjects(kind: &dyn Kind, drill: &DrillConfig, dir: &Path, cancel: &Cancel) -> Vec<Named> {
    let nothing = |why: &str| vec![(kind.name().to_owned(), Err(Error::failed(why)))];
    match kind.self_test_subjects(drill, dir, cancel) {
        Subjects::Made(subjects) if subjects.is_empty() => nothing("no test content was made"),
        Subjects::Made(subjects) => subjects,
        Subjects::Nothing(why) => nothing(why),
    }
}

/// One subject and its snapshots of two days.
struct Bench<'a> {
    subject: &'a dyn Subject,
    stored: &'a Stored,
    drill: &'a DrillConfig,
    cancel: &'a Cancel,
    tell: &'a (dyn Fn(&Mutation) + Sync),
}

impl Bench<'_> {
    fn run(&self) -> Vec<Mutation> {
        let mut done = Vec::new();
        let mut add = |mutation: &str, detected: bool, by: String| {
            let mutation =
                Mutation { kind: self.subject.name(), mutation: mutation.to_owned(), detected, by };
            (self.tell)(&mutation);
            done.push(mutation);
        };
        let pool = ScratchPool::default();
        // Undamaged content must be proven; otherwise a found damage means nothing.
        for part in self.parts() {
            let what = if part == Target::Globals { "no damage to the accounts" } else { "no damage" };
            let proven = self.tampered(&ScratchPool::default(), part, None, None);
            let (good, by) = match proven {
                Ok(proof) => {
                    let (objects, rows) = (
                        crate::output::count(proof.objects, "object"),
                        crate::output::count(proof.rows, "row"),
                    );
                    (true, format!("proven, {objects} and {rows}"))
                }
                Err(fault) => (false, said(&fault)),
            };
            add(what, good, by);
        }
        for (part, mutation, command) in self.subject.damages() {
            // Accounts are restored when a server starts: each damage to them needs its own server.
            let fresh = ScratchPool::default();
            let pool = if *part == Target::Globals { &fresh } else { &pool };
            let (detected, by) = verdict(&self.tampered(pool, *part, None, Some(command)));
            add(mutation, detected, by);
        }
        for (mutation, how) in self.tamperings() {
            let (detected, by) = verdict(&self.tampered(&pool, Target::Item, Some(how), None));
            add(mutation, detected, by);
        }
        for (attack, failed, by) in self.attacks(&pool) {
            add(&attack, failed, by);
        }
        let (detected, by) = verdict(&self.yesterday(&pool));
        add("yesterday's content under today's manifest", detected, by);
        let (detected, by) = self.stale();
        add("yesterday's snapshot in place of today's", detected, by);
        let (detected, by) = verdict(&self.flipped());
        add("a flipped byte in a pack", detected, by);
        done
    }

    fn parts(&self) -> Vec<Target> {
        let globals = self.stored.snapshots().iter().any(|snapshot| snapshot.item == GLOBALS);
        if globals { vec![Target::Globals, Target::Item] } else { vec![Target::Item] }
    }

    /// The snapshot of today, or that of yesterday.
    fn snapshot(&self, part: Target, today: bool) -> Result<&Snapshot, Fault> {
        let wanted = |snapshot: &&Snapshot| (snapshot.item == GLOBALS) == (part == Target::Globals);
        let mut all = self.stored.snapshots().iter().filter(wanted);
        let found = if today { all.next_back() } else { all.next() };
        found.ok_or_else(|| Fault::Cannot(Error::failed("a snapshot of the self-test is missing")))
    }

    /// The ways in which stored files are damaged.
    fn tamperings(&self) -> Vec<(&'static str, How)> {
        let file = self.subject.file().to_owned();
        let is_dump = self.subject.other_file().is_none();
        let truncated = if is_dump { "a truncated dump" } else { "a truncated file" };
        let mut all = vec![(truncated, How::Truncated(file.clone()))];
        if let Some(other) = self.subject.other_file() {
            all.push(("two contents swapped between files", How::Swapped(file.clone(), other.to_owned())));
            all.push(("a file that is missing", How::Deleted(file.clone())));
            all.push(("a file that was never backed up", How::Added(file.clone())));
            if self.subject.has_permissions() {
                all.push(("changed permissions", How::Permissions(file)));
            }
        }
        all.extend(self.wrong_manifest().map(|json| ("a wrong manifest", How::Manifest(json))));
        all
    }

    /// A manifest that differs from the backed-up content.
    fn wrong_manifest(&self) -> Option<Vec<u8>> {
        let snapshot = self.snapshot(Target::Item, true).ok()?;
        let files = SnapshotFiles::new(self.stored.reader(), snapshot);
        let mut manifest = Manifest::from_json(&files.read(MANIFEST).ok()?).ok()?;
        self.subject.falsify(&mut manifest);
        manifest.to_json().ok()
    }

    /// Drills today's snapshot with damaged files or with damage in the restored database.
    fn tampered(&self, pool: &ScratchPool, part: Target, how: Option<How>, damage: Option<&str>) -> Proven {
        let snapshot = self.snapshot(part, true)?;
        let files = SnapshotFiles::new(self.stored.reader(), snapshot);
        match how {
            None => self.prove(pool, self.stored, snapshot, &files, damage),
            Some(how) => {
                let files = Tampered { files: &files, how };
                self.prove(pool, self.stored, snapshot, &files, damage)
            }
        }
    }

    /// Yesterday's files with today's manifest.
    fn yesterday(&self, pool: &ScratchPool) -> Proven {
        let (today, yesterday) = (self.snapshot(Target::Item, true)?, self.snapshot(Target::Item, false)?);
        let manifest = SnapshotFiles::new(self.stored.reader(), today).read(MANIFEST)?;
        let old = SnapshotFiles::new(self.stored.reader(), yesterday);
        let files = Tampered { files: &old, how: How::Manifest(manifest) };
        self.prove(pool, self.stored, today, &files, None)
    }

    /// Yesterday's snapshot proves yesterday, and must not count as proof of today.
    fn stale(&self) -> (bool, String) {
        let (Ok(today), Ok(yesterday)) =
            (self.snapshot(Target::Item, true), self.snapshot(Target::Item, false))
        else {
            return (false, "a snapshot of the self-test is missing".to_owned());
        };
        let fresh = super::verdict::is_fresh(yesterday, Some(&today.id), None);
        let by = if fresh { "it counts as fresh" } else { "not fresh: there is a newer snapshot" };
        (!fresh && super::verdict::is_fresh(today, Some(&today.id), None), by.to_owned())
    }

    /// Flips one bit of today's data in the repository.
    fn flipped(&self) -> Proven {
        let copy = self.stored.with_flipped_byte(self.cancel)?;
        let snapshot = self.snapshot(Target::Item, true)?;
        let files = SnapshotFiles::new(copy.reader(), snapshot);
        self.prove(&ScratchPool::default(), &copy, snapshot, &files, None)
    }

    fn prove(
        &self,
        pool: &ScratchPool,
        stored: &Stored,
        snapshot: &Snapshot,
        files: &dyn Files,
        damage: Option<&str>,
    ) -> Proven {
        let manifest = Manifest::from_json(&files.read(MANIFEST)?)?;
        let of_roles = self.snapshot(Target::Globals, true).ok();
        let globals_files = of_roles.map(|snapshot| SnapshotFiles::new(stored.reader(), snapshot));
        let globals = match &globals_files {
            Some(files) => Some(Manifest::from_json(&files.read(MANIFEST)?)?),
            None => None,
        };
        let candidate = Candidate {
            snapshot,
            server: None,
            database: snapshot.item.clone(),
            is_globals: snapshot.item == GLOBALS,
            past: Past::default(),
        };
        let globals = globals.as_ref().zip(globals_files.as_ref());
        let job = Job {
            candidate: &candidate,
            manifest: &manifest,
            files,
            globals: globals.map(|(manifest, files)| Globals { manifest, files }),
            globals_id: of_roles.map_or("", |snapshot| &snapshot.id),
            part: Part::WHOLE,
            siblings: None,
            damage,
        };
        let setup = Setup {
            drill: self.drill,
            client_dirs: Vec::new(),
            processes: SELF_TEST_PROCESSES,
            eager: true,
            ahead: &Ahead::default(),
            cancel: self.cancel,
            notice: &|_| {},
        };
        pool::prove(&setup, pool, &job)
    }
}

/// Whether a damage was found, and how.
fn verdict(proven: &Proven) -> (bool, String) {
    match proven {
        Ok(_) => (false, "it was reported as proven".to_owned()),
        Err(fault @ (Fault::Cannot(_) | Fault::Refused(_) | Fault::Alone(_))) => {
            (false, format!("it could not be tried: {}", said(fault)))
        }
        Err(fault) => (true, said(fault)),
    }
}

/// The first line of a text.
fn said(fault: &Fault) -> String {
    let text = match fault {
        Fault::Differs(differences) => differences.first().cloned().unwrap_or_default(),
        Fault::Failed(error) | Fault::Cannot(error) | Fault::Refused(error) => error.summary(),
        Fault::Alone(databases) => databases.iter().map(String::as_str).collect::<Vec<_>>().join(", "),
    };
    text.lines().next().unwrap_or_default().to_owned()
}
