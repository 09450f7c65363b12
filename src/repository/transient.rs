//! Which errors of the system pass by themselves.

use std::{io, thread, time::Duration};

use rustix::io::Errno;

/// Pauses between tries of a system call that was refused for a moment: about four seconds in all.
const MOMENTS_MS: [u64; 7] = [1, 10, 50, 200, 500, 1_000, 2_000];

/// Runs a system call again after errors that network file systems give for a moment (SMB answers EINTR and EAGAIN).
/// A lasting error, or one that outlives the bound, is returned.
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

/// Whether the same call on the same handle may succeed at once.
pub(super) fn is_momentary(error: &io::Error) -> bool {
    matches!(errno(error), Some(Errno::INTR | Errno::AGAIN | Errno::BUSY | Errno::NOBUFS))
}

/// Whether the storage may answer otherwise in a while. What it refuses (no space, no permission, read-only) it will
/// refuse again, and what is not there is not there.
pub(super) fn passes(error: &io::Error) -> bool {
    match errno(error) {
        Some(errno) => is_momentary(error) || is_outage(errno),
        // What this program says itself of a storage that is away.
        None => error.kind() == io::ErrorKind::NotConnected,
    }
}

/// Whether an error of the system says that the storage, or the way to it, is gone for now.
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
            // A handle that a network file system could not open again after its connection broke.
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
