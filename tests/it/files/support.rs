//! A directory, and a configuration with it as the source.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use tempfile::TempDir;
use testkit::{Config, ConfigBuilder, Restic, program::quoted, reports::ready};

/// The name of the source in configurations made here.
pub const SOURCE: &str = "disk";
/// The name of its item.
pub const ITEM: &str = "data";
/// Both.
pub const FULL: &str = "disk/data";

/// A directory named [`ITEM`] in a directory of its own, and a configuration with a repository that exists.
pub struct World {
    dir: TempDir,
    pub config: Config,
}

impl World {
    /// With these further lines of the source.
    pub fn new(more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join(ITEM);
        fs::create_dir(&root).unwrap();
        let paths = quoted(&root.display().to_string());
        let source = format!("kind = \"directory\"\npaths = [{paths}]\n{more}");
        Self { dir, config: ready(ConfigBuilder::new().source(SOURCE, &source)) }
    }

    /// The directory that is backed up.
    pub fn root(&self) -> PathBuf {
        self.dir.path().join(ITEM)
    }

    /// A path in it.
    pub fn path(&self, below: &str) -> PathBuf {
        self.root().join(below)
    }

    /// A path beside it that is not there yet.
    pub fn out(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What the manifest of a snapshot says of the directory.
    pub fn detail(&self, restic: &Restic, snapshot: &str) -> serde_json::Value {
        let path = format!("/{FULL}/manifest.json");
        let json = restic.dump(&self.config.repo(), &self.config.password_file(), snapshot, &path);
        serde_json::from_slice::<serde_json::Value>(&json).unwrap()["directory"].clone()
    }

    /// Waits until what was just written counts as settled: the clocks of filesystems are coarse.
    pub fn settle(&self) {
        thread::sleep(Duration::from_millis(2300));
    }

    /// Has restic restore a snapshot, and gives the directory in which the tree is.
    pub fn restic_restore(&self, restic: &Restic, snapshot: &str, name: &str) -> PathBuf {
        let target = self.out(name);
        restic.restore_verify(&self.config.repo(), &self.config.password_file(), snapshot, &target);
        target.join(SOURCE).join(ITEM).join("files")
    }
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
