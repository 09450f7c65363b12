//! The content of a share: directories and files as in the File service.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;

/// Common properties of files and directories.
#[derive(Debug, Clone)]
pub struct Facts {
    pub id: u64,
    pub etag: String,
    /// Names as in `x-ms-file-attributes`, without `Directory`.
    pub attributes: Vec<String>,
    pub created: Timestamp,
    pub written: Timestamp,
    pub changed: Timestamp,
    pub modified: Timestamp,
    pub permission_key: String,
    pub metadata: Vec<(String, String)>,
}

/// A file.
#[derive(Debug, Clone)]
pub struct FileNode {
    pub facts: Facts,
    pub content: Arc<Vec<u8>>,
    /// Headers of the content, such as `Content-Type`, by the names that an answer has them under.
    pub headers: BTreeMap<String, String>,
}

/// A directory. Names do not differ by case: the key is the name in lower case.
#[derive(Debug, Clone)]
pub struct Directory {
    pub facts: Facts,
    pub entries: BTreeMap<String, (String, Node)>,
}

/// A file or a directory.
#[derive(Debug, Clone)]
pub enum Node {
    File(FileNode),
    Directory(Directory),
}

impl Node {
    pub fn facts(&self) -> &Facts {
        match self {
            Self::File(file) => &file.facts,
            Self::Directory(directory) => &directory.facts,
        }
    }

    pub fn facts_mut(&mut self) -> &mut Facts {
        match self {
            Self::File(file) => &mut file.facts,
            Self::Directory(directory) => &mut directory.facts,
        }
    }
}

/// Why a path does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// The last part does not exist.
    Entry,
    /// A parent directory does not exist, or is a file.
    Parent,
}

impl Directory {
    /// The directory at a path below this one; an empty path is this one.
    pub fn directory(&self, path: &[String]) -> Result<&Self, Missing> {
        let Some((last, parents)) = path.split_last() else { return Ok(self) };
        let mut at = self;
        for part in parents {
            at = at.child(part).ok_or(Missing::Parent)?;
        }
        at.child(last).ok_or(Missing::Entry)
    }

    /// The same, to be changed.
    pub fn directory_mut(&mut self, path: &[String]) -> Result<&mut Self, Missing> {
        let mut at = self;
        for (index, part) in path.iter().enumerate() {
            let missing = if index + 1 == path.len() { Missing::Entry } else { Missing::Parent };
            at = match at.entries.get_mut(&part.to_lowercase()) {
                Some((_, Node::Directory(directory))) => directory,
                _ => return Err(missing),
            };
        }
        Ok(at)
    }

    /// File or directory at a path that is not empty.
    pub fn node(&self, path: &[String]) -> Result<&Node, Missing> {
        let Some((last, parents)) = path.split_last() else { return Err(Missing::Entry) };
        let parent = self.directory(parents).map_err(|_| Missing::Parent)?;
        parent.entries.get(&last.to_lowercase()).map(|(_, node)| node).ok_or(Missing::Entry)
    }

    /// The same, to be changed.
    pub fn node_mut(&mut self, path: &[String]) -> Result<&mut Node, Missing> {
        let Some((last, parents)) = path.split_last() else { return Err(Missing::Entry) };
        let parent = self.directory_mut(parents).map_err(|_| Missing::Parent)?;
        parent.entries.get_mut(&last.to_lowercase()).map(|(_, node)| node).ok_or(Missing::Entry)
    }

    /// Puts a node under a name, in the place of another of that name.
    pub fn insert(&mut self, name: &str, node: Node) {
        self.entries.insert(name.to_lowercase(), (name.to_owned(), node));
    }

    fn child(&self, name: &str) -> Option<&Self> {
        match self.entries.get(&name.to_lowercase()) {
            Some((_, Node::Directory(directory))) => Some(directory),
            _ => None,
        }
    }
}

/// A share, with its snapshots.
#[derive(Debug, Clone)]
pub struct Share {
    pub protocol: String,
    pub quota: u64,
    pub metadata: Vec<(String, String)>,
    pub root: Directory,
    /// Oldest first.
    pub snapshots: Vec<Snapshot>,
    /// SDDL by permission key.
    pub permissions: BTreeMap<String, String>,
    pub deleted: bool,
}

/// A share at a moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub id: String,
    pub metadata: Vec<(String, String)>,
    pub root: Arc<Directory>,
}
