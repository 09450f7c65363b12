//! Access to a storage that may never answer, in a separate thread that is abandoned after a timeout.

use std::{
    fmt::Display,
    time::{Duration, Instant},
};

use crate::{
    config::{Config, RepositoryConfig},
    error::Result,
    repository::{Asked, Patience, Repository},
    stream::cancel::Cancel,
};

/// How long to wait for an answer of the storage.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Opens the repository with a timeout: access to a network storage can block for ever.
pub(crate) fn open_within(
    config: &Config,
    patience: Duration,
    open: impl FnOnce(&RepositoryConfig) -> Result<Repository> + Send + 'static,
    cancel: &Cancel,
) -> Result<Repository> {
    let (settings, begun) = (config.repository.clone(), Instant::now());
    let waited = move || begun.elapsed();
    wait(&config.repository.location, (patience, &waited), cancel, move || open(&settings))?
}

/// Runs `work`, which uses `patience`, as long as the storage keeps answering: the timeout applies to each request, not
/// to the total.
///
/// # Errors
/// There was no answer for [`PATIENCE`], or `cancel` was set. The work continues in its thread, with its cancellation
/// flag set.
pub(crate) fn while_answering<T: Send + 'static>(
    location: &dyn Display,
    (patience, cancel): (Patience, &Cancel),
    work: impl FnOnce(&Cancel) -> T + Send + 'static,
) -> Result<T> {
    let (begun, part) = (Instant::now(), cancel.child());
    let flag = part.clone();
    let waited = move || patience.silence().min(begun.elapsed());
    let done = wait(location, (PATIENCE, &waited), cancel, move || work(&flag));
    if let Err(error) = &done {
        part.cancel(error.summary());
    }
    done
}

fn wait<T: Send + 'static>(
    location: &dyn Display,
    limit: (Duration, &dyn Fn() -> Duration),
    cancel: &Cancel,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    Asked::begin(location, work)?.wait(limit, cancel)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_wait_for_a_hanging_storage_ends_and_abandons_it() {
        let (hold, held) = mpsc::channel::<()>();
        let waited = || Duration::from_secs(60);
        let error = wait(&"place", (PATIENCE, &waited), &Cancel::new(), move || held.recv()).unwrap_err();
        assert_eq!(error.summary(), "place does not answer within 30 s");
        assert_eq!(error.code(), 4);
        drop(hold);
    }

    #[test]
    fn a_signal_ends_the_waiting() {
        let (hold, held) = mpsc::channel::<()>();
        let cancel = Cancel::new();
        cancel.cancel("terminated (SIGTERM)");
        let error =
            while_answering(&"place", (Patience::short(), &cancel), move |_| held.recv()).unwrap_err();
        assert_eq!(error.summary(), "stopped: terminated (SIGTERM)");
        drop(hold);
    }

    #[test]
    fn an_abandoned_thread_sees_the_cancellation() {
        let (sender, receiver) = mpsc::channel();
        let cancel = Cancel::new();
        let done =
            while_answering(&"place", (Patience::short(), &cancel), move |flag| sender.send(flag.clone()));
        assert!(done.unwrap().is_ok());
        assert!(!receiver.recv().unwrap().is_cancelled(), "it came to its end");
    }
}
