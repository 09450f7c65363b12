//! From a snapshot back to a database or to files.

mod folder;
mod listing;
mod server;
mod target;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Zoned;
use serde::Serialize;

use crate::{
    config::Config,
    error::{Error, Result},
    known::{self, Asked, Name},
    repository::{
        At, Hosts, LockOptions, Patience, Repository, Snapshot, SnapshotFiles, SnapshotReader,
        future_warning, patiently,
    },
    source::{
        layout::Layout,
        manifest::{Manifest, Object, Omitted},
        name::ItemName,
        target::{Done, RestoreJob, RestoreTarget, verify},
    },
    stream::cancel::Cancel,
};

use self::folder::Choice;
pub use self::{
    folder::{Escaped, FolderReport},
    listing::{ListEntry, ListHeader, ListRequest, Lister, list},
    server::{ServerItem, ServerReport, ServerRequest, run_server},
};
pub use crate::source::restore::{Options, Restored, Storage};

/// What `--verify` means for files.
const NOT_READ_BACK: &str = "the content of every file was checked against its hashes when it was read from the repository, and \
     written as it was; it was not read back from the target";
/// So many escaped names are listed.
const ESCAPED: usize = 1000;

/// Where to restore to.
#[derive(Debug, Clone)]
pub enum Destination {
    /// A database: a URL, or a name on the source's own server.
    Database(String),
    /// A folder that does not exist yet or is empty.
    Folder(PathBuf),
}

/// What to restore.
#[derive(Debug, Clone)]
pub struct Request {
    /// Source name.
    pub source: String,
    /// Item name.
    pub item: String,
    /// Which snapshot.
    pub at: At,
    /// Where to.
    pub destination: Destination,
    /// File with the password of the target's account.
    pub password_file: Option<PathBuf>,
    /// What to restore and what to leave out.
    pub options: Options,
}

/// What was restored. The field names are a promise.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Source name.
    pub source: String,
    /// Item name.
    pub item: String,
    /// Id of the snapshot.
    pub snapshot: String,
    /// The moment of which it shows the data.
    #[serde(with = "crate::moment")]
    pub time: Zoned,
    /// Time it took.
    pub seconds: f64,
    /// What was done in the database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<Restored>,
    /// What was put into a container or share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,
    /// What was written into a folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<FolderReport>,
    /// Files written, a thousand of them at most.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<PathBuf>,
    /// What the snapshot lacks because it could not be read when it was made.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub omitted: Vec<Omitted>,
}

impl Report {
    /// Of a snapshot of which nothing has been restored yet.
    fn begin(snapshot: &Snapshot) -> Self {
        Self {
            source: snapshot.source.clone(),
            item: snapshot.item.clone(),
            snapshot: snapshot.id.clone(),
            time: snapshot.time.clone(),
            seconds: 0.0,
            database: None,
            storage: None,
            folder: None,
            files: Vec::new(),
            omitted: Vec::new(),
        }
    }
}

/// Restores.
pub fn run(
    config: &Config,
    request: &Request,
    notice: &(dyn Fn(&str) + Sync),
    cancel: &Cancel,
) -> Result<Report> {
    patiently(config.repository.retry_for, cancel, notice, |patience| {
        restore(config, request, notice, patience, cancel)
    })
}

fn restore(
    config: &Config,
    request: &Request,
    notice: &dyn Fn(&str),
    patience: &Patience,
    cancel: &Cancel,
) -> Result<Report> {
    let _span = tracing::info_span!("restore", source = request.source, item = request.item).entered();
    let name = format!("{}/{}", request.source, request.item);
    // Wrong arguments are reported before the repository is opened.
    let target = match &request.destination {
        Destination::Database(into) => Some(target::find(config, request, into, cancel)?),
        Destination::Folder(_) => None,
    };
    let begin = std::time::Instant::now();
    let reading = Reading::begin(config, notice, patience, cancel)?;
    let Reading { repository, snapshots, .. } = &reading;
    let wanted = Name { source: &request.source, item: Some(&request.item) };
    let snapshot = &reading.choose(config, "restore", wanted, &request.at, notice)?;
    require_files(snapshot, &request.options)?;
    let reader = repository.reader()?;
    let files = SnapshotFiles::new(&reader, snapshot);
    let mut report = Report::begin(snapshot);
    notice(&format!(
        "restoring {name} from snapshot {} of {}",
        snapshot.short_id(),
        crate::output::time(&snapshot.time)
    ));
    match (&request.destination, target) {
        (Destination::Folder(into), _) => {
            into_folder(&files, into, snapshot, &request.options, &mut report, cancel)
                .map_err(|e| e.context(&name))?;
        }
        (Destination::Database(_), Some(target)) => {
            let manifest = Manifest::of(&files, &snapshot.source, &snapshot.item)?;
            if manifest.kind != target.kind() {
                return Err(Error::usage(format!(
                    "{name} is of kind {}, --into names a target of kind {}",
                    manifest.kind,
                    target.kind()
                )));
            }
            let globals = match target.without_globals() {
                Some(text) => globals_at(&reader, snapshots, snapshot, text, notice)?,
                None => None,
            };
            let options = &request.options;
            report.omitted = lacking(&manifest, options);
            require_held(&name, &manifest, options, &report.omitted)?;
            let (manifest, globals) = (&manifest, globals.as_ref());
            let job = RestoreJob { manifest, files: &files, globals, options, notice, cancel };
            into_target(target.as_ref(), &job, &name, &mut report)?;
        }
        (Destination::Database(_), None) => return Err(Error::failed("no target")),
    }
    report.seconds = begin.elapsed().as_secs_f64();
    Ok(report)
}

/// What the snapshot lacks of what is restored.
fn lacking(manifest: &Manifest, options: &Options) -> Vec<Omitted> {
    let wanted = |omitted: &&Omitted| {
        options.table.as_ref().is_none_or(|table| {
            omitted.name == *table
                || omitted.name.strip_suffix(table.as_str()).is_some_and(|rest| rest.ends_with('.'))
        })
    };
    manifest.omitted.iter().filter(wanted).cloned().collect()
}

/// Fails if the one table that is wanted is among what the snapshot lacks.
fn require_held(name: &str, manifest: &Manifest, options: &Options, lacking: &[Omitted]) -> Result<()> {
    let (Some(table), Some(omitted)) = (&options.table, lacking.first()) else { return Ok(()) };
    let is_wanted = |object: &Object| {
        let full = object.schema.as_ref().map(|schema| format!("{schema}.{}", object.name));
        object.name == *table || full.as_ref() == Some(table)
    };
    if manifest.objects.iter().any(is_wanted) {
        return Ok(());
    }
    Err(Error::failed(format!("{name}: the snapshot lacks the {}", omitted.text())).hint(format!(
        "an older snapshot may hold it: `tik-backup snapshots '{name}'` lists them, --at names one"
    )))
}

/// Fails if single files are wanted of something that is no collection of files.
fn require_files(snapshot: &Snapshot, options: &Options) -> Result<()> {
    if options.paths.is_empty() || !matches!(Layout::of(&snapshot.kind), Layout::Dump) {
        return Ok(());
    }
    Err(Error::usage(format!(
        "--path is for directories, containers and file shares; {} is of kind {}",
        snapshot.name(),
        snapshot.kind
    ))
    .hint("--table restores one table or collection of a database; --to without --path writes all files of the dump"))
}

/// Writes the files of a snapshot into a folder.
fn into_folder(
    files: &SnapshotFiles<'_>,
    into: &Path,
    snapshot: &Snapshot,
    options: &Options,
    report: &mut Report,
    cancel: &Cancel,
) -> Result<()> {
    let item = (snapshot.source.as_str(), snapshot.item.as_str());
    let layout = Layout::of(&snapshot.kind);
    let choice = Choice::of(files, layout, item, &options.paths, cancel)?;
    let faithful = layout.is_tree();
    let mut written = folder::restore(files, into, faithful, &choice, options.privileged, cancel)?;
    if let Layout::Listed(list) = layout {
        let room = ESCAPED.saturating_sub(written.escaped.len());
        let (count, renamed) = list.renamed(files, room, &|name| choice.takes_name(name))?;
        written.escaped.extend(
            renamed
                .into_iter()
                .map(|(name, path)| Escaped { stored: PathBuf::from(name), written: into.join(path) }),
        );
        let both = if choice.is_all() { "the list beside the content has both" } else { "--json lists both" };
        written
            .notes
            .extend((count > 0).then(|| {
                format!("names that a file system cannot hold, which are escaped: {count}; {both}")
            }));
    }
    written.notes.extend(options.verify.then(|| NOT_READ_BACK.to_owned()));
    report.files = std::mem::take(&mut written.written);
    report.folder = Some(written);
    // Without a manifest that can be read, the files are there all the same.
    if let Ok(manifest) = Manifest::of(files, item.0, item.1) {
        report.omitted = lacking(&manifest, options);
        report.omitted.retain(|omitted| choice.concerns(omitted));
    }
    Ok(())
}

/// Restores into a database, a container or a share, and reads it back if that is wanted.
fn into_target(
    target: &dyn RestoreTarget,
    job: &RestoreJob<'_>,
    name: &str,
    report: &mut Report,
) -> Result<()> {
    let options = job.options;
    match target.restore(job).map_err(|e| e.context(name))? {
        Done::Database(mut database) => {
            if options.verify {
                verify(target, job, &mut database).map_err(|e| e.context(name))?;
            }
            report.database = Some(*database);
        }
        Done::Storage(mut storage) => {
            report.omitted = std::mem::take(&mut storage.omitted);
            storage.notes.extend(options.verify.then(|| NOT_READ_BACK.to_owned()));
            report.storage = Some(storage);
        }
    }
    Ok(())
}

/// A repository that is being read, and what it holds.
pub(crate) struct Reading {
    /// Given back before the repository is closed.
    _lock: Option<crate::repository::LockGuard>,
    /// The repository.
    pub(crate) repository: Repository,
    /// The snapshots of the configured host, oldest first, without those that cannot be read: of these there are notices.
    pub(crate) snapshots: Vec<Snapshot>,
    /// Those of other hosts, which are used only where they are asked for.
    pub(crate) others: Vec<Snapshot>,
}

impl Reading {
    /// Opens the repository, locks it and lists its snapshots.
    ///
    /// # Errors
    /// The repository refuses, or its snapshots cannot be listed.
    pub(crate) fn begin(
        config: &Config,
        notice: &dyn Fn(&str),
        patience: &Patience,
        cancel: &Cancel,
    ) -> Result<Self> {
        let repository = Repository::open_patiently(&config.repository, patience)?;
        let lock = read_lock(&repository, cancel, notice)?;
        let (all, damaged) = repository.readable_snapshots(Hosts::All)?;
        damaged.iter().for_each(|error| notice(&format!("warning: {error}")));
        let (snapshots, others) = all.into_iter().partition(|s| s.host == repository.host());
        Ok(Self { _lock: lock, repository, snapshots, others })
    }

    /// The snapshot of an item of the configured host that is meant, for this command. What is dated in the future is said.
    ///
    /// # Errors
    /// There is none: whether the name is wrong, or another host has it.
    fn choose(
        &self,
        config: &Config,
        command: &str,
        name: Name<'_>,
        at: &At,
        notice: &dyn Fn(&str),
    ) -> Result<Snapshot> {
        let asked = Asked { command, at, removes: false };
        let of_item: Vec<Snapshot> =
            self.snapshots.iter().filter(|s| name.matches(&s.source, &s.item)).cloned().collect();
        if of_item.is_empty() {
            return Err(known::absent(config, asked, name, &self.snapshots, &self.others));
        }
        let chosen = at
            .choose(&name.text(), &of_item)
            .map_err(|error| known::elsewhere(config, asked, name, &self.others, error))?;
        future_warning(chosen, &of_item).iter().for_each(|warning| notice(warning));
        Ok(chosen.clone())
    }
}

/// A shared lock, so that nothing that is being read is pruned. A storage that can only be read is read without.
pub fn read_lock(
    repository: &Repository,
    cancel: &Cancel,
    notice: &dyn Fn(&str),
) -> Result<Option<crate::repository::LockGuard>> {
    let options = LockOptions { exclusive: false, wait: Duration::from_secs(300), cancel, notice };
    match repository.lock_to_read(&options) {
        Ok(lock) => Ok(Some(lock)),
        Err(refusal) => {
            let error = refusal.without_lock()?;
            notice(&format!("reading without a lock: {}", error.summary()));
            Ok(None)
        }
    }
}

/// The manifest of the `@globals` snapshot that was made with this one. If there is none, `without` is said.
fn globals_at(
    reader: &SnapshotReader,
    snapshots: &[Snapshot],
    item: &Snapshot,
    without: &str,
    notice: &dyn Fn(&str),
) -> Result<Option<Manifest>> {
    let Some(chosen) = globals_of(snapshots, item) else {
        notice(without);
        return Ok(None);
    };
    Manifest::of(&SnapshotFiles::new(reader, chosen), &chosen.source, &chosen.item).map(Some)
}

/// The parts of the name of an item, as far as the snapshots tell them.
pub(crate) fn item_name<'i>(snapshots: &[Snapshot], source: &str, item: &'i str) -> ItemName<'i> {
    ItemName::stored(item, |name| snapshots.iter().any(|s| s.source == source && s.item == name))
}

/// The `@globals` snapshot that was made with this one: the newest up to a day later, else the oldest. The snapshots are in
/// the order of their times.
pub(crate) fn globals_of<'s>(snapshots: &'s [Snapshot], item: &Snapshot) -> Option<&'s Snapshot> {
    let name = item_name(snapshots, &item.source, &item.item).globals();
    let globals = || snapshots.iter().filter(|s| s.source == item.source && s.item == name);
    let limit = item.time.timestamp() + Duration::from_secs(24 * 3600);
    globals().rfind(|s| s.time.timestamp() <= limit).or_else(|| globals().next())
}
