//! Restores a snapshot into a database or to files.

mod folder;
mod listing;
mod reading;
mod request;
mod server;
mod target;

use std::path::{Path, PathBuf};

use jiff::Zoned;
use serde::Serialize;

use crate::{
    config::Config,
    error::{Error, Result},
    known::Name,
    repository::{Patience, Snapshot, SnapshotFiles, SnapshotReader, patiently},
    source::{
        layout::Layout,
        manifest::{Manifest, Object, Omitted},
        target::{Done, RestoreJob, RestoreTarget, verify},
    },
    stream::cancel::Cancel,
};

use self::folder::Choice;
pub(crate) use self::reading::{Reading, globals_of, item_name};
pub use self::{
    folder::{Escaped, FolderReport},
    listing::{ListEntry, ListHeader, ListRequest, Lister, list},
    reading::read_lock,
    request::{Destination, Request},
    server::{ServerItem, ServerReport, ServerRequest, run_server},
};
pub use crate::source::restore::{Options, Restored, Storage};

/// The note about `--verify` for files.
const NOT_READ_BACK: &str = "the content of every file was checked against its hashes when it was read from the repository, and \
     written as it was; it was not read back from the target";
/// At most this many escaped names are listed.
const ESCAPED: usize = 1000;

/// The report of a restore. The field names are stable.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Source name.
    pub source: String,
    /// Item name.
    pub item: String,
    /// Id of the snapshot.
    pub snapshot: String,
    /// The time of the data in it.
    #[serde(with = "crate::moment")]
    pub time: Zoned,
    /// Its duration.
    pub seconds: f64,
    /// The restored database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<Restored>,
    /// The restored container or share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,
    /// The restored files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<FolderReport>,
    /// Files written, a thousand of them at most.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<PathBuf>,
    /// Objects that the snapshot lacks because they could not be read when it was made.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub omitted: Vec<Omitted>,
}

impl Report {
    /// A report before anything is restored.
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

/// Restores an item.
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

/// The selected objects that the snapshot lacks.
fn lacking(manifest: &Manifest, options: &Options) -> Vec<Omitted> {
    let wanted = |omitted: &&Omitted| {
        options.table.as_ref().is_none_or(|table| {
            omitted.name == *table
                || omitted.name.strip_suffix(table.as_str()).is_some_and(|rest| rest.ends_with('.'))
        })
    };
    manifest.omitted.iter().filter(wanted).cloned().collect()
}

/// Fails if the snapshot lacks the selected table.
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

/// Fails if single files are selected of an item that does not consist of files.
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

/// Writes the files of a snapshot into a directory.
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
    // The files can be restored even without a readable manifest.
    if let Ok(manifest) = Manifest::of(files, item.0, item.1) {
        report.omitted = lacking(&manifest, options);
        report.omitted.retain(|omitted| choice.concerns(omitted));
    }
    Ok(())
}

/// Restores into a database, a container or a share, and reads it back if requested.
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

/// The manifest of the `@globals` snapshot that was made with this one. If there is none, the notice is `without`.
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
