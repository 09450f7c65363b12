//! Computes the MD5 of a content while it is stored.

use std::{
    cell::Cell,
    io::{self, Read},
};

use md5::{Digest, Md5 as Md5Hasher};

use super::{inventory::Md5, pipeline::Stop};
use crate::stream::sparse::SparseRead;

/// Zeros of a hole, for the MD5.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// Passes a stream on, and ends it early if it is no longer needed.
pub(super) struct Tap<'a, B, C> {
    body: B,
    hasher: Md5Hasher,
    /// Called at the end, before the end is passed on: its error becomes an error of the stream.
    check: C,
    found: &'a Cell<Option<Md5>>,
    stop: &'a Stop,
}

impl<'a, B: SparseRead, C: FnMut(&B, Md5) -> io::Result<()>> Tap<'a, B, C> {
    /// Of a stream; at its end `found` gets its MD5.
    pub(super) fn new(body: B, check: C, found: &'a Cell<Option<Md5>>, stop: &'a Stop) -> Self {
        Self { body, hasher: Md5Hasher::new(), check, found, stop }
    }

    /// The stream.
    pub(super) fn body(&self) -> &B {
        &self.body
    }

    fn go_on(&self) -> io::Result<()> {
        if self.stop.is_set() { Err(io::Error::other("another download has failed")) } else { Ok(()) }
    }
}

impl<B: SparseRead, C: FnMut(&B, Md5) -> io::Result<()>> Read for Tap<'_, B, C> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        self.go_on()?;
        let n = self.body.read(target)?;
        self.hasher.update(&target[..n]);
        if n == 0 && !target.is_empty() {
            let found = Md5(self.hasher.finalize_reset().into());
            self.found.set(Some(found));
            (self.check)(&self.body, found)?;
        }
        Ok(n)
    }
}

impl<B: SparseRead, C: FnMut(&B, Md5) -> io::Result<()>> SparseRead for Tap<'_, B, C> {
    fn hole(&mut self) -> io::Result<u64> {
        self.body.hole()
    }

    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        self.body.skip(bytes)?;
        let mut left = bytes;
        while left > 0 {
            self.go_on()?;
            let part = usize::try_from(left).map_or(ZEROS.len(), |left| left.min(ZEROS.len()));
            self.hasher.update(&ZEROS[..part]);
            left -= part as u64;
        }
        Ok(())
    }
}
