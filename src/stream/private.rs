//! Directories that only this user can read, in memory if possible: password files and option files for tools.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::Write,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Once,
};

use rustix::fs::{FlockOperation, flock};

use crate::{
    error::{Error, Result},
    fs::{SETTLED, remove_abandoned},
};

const PREFIX: &str = "tik-backup-private-";

/// A directory of mode 0700 with files of mode 0600, removed on drop.
///
/// It is in the first usable one of `$XDG_RUNTIME_DIR`, `/run/user/UID`, `/dev/shm` and the directory for temporary
/// files. The directory of a killed process is no longer locked, and the next process removes it.
pub struct PrivateDir {
    path: PathBuf,
    // Kept for its lock.
    _lock: File,
}

impl PrivateDir {
    /// Creates an empty directory.
    pub fn new() -> Result<Self> {
        let mut last = None;
        for parent in parents() {
            static SWEEP: Once = Once::new();
            SWEEP.call_once(|| {
                parents().iter().for_each(|parent| remove_abandoned(parent, PREFIX, SETTLED, None))
            });
            match Self::new_in(&parent) {
                Ok(dir) => return Ok(dir),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| Error::failed("there is no directory for private files")))
    }

    /// Creates an empty directory inside `parent`.
    pub fn new_in(parent: &Path) -> Result<Self> {
        let failed = |error: &std::io::Error| {
            Error::failed(format!("cannot create a private directory in {}", parent.display()))
                .because(error)
                .hint("give the program a writable $XDG_RUNTIME_DIR or $TMPDIR")
        };
        let mut random = [0_u8; 8];
        getrandom::fill(&mut random).map_err(|error| failed(&std::io::Error::other(error.to_string())))?;
        let path = parent.join(format!("{PREFIX}{:016x}", u64::from_ne_bytes(random)));
        DirBuilder::new().mode(0o700).create(&path).map_err(|error| failed(&error))?;
        let locked = File::open(&path).and_then(|dir| {
            flock(&dir, FlockOperation::NonBlockingLockExclusive).map_err(Into::into).map(|()| dir)
        });
        match locked {
            Ok(lock) => Ok(Self { path, _lock: lock }),
            Err(error) => {
                let _ = fs::remove_dir(&path);
                Err(failed(&error))
            }
        }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a new file of mode 0600 and returns its path. `name` must be a plain file name.
    pub fn file(&self, name: &str, content: &[u8]) -> Result<PathBuf> {
        let path = self.path.join(name);
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(content))
            .map_err(|error| Error::failed(format!("cannot write {}", path.display())).because(&error))?;
        Ok(path)
    }
}

impl Drop for PrivateDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn parents() -> Vec<PathBuf> {
    let uid = rustix::process::geteuid().as_raw();
    let own = |path: &PathBuf| fs::metadata(path).is_ok_and(|meta| meta.is_dir() && meta.uid() == uid);
    let mut parents: Vec<PathBuf> = std::env::var_os("XDG_RUNTIME_DIR")
        .map(PathBuf::from)
        .into_iter()
        .chain([PathBuf::from(format!("/run/user/{uid}"))])
        .filter(|path| path.is_absolute() && own(path))
        .collect();
    parents.push("/dev/shm".into());
    parents.push(std::env::temp_dir());
    parents.dedup();
    parents
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn nobody_else_can_read_it_and_it_goes_away() {
        let dir = PrivateDir::new().unwrap();
        let file = dir.file("pass", b"secret").unwrap();
        assert_eq!((mode(dir.path()), mode(&file)), (0o700, 0o600));
        assert_eq!(fs::read(&file).unwrap(), b"secret");
        assert!(dir.file("pass", b"other").is_err(), "an existing file is never written to");
        let path = dir.path().to_owned();
        drop(dir);
        assert!(!path.exists());
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_what_lives_stays() {
        let parent = tempfile::tempdir().unwrap();
        let left = parent.path().join(format!("{PREFIX}0123"));
        fs::create_dir(&left).unwrap();
        fs::write(left.join("pass"), "secret").unwrap();
        let other = parent.path().join("other");
        fs::create_dir(&other).unwrap();
        let alive = PrivateDir::new_in(parent.path()).unwrap();
        remove_abandoned(parent.path(), PREFIX, SETTLED, None);
        assert!(left.exists(), "too young to be judged");
        remove_abandoned(parent.path(), PREFIX, Duration::ZERO, None);
        assert!(!left.exists() && other.exists() && alive.path().exists());
    }

    #[test]
    fn an_unusable_parent_is_named() {
        let error = PrivateDir::new_in(Path::new("/nonexistent/folder")).err().unwrap();
        assert!(error.to_string().contains("/nonexistent/folder"), "{error}");
    }
}
