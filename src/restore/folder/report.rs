//! What a restore to files reports.

use std::path::PathBuf;

use serde::Serialize;

/// The number of names in a note.
pub(super) const NAMED: usize = 10;
/// The option that restores setuid and setgid bits, capabilities and devices.
pub(super) const WITH_PRIVILEGES: &str = "--with-setuid-and-devices";

/// The files that were written into a directory.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct FolderReport {
    /// Files; hard links count once for each name.
    pub files: u64,
    /// Directories below the named one.
    pub folders: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Named pipes, sockets and devices.
    pub others: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// The first thousand files, with the directory in front; bytes that are not UTF-8 are replaced, as in `escaped`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub written: Vec<PathBuf>,
    /// Files that were written under another name, because the original one is too long for the filesystem; at most a thousand.
    pub escaped: Vec<Escaped>,
    /// Properties that could not be restored, as sentences.
    pub notes: Vec<String>,
}

/// A file that was written under another name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Escaped {
    /// Path in the snapshot.
    pub stored: PathBuf,
    /// Path that was written, with the directory in front.
    pub written: PathBuf,
}
