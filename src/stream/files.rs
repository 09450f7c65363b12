//! The content of a snapshot or a file tree, and traits to read it.

use std::{
    ffi::OsString,
    io::{self, Write},
    ops::Range,
    path::Path,
};

use jiff::Timestamp;

use crate::error::{Error, Result};

/// Attributes of a file besides its name and content. Unknown ones are absent or 0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits, setuid, setgid and sticky bit: `07777`.
    pub mode: Option<u32>,
    /// Last change of the content.
    pub mtime: Option<Timestamp>,
    /// Last read.
    pub atime: Option<Timestamp>,
    /// Last change of content or attributes.
    pub ctime: Option<Timestamp>,
    /// Number of the owning user.
    pub uid: Option<u32>,
    /// Number of the owning group.
    pub gid: Option<u32>,
    /// Name of the owning user.
    pub user: Option<String>,
    /// Name of the owning group.
    pub group: Option<String>,
    /// Inode number.
    pub inode: u64,
    /// Device on which the inode is.
    pub device: u64,
    /// Number of hard links.
    pub links: u64,
    /// Extended attributes: name and value.
    pub xattrs: Vec<(String, Vec<u8>)>,
}

/// An entry that is neither a file nor a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Special {
    /// A symbolic link and its target.
    Symlink(OsString),
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
    /// A character device and its number.
    CharDevice(u64),
    /// A block device and its number.
    BlockDevice(u64),
}

/// The files of a snapshot. Reading them directory by directory, depth first, is fastest.
pub trait Files: Sync {
    /// Paths and lengths.
    fn list(&self) -> Result<Vec<(String, u64)>>;

    /// Visits everything in the snapshot, depth first, a directory before its content. Paths are relative to the item's directory.
    /// The default implementation reports files without attributes.
    fn walk(&self, visit: &mut dyn FnMut(Node<'_>) -> Result<()>) -> Result<()> {
        for (path, bytes) in self.list()? {
            visit(Node {
                path: Path::new(&path),
                kind: NodeKind::File(bytes),
                attributes: &Attributes::default(),
                content: &Listed { files: self, path: &path },
            })?;
        }
        Ok(())
    }

    /// As [`Self::walk`], but may skip the content of directories for which `enters` returns false.
    fn walk_into(
        &self,
        _enters: &dyn Fn(&Path) -> bool,
        visit: &mut dyn FnMut(Node<'_>) -> Result<()>,
    ) -> Result<()> {
        self.walk(visit)
    }

    /// Content of a small file.
    fn read(&self, path: &str) -> Result<Vec<u8>>;

    /// Copies a file to `target` and returns its length.
    fn copy(&self, path: &str, target: &mut dyn Write) -> Result<u64>;

    /// Copies a part of a file to `target`: bytes from `range.start` up to, and not including, `range.end`. The default
    /// implementation reads the file from its beginning.
    ///
    /// # Errors
    /// It cannot be read or written, or the file is shorter than that.
    fn copy_range(&self, path: &str, range: Range<u64>, target: &mut dyn Write) -> Result<()> {
        let mut part = Part::new(target, range);
        let copied = self.copy(path, &mut part);
        part.finish(path, copied.map(drop))
    }
}

/// A writer that passes a range of what it gets on, and ends the copying afterwards.
pub(crate) struct Part<'a> {
    target: &'a mut dyn Write,
    /// Bytes to skip, and then to pass on.
    skip: u64,
    left: u64,
    failed: Option<io::Error>,
}

impl<'a> Part<'a> {
    /// Passes this range on to `target`.
    pub(crate) fn new(target: &'a mut dyn Write, range: Range<u64>) -> Self {
        let left = range.end.saturating_sub(range.start);
        Self { target, skip: range.start, left, failed: None }
    }

    /// The result of copying to this writer: an error after the end of the range does not matter.
    ///
    /// # Errors
    /// Writing failed, or copying ended before the end of the range.
    pub(crate) fn finish(self, path: &str, copied: Result<()>) -> Result<()> {
        if let Some(error) = self.failed {
            return Err(Error::from_io(format!("cannot write {path}"), error));
        }
        if self.left == 0 {
            return Ok(());
        }
        copied?;
        Err(Error::failed(format!("{path} ends too early")))
    }
}

impl Write for Part<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::Error::other("the end of the range is reached"));
        }
        let skip = data.len().min(usize::try_from(self.skip).unwrap_or(usize::MAX));
        self.skip -= skip as u64;
        let wanted = data.len() - skip;
        let wanted = wanted.min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if wanted > 0 {
            self.target.write_all(&data[skip..skip + wanted]).map_err(|error| {
                let kind = error.kind();
                self.failed = Some(error);
                io::Error::from(kind)
            })?;
            self.left -= wanted as u64;
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.target.flush()
    }
}

/// An entry of a snapshot.
pub struct Node<'a> {
    /// Path relative to the item's directory; names may be any bytes.
    pub path: &'a Path,
    /// Its type.
    pub kind: NodeKind,
    /// Its attributes.
    pub attributes: &'a Attributes,
    /// Its content if it is a file.
    pub content: &'a dyn Content,
}

/// The type of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeKind {
    /// A file and its length in bytes.
    File(u64),
    /// A directory.
    Folder,
    /// Anything else.
    Special(Special),
}

/// The content of a file in a snapshot.
pub trait Content: Sync {
    /// Copies it to `target` and returns its length.
    fn copy(&self, target: &mut dyn Write) -> Result<u64>;

    /// Its identity as in [`crate::stream::sink::Stored::content`], if known.
    fn identity(&self) -> Option<[u8; 16]> {
        None
    }
}

struct Listed<'a, F: ?Sized> {
    files: &'a F,
    path: &'a str,
}

impl<F: Files + ?Sized> Content for Listed<'_, F> {
    fn copy(&self, target: &mut dyn Write) -> Result<u64> {
        self.files.copy(self.path, target)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Writes `abcdefghij` in pieces of three bytes.
    struct Letters;

    impl Files for Letters {
        fn list(&self) -> Result<Vec<(String, u64)>> {
            Ok(vec![("letters".to_owned(), 10)])
        }

        fn read(&self, _path: &str) -> Result<Vec<u8>> {
            Ok(b"abcdefghij".to_vec())
        }

        fn copy(&self, path: &str, target: &mut dyn Write) -> Result<u64> {
            for piece in self.read(path)?.chunks(3) {
                target.write_all(piece).map_err(|error| Error::from_io("cannot write", error))?;
            }
            Ok(10)
        }
    }

    #[test]
    fn every_range_is_copied_exactly() {
        for start in 0..=10 {
            for end in start..=10 {
                let mut part = Vec::new();
                Letters.copy_range("letters", start..end, &mut part).unwrap();
                assert_eq!(part, &b"abcdefghij"[start as usize..end as usize]);
            }
        }
        let error = Letters.copy_range("letters", 8..11, &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("letters ends too early"), "{error}");
    }

    #[test]
    fn a_target_that_refuses_is_the_error() {
        let mut target = [0_u8; 2];
        let error = Letters.copy_range("letters", 0..5, &mut &mut target[..]).unwrap_err();
        assert!(error.to_string().contains("cannot write letters"), "{error}");
    }
}
