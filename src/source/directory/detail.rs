//! The manifest of a directory: the part specific to this kind of source.

use serde::{Deserialize, Serialize};

use crate::{
    source::{exclude::Rule, kind::Kind, manifest},
    stream::digest::Digest128,
};

/// A directory's part of a manifest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detail {
    /// The directory as the configuration names it.
    pub path: String,
    /// Whether other filesystems that are mounted below it were left out.
    pub one_file_system: bool,
    /// Regular files; one with several names counts once for each.
    pub files: u64,
    /// Directories below the path.
    pub folders: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Named pipes, sockets and devices.
    pub others: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Files among them that had not changed since the previous snapshot and were not read again.
    pub taken_over: u64,
    /// Objects removed between listing and reading.
    pub vanished: u64,
    /// Files that were written to while they were read, twice.
    pub changed: u64,
    /// The rules of `exclude`, each with the number of excluded entries. Entries below an excluded directory are not counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded: Vec<Rule>,
    /// How many mount points were not entered.
    #[serde(default)]
    pub mounts: u64,
    /// The first of these, below the path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_entered: Vec<String>,
    /// Digest over path, type, permissions, length and content of everything, independent of the order. It says whether two
    /// snapshots of one repository hold the same; other repositories cut files into other pieces.
    pub digest: Digest128,
}

impl manifest::Detail for Detail {
    fn kind(&self) -> &'static dyn Kind {
        &super::kind::KIND
    }

    fn boxed(&self) -> Box<dyn manifest::Detail> {
        Box::new(self.clone())
    }

    fn is_of_files(&self) -> bool {
        true
    }

    fn files(&self) -> Option<u64> {
        Some(self.files)
    }
}

impl Detail {
    /// Everything below the path.
    pub fn entries(&self) -> u64 {
        self.files + self.folders + self.symlinks + self.others
    }
}
