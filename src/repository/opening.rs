//! Work on a storage in a thread of its own: deriving the key of a repository takes a third of a second of processor time, in
//! which other work can be done, and a storage may never answer.

use std::{
    fmt::Display,
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use super::{Patience, Repository};
use crate::{
    config::RepositoryConfig,
    error::{Error, Passing, Result},
    stream::cancel::Cancel,
};

/// How often a wait checks for cancellation.
const STEP: Duration = Duration::from_millis(200);

/// Work in a thread of its own. If its result is no longer awaited, the thread continues and the result is dropped.
pub(crate) struct Asked<T> {
    location: String,
    answer: Receiver<T>,
}

impl<T: Send + 'static> Asked<T> {
    /// Starts `work`, which uses the storage at `location`.
    pub(crate) fn begin(location: &dyn Display, work: impl FnOnce() -> T + Send + 'static) -> Result<Self> {
        let (sender, answer) = mpsc::channel();
        let span = tracing::Span::current();
        thread::Builder::new()
            .name("storage".to_owned())
            // The result is dropped if nothing waits for it any more.
            .spawn(move || drop(sender.send(span.in_scope(work))))
            .map_err(|error| Error::failed("cannot read the repository").because(&error))?;
        Ok(Self { location: location.to_string(), answer })
    }

    /// Waits for the result, until `waited` gives more than `patience`.
    ///
    /// # Errors
    /// There was no answer in time, the work panicked, or `cancel` was set.
    pub(crate) fn wait(
        self,
        (patience, waited): (Duration, &dyn Fn() -> Duration),
        cancel: &Cancel,
    ) -> Result<T> {
        loop {
            cancel.check()?;
            match self.answer.recv_timeout(STEP) {
                Ok(done) => return Ok(done),
                Err(RecvTimeoutError::Timeout) if waited() < patience => {}
                Err(RecvTimeoutError::Timeout) => {
                    let seconds = patience.as_secs();
                    return Err(Error::repository(format!(
                        "{} does not answer within {seconds} s",
                        self.location
                    ))
                    .passes(Passing::Storage)
                    .hint("check the storage, its mount and the network"));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::failed("reading the repository panicked"));
                }
            }
        }
    }
}

/// A repository that is being opened.
pub struct Opening {
    asked: Asked<Result<Repository>>,
    begun: Instant,
}

impl Repository {
    /// Begins to open the configured repository, as [`Repository::open_patiently`] does, while the caller does other work.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn open_in_background(config: &RepositoryConfig, patience: &Patience) -> Result<Opening> {
        let (settings, waits) = (config.clone(), patience.clone());
        let open = move || Self::open_patiently(&settings, &waits);
        Ok(Opening { asked: Asked::begin(&config.location, open)?, begun: Instant::now() })
    }
}

impl Opening {
    /// The repository, or why it could not be opened.
    ///
    /// # Errors
    /// Those of [`Repository::open_patiently`], or `cancel` was set.
    pub fn wait(self, cancel: &Cancel) -> Result<Repository> {
        self.asked.wait((Duration::MAX, &|| Duration::ZERO), cancel)?
    }

    /// As [`Self::wait`], but only until `limit` after it was begun: access to a network storage can block for ever.
    ///
    /// # Errors
    /// As [`Self::wait`], or the storage did not answer in time.
    pub fn wait_within(self, limit: Duration, cancel: &Cancel) -> Result<Repository> {
        let waited = || self.begun.elapsed();
        self.asked.wait((limit, &waited), cancel)?
    }
}
