//! A repository in memory, for tests.

use std::{
    collections::{BTreeMap, HashSet},
    io::{Read, Write},
    path::{Path, PathBuf},
};

use parking_lot::{Mutex, MutexGuard};
pub(crate) use testkit::tree;

use super::Directory;
use crate::{
    error::{Error, Result},
    source::{
        Item, MANIFEST, Source, directory::config::DirectoryConfig, layout::CONTENT, manifest::Manifest,
    },
    stream::{
        cancel::Cancel,
        digest::Digest128,
        files::{Attributes, Content, Files, Node, NodeKind, Special},
        sink::{Previous, Sink, Stored},
    },
};

/// An object at a path.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Kept {
    pub(crate) kind: NodeKind,
    pub(crate) attributes: Attributes,
    pub(crate) content: Vec<u8>,
}

impl Content for Kept {
    fn copy(&self, target: &mut dyn Write) -> Result<u64> {
        for piece in self.content.chunks(100_000) {
            target.write_all(piece).map_err(|error| Error::from_io("cannot write", error))?;
        }
        Ok(self.content.len() as u64)
    }
}

/// A snapshot in memory; paths sort a directory before what lies in it.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) kept: Mutex<BTreeMap<PathBuf, Kept>>,
    finished: Mutex<HashSet<PathBuf>>,
    pub(crate) read: Mutex<Vec<PathBuf>>,
    pub(crate) previous: Option<Box<Memory>>,
}

impl Memory {
    /// The sink of the run after the one that produced `previous`.
    pub(crate) fn after(previous: Memory) -> Self {
        Self { previous: Some(Box::new(previous)), ..Self::default() }
    }

    pub(crate) fn kept(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Kept>> {
        self.kept.lock()
    }

    /// An object at a path in the directory that was backed up.
    pub(crate) fn get(&self, path: impl AsRef<Path>) -> Option<Kept> {
        self.kept().get(&Path::new(CONTENT).join(path)).cloned()
    }

    /// Paths below the directory that was backed up.
    pub(crate) fn paths(&self) -> Vec<String> {
        let kept = self.kept();
        let below = kept.keys().filter_map(|path| path.strip_prefix(CONTENT).ok());
        below.map(|path| path.to_string_lossy().into_owned()).filter(|path| !path.is_empty()).collect()
    }

    fn insert(
        &self,
        path: &Path,
        kind: NodeKind,
        attributes: &Attributes,
        content: Vec<u8>,
    ) -> Result<Stored> {
        let finished = self.finished.lock();
        assert!(!path.parent().is_some_and(|above| finished.contains(above)), "{path:?} came too late");
        let (bytes, id) = (content.len() as u64, Digest128::of(&content).to_bits().to_be_bytes());
        let kept = Kept { kind, attributes: attributes.clone(), content };
        assert!(self.kept().insert(path.to_owned(), kept).is_none(), "{path:?} was stored twice");
        Ok(Stored { bytes, content: id })
    }

    /// Stores the manifest as a run does.
    pub(crate) fn finish(&self, manifest: &Manifest) {
        self.store(MANIFEST, &mut manifest.to_json().unwrap().as_slice()).unwrap();
        let open: Vec<_> =
            self.kept().iter().filter(|(_, k)| k.kind == NodeKind::Folder).map(|(p, _)| p.clone()).collect();
        assert!(open.iter().all(|path| self.finished.lock().contains(path)), "an unfinished folder");
    }
}

impl Sink for Memory {
    fn store(&self, path: &str, reader: &mut dyn Read) -> Result<Stored> {
        self.put(Path::new(path), &Attributes::default(), reader)
    }

    fn put(&self, path: &Path, attributes: &Attributes, reader: &mut dyn Read) -> Result<Stored> {
        let mut content = Vec::new();
        reader.read_to_end(&mut content).map_err(|error| Error::from_io("cannot read the stream", error))?;
        self.read.lock().push(path.to_owned());
        self.insert(path, NodeKind::File(content.len() as u64), attributes, content)
    }

    fn folder(&self, path: &Path, attributes: &Attributes) -> Result<()> {
        self.insert(path, NodeKind::Folder, attributes, Vec::new()).map(|_| ())
    }

    fn special(&self, path: &Path, special: &Special, attributes: &Attributes) -> Result<()> {
        self.insert(path, NodeKind::Special(special.clone()), attributes, Vec::new()).map(|_| ())
    }

    fn finish_folder(&self, path: &Path) -> Result<()> {
        assert!(self.finished.lock().insert(path.to_owned()), "{path:?} was finished twice");
        Ok(())
    }

    fn previous_file(&self, path: &Path) -> Result<Option<Previous>> {
        let kept = self.previous.as_ref().and_then(|previous| previous.kept().get(path).cloned());
        Ok(kept.filter(|kept| matches!(kept.kind, NodeKind::File(_))).map(|kept| {
            let Attributes { mtime, ctime, inode, .. } = kept.attributes;
            let attributes = Attributes { mtime, ctime, inode, ..Attributes::default() };
            Previous { bytes: kept.content.len() as u64, attributes }
        }))
    }

    fn reuse(&self, path: &Path, attributes: &Attributes) -> Result<Option<Stored>> {
        let content =
            self.previous.as_ref().and_then(|previous| previous.kept().get(path).map(|k| k.content.clone()));
        let Some(content) = content else { return Ok(None) };
        self.insert(path, NodeKind::File(content.len() as u64), attributes, content).map(Some)
    }

    fn previous(&self) -> Result<Option<&dyn Files>> {
        Ok(self.previous.as_deref().map(|previous| previous as &dyn Files))
    }
}

impl Files for Memory {
    fn list(&self) -> Result<Vec<(String, u64)>> {
        let kept = self.kept();
        Ok(kept
            .iter()
            .map(|(p, kept)| (p.to_string_lossy().into_owned(), kept.content.len() as u64))
            .collect())
    }

    fn walk(&self, visit: &mut dyn FnMut(Node<'_>) -> Result<()>) -> Result<()> {
        for (path, kept) in self.kept().iter() {
            visit(Node { path, kind: kept.kind.clone(), attributes: &kept.attributes, content: kept })?;
        }
        Ok(())
    }

    fn read(&self, path: &str) -> Result<Vec<u8>> {
        let kept = self.kept().get(Path::new(path)).cloned();
        kept.map(|kept| kept.content).ok_or_else(|| Error::failed(format!("there is no {path}")))
    }

    fn copy(&self, path: &str, target: &mut dyn Write) -> Result<u64> {
        let content = self.read(path)?;
        target.write_all(&content).map_err(|error| Error::from_io("cannot write", error))?;
        Ok(content.len() as u64)
    }
}

/// A source of one directory.
pub(crate) fn source(path: &Path, exclude: &[&str]) -> Directory {
    configured(DirectoryConfig {
        exclude: exclude.iter().map(|pattern| (*pattern).to_owned()).collect(),
        ..DirectoryConfig::new(vec![path.to_owned()])
    })
}

/// A source as configured.
pub(crate) fn configured(config: DirectoryConfig) -> Directory {
    Directory::named("disk", &config).unwrap()
}

/// Backs up the only directory of a source.
pub(crate) fn dump(source: &Directory, sink: &dyn Sink) -> Result<Manifest> {
    let cancel = Cancel::new();
    let item: Item = source.discover(&cancel)?.items.remove(0);
    source.dump(&item, sink, &cancel)
}

/// Backs up a directory into memory.
pub(crate) fn back_up(path: &Path, exclude: &[&str]) -> (Memory, Manifest) {
    let memory = Memory::default();
    let manifest = dump(&source(path, exclude), &memory).unwrap();
    memory.finish(&manifest);
    (memory, manifest)
}
