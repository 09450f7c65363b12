//! A reader that parses an archive while it passes through.

use std::io::{self, Read};

use super::archive::{ArchiveReader, ArchiveSummary};

/// A dump in custom format on its way to the sink.
pub(super) struct ArchiveTap<R> {
    stream: R,
    archive: ArchiveReader,
}

impl<R: Read> ArchiveTap<R> {
    pub(super) fn new(stream: R) -> Self {
        Self { stream, archive: ArchiveReader::new() }
    }

    /// The summary of the archive, and the inner stream.
    pub(super) fn finish(self) -> (ArchiveSummary, R) {
        (self.archive.finish(), self.stream)
    }
}

impl<R: Read> Read for ArchiveTap<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.stream.read(buffer)?;
        self.archive.feed(&buffer[..n]);
        Ok(n)
    }
}
