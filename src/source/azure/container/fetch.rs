//! Downloading a blob. What is wrong with one blob costs that blob alone.

use std::{
    cell::Cell,
    io::{self, Read},
    path::Path,
    time::Duration,
};

use md5::{Digest, Md5 as Md5Hasher};

use super::{
    super::{
        health::{Health, Judged},
        inventory::{Known, Md5},
        pipeline::Stop,
    },
    Before, Container, Done, EarlierBlobs, Found, Job, Outcome, attributes, listed_md5, state,
};
use crate::{
    azure::{
        Failure,
        blob::{Blob, BlobService, Download},
    },
    error::{Error, Result},
    output::name,
    stream::{sink::Mark, sparse::SparseRead},
};

/// How often a blob is read that changes while it is read.
const TRIES: u32 = 5;
/// What is said of a blob that could not be read so often.
const CHANGED: &str = "it changed";
const GONE: &str = "the container's list names it, but it was not found (404)";
const DOUBTED: &str = "it had another content, never the one whose MD5 the service keeps,";
/// What is said of a content that a snapshot refers to and the repository does not have.
const LOST: &str = "the repository no longer has the content that was stored of it";
/// The pause before each further try is so much longer.
const PAUSE: Duration = Duration::from_millis(300);
/// Zeros of a hole, for the MD5.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// Downloads blobs of a container.
pub(super) struct Fetcher<'a, 'c> {
    pub(super) container: &'a Container<'c>,
    pub(super) known: &'a Known<Before>,
    pub(super) earlier: &'a EarlierBlobs,
    pub(super) health: &'a Health<'a>,
    /// The service with little patience.
    pub(super) hasty: &'a BlobService,
    pub(super) stop: &'a Stop,
}

/// What came of one download.
enum Tried {
    Ended(Outcome),
    /// It is another version than the one that was listed.
    Changed,
    /// The service says that it is not there.
    Gone,
    /// It was not waited for with all patience.
    TooSoon,
    /// All of it arrived, and its MD5 is not the one that the service keeps.
    Doubted(Md5),
}

impl Fetcher<'_, '_> {
    /// Downloads a blob; one that changes meanwhile is looked up and read again.
    pub(super) fn fetch(&self, mut job: Job) -> Result<Done> {
        let (mut changed, mut doubted, mut last) = (false, None, CHANGED);
        // One that the previous backup lacks already is rarely worth all patience.
        let mut hasty = self.health.is_hasty() || self.container.is_known_to_lack(self.known, &job.blob);
        for number in 0..TRIES {
            if number > 1 && self.container.cancel.wait(PAUSE * number) {
                self.container.cancel.check()?;
            }
            match self.try_once(&job, doubted, hasty)? {
                Tried::TooSoon => hasty = false,
                Tried::Ended(outcome @ (Outcome::Archived | Outcome::Omitted(_))) => {
                    return self.unreadable(job, outcome, changed);
                }
                Tried::Ended(outcome) => return Ok(Done::new(job, outcome, changed)),
                Tried::Doubted(md5) => (doubted, last) = (Some(md5), DOUBTED),
                lost @ (Tried::Changed | Tried::Gone) => {
                    last = if matches!(lost, Tried::Gone) { GONE } else { CHANGED };
                    match self.again(&job.blob.name) {
                        Ok(Some(blob)) => (job.blob, changed, doubted) = (blob, true, None),
                        Ok(None) => return Ok(Done::new(job, Outcome::Vanished, changed)),
                        Err(failure) => {
                            let tried = self.judge(failure, &job, false)?;
                            let Tried::Ended(outcome) = tried else { continue };
                            return self.unreadable(job, outcome, changed);
                        }
                    }
                }
            }
        }
        let reason = format!("{last} each of the {TRIES} times it was read");
        self.unreadable(job, Outcome::Omitted(reason), false)
    }

    /// What a failure means for this blob.
    ///
    /// # Errors
    /// It is not the blob's fault.
    fn judge(&self, failure: Failure, job: &Job, hasty: bool) -> Result<Tried> {
        let known = self.container.is_known_to_lack(self.known, &job.blob);
        match self.health.judge(failure, known, hasty) {
            Ok(Judged::Own(reason)) => Ok(Tried::Ended(Outcome::Omitted(reason))),
            Ok(Judged::Wait) => Ok(Tried::TooSoon),
            Err(error) => Err(error.context(format!("blob {}", name(&job.blob.name)))),
        }
    }

    /// A blob that cannot be read may have been stored when it could.
    fn unreadable(&self, job: Job, outcome: Outcome, changed: bool) -> Result<Done> {
        // One that changed meanwhile is in another state than the one that was looked for when it was listed.
        let again = if changed { self.container.take_over(self.known, &job)? } else { None };
        if let Some(outcome) = again {
            return Ok(Done::new(job, outcome, changed));
        }
        if self.container.is_known_to_lack(self.known, &job.blob) {
            return Ok(Done::new(job, outcome, changed));
        }
        Ok(match self.container.take_earlier(&job, self.earlier)? {
            Found::Stored(outcome) => {
                self.health.stored();
                Done::new(job, outcome, changed)
            }
            // The newest snapshot refers to it, and the repository did not have it when it was listed.
            Found::Nowhere { .. } if self.container.was_stored(self.known, &job) => {
                Done { unsearched: true, ..Done::new(job, lost(outcome), changed) }
            }
            Found::Nowhere { searched } => Done { unsearched: !searched, ..Done::new(job, outcome, changed) },
            Found::Lost => Done { unsearched: true, ..Done::new(job, lost(outcome), changed) },
        })
    }

    fn try_once(&self, job: &Job, doubted: Option<Md5>, hasty: bool) -> Result<Tried> {
        let Job { blob, path, .. } = job;
        let Container { service, sink, cancel, name: container, .. } = *self.container;
        let context = |error: Error| error.context(format!("blob {}", name(&blob.name)));
        let service = if hasty { self.hasty } else { service };
        let body = match service.download(container, blob, cancel) {
            Ok(Download::Body(body)) => body,
            Ok(Download::Archived) => return Ok(Tried::Ended(Outcome::Archived)),
            Ok(Download::Changed) => return Ok(Tried::Changed),
            Ok(Download::Gone) => return Ok(Tried::Gone),
            Err(failure) => return self.judge(failure, job, hasty),
        };
        let witness = body.witness();
        let found = Cell::new(None);
        let expected = listed_md5(blob);
        let mut tap =
            Tap { body, hasher: Md5Hasher::new(), expected, doubted, found: &found, stop: self.stop };
        let mark = || found.get().map(|Md5(md5)| Mark { key: state(blob, path), md5 });
        match (sink.put_marked(Path::new(path), &attributes(blob), &mut tap, &mark), found.get()) {
            (Ok(stored), Some(md5)) if stored.bytes == blob.bytes => {
                self.health.stored();
                let differs = tap.expected().is_some_and(|expected| expected != md5);
                Ok(Tried::Ended(Outcome::Stored { md5, unread: false, differs }))
            }
            (Ok(stored), _) => {
                Err(context(Error::failed(format!("{} bytes arrived of {}", stored.bytes, blob.bytes))))
            }
            // All of it arrived and is not what it should be: read it once more.
            (Err(_), Some(md5)) if doubted != Some(md5) && witness.failure().is_none() => {
                Ok(Tried::Doubted(md5))
            }
            (Err(_), _) if witness.is_changed() => Ok(Tried::Changed),
            (Err(_), _) if witness.is_gone() => Ok(Tried::Gone),
            (Err(error), _) => match witness.failure() {
                Some(failure) if !self.stop.is_set() => self.judge(failure, job, hasty),
                _ => Err(context(error)),
            },
        }
    }

    /// The blob of this name as it is now.
    fn again(&self, blob: &str) -> std::result::Result<Option<Blob>, Failure> {
        let Container { service, cancel, name: container, .. } = *self.container;
        Ok(service.find(container, blob, cancel)?.filter(|found| !found.directory))
    }
}

/// As an outcome of a blob whose content the repository had.
fn lost(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Omitted(reason) => Outcome::Omitted(format!("{reason}; {LOST}")),
        _ => Outcome::Omitted(format!("it is in the archive tier, and {LOST}")),
    }
}

/// Passes a body on, computes its MD5 and holds back the end of one that is not what the service says.
struct Tap<'a> {
    body: Box<crate::azure::blob::Body>,
    hasher: Md5Hasher,
    expected: Option<Md5>,
    /// What an earlier download gave although the service says something else.
    doubted: Option<Md5>,
    found: &'a Cell<Option<Md5>>,
    stop: &'a Stop,
}

impl Tap<'_> {
    /// The MD5 that the service keeps of this content; of an append blob that has grown it is that of more.
    fn expected(&self) -> Option<Md5> {
        self.expected.filter(|_| self.body.is_listed_state())
    }

    fn check(&self) -> io::Result<()> {
        if self.stop.is_set() { Err(io::Error::other("another blob has failed")) } else { Ok(()) }
    }
}

impl Read for Tap<'_> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        self.check()?;
        let n = self.body.read(target)?;
        self.hasher.update(&target[..n]);
        if n == 0 && !target.is_empty() {
            let found = Md5(self.hasher.finalize_reset().into());
            self.found.set(Some(found));
            if self.expected().is_some_and(|expected| expected != found) && self.doubted != Some(found) {
                return Err(io::Error::other(
                    "the content does not match the MD5 that the service keeps of it",
                ));
            }
        }
        Ok(n)
    }
}

impl SparseRead for Tap<'_> {
    fn hole(&mut self) -> io::Result<u64> {
        self.body.hole()
    }

    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        self.body.skip(bytes)?;
        let mut left = bytes;
        while left > 0 {
            self.check()?;
            let part = left.min(ZEROS.len() as u64);
            self.hasher.update(&ZEROS[..part as usize]);
            left -= part;
        }
        Ok(())
    }
}
