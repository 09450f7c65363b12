//! Downloading a file of a share. A failure affects only this file.

use std::{cell::Cell, path::Path, sync::Arc, time::Duration};

use super::{
    super::{health::Health, inventory::Md5, pipeline::Stop, tap::Tap},
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
/// The reason for a file that is not found.
const MISSING: &str = "the share lists it, but it was not found each time it was read (404)";

/// Downloads files of a share.
pub(super) struct Fetcher<'a, 's> {
    pub(super) share: &'a Share<'s>,
    pub(super) health: &'a Health<'a>,
    /// The service with a short timeout.
    pub(super) hasty: &'a FileService,
    pub(super) stop: &'a Stop,
}

/// The result of a download: MD5 and properties, or why there are none.
type Fetched = std::result::Result<(Option<Md5>, FileProperties), String>;

impl Fetcher<'_, '_> {
    /// Downloads a file, or asks for what the list does not say of a directory.
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
        let Share { snapshot, cancel, .. } = *self.share;
        let asked = self.attempt(&mut |service| Ok(service.directory(snapshot, &job.name, cancel)))?;
        Ok(match asked {
            Ok((metadata, _)) => Ok((None, FileProperties { metadata, ..FileProperties::default() })),
            Err(reason) => Err(format!("its metadata cannot be read: {reason}")),
        })
    }

    /// Downloads a file. A listed file should exist: it counts as missing only after it was not found three times.
    fn file(&self, job: &Job) -> Result<Fetched> {
        let mut pauses = [PAUSE, PAUSE * 3].into_iter();
        let mut missing = false;
        let fetched = self.attempt(&mut |service| {
            loop {
                let tried = self.try_once(service, job)?;
                missing = tried.as_ref().is_err_and(|failure| failure.status() == Some(404));
                match pauses.next().filter(|_| missing) {
                    Some(pause) if !self.share.cancel.wait(pause) => {}
                    _ => return Ok(tried),
                }
            }
        })?;
        Ok(fetched.map_err(|reason| if missing { MISSING.to_owned() } else { reason }))
    }

    /// Performs an operation on an entry, with the applicable timeout.
    fn attempt<T>(
        &self,
        attempt: &mut dyn FnMut(&FileService) -> Result<std::result::Result<T, Failure>>,
    ) -> Result<std::result::Result<T, String>> {
        let service = |hasty| if hasty { self.hasty } else { self.share.service };
        self.health.attempt(false, &mut |hasty| attempt(service(hasty)))
    }

    /// One download; its failure is not an error of the run.
    fn try_once(
        &self,
        service: &FileService,
        job: &Job,
    ) -> Result<std::result::Result<(Option<Md5>, FileProperties), Failure>> {
        let Share { snapshot, sink, cancel, .. } = *self.share;
        let key = state(&job.name, &job.entry.etag, job.entry.bytes, &job.entry.smb).number();
        let (path, of) = (Path::new(&job.path), attributes(&job.entry));
        if sink.has_kept(key, job.entry.bytes) {
            // The properties missing in the list are requested first, because stored content cannot be withdrawn.
            let properties = match service.properties(snapshot, &job.name, cancel) {
                Ok(properties) => properties,
                Err(failure) => return Ok(Err(failure)),
            };
            if let Some(md5) = sink.reuse_kept(path, &of, key, job.entry.bytes)? {
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
        let mut tap = Tap::new(Dense(body), |_, _| Ok(()), &found, self.stop);
        let mark = || found.get().map(|Md5(md5)| Mark { key, md5 });
        match (sink.put_marked(path, &of, &mut tap, &mark), found.get()) {
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
