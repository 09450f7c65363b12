//! One file share into the repository, read from a share snapshot that is taken for it: every file a file, unchanged ones
//! unread, and `files.jsonl` with their attributes.

use std::{
    io::{self, Read},
    path::Path,
    sync::Arc,
};

use jiff::Timestamp;
use md5::{Digest, Md5 as Md5Hasher};
use serde::{Deserialize, Serialize};

use super::{
    container::{Dumped, row},
    detail::Detail,
    inventory::{self, Known, Md5},
    names::Paths,
    pipeline::{self, Quick, Steps, Stop},
};
use crate::{
    azure::files::{Entry, FileProperties, FileService, ShareSnapshot, SmbProperties},
    error::{Error, Result},
    output::name,
    stream::{
        cancel::Cancel,
        digest::RowDigest,
        sink::{Attributes, Sink, Stored},
    },
};

/// Folder of the contents in a snapshot.
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
    /// Where it lies in the snapshot.
    pub(super) path: String,
    /// Length in bytes.
    pub(super) bytes: u64,
    /// The service's mark of this state of the file.
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
    pub(super) snapshot: &'a ShareSnapshot,
    pub(super) sink: &'a dyn Sink,
    pub(super) cancel: &'a Cancel,
    /// Downloads at the same time.
    pub(super) workers: usize,
}

/// What a listing does not tell of a file.
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
    /// `None` for directories.
    md5: Option<Md5>,
    properties: Arc<FileProperties>,
    unread: bool,
}

type Step = Quick<Job, Done>;

/// A directory that is still to be listed, or its next page.
struct Pending {
    directory: String,
    marker: Option<String>,
    /// What the directory that it lies in says of it; none once it was handed on, and of the share's root.
    own: Option<Entry>,
    /// Directories found on its earlier pages.
    below: Vec<(String, Entry)>,
}

impl Share<'_> {
    /// Reads it all.
    pub(super) fn dump(&self, detail: Detail) -> Result<Dumped> {
        let known = self.known()?;
        let now = Attributes { mtime: Some(Timestamp::now()), links: 1, ..Attributes::default() };
        let mut tally = Tally { detail, content: RowDigest::default() };
        let (seen, stored) = inventory::store(self.sink, INVENTORY, &now, |lines| {
            self.read(&known, &mut |done| tally.add(self.sink, lines, done))
        })?;
        tally.check(seen)?;
        let notes = tally.detail.notes();
        Ok(Dumped { content: tally.content, detail: tally.detail, inventory_bytes: stored.bytes, notes })
    }

    fn known(&self) -> Result<Known<Extra>> {
        let Some(files) = self.sink.previous()? else { return Ok(Known::nothing()) };
        let mut pairs: Vec<(u128, Extra)> = Vec::new();
        let read = inventory::each::<Line>(files, INVENTORY, &mut |line| {
            if line.md5.is_none() && line.kind != "directory" {
                return Ok(());
            }
            // Most files have the same headers; one copy does for neighbours.
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

    /// Reads file by file, a directory's own files before those of the directories in it; gives count and bytes of what
    /// was listed.
    fn read(&self, known: &Known<Extra>, done: &mut dyn FnMut(Done) -> Result<()>) -> Result<(u64, u64)> {
        let (stop, mut seen) = (Stop::default(), (0, 0));
        let mut stack =
            vec![Pending { directory: String::new(), marker: None, own: None, below: Vec::new() }];
        let mut pages = || -> Result<Option<Vec<(String, Entry)>>> {
            let Some(mut pending) = stack.pop() else { return Ok(None) };
            let page = self.service.list_page(
                self.snapshot,
                &pending.directory,
                pending.marker.as_deref(),
                self.cancel,
            )?;
            let mut found = Vec::with_capacity(page.items.len() + 1);
            // A directory stands before what lies in it.
            found.extend(pending.own.take().map(|own| (pending.directory.clone(), own)));
            for entry in page.items {
                let whole = match pending.directory.as_str() {
                    "" => entry.name.clone(),
                    directory => format!("{directory}/{}", entry.name),
                };
                if entry.directory {
                    pending.below.push((whole, entry));
                    continue;
                }
                seen.0 += 1;
                seen.1 += entry.bytes;
                found.push((whole, entry));
            }
            match page.next {
                Some(marker) => stack.push(Pending { marker: Some(marker), ..pending }),
                None => {
                    let deeper = pending.below.drain(..).rev();
                    stack.extend(deeper.map(|(directory, own)| Pending {
                        directory,
                        marker: None,
                        own: Some(own),
                        below: Vec::new(),
                    }));
                }
            }
            Ok(Some(found))
        };
        let mut paths = Paths::new(TOP, true);
        let steps = Steps {
            pages: &mut pages,
            quick: &mut |entry| self.at_once(known, &mut paths, entry),
            fetch: &|job| self.fetch(job, &stop),
            done,
        };
        pipeline::run(self.workers, steps, &stop, self.cancel)?;
        Ok(seen)
    }

    fn at_once(
        &self,
        known: &Known<Extra>,
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
            return Ok(Step::Done(Done { job, md5, properties, unread: true }));
        }
        match self.sink.take_over(Path::new(&job.path), &attributes(&job.entry))? {
            Some(Stored { bytes, .. }) if bytes == job.entry.bytes => {
                Ok(Step::Done(Done { job, md5, properties, unread: true }))
            }
            Some(_) => Err(Error::failed(format!(
                "{} has another length in the previous snapshot than its list says",
                name(&job.name)
            ))
            .hint("check the repository: tik-backup check --read-data-subset 100%")),
            None => Ok(Step::Fetch(job)),
        }
    }

    fn fetch(&self, job: Job, stop: &Stop) -> Result<Done> {
        if job.entry.directory {
            // Its list tells everything but this.
            let (metadata, _) = self.service.directory(self.snapshot, &job.name, self.cancel)?;
            let properties = Arc::new(FileProperties { metadata, ..FileProperties::default() });
            return Ok(Done { job, md5: None, properties, unread: false });
        }
        let what = || format!("file {}", name(&job.name));
        let (properties, body) = self
            .service
            .download(self.snapshot, &job.name, job.entry.bytes, self.cancel)
            .map_err(|e| Error::from(e).context(what()))?;
        let mut tap = Tap { body, hasher: Md5Hasher::new(), stop };
        let stored = self
            .sink
            .put(Path::new(&job.path), &attributes(&job.entry), &mut tap)
            .map_err(|e| e.context(what()))?;
        if stored.bytes != job.entry.bytes {
            return Err(Error::failed(format!(
                "{}: {} bytes arrived of {}",
                what(),
                stored.bytes,
                job.entry.bytes
            )));
        }
        let md5 = Some(Md5(tap.hasher.finalize().into()));
        Ok(Done { job, md5, properties: Arc::new(properties), unread: false })
    }
}

fn state(name: &str, etag: &str, bytes: u64, smb: &SmbProperties) -> u128 {
    let time = |time: Option<Timestamp>| time.map_or_else(String::new, |time| time.to_string());
    inventory::key(&[name, etag, &bytes.to_string(), &time(smb.written), &time(smb.changed)])
}

fn attributes(entry: &Entry) -> Attributes {
    Attributes { mtime: Some(entry.smb.written.unwrap_or_default()), links: 1, ..Attributes::default() }
}

struct Tap<'a, B> {
    body: B,
    hasher: Md5Hasher,
    stop: &'a Stop,
}

impl<B: Read> Read for Tap<'_, B> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        if self.stop.is_set() {
            return Err(io::Error::other("another file has failed"));
        }
        let n = self.body.read(target)?;
        self.hasher.update(&target[..n]);
        Ok(n)
    }
}

struct Tally {
    detail: Detail,
    content: RowDigest,
}

impl Tally {
    fn add(&mut self, sink: &dyn Sink, lines: &mut inventory::Writer, done: Done) -> Result<()> {
        let Done { job: Job { name, entry, path, finished }, md5, properties, unread } = done;
        finished.iter().try_for_each(|folder| sink.finish_folder(Path::new(folder)))?;
        let Entry { bytes, etag, smb, .. } = entry;
        let kind = match md5 {
            None => {
                self.detail.directories += 1;
                "directory"
            }
            Some(md5) => {
                self.detail.listed += 1;
                self.detail.stored += 1;
                self.detail.bytes += bytes;
                if unread {
                    self.detail.unchanged += 1;
                } else {
                    self.detail.downloaded_bytes += bytes;
                }
                let expected = properties.content_md5.as_deref().and_then(Md5::parse);
                if expected.is_some_and(|expected| expected != md5) {
                    self.detail.md5_differs.add(&name);
                }
                self.content.add_hashed(bytes, row(&name, &md5));
                "file"
            }
        };
        lines.line(&Line { name, kind: kind.to_owned(), path, bytes, etag, md5, smb, properties })
    }

    fn check(&self, (files, bytes): (u64, u64)) -> Result<()> {
        if self.detail.stored == files && self.detail.bytes == bytes {
            return Ok(());
        }
        Err(Error::failed(format!(
            "{files} files of {bytes} bytes were listed, but {} of {} bytes were stored",
            self.detail.stored, self.detail.bytes
        )))
    }
}
