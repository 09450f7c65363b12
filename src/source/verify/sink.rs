//! Where the second dump of a drill goes: nowhere. What is compared is counted and digested on the way.

use std::io::{self, Read};

use parking_lot::{Mutex, MutexGuard};

use crate::{
    error::{Error, Result},
    source::postgres::archive::{ArchiveReader, TocEntry},
    stream::{
        child::into_error,
        sink::{Sink, Stored},
    },
};

/// Bytes read at a time.
const PIECE: usize = 256 << 10;
/// Scripts of accounts are not longer.
const KEPT: usize = 1 << 30;

/// Takes streams in and keeps nothing but what it is told to.
#[derive(Default)]
pub(crate) struct Nowhere {
    /// Path of the stream to keep.
    keep: Option<&'static str>,
    kept: Mutex<Vec<u8>>,
    /// Path of the archive whose table of contents to keep.
    archive: Option<&'static str>,
    toc: Mutex<Vec<TocEntry>>,
}

impl Nowhere {
    /// Keeps this stream.
    pub(crate) fn keeping(path: &'static str) -> Self {
        Self { keep: Some(path), ..Self::default() }
    }

    /// Keeps the table of contents of this PostgreSQL archive.
    pub(crate) fn with_toc(path: &'static str) -> Self {
        Self { archive: Some(path), ..Self::default() }
    }

    /// The stream that was kept.
    pub(crate) fn kept(self) -> Vec<u8> {
        self.kept.into_inner()
    }

    /// The table of contents.
    pub(crate) fn toc(self) -> Vec<TocEntry> {
        self.toc.into_inner()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}

impl Sink for Nowhere {
    fn store(&self, path: &str, reader: &mut dyn Read) -> Result<Stored> {
        let mut archive = (self.archive == Some(path)).then(ArchiveReader::new);
        let mut piece = vec![0; PIECE];
        let mut bytes = 0;
        loop {
            let n = match reader.read(&mut piece) {
                Ok(0) => break,
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(into_error(error)),
            };
            bytes += n as u64;
            if self.keep == Some(path) {
                let mut kept = locked(&self.kept);
                if kept.len() + n > KEPT {
                    return Err(Error::failed(format!("{path} is too long to be compared")));
                }
                kept.extend_from_slice(&piece[..n]);
            }
            if let Some(reader) = &mut archive {
                reader.feed(&piece[..n]);
            }
            if archive.as_ref().is_some_and(ArchiveReader::has_toc) {
                *locked(&self.toc) = archive.take().map(|reader| reader.finish().toc).unwrap_or_default();
            }
        }
        if let Some(reader) = archive {
            *locked(&self.toc) = reader.finish().toc;
        }
        Ok(Stored { bytes, ..Stored::default() })
    }
}
