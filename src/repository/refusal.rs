//! Reasons why no lock was taken, and whether the repository may be read without one.

use std::io;

use rustix::io::Errno;

use super::transient::passes;
use crate::error::{Error, Result};

/// The reason why no lock was taken.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The storage is read-only: it is mounted that way, or this user may not write to it.
    #[error("{0}")]
    ReadOnly(Error),
    /// The storage has no room for a lock file.
    #[error("{0}")]
    Full(Error),
    /// The storage answers but rejects lock files for another, permanent reason.
    #[error("{0}")]
    Unwritable(Error),
    /// Another process's lock, a storage that does not answer, or another directory in place of the repository.
    #[error("{0}")]
    Other(Error),
}

impl Refusal {
    /// Classifies a failed write of a lock file by its errno.
    pub(super) fn of(error: Error, cause: &io::Error) -> Self {
        match cause.raw_os_error().map(Errno::from_raw_os_error) {
            _ if passes(cause) => Self::Other(error),
            Some(Errno::ROFS | Errno::ACCESS | Errno::PERM) => Self::ReadOnly(error),
            Some(Errno::NOSPC | Errno::DQUOT) => Self::Full(error),
            Some(_) => Self::Unwritable(error),
            // Not a system error: the directory was replaced.
            None => Self::Other(error),
        }
    }

    /// Why the repository may be read without a lock, if it may: nothing can be removed from a read-only storage, and a restore
    /// must be possible from a full one.
    ///
    /// # Errors
    /// Reading without a lock is not allowed.
    pub fn without_lock(self) -> Result<Error> {
        match self {
            Self::ReadOnly(error) | Self::Full(error) | Self::Unwritable(error) => Ok(error),
            Self::Other(error) => Err(error),
        }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::ReadOnly(error)
            | Refusal::Full(error)
            | Refusal::Unwritable(error)
            | Refusal::Other(error) => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_system_says_of_writing_lets_a_reader_go_on_without_a_lock() {
        let of = |cause: &io::Error| Refusal::of(Error::repository("cannot write a lock file"), cause);
        for errno in [Errno::ROFS, Errno::ACCESS, Errno::PERM] {
            assert!(matches!(of(&errno.into()), Refusal::ReadOnly(_)), "{errno:?}");
        }
        for errno in [Errno::NOSPC, Errno::DQUOT] {
            assert!(matches!(of(&errno.into()), Refusal::Full(_)), "{errno:?}");
        }
        assert!(of(&Errno::NOSPC.into()).without_lock().is_ok());
        // It does not answer, or the directory was replaced.
        for cause in [io::Error::from(Errno::HOSTDOWN), io::Error::other("another repository is there")] {
            assert!(of(&cause).without_lock().is_err(), "{cause}");
        }
        let locked: Refusal = Error::repository("the repository is locked").into();
        assert!(locked.without_lock().is_err());
    }
}
