//! The directory of a throwaway server: removed with its owner, or by the next one if its owner was killed.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

use crate::{
    error::{Error, Result},
    fs::{SETTLED, remove_abandoned},
};

const PREFIX: &str = "tik-backup-scratch-";
/// A file of this name marks a directory to keep.
const KEPT: &str = ".keep";

/// A directory for throwaway servers, removed on drop unless it is kept.
///
/// If we are root others may pass through it but not list it: a server that runs as another user reaches its data in there.
/// Otherwise the directory is closed to all other users: the server runs as our user, and a set-user-ID program that it leaves
/// there would give them our rights.
#[derive(Debug)]
pub struct ScratchDir {
    path: PathBuf,
    keep: bool,
    // Held for its lock only.
    _lock: File,
}

impl ScratchDir {
    /// Creates an empty directory in `parent`, or in the directory for temporary files. Directories that killed processes left
    /// there are removed.
    pub fn new(parent: Option<&Path>) -> Result<Self> {
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_owned);
        let failed = |error: &io::Error| {
            Error::failed(format!("cannot create a directory in {}", parent.display()))
                .because(error)
                .hint("name an existing directory that this user may write to")
        };
        // Configurations contain paths in here, so they must be absolute.
        let parent = parent.canonicalize().map_err(|error| failed(&error))?;
        remove_abandoned(&parent, PREFIX, SETTLED, Some(KEPT));
        let mut random = [0_u8; 4];
        getrandom::fill(&mut random).map_err(|error| failed(&io::Error::other(error.to_string())))?;
        let path = parent.join(format!("{PREFIX}{:08x}", u32::from_ne_bytes(random)));
        let mode = mode();
        DirBuilder::new().mode(mode).create(&path).map_err(|error| failed(&error))?;
        let locked = File::open(&path).and_then(|dir| {
            flock(&dir, FlockOperation::NonBlockingLockExclusive)?;
            // A restrictive umask would lock the server's user out.
            fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
            Ok(dir)
        });
        match locked {
            Ok(lock) => Ok(Self { path, keep: false, _lock: lock }),
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

    /// Keeps the directory permanently.
    pub fn keep(&mut self) -> Result<()> {
        fs::write(self.path.join(KEPT), "").map_err(|error| {
            Error::failed(format!("cannot mark {} as to be kept", self.path.display())).because(&error)
        })?;
        self.keep = true;
        Ok(())
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        if !self.keep {
            // Files that cannot be removed now are removed with the next scratch directory.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Permissions of a scratch directory.
fn mode() -> u32 {
    if rustix::process::geteuid().is_root() { 0o711 } else { 0o700 }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_goes_away_unless_it_is_kept() {
        let parent = tempfile::tempdir().unwrap();
        let dir = ScratchDir::new(Some(parent.path())).unwrap();
        let path = dir.path().to_owned();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode());
        fs::write(path.join("x"), "").unwrap();
        drop(dir);
        assert!(!path.exists());

        let mut dir = ScratchDir::new(Some(parent.path())).unwrap();
        dir.keep().unwrap();
        let path = dir.path().to_owned();
        drop(dir);
        remove_abandoned(parent.path(), PREFIX, Duration::ZERO, Some(KEPT));
        assert!(path.exists(), "a kept folder is nobody's left-over");
    }

    #[test]
    fn left_overs_of_a_killed_process_are_removed_and_what_lives_stays() {
        let parent = tempfile::tempdir().unwrap();
        let left = parent.path().join(format!("{PREFIX}0123"));
        fs::create_dir(&left).unwrap();
        let alive = ScratchDir::new(Some(parent.path())).unwrap();
        assert!(left.exists(), "too young to be judged");
        remove_abandoned(parent.path(), PREFIX, Duration::ZERO, Some(KEPT));
        assert!(!left.exists() && alive.path().exists());
    }

    #[test]
    fn a_missing_parent_is_named() {
        let error = ScratchDir::new(Some(Path::new("/nonexistent/folder"))).unwrap_err();
        assert!(error.summary().contains("/nonexistent/folder"), "{error}");
    }
}
