//! Restoring a container or share into an account: contents with their properties; nothing is overwritten unless requested.

mod choice;
mod container;
pub(super) mod content;
mod entries;
mod into;
mod refused;
mod share;
mod target;

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

pub use self::target::Target;
use self::{
    choice::Chosen, container::ContainerRestore, refused::Refused, share::ShareRestore, target::Service,
};
pub(in crate::source) use self::{
    entries::Inventory,
    into::{by_url, on_own_account},
};
use super::{Detail, container as blobs, share as shares};
use crate::{
    error::{Error, Result},
    output,
    source::{
        layout::List,
        manifest::Manifest,
        restore::{Options, Storage},
    },
    stream::{cancel::Cancel, files::Files},
};

/// The maximum number of names in a report.
const NAMES: usize = 20;
/// The maximum number of names in a note.
const EXAMPLES: usize = 3;

/// Restores a snapshot.
pub fn restore(
    manifest: &Manifest,
    files: &dyn Files,
    target: &Target,
    options: &Options,
    cancel: &Cancel,
    notice: &dyn Fn(&str),
) -> Result<Storage> {
    let detail = manifest
        .detail::<Detail>()
        .ok_or_else(|| Error::failed("the manifest has no details about a container"))?;
    options.refuse_jobs("containers and file shares")?;
    Options::refuse(&[(options.keep_going, "--continue")], "containers and file shares", "leave it out")?;
    let (service, into) = target.resolve(detail.share.is_some(), cancel)?;
    let chosen = match &options.paths[..] {
        [] => Chosen::all(detail),
        paths => Chosen::of(manifest, files, paths, cancel)?,
    };
    notice(&format!("restoring into {into}"));
    let tally = Tally::default();
    let chosen = &chosen;
    let mut report = match &service {
        Service::Container(service, container) => {
            let restore =
                ContainerRestore { service, container, files, options, cancel, chosen, tally: &tally };
            restore.run(&into)?
        }
        Service::Share(service, share) => {
            let restore = ShareRestore { service, share, files, options, cancel, chosen, tally: &tally };
            restore.run(&into)?
        }
    };
    report.omitted = manifest.omitted.iter().filter(|omitted| chosen.concerns(omitted)).cloned().collect();
    tally.finish(&mut report, detail.share.is_some());
    let (refused, refused_bytes) = tally.refused.contents();
    (report.failed_count, report.failed) = tally.refused.into_list();
    if report.files + refused != chosen.files || report.bytes + refused_bytes != chosen.bytes {
        return Err(Error::failed(format!(
            "{into}: {} of {} written, but {} of {} to be restored",
            crate::output::count(report.files, "file"),
            crate::output::count(report.bytes, "byte"),
            crate::output::count(chosen.files, "file"),
            crate::output::count(chosen.bytes, "byte")
        ))
        .hint("check the repository: tik-backup check --read-data-subset 100%"));
    }
    report.into = into;
    Ok(report)
}

/// How many of the blobs or files that `wanted` names have a path that is not their name, and the first `room` of them: name
/// and path.
fn renamed(
    files: &dyn Files,
    room: usize,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<(u64, Vec<(String, String)>)> {
    let (mut count, mut first) = (0, Vec::new());
    Inventory.each(files, &mut |entry| {
        let Some(path) = entry.path else { return Ok(()) };
        let below = [blobs::TOP, shares::TOP]
            .iter()
            .find_map(|top| path.strip_prefix(*top).and_then(|path| path.strip_prefix('/')));
        if below != Some(entry.name.as_str()) && wanted(&entry.name) {
            count += 1;
            if first.len() < room {
                first.push((entry.name, path));
            }
        }
        Ok(())
    })?;
    Ok((count, first))
}

/// A note about written blobs.
struct Note {
    text: String,
    /// The number of blobs, and some of their names.
    count: u64,
    names: Vec<String>,
}

impl Note {
    fn sentence(&self) -> String {
        let mut names: Vec<_> = self.names.iter().map(|name| output::name(name)).collect();
        names.sort();
        let more = if self.count > names.len() as u64 { ", …" } else { "" };
        match self.count {
            1 => format!("blob {}: {}", names.join(", "), self.text),
            count => format!("{count} blobs ({}{more}), each of them: {}", names.join(", "), self.text),
        }
    }
}

/// Counters shared by several threads.
#[derive(Default)]
struct Tally {
    files: AtomicU64,
    bytes: AtomicU64,
    missing: AtomicU64,
    /// Examples of missing objects.
    lacking: Mutex<Vec<String>>,
    notes: Mutex<Vec<Note>>,
    refused: Refused,
}

impl Tally {
    fn wrote(&self, bytes: u64) {
        self.files.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.refused.wrote();
    }

    /// The snapshot has no content of this blob or file.
    fn lacks(&self, name: &str, reason: &str) {
        self.missing.fetch_add(1, Ordering::Relaxed);
        let mut lacking = self.lacking.lock();
        if lacking.len() < EXAMPLES {
            lacking.push(format!("{} ({reason})", output::name(name)));
        }
    }

    fn note(&self, name: &str, text: String) {
        let mut notes = self.notes.lock();
        let full = notes.len() >= NAMES;
        match notes.iter_mut().find(|note| note.text == text) {
            Some(note) => {
                note.count += 1;
                if note.names.len() < EXAMPLES {
                    note.names.push(name.to_owned());
                }
            }
            None if !full => notes.push(Note { text, count: 1, names: vec![name.to_owned()] }),
            None => {}
        }
    }

    /// Adds counts and notes to the report.
    fn finish(&self, report: &mut Storage, is_share: bool) {
        report.files = self.files.load(Ordering::Relaxed);
        report.bytes = self.bytes.load(Ordering::Relaxed);
        report.missing = self.missing.load(Ordering::Relaxed);
        // Objects named in the manifest are shown from there.
        if report.missing > report.omitted.len() as u64 {
            let what = match (is_share, report.missing) {
                (true, 1) => "file is",
                (true, _) => "files are",
                (false, 1) => "blob is",
                (false, _) => "blobs are",
            };
            let mut lacking = self.lacking.lock();
            lacking.sort();
            let more = if report.missing > lacking.len() as u64 { ", …" } else { "" };
            report.notes.push(format!(
                "{} {what} not in the snapshot: {}{more}",
                report.missing,
                lacking.join(", ")
            ));
        }
        let notes = self.notes.lock();
        report.notes.extend(notes.iter().map(Note::sentence));
    }
}

/// The target is not empty.
fn exists(what: &str, into: &str) -> Error {
    Error::failed(format!("{into} already has {what}")).hint(
        "nothing was overwritten; name another target, or use --overwrite to replace objects of the same name",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_name_the_blobs_that_they_are_about() {
        let tally = Tally::default();
        tally.note("b", "its tags were not set".to_owned());
        tally.note("x/y", "its recorded Content-MD5 is not that of its content".to_owned());
        for name in ["a", "d", "c"] {
            tally.note(name, "its tags were not set".to_owned());
        }
        let mut report = Storage::default();
        tally.finish(&mut report, false);
        assert_eq!(
            report.notes,
            [
                "4 blobs (a, b, d, …), each of them: its tags were not set",
                "blob x/y: its recorded Content-MD5 is not that of its content",
            ]
        );
    }
}
