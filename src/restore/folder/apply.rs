//! Sets the owner, extended attributes, permissions and times of restored files.

use std::{
    ffi::OsStr,
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use jiff::Timestamp;
use rustix::{
    fs::{
        AtFlags, FileType, Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags, chmodat, chownat,
        fchmod, fchown, fsetxattr, fstat, futimens, lsetxattr, statat, utimensat,
    },
    process::{getegid, geteuid},
};

use super::{
    place::failed,
    report::{NAMED, WITH_PRIVILEGES},
    times::Kept,
};
use crate::{
    error::Result,
    fs::open::descriptor_path,
    output::paths::{Listed, shown},
    stream::files::Attributes,
};

/// Bits that give a program the rights of its owner or group. On a directory they grant no rights.
const LENT: u32 = 0o6000;
/// The attribute with the capabilities of a program.
const CAPABILITY: &str = "security.capability";

/// The target of attributes.
enum On<'a> {
    /// A file or directory.
    Open(BorrowedFd<'a>),
    /// An entry that cannot be opened: a name in a directory.
    Name { place: BorrowedFd<'a>, name: &'a OsStr, is_link: bool },
}

/// Sets attributes, and counts those that it may not set.
pub(super) struct Applier {
    root: bool,
    /// Whether setuid and setgid bits and capabilities are restored.
    privileged: bool,
    own: (u32, u32),
    owners: Listed,
    xattrs: Listed,
    lent: Listed,
    /// Bits and capabilities that were left out.
    withheld: Listed,
    times: Kept,
}

impl Applier {
    pub(super) fn new(privileged: bool) -> Self {
        Self {
            root: geteuid().is_root(),
            privileged,
            own: (geteuid().as_raw(), getegid().as_raw()),
            owners: Listed::new(NAMED),
            xattrs: Listed::new(NAMED),
            lent: Listed::new(NAMED),
            withheld: Listed::new(NAMED),
            times: Kept::new(),
        }
    }

    /// How the target stores times.
    pub(super) fn times(&self) -> &Kept {
        &self.times
    }

    /// Sets the attributes of an open file or directory.
    pub(super) fn apply(&mut self, fd: BorrowedFd<'_>, attributes: &Attributes, path: &Path) -> Result<()> {
        self.give(&On::Open(fd), attributes, path).map_err(|error| failed(path, &error))
    }

    /// Sets the attributes of a link, pipe, socket or device.
    pub(super) fn apply_to_name(
        &mut self,
        place: BorrowedFd<'_>,
        name: &OsStr,
        is_link: bool,
        attributes: &Attributes,
        path: &Path,
    ) -> Result<()> {
        self.give(&On::Name { place, name, is_link }, attributes, path).map_err(|error| failed(path, &error))
    }

    fn give(&mut self, on: &On<'_>, attributes: &Attributes, path: &Path) -> io::Result<()> {
        // Changing the owner clears setuid bits and capabilities; access lists change the permissions.
        let owned = self.give_owner(on, attributes, path);
        for (name, value) in &attributes.xattrs {
            if name == CAPABILITY && !self.privileged {
                self.withheld.push(format!("{} (capabilities)", shown(path)));
                continue;
            }
            if let Err(error) = on.set_xattr(name, value) {
                self.xattrs.push(format!("{name} of {} ({error})", shown(path)));
            }
        }
        if let Some(mut mode) = attributes.mode {
            if mode & LENT != 0 && !self.privileged && !on.is_folder()? {
                self.withheld.push(format!("{} (mode {mode:04o})", shown(path)));
                mode &= !LENT;
            }
            if !owned && mode & LENT != 0 {
                // They would grant the rights of another user.
                mode &= !LENT;
                self.lent.push(shown(path));
            }
            on.set_mode(Mode::from_raw_mode(mode & 0o7777))?;
        }
        on.set_times(attributes)?;
        if let Some(wanted) = attributes.mtime {
            self.times.compare(wanted, on.mtime()?, path);
        }
        Ok(())
    }

    /// Returns false if the owner could not be restored.
    fn give_owner(&mut self, on: &On<'_>, attributes: &Attributes, path: &Path) -> bool {
        let (Some(uid), Some(gid)) = (attributes.uid, attributes.gid) else { return false };
        if !self.root {
            if (uid, gid) != self.own {
                self.owners.push(shown(path));
            }
            return (uid, gid) == self.own;
        }
        // The two highest numbers are not user IDs.
        let given =
            uid < u32::MAX && gid < u32::MAX && on.set_owner(Uid::from_raw(uid), Gid::from_raw(gid)).is_ok();
        if !given {
            self.owners.push(shown(path));
        }
        given
    }

    /// The attributes that could not be set, as sentences.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.owners.count() > 0 {
            let why = if self.root { "the system refused" } else { "only root may change owners" };
            notes.push(format!("owner or group not restored, because {why}: {}", self.owners));
        }
        if self.lent.count() > 0 {
            notes.push(format!(
                "setuid or setgid bit not restored, because the owner was not restored: {}",
                self.lent
            ));
        }
        if self.withheld.count() > 0 {
            notes.push(format!(
                "setuid and setgid bits and capabilities not restored, because they give rights to everyone who runs the file; \
                 {WITH_PRIVILEGES} restores them: {}",
                self.withheld
            ));
        }
        if self.xattrs.count() > 0 {
            notes.push(format!("extended attributes that could not be set: {}", self.xattrs));
        }
        notes
    }
}

impl On<'_> {
    fn is_folder(&self) -> rustix::io::Result<bool> {
        let stat = match *self {
            Self::Open(fd) => fstat(fd)?,
            Self::Name { .. } => return Ok(false),
        };
        Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
    }

    fn set_owner(&self, uid: Uid, gid: Gid) -> rustix::io::Result<()> {
        match *self {
            Self::Open(fd) => fchown(fd, Some(uid), Some(gid)),
            Self::Name { place, name, .. } => {
                chownat(place, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
            }
        }
    }

    fn set_xattr(&self, name: &str, value: &[u8]) -> rustix::io::Result<()> {
        match *self {
            Self::Open(fd) => fsetxattr(fd, name, value, XattrFlags::empty()),
            Self::Name { place, name: file, .. } => {
                let mut path = descriptor_path(place.as_fd()).into_bytes();
                path.push(b'/');
                path.extend_from_slice(file.as_bytes());
                lsetxattr(OsStr::from_bytes(&path), name, value, XattrFlags::empty())
            }
        }
    }

    fn set_mode(&self, mode: Mode) -> rustix::io::Result<()> {
        match *self {
            Self::Open(fd) => fchmod(fd, mode),
            // A link has no permissions of its own.
            Self::Name { is_link: true, .. } => Ok(()),
            // It was just created, in a directory that is closed to others, so the name cannot have been replaced.
            Self::Name { place, name, .. } => chmodat(place, name, mode, AtFlags::empty()),
        }
    }

    /// The modification time as the target stores it: seconds and nanoseconds.
    fn mtime(&self) -> rustix::io::Result<(i64, i64)> {
        let stat = match *self {
            Self::Open(fd) => fstat(fd)?,
            Self::Name { place, name, .. } => statat(place, name, AtFlags::SYMLINK_NOFOLLOW)?,
        };
        Ok((stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or(0)))
    }

    fn set_times(&self, attributes: &Attributes) -> rustix::io::Result<()> {
        let times = Timestamps {
            last_access: timespec(attributes.atime.or(attributes.mtime)),
            last_modification: timespec(attributes.mtime),
        };
        match *self {
            Self::Open(fd) => futimens(fd, &times),
            Self::Name { place, name, .. } => utimensat(place, name, &times, AtFlags::SYMLINK_NOFOLLOW),
        }
    }
}

/// A time for the system call; an unknown time is left unchanged.
fn timespec(time: Option<Timestamp>) -> Timespec {
    let Some(time) = time else { return Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT } };
    const SECOND: i128 = 1_000_000_000;
    let nanoseconds = time.as_nanosecond();
    // Both fit: a timestamp has seconds of 64 bits, and a remainder is below a second.
    Timespec { tv_sec: nanoseconds.div_euclid(SECOND) as i64, tv_nsec: nanoseconds.rem_euclid(SECOND) as _ }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_are_rounded_down_to_a_second() {
        let of = |seconds, nanoseconds| {
            let time = timespec(Some(Timestamp::new(seconds, nanoseconds).unwrap()));
            (time.tv_sec, time.tv_nsec)
        };
        assert_eq!(of(5, 7), (5, 7));
        assert_eq!(of(-1, -500_000_000), (-2, 500_000_000));
        assert_eq!(of(-3, 0), (-3, 0));
        assert_eq!(timespec(None).tv_nsec, UTIME_OMIT);
    }
}
