//! Streams with holes: runs of zeros that need be neither read nor sent.

use std::io::{self, Read};

/// A stream that knows where its holes are. Read as an ordinary stream it delivers their zeros.
pub trait SparseRead: Read {
    /// How many bytes from here on are a hole; 0 if there is data or the end.
    ///
    /// # Errors
    /// Where the holes are cannot be found out.
    fn hole(&mut self) -> io::Result<u64>;

    /// Goes on behind the next `bytes` bytes, which must lie within the hole that begins here.
    ///
    /// # Errors
    /// What belongs to the stream has changed.
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
