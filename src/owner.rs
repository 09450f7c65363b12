//! What root writes belongs to whom the folder belongs: an operator who types a command as root must not leave files
//! behind that the service, which runs as a user of its own, can then neither read nor replace.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{FileType, Gid, Mode, OFlags, Uid, fchown, fstat},
    io::Errno,
};

/// Gives an open file to the owner of its folder, if this process is root and the folder is another user's. Does
/// nothing otherwise.
///
/// # Errors
/// The owner cannot be asked for or changed. File systems that decide about owners themselves, such as a share that maps
/// root to nobody, refuse the change; that is no error: it is not us who could do better there.
pub(crate) fn adopt(file: impl AsFd, folder: impl AsFd) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let (own, above) = (fstat(&file)?, fstat(folder)?);
    if above.st_uid == 0 || (own.st_uid, own.st_gid) == (above.st_uid, above.st_gid) {
        return Ok(());
    }
    // A second name of somebody's file is not ours to give away.
    if FileType::from_raw_mode(own.st_mode).is_file() && own.st_nlink > 1 {
        return Ok(());
    }
    match fchown(file, Some(Uid::from_raw(above.st_uid)), Some(Gid::from_raw(above.st_gid))) {
        Ok(()) | Err(Errno::PERM | Errno::ACCESS | Errno::NOTSUP | Errno::INVAL | Errno::NOSYS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// [`adopt`] by path; for a file or folder that was just created.
///
/// # Errors
/// As there, and if one of them cannot be opened.
pub(crate) fn adopt_path(path: &Path) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let Some(folder) = path.parent() else { return Ok(()) };
    adopt(open_itself(path)?, std::fs::File::open(folder)?)
}

/// Opens what is at a path, unless it is a symbolic link: who may write to a folder must not lead root elsewhere.
fn open_itself(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?)
}

/// `O_NOFOLLOW` for `custom_flags`: a symbolic link is an error.
pub(crate) fn no_links() -> i32 {
    i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::MetadataExt};

    #[test]
    fn what_root_writes_belongs_to_the_owner_of_the_folder() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (theirs, ours) = (dir.path().join("theirs"), dir.path().join("ours"));
        for folder in [&theirs, &ours] {
            fs::create_dir(folder).unwrap();
            fs::write(folder.join("file"), "x").unwrap();
        }
        std::os::unix::fs::chown(&theirs, Some(4711), Some(4712)).unwrap();
        for folder in [&theirs, &ours] {
            adopt_path(&folder.join("file")).unwrap();
        }
        let owner = |path: &Path| fs::metadata(path).map(|stat| (stat.uid(), stat.gid())).unwrap();
        assert_eq!(owner(&theirs.join("file")), (4711, 4712));
        assert_eq!(owner(&ours.join("file")).0, 0);
    }

    #[test]
    fn links_lead_root_nowhere() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (theirs, secret) = (dir.path().join("theirs"), dir.path().join("secret"));
        fs::create_dir(&theirs).unwrap();
        fs::write(&secret, "x").unwrap();
        std::os::unix::fs::symlink(&secret, theirs.join("soft")).unwrap();
        fs::hard_link(&secret, theirs.join("hard")).unwrap();
        std::os::unix::fs::chown(&theirs, Some(4711), Some(4712)).unwrap();
        assert!(adopt_path(&theirs.join("soft")).is_err());
        adopt_path(&theirs.join("hard")).unwrap();
        assert_eq!(fs::metadata(&secret).unwrap().uid(), 0);
    }
}
