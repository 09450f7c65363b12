//! Reading snapshots.

use std::{
    io::{self, Write},
    path::Path,
};

use rustic_core::{IndexedFullStatus, LsOptions, repofile::NodeType};

use super::{Repository, Snapshot, rustic_error};
use crate::error::{Error, Result};

/// A file of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    /// Path below the item's folder.
    pub path: String,
    /// Length in bytes.
    pub bytes: u64,
}

/// Reads files of snapshots, with the whole index in memory.
pub struct SnapshotReader {
    repo: rustic_core::Repository<IndexedFullStatus>,
}

impl Repository {
    /// Loads the index to read from snapshots.
    pub fn reader(&self) -> Result<SnapshotReader> {
        let repo =
            self.reopen()?.to_indexed().map_err(|e| rustic_error("cannot read the repository's index", e))?;
        Ok(SnapshotReader { repo })
    }
}

impl SnapshotReader {
    /// The files of a snapshot.
    pub fn files(&self, snapshot: &Snapshot) -> Result<Vec<FileEntry>> {
        let failed = |e| {
            rustic_error(&format!("cannot list snapshot {} of {}", snapshot.short_id(), snapshot.name()), e)
        };
        let folder = super::item_path(&snapshot.source, &snapshot.item);
        let node = self.node(snapshot, "")?;
        let mut files = Vec::new();
        for entry in self.repo.ls(&node, &LsOptions::default()).map_err(failed)? {
            let (path, node) = entry.map_err(failed)?;
            if matches!(node.node_type, NodeType::File) {
                let path = path.strip_prefix(&folder).unwrap_or(&path).to_string_lossy().into_owned();
                files.push(FileEntry { path, bytes: node.meta.size });
            }
        }
        Ok(files)
    }

    /// Writes a file of a snapshot to `target`. What arrives there has passed the repository's authentication; an
    /// error means that it is not complete.
    pub fn copy(&self, snapshot: &Snapshot, path: &str, target: &mut dyn Write) -> Result<u64> {
        let node = self.node(snapshot, path)?;
        let mut target = Counted { target, bytes: 0, error: None };
        let copied = self.repo.dump(&node, &mut target);
        if let Some(error) = target.error {
            return Err(Error::from_io(format!("cannot write {path}"), error));
        }
        copied.map_err(|e| {
            rustic_error(&format!("cannot read {path} of snapshot {} of {}", snapshot.short_id(), snapshot.name()), e)
                .hint("`tik-backup check --read-data-subset 100%` shows what is damaged; try an older snapshot with --at")
        })?;
        if target.bytes != node.meta.size {
            return Err(Error::failed(format!(
                "{path} of snapshot {} should have {} bytes and has {}",
                snapshot.short_id(),
                node.meta.size,
                target.bytes
            )));
        }
        Ok(target.bytes)
    }

    /// A whole small file, such as a manifest.
    pub fn small_file(&self, snapshot: &Snapshot, path: &str) -> Result<Vec<u8>> {
        const LIMIT: u64 = 1 << 30;
        let node = self.node(snapshot, path)?;
        if node.meta.size > LIMIT {
            return Err(Error::failed(format!("{path} of snapshot {} is too large", snapshot.short_id())));
        }
        let mut data = Vec::new();
        self.copy(snapshot, path, &mut data)?;
        Ok(data)
    }

    fn node(&self, snapshot: &Snapshot, path: &str) -> Result<rustic_core::repofile::Node> {
        let full = format!("{}/{path}", super::item_path(&snapshot.source, &snapshot.item));
        self.repo.node_from_path(snapshot.file.tree, Path::new(full.trim_end_matches('/'))).map_err(|e| {
            rustic_error(&format!("snapshot {} of {} has no {path}", snapshot.short_id(), snapshot.name()), e)
        })
    }
}

/// Counts what is written, and keeps the target's own error, which would otherwise come back as a text.
struct Counted<'a> {
    target: &'a mut dyn Write,
    bytes: u64,
    error: Option<io::Error>,
}

impl Write for Counted<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match self.target.write(data) {
            Ok(n) => {
                self.bytes += n as u64;
                Ok(n)
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Err(e),
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

/// Where a restore reads the files of one snapshot from.
pub struct SnapshotFiles<'a> {
    reader: &'a SnapshotReader,
    snapshot: &'a Snapshot,
}

impl<'a> SnapshotFiles<'a> {
    /// The files of `snapshot`.
    pub fn new(reader: &'a SnapshotReader, snapshot: &'a Snapshot) -> Self {
        Self { reader, snapshot }
    }
}

impl crate::source::Files for SnapshotFiles<'_> {
    fn list(&self) -> Result<Vec<(String, u64)>> {
        Ok(self.reader.files(self.snapshot)?.into_iter().map(|f| (f.path, f.bytes)).collect())
    }

    fn read(&self, path: &str) -> Result<Vec<u8>> {
        self.reader.small_file(self.snapshot, path)
    }

    fn copy(&self, path: &str, target: &mut dyn Write) -> Result<u64> {
        self.reader.copy(self.snapshot, path, target)
    }
}
