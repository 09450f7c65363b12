//! Readers that look at a stream while it passes.

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

    /// What passed, and the stream itself.
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

/// Counts the lines of a script that begin with a word.
pub(super) struct LineTap<R> {
    stream: R,
    word: &'static [u8],
    matched: Option<usize>,
    /// Lines that begin with the word.
    pub(super) count: u64,
}

impl<R: Read> LineTap<R> {
    pub(super) fn new(stream: R, word: &'static str) -> Self {
        Self { stream, word: word.as_bytes(), matched: Some(0), count: 0 }
    }

    fn look(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.matched = match self.matched {
                _ if byte == b'\n' => Some(0),
                Some(n) if self.word.get(n) == Some(&byte) => {
                    self.count += u64::from(n + 1 == self.word.len());
                    Some(n + 1)
                }
                _ => None,
            };
        }
    }
}

impl<R: Read> Read for LineTap<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.stream.read(buffer)?;
        self.look(&buffer[..n]);
        Ok(n)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_however_they_are_cut() {
        let script =
            "CREATE ROLE a;\n-- CREATE ROLE b;\nCREATE ROLE c;\nCREATE RO\nALTER ROLE a;\nCREATE ROLE ";
        for size in 1..20 {
            let mut tap = LineTap::new(script.as_bytes(), "CREATE ROLE ");
            let mut buffer = vec![0; size];
            while tap.read(&mut buffer).unwrap() > 0 {}
            assert_eq!(tap.count, 3);
        }
    }
}
