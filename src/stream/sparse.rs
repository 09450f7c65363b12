//! Streams with holes: runs of zeros that are neither read nor sent.

use std::io::{self, Read};

/// A stream with known holes. Read as an ordinary stream, it delivers their zeros.
pub trait SparseRead: Read {
    /// Length of the hole at the current position; 0 if there is data or the end.
    ///
    /// # Errors
    /// The positions of the holes cannot be determined.
    fn hole(&mut self) -> io::Result<u64>;

    /// Skips `bytes` bytes, which must be within the hole at the current position.
    ///
    /// # Errors
    /// The underlying data has changed.
    fn skip(&mut self, bytes: u64) -> io::Result<()>;
}

/// A stream without holes.
pub struct Dense<R>(pub R);

impl<R: Read> Read for Dense<R> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        self.0.read(target)
    }
}

impl<R: Read> SparseRead for Dense<R> {
    fn hole(&mut self) -> io::Result<u64> {
        Ok(0)
    }

    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        if bytes == 0 { Ok(()) } else { Err(io::Error::other("this stream has no holes")) }
    }
}
