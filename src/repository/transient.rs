//! Classifies temporary system errors.

use std::{io, thread, time::Duration};

use rustix::io::Errno;

/// Pauses between attempts at a temporarily refused system call: about four seconds in total.
const MOMENTS_MS: [u64; 7] = [1, 10, 50, 200, 500, 1_000, 2_000];

/// Repeats a system call after temporary errors of network file systems (SMB returns EINTR and EAGAIN). A permanent error, or
/// one that persists, is returned.
pub(super) fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for pause in MOMENTS_MS {
        match call() {
            Err(error) if is_momentary(&error) => thread::sleep(Duration::from_millis(pause)),
            other => return other,
        }
    }
    call()
}

fn errno(error: &io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw_os_error)
}

/// Whether the same call on the same handle may succeed if repeated.
pub(super) fn is_momentary(error: &io::Error) -> bool {
    matches!(errno(error), Some(Errno::INTR | Errno::AGAIN | Errno::BUSY | Errno::NOBUFS))
}

/// Whether the operation may succeed later. A refusal (no space, no permission, read-only) and a missing file are permanent.
pub(super) fn passes(error: &io::Error) -> bool {
    match errno(error) {
        Some(errno) => is_momentary(error) || is_outage(errno),
        // This program's own error for a storage that is gone.
        None => error.kind() == io::ErrorKind::NotConnected,
    }
}

/// Whether a system error means that the storage, or the connection to it, is gone temporarily.
pub(super) fn is_outage(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::IO
            | Errno::STALE
            | Errno::TIMEDOUT
            | Errno::HOSTDOWN
            | Errno::HOSTUNREACH
            | Errno::NETDOWN
            | Errno::NETUNREACH
            | Errno::NETRESET
            | Errno::CONNRESET
            | Errno::CONNABORTED
            | Errno::CONNREFUSED
            | Errno::NOTCONN
            | Errno::SHUTDOWN
            | Errno::PIPE
            | Errno::NODEV
            | Errno::NXIO
            | Errno::REMOTEIO
            // A handle that a network file system could not reopen after its connection broke.
            | Errno::BADF
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn failing(times: usize, errno: Errno) -> (io::Result<u32>, usize) {
        let mut calls = 0;
        let result = retry(|| {
            calls += 1;
            if calls <= times { Err(errno.into()) } else { Ok(7) }
        });
        (result, calls)
    }

    #[test]
    fn momentary_errors_are_tried_again() {
        assert_eq!(failing(3, Errno::INTR).0.unwrap(), 7);
        assert_eq!(failing(2, Errno::AGAIN).0.unwrap(), 7);
    }

    #[test]
    fn lasting_errors_are_returned_at_once() {
        let (result, calls) = failing(usize::MAX, Errno::NOSPC);
        assert_eq!((result.unwrap_err().raw_os_error(), calls), (Some(Errno::NOSPC.raw_os_error()), 1));
    }

    #[test]
    fn tries_are_bounded() {
        let (result, calls) = failing(usize::MAX, Errno::INTR);
        assert!(result.is_err());
        assert_eq!(calls, MOMENTS_MS.len() + 1);
    }

    #[test]
    fn what_the_storage_refuses_it_refuses_again() {
        for errno in
            [Errno::NOSPC, Errno::DQUOT, Errno::ROFS, Errno::ACCESS, Errno::PERM, Errno::NOENT, Errno::INVAL]
        {
            assert!(!passes(&errno.into()), "{errno:?}");
        }
        for errno in [Errno::IO, Errno::STALE, Errno::HOSTDOWN, Errno::NOTCONN, Errno::NODEV, Errno::AGAIN] {
            assert!(passes(&errno.into()), "{errno:?}");
        }
    }
}
