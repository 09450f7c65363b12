//! Putting a container or share back into an account: contents with their properties, nothing overwritten unless asked.

mod container;
pub(super) mod content;
mod share;
mod target;

use std::sync::{
    Mutex,
    atomic::{AtomicU64, Ordering},
};

use serde::Serialize;

pub use self::target::Target;

use self::{container::ContainerRestore, share::ShareRestore, target::Service};
use super::{container as blobs, inventory, share as entries};
use crate::{
    error::{Error, Result},
    source::{Files, MANIFEST, manifest::Manifest, restore::Options},
    stream::cancel::Cancel,
};

/// Names that a report writes out.
const NAMES: usize = 20;

/// What was put back. The field names are a promise.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Account and container or share.
    pub into: String,
    /// Was it created?
    pub created: bool,
    /// Blobs or files that were written.
    pub files: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Directories that were made.
    pub directories: u64,
    /// Blobs that the snapshot only knows by name, because they were in the archive tier.
    pub missing: u64,
    /// What an operator should know.
    pub notes: Vec<String>,
}

/// Restores a snapshot.
pub fn restore(
    manifest: &Manifest,
    files: &dyn Files,
    target: &Target,
    options: &Options,
    cancel: &Cancel,
    notice: &dyn Fn(&str),
) -> Result<Report> {
    let detail =
        manifest.azure.as_ref().ok_or_else(|| Error::failed("the manifest says nothing of a container"))?;
    Options::refuse(&[(options.keep_going, "--continue")], "containers and file shares", "leave it out")?;
    let (service, into) = target.resolve(detail.share.is_some(), cancel)?;
    notice(&format!("restoring into {into}"));
    let tally = Tally::default();
    let mut report = match &service {
        Service::Container(service, container) => {
            let restore = ContainerRestore { service, container, files, options, cancel, tally: &tally };
            restore.run(detail.stored, &into)?
        }
        Service::Share(service, share) => {
            let restore = ShareRestore { service, share, files, options, cancel, tally: &tally };
            restore.run(&into)?
        }
    };
    report.files = tally.files.load(Ordering::Relaxed);
    report.bytes = tally.bytes.load(Ordering::Relaxed);
    report.notes.extend(tally.notes.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()));
    if report.files != detail.stored || report.bytes != detail.bytes {
        return Err(Error::failed(format!(
            "{into}: {} files of {} bytes were written, but the snapshot has {} of {} bytes",
            report.files, report.bytes, detail.stored, detail.bytes
        )));
    }
    report.into = into;
    Ok(report)
}

/// How many blobs or files have a path that is not their name, and the first `room` of them: name and path.
pub(crate) fn renamed(files: &dyn Files, room: usize) -> Result<(u64, Vec<(String, String)>)> {
    let manifest = Manifest::from_json(&files.read(MANIFEST)?)?;
    let (mut count, mut first) = (0, Vec::new());
    let mut look = |top: &str, name: String, path: Option<String>| {
        let Some(path) = path else { return };
        if path.strip_prefix(top).and_then(|path| path.strip_prefix('/')) != Some(&name) {
            count += 1;
            if first.len() < room {
                first.push((name, path));
            }
        }
    };
    if manifest.azure.is_some_and(|detail| detail.share.is_some()) {
        inventory::each::<entries::Line>(files, entries::INVENTORY, &mut |line| {
            look(entries::TOP, line.name, Some(line.path));
            Ok(())
        })?;
    } else {
        inventory::each::<blobs::Line>(files, blobs::INVENTORY, &mut |line| {
            look(blobs::TOP, line.name, line.path);
            Ok(())
        })?;
    }
    Ok((count, first))
}

#[derive(Default)]
struct Tally {
    files: AtomicU64,
    bytes: AtomicU64,
    notes: Mutex<Vec<String>>,
}

impl Tally {
    fn wrote(&self, bytes: u64) {
        self.files.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn note(&self, note: String) {
        let mut notes = self.notes.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if notes.len() < NAMES && !notes.contains(&note) {
            notes.push(note);
        }
    }
}

/// Something stands where nothing may.
fn exists(what: &str, into: &str) -> Error {
    Error::failed(format!("{into} has {what} already")).hint(
        "nothing was overwritten; name another target, or say --overwrite to replace what has the same name",
    )
}
