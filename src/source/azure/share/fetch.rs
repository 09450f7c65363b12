//! Downloading a file of a share. What is wrong with one file costs that file alone.

use std::{
    cell::Cell,
    io::{self, Read},
    path::Path,
    sync::Arc,
    time::Duration,
};

use md5::{Digest, Md5 as Md5Hasher};

use super::{
    super::{
        health::{Health, Judged},
        inventory::Md5,
        pipeline::Stop,
    },
    Done, Job, Share, attributes, state,
};
use crate::{
    azure::{
        Failure,
        files::{FileProperties, FileService},
    },
    error::{Error, Result},
    output::name,
    stream::{sink::Mark, sparse::Dense},
};

/// The pause before a file that was not found is asked for again; the one after it is longer.
const PAUSE: Duration = Duration::from_millis(300);
/// Why a file that is not found is missing.
const MISSING: &str = "the share's list names it, but each time it was read it was not found (404)";

/// Downloads files of a share.
pub(super) struct Fetcher<'a, 's> {
    pub(super) share: &'a Share<'s>,
    pub(super) health: &'a Health<'a>,
    /// The service with little patience.
    pub(super) hasty: &'a FileService,
    pub(super) stop: &'a Stop,
}

/// What came of a download: MD5 and properties, or why there are none.
type Fetched = std::result::Result<(Option<Md5>, FileProperties), String>;

impl Fetcher<'_, '_> {
    /// Downloads a file, or asks for what the list does not tell of a directory.
    pub(super) fn fetch(&self, job: Job) -> Result<Done> {
        let fetched = if job.entry.directory { self.directory(&job) } else { self.file(&job) };
        let what = if job.entry.directory { "directory" } else { "file" };
        let fetched = fetched.map_err(|e| e.context(format!("{what} {}", name(&job.name))))?;
        let (md5, properties, reason) = match fetched {
            Ok((md5, properties)) => (md5, properties, None),
            Err(reason) => (None, FileProperties::default(), Some(reason)),
        };
        Ok(Done { job, md5, properties: Arc::new(properties), unread: false, reason })
    }

    fn directory(&self, job: &Job) -> Result<Fetched> {
        let Share { service, snapshot, cancel, .. } = *self.share;
        let hasty = self.health.is_hasty();
        for (service, hasty) in [(self.hasty, true), (service, false)].into_iter().skip(usize::from(!hasty)) {
            let failure = match service.directory(snapshot, &job.name, cancel) {
                Ok((metadata, _)) => {
                    return Ok(Ok((None, FileProperties { metadata, ..FileProperties::default() })));
                }
                Err(failure) => failure,
            };
            if let Judged::Own(reason) = self.health.judge(failure, false, hasty)? {
                return Ok(Err(format!("its metadata cannot be read: {reason}")));
            }
        }
        Err(Error::failed("it could not be asked for"))
    }

    /// Downloads a file. One that the list names is there: that it is not found is believed the third time.
    fn file(&self, job: &Job) -> Result<Fetched> {
        let mut pauses = [PAUSE, PAUSE * 3].into_iter();
        let mut hasty = self.health.is_hasty();
        loop {
            let failure = match self.try_once(job, hasty)? {
                Ok(fetched) => return Ok(Ok(fetched)),
                Err(failure) => failure,
            };
            let missing = failure.status() == Some(404);
            match pauses.next().filter(|_| missing) {
                Some(pause) => {
                    if self.share.cancel.wait(pause) {
                        self.share.cancel.check()?;
                    }
                }
                None => match self.health.judge(failure, false, hasty)? {
                    Judged::Own(_) if missing => return Ok(Err(MISSING.to_owned())),
                    Judged::Own(reason) => return Ok(Err(reason)),
                    Judged::Wait => hasty = false,
                },
            }
        }
    }

    /// One download; that it failed is no error of ours.
    fn try_once(
        &self,
        job: &Job,
        hasty: bool,
    ) -> Result<std::result::Result<(Option<Md5>, FileProperties), Failure>> {
        let Share { service, snapshot, sink, cancel, .. } = *self.share;
        let service = if hasty { self.hasty } else { service };
        let key = state(&job.name, &job.entry.etag, job.entry.bytes, &job.entry.smb).number();
        let (path, of) = (Path::new(&job.path), attributes(&job.entry));
        if sink.has_kept(key, job.entry.bytes) {
            // What its list does not tell is asked first: what is stored cannot be taken back.
            let properties = match service.properties(snapshot, &job.name, cancel) {
                Ok(properties) => properties,
                Err(failure) => return Ok(Err(failure)),
            };
            if let Some(md5) = sink.take_kept(path, &of, key, job.entry.bytes)? {
                self.health.stored();
                return Ok(Ok((Some(Md5(md5)), properties)));
            }
        }
        let (properties, body) = match service.download(snapshot, &job.name, job.entry.bytes, cancel) {
            Ok(begun) => begun,
            Err(failure) => return Ok(Err(failure)),
        };
        let witness = body.witness();
        let found = Cell::new(None);
        let tap = Tap { body, hasher: Md5Hasher::new(), found: &found, stop: self.stop };
        let mark = || found.get().map(|Md5(md5)| Mark { key, md5 });
        match (sink.put_marked(path, &of, &mut Dense(tap), &mark), found.get()) {
            (Ok(stored), Some(md5)) if stored.bytes == job.entry.bytes => {
                self.health.stored();
                Ok(Ok((Some(md5), properties)))
            }
            (Ok(stored), _) => {
                Err(Error::failed(format!("{} bytes arrived of {}", stored.bytes, job.entry.bytes)))
            }
            (Err(error), _) => match witness.failure() {
                Some(failure) if !self.stop.is_set() => Ok(Err(failure)),
                _ => Err(error),
            },
        }
    }
}

struct Tap<'a, B> {
    body: B,
    hasher: Md5Hasher,
    found: &'a Cell<Option<Md5>>,
    stop: &'a Stop,
}

impl<B: Read> Read for Tap<'_, B> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        if self.stop.is_set() {
            return Err(io::Error::other("another file has failed"));
        }
        let n = self.body.read(target)?;
        self.hasher.update(&target[..n]);
        if n == 0 && !target.is_empty() {
            self.found.set(Some(Md5(self.hasher.finalize_reset().into())));
        }
        Ok(n)
    }
}
