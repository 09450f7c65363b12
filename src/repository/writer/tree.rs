//! The directory trees of a snapshot. Names and contents of open directories are held in memory in a compact form. A finished
//! directory is written at once, and only its id is kept.

use std::{
    collections::{BTreeMap, btree_map},
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Component, Path},
};

use jiff::Timestamp;
use rustic_core::{
    DataId,
    repofile::{BlobType, Node, NodeType},
};

use super::{Shared, SnapshotMeta, go_json, worker::BlobWriter};
use crate::{
    error::{Error, Result},
    repository::{
        crypto::Hash,
        node::{metadata, node_type, quote},
    },
    stream::{
        files::{Attributes, Special},
        sink::Late,
    },
};

/// Default permissions, for sources without any.
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;
/// JSON is passed on in pieces of about this size.
const PIECE: usize = 1 << 20;

/// The entry of a name.
enum Entry {
    /// A file with a modification time only.
    Plain { bytes: u64, mtime: Timestamp, content: Box<[Hash]> },
    /// A file with more attributes, or a special entry.
    Full(Box<Full>),
    /// An open directory.
    Open(Box<Directory>),
    /// A written directory.
    Written(Box<WrittenDirectory>),
}

struct Full {
    node_type: NodeType,
    attributes: Attributes,
    bytes: u64,
    content: Option<Box<[Hash]>>,
}

#[derive(Default)]
struct Directory {
    attributes: Option<Attributes>,
    /// By name in byte order, which restic requires of a tree.
    entries: BTreeMap<Box<[u8]>, Entry>,
}

struct WrittenDirectory {
    id: Hash,
    attributes: Attributes,
}

/// The files of an item by their paths.
#[derive(Default)]
pub(super) struct TreeBuilder {
    root: Directory,
    counts: Counts,
}

#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    files: u64,
    unread: u64,
    bytes: u64,
}

/// The stored trees of an item.
#[derive(Debug, Default)]
pub(super) struct ItemTree {
    pub(super) root: Hash,
    pub(super) files: u64,
    /// Files among them whose content was reused from the parent snapshot.
    pub(super) files_unread: u64,
    pub(super) folders: u64,
    /// Bytes of all files.
    pub(super) bytes: u64,
    pub(super) bytes_read: u64,
    pub(super) bytes_added: u64,
    /// Whether the previous snapshot could not be read: directories of this one that count as stored may be the same unreadable ones.
    pub(super) in_doubt: bool,
}

/// A directory removed from its tree to be written.
pub(super) struct Finished(Directory);

/// Counts of written trees.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Written {
    pub(super) folders: u64,
    pub(super) bytes_added: u64,
}

impl TreeBuilder {
    /// Adds a file.
    pub(super) fn file(
        &mut self,
        path: &Path,
        attributes: &Attributes,
        bytes: u64,
        content: Vec<DataId>,
        unread: bool,
    ) -> Result<()> {
        let content: Box<[Hash]> = content.into_iter().map(|id| *id).collect();
        let entry = match attributes.mtime {
            Some(mtime) if *attributes == only(mtime) => Entry::Plain { bytes, mtime, content },
            _ => Entry::Full(Box::new(Full {
                node_type: NodeType::File,
                attributes: attributes.clone(),
                bytes,
                content: Some(content),
            })),
        };
        self.insert(path, entry)?;
        self.counts.files += 1;
        self.counts.unread += u64::from(unread);
        self.counts.bytes += bytes;
        Ok(())
    }

    /// Adds an entry that is neither a file nor a directory.
    pub(super) fn special(&mut self, path: &Path, special: &Special, attributes: &Attributes) -> Result<()> {
        let (node_type, attributes) = (node_type(special), attributes.clone());
        self.insert(path, Entry::Full(Box::new(Full { node_type, attributes, bytes: 0, content: None })))
    }

    /// Adds a directory, or sets the attributes of an existing one.
    pub(super) fn folder(&mut self, path: &Path, attributes: &Attributes) -> Result<()> {
        let (parent, name) = self.parent(path)?;
        match parent.entries.entry(name.into()) {
            btree_map::Entry::Vacant(vacant) => {
                let folder = Directory { attributes: Some(attributes.clone()), ..Directory::default() };
                vacant.insert(Entry::Open(Box::new(folder)));
                Ok(())
            }
            btree_map::Entry::Occupied(mut there) => match there.get_mut() {
                Entry::Open(folder) if folder.attributes.is_none() => {
                    folder.attributes = Some(attributes.clone());
                    Ok(())
                }
                _ => Err(twice(path)),
            },
        }
    }

    /// Removes a directory from the tree to write it; `None` if nothing was stored there.
    pub(super) fn finish(&mut self, path: &Path) -> Result<Option<Finished>> {
        let (parent, name) = self.parent(path)?;
        match parent.entries.get_mut(name) {
            Some(Entry::Open(folder)) => {
                // An empty one stays in its place: late entries are detected when the written one is put back.
                Ok(Some(Finished(std::mem::take(&mut **folder))))
            }
            _ => Ok(None),
        }
    }

    /// Puts a written directory back.
    pub(super) fn put_back(&mut self, path: &Path, id: Hash, attributes: Attributes) -> Result<()> {
        let (parent, name) = self.parent(path)?;
        match parent.entries.get_mut(name) {
            Some(Entry::Open(folder)) if folder.entries.is_empty() => {
                let written = WrittenDirectory { id, attributes };
                parent.entries.insert(name.into(), Entry::Written(Box::new(written)));
                Ok(())
            }
            _ => Err(too_late(path)),
        }
    }

    fn insert(&mut self, path: &Path, entry: Entry) -> Result<()> {
        let (parent, name) = self.parent(path)?;
        match parent.entries.entry(name.into()) {
            btree_map::Entry::Vacant(vacant) => {
                vacant.insert(entry);
                Ok(())
            }
            btree_map::Entry::Occupied(_) => Err(twice(path)),
        }
    }

    /// The parent directory of `path`, created if necessary, and the last name of the path.
    fn parent<'p>(&mut self, path: &'p Path) -> Result<(&mut Directory, &'p [u8])> {
        let invalid = || Error::failed(format!("`{}` cannot be a path in a snapshot", path.display()));
        if path
            .as_os_str()
            .as_bytes()
            .split(|byte| *byte == b'/')
            .any(|name| matches!(name, b"" | b"." | b".."))
        {
            return Err(invalid());
        }
        let mut names: Vec<&[u8]> = Vec::new();
        for component in path.components() {
            let Component::Normal(name) = component else { return Err(invalid()) };
            names.push(name.as_bytes());
        }
        let name = names.pop().ok_or_else(invalid)?;
        let mut folder = &mut self.root;
        for part in names {
            if !folder.entries.contains_key(part) {
                folder.entries.insert(part.into(), Entry::Open(Box::default()));
            }
            folder = match folder.entries.get_mut(part) {
                Some(Entry::Open(below)) => below,
                Some(Entry::Written(_)) => return Err(too_late(path)),
                _ => return Err(invalid()),
            };
        }
        Ok((folder, name))
    }

    /// Stores the remaining trees, below the snapshot's path.
    pub(super) fn write(
        self,
        shared: &Shared,
        blobs: &mut BlobWriter,
        meta: &SnapshotMeta,
    ) -> Result<ItemTree> {
        let mut root = self.root;
        for part in meta.path.trim_start_matches('/').rsplit('/') {
            let entries = BTreeMap::from([(part.as_bytes().into(), Entry::Open(Box::new(root)))]);
            root = Directory { attributes: None, entries };
        }
        let mut written = Written::default();
        let (root, _) = write_folder(shared, blobs, root, &mut written)?;
        Ok(ItemTree {
            root,
            files: self.counts.files,
            files_unread: self.counts.unread,
            folders: written.folders,
            bytes: self.counts.bytes,
            bytes_added: written.bytes_added,
            ..ItemTree::default()
        })
    }
}

impl Finished {
    /// Stores the directory and everything below it.
    pub(super) fn write(
        self,
        shared: &Shared,
        blobs: &mut BlobWriter,
        written: &mut Written,
    ) -> Result<(Hash, Attributes)> {
        written.folders += 1;
        write_folder(shared, blobs, self.0, written)
    }
}

fn only(mtime: Timestamp) -> Attributes {
    Attributes { mtime: Some(mtime), links: 1, ..Attributes::default() }
}

fn twice(path: &Path) -> Error {
    Error::failed(format!("`{}` was stored twice", path.display()))
}

fn too_late(path: &Path) -> Error {
    Error::failed(format!("`{}` was added after its directory was finished", path.display())).with(Late)
}

/// Stores a directory and everything below it. A directory without attributes gets the newest modification time of its entries,
/// so that the same content always gives the same tree.
fn write_folder(
    shared: &Shared,
    blobs: &mut BlobWriter,
    mut folder: Directory,
    written: &mut Written,
) -> Result<(Hash, Attributes)> {
    for entry in folder.entries.values_mut() {
        if let Entry::Open(below) = entry {
            written.folders += 1;
            let (id, attributes) = write_folder(shared, blobs, std::mem::take(&mut **below), written)?;
            *entry = Entry::Written(Box::new(WrittenDirectory { id, attributes }));
        }
    }
    let attributes = match folder.attributes.take() {
        Some(attributes) => attributes,
        None => Attributes { mtime: youngest(&folder), ..Attributes::default() },
    };
    let (id, added) = blobs.store_pieces(shared, BlobType::Tree, &|emit| pieces(&folder, emit))?;
    written.bytes_added += added;
    Ok((id, attributes))
}

fn youngest(folder: &Directory) -> Option<Timestamp> {
    let time = |entry: &Entry| match entry {
        Entry::Plain { mtime, .. } => Some(*mtime),
        Entry::Full(full) => full.attributes.mtime,
        Entry::Written(folder) => folder.attributes.mtime,
        Entry::Open(_) => None,
    };
    folder.entries.values().filter_map(time).max()
}

/// The JSON of a directory's tree, piece by piece.
fn pieces(folder: &Directory, emit: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut out = Vec::from(go_json::START);
    for (number, (name, entry)) in folder.entries.iter().enumerate() {
        if number > 0 {
            out.extend_from_slice(go_json::BETWEEN.as_bytes());
        }
        let mut node = node(entry);
        node.name = quote(OsStr::from_bytes(name));
        let xattrs = match entry {
            Entry::Full(full) => &full.attributes.xattrs[..],
            Entry::Written(folder) => &folder.attributes.xattrs,
            Entry::Plain { .. } | Entry::Open(_) => &[],
        };
        go_json::append_node(&node, xattrs, &mut out)?;
        if out.len() >= PIECE {
            emit(&out)?;
            out.clear();
        }
    }
    out.extend_from_slice(go_json::END.as_bytes());
    emit(&out)
}

fn node(entry: &Entry) -> Node {
    let ids = |content: &[Hash]| Some(content.iter().map(|id| DataId::from(*id)).collect());
    match entry {
        Entry::Plain { bytes, mtime, content } => Node {
            meta: metadata(&only(*mtime), &NodeType::File, FILE_MODE, *bytes),
            content: ids(content),
            ..Node::default()
        },
        Entry::Full(full) => Node {
            meta: metadata(&full.attributes, &full.node_type, FILE_MODE, full.bytes),
            node_type: full.node_type.clone(),
            content: full.content.as_deref().and_then(ids),
            ..Node::default()
        },
        Entry::Written(folder) => Node {
            meta: metadata(&folder.attributes, &NodeType::Dir, FOLDER_MODE, 0),
            node_type: NodeType::Dir,
            subtree: Some(folder.id.into()),
            ..Node::default()
        },
        // Directories are written before their parent tree.
        Entry::Open(_) => Node { node_type: NodeType::Dir, ..Node::default() },
    }
}
