//! Opening files relative to a directory without leaving it, with few file descriptors regardless of the depth of the tree.

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, RawDir, Stat, fstat, open, openat, statat},
    io::Errno,
    path::Arg,
};
use std::ffi::{CString, OsStr};

/// The maximum number of parents of the current directory that are kept open; those above are reopened through `..`.
pub(crate) const KEEP_OPEN: usize = 24;
/// The size of the buffer for names.
const LIST_BUFFER: usize = 64 * 1024;

const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);
const FILE: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);

/// Identifies a directory independently of its name.
pub(crate) type Identity = (u64, u64);

/// Device and inode.
pub(crate) fn identity(stat: &Stat) -> Identity {
    (stat.st_dev, stat.st_ino)
}

/// A file opened by name.
pub(crate) enum Opened {
    /// A regular file and its state.
    File(OwnedFd, Box<Stat>),
    /// The name now belongs to another type of file.
    Other,
}

/// The state of the object with this name, which may be a symbolic link. Does not trigger automounts.
pub(crate) fn stat_name(folder: BorrowedFd<'_>, name: impl Arg) -> rustix::io::Result<Stat> {
    statat(folder, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT)
}

/// Opens a directory by its path; symbolic links on the way are followed.
pub(crate) fn open_top(path: impl Arg + Copy) -> rustix::io::Result<OwnedFd> {
    quietly(|more| open(path, FOLDER | more, Mode::empty()))
}

/// Opens a directory in a directory. A symbolic link of that name is an error, [`Errno::NOTDIR`] or [`Errno::LOOP`].
pub(crate) fn open_folder(folder: BorrowedFd<'_>, name: impl Arg + Copy) -> rustix::io::Result<OwnedFd> {
    quietly(|more| openat(folder, name, FOLDER | OFlags::NOFOLLOW | more, Mode::empty()))
}

/// Opens the directory in which `folder` lies, if it is still the same one.
pub(crate) fn open_parent(folder: BorrowedFd<'_>, parent: Identity) -> io::Result<OwnedFd> {
    let opened = open_folder(folder, c"..")?;
    if identity(&fstat(&opened)?) == parent {
        return Ok(opened);
    }
    Err(io::Error::other("a directory was moved during the backup"))
}

/// Opens a directory by the names that lead to it from another one, if it is still the same one.
pub(crate) fn open_below<'n>(
    top: BorrowedFd<'_>,
    names: impl Iterator<Item = &'n OsStr>,
    folder: Identity,
) -> io::Result<OwnedFd> {
    let mut opened = None::<OwnedFd>;
    for name in names {
        opened = Some(open_folder(opened.as_ref().map_or(top, AsFd::as_fd), name)?);
    }
    match opened {
        Some(opened) if identity(&fstat(&opened)?) == folder => Ok(opened),
        _ => Err(io::Error::other("another directory has this name now")),
    }
}

/// Opens a regular file for reading. Other types are not read: a pipe or a device is closed at once.
pub(crate) fn open_file(folder: BorrowedFd<'_>, name: impl Arg + Copy) -> rustix::io::Result<Opened> {
    let opened = match quietly(|more| openat(folder, name, FILE | more, Mode::empty())) {
        Ok(file) => file,
        // Links and sockets.
        Err(Errno::LOOP | Errno::NXIO) => return Ok(Opened::Other),
        // Another process, such as a file server, holds a lease: wait until it writes back.
        Err(Errno::AGAIN) => match open_leased(folder, name)? {
            Some(file) => file,
            None => return Ok(Opened::Other),
        },
        Err(error) => return Err(error),
    };
    let stat = fstat(&opened)?;
    Ok(if is(&stat, FileType::RegularFile) { Opened::File(opened, Box::new(stat)) } else { Opened::Other })
}

/// Opens a regular file, waiting for the holder of a lease on it.
fn open_leased(folder: BorrowedFd<'_>, name: impl Arg + Copy) -> rustix::io::Result<Option<OwnedFd>> {
    let place = openat(folder, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    if !is(&fstat(&place)?, FileType::RegularFile) {
        return Ok(None);
    }
    let path = descriptor_path(place.as_fd());
    open(path.as_str(), OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY, Mode::empty()).map(Some)
}

/// Reading should not change access times; only the owner may request this.
fn quietly(open: impl Fn(OFlags) -> rustix::io::Result<OwnedFd>) -> rustix::io::Result<OwnedFd> {
    match open(OFlags::NOATIME) {
        Err(Errno::PERM) => open(OFlags::empty()),
        result => result,
    }
}

/// A path to an open file, independent of its name.
pub(crate) fn descriptor_path(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// Whether it is of this type.
pub(crate) fn is(stat: &Stat, tpe: FileType) -> bool {
    FileType::from_raw_mode(stat.st_mode) == tpe
}

/// The content of a directory.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Names in the order of their bytes, each with its type, if the system reports it.
    pub(crate) names: Vec<(CString, FileType)>,
    /// The error, if the list may be incomplete.
    pub(crate) error: Option<Errno>,
}

/// The names in a directory. After an error, the names that were read before it.
pub(crate) fn names(folder: BorrowedFd<'_>) -> Listing {
    let mut buffer = vec![MaybeUninit::uninit(); LIST_BUFFER];
    let mut raw = RawDir::new(folder.as_fd(), &mut buffer);
    let mut listing = Listing::default();
    let names = &mut listing.names;
    while let Some(entry) = raw.next() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                listing.error = Some(error);
                break;
            }
        };
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push((entry.file_name().to_owned(), entry.file_type()));
        }
    }
    names.sort_unstable_by(|one, other| one.0.cmp(&other.0));
    // A directory that changes while it is listed may show a name twice.
    names.dedup_by(|one, other| one.0 == other.0);
    listing
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, mkfifoat};
    use std::{fs, os::unix::fs::symlink};

    #[test]
    fn only_what_is_there_by_that_name_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir_all(path("sub/deep")).unwrap();
        fs::write(path("file"), "x").unwrap();
        symlink("sub", path("to-folder")).unwrap();
        symlink("file", path("to-file")).unwrap();
        mkfifoat(CWD, path("pipe"), Mode::RWXU).unwrap();
        let socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        let top = open_top(dir.path()).unwrap();

        assert!(open_folder(top.as_fd(), "sub").is_ok());
        assert!(matches!(open_folder(top.as_fd(), "to-folder"), Err(Errno::LOOP | Errno::NOTDIR)));
        assert!(matches!(open_file(top.as_fd(), "file"), Ok(Opened::File(..))));
        for other in ["to-file", "pipe", "socket", "sub"] {
            assert!(matches!(open_file(top.as_fd(), other), Ok(Opened::Other)), "{other}");
        }
        assert!(matches!(open_file(top.as_fd(), "none"), Err(Errno::NOENT)));
        let listed: Vec<_> =
            names(top.as_fd()).names.into_iter().map(|(name, _)| name.into_string().unwrap()).collect();
        assert_eq!(listed, ["file", "pipe", "socket", "sub", "to-file", "to-folder"]);
        drop(socket);
    }

    #[test]
    fn a_folder_that_was_removed_is_told_from_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        let top = open_top(dir.path()).unwrap();
        assert!(matches!(names(top.as_fd()), Listing { names, error: None } if names.is_empty()));
        dir.close().unwrap();
        let listing = names(top.as_fd());
        assert_eq!((listing.names.len(), listing.error), (0, Some(Errno::NOENT)));
    }

    #[test]
    fn the_way_up_leads_to_the_same_folder_or_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        fs::create_dir(dir.path().join("other")).unwrap();
        let top = open_top(dir.path()).unwrap();
        let a = open_folder(top.as_fd(), "a").unwrap();
        let b = open_folder(a.as_fd(), "b").unwrap();
        let wanted = identity(&fstat(&a).unwrap());
        assert_eq!(identity(&fstat(open_parent(b.as_fd(), wanted).unwrap()).unwrap()), wanted);
        fs::rename(dir.path().join("a/b"), dir.path().join("other/b")).unwrap();
        let error = open_parent(b.as_fd(), wanted).unwrap_err();
        assert!(error.to_string().contains("moved"), "{error}");
        // It is still where it was, seen from above.
        let below = |names: &[&str]| open_below(top.as_fd(), names.iter().map(OsStr::new), wanted);
        assert_eq!(identity(&fstat(below(&["a"]).unwrap()).unwrap()), wanted);
        assert!(below(&["other"]).is_err() && below(&["other", "b"]).is_err() && below(&["none"]).is_err());
        assert!(below(&[]).is_err());
    }
}
