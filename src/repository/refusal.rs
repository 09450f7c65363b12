//! Why there is no lock, and whether the repository may be read without one.

use std::io;

use rustix::io::Errno;

use super::transient::passes;
use crate::error::{Error, Result};

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The storage can only be read: it is mounted so, or this user may not write there.
    #[error("{0}")]
    ReadOnly(Error),
    /// The storage has no room for a lock file.
    #[error("{0}")]
    Full(Error),
    /// The storage answers and takes no lock file for another reason, and will not in a while either.
    #[error("{0}")]
    Unwritable(Error),
    /// Somebody else's lock, a storage that does not answer, or not the repository any more.
    #[error("{0}")]
    Other(Error),
}

impl Refusal {
    /// What came of writing a lock file, by the number of the system's error.
    pub(super) fn of(error: Error, cause: &io::Error) -> Self {
        match cause.raw_os_error().map(Errno::from_raw_os_error) {
            _ if passes(cause) => Self::Other(error),
            Some(Errno::ROFS | Errno::ACCESS | Errno::PERM) => Self::ReadOnly(error),
            Some(Errno::NOSPC | Errno::DQUOT) => Self::Full(error),
            Some(_) => Self::Unwritable(error),
            // No answer of the system: the directory is not the one that it was.
            None => Self::Other(error),
        }
    }

    /// Why the repository may be read without a lock, if it may: nobody can remove anything from a storage that can only be
    /// read, and from a full one a restore must be possible.
    ///
    /// # Errors
    /// It may not.
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
        // It does not answer, or another directory is there now.
        for cause in [io::Error::from(Errno::HOSTDOWN), io::Error::other("another repository is there")] {
            assert!(of(&cause).without_lock().is_err(), "{cause}");
        }
        let locked: Refusal = Error::repository("the repository is locked").into();
        assert!(locked.without_lock().is_err());
    }
}
