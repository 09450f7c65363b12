//! Opening what lies in a directory without ever being led out of it, in few file descriptors however deep a tree is.

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

/// So many directories on the way down to the one at hand are kept open; those above are found again through `..`.
pub(crate) const KEEP_OPEN: usize = 24;
/// Names are asked for in portions of this size.
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

/// What tells one directory from another, whatever its name.
pub(crate) type Identity = (u64, u64);

/// Device and inode.
pub(crate) fn identity(stat: &Stat) -> Identity {
    (stat.st_dev, stat.st_ino)
}

/// A file that was asked for by name.
pub(super) enum Opened {
    /// A regular file and its state.
    File(OwnedFd, Box<Stat>),
    /// The name stands for something else now.
    Other,
}

/// The state of what has this name, which may be a symbolic link. Nothing is mounted by asking.
pub(super) fn stat_name(folder: BorrowedFd<'_>, name: impl Arg) -> rustix::io::Result<Stat> {
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

/// Opens the directory in which `folder` lies, if it is still the one that was left.
pub(crate) fn open_parent(folder: BorrowedFd<'_>, parent: Identity) -> io::Result<OwnedFd> {
    let opened = open_folder(folder, c"..")?;
    if identity(&fstat(&opened)?) == parent {
        return Ok(opened);
    }
    Err(io::Error::other("a directory was moved during the backup"))
}

/// Opens a directory by the names that lead to it from another one, if it is still the one that was left.
pub(super) fn open_below<'n>(
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

/// Opens a file for reading. Nothing else is waited for or read: a pipe or a device is closed at once.
pub(super) fn open_file(folder: BorrowedFd<'_>, name: impl Arg + Copy) -> rustix::io::Result<Opened> {
    let opened = match quietly(|more| openat(folder, name, FILE | more, Mode::empty())) {
        Ok(file) => file,
        // What is a link now, and sockets.
        Err(Errno::LOOP | Errno::NXIO) => return Ok(Opened::Other),
        // Somebody holds a lease, as file servers do: they are given the time to write back.
        Err(Errno::AGAIN) => match open_leased(folder, name)? {
            Some(file) => file,
            None => return Ok(Opened::Other),
        },
        Err(error) => return Err(error),
    };
    let stat = fstat(&opened)?;
    Ok(if is(&stat, FileType::RegularFile) { Opened::File(opened, Box::new(stat)) } else { Opened::Other })
}

/// Opens a regular file, waiting for whoever holds a lease on it.
fn open_leased(folder: BorrowedFd<'_>, name: impl Arg + Copy) -> rustix::io::Result<Option<OwnedFd>> {
    let place = openat(folder, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    if !is(&fstat(&place)?, FileType::RegularFile) {
        return Ok(None);
    }
    let path = descriptor_path(place.as_fd());
    open(path.as_str(), OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY, Mode::empty()).map(Some)
}

/// Reading should leave no trace in access times; only the owner may ask for that.
fn quietly(open: impl Fn(OFlags) -> rustix::io::Result<OwnedFd>) -> rustix::io::Result<OwnedFd> {
    match open(OFlags::NOATIME) {
        Err(Errno::PERM) => open(OFlags::empty()),
        result => result,
    }
}

/// A path that leads to what is open, whatever became of its name.
pub(crate) fn descriptor_path(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// Whether it is of this type.
pub(crate) fn is(stat: &Stat, tpe: FileType) -> bool {
    FileType::from_raw_mode(stat.st_mode) == tpe
}

/// What a directory holds.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Names in the order of their bytes, each with its type, if the system reports it.
    pub(super) names: Vec<(CString, FileType)>,
    /// Why there may be more.
    pub(super) error: Option<Errno>,
}

/// The names in a directory. After an error in the middle there are those that were read before it.
pub(super) fn names(folder: BorrowedFd<'_>) -> Listing {
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
