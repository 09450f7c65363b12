//! Finds files of a snapshot by path. This is fast for requests directory by directory: the directories on the path of the last
//! request are kept in a compact form.

use std::{borrow::Cow, fmt, os::unix::ffi::OsStrExt, path::Path};

use jiff::Timestamp;
use rustic_core::{
    BlobId, IndexedFullStatus,
    repofile::{BlobType, SnapshotFile},
};
use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor},
};

use super::{crypto::Hash, node::quote, rustic_error};
use crate::error::{Error, Result};

/// A file of a snapshot.
#[derive(Debug, Clone)]
pub(super) struct FoundFile {
    /// Length in bytes.
    pub(super) bytes: u64,
    /// Last change of the content.
    pub(super) mtime: Timestamp,
    /// Last change of content or attributes.
    pub(super) ctime: Timestamp,
    /// Inode number, or 0.
    pub(super) inode: u64,
    /// Its chunks.
    pub(super) content: Box<[Hash]>,
}

enum Lean {
    File(FoundFile),
    Directory(Hash),
    Other,
}

/// The content of a directory, by the stored names.
struct LeanDirectory(Vec<(Box<str>, Lean)>);

impl LeanDirectory {
    fn get(&self, quoted: &str) -> Option<&Lean> {
        let at = self.0.binary_search_by(|(name, _)| (**name).cmp(quoted)).ok()?;
        Some(&self.0[at].1)
    }
}

/// Finds files below one directory of a snapshot.
pub(super) struct Directories<'r> {
    repo: &'r rustic_core::Repository<IndexedFullStatus>,
    root: Hash,
    /// The path of the last requested directory: names and contents, the snapshot's root first.
    open: Vec<(Vec<u8>, LeanDirectory)>,
}

impl<'r> Directories<'r> {
    /// For a snapshot.
    pub(super) fn new(repo: &'r rustic_core::Repository<IndexedFullStatus>, snapshot: &SnapshotFile) -> Self {
        Self { repo, root: *snapshot.tree, open: Vec::new() }
    }

    /// The file at `path`, relative to the snapshot's root; `None` if there is no such file.
    pub(super) fn find(&mut self, path: &Path) -> Result<Option<FoundFile>> {
        let mut names: Vec<&[u8]> =
            path.as_os_str().as_bytes().split(|b| *b == b'/').filter(|n| !n.is_empty()).collect();
        let Some(last) = names.pop() else { return Ok(None) };
        if !self.enter(&names)? {
            return Ok(None);
        }
        let folder = self.open.last().map(|(_, folder)| folder);
        Ok(match folder.and_then(|folder| folder.get(&quoted(last))) {
            Some(Lean::File(file)) => Some(file.clone()),
            _ => None,
        })
    }

    /// Opens the directory with this path and its parents. False if it does not exist.
    fn enter(&mut self, names: &[&[u8]]) -> Result<bool> {
        let same = self.open.iter().skip(1).zip(names).take_while(|((open, _), name)| open == *name).count();
        self.open.truncate(same + 1);
        if self.open.is_empty() {
            let root = self.load(&self.root)?;
            self.open.push((Vec::new(), root));
        }
        for name in &names[same..] {
            let id = match self.open.last().and_then(|(_, folder)| folder.get(&quoted(name))) {
                Some(Lean::Directory(id)) => *id,
                _ => return Ok(false),
            };
            let folder = self.load(&id)?;
            self.open.push((name.to_vec(), folder));
        }
        Ok(true)
    }

    fn load(&self, id: &Hash) -> Result<LeanDirectory> {
        let json = self
            .repo
            .get_blob_cached(&BlobId::from(*id), BlobType::Tree)
            .map_err(|e| rustic_error("cannot read a directory of a snapshot", e))?;
        let LeanTree { nodes } = serde_json::from_slice(&json)
            .map_err(|e| Error::repository("cannot parse a directory of a snapshot").because(&e))?;
        let mut nodes = nodes.0;
        // Trees are ordered by the unquoted names.
        nodes.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(LeanDirectory(nodes))
    }
}

fn quoted(name: &[u8]) -> String {
    quote(std::ffi::OsStr::from_bytes(name))
}

#[derive(Deserialize)]
struct LeanTree {
    #[serde(default)]
    nodes: LeanNodes,
}

/// Nodes are compacted while they are parsed: the JSON of a directory with a million files is large already.
#[derive(Default)]
struct LeanNodes(Vec<(Box<str>, Lean)>);

#[derive(Deserialize)]
struct JsonNode<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(rename = "type", borrow)]
    tpe: Cow<'a, str>,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    inode: u64,
    #[serde(default, borrow)]
    mtime: Cow<'a, str>,
    #[serde(default, borrow)]
    ctime: Cow<'a, str>,
    #[serde(default)]
    content: Option<Vec<Hash>>,
    #[serde(default)]
    subtree: Option<Hash>,
}

impl From<JsonNode<'_>> for (Box<str>, Lean) {
    fn from(node: JsonNode<'_>) -> Self {
        let time = |text: &str| text.parse().unwrap_or_default();
        let lean = match (&*node.tpe, node.subtree) {
            ("file", _) => Lean::File(FoundFile {
                bytes: node.size,
                mtime: time(&node.mtime),
                ctime: time(&node.ctime),
                inode: node.inode,
                content: node.content.unwrap_or_default().into(),
            }),
            ("dir", Some(id)) => Lean::Directory(id),
            _ => Lean::Other,
        };
        (node.name.into(), lean)
    }
}

impl<'de> Deserialize<'de> for LeanNodes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Nodes;
        impl<'de> Visitor<'de> for Nodes {
            type Value = LeanNodes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the nodes of a tree")
            }

            fn visit_unit<E>(self) -> Result<LeanNodes, E> {
                Ok(LeanNodes::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut nodes: A) -> Result<LeanNodes, A::Error> {
                let mut lean = Vec::new();
                while let Some(node) = nodes.next_element::<JsonNode<'de>>()? {
                    lean.push(node.into());
                }
                Ok(LeanNodes(lean))
            }
        }
        deserializer.deserialize_any(Nodes)
    }
}
