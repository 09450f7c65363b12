//! Damaged snapshots: the files of a snapshot, changed in one way.

use std::{
    collections::HashMap,
    io::{self, Write},
    ops::Range,
    path::{Path, PathBuf},
};

use crate::{
    error::{Error, Result},
    source::MANIFEST,
    stream::files::{Content, Files, Node, NodeKind, Part},
};

/// The kind of damage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum How {
    /// This file is truncated to its first half.
    Truncated(String),
    /// The contents of these two are exchanged.
    Swapped(String, String),
    /// This file is missing.
    Deleted(String),
    /// There is a file that was not backed up.
    Added(String),
    /// This file has other permissions.
    Permissions(String),
    /// The manifest is replaced by this one.
    Manifest(Vec<u8>),
}

/// The files of a snapshot, and the damage to them.
pub(super) struct Tampered<'a> {
    pub(super) files: &'a dyn Files,
    pub(super) how: How,
}

/// Passes the first bytes on and discards the others.
struct First<'a> {
    target: &'a mut dyn Write,
    left: u64,
    passed: u64,
}

impl Write for First<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let n = usize::try_from(self.left).unwrap_or(usize::MAX).min(data.len());
        self.target.write_all(&data[..n])?;
        self.left -= n as u64;
        self.passed += n as u64;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.target.flush()
    }
}

impl Tampered<'_> {
    fn length(&self, path: &str) -> Result<u64> {
        let list = self.files.list()?;
        let found = list.into_iter().find(|(other, _)| other == path);
        found.map(|(_, bytes)| bytes).ok_or_else(|| Error::failed(format!("there is no {path}")))
    }

    /// The file whose content is found at this path.
    fn origin<'p>(&'p self, path: &'p str) -> &'p str {
        match &self.how {
            How::Swapped(one, other) if one == path => other,
            How::Swapped(one, other) if other == path => one,
            _ => path,
        }
    }
}

impl Files for Tampered<'_> {
    fn list(&self) -> Result<Vec<(String, u64)>> {
        let mut list = self.files.list()?;
        if let How::Deleted(path) = &self.how {
            list.retain(|(other, _)| other != path);
        }
        Ok(list)
    }

    fn walk(&self, visit: &mut dyn FnMut(Node<'_>) -> Result<()>) -> Result<()> {
        let mut known: HashMap<PathBuf, (u64, Option<[u8; 16]>)> = HashMap::new();
        self.files.walk(&mut |node| {
            if let NodeKind::File(bytes) = node.kind {
                known.insert(node.path.to_owned(), (bytes, node.content.identity()));
            }
            Ok(())
        })?;
        self.files.walk(&mut |node| {
            let path = node.path.to_string_lossy().into_owned();
            let mut attributes = node.attributes.clone();
            match &self.how {
                How::Deleted(gone) if *gone == path => return Ok(()),
                How::Permissions(of) if *of == path => {
                    attributes.mode = attributes.mode.map(|mode| mode ^ 0o004)
                }
                How::Added(beside) if *beside == path => {
                    let added = node.path.with_file_name("added by nobody");
                    visit(Node {
                        path: &added,
                        kind: node.kind.clone(),
                        attributes: node.attributes,
                        content: node.content,
                    })?;
                }
                _ => {}
            }
            let origin = self.origin(&path).to_owned();
            let (bytes, identity) = known.get(Path::new(&origin)).copied().unwrap_or_default();
            let kind = match node.kind {
                NodeKind::File(_) => NodeKind::File(bytes),
                ref other => other.clone(),
            };
            let content = ByPath { files: self, path: &path, identity };
            visit(Node { path: node.path, kind, attributes: &attributes, content: &content })
        })
    }

    fn read(&self, path: &str) -> Result<Vec<u8>> {
        match &self.how {
            How::Manifest(json) if path == MANIFEST => Ok(json.clone()),
            _ => {
                let mut data = Vec::new();
                self.copy(path, &mut data)?;
                Ok(data)
            }
        }
    }

    fn copy(&self, path: &str, target: &mut dyn Write) -> Result<u64> {
        match &self.how {
            How::Manifest(json) if path == MANIFEST => {
                target.write_all(json).map_err(|e| Error::from_io("cannot write", e))?;
                Ok(json.len() as u64)
            }
            How::Truncated(short) if short == path => {
                let mut first = First { target, left: self.length(path)? / 2, passed: 0 };
                self.files.copy(path, &mut first)?;
                Ok(first.passed)
            }
            How::Deleted(gone) if gone == path => Err(Error::failed(format!("there is no {path}"))),
            _ => self.files.copy(self.origin(path), target),
        }
    }

    fn copy_range(&self, path: &str, range: Range<u64>, target: &mut dyn Write) -> Result<()> {
        match &self.how {
            How::Swapped(..) | How::Added(_) | How::Permissions(_) => {
                self.files.copy_range(self.origin(path), range, target)
            }
            How::Truncated(_) | How::Deleted(_) | How::Manifest(_) => {
                let mut part = Part::new(target, range);
                let copied = self.copy(path, &mut part);
                part.finish(path, copied.map(drop))
            }
        }
    }
}

struct ByPath<'a> {
    files: &'a dyn Files,
    path: &'a str,
    identity: Option<[u8; 16]>,
}

impl Content for ByPath<'_> {
    fn copy(&self, target: &mut dyn Write) -> Result<u64> {
        self.files.copy(self.path, target)
    }

    fn identity(&self) -> Option<[u8; 16]> {
        self.identity
    }
}
