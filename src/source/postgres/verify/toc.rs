//! A sink that keeps only the table of contents of a dump.

use std::io::{self, Read};

use parking_lot::Mutex;

use crate::{
    error::Result,
    source::{
        postgres::{
            DUMP,
            archive::{ArchiveReader, TocEntry},
        },
        verify::sink::NullSink,
    },
    stream::sink::{Sink, Stored},
};

/// Keeps the table of contents.
#[derive(Default)]
pub(super) struct WithToc {
    null_sink: NullSink,
    toc: Mutex<Vec<TocEntry>>,
}

impl WithToc {
    /// The table of contents.
    pub(super) fn toc(self) -> Vec<TocEntry> {
        self.toc.into_inner()
    }
}

/// Feeds the data that passes to an archive reader, until the table of contents is complete.
struct Shown<'a> {
    reader: &'a mut dyn Read,
    archive: Option<ArchiveReader>,
    toc: Vec<TocEntry>,
}

impl Read for Shown<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read(buffer)?;
        if let Some(archive) = &mut self.archive {
            archive.feed(&buffer[..n]);
        }
        if n == 0 || self.archive.as_ref().is_some_and(ArchiveReader::has_toc) {
            self.toc.extend(self.archive.take().into_iter().flat_map(|archive| archive.finish().toc));
        }
        Ok(n)
    }
}

impl Sink for WithToc {
    fn store(&self, path: &str, reader: &mut dyn Read) -> Result<Stored> {
        if path != DUMP {
            return self.null_sink.store(path, reader);
        }
        let mut shown = Shown { reader, archive: Some(ArchiveReader::new()), toc: Vec::new() };
        let stored = self.null_sink.store(path, &mut shown)?;
        *self.toc.lock() = shown.toc;
        Ok(stored)
    }
}
