//! Writing a result to a path: a regular file is replaced atomically; a pipe or a device is written to.

use std::{
    fs::{self, File, Metadata, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{OFlags, fcntl_setfl},
    io::Errno,
};

use crate::error::{Error, Result};

/// How long a pipe may be without a reader.
const READER: Duration = Duration::from_secs(10);
/// Time between two attempts to open it.
const PAUSE: Duration = Duration::from_millis(50);
/// The number of symbolic links that the kernel follows.
const LINKS: usize = 40;

/// Writes a text to `path`. A regular file is replaced atomically: readers find the old text or the new one. Symbolic links
/// are followed. Anything else, such as a pipe or a device, is written to.
///
/// # Errors
/// It is a directory (exit code 2), or cannot be written.
pub fn write_to(path: &Path, text: &str) -> Result<()> {
    let failed = |error: &io::Error| cannot(path, error);
    // A file that the shell has opened for this process: replacing it would leave the shell with the old file.
    let is_open =
        ["/dev/fd", "/dev/stdout", "/dev/stderr", "/proc"].iter().any(|place| path.starts_with(place));
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => {
            Err(Error::usage(format!("{} is a directory", path.display())).hint("name a file in it"))
        }
        Ok(found) if is_open || !found.is_file() => {
            write_into(path, text.as_bytes(), found.file_type().is_fifo()).map_err(|error| failed(&error))
        }
        Ok(_) => {
            replace_like(&target(path).map_err(|error| failed(&error))?, text).map_err(|error| failed(&error))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let file = target(path).map_err(|error| failed(&error))?;
            replace_like(&file, text).map_err(|error| failed(&error))
        }
        Err(error) => Err(failed(&error)),
    }
}

fn cannot(path: &Path, error: &io::Error) -> Error {
    let folder = folder_of(path);
    let hint = match error.kind() {
        io::ErrorKind::NotFound if !folder.exists() => {
            format!("create the directory first: mkdir -p {}", folder.display())
        }
        io::ErrorKind::NotFound => "it is a dangling symbolic link: correct the link".to_owned(),
        _ if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => {
            "the pipe has no reader: start the reader first".to_owned()
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space, or name a file elsewhere".to_owned()
        }
        _ => crate::fs::owner::writing_hint(folder, error)
            .unwrap_or_else(|| "name a file elsewhere".to_owned()),
    };
    Error::failed(format!("cannot write {}", path.display())).because(error).hint(hint)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The file to which a path resolves. It need not exist.
fn target(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        let found = match fs::symlink_metadata(&path) {
            Ok(found) if found.is_symlink() => found,
            _ => return Ok(path),
        };
        // A service's user who may write to the directory must not redirect root to another file.
        if rustix::process::geteuid().is_root() && found.uid() != 0 {
            let theirs = fs::metadata(&path).is_ok_and(|file| file.uid() == found.uid());
            if !theirs {
                return Err(io::Error::new(
                    io::ErrorKind::PermissionDenied,
                    "it is a symbolic link of another user, to a file that is not that user's",
                ));
            }
        }
        path = folder_of(&path).join(fs::read_link(&path)?);
    }
    Err(Errno::LOOP.into())
}

/// Writes a file atomically: readers find the old text or the new one. All users may read it, so it must not contain secrets.
///
/// # Errors
/// The directory cannot be written to.
pub(crate) fn write_atomically(path: &Path, text: &str) -> Result<()> {
    replace(path, text, None)
        .map_err(|error| Error::failed(format!("cannot write {}", path.display())).because(&error))
}

/// As [`replace`], with the mode and owner of the file that was there.
fn replace_like(path: &Path, text: &str) -> io::Result<()> {
    replace(path, text, fs::metadata(path).ok().as_ref())
}

/// Replaces a file, or creates it. The new one has the mode and owner of `before`, or else may be read by all users.
fn replace(path: &Path, text: &str, before: Option<&Metadata>) -> io::Result<()> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let draft = folder_of(path).join(format!(".{name}.{}", std::process::id()));
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o644)
            .custom_flags(crate::fs::owner::no_links())
            .open(&draft)?;
        if let Some(before) = before {
            keep(&file, before)?;
        }
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&draft, path)
    };
    write().inspect_err(|_| {
        // If it stays, it is hidden: its name begins with a dot.
        let _ = fs::remove_file(&draft);
    })
}

/// Gives a file the mode of the file that it replaces and, if run by root, its owner.
fn keep(file: &File, before: &fs::Metadata) -> io::Result<()> {
    if rustix::process::geteuid().is_root() && before.uid() != 0 {
        // Storages that assign owners themselves refuse it.
        let _ = std::os::unix::fs::fchown(file, Some(before.uid()), Some(before.gid()));
    }
    match file.set_permissions(Permissions::from_mode(before.mode() & 0o777)) {
        Err(error) if error.kind() != io::ErrorKind::PermissionDenied => Err(error),
        _ => Ok(()),
    }
}

/// Writes to an existing pipe or device.
fn write_into(path: &Path, bytes: &[u8], is_pipe: bool) -> io::Result<()> {
    let until = Instant::now() + READER;
    let open = || {
        let mut options = OpenOptions::new();
        // Without this, opening a pipe that has no reader would block forever.
        options.append(true).custom_flags(if is_pipe { nonblock() } else { 0 });
        options.open(path)
    };
    let mut file = loop {
        match open() {
            Err(error)
                if is_pipe
                    && error.raw_os_error() == Some(Errno::NXIO.raw_os_error())
                    && Instant::now() < until =>
            {
                thread::sleep(PAUSE);
            }
            other => break other?,
        }
    };
    if is_pipe {
        fcntl_setfl(&file, OFlags::empty())?;
    }
    match file.write_all(bytes) {
        // A reader may stop early.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

fn nonblock() -> i32 {
    i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_link_stays_and_its_file_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        symlink("file", &link).unwrap();
        write_to(&link, "new").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o640);
        let dangling = folder.path().join("dangling");
        symlink("fresh", &dangling).unwrap();
        write_to(&dangling, "new").unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("fresh")).unwrap(), "new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4);
    }

    #[test]
    fn devices_and_pipes_are_written_into_and_stay() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("null");
        symlink("/dev/null", &link).unwrap();
        write_to(&link, "x").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        let error = write_to(Path::new("/dev/full"), "x").unwrap_err();
        assert!(error.summary().contains("/dev/full") && error.hint_text().is_some(), "{error}");
        assert!(fs::metadata("/dev/full").unwrap().file_type().is_char_device());
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        let text = "line\n".repeat(50_000);
        let reading = pipe.clone();
        let reader = thread::spawn(move || fs::read_to_string(reading).unwrap());
        write_to(&pipe, &text).unwrap();
        assert_eq!(reader.join().unwrap(), text);
        assert!(fs::symlink_metadata(&pipe).unwrap().file_type().is_fifo());
    }

    #[test]
    fn a_directory_is_refused_and_a_missing_one_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = write_to(folder.path(), "x").unwrap_err();
        assert_eq!(error.code(), 2, "{error}");
        let error = write_to(&folder.path().join("no/file"), "x").unwrap_err();
        assert!(error.hint_text().is_some_and(|hint| hint.contains("mkdir -p")), "{error}");
    }

    #[test]
    fn links_of_others_do_not_lead_root() {
        if !rustix::process::geteuid().is_root() {
            return testkit::skip("root");
        }
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "mine").unwrap();
        symlink(&file, &link).unwrap();
        std::os::unix::fs::lchown(&link, Some(4711), Some(4712)).unwrap();
        assert!(write_to(&link, "x").is_err());
        assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    }

    #[test]
    fn a_file_is_replaced_in_one_step() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tik.prom");
        write_atomically(&path, "old").unwrap();
        write_atomically(&path, "new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(write_atomically(&folder.path().join("no/tik.prom"), "x").is_err());
    }
}
