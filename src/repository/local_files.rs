//! Files of a local storage: opened and written relative to a directory handle.

use std::{
    fs::File,
    io::{self, Write},
    os::{fd::OwnedFd, unix::fs::FileExt},
};

use bytes::Bytes;
use rustix::fs::{self as rfs, AtFlags, Mode, OFlags, RawDir};

use super::transient::retry;
use crate::fs::owner;

/// Marks files that are being written. A crash can leave them; a prune removes them.
pub(super) const TMP_MARK: &str = "-tmp-";
/// Bytes of the entries that are read from a directory at once.
const AT_ONCE: usize = 32 << 10;

pub(super) fn write_named(dir: &OwnedFd, folder: &str, name: &str, parts: &[&[u8]]) -> io::Result<()> {
    let tmp = format!("{folder}/{name}{TMP_MARK}{}", std::process::id());
    let written = write_tmp(dir, folder, &tmp, parts).and_then(|()| {
        let target = format!("{folder}/{name}");
        retry(|| Ok(rfs::renameat(dir, &tmp, dir, &target)?))
    });
    if let Err(error) = written {
        // If even this fails, a later prune removes the temporary file.
        let _ = rfs::unlinkat(dir, &tmp, AtFlags::empty());
        return Err(error);
    }
    sync_folder(dir, folder);
    Ok(())
}

fn write_tmp(dir: &OwnedFd, folder: &str, tmp: &str, parts: &[&[u8]]) -> io::Result<()> {
    retry(|| {
        let mut file = create_tmp(dir, folder, tmp)?;
        for part in parts {
            write_all(&mut file, part)?;
        }
        // Not retried separately: the system reports a lost page once, and a second call would succeed.
        file.sync_all()
    })
}

pub(super) fn create_tmp(dir: &OwnedFd, folder: &str, tmp: &str) -> io::Result<File> {
    let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let open = || rfs::openat(dir, tmp, flags, Mode::RUSR | Mode::WUSR);
    let file = match open() {
        Err(rustix::io::Errno::NOENT) => {
            create_directory(dir, folder)?;
            open()?
        }
        other => other?,
    };
    owner::adopt(&file, dir)?;
    Ok(file.into())
}

pub(super) fn create_directory(dir: &OwnedFd, folder: &str) -> io::Result<()> {
    match rfs::mkdirat(dir, folder, Mode::RWXU) {
        Err(rustix::io::Errno::EXIST) => Ok(()),
        Ok(()) => {
            let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            owner::adopt(rfs::openat(dir, folder, flags, Mode::empty())?, dir)
        }
        Err(e) => Err(e.into()),
    }
}

/// Makes a rename durable if the file system supports it. Network file systems often refuse to sync a directory (CIFS returns
/// EINVAL or EIO). The file itself was synced, so this is not an error.
fn sync_folder(dir: &OwnedFd, folder: &str) {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    if let Ok(fd) = rfs::openat(dir, folder, flags, Mode::empty()) {
        let _ = retry(|| File::from(fd.try_clone()?).sync_all());
    }
}

pub(super) fn open_read(dir: &OwnedFd, path: &str) -> io::Result<File> {
    retry(|| Ok(rfs::openat(dir, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?.into()))
}

/// A part of an open file.
pub(super) fn read_part(file: &File, offset: u32, length: u32) -> io::Result<Bytes> {
    retry(|| {
        let mut part = vec![0; length as usize];
        file.read_exact_at(&mut part, offset.into())?;
        Ok(part.into())
    })
}

pub(super) fn open_directory(dir: &OwnedFd, folder: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    retry(|| Ok(rfs::openat(dir, folder, flags, Mode::empty())?))
}

pub(super) fn entries(dir: &OwnedFd, folder: &str) -> io::Result<Vec<String>> {
    names(&open_directory(dir, folder)?)
}

/// The names of the entries of a directory that was just opened.
pub(super) fn names(directory: &OwnedFd) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    each_entry(directory, |name| {
        names.push(name.to_owned());
        Ok(())
    })?;
    Ok(names)
}

/// Calls `visit` with the name of each entry of a directory that was just opened. A network file system sends the attributes of
/// entries together with their names and keeps them for about a second: within `visit`, they cost no further request.
pub(super) fn each_entry(
    directory: &OwnedFd,
    mut visit: impl FnMut(&str) -> io::Result<()>,
) -> io::Result<()> {
    let mut buffer: Vec<u8> = Vec::with_capacity(AT_ONCE);
    // `Dir` would open the directory a second time.
    let mut entries = RawDir::new(directory, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy();
        if name != "." && name != ".." {
            visit(&name)?;
        }
    }
    Ok(())
}

/// Like `write_all`, but an interrupted or temporarily refused write continues where it stopped.
fn write_all(file: &mut File, mut data: &[u8]) -> io::Result<()> {
    while !data.is_empty() {
        match retry(|| file.write(data))? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            n => data = &data[n..],
        }
    }
    Ok(())
}
