//! Storage behind a network protocol. Every operation is retried while the server does not answer, each time over new
//! connections: the library keeps broken ones.

use std::{
    error::Error as StdError,
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use rustic_core::{BytesList, ErrorKind, FileType, Id, ReadBackend, RusticError, RusticResult, WriteBackend};

use super::{
    connection::{Backend, Build, Connection},
    listing,
    remote_errors::{is_absent, is_refused, passes},
    retry::{NoAnswer, Patience},
};

/// The time limit for a small request.
const ANSWER: Duration = Duration::from_secs(60);
/// The time limit for any operation: the library's own requests end then.
const LONGEST: Duration = Duration::from_secs(600);
/// The slowest supported connection, in bytes per second.
const SLOWEST: usize = 20_000;

/// A backend that is recreated after a failure.
pub(super) struct RemoteStorage {
    connection: Arc<Connection>,
    /// The file `config`, once it was read. It never changes.
    config: OnceLock<Bytes>,
    patience: Patience,
}

impl fmt::Debug for RemoteStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteStorage").field("patience", &self.patience).finish_non_exhaustive()
    }
}

/// An error of the library as [`Patience::run`] prints it: its own form has many lines.
struct Failed(Box<RusticError>);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The innermost cause has the reason; the outer ones may repeat the address with its password.
        let mut cause: &(dyn StdError + 'static) = &*self.0;
        while let Some(next) = cause.source() {
            cause = next;
        }
        match cause.downcast_ref::<reqwest::Error>().and_then(reqwest::Error::status) {
            Some(status) => write!(f, "the server answers {status}"),
            None if cause.is::<RusticError>() || cause.is::<reqwest::Error>() => f.write_str("no answer"),
            None => write!(f, "{cause}"),
        }
    }
}

impl RemoteStorage {
    /// Creates the backend.
    pub(super) fn open(build: Box<Build>, patience: &Patience) -> RusticResult<Self> {
        let build: Arc<Build> = build.into();
        let backend = patience.run(
            |failed: &Failed| passes(&*failed.0),
            || {
                let build = build.clone();
                let built = patience.answered(ANSWER, move || build());
                built.unwrap_or_else(|silence| Err(no_answer(silence))).map_err(Failed)
            },
        );
        let backend = backend.map_err(|failed| failed.0)?;
        let connection = Arc::new(Connection::new(build, backend));
        Ok(Self { connection, config: OnceLock::new(), patience: patience.clone() })
    }

    /// Runs an operation, and retries it while the server does not answer. `again` means that an earlier attempt may have
    /// succeeded although it reported an error. An attempt without an answer within `usual` is abandoned with its connection.
    fn attempt<T: Send + 'static>(
        &self,
        usual: Duration,
        operation: impl Fn(&Backend, bool) -> RusticResult<T> + Send + Sync + 'static,
    ) -> RusticResult<T> {
        let operation = Arc::new(operation);
        let mut has_run = false;
        let done = self.patience.run(
            |failed: &Failed| passes(&*failed.0),
            || {
                let (again, used) = (has_run, Arc::new(OnceLock::new()));
                let (connection, operation, taken) =
                    (self.connection.clone(), operation.clone(), used.clone());
                let done = self.patience.answered(usual, move || {
                    let backend = connection.usable()?;
                    let _ = taken.set(backend.clone());
                    let done = operation(&backend, again);
                    if done.as_ref().is_err_and(|error| passes(&**error)) {
                        connection.mark_broken(&backend);
                    }
                    done
                });
                has_run |= used.get().is_some();
                done.unwrap_or_else(|silence| {
                    used.get().into_iter().for_each(|backend| self.connection.mark_broken(backend));
                    Err(no_answer(silence))
                })
                .map_err(Failed)
            },
        );
        done.map_err(|failed| failed.0)
    }

    /// Whether there is a `config` although the listing reports none: the library treats any refusal that way.
    fn has_config(backend: &Backend) -> RusticResult<bool> {
        match backend.read_full(FileType::Config, &Id::default()) {
            Ok(_) => Ok(true),
            Err(error) if is_absent(&*error) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Whether a file exists with this content.
fn holds(backend: &Backend, tpe: FileType, id: &Id, content: &BytesList) -> RusticResult<bool> {
    let there = match backend.read_full(tpe, id) {
        Ok(there) => there,
        Err(error) if is_absent(&*error) => return Ok(false),
        Err(error) => return Err(error),
    };
    let mut rest = &there[..];
    let same = content.slice().iter().all(|part| match rest.strip_prefix(&part[..]) {
        Some(after) => {
            rest = after;
            true
        }
        None => false,
    });
    Ok(same && rest.is_empty())
}

impl ReadBackend for RemoteStorage {
    fn location(&self) -> String {
        self.connection.current().location()
    }

    fn list(&self, tpe: FileType) -> RusticResult<Vec<Id>> {
        let usual = if tpe == FileType::Config { ANSWER } else { LONGEST };
        self.attempt(usual, move |backend, _| {
            let found = listing::whole(|| backend.list(tpe))?;
            if tpe == FileType::Config && found.is_empty() && Self::has_config(backend)? {
                return Ok(vec![Id::default()]);
            }
            Ok(found)
        })
    }

    fn list_with_size(&self, tpe: FileType) -> RusticResult<Vec<(Id, u32)>> {
        self.attempt(LONGEST, move |backend, _| listing::whole(|| backend.list_with_size(tpe)))
    }

    fn read_full(&self, tpe: FileType, id: &Id) -> RusticResult<Bytes> {
        if let (FileType::Config, Some(config)) = (tpe, self.config.get()) {
            return Ok(config.clone());
        }
        let (name, usual) = (*id, if is_large(tpe) { LONGEST } else { ANSWER });
        let content = self.attempt(usual, move |backend, _| backend.read_full(tpe, &name))?;
        if tpe == FileType::Config {
            self.config.get_or_init(|| content.clone());
        }
        Ok(content)
    }

    fn read_partial(
        &self,
        tpe: FileType,
        id: &Id,
        cacheable: bool,
        offset: u32,
        length: u32,
    ) -> RusticResult<Bytes> {
        let id = *id;
        self.attempt(usual(length as usize), move |backend, _| {
            backend.read_partial(tpe, &id, cacheable, offset, length)
        })
    }

    fn needs_warm_up(&self) -> bool {
        self.connection.current().needs_warm_up()
    }

    fn warm_up(&self, tpe: FileType, id: &Id) -> RusticResult<()> {
        let id = *id;
        self.attempt(LONGEST, move |backend, _| backend.warm_up(tpe, &id))
    }

    fn warmup_path(&self, tpe: FileType, id: &Id) -> String {
        self.connection.current().warmup_path(tpe, id)
    }
}

impl WriteBackend for RemoteStorage {
    fn create(&self) -> RusticResult<()> {
        // It creates 256 directories.
        self.attempt(LONGEST, |backend, _| backend.create())
    }

    fn write_bytes(&self, tpe: FileType, id: &Id, cacheable: bool, content: BytesList) -> RusticResult<()> {
        let id = *id;
        self.attempt(usual(content.size()), move |backend, _| {
            match backend.write_bytes(tpe, &id, cacheable, content.clone()) {
                // A server refuses a file that it already has. An earlier attempt, possibly one of the library itself, may have
                // stored it although its answer was lost.
                Err(error) if is_refused(&*error) => match holds(backend, tpe, &id, &content) {
                    Ok(true) => Ok(()),
                    Err(unknown) if passes(&*unknown) => Err(unknown),
                    _ => Err(error),
                },
                other => other,
            }
        })
    }

    fn remove(&self, tpe: FileType, id: &Id, cacheable: bool) -> RusticResult<()> {
        let id = *id;
        self.attempt(ANSWER, move |backend, again| match backend.remove(tpe, &id, cacheable) {
            // An earlier attempt has done it, although it reported an error.
            Err(error) if again && is_absent(&*error) => Ok(()),
            other => other,
        })
    }
}

/// Files of these types may have many MiB.
fn is_large(tpe: FileType) -> bool {
    matches!(tpe, FileType::Pack | FileType::Index)
}

/// The time limit for an operation with this number of bytes.
fn usual(bytes: usize) -> Duration {
    LONGEST.min(ANSWER + Duration::from_secs((bytes / SLOWEST) as u64))
}

fn no_answer(silence: NoAnswer) -> Box<RusticError> {
    RusticError::with_source(ErrorKind::Backend, "the storage does not answer", silence)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "remote_tests.rs"]
mod tests;
