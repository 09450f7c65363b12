//! The null sink, for the second dump of a drill: the data is counted and digested on the way, and discarded.

use std::io::{self, Read};

use parking_lot::Mutex;

use crate::{
    error::{Error, Result},
    stream::{
        child::into_error,
        sink::{Sink, Stored},
    },
};

/// Bytes read at a time.
const PIECE: usize = 256 << 10;
/// The maximum size of a stream that is kept; scripts of accounts are shorter.
const KEPT: usize = 1 << 30;

/// Discards all streams except one that can be kept.
#[derive(Default)]
pub(crate) struct NullSink {
    /// Path of the stream to keep.
    keep: Option<&'static str>,
    kept: Mutex<Vec<u8>>,
}

impl NullSink {
    /// Keeps this stream.
    pub(crate) fn keeping(path: &'static str) -> Self {
        Self { keep: Some(path), ..Self::default() }
    }

    /// The stream that was kept.
    pub(crate) fn kept(self) -> Vec<u8> {
        self.kept.into_inner()
    }
}

impl Sink for NullSink {
    fn store(&self, path: &str, reader: &mut dyn Read) -> Result<Stored> {
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
                let mut kept = self.kept.lock();
                if kept.len() + n > KEPT {
                    return Err(Error::failed(format!("{path} is too long to be compared")));
                }
                kept.extend_from_slice(&piece[..n]);
            }
        }
        Ok(Stored { bytes, ..Stored::default() })
    }
}
