//! Downloading a blob. What is wrong with one blob costs that blob alone.

use std::{cell::Cell, io, path::Path, time::Duration};

use super::{
    super::{
        health::Health,
        inventory::{Known, Md5},
        pipeline::Stop,
        tap::Tap,
    },
    Before, Container, Done, EarlierBlobs, Found, Job, Outcome, attributes, listed_md5, state,
};
use crate::{
    azure::{
        Failure,
        blob::{Blob, BlobService, Body, Download},
    },
    error::{Error, Result},
    output::name,
    stream::sink::Mark,
};

/// How often a blob is read that changes while it is read.
const TRIES: u32 = 5;
/// What is said of a blob that could not be read so often.
const CHANGED: &str = "it changed";
const GONE: &str = "the container lists it, but it was not found (404)";
const DOUBTED: &str = "its content differed and never matched the MD5 recorded by the service,";
/// What is said of a content that a snapshot refers to and the repository does not have.
const LOST: &str = "the repository no longer has its stored content";
/// The pause before each further try is so much longer.
const PAUSE: Duration = Duration::from_millis(300);
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

/// The result of one download.
enum Tried {
    Stored {
        md5: Md5,
        differs: bool,
    },
    Archived,
    /// It is another version than the one that was listed.
    Changed,
    /// The service says that it is not there.
    Gone,
    /// All of it arrived, and its MD5 is not the one that the service keeps.
    Doubted(Md5),
}

impl Fetcher<'_, '_> {
    /// Downloads a blob; one that changes meanwhile is looked up and read again.
    pub(super) fn fetch(&self, mut job: Job) -> Result<Done> {
        let (mut changed, mut doubted, mut last) = (false, None, CHANGED);
        for number in 0..TRIES {
            if number > 1 && self.container.cancel.wait(PAUSE * number) {
                self.container.cancel.check()?;
            }
            let tried = self.attempt(&job.blob, &mut |service| self.try_once(service, &job, doubted))?;
            last = match tried {
                Ok(Tried::Stored { md5, differs }) => {
                    let outcome = Outcome::Stored { md5, unread: false, differs };
                    return Ok(Done::new(job, outcome, changed));
                }
                Ok(Tried::Archived) => return self.unreadable(job, Outcome::Archived, changed),
                Err(reason) => return self.unreadable(job, Outcome::Omitted(reason), changed),
                Ok(Tried::Doubted(md5)) => {
                    doubted = Some(md5);
                    last = DOUBTED;
                    continue;
                }
                Ok(Tried::Gone) => GONE,
                Ok(Tried::Changed) => CHANGED,
            };
            let Container { cancel, name: container, .. } = *self.container;
            let found = self.attempt(&job.blob, &mut |service| {
                Ok(service.find(container, &job.blob.name, cancel).map(|b| b.filter(|b| !b.directory)))
            })?;
            match found {
                Ok(Some(blob)) => (job.blob, changed, doubted) = (blob, true, None),
                Ok(None) => return Ok(Done::new(job, Outcome::Vanished, changed)),
                Err(reason) => return self.unreadable(job, Outcome::Omitted(reason), changed),
            }
        }
        let reason = format!("{last} each of the {TRIES} times it was read");
        self.unreadable(job, Outcome::Omitted(reason), false)
    }

    /// Tries something about a blob, with the service of the patience that is due.
    fn attempt<T>(
        &self,
        blob: &Blob,
        attempt: &mut dyn FnMut(&BlobService) -> Result<std::result::Result<T, Failure>>,
    ) -> Result<std::result::Result<T, String>> {
        // One that the previous backup lacks already is rarely worth all patience.
        let known = self.container.is_known_to_lack(self.known, blob);
        self.health
            .attempt(known, &mut |hasty| attempt(if hasty { self.hasty } else { self.container.service }))
            .map_err(|error| error.context(format!("blob {}", name(&blob.name))))
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

    /// One download; that the service refuses it is no error of ours.
    fn try_once(
        &self,
        service: &BlobService,
        job: &Job,
        doubted: Option<Md5>,
    ) -> Result<std::result::Result<Tried, Failure>> {
        let Job { blob, path, .. } = job;
        let Container { sink, cancel, name: container, .. } = *self.container;
        let body = match service.download(container, blob, cancel) {
            Ok(Download::Body(body)) => body,
            Ok(Download::Archived) => return Ok(Ok(Tried::Archived)),
            Ok(Download::Changed) => return Ok(Ok(Tried::Changed)),
            Ok(Download::Gone) => return Ok(Ok(Tried::Gone)),
            Err(failure) => return Ok(Err(failure)),
        };
        let witness = body.witness();
        let found = Cell::new(None);
        let differs = |body: &Body, md5| {
            // Of an append blob that has grown, the service keeps the MD5 of more.
            listed_md5(blob).is_some_and(|listed| listed != md5) && body.is_listed_state()
        };
        let check = |body: &Body, md5| match differs(body, md5) && doubted != Some(md5) {
            true => Err(io::Error::other("the content does not match the MD5 recorded by the service")),
            false => Ok(()),
        };
        let mut tap = Tap::new(*body, check, &found, self.stop);
        let mark = || found.get().map(|Md5(md5)| Mark { key: state(blob, path), md5 });
        match (sink.put_marked(Path::new(path), &attributes(blob), &mut tap, &mark), found.get()) {
            (Ok(stored), Some(md5)) if stored.bytes == blob.bytes => {
                self.health.stored();
                Ok(Ok(Tried::Stored { md5, differs: differs(tap.body(), md5) }))
            }
            (Ok(stored), _) => {
                Err(Error::failed(format!("{} bytes arrived of {}", stored.bytes, blob.bytes)))
            }
            // All of it arrived and is not what it should be: read it once more.
            (Err(_), Some(md5)) if doubted != Some(md5) && witness.failure().is_none() => {
                Ok(Ok(Tried::Doubted(md5)))
            }
            (Err(_), _) if witness.is_changed() => Ok(Ok(Tried::Changed)),
            (Err(_), _) if witness.is_gone() => Ok(Ok(Tried::Gone)),
            (Err(error), _) => match witness.failure() {
                Some(failure) if !self.stop.is_set() => Ok(Err(failure)),
                _ => Err(error),
            },
        }
    }
}

/// As an outcome of a blob whose content the repository had.
fn lost(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Omitted(reason) => Outcome::Omitted(format!("{reason}; {LOST}")),
        _ => Outcome::Omitted(format!("it is in the archive tier, and {LOST}")),
    }
}
