//! The directory trees of a snapshot.

use std::{collections::BTreeMap, ffi::OsStr};

use jiff::Timestamp;
use rustic_core::repofile::{BlobType, Metadata, Node, NodeType};

use super::{Shared, SnapshotMeta, go_json, worker::BlobWriter};
use crate::{
    error::{Error, Result},
    repository::seal::Hash,
};

enum Entry {
    File(Box<Node>),
    Folder(Folder),
}

type Folder = BTreeMap<String, Entry>;

/// Files of an item under their paths.
#[derive(Default)]
pub(super) struct TreeBuilder {
    root: Folder,
    files: u64,
}

/// The stored trees of an item.
#[derive(Debug, Default)]
pub(super) struct ItemTree {
    pub(super) root: Hash,
    pub(super) files: u64,
    pub(super) folders: u64,
    pub(super) bytes_read: u64,
    pub(super) bytes_added: u64,
}

impl TreeBuilder {
    /// Adds a file; `path` is relative, its folders separated by `/`.
    pub(super) fn insert(&mut self, path: &str, node: Node) -> Result<()> {
        let mut parts: Vec<&str> = path.split('/').collect();
        let invalid = || Error::failed(format!("`{path}` cannot be a path in a snapshot"));
        if parts.iter().any(|part| matches!(*part, "" | "." | "..")) {
            return Err(invalid());
        }
        let name = parts.pop().ok_or_else(invalid)?;
        let mut folder = &mut self.root;
        for part in parts {
            match folder.entry(part.to_owned()).or_insert_with(|| Entry::Folder(Folder::new())) {
                Entry::Folder(below) => folder = below,
                Entry::File(_) => return Err(invalid()),
            }
        }
        if folder.insert(name.to_owned(), Entry::File(Box::new(node))).is_some() {
            return Err(Error::failed(format!("`{path}` was stored twice")));
        }
        self.files += 1;
        Ok(())
    }

    /// Stores the trees below the snapshot's path.
    pub(super) fn write(
        self,
        shared: &Shared,
        blobs: &mut BlobWriter,
        meta: &SnapshotMeta,
    ) -> Result<ItemTree> {
        let mut root = self.root;
        for part in meta.path.trim_start_matches('/').rsplit('/') {
            root = Folder::from([(part.to_owned(), Entry::Folder(root))]);
        }
        let mut tree = ItemTree { files: self.files, ..ItemTree::default() };
        tree.root = write_folder(shared, blobs, meta, root, &mut tree)?;
        Ok(tree)
    }
}

fn write_folder(
    shared: &Shared,
    blobs: &mut BlobWriter,
    meta: &SnapshotMeta,
    folder: Folder,
    tree: &mut ItemTree,
) -> Result<Hash> {
    let mut nodes = Vec::with_capacity(folder.len());
    for (name, entry) in folder {
        let mut node = match entry {
            Entry::File(node) => *node,
            Entry::Folder(below) => {
                tree.folders += 1;
                let id = write_folder(shared, blobs, meta, below, tree)?;
                Node {
                    node_type: NodeType::Dir,
                    meta: folder_meta(meta),
                    subtree: Some(id.into()),
                    ..Node::default()
                }
            }
        };
        node.name = Node::new_node(OsStr::new(&name), NodeType::File, Metadata::default()).name;
        nodes.push(node);
    }
    // Trees must be ordered by name as it is stored, that is after escaping.
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    let json = go_json::tree(&nodes)?;
    let (id, added) = blobs.store(shared, BlobType::Tree, &json)?;
    tree.bytes_added += added;
    Ok(id)
}

fn folder_meta(meta: &SnapshotMeta) -> Metadata {
    let time: Timestamp = meta.time.timestamp();
    Metadata {
        mode: Some(0o20_000_000_700),
        mtime: Some(time),
        atime: Some(time),
        ctime: Some(time),
        uid: Some(rustix::process::getuid().as_raw()),
        gid: Some(rustix::process::getgid().as_raw()),
        ..Metadata::default()
    }
}
