//! A directory source for tests of the repository alone: no server has to be started.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use testkit::{
    Cmd, Config, ConfigBuilder, Ran, Restic,
    postgres_world::{cmd_with, files},
    program::quoted,
};

/// A directory, its configuration, and both restics: the old one checks, the new one restores.
pub struct Place {
    folder: TempDir,
    pub config: Config,
    pub old: Restic,
    pub new: Restic,
}

impl Place {
    /// A directory with some files and no repository. `None`, with a visible skip, if restic is missing.
    pub fn new() -> Option<Self> {
        let (old, new) = (Restic::old()?, Restic::new_()?);
        let folder = tempfile::tempdir().unwrap();
        let lines =
            format!("kind = \"directory\"\npaths = [{}]", quoted(&folder.path().display().to_string()));
        let config = ConfigBuilder::new()
            .repository("pack_size = \"4MiB\"")
            .tables("[retention]\nkeep_last = 9")
            .source("files", &lines)
            .build();
        let place = Self { folder, config, old, new };
        place.add("first");
        Some(place)
    }

    /// As [`Self::new`], with this number of backups, each with new files.
    pub fn backed_up(times: u32) -> Option<Self> {
        let place = Self::new()?;
        place.run(&["init"]).ok();
        for time in 0..times {
            place.add(&format!("backup {time}"));
            place.run(&["backup"]).ok();
        }
        Some(place)
    }

    /// Adds files whose content cannot be compressed, and directories.
    pub fn add(&self, name: &str) {
        let top = self.folder.path().join(name);
        let mut state = name.bytes().fold(88_172_645_463_325_252u64, |state, byte| {
            (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        for number in 0..20 {
            let folder = top.join(format!("{number}/below"));
            fs::create_dir_all(&folder).unwrap();
            let content: Vec<u8> = std::iter::repeat_with(|| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()
            })
            .take(40_000)
            .flatten()
            .collect();
            fs::write(folder.join("file"), content).unwrap();
        }
    }

    /// The program with these arguments.
    pub fn run(&self, args: &[&str]) -> Ran {
        let ran = Cmd::with(&self.config).args(args).run();
        assert!(!ran.stderr.contains("panicked"), "{ran:?}");
        assert!(!ran.stdout.contains("rustic") && !ran.stderr.contains("rustic"), "{ran:?}");
        ran
    }

    /// The directory that is backed up.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The path of the repository.
    pub fn repo(&self) -> PathBuf {
        self.config.repo()
    }

    /// The files of one of the repository's directories, sorted.
    pub fn files_of(&self, folder: &str) -> Vec<PathBuf> {
        let folder = self.repo().join(folder);
        files(&folder).into_iter().map(|(path, _)| folder.join(path)).collect()
    }

    /// All files of the repository except its locks.
    pub fn content(&self) -> Vec<(PathBuf, u64)> {
        files(&self.repo()).into_iter().filter(|(path, _)| !path.starts_with("locks")).collect()
    }

    /// The largest pack.
    pub fn largest_pack(&self) -> PathBuf {
        self.files_of("data").into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap()
    }

    /// Stock restic reads every byte and finds nothing wrong, and so do we.
    #[track_caller]
    pub fn clean(&self) {
        self.old.check(&self.repo(), &self.config.password_file(), true);
        self.run(&["check", "--read-data"]).ok();
    }

    /// Stock restic restores and verifies every snapshot, of which there are this many.
    #[track_caller]
    pub fn all_restorable(&self, count: usize) {
        let snapshots = self.new.snapshots_json(&self.repo(), &self.config.password_file());
        assert_eq!(snapshots.len(), count, "{snapshots:?}");
        for snapshot in &snapshots {
            let target = tempfile::tempdir().unwrap();
            let id = snapshot["id"].as_str().unwrap();
            self.new.restore_verify(&self.repo(), &self.config.password_file(), id, target.path());
        }
    }

    /// A copy of the configuration with the repository behind a server.
    pub fn remote(&self, location: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let file = self.config.dir().join("remote.location");
        fs::write(&file, location).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let text = fs::read_to_string(self.config.path()).unwrap();
        let from = format!("location = {}", quoted(&self.repo().display().to_string()));
        assert!(text.contains(&from), "{text}");
        let to = format!("location_file = {}", quoted(&file.display().to_string()));
        let path = self.config.dir().join("remote.toml");
        // Permanent refusals are not retried for long.
        let size = "pack_size = \"4MiB\"";
        let text = text.replace(&from, &to).replace(size, &format!("{size}\noptions = {{ retry = \"1\" }}"));
        fs::write(&path, text).unwrap();
        path
    }

    /// The program with a configuration of [`Self::remote`].
    pub fn run_remote(&self, config: &Path, args: &[&str]) -> Ran {
        cmd_with(config).args(args).run()
    }
}
