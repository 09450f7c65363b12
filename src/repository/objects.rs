//! Storages behind a network protocol that this program accesses itself, by the paths of their files, and the form in which
//! `rustic_core` uses them.

use std::fmt;

use bytes::Bytes;
use rustic_core::{BytesList, ErrorKind, FileType, Id, ReadBackend, RusticError, RusticResult, WriteBackend};
use thiserror::Error;

/// Why an operation failed.
#[derive(Debug, Error)]
pub(super) enum ObjectError {
    /// There is no such file or directory.
    #[error("not found")]
    Absent,
    /// Not even the file `config` is there: the disk of the server may not be mounted.
    #[error("the repository is not there at present")]
    Away,
    /// The server does not allow it, or does not accept this user.
    #[error("{0}")]
    Denied(String),
    /// The key of the host is not known.
    #[error("the key of the server is not known")]
    UnknownHost,
    /// The host has another key than before.
    #[error("the key of the server has changed")]
    ChangedHost,
    /// The client program cannot be started on this machine.
    #[error("{0}")]
    NoProgram(String),
    /// The client program has a wrong configuration, or the server lacks something that is needed.
    #[error("{0}")]
    Unusable(String),
    /// There is no space for the file.
    #[error("the storage is full")]
    Full,
    /// Nothing can be written.
    #[error("the storage is read-only")]
    ReadOnly,
    /// The file ends before the part that was requested, or before its own length.
    #[error("the file ends too early")]
    Cut,
    /// The server has answered with a failure and does not explain it.
    #[error("the server answers: {0}")]
    Answered(String),
    /// There is no connection, or it is broken.
    #[error("{0}")]
    Failed(String),
}

/// The result of an operation.
pub(super) type Result<T> = std::result::Result<T, ObjectError>;

/// A file of a storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    /// Its name in its directory.
    pub(super) name: String,
    /// Its length in bytes.
    pub(super) bytes: u64,
}

/// What a missing directory means for a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// It has no files. Other programs create some directories only when they need them.
    Empty,
    /// The listing fails.
    Refused,
}

/// Files of a storage by their paths, which are relative to the repository and have `/` between their parts. Each call is one
/// attempt; it may block for as long as the server does not answer.
pub(super) trait Objects: fmt::Debug + Send + Sync + 'static {
    /// Where it is, without passwords.
    fn location(&self) -> String;

    /// The files in these directories, in no particular order.
    ///
    /// # Errors
    /// A directory could not be listed completely, or it is missing and may not be.
    fn list(&self, directories: Vec<String>, missing: Missing) -> Result<Vec<Listed>>;

    /// The length of a file in bytes.
    fn length(&self, path: &str) -> Result<u64>;

    /// The content of a file.
    fn read(&self, path: &str) -> Result<Bytes>;

    /// A part of the content of a file. A file that ends before the end of the part is an error.
    fn read_part(&self, path: &str, offset: u64, length: usize) -> Result<Bytes>;

    /// Stores a file, and replaces one of the same name. It gets its name only after its whole content is stored.
    fn write(&self, path: &str, content: &[Bytes]) -> Result<()>;

    /// Removes a file.
    fn remove(&self, path: &str) -> Result<()>;

    /// Creates the directory of the repository with its parents, and these directories in it, unless they exist.
    fn create(&self, directories: Vec<String>) -> Result<()>;
}

/// Such a storage in the form that `rustic_core` requires.
#[derive(Debug)]
pub(super) struct ObjectStorage<O>(pub(super) O);

/// The directories of a repository's packs.
fn pack_directories() -> impl Iterator<Item = String> {
    (0..=255).map(|n| format!("data/{n:02x}"))
}

fn path(tpe: FileType, id: &Id) -> String {
    let name = id.to_hex();
    match tpe {
        FileType::Config => "config".to_owned(),
        FileType::Pack => format!("data/{}/{}", &name.as_str()[..2], name.as_str()),
        other => format!("{}/{}", other.dirname(), name.as_str()),
    }
}

impl<O: Objects> ObjectStorage<O> {
    /// Fails if the repository is not there. A server whose disk is not mounted has none of its files.
    fn require(&self) -> Result<()> {
        match self.0.length("config") {
            Err(ObjectError::Absent) => Err(ObjectError::Away),
            other => other.map(drop),
        }
    }

    /// The result of an operation on a file other than `config`: a file may be absent because the whole repository is.
    fn checked<T>(&self, result: Result<T>) -> Result<T> {
        match result {
            Err(ObjectError::Absent) => self.require().and(Err(ObjectError::Absent)),
            other => other,
        }
    }

    fn list_files(&self, tpe: FileType) -> Result<Vec<Listed>> {
        let (directories, missing) = match tpe {
            FileType::Pack => (pack_directories().collect(), Missing::Empty),
            other => (vec![other.dirname().to_owned()], Missing::Refused),
        };
        let files = self.checked(self.0.list(directories, missing))?;
        if files.is_empty() {
            self.require()?;
        }
        Ok(files)
    }

    fn failed(doing: &str, path: &str, error: ObjectError) -> Box<RusticError> {
        RusticError::with_source(ErrorKind::Backend, "cannot {doing} `{path}`", error)
            .attach_context("doing", doing)
            .attach_context("path", path)
    }
}

impl<O: Objects> ReadBackend for ObjectStorage<O> {
    fn location(&self) -> String {
        self.0.location()
    }

    fn list_with_size(&self, tpe: FileType) -> RusticResult<Vec<(Id, u32)>> {
        // An intact repository has no files beyond 4 GiB; a larger file is reported as damaged, not as absent.
        let size = |bytes| u32::try_from(bytes).unwrap_or(u32::MAX);
        if tpe == FileType::Config {
            return match self.0.length("config") {
                Ok(bytes) => Ok(vec![(Id::default(), size(bytes))]),
                Err(ObjectError::Absent) => Ok(Vec::new()),
                Err(error) => Err(Self::failed("look for", "config", error)),
            };
        }
        let files = self.list_files(tpe).map_err(|e| Self::failed("list", tpe.dirname(), e))?;
        Ok(files
            .into_iter()
            .filter_map(|file| Some((Id::parse_some(&file.name, tpe)?, size(file.bytes))))
            .collect())
    }

    fn read_full(&self, tpe: FileType, id: &Id) -> RusticResult<Bytes> {
        let path = path(tpe, id);
        let read = match tpe {
            FileType::Config => self.0.read(&path),
            _ => self.checked(self.0.read(&path)),
        };
        read.map_err(|e| Self::failed("read", &path, e))
    }

    fn read_partial(
        &self,
        tpe: FileType,
        id: &Id,
        _cacheable: bool,
        offset: u32,
        length: u32,
    ) -> RusticResult<Bytes> {
        let path = path(tpe, id);
        let read = self.checked(self.0.read_part(&path, offset.into(), length as usize));
        read.map_err(|e| Self::failed("read", &path, e))
    }

    fn warmup_path(&self, tpe: FileType, id: &Id) -> String {
        path(tpe, id)
    }
}

impl<O: Objects> WriteBackend for ObjectStorage<O> {
    fn create(&self) -> RusticResult<()> {
        let directories = ["keys", "snapshots", "index", "locks", "data"].map(str::to_owned);
        let directories = directories.into_iter().chain(pack_directories()).collect();
        self.0.create(directories).map_err(|e| Self::failed("create", "the repository's directories", e))
    }

    fn write_bytes(&self, tpe: FileType, id: &Id, _cacheable: bool, content: BytesList) -> RusticResult<()> {
        let path = path(tpe, id);
        let written = self.checked(self.0.write(&path, content.slice()));
        written.map_err(|e| Self::failed("write", &path, e))
    }

    fn remove(&self, tpe: FileType, id: &Id, _cacheable: bool) -> RusticResult<()> {
        let path = path(tpe, id);
        match self.checked(self.0.remove(&path)) {
            // Another program, or an earlier attempt, has removed it.
            Err(ObjectError::Absent) => Ok(()),
            other => other.map_err(|e| Self::failed("remove", &path, e)),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "objects_tests.rs"]
mod tests;
