//! Downloading a blob. A failure affects only this blob.

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

/// How often a blob is read if it changes while it is read.
const TRIES: u32 = 5;
/// Reasons for a blob that could not be read in so many attempts.
const CHANGED: &str = "it changed";
const GONE: &str = "the container lists it, but it was not found (404)";
const MISMATCH: &str = "its content differed and never matched the MD5 recorded by the service,";
/// The reason for a content that a snapshot refers to and the repository does not have.
const LOST: &str = "the repository no longer has its stored content";
/// The factor between the pauses before retries.
const PAUSE: Duration = Duration::from_millis(300);
/// Downloads blobs of a container.
pub(super) struct Fetcher<'a, 'c> {
    pub(super) container: &'a Container<'c>,
    pub(super) known: &'a Known<Before>,
    pub(super) earlier: &'a EarlierBlobs,
    pub(super) health: &'a Health<'a>,
    /// The service with a short timeout.
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
    /// The version is not the listed one.
    Changed,
    /// The service does not find it.
    Gone,
    /// All of it arrived, and its MD5 is not the one recorded by the service.
    Mismatch(Md5),
}

impl Fetcher<'_, '_> {
    /// Downloads a blob; if it changes in the meantime, it is looked up and read again.
    pub(super) fn fetch(&self, mut job: Job) -> Result<Done> {
        let (mut changed, mut mismatch, mut last) = (false, None, CHANGED);
        for number in 0..TRIES {
            if number > 1 && self.container.cancel.wait(PAUSE * number) {
                self.container.cancel.check()?;
            }
            let tried = self.attempt(&job.blob, &mut |service| self.try_once(service, &job, mismatch))?;
            last = match tried {
                Ok(Tried::Stored { md5, differs }) => {
                    let outcome = Outcome::Stored { md5, unread: false, differs };
                    return Ok(Done::new(job, outcome, changed));
                }
                Ok(Tried::Archived) => return self.unreadable(job, Outcome::Archived, changed),
                Err(reason) => return self.unreadable(job, Outcome::Omitted(reason), changed),
                Ok(Tried::Mismatch(md5)) => {
                    mismatch = Some(md5);
                    last = MISMATCH;
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
                Ok(Some(blob)) => (job.blob, changed, mismatch) = (blob, true, None),
                Ok(None) => return Ok(Done::new(job, Outcome::Vanished, changed)),
                Err(reason) => return self.unreadable(job, Outcome::Omitted(reason), changed),
            }
        }
        let reason = format!("{last} each of the {TRIES} times it was read");
        self.unreadable(job, Outcome::Omitted(reason), false)
    }

    /// Performs an operation on a blob, with the applicable timeout.
    fn attempt<T>(
        &self,
        blob: &Blob,
        attempt: &mut dyn FnMut(&BlobService) -> Result<std::result::Result<T, Failure>>,
    ) -> Result<std::result::Result<T, String>> {
        // A blob that is missing from the previous backup too rarely justifies the full timeout.
        let known = self.container.is_known_to_lack(self.known, blob);
        self.health
            .attempt(known, &mut |hasty| attempt(if hasty { self.hasty } else { self.container.service }))
            .map_err(|error| error.context(format!("blob {}", name(&blob.name))))
    }

    /// A blob that cannot be read now may have been stored earlier.
    fn unreadable(&self, job: Job, outcome: Outcome, changed: bool) -> Result<Done> {
        // If it changed, its state differs from the one that was looked up when it was listed.
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
            // The newest snapshot refers to it, but the repository did not have it at listing time.
            Found::Nowhere { .. } if self.container.was_stored(self.known, &job) => {
                Done { unsearched: true, ..Done::new(job, lost(outcome), changed) }
            }
            Found::Nowhere { searched } => Done { unsearched: !searched, ..Done::new(job, outcome, changed) },
            Found::Lost => Done { unsearched: true, ..Done::new(job, lost(outcome), changed) },
        })
    }

    /// One download; a refusal by the service is not an error of the run.
    fn try_once(
        &self,
        service: &BlobService,
        job: &Job,
        mismatch: Option<Md5>,
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
            // For an append blob that has grown, the MD5 of the service covers more content.
            listed_md5(blob).is_some_and(|listed| listed != md5) && body.is_listed_state()
        };
        let check = |body: &Body, md5| match differs(body, md5) && mismatch != Some(md5) {
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
            // All of it arrived, but the content is not the expected one: read it once more.
            (Err(_), Some(md5)) if mismatch != Some(md5) && witness.failure().is_none() => {
                Ok(Ok(Tried::Mismatch(md5)))
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

/// The outcome for a blob whose content the repository has lost.
fn lost(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Omitted(reason) => Outcome::Omitted(format!("{reason}; {LOST}")),
        _ => Outcome::Omitted(format!("it is in the archive tier, and {LOST}")),
    }
}
