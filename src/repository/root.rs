//! The handle of a repository's directory. It is opened once, so that nothing is ever written to the directory *underneath* a
//! mount that disappears. After an outage it is reopened, and must be the same repository.

use std::{
    collections::HashMap,
    fmt,
    io::{self, Read},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard, RwLock};
use rustic_core::Id;
use rustix::{
    fs::{self as rfs, AtFlags, Mode, OFlags},
    io::Errno,
};

use super::{
    guard::{self, Identity},
    retry::Patience,
    transient::{is_momentary, passes},
};
use crate::{
    error::{Error, Kind, Passing, Result},
    fs::owner,
};

/// The open directory and its identity.
#[derive(Debug)]
struct Handle {
    dir: OwnedFd,
    identity: Identity,
}

/// A repository's directory.
#[derive(Debug)]
pub(super) struct Root {
    path: PathBuf,
    mount: Option<PathBuf>,
    handle: RwLock<Arc<Handle>>,
    /// The file `config`, once it was read. It identifies the repository.
    config: OnceLock<Vec<u8>>,
    /// Files that this process has stored and that must exist: path and size.
    stored: Mutex<HashMap<Id, (String, u64)>>,
    patience: Patience,
}

/// Unreadable content of a storage that answers.
#[derive(Debug)]
struct Unreadable(io::Error);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: the storage answers but cannot read this file: its disk may be damaged", self.0)
    }
}

// Without a source: the inner error counts as temporary.
impl std::error::Error for Unreadable {}

fn is_eio(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::IO.raw_os_error())
}

/// Why the directory could not be reopened.
enum Fault {
    /// It does not exist at present.
    Away(Error),
    /// It is another directory, or it cannot be used.
    Lasting(Error),
}

impl Fault {
    fn error(self) -> Error {
        match self {
            Self::Away(error) => error.passes(Passing::Storage),
            Self::Lasting(error) => error,
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        // During a run, a storage may be mounted again; a wrong configuration stays wrong.
        if error.kind() == Kind::Repository { Self::Away(error) } else { Self::Lasting(error) }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Away(error) | Self::Lasting(error)) = self;
        f.write_str(&error.summary())
    }
}

impl Root {
    /// Opens the directory `path`, which must lie on the file system mounted at `mount` if that is given.
    pub(super) fn open(path: &Path, mount: Option<&Path>, patience: &Patience) -> Result<Self> {
        // At the start, a missing mount or directory is reported at once.
        let is_away = |error: &Error| error.passing() == Some(Passing::Storage);
        let handle = patience.run(is_away, || open_handle(path, mount))?;
        Ok(Self {
            path: path.to_owned(),
            mount: mount.map(Path::to_owned),
            handle: RwLock::new(Arc::new(handle)),
            config: OnceLock::new(),
            stored: Mutex::default(),
            patience: patience.clone(),
        })
    }

    /// Its path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn handle(&self) -> Arc<Handle> {
        self.handle.read().clone()
    }

    fn stored(&self) -> MutexGuard<'_, HashMap<Id, (String, u64)>> {
        self.stored.lock()
    }

    /// Sets the content of `config` that identifies the repository.
    pub(super) fn know_config(&self, content: &[u8]) {
        self.config.get_or_init(|| content.to_owned());
    }

    /// The content of `config`, if it was read before.
    pub(super) fn known_config(&self) -> Option<Bytes> {
        self.config.get().map(|content| Bytes::copy_from_slice(content))
    }

    /// Records a file that this process has stored and that a reopened directory must contain.
    pub(super) fn has_stored(&self, id: Id, path: String, bytes: u64) {
        self.stored().insert(id, (path, bytes));
    }

    /// Records that a file was removed.
    pub(super) fn has_removed(&self, id: &Id) {
        self.stored().remove(id);
    }

    /// One system call on the directory, without retries.
    pub(super) fn once<T>(&self, call: impl FnOnce(&OwnedFd) -> T) -> T {
        self.patience.watched(|| call(&self.handle().dir))
    }

    /// Runs an operation on the directory, and retries it as a whole while the storage does not answer. `again` means that an
    /// earlier attempt may have succeeded although it reported an error.
    pub(super) fn attempt<T>(&self, operation: impl FnMut(&OwnedFd, bool) -> io::Result<T>) -> io::Result<T> {
        self.attempt_with(&self.patience, operation)
    }

    /// As [`Self::attempt`], for callers that must not wait long.
    pub(super) fn attempt_briefly<T>(
        &self,
        operation: impl FnMut(&OwnedFd, bool) -> io::Result<T>,
    ) -> io::Result<T> {
        self.attempt_with(&Patience::short(), operation)
    }

    /// As [`Self::attempt`], for reading content. EIO is returned for a broken connection, and also for unreadable sectors of a
    /// disk. After a while the two are distinguished: in the second case, the rest of the storage can be read.
    pub(super) fn attempt_read<T>(&self, operation: impl FnMut(&OwnedFd) -> io::Result<T>) -> io::Result<T> {
        self.attempt_read_within(self.patience.doubt(), &self.patience, operation)
    }

    fn attempt_read_within<T>(
        &self,
        doubt: Duration,
        patience: &Patience,
        mut operation: impl FnMut(&OwnedFd) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut since = None;
        self.attempt_with(patience, |dir, _| match operation(dir) {
            Err(error) if is_eio(&error) && since.get_or_insert_with(Instant::now).elapsed() >= doubt => {
                self.read_in_doubt(dir, error, &mut operation)
            }
            other => other,
        })
    }

    /// Reads content again that failed with EIO, between two reads of another file. If both of these succeed, the storage answers
    /// and the content is lost: a permanent error.
    fn read_in_doubt<T>(
        &self,
        dir: &OwnedFd,
        failed: io::Error,
        operation: &mut impl FnMut(&OwnedFd) -> io::Result<T>,
    ) -> io::Result<T> {
        if !self.can_be_read(dir) {
            return Err(failed);
        }
        match operation(dir) {
            Err(error) if is_eio(&error) && self.can_be_read(dir) => Err(io::Error::other(Unreadable(error))),
            other => other,
        }
    }

    /// Whether the file `config` can be read from the storage itself.
    fn can_be_read(&self, dir: &OwnedFd) -> bool {
        let Some(known) = self.config.get() else { return false };
        let read = || -> io::Result<Vec<u8>> {
            let file = rfs::openat(dir, "config", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
            rfs::fadvise(&file, 0, None, rfs::Advice::DontNeed)?;
            let mut content = Vec::new();
            std::fs::File::from(file).take(known.len() as u64 + 1).read_to_end(&mut content)?;
            Ok(content)
        };
        read().is_ok_and(|content| content == *known)
    }

    fn attempt_with<T>(
        &self,
        patience: &Patience,
        mut operation: impl FnMut(&OwnedFd, bool) -> io::Result<T>,
    ) -> io::Result<T> {
        let (mut again, mut suspect) = (false, None);
        patience.run(passes, || {
            if let Some(handle) = suspect.take()
                && let Err(fault) = self.reopen(&handle)
            {
                let text = fault.to_string();
                return Err(match fault {
                    Fault::Away(_) => {
                        suspect = Some(handle);
                        io::Error::new(io::ErrorKind::NotConnected, text)
                    }
                    Fault::Lasting(_) => io::Error::other(text),
                });
            }
            let handle = self.handle();
            let result = operation(&handle.dir, std::mem::replace(&mut again, true));
            if let Err(error) = &result
                && passes(error)
                && !is_momentary(error)
            {
                suspect = Some(handle);
            }
            result
        })
    }

    /// Fails unless the path resolves to the directory that was written to. A remounted directory counts as the same if it has
    /// all stored files.
    pub(super) fn verify(&self) -> Result<()> {
        let is_away = |fault: &Fault| matches!(fault, Fault::Away(_));
        let verified = self.patience.run(is_away, || {
            let handle = self.handle();
            if handle.identity.require_same(&self.path, self.mount.as_deref()).is_ok() {
                return Ok(());
            }
            self.reopen(&handle)
        });
        verified.map_err(Fault::error)
    }

    /// Reopens the directory through its path, after its handle has failed.
    fn reopen(&self, failed: &Arc<Handle>) -> Result<(), Fault> {
        if !Arc::ptr_eq(failed, &self.handle()) {
            return Ok(());
        }
        let handle = open_handle(&self.path, self.mount.as_deref())?;
        self.require_same_repository(&handle.dir)?;
        if handle.identity != failed.identity {
            self.require_stored(&handle.dir)?;
        }
        *self.handle.write() = Arc::new(handle);
        Ok(())
    }

    /// Fails unless the repository in `dir` is the one that was opened at the start. A remounted file system has another device
    /// number, so the content decides.
    fn require_same_repository(&self, dir: &OwnedFd) -> Result<(), Fault> {
        let Some(known) = self.config.get() else { return Ok(()) };
        let found = rfs::openat(dir, "config", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(io::Error::from)
            .and_then(|file| {
                let mut content = Vec::new();
                std::fs::File::from(file).take(known.len() as u64 + 1).read_to_end(&mut content)?;
                Ok(content)
            });
        match found {
            Ok(content) if content == *known => Ok(()),
            Ok(_) => Err(Fault::Lasting(self.replaced("another repository is there now"))),
            // It may be the directory underneath the mount point.
            Err(error) => Err(Fault::Away(
                Error::repository(format!(
                    "{} does not contain the repository at present",
                    self.path.display()
                ))
                .because(&error)
                .hint("mount the storage again and repeat the backup"),
            )),
        }
    }

    /// Fails unless all files that this process has stored are in `dir`: a copy of the repository, or an older state of it, has
    /// the same `config`.
    fn require_stored(&self, dir: &OwnedFd) -> Result<(), Fault> {
        for (path, bytes) in self.stored().values() {
            match rfs::statat(dir, path, AtFlags::empty()) {
                Ok(stat) if u64::try_from(stat.st_size).is_ok_and(|size| size == *bytes) => {}
                Ok(_) | Err(Errno::NOENT) => {
                    let text = format!("{path}, which this run stored, is missing or has another size");
                    return Err(Fault::Lasting(self.replaced(&text)));
                }
                Err(errno) => {
                    let error = io::Error::from(errno);
                    let lasting = !passes(&error);
                    let error = Error::repository(format!("cannot read {path}")).because(&error);
                    return Err(if lasting { Fault::Lasting(error) } else { Fault::Away(error) });
                }
            }
        }
        Ok(())
    }

    fn replaced(&self, what: &str) -> Error {
        Error::repository(format!(
            "{} is no longer the directory it was at the start of the run: {what}; the storage was unmounted or replaced",
            self.path.display()
        ))
        .hint("mount the storage again and repeat the backup")
    }
}

/// The error for a directory that cannot be opened, with a hint.
fn unopened(path: &Path, errno: Errno) -> Error {
    let cause = io::Error::from(errno);
    let hint = match errno {
        Errno::NOENT => {
            "check that the right storage is mounted; only if there never was a repository, `tik-backup init` creates one".to_owned()
        }
        Errno::NOTDIR => "`repository.location` names a file: name a directory".to_owned(),
        _ => owner::reading_hint(path, &cause)
            .unwrap_or_else(|| "check that the storage is mounted and that this user may read it".to_owned()),
    };
    let error = Error::repository(format!("cannot open the repository at {}", path.display()));
    guard::marked(error.because(&cause).hint(hint), errno)
}

fn open_handle(path: &Path, mount: Option<&Path>) -> Result<Handle> {
    if let Some(mount) = mount {
        guard::require_mounted(mount, path)?;
    }
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let dir = rfs::open(path, flags, Mode::empty()).map_err(|errno| unopened(path, errno))?;
    let identity = Identity::of(&dir, path)?;
    if let Some(mount) = mount {
        identity.require_on(mount)?;
        // It may have been unmounted between the first check and the opening.
        guard::require_mounted(mount, path)?;
    }
    Ok(Handle { dir, identity })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "root_tests.rs"]
mod tests;
