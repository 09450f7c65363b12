//! Where the second dump of a drill goes: nowhere. What is compared is counted and digested on the way.

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
/// Scripts of accounts are not longer.
const KEPT: usize = 1 << 30;

/// Takes streams in and keeps nothing but what it is told to.
#[derive(Default)]
pub(crate) struct Nowhere {
    /// Path of the stream to keep.
    keep: Option<&'static str>,
    kept: Mutex<Vec<u8>>,
}

impl Nowhere {
    /// Keeps this stream.
    pub(crate) fn keeping(path: &'static str) -> Self {
        Self { keep: Some(path), ..Self::default() }
    }

    /// The stream that was kept.
    pub(crate) fn kept(self) -> Vec<u8> {
        self.kept.into_inner()
    }
}

impl Sink for Nowhere {
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
