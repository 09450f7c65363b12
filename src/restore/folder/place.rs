//! The current position of a restore: the directories from the top down to the one being filled.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, DirBuilder, Permissions},
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{
            ffi::{OsStrExt, OsStringExt},
            fs::{DirBuilderExt, PermissionsExt},
        },
    },
    path::{Path, PathBuf},
};

use rustix::io::Errno;

use crate::{
    error::{Error, Result},
    fs::open::{Identity, KEEP_OPEN, open_parent, open_top},
    output::paths::shown,
    stream::{digest::Digest128, files::Attributes},
};

/// Makes sure that the directory exists and is empty, and opens it. `close` removes the access of other users.
pub(super) fn prepare(into: &Path, close: bool) -> Result<OwnedFd> {
    match fs::read_dir(into) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                return Err(Error::usage(format!("{} is not empty", into.display()))
                    .hint("name a directory that does not exist yet"));
            }
            if close {
                fs::set_permissions(into, Permissions::from_mode(0o700)).map_err(|e| failed(into, &e))?;
            }
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            DirBuilder::new().recursive(true).mode(0o700).create(into).map_err(|e| failed(into, &e))?;
        }
        Err(e) => return Err(failed(into, &e)),
    }
    open_top(into).map_err(|e| failed(into, &e.into()))
}

/// The error of an operation on this path.
pub(super) fn failed(path: &Path, error: &io::Error) -> Error {
    let failed = Error::failed(format!("cannot write {}", shown(path))).because(error);
    if no_space(error) {
        return failed
            .hint("make space or name a directory on another disk, remove the files written so far, and restore again");
    }
    failed
}

/// Whether an error means that the disk or a quota is full.
pub(super) fn no_space(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOSPC | Errno::DQUOT))
}

/// A replacement for a name that is too long: its beginning, cut at a character boundary, and a hash of the whole name.
pub(super) fn shortened(name: &OsStr, cut: usize, hash: Digest128) -> OsString {
    let bytes = name.as_bytes();
    let mut end = cut.min(bytes.len());
    while end > 0 && bytes.get(end).is_some_and(|byte| byte & 0xc0 == 0x80) {
        end -= 1;
    }
    let mut short = bytes[..end].to_vec();
    short.extend_from_slice(format!("~{hash}").as_bytes());
    OsString::from_vec(short)
}

/// A directory being filled.
pub(super) struct OpenFolder {
    /// Closed while the restore is far below it.
    fd: Option<OwnedFd>,
    identity: Identity,
    /// Path in the snapshot, from the top.
    path: PathBuf,
    /// Path as written, from the top.
    written: PathBuf,
    attributes: Option<Attributes>,
}

impl OpenFolder {
    pub(super) fn fd(&self) -> Result<BorrowedFd<'_>> {
        self.fd.as_ref().map(OwnedFd::as_fd).ok_or_else(|| failed(&self.path, &Errno::BADF.into()))
    }

    /// Its path as written, from the top.
    pub(super) fn written(&self) -> &Path {
        &self.written
    }

    pub(super) fn attributes(&self) -> &Attributes {
        static NONE: std::sync::LazyLock<Attributes> = std::sync::LazyLock::new(Attributes::default);
        self.attributes.as_ref().unwrap_or(&NONE)
    }
}

/// The directories from the top down.
pub(super) struct Folders {
    top: OpenFolder,
    below: Vec<OpenFolder>,
}

impl Folders {
    pub(super) fn new(top: OwnedFd, identity: Identity) -> Self {
        let (path, written) = (PathBuf::new(), PathBuf::new());
        let top = OpenFolder { fd: Some(top), identity, path, written, attributes: None };
        Self { top, below: Vec::new() }
    }

    fn last(&self) -> &OpenFolder {
        self.below.last().unwrap_or(&self.top)
    }

    /// Whether the directory being filled is the one at this path in the snapshot.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        self.last().path == path
    }

    /// The directory being filled.
    pub(super) fn fd(&self) -> Result<BorrowedFd<'_>> {
        self.last().fd()
    }

    /// Its path as written, from the top.
    pub(super) fn written(&self) -> &Path {
        &self.last().written
    }

    /// The directory that the user named.
    pub(super) fn top(&self) -> Result<BorrowedFd<'_>> {
        self.top.fd()
    }

    pub(super) fn set_top(&mut self, attributes: Attributes) {
        self.top.attributes = Some(attributes);
    }

    pub(super) fn top_attributes(&self) -> Option<&Attributes> {
        self.top.attributes.as_ref()
    }

    /// Goes down into a directory of the one being filled.
    pub(super) fn enter(
        &mut self,
        fd: OwnedFd,
        identity: Identity,
        path: &Path,
        name: OsString,
        attributes: Attributes,
    ) {
        let (path, written) = (path.to_owned(), self.written().join(name));
        self.below.push(OpenFolder { fd: Some(fd), identity, path, written, attributes: Some(attributes) });
        if let Some(far) = self.below.len().checked_sub(KEEP_OPEN + 1) {
            self.below[far].fd = None;
        }
    }

    /// Goes up; returns the directory that was left, or `None` at the top.
    pub(super) fn leave(&mut self) -> io::Result<Option<OpenFolder>> {
        let Some(left) = self.below.pop() else { return Ok(None) };
        if let Some(above) = self.below.last_mut()
            && above.fd.is_none()
        {
            let from = left.fd.as_ref().ok_or(Errno::BADF)?;
            above.fd = Some(open_parent(from.as_fd(), above.identity)?);
        }
        Ok(Some(left))
    }
}
