//! One directory on its way into the repository.

use std::{
    io::Read,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU64},
    },
    thread,
    time::Duration,
};

use jiff::{Timestamp, Zoned};
use rustix::{
    fs::{Stat, fstat, stat},
    io::Errno,
};

use super::{
    Detail, Directory,
    attributes::Owners,
    protected::Protected,
    read::{Job, MOST_HOLES},
    tally::{Findings, Tally},
    walk::Walk,
};
use crate::{
    error::{Error, Result},
    fs::open::{descriptor_path, identity, open_top},
    source::{
        MANIFEST,
        exclude::EXCLUDE_CACHES,
        manifest::{Consistency, Digested, Manifest, Object},
    },
    stream::{
        cancel::Cancel,
        sink::{Sink, Stored},
    },
};

/// Threads that read files.
const READERS: usize = 4;
/// Files that wait for one of them; each may hold a directory open.
const WAITING: usize = 16;
/// Timestamps of filesystems are coarse, up to two seconds on some: files that changed less than this before the previous backup
/// began may have changed again, within the same tick, after they were read.
const TICK: Duration = Duration::from_secs(2);

/// Information about the previous snapshot.
#[derive(Default)]
struct Before {
    started: Option<Timestamp>,
    entries: u64,
    /// Why nothing is known although a previous snapshot exists.
    problem: Option<Error>,
}

impl Before {
    fn ask(sink: &dyn Sink) -> Result<Self> {
        let Some(files) = sink.previous()? else { return Ok(Self::default()) };
        Ok(match files.read(MANIFEST).and_then(|json| Manifest::from_json(&json)) {
            Ok(manifest) => Self {
                started: Some(manifest.started.timestamp()),
                entries: manifest.into_detail::<Detail>().map_or(0, |detail| detail.entries()),
                problem: None,
            },
            Err(problem) => Self { problem: Some(problem), ..Self::default() },
        })
    }
}

/// Stores the directory `path` as the item of this name.
pub(super) fn dump(
    source: &Directory,
    item: &str,
    path: &Path,
    sink: &dyn Sink,
    cancel: &Cancel,
) -> Result<Manifest> {
    let mut manifest = Manifest::begin(&source.name, item, "directory");
    let before = Before::ask(sink)?;
    let protected = Protected::look(&source.places);
    if let Some(problem) = protected.problem(path) {
        return Err(not_into_itself(&problem));
    }
    let top = open(path)?;
    let begun = state(path, &top)?;
    let settled = before.started.and_then(|started| started.checked_sub(TICK).ok());
    let walk = Walk { settled, protected, ..begin(source, path, sink, cancel) };
    read_all(&walk, top)?;
    let Findings { detail, notes, omissions } = walk.tally.finish();
    if !omissions.is_empty() {
        // The reason of one file may apply to all: an unmounted filesystem has no readable files either.
        open(path)?;
        omissions.require(path, detail.files)?;
    }
    if detail.vanished > 0 && identity(&state(path, &open(path)?)?) != identity(&begun) {
        // The tree was being removed while it was read: the stored part says nothing about the new one.
        return Err(Error::failed(format!(
            "{} was replaced by another directory while it was read, and a part of it vanished",
            path.display()
        ))
        .hint("run the backup again"));
    }
    require_content(path, &detail, &before)?;
    if let Some(problem) = before.problem {
        manifest.notes.push(format!(
            "all files were read again because the manifest of the previous snapshot cannot be read: {problem}"
        ));
    }
    if detail.files == 0 && detail.excluded.iter().any(|rule| rule.entries > 0) {
        manifest.notes.push("NO FILE of this item is in the backup: `exclude` matches everything".to_owned());
    }
    manifest.notes.extend(notes);
    manifest.ended = Zoned::now();
    manifest.consistency = Consistency::None;
    manifest.digested = Digested::Yes;
    manifest.objects.push(Object {
        kind: "folder".to_owned(),
        schema: None,
        name: detail.path.clone(),
        rows: detail.entries(),
        bytes: detail.bytes,
        digest: detail.digest,
    });
    manifest.set_detail(detail);
    manifest.omitted = omissions.finish();
    Ok(manifest)
}

/// A walk that stores its results.
fn begin<'a>(source: &'a Directory, top: &'a Path, sink: &'a dyn Sink, cancel: &'a Cancel) -> Walk<'a> {
    let caches = source.exclude_caches.then_some(EXCLUDE_CACHES);
    Walk {
        top,
        sink,
        cancel,
        excludes: &source.excludes,
        exclude_caches: source.exclude_caches,
        one_file_system: source.one_file_system,
        protected: Protected::default(),
        storing: true,
        settled: None,
        owners: Owners::load(),
        holes: AtomicU64::new(MOST_HOLES),
        tally: Tally::new(top, source.one_file_system, source.excludes.patterns().chain(caches)),
        failure: OnceLock::new(),
        stopped: AtomicBool::new(false),
    }
}

/// Counts the entries that each rule excludes from the directory `path`, without reading or storing anything. Rules without
/// a match are left out.
pub(super) fn count_excluded(source: &Directory, path: &Path, cancel: &Cancel) -> Result<Vec<(String, u64)>> {
    let top = open(path)?;
    let protected = Protected::look(&source.places);
    let walk = Walk { storing: false, protected, ..begin(source, path, &Nothing, cancel) };
    // Nothing is sent through it.
    let (jobs, _) = crossbeam_channel::bounded::<Job>(1);
    walk.run(top, &jobs)?;
    walk.check()?;
    let rules = walk.tally.finish().detail.excluded;
    Ok(rules.into_iter().filter(|rule| rule.entries > 0).map(|rule| (rule.pattern, rule.entries)).collect())
}

/// Discards everything.
struct Nothing;

impl Sink for Nothing {
    fn store(&self, _: &str, _: &mut dyn Read) -> Result<Stored> {
        Ok(Stored::default())
    }
}

/// The error of a directory that must not be backed up.
pub(super) fn not_into_itself(problem: &str) -> Error {
    Error::failed(problem).hint("remove it from `paths`, or move the data elsewhere")
}

/// The state of the directory that is backed up.
fn state(path: &Path, top: &OwnedFd) -> Result<Stat> {
    fstat(top).map_err(|error| Error::from_io(format!("cannot read {}", path.display()), error.into()))
}

/// Opens the directory that is backed up.
pub(super) fn open(path: &Path) -> Result<OwnedFd> {
    let failed = |error: Errno| {
        let failed = Error::failed(format!("cannot read {}", path.display()));
        let hint = match error {
            Errno::NOENT => "mount or create it, or remove it from `paths` if it no longer exists",
            Errno::NOTDIR => "`paths` takes directories: name the directory that contains it",
            Errno::ACCESS | Errno::PERM => "let the account that runs the backup read it",
            _ => "check the filesystem and the system's log",
        };
        failed.because(&std::io::Error::from(error)).hint(hint)
    };
    let top = open_top(path).map_err(failed)?;
    let opened = fstat(&top).map_err(failed)?;
    // Extended attributes of objects that must not be opened are read through it.
    match stat(descriptor_path(top.as_fd()).as_str()) {
        Ok(seen) if identity(&seen) == identity(&opened) => Ok(top),
        _ => Err(Error::failed("/proc is not mounted, and extended attributes cannot be read without")
            .hint("mount it where the program runs")),
    }
}

/// The walk on this thread, the readers on others.
fn read_all(walk: &Walk<'_>, top: OwnedFd) -> Result<()> {
    let (jobs, queue) = crossbeam_channel::bounded::<Job>(WAITING);
    let walked = thread::scope(|scope| {
        for _ in 0..READERS {
            let queue = queue.clone();
            let span = tracing::Span::current();
            scope.spawn(move || span.in_scope(|| queue.into_iter().for_each(|job| walk.read_file(job))));
        }
        drop(queue);
        let walked = walk.run(top, &jobs);
        if let Err(error) = &walked {
            walk.stop(error.clone());
        }
        drop(jobs);
        walked
    });
    walk.check()?;
    walked
}

/// A filesystem that is not mounted looks like an empty directory. `exclude` may also match everything.
fn require_content(path: &Path, detail: &Detail, before: &Before) -> Result<()> {
    if detail.entries() > 0 {
        return Ok(());
    }
    let excluded = detail.excluded.iter().any(|rule| rule.entries > 0);
    let (now, hint) = if excluded {
        (
            format!("everything in {} is left out by `exclude`", path.display()),
            "correct `exclude`, or remove the directory from `paths`; if a filesystem should be mounted there, mount it and run \
             the backup again",
        )
    } else {
        (
            format!("{} is empty now", path.display()),
            "mount its filesystem and run the backup again; if it is meant to be empty, put a file into it, or remove it from \
             `paths`",
        )
    };
    let error = match (&before.problem, before.entries) {
        (None, 0) => return Ok(()),
        (None, 1) => Error::failed(format!("{now}; it had 1 file or directory in the previous backup")),
        (None, entries) => {
            Error::failed(format!("{now}; it had {entries} files and directories in the previous backup"))
        }
        (Some(problem), _) => {
            Error::failed(format!("{now}, and the previous backup cannot be read to compare"))
                .because(problem)
        }
    };
    Err(error.hint(hint))
}
