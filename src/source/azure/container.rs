//! One blob container into the repository: every blob a file, unchanged ones unread, and `blobs.jsonl` with their
//! properties.

use std::{
    io::{self, Read},
    path::Path,
};

use jiff::Timestamp;
use md5::{Digest, Md5 as Md5Hasher};
use serde::{Deserialize, Serialize};

use super::{
    detail::Detail,
    inventory::{self, Known, Md5},
    names::Paths,
    pipeline::{self, Quick, Steps, Stop},
};
use crate::{
    azure::blob::{Blob, BlobService, BlobType, Download, Properties},
    error::{Error, Result},
    output::name,
    stream::{
        cancel::Cancel,
        digest::{Digest128, RowDigest},
        sink::{Attributes, Sink, Stored},
    },
};

/// Folder of the contents in a snapshot.
pub(super) const TOP: &str = "blobs";
/// The list of blobs in a snapshot.
pub(super) const INVENTORY: &str = "blobs.jsonl";
/// How often a blob is read that changes while it is read.
const TRIES: usize = 5;

/// A line of the list.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Line {
    /// Name of the blob.
    pub(super) name: String,
    /// `block`, `append`, `page` or `directory`.
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// Where its content lies in the snapshot; absent if it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<String>,
    /// Length in bytes.
    pub(super) bytes: u64,
    /// The service's mark of this state of the blob.
    pub(super) etag: String,
    /// MD5 of the content as it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) md5: Option<Md5>,
    /// What else the service keeps.
    pub(super) properties: Properties,
}

/// A container to be read.
pub(super) struct Container<'a> {
    pub(super) service: &'a BlobService,
    pub(super) name: &'a str,
    pub(super) sink: &'a dyn Sink,
    pub(super) cancel: &'a Cancel,
    /// Downloads at the same time.
    pub(super) workers: usize,
    /// Whether the account has a hierarchical namespace, and so no index tags.
    pub(super) hierarchical: bool,
    /// Whether the listing is trusted to give all names below a prefix together.
    pub(super) ordered: bool,
}

/// What was read.
pub(super) struct Dumped {
    pub(super) detail: Detail,
    pub(super) content: RowDigest,
    pub(super) inventory_bytes: u64,
    pub(super) notes: Vec<String>,
}

/// A blob on its way.
struct Job {
    blob: Blob,
    path: String,
    /// Length when it was listed.
    listed: u64,
    /// Folders that are complete once everything before this blob is stored.
    finished: Vec<String>,
}

/// What the listing gave, counted where it came in.
#[derive(Default)]
struct Seen {
    blobs: u64,
    bytes: u64,
    tags_hidden: bool,
}

struct Done {
    job: Job,
    outcome: Outcome,
    changed: bool,
}

enum Outcome {
    Stored { md5: Md5, unread: bool, differs: bool },
    Directory,
    Archived,
    Vanished,
}

impl Container<'_> {
    /// Reads it all.
    pub(super) fn dump(&self, detail: Detail) -> Result<Dumped> {
        let known = self.known()?;
        let now = Attributes { mtime: Some(Timestamp::now()), links: 1, ..Attributes::default() };
        let mut tally = Tally { detail, content: RowDigest::default(), bytes: 0 };
        let (seen, stored) = inventory::store(self.sink, INVENTORY, &now, |lines| {
            self.read(&known, &mut |done| tally.add(self.sink, lines, done))
        })?;
        tally.check(&seen)?;
        let mut notes = tally.detail.notes();
        if seen.tags_hidden {
            notes.push(
                "the blobs' index tags may not be read by this account and are not backed up".to_owned(),
            );
        }
        Ok(Dumped { content: tally.content, detail: tally.detail, inventory_bytes: stored.bytes, notes })
    }

    /// The blobs of the previous snapshot: the MD5 of each state.
    fn known(&self) -> Result<Known<Md5>> {
        let Some(files) = self.sink.previous()? else { return Ok(Known::nothing()) };
        let mut pairs = Vec::new();
        let read = inventory::each::<Line>(files, INVENTORY, &mut |line| {
            if let (Some(path), Some(md5)) = (&line.path, line.md5) {
                pairs.push((state(&line.name, &line.etag, line.bytes, path), md5));
            }
            Ok(())
        });
        // Without it everything is read again, which is slower and never wrong.
        Ok(if read.is_ok() { Known::new(pairs) } else { Known::nothing() })
    }

    fn read(&self, known: &Known<Md5>, done: &mut dyn FnMut(Done) -> Result<()>) -> Result<Seen> {
        let stop = Stop::default();
        let mut seen = Seen::default();
        let mut listing = self.service.listing(self.name, None);
        let mut pages = || -> Result<Option<Vec<Blob>>> {
            let Some(page) = listing.next(self.cancel)? else { return Ok(None) };
            seen.tags_hidden |= !page.tags && !self.hierarchical;
            for blob in page.blobs.iter().filter(|blob| !blob.directory) {
                seen.blobs += 1;
                seen.bytes += blob.bytes;
            }
            Ok(Some(page.blobs))
        };
        let mut paths = Paths::new(TOP, self.ordered);
        let steps = Steps {
            pages: &mut pages,
            quick: &mut |blob| self.at_once(known, &mut paths, blob),
            fetch: &|job| self.fetch(job, &stop),
            done,
        };
        pipeline::run(self.workers, steps, &stop, self.cancel)?;
        Ok(seen)
    }

    /// Deals with what need not be downloaded.
    fn at_once(&self, known: &Known<Md5>, paths: &mut Paths, blob: Blob) -> Result<Step> {
        if blob.directory {
            let (path, finished) = paths.folder(&blob.name);
            self.sink.folder(Path::new(&path), &Attributes { links: 0, ..attributes(&blob) })?;
            let job = Job { listed: 0, blob, path, finished };
            return Ok(Step::Done(Done { job, outcome: Outcome::Directory, changed: false }));
        }
        let (path, finished) = paths.file(&blob.name);
        let job = Job { listed: blob.bytes, blob, path, finished };
        if job.blob.is_archived() {
            return Ok(Step::Done(Done { job, outcome: Outcome::Archived, changed: false }));
        }
        let Some(md5) = known.get(state(&job.blob.name, &job.blob.etag, job.blob.bytes, &job.path)) else {
            return Ok(Step::Fetch(job));
        };
        match self.sink.take_over(Path::new(&job.path), &attributes(&job.blob))? {
            Some(Stored { bytes, .. }) if bytes == job.blob.bytes => {
                let outcome = Outcome::Stored { md5: *md5, unread: true, differs: false };
                Ok(Step::Done(Done { job, outcome, changed: false }))
            }
            Some(_) => Err(Error::failed(format!(
                "{} has another length in the previous snapshot than its list says",
                name(&job.blob.name)
            ))
            .hint("check the repository: tik-backup check --read-data-subset 100%")),
            None => Ok(Step::Fetch(job)),
        }
    }

    /// Downloads a blob; one that changes meanwhile is looked up and read again.
    fn fetch(&self, mut job: Job, stop: &Stop) -> Result<Done> {
        let mut changed = false;
        let mut doubted = None;
        for _ in 0..TRIES {
            let what = || format!("blob {}", name(&job.blob.name));
            let body = match self
                .service
                .download(self.name, &job.blob, self.cancel)
                .map_err(|e| Error::from(e).context(what()))?
            {
                Download::Body(body) => body,
                Download::Archived => return Ok(Done { job, outcome: Outcome::Archived, changed }),
                Download::Gone | Download::Changed => match self.again(&job.blob.name)? {
                    Some(blob) => {
                        (job.blob, changed, doubted) = (blob, true, None);
                        continue;
                    }
                    None => return Ok(Done { job, outcome: Outcome::Vanished, changed }),
                },
            };
            let expected = job.blob.properties.content_md5.as_deref().and_then(Md5::parse);
            let witness = body.witness();
            let mut tap = Tap { body, hasher: Md5Hasher::new(), expected, doubted, found: None, stop };
            let put = self.sink.put(Path::new(&job.path), &attributes(&job.blob), &mut tap);
            match (put, tap.found) {
                (Ok(stored), Some(md5)) if stored.bytes == job.blob.bytes => {
                    let differs = expected.is_some_and(|expected| expected != md5);
                    return Ok(Done {
                        job,
                        outcome: Outcome::Stored { md5, unread: false, differs },
                        changed,
                    });
                }
                (Ok(stored), _) => {
                    return Err(Error::failed(format!(
                        "{}: {} bytes arrived of {}",
                        what(),
                        stored.bytes,
                        job.blob.bytes
                    )));
                }
                // All of it arrived and is not what it should be: read it once more.
                (Err(_), Some(md5)) if doubted.is_none() => doubted = Some(md5),
                (Err(_), None) if witness.is_changed() || witness.is_gone() => {
                    match self.again(&job.blob.name)? {
                        Some(blob) => (job.blob, changed, doubted) = (blob, true, None),
                        None => return Ok(Done { job, outcome: Outcome::Vanished, changed }),
                    }
                }
                (Err(error), _) => return Err(error.context(what())),
            }
        }
        Err(Error::failed(format!(
            "blob {} changed each of the {TRIES} times it was read",
            name(&job.blob.name)
        ))
        .hint(
            "if it is written all the time, back it up at another hour or keep it in a container of its own",
        ))
    }

    /// The blob of this name as it is now.
    fn again(&self, blob: &str) -> Result<Option<Blob>> {
        self.service.find(self.name, blob, self.cancel)
    }
}

type Step = Quick<Job, Done>;

/// Identifies a state of a blob in the list of the previous snapshot.
fn state(name: &str, etag: &str, bytes: u64, path: &str) -> u128 {
    inventory::key(&[name, etag, &bytes.to_string(), path])
}

fn attributes(blob: &Blob) -> Attributes {
    let modified = blob.properties.last_modified.as_deref().and_then(|time| time.parse().ok());
    Attributes { mtime: Some(modified.unwrap_or_default()), links: 1, ..Attributes::default() }
}

/// Passes a body on, computes its MD5 and holds back the end of one that is not what the service says.
struct Tap<'a, B> {
    body: B,
    hasher: Md5Hasher,
    expected: Option<Md5>,
    /// What an earlier download gave although the service says something else.
    doubted: Option<Md5>,
    found: Option<Md5>,
    stop: &'a Stop,
}

impl<B: Read> Read for Tap<'_, B> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        if self.stop.is_set() {
            return Err(io::Error::other("another blob has failed"));
        }
        let n = self.body.read(target)?;
        self.hasher.update(&target[..n]);
        if n == 0 && !target.is_empty() {
            let found = Md5(self.hasher.finalize_reset().into());
            self.found = Some(found);
            if self.expected.is_some_and(|expected| expected != found) && self.doubted != Some(found) {
                return Err(io::Error::other(
                    "the content does not match the MD5 that the service keeps of it",
                ));
            }
        }
        Ok(n)
    }
}

/// Counts what comes out and writes the list.
struct Tally {
    detail: Detail,
    content: RowDigest,
    /// Bytes of the blobs accounted for, as they were listed.
    bytes: u64,
}

impl Tally {
    fn add(&mut self, sink: &dyn Sink, lines: &mut inventory::Writer, done: Done) -> Result<()> {
        let Done { job: Job { blob, path, listed, finished }, outcome, changed } = done;
        finished.iter().try_for_each(|folder| sink.finish_folder(Path::new(folder)))?;
        let detail = &mut self.detail;
        if matches!(outcome, Outcome::Directory) {
            detail.directories += 1;
        } else {
            detail.listed += 1;
            self.bytes += listed;
        }
        if changed {
            detail.changed.add(&blob.name);
        }
        let (kind, mut md5_read, mut stored_at) = (kind(&blob), None, None);
        match outcome {
            Outcome::Directory => {}
            Outcome::Vanished => {
                detail.vanished.add(&blob.name);
                return Ok(());
            }
            Outcome::Archived => {
                detail.archived.add(&blob.name);
                detail.archived_bytes += blob.bytes;
            }
            Outcome::Stored { md5, unread, differs } => {
                detail.stored += 1;
                detail.bytes += blob.bytes;
                if unread {
                    detail.unchanged += 1;
                } else {
                    detail.downloaded_bytes += blob.bytes;
                }
                if differs {
                    detail.md5_differs.add(&blob.name);
                }
                self.content.add_hashed(blob.bytes, row(&blob.name, &md5));
                (md5_read, stored_at) = (Some(md5), Some(path));
            }
        }
        let Blob { name, bytes, etag, properties, .. } = blob;
        lines.line(&Line {
            name,
            kind: kind.to_owned(),
            path: stored_at,
            bytes,
            etag,
            md5: md5_read,
            properties,
        })
    }

    /// What was listed must have been stored or be accounted for.
    fn check(&self, seen: &Seen) -> Result<()> {
        let Detail { stored, archived, vanished, .. } = &self.detail;
        let accounted = stored + archived.count + vanished.count;
        if seen.blobs == accounted && seen.bytes == self.bytes {
            return Ok(());
        }
        Err(Error::failed(format!(
            "{} blobs of {} bytes were listed, but only {accounted} of {} bytes are accounted for",
            seen.blobs, seen.bytes, self.bytes
        )))
    }
}

/// The hash of a blob's name and content, for the digest of a container.
pub(super) fn row(name: &str, md5: &Md5) -> Digest128 {
    Digest128::of(&[name.as_bytes(), &[0], &md5.0].concat())
}

fn kind(blob: &Blob) -> &'static str {
    match blob.kind {
        _ if blob.directory => "directory",
        BlobType::Block => "block",
        BlobType::Append => "append",
        BlobType::Page => "page",
    }
}
