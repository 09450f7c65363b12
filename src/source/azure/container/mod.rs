//! Storing a blob container in the repository: every blob as a file, without reading unchanged ones, and `blobs.jsonl` with their
//! properties.

mod fetch;
mod tally;

use std::{collections::HashMap, path::Path};

use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

pub(super) use self::tally::row;
use self::{fetch::Fetcher, tally::Tally};
use super::{
    detail::Detail,
    health::{Access, Health, SHORT_TIMEOUT},
    inventory::{self, Key, Known, Md5},
    names::Paths,
    pipeline::{self, Quick, Steps, Stop},
};
use crate::{
    azure::blob::{Blob, BlobService, Properties},
    error::{Error, Result},
    output::name,
    source::{exclude::Excludes, manifest::Omitted},
    stream::{
        cancel::Cancel,
        digest::RowDigest,
        files::Attributes,
        sink::{Sink, Stored},
    },
};

/// Directory of the contents in a snapshot.
pub(super) const TOP: &str = "blobs";
/// The list of blobs in a snapshot.
pub(super) const INVENTORY: &str = "blobs.jsonl";
/// Why the content of a blob in the archive tier is missing.
const ARCHIVED: &str = "it is in the archive tier, and no snapshot has this state of it";

/// Placeholder path for a blob that is missing from the previous snapshot.
const LACKING: &str = "";

/// A line of the list.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Line {
    /// Name of the blob.
    pub(super) name: String,
    /// `block`, `append`, `page` or `directory`.
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// The path of its content in the snapshot; absent if the content is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<String>,
    /// Why its content is not in the snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    /// Whether not all earlier snapshots could be read when its content was looked for in them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) unsearched: bool,
    /// Length in bytes.
    pub(super) bytes: u64,
    /// The service's ETag of this state of the blob.
    pub(super) etag: String,
    /// MD5 of the content as it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) md5: Option<Md5>,
    /// Further properties.
    pub(super) properties: Properties,
}

/// A container to be read.
pub(super) struct Container<'a> {
    pub(super) service: &'a BlobService,
    /// How to check whether the service answers.
    pub(super) access: Access<'a>,
    pub(super) name: &'a str,
    pub(super) sink: &'a dyn Sink,
    pub(super) cancel: &'a Cancel,
    /// The exclusions of the configuration.
    pub(super) excludes: &'a Excludes,
    /// Downloads at the same time.
    pub(super) workers: usize,
    /// Whether the account has a hierarchical namespace, and so no index tags.
    pub(super) hierarchical: bool,
    /// Whether the listing is assumed to keep all names below a prefix together.
    pub(super) ordered: bool,
}

/// The results of reading.
pub(super) struct Dumped {
    pub(super) detail: Detail,
    pub(super) content: RowDigest,
    pub(super) inventory_bytes: u64,
    pub(super) omitted: Vec<Omitted>,
    pub(super) notes: Vec<String>,
}

/// A blob that is being stored.
struct Job {
    blob: Blob,
    path: String,
    /// Length when it was listed.
    listed: u64,
    /// Directories that are complete once everything before this blob is stored.
    finished: Vec<String>,
}

/// Counts of the listing.
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
    /// Whether not all earlier snapshots could be read when its content was looked for in them.
    unsearched: bool,
}

impl Done {
    fn new(job: Job, outcome: Outcome, changed: bool) -> Self {
        Self { job, outcome, changed, unsearched: false }
    }
}

enum Outcome {
    Stored {
        md5: Md5,
        unread: bool,
        differs: bool,
    },
    Directory,
    /// By the rule with this index.
    Excluded(usize),
    /// A duplicate in the list.
    Repeated,
    Archived,
    /// It cannot be read, for this reason.
    Omitted(String),
    Vanished,
}

/// The entry of a name in the previous snapshot.
#[derive(Clone, Copy)]
struct Before {
    md5: Md5,
    /// Hash of the ETag of the state that was read.
    etag: u64,
}

/// The entry of a name in the snapshots before the newest.
#[derive(Clone, Copy)]
struct Earlier {
    before: Before,
    /// The index of the snapshot.
    number: usize,
}

impl Container<'_> {
    /// Reads it all.
    pub(super) fn dump(&self, detail: Detail) -> Result<Dumped> {
        self.access.require()?;
        let known = self.known()?;
        let now = Attributes { mtime: Some(Timestamp::now()), links: 1, ..Attributes::default() };
        let health = Health::new(self.access);
        let mut tally = Tally::new(detail, self.excludes);
        let (seen, stored) = inventory::store(self.sink, INVENTORY, &now, |lines| {
            self.read(&known, &health, &mut |done| tally.add(self.sink, lines, done))
        })?;
        tally.check(&seen)?;
        health.require_some(tally.unreadable())?;
        let mut notes = tally.detail.notes();
        if seen.tags_hidden {
            notes.push(
                "the blobs' index tags may not be read by this account and are not backed up".to_owned(),
            );
        }
        let Tally { detail, content, omissions, .. } = tally;
        let omitted = omissions.into_list();
        Ok(Dumped { content, detail, inventory_bytes: stored.bytes, omitted, notes })
    }

    /// The blobs of the previous snapshot.
    fn known(&self) -> Result<Known<Before>> {
        let Some(files) = self.sink.previous()? else { return Ok(Known::nothing()) };
        let mut pairs = Vec::new();
        let read = inventory::each::<Line>(files, INVENTORY, &mut |line| {
            if let (Some(path), Some(md5)) = (&line.path, line.md5) {
                let before = Before { md5, etag: inventory::hash(&line.etag) };
                pairs.push((place(&line.name, line.bytes, path), before));
            } else if line.reason.is_some() && !line.unsearched {
                let before = Before { md5: Md5([0; 16]), etag: inventory::hash(&line.etag) };
                pairs.push((place(&line.name, line.bytes, LACKING), before));
            }
            Ok(())
        });
        // Without it everything is read again, which is slower and never wrong.
        Ok(if read.is_ok() { Known::new(pairs) } else { Known::nothing() })
    }

    fn read(
        &self,
        known: &Known<Before>,
        health: &Health<'_>,
        done: &mut dyn FnMut(Done) -> Result<()>,
    ) -> Result<Seen> {
        let stop = Stop::default();
        let mut seen = Seen::default();
        let mut listing = self.service.listing(self.name, None);
        let mut pages = || -> Result<Option<Vec<Blob>>> {
            let page = listing.next(self.cancel).map_err(|failure| health.of_service(failure))?;
            let Some(page) = page else { return Ok(None) };
            seen.tags_hidden |= !page.tags && !self.hierarchical;
            for blob in page.blobs.iter().filter(|blob| !blob.directory) {
                seen.blobs += 1;
                seen.bytes = seen.bytes.saturating_add(blob.bytes);
            }
            Ok(Some(page.blobs))
        };
        let mut paths = Paths::new(TOP, self.ordered);
        let earlier = EarlierBlobs::default();
        let hasty = self.service.for_at_most(SHORT_TIMEOUT);
        let fetcher =
            Fetcher { container: self, known, earlier: &earlier, health, hasty: &hasty, stop: &stop };
        let steps = Steps {
            pages: &mut pages,
            quick: &mut |blob| self.at_once(known, health, &mut paths, blob),
            fetch: &|job| fetcher.fetch(job),
            done,
        };
        pipeline::run(self.workers, steps, &stop, self.cancel)?;
        Ok(seen)
    }

    /// Handles blobs that need not be downloaded.
    fn at_once(
        &self,
        known: &Known<Before>,
        health: &Health<'_>,
        paths: &mut Paths,
        blob: Blob,
    ) -> Result<Step> {
        if let Some(rule) = self.excludes.matched_within(&blob.name, blob.directory) {
            let job = Job { listed: blob.bytes, blob, path: String::new(), finished: Vec::new() };
            return Ok(Step::Done(Done::new(job, Outcome::Excluded(rule), false)));
        }
        if blob.directory {
            let (path, finished) = paths.folder(&blob.name);
            self.sink.folder(Path::new(&path), &Attributes { links: 0, ..attributes(&blob) })?;
            let job = Job { listed: 0, blob, path, finished };
            return Ok(Step::Done(Done::new(job, Outcome::Directory, false)));
        }
        if paths.has_file(&blob.name) {
            let job = Job { listed: blob.bytes, blob, path: String::new(), finished: Vec::new() };
            return Ok(Step::Done(Done::new(job, Outcome::Repeated, false)));
        }
        let (path, finished) = paths.file(&blob.name);
        let job = Job { listed: blob.bytes, blob, path, finished };
        let outcome = match self.take_over(known, &job)? {
            Some(stored) => {
                health.stored();
                stored
            }
            None => return Ok(Step::Fetch(job)),
        };
        Ok(Step::Done(Done::new(job, outcome, false)))
    }

    /// Stores a blob with the content that is in the repository already: of the same state in the previous snapshot or in an
    /// attempt that ended without one, or, if it cannot be read, of another state whose content the service says is the same.
    /// The tier does not matter.
    fn take_over(&self, known: &Known<Before>, job: &Job) -> Result<Option<Outcome>> {
        let Job { blob, path, .. } = job;
        let stored = |md5| Some(Outcome::Stored { md5, unread: true, differs: false });
        let before = known.get(place(&blob.name, blob.bytes, path)).filter(|before| before.is_state(blob));
        if let Some(before) = before {
            match self.sink.reuse(Path::new(path), &attributes(blob))? {
                Some(Stored { bytes, .. }) if bytes == blob.bytes => return Ok(stored(before.md5)),
                Some(_) => return Err(other_length(blob)),
                None => {}
            }
        }
        let kept = self.sink.reuse_kept(Path::new(path), &attributes(blob), state(blob, path), blob.bytes)?;
        Ok(kept.and_then(|md5| stored(Md5(md5))))
    }

    /// Whether the previous backup lacks this state of the blob too, and has already looked for it in earlier ones.
    fn is_known_to_lack(&self, known: &Known<Before>, blob: &Blob) -> bool {
        let before = known.get(place(&blob.name, blob.bytes, LACKING));
        before.is_some_and(|before| before.etag == inventory::hash(&blob.etag))
    }

    /// Whether the newest snapshot refers to this state of the blob.
    fn was_stored(&self, known: &Known<Before>, Job { blob, path, .. }: &Job) -> bool {
        known.get(place(&blob.name, blob.bytes, path)).is_some_and(|before| before.is_state(blob))
    }

    /// Like [`Self::take_over`], from the snapshots before the newest: for what cannot be read.
    fn take_earlier(&self, job: &Job, earlier: &EarlierBlobs) -> Result<Found> {
        let Job { blob, path, .. } = job;
        let (found, whole) = earlier.get(self, blob, path)?;
        let Some(Earlier { before, number }) = found else { return Ok(Found::Nowhere { searched: whole }) };
        match self.sink.reuse_earlier(number, Path::new(path), &attributes(blob)) {
            Ok(Some(stored)) if stored.bytes == blob.bytes => {
                Ok(Found::Stored(Outcome::Stored { md5: before.md5, unread: true, differs: false }))
            }
            Ok(Some(_)) => Err(other_length(blob)),
            Ok(None) => Ok(Found::Lost),
            // A part that is unreadable in this run may be readable in another.
            Err(_) => Ok(Found::Nowhere { searched: false }),
        }
    }
}

/// The result of looking for a content in the snapshots before the newest.
enum Found {
    Stored(Outcome),
    /// A snapshot refers to it, but the repository does not have it.
    Lost,
    /// It is in none of them; `searched` is false if not all of them could be read.
    Nowhere {
        searched: bool,
    },
}

fn other_length(blob: &Blob) -> Error {
    Error::failed(format!(
        "the length of {} in a snapshot differs from the recorded length",
        name(&blob.name)
    ))
    .hint("check the repository: tik-backup check --read-data-subset 100%")
}

impl Before {
    /// Whether a blob has the content that was read earlier: it is in the same state or, if it cannot be read, the service
    /// reports the same content.
    fn is_state(&self, blob: &Blob) -> bool {
        self.etag == inventory::hash(&blob.etag)
            || blob.is_archived() && listed_md5(blob).is_some_and(|listed| listed == self.md5)
    }
}

/// The blobs of the snapshots before the newest, and whether all of these could be read. They are read when the first blob
/// cannot be.
#[derive(Default)]
struct EarlierBlobs(Mutex<Option<(Known<Earlier>, bool)>>);

impl EarlierBlobs {
    fn get(&self, container: &Container<'_>, blob: &Blob, path: &str) -> Result<(Option<Earlier>, bool)> {
        let mut slot = self.0.lock();
        let (known, whole) = match &mut *slot {
            Some(loaded) => loaded,
            none => none.insert(Self::load(container)?),
        };
        let found = known.get(place(&blob.name, blob.bytes, path));
        Ok((found.filter(|earlier| earlier.before.is_state(blob)).copied(), *whole))
    }

    fn load(container: &Container<'_>) -> Result<(Known<Earlier>, bool)> {
        let (mut found, mut whole) = (HashMap::new(), true);
        let shown = container.sink.earlier(&mut |number, files| {
            let read = inventory::each::<Line>(files, INVENTORY, &mut |line| {
                if let (Some(path), Some(md5)) = (&line.path, line.md5) {
                    let before = Before { md5, etag: inventory::hash(&line.etag) };
                    let key = place(&line.name, line.bytes, path);
                    found.entry(key).or_insert(Earlier { before, number });
                }
                Ok(())
            });
            whole &= read.is_ok();
            container.cancel.check()
        });
        container.cancel.check()?;
        Ok((Known::new(found.into_iter().collect()), whole && shown.is_ok()))
    }
}

type Step = Quick<Job, Done>;

/// Identifies a name and where its content lies, as the list of the previous snapshot has them.
fn place(name: &str, bytes: u64, path: &str) -> Key {
    inventory::key(&[name, &bytes.to_string(), path])
}

/// Identifies a state of a blob for the attempts after this one.
fn state(blob: &Blob, path: &str) -> u128 {
    inventory::key(&[&blob.name, &blob.etag, &blob.bytes.to_string(), path]).number()
}

/// The MD5 that the service keeps of the content.
fn listed_md5(blob: &Blob) -> Option<Md5> {
    blob.properties.content_md5.as_deref().and_then(Md5::parse)
}

fn attributes(blob: &Blob) -> Attributes {
    let modified = blob.properties.last_modified.as_deref().and_then(|time| time.parse().ok());
    Attributes { mtime: Some(modified.unwrap_or_default()), links: 1, ..Attributes::default() }
}
