//! Which storage errors pass by themselves, and how often they are tried again.

use std::{io, thread, time::Duration};

use rustix::io::Errno;

/// Pauses between tries of an operation that failed with a passing error: about four seconds in all.
const PAUSES_MS: [u64; 7] = [1, 10, 50, 200, 500, 1_000, 2_000];

/// Runs `operation` again after errors that network file systems give for a moment (SMB answers EINTR and EAGAIN).
/// A lasting error, or one that outlives the bound, is returned.
pub(super) fn retry<T>(mut operation: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for pause in PAUSES_MS {
        match operation() {
            Err(error) if passes(&error) => thread::sleep(Duration::from_millis(pause)),
            other => return other,
        }
    }
    operation()
}

fn passes(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(
        errno,
        Some(
            Errno::INTR
                | Errno::AGAIN
                | Errno::TIMEDOUT
                | Errno::BUSY
                | Errno::HOSTDOWN
                | Errno::NOBUFS
                | Errno::CONNRESET
        )
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
    fn passing_errors_are_tried_again() {
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
        assert_eq!(calls, PAUSES_MS.len() + 1);
    }
}
