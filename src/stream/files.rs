//! The content of a snapshot or a file tree, and traits to read it.

use std::{ffi::OsString, io::Write, path::Path};

use jiff::Timestamp;

use crate::error::Result;

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
