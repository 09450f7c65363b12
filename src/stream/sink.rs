//! The target of a source's streams.

use std::{
    io::{self, Read},
    path::Path,
};

use super::{
    files::{Attributes, Files, Special},
    sparse::SparseRead,
};
use crate::error::{Fact, Result};

/// An entry was to be stored below a directory that was finished already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Late;

impl Fact for Late {}

/// A stored stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stored {
    /// Length in bytes.
    pub bytes: u64,
    /// Identifies the content within one repository: equal content has equal values.
    pub content: [u8; 16],
}

/// A file of the item's previous snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Previous {
    /// Length in bytes.
    pub bytes: u64,
    /// Only its modification times and its inode.
    pub attributes: Attributes,
}

/// Identifies a content that an attempt without a snapshot leaves for the next attempt: the state of the file, and its MD5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Identifies the state of the file.
    pub key: u128,
    /// MD5 of the content.
    pub md5: [u8; 16],
}

/// Stores the streams of one item. Streams may be stored from several threads at the same time.
///
/// Paths are relative and consist of names only, never of `.` or `..`. Methods that a database dump does
/// not need have a default, for sinks that only read the streams.
pub trait Sink: Sync {
    /// Stores the data of `reader` as the file `path` (relative, directories separated by `/`). After an error of the reader there
    /// is no such file; the dump of the item may continue without it.
    fn store(&self, path: &str, reader: &mut dyn Read) -> Result<Stored>;

    /// As [`Sink::store`], with attributes and a name that may be any bytes.
    fn put(&self, path: &Path, _attributes: &Attributes, reader: &mut dyn Read) -> Result<Stored> {
        self.store(&path.to_string_lossy(), reader)
    }

    /// As [`Sink::put`], for a stream that may have holes. `mark` is called after the whole stream is stored. Its result is kept
    /// with the content for the next attempt, in case this one ends without a snapshot.
    fn put_marked(
        &self,
        path: &Path,
        attributes: &Attributes,
        reader: &mut dyn SparseRead,
        _mark: &dyn Fn() -> Option<Mark>,
    ) -> Result<Stored> {
        self.put(path, attributes, &mut AsRead(reader))
    }

    /// Stores a file with the content of this length that an earlier attempt without a snapshot stored under this key, and
    /// returns its MD5. `None` if there is none, or the repository lacks a part of it.
    fn reuse_kept(
        &self,
        _path: &Path,
        _attributes: &Attributes,
        _key: u128,
        _bytes: u64,
    ) -> Result<Option<[u8; 16]>> {
        Ok(None)
    }

    /// Whether [`Sink::reuse_kept`] has something under this key.
    fn has_kept(&self, _key: u128, _bytes: u64) -> bool {
        false
    }

    /// Stores a directory and its attributes; it may be empty. Parent directories of files are created by themselves.
    fn folder(&self, _path: &Path, _attributes: &Attributes) -> Result<()> {
        Ok(())
    }

    /// Stores an entry that is neither a file nor a directory.
    fn special(&self, _path: &Path, _special: &Special, _attributes: &Attributes) -> Result<()> {
        Ok(())
    }

    /// Finishes a directory: nothing more is stored in or below it, so its memory can be freed.
    fn finish_folder(&self, _path: &Path) -> Result<()> {
        Ok(())
    }

    /// The file at this path in the item's newest snapshot. Fastest if called directory by directory, depth first.
    fn previous_file(&self, _path: &Path) -> Result<Option<Previous>> {
        Ok(None)
    }

    /// Stores a file with the content of the same path in the item's newest snapshot, without reading it. `None` if there is no
    /// such content, or the repository has lost a part of it: then the file must be read.
    fn reuse(&self, _path: &Path, _attributes: &Attributes) -> Result<Option<Stored>> {
        Ok(None)
    }

    /// Visits the files of the item's snapshots before the newest, the most recent first, each with its number for
    /// [`Sink::reuse_earlier`].
    ///
    /// # Errors
    /// The snapshots cannot be read, or an error of `visit`.
    fn earlier(&self, _visit: &mut dyn FnMut(usize, &dyn Files) -> Result<()>) -> Result<()> {
        Ok(())
    }

    /// As [`Sink::reuse`], with the content that the path has in the earlier snapshot of this number.
    fn reuse_earlier(
        &self,
        _number: usize,
        _path: &Path,
        _attributes: &Attributes,
    ) -> Result<Option<Stored>> {
        Ok(None)
    }

    /// The files of the item's newest snapshot.
    fn previous(&self) -> Result<Option<&dyn Files>> {
        Ok(None)
    }
}

/// A stream with holes as an ordinary one.
struct AsRead<'a>(&'a mut dyn SparseRead);

impl Read for AsRead<'_> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        self.0.read(target)
    }
}
