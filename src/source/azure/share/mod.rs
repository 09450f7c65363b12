//! Storing a file share in the repository, read from a share snapshot created for this: every file, without reading unchanged
//! ones, and `files.jsonl` with their attributes.

mod fetch;
mod tally;

use std::{path::Path, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use self::{fetch::Fetcher, tally::Tally};
use super::{
    container::Dumped,
    detail::Detail,
    health::{Access, Health, SHORT_TIMEOUT},
    inventory::{self, Key, Known, Md5},
    names::Paths,
    pipeline::{self, Quick, Steps, Stop},
};
use crate::{
    azure::{
        failure::Scope,
        files::{Entry, FileProperties, FileService, Progress, ShareSnapshot, SmbProperties},
    },
    error::{Error, Result},
    output::name,
    source::{exclude::Excludes, omissions::Omissions},
    stream::{
        cancel::Cancel,
        digest::RowDigest,
        files::Attributes,
        sink::{Sink, Stored},
    },
};

/// Directory of the contents in a snapshot.
pub(super) const TOP: &str = "files";
/// The list of files in a snapshot.
pub(super) const INVENTORY: &str = "files.jsonl";

/// A line of the list.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Line {
    /// Path in the share.
    pub(super) name: String,
    /// `file` or `directory`.
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// Its path in the snapshot; absent if the content is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<String>,
    /// Why its content is not in the snapshot, or its metadata, if it is a directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    /// Length in bytes.
    pub(super) bytes: u64,
    /// The service's ETag of this state of the file.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) etag: String,
    /// MD5 of the content as it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) md5: Option<Md5>,
    /// Attributes and times.
    pub(super) smb: SmbProperties,
    /// Content headers and metadata.
    #[serde(default)]
    pub(super) properties: Arc<FileProperties>,
}

/// A share to be read.
pub(super) struct Share<'a> {
    pub(super) service: &'a FileService,
    /// How to check whether the service answers.
    pub(super) access: Access<'a>,
    pub(super) snapshot: &'a ShareSnapshot,
    pub(super) sink: &'a dyn Sink,
    pub(super) cancel: &'a Cancel,
    /// The exclusions of the configuration.
    pub(super) excludes: &'a Excludes,
    /// Downloads at the same time.
    pub(super) workers: usize,
}

/// Counts of the listing.
#[derive(Default)]
struct Seen {
    files: u64,
    bytes: u64,
    /// Entries that each rule keeps out.
    excluded: Vec<u64>,
    /// Directories that cannot be listed, and why.
    unlisted: Vec<(String, String)>,
}

/// The properties of a file that a listing does not have.
struct Extra {
    /// `None` for directories.
    md5: Option<Md5>,
    properties: Arc<FileProperties>,
}

struct Job {
    /// Path in the share.
    name: String,
    entry: Entry,
    path: String,
    finished: Vec<String>,
}

struct Done {
    job: Job,
    /// `None` for directories, and for files that cannot be read.
    md5: Option<Md5>,
    properties: Arc<FileProperties>,
    unread: bool,
    /// Why it, or what a directory holds beside its entries, cannot be read.
    reason: Option<String>,
}

type Step = Quick<Job, Done>;

/// A directory that is still to be listed, or its next page.
struct Pending {
    directory: String,
    /// The progress of its listing; `None` before the first page.
    marker: Option<Progress>,
    /// Its entry in the parent directory; `None` once it was passed on, and for the share's root.
    own: Option<Entry>,
    /// Directories found on its earlier pages.
    below: Vec<(String, Entry)>,
}

impl Pending {
    /// Ends its listing: puts the directories found in it onto the stack, the first one on top.
    fn leave(self, stack: &mut Vec<Self>) {
        let deeper = self.below.into_iter().rev();
        stack.extend(deeper.map(|(directory, own)| Self {
            directory,
            marker: None,
            own: Some(own),
            below: Vec::new(),
        }));
    }
}

impl Share<'_> {
    /// Reads it all.
    pub(super) fn dump(&self, detail: Detail) -> Result<Dumped> {
        let known = self.known()?;
        let now = Attributes { mtime: Some(Timestamp::now()), links: 1, ..Attributes::default() };
        let health = Health::new(self.access);
        let omissions = Omissions::new("files");
        let mut tally = Tally { detail, content: RowDigest::default(), omissions };
        let (seen, stored) = inventory::store(self.sink, INVENTORY, &now, |lines| {
            self.read(&known, &health, &mut |done| tally.add(self.sink, lines, done))
        })?;
        tally.check(&seen)?;
        health.require_some(tally.unreadable())?;
        tally.listed(seen, self.excludes);
        let Tally { detail, content, omissions, .. } = tally;
        let (notes, omitted) = (detail.notes(), omissions.into_list());
        Ok(Dumped { content, detail, inventory_bytes: stored.bytes, omitted, notes })
    }

    fn known(&self) -> Result<Known<Extra>> {
        let Some(files) = self.sink.previous()? else { return Ok(Known::nothing()) };
        let mut pairs: Vec<(Key, Extra)> = Vec::new();
        let read = inventory::each::<Line>(files, INVENTORY, &mut |line| {
            if line.reason.is_some() || line.md5.is_none() && line.kind != "directory" {
                return Ok(());
            }
            // Most files have the same headers; consecutive entries share one copy.
            let properties = match pairs.last() {
                Some((_, last)) if last.properties == line.properties => last.properties.clone(),
                _ => line.properties,
            };
            let extra = Extra { md5: line.md5, properties };
            pairs.push((state(&line.name, &line.etag, line.bytes, &line.smb), extra));
            Ok(())
        });
        Ok(if read.is_ok() { Known::new(pairs) } else { Known::nothing() })
    }

    /// Reads file by file, a directory's own files before those of the directories in it; returns what was listed.
    fn read(
        &self,
        known: &Known<Extra>,
        health: &Health<'_>,
        done: &mut dyn FnMut(Done) -> Result<()>,
    ) -> Result<Seen> {
        let stop = Stop::default();
        let mut seen = Seen { excluded: vec![0; self.excludes.patterns().len()], ..Seen::default() };
        let mut stack =
            vec![Pending { directory: String::new(), marker: None, own: None, below: Vec::new() }];
        let mut pages = || match stack.pop() {
            Some(pending) => self.page(pending, &mut stack, &mut seen, health).map(Some),
            None => Ok(None),
        };
        let mut paths = Paths::new(TOP, true);
        let hasty = self.service.for_at_most(SHORT_TIMEOUT);
        let fetcher = Fetcher { share: self, health, hasty: &hasty, stop: &stop };
        let steps = Steps {
            pages: &mut pages,
            quick: &mut |entry| self.at_once(known, health, &mut paths, entry),
            fetch: &|job| fetcher.fetch(job),
            done,
        };
        pipeline::run(self.workers, steps, &stop, self.cancel)?;
        Ok(seen)
    }

    /// Lists a directory, or the next page of one, and puts onto the stack what is to be listed after it.
    fn page(
        &self,
        mut pending: Pending,
        stack: &mut Vec<Pending>,
        seen: &mut Seen,
        health: &Health<'_>,
    ) -> Result<Vec<(String, Entry)>> {
        let mut found = Vec::new();
        // A directory precedes its content.
        found.extend(pending.own.take().map(|own| (pending.directory.clone(), own)));
        let mut progress = pending.marker.take().unwrap_or_default();
        let listed = self.service.list_page(self.snapshot, &pending.directory, &mut progress, self.cancel);
        let entries = match listed {
            Ok(entries) => entries,
            Err(failure) if failure.scope() == Scope::Object && !pending.directory.is_empty() => {
                let reason = format!("it cannot be listed: {}", failure.reason());
                seen.unlisted.push((std::mem::take(&mut pending.directory), reason));
                // The directories that its earlier pages named can be listed all the same.
                pending.leave(stack);
                return Ok(found);
            }
            Err(failure) => return Err(health.of_service(failure)),
        };
        for entry in entries {
            let whole = match pending.directory.as_str() {
                "" => entry.name.clone(),
                directory => format!("{directory}/{}", entry.name),
            };
            if let Some(rule) = self.excludes.matched(Path::new(&whole), entry.directory) {
                seen.excluded[rule] += 1;
                continue;
            }
            if entry.directory {
                pending.below.push((whole, entry));
                continue;
            }
            seen.files += 1;
            seen.bytes += entry.bytes;
            found.push((whole, entry));
        }
        if progress.is_over() {
            pending.leave(stack);
        } else {
            stack.push(Pending { marker: Some(progress), ..pending });
        }
        Ok(found)
    }

    fn at_once(
        &self,
        known: &Known<Extra>,
        health: &Health<'_>,
        paths: &mut Paths,
        (whole, entry): (String, Entry),
    ) -> Result<Step> {
        let place = if entry.directory { paths.folder(&whole) } else { paths.file(&whole) };
        let job = Job { name: whole, entry, path: place.0, finished: place.1 };
        if job.entry.directory {
            self.sink.folder(Path::new(&job.path), &Attributes { links: 0, ..attributes(&job.entry) })?;
        }
        let Entry { etag, bytes, smb, .. } = &job.entry;
        let known = known.get(state(&job.name, etag, *bytes, smb));
        let Some(Extra { md5, properties }) = known.filter(|e| e.md5.is_none() == job.entry.directory) else {
            return Ok(Step::Fetch(job));
        };
        let (md5, properties) = (*md5, properties.clone());
        if job.entry.directory {
            return Ok(Step::Done(Done { job, md5, properties, unread: true, reason: None }));
        }
        match self.sink.reuse(Path::new(&job.path), &attributes(&job.entry))? {
            Some(Stored { bytes, .. }) if bytes == job.entry.bytes => {
                health.stored();
                Ok(Step::Done(Done { job, md5, properties, unread: true, reason: None }))
            }
            Some(_) => Err(Error::failed(format!(
                "the length of {} in the previous snapshot differs from the recorded length",
                name(&job.name)
            ))
            .hint("check the repository: tik-backup check --read-data-subset 100%")),
            None => Ok(Step::Fetch(job)),
        }
    }
}

fn state(name: &str, etag: &str, bytes: u64, smb: &SmbProperties) -> Key {
    let time = |time: Option<Timestamp>| time.map_or_else(String::new, |time| time.to_string());
    inventory::key(&[name, etag, &bytes.to_string(), &time(smb.written), &time(smb.changed)])
}

fn attributes(entry: &Entry) -> Attributes {
    Attributes { mtime: Some(entry.smb.written.unwrap_or_default()), links: 1, ..Attributes::default() }
}
