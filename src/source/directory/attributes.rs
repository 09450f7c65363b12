//! Attributes of files: permissions, owner, times, extended attributes.

use std::{
    collections::HashMap,
    ffi::CStr,
    fs,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use jiff::Timestamp;
use rustix::{
    fs::{Stat, fgetxattr, flistxattr, lgetxattr, llistxattr},
    io::Errno,
};

use crate::{fs::open::descriptor_path, stream::files::Attributes};

/// The initial buffer size; most lists of names and most values fit into it.
const SMALL: usize = 1024;
/// The maximum size of a list of names or a value.
const LARGEST: usize = 64 * 1024;

/// Names of users and groups by number, from the files of this machine; no name service is asked.
#[derive(Debug, Default)]
pub(super) struct Owners {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

impl Owners {
    /// The current content of `/etc/passwd` and `/etc/group`.
    pub(super) fn load() -> Self {
        Self { users: numbered("/etc/passwd"), groups: numbered("/etc/group") }
    }
}

/// Maps the third field of each line to its first; the first line with a number counts.
fn numbered(file: &str) -> HashMap<u32, String> {
    let text = fs::read(file).unwrap_or_default();
    let mut names = HashMap::new();
    for line in String::from_utf8_lossy(&text).lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(number)) = (fields.next(), fields.nth(1).and_then(|id| id.parse().ok())) {
            names.entry(number).or_insert_with(|| name.to_owned());
        }
    }
    names
}

/// All but the extended attributes.
pub(super) fn attributes(stat: &Stat, owners: &Owners) -> Attributes {
    Attributes {
        mode: Some(stat.st_mode & 0o7777),
        mtime: Some(mtime(stat)),
        atime: Some(time(stat.st_atime, i64::try_from(stat.st_atime_nsec).unwrap_or(0))),
        ctime: Some(ctime(stat)),
        uid: Some(stat.st_uid),
        gid: Some(stat.st_gid),
        user: owners.users.get(&stat.st_uid).cloned(),
        group: owners.groups.get(&stat.st_gid).cloned(),
        inode: stat.st_ino,
        device: stat.st_dev,
        // Of another width on other processors.
        #[allow(clippy::useless_conversion)]
        links: stat.st_nlink.into(),
        xattrs: Vec::new(),
    }
}

/// Last change of the content.
pub(super) fn mtime(stat: &Stat) -> Timestamp {
    time(stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or(0))
}

/// Last change of content or attributes.
pub(super) fn ctime(stat: &Stat) -> Timestamp {
    time(stat.st_ctime, i64::try_from(stat.st_ctime_nsec).unwrap_or(0))
}

/// A filesystem may have times outside the supported range: they become the first or last supported time.
fn time(seconds: i64, nanoseconds: i64) -> Timestamp {
    let nanoseconds = i32::try_from(nanoseconds).unwrap_or(0);
    let limit = if seconds < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::new(seconds, nanoseconds).unwrap_or(limit)
}

/// Extended attributes, and the number of those whose names are not UTF-8: restic's format cannot store those.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Xattrs {
    pub(super) known: Vec<(String, Vec<u8>)>,
    pub(super) unnamed: u64,
}

/// The extended attributes of something open.
pub(super) fn xattrs(fd: BorrowedFd<'_>) -> rustix::io::Result<Xattrs> {
    collect(&|buffer| flistxattr(fd, buffer), &|name, buffer| fgetxattr(fd, name, buffer))
}

/// The extended attributes of a name in a directory, without opening or following it.
pub(super) fn xattrs_of_name(folder: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<Xattrs> {
    let mut path = descriptor_path(folder.as_fd()).into_bytes();
    path.push(b'/');
    path.extend_from_slice(name.to_bytes());
    let path = Path::new(std::ffi::OsStr::from_bytes(&path));
    collect(&|buffer| llistxattr(path, buffer), &|name, buffer| lgetxattr(path, name, buffer))
}

type List<'a> = &'a dyn Fn(&mut [u8]) -> rustix::io::Result<usize>;
type Get<'a> = &'a dyn Fn(&[u8], &mut [u8]) -> rustix::io::Result<usize>;

fn collect(list: List<'_>, get: Get<'_>) -> rustix::io::Result<Xattrs> {
    let mut found = Xattrs::default();
    let names = match whole(list) {
        Err(Errno::NOTSUP) => return Ok(found),
        names => names?,
    };
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let Ok(text) = std::str::from_utf8(name) else {
            found.unnamed += 1;
            continue;
        };
        match whole(&|buffer| get(name, buffer)) {
            Ok(value) => found.known.push((text.to_owned(), value)),
            // Removed since the names were listed, or listed by a filesystem that does not give it out.
            Err(Errno::NODATA | Errno::NOTSUP) => {}
            Err(error) => return Err(error),
        }
    }
    found.known.sort_unstable();
    Ok(found)
}

/// A complete list or value.
fn whole(read: List<'_>) -> rustix::io::Result<Vec<u8>> {
    let mut small = [0; SMALL];
    match read(&mut small) {
        Ok(length) => Ok(small[..length].to_vec()),
        Err(Errno::RANGE) => {
            let mut large = vec![0; LARGEST];
            let length = read(&mut large)?;
            large.truncate(length);
            Ok(large)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use rustix::fs::{XattrFlags, fsetxattr, fstat};
    use std::{fs::File, os::unix::fs::PermissionsExt, time::SystemTime};

    #[test]
    fn times_before_1970_and_beyond_the_calendar_are_kept_as_far_as_possible() {
        assert_eq!(time(-1, 250_000_000).as_nanosecond(), -750_000_000);
        assert_eq!(time(1, 5).as_nanosecond(), 1_000_000_005);
        assert_eq!(time(i64::MAX, 0), Timestamp::MAX);
        assert_eq!(time(i64::MIN, 0), Timestamp::MIN);
    }

    #[test]
    fn what_the_system_tells_is_taken_over() {
        let file = tempfile::tempfile().unwrap();
        let at = SystemTime::UNIX_EPOCH + std::time::Duration::new(1_600_000_000, 123_456_789);
        file.set_modified(at).unwrap();
        file.set_permissions(fs::Permissions::from_mode(0o4750)).unwrap();
        let of = attributes(&fstat(&file).unwrap(), &Owners::load());
        assert_eq!(of.mtime.unwrap().to_string(), "2020-09-13T12:26:40.123456789Z");
        assert_eq!((of.mode, of.uid), (Some(0o4750), Some(rustix::process::geteuid().as_raw())));
        if rustix::process::geteuid().is_root() {
            assert_eq!((of.user.as_deref(), of.group.as_deref()), (Some("root"), Some("root")));
        }
    }

    #[test]
    fn extended_attributes_of_any_length_are_read_by_name_and_by_descriptor() {
        let dir = tempfile::tempdir().unwrap();
        let file = File::create(dir.path().join("f")).unwrap();
        let folder = File::open(dir.path()).unwrap();
        assert_eq!(xattrs(file.as_fd()).unwrap(), Xattrs::default());
        let long = vec![7; 3000];
        if fsetxattr(&file, "user.long", &long, XattrFlags::empty()).is_err() {
            return testkit::skip("a file system with extended attributes");
        }
        fsetxattr(&file, "user.empty", b"", XattrFlags::empty()).unwrap();
        fsetxattr(&file, &b"user.\xff"[..], b"x", XattrFlags::empty()).unwrap();
        let expected = Xattrs {
            known: vec![("user.empty".to_owned(), Vec::new()), ("user.long".to_owned(), long)],
            unnamed: 1,
        };
        assert_eq!(xattrs(file.as_fd()).unwrap(), expected);
        assert_eq!(xattrs_of_name(folder.as_fd(), c"f").unwrap(), expected);
        assert_eq!(xattrs_of_name(folder.as_fd(), c"none"), Err(Errno::NOENT));
    }
}
