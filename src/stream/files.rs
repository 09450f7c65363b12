//! What a snapshot or a tree of files holds, and how it is read.

use std::{ffi::OsString, io::Write, path::Path};

use jiff::Timestamp;

use crate::error::Result;

/// What is known of a file besides its name and content. Whatever is not known is absent or 0.
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
    /// How many names the inode has.
    pub links: u64,
    /// Extended attributes: name and value.
    pub xattrs: Vec<(String, Vec<u8>)>,
}

/// What a tree of files holds besides files and directories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Special {
    /// A symbolic link and what it points to.
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

/// The files of a snapshot. Reading them directory by directory, depth first, is quick.
pub trait Files: Sync {
    /// Paths and lengths.
    fn list(&self) -> Result<Vec<(String, u64)>>;

    /// Shows everything the snapshot holds, depth first, a directory before its content. Paths are below the item's directory.
    /// Whoever knows no more than the list shows files without attributes.
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

    /// As [`Self::walk`], but what lies in directories that `enters` declines need not be shown.
    fn walk_into(
        &self,
        _enters: &dyn Fn(&Path) -> bool,
        visit: &mut dyn FnMut(Node<'_>) -> Result<()>,
    ) -> Result<()> {
        self.walk(visit)
    }

    /// Content of a small file.
    fn read(&self, path: &str) -> Result<Vec<u8>>;

    /// Streams a file to `target` and returns its length.
    fn copy(&self, path: &str, target: &mut dyn Write) -> Result<u64>;
}

/// Something in a snapshot.
pub struct Node<'a> {
    /// Path below the item's directory; the names may be any bytes.
    pub path: &'a Path,
    /// What it is.
    pub kind: NodeKind,
    /// What is known of it.
    pub attributes: &'a Attributes,
    /// Its content if it is a file.
    pub content: &'a dyn Content,
}

/// What something in a snapshot is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeKind {
    /// A file and its length in bytes.
    File(u64),
    /// A directory.
    Folder,
    /// Something else.
    Special(Special),
}

/// The content of a file in a snapshot.
pub trait Content: Sync {
    /// Streams it to `target` and returns its length.
    fn copy(&self, target: &mut dyn Write) -> Result<u64>;

    /// Its identity, as [`crate::stream::sink::Stored::content`] has it, if that is known.
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
