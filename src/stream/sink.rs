//! Where a source puts the streams of an item.

use std::io::Read;

use crate::error::Result;

/// What is known of a stream after it was taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Length in bytes.
    pub bytes: u64,
}

/// Takes the streams of one item. Streams may be stored from several threads at the same time.
pub trait Sink: Sync {
    /// Takes in everything that `reader` delivers as the file `path` (relative, folders separated by `/`). An error
    /// of the reader is an error of the item: nothing of it will be committed.
    fn store(&self, path: &str, reader: &mut dyn Read) -> Result<Stored>;
}
