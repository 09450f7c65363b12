//! Reading snapshots.

use std::{
    borrow::Cow,
    ffi::OsStr,
    io::{self, Write},
    ops::Range,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use parking_lot::Mutex;
use rustic_core::{
    DataId, IndexedFullStatus,
    repofile::{Metadata, Node, NodeType},
};

use super::{
    Repository, Snapshot,
    chunker::MIN_SIZE,
    crypto::{Hash, Hasher, hash},
    directories::{Directories, FoundFile},
    maintenance::caught,
    node::{attributes, kind},
    rustic_error,
    writer::identity,
};
use crate::{
    error::{Error, Result},
    stream::files::{self, Files, Part},
};

/// The hint for an unreadable part of a snapshot.
const UNREADABLE: &str = "`tik-backup check --read-data-subset 100%` lists the damage and the next steps; try an older snapshot \
                          with --at";

/// The size limit of a small file.
const SMALL: u64 = 1 << 30;

/// Reads files of snapshots, with the whole index in memory.
pub struct SnapshotReader {
    repo: rustic_core::Repository<IndexedFullStatus>,
}

impl Repository {
    /// Loads the index for reading snapshots.
    pub fn reader(&self) -> Result<SnapshotReader> {
        let repo = self.reopen()?.to_indexed().map_err(super::known::unreadable_index)?;
        Ok(SnapshotReader { repo })
    }
}

/// Compares each chunk with its name, which is its SHA-256, and counts the bytes written. Keeps the target's own error, which
/// would otherwise be converted to a text.
///
/// Every call of `write` gets one whole chunk, because it always accepts all of it.
struct Checked<'a> {
    target: &'a mut dyn Write,
    chunks: std::slice::Iter<'a, DataId>,
    bytes: u64,
    error: Option<io::Error>,
}

impl Checked<'_> {
    /// Writes this number of zero chunks.
    fn zeros(&mut self, chunks: usize) {
        for _ in 0..chunks {
            if let Err(error) = self.target.write_all(&ZEROS) {
                self.error = Some(error);
                return;
            }
            self.bytes += ZEROS.len() as u64;
        }
    }
}

/// A chunk of zeros of the smallest size, as they are cut from a hole.
static ZEROS: [u8; MIN_SIZE] = [0; MIN_SIZE];

fn is_zeros(id: &DataId) -> bool {
    static ZERO_CHUNK: LazyLock<Hash> = LazyLock::new(|| hash(&ZEROS));
    **id == *ZERO_CHUNK
}

/// A file with a part of another file's content.
fn part(node: &Node, content: &[DataId]) -> Node {
    let mut part = Node::new_node(OsStr::new(""), NodeType::File, node.meta.clone());
    part.content = Some(content.to_vec());
    part
}

impl Write for Checked<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let mut hasher = Hasher::default();
        hasher.update(data);
        if self.chunks.next().is_none_or(|id| **id != hasher.finish()) {
            return Err(io::Error::other("a chunk of it does not match its name"));
        }
        match self.target.write_all(data) {
            Ok(()) => {
                self.bytes += data.len() as u64;
                Ok(data.len())
            }
            Err(e) => {
                let kind = e.kind();
                self.error = Some(e);
                Err(kind.into())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.target.flush()
    }
}

/// The files of one snapshot.
pub struct SnapshotFiles<'a> {
    reader: &'a SnapshotReader,
    snapshot: &'a Snapshot,
    folders: Mutex<Directories<'a>>,
    /// Path of the item's directory.
    top: String,
}

impl<'a> SnapshotFiles<'a> {
    /// The files of `snapshot`.
    pub fn new(reader: &'a SnapshotReader, snapshot: &'a Snapshot) -> Self {
        let top = super::item_path(&snapshot.source, &snapshot.item);
        Self { reader, snapshot, folders: Mutex::new(Directories::new(&reader.repo, &snapshot.file)), top }
    }

    /// A file by its path relative to the item's directory.
    pub(super) fn find(&self, path: &Path) -> Result<Option<FoundFile>> {
        let mut folders = self.folders.lock();
        folders.find(&Path::new(&self.top).join(path)).map_err(|e| e.context(self.what()))
    }

    fn needed(&self, path: &str) -> Result<FoundFile> {
        self.find(Path::new(path))?.ok_or_else(|| Error::failed(format!("{} has no {path}", self.what())))
    }

    fn what(&self) -> String {
        format!("snapshot {} of {}", self.snapshot.short_id(), self.snapshot.name())
    }

    /// Writes the content of a file to `target`. All data written is authenticated and matches the names of its chunks; an error
    /// means that it is incomplete.
    fn dump(&self, path: &Path, node: &Node, target: &mut dyn Write) -> Result<u64> {
        let path = path.display();
        let content = node.content.as_deref().unwrap_or_default();
        let mut target = Checked { target, chunks: [].iter(), bytes: 0, error: None };
        let doing = format!("cannot read {path} of {}", self.what());
        let mut copied = Ok(());
        for run in content.chunk_by(|one, next| is_zeros(one) == is_zeros(next)) {
            copied = if run.len() > 1 && is_zeros(&run[0]) {
                // A hole is the same chunk repeated: it is read once.
                target.zeros(run.len());
                Ok(())
            } else {
                target.chunks = run.iter();
                let part = if run.len() == content.len() {
                    Cow::Borrowed(node)
                } else {
                    Cow::Owned(part(node, run))
                };
                caught(&doing, || self.reader.repo.dump(&part, &mut target))
            };
            if copied.is_err() || target.error.is_some() {
                break;
            }
        }
        if let Some(error) = target.error {
            return Err(Error::from_io(format!("cannot write {path}"), error));
        }
        copied.map_err(|e| e.hint(UNREADABLE))?;
        if target.bytes != node.meta.size {
            return Err(Error::failed(format!(
                "{path} of {} should have {} but has {}",
                self.what(),
                crate::output::count(node.meta.size, "byte"),
                target.bytes
            )));
        }
        Ok(target.bytes)
    }

    /// The chunks of a file that contain a range, as a file, and the position of the first of them.
    fn chunks_of(&self, path: &str, file: &FoundFile, range: &Range<u64>) -> Result<(Node, u64)> {
        if range.start > range.end || range.end > file.bytes {
            return Err(Error::failed(format!("{path} of {} ends too early", self.what())));
        }
        let (mut position, mut start) = (0_u64, None);
        let mut part = Vec::new();
        for id in &file.content {
            if position >= range.end {
                break;
            }
            let id = DataId::from(*id);
            let entry = self.reader.repo.get_index_entry(&id).map_err(|error| {
                rustic_error(&format!("cannot read {path} of {}", self.what()), error).hint(UNREADABLE)
            })?;
            let end = position + u64::from(entry.data_length());
            if end > range.start {
                start.get_or_insert(position);
                part.push(id);
            }
            position = end;
        }
        let start = start.unwrap_or(range.start);
        let meta = Metadata { size: position.saturating_sub(start), ..Metadata::default() };
        let mut node = Node::new_node(OsStr::new(""), NodeType::File, meta);
        node.content = Some(part);
        Ok((node, start))
    }

    /// The directory of the item.
    fn item_folder(&self) -> Result<Node> {
        self.reader.repo.node_from_path(self.snapshot.file.tree, Path::new(&self.top)).map_err(|e| {
            rustic_error(&format!("cannot read the root directory of {}", self.what()), e).hint(UNREADABLE)
        })
    }

    fn walk_folder(
        &self,
        folder: &Node,
        path: &Path,
        enters: &dyn Fn(&Path) -> bool,
        visit: &mut dyn FnMut(files::Node<'_>) -> Result<()>,
    ) -> Result<()> {
        let failed = |e| {
            rustic_error(&format!("cannot list {} of {}", path.display(), self.what()), e).hint(UNREADABLE)
        };
        let Some(id) = folder.subtree else { return Ok(()) };
        for node in self.reader.repo.get_tree(&id).map_err(failed)?.nodes {
            let name = node.name();
            if matches!(name.as_bytes(), b"" | b"." | b"..") || name.as_bytes().contains(&b'/') {
                return Err(Error::failed(format!(
                    "{} has a file with an unsafe name: {name:?}",
                    self.what()
                )));
            }
            let path = path.join(&name);
            let content = NodeContent { files: self, path: &path, node: &node };
            visit(files::Node {
                path: &path,
                kind: kind(&node.node_type, node.meta.size),
                attributes: &attributes(node.meta.clone()),
                content: &content,
            })?;
            if matches!(node.node_type, NodeType::Dir) && enters(&path) {
                self.walk_folder(&node, &path, enters, visit)?;
            }
        }
        Ok(())
    }
}

impl Files for SnapshotFiles<'_> {
    fn list(&self) -> Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        self.walk(&mut |node| {
            if let files::NodeKind::File(bytes) = node.kind {
                files.push((node.path.to_string_lossy().into_owned(), bytes));
            }
            Ok(())
        })?;
        Ok(files)
    }

    fn walk(&self, visit: &mut dyn FnMut(files::Node<'_>) -> Result<()>) -> Result<()> {
        self.walk_into(&|_| true, visit)
    }

    fn walk_into(
        &self,
        enters: &dyn Fn(&Path) -> bool,
        visit: &mut dyn FnMut(files::Node<'_>) -> Result<()>,
    ) -> Result<()> {
        self.walk_folder(&self.item_folder()?, &PathBuf::new(), enters, visit)
    }

    fn read(&self, path: &str) -> Result<Vec<u8>> {
        let file = self.needed(path)?;
        if file.bytes > SMALL {
            return Err(Error::failed(format!("{path} of {} is too large", self.what())));
        }
        let mut data = Vec::new();
        self.dump(Path::new(path), &file_node(&file), &mut data)?;
        Ok(data)
    }

    fn copy(&self, path: &str, target: &mut dyn Write) -> Result<u64> {
        let file = self.needed(path)?;
        self.dump(Path::new(path), &file_node(&file), target)
    }

    fn copy_range(&self, path: &str, range: Range<u64>, target: &mut dyn Write) -> Result<()> {
        let file = self.needed(path)?;
        let (node, start) = self.chunks_of(path, &file, &range)?;
        let mut part = Part::new(target, range.start - start..range.end - start);
        let copied = self.dump(Path::new(path), &node, &mut part);
        part.finish(path, copied.map(drop))
    }
}

fn file_node(file: &FoundFile) -> Node {
    let meta = Metadata { size: file.bytes, ..Metadata::default() };
    let content = file.content.iter().map(|id| DataId::from(*id)).collect();
    let mut node = Node::new_node(OsStr::new(""), NodeType::File, meta);
    node.content = Some(content);
    node
}

struct NodeContent<'n, 'a> {
    files: &'n SnapshotFiles<'a>,
    path: &'n Path,
    node: &'n Node,
}

impl files::Content for NodeContent<'_, '_> {
    fn copy(&self, target: &mut dyn Write) -> Result<u64> {
        self.files.dump(self.path, self.node, target)
    }

    fn identity(&self) -> Option<[u8; 16]> {
        self.node.content.as_deref().map(identity)
    }
}
