//! The file with the list of repositories.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, OptionalExtension};
use serde::{Deserialize, Serialize};

use super::FILE;
use crate::{
    error::{Error, Result},
    fs::owner,
};

/// Name of the list in the state directory.
pub(super) const LIST: &str = "repositories.json";
/// Maximum size in bytes; a larger file is not a valid list.
const LARGEST: u64 = 1 << 20;
/// Key in a history under which its entry of the list is stored as well.
pub(super) const ENTRY: &str = "repository";

/// A repository and the file of its history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// The `host` that uses it.
    pub(super) host: String,
    /// Its location, without credentials and with symbolic links resolved.
    pub(super) location: String,
    /// The names of this location in configurations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) names: Vec<String>,
    /// Its id, known once it was opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<String>,
    /// Name of the file.
    pub(super) file: String,
    /// When it came into use, or back into use after another one at the same location.
    pub(super) used: Timestamp,
    /// Another file has replaced it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) retired: bool,
}

impl Entry {
    pub(super) fn is_at(&self, host: &str, place: &str) -> bool {
        !self.retired
            && self.host == host
            && (self.location == place || self.names.iter().any(|name| name == place))
    }

    /// Whether the id of the repository is known.
    pub(super) fn is_met(&self) -> bool {
        self.id.is_some()
    }

    /// The entry as stored in its own file.
    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[derive(Default, Serialize, Deserialize)]
struct Document {
    repositories: Vec<Entry>,
}

/// Whether it is a valid name of a history file. A name with a path would lead out of the directory.
pub(super) fn is_file_name(file: &str) -> bool {
    let digits = file.strip_prefix("history-").and_then(|rest| rest.strip_suffix(".db"));
    file == FILE
        || digits.is_some_and(|digits| digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// The stored list, or `None` if there is none or it cannot be parsed.
pub(super) fn read_list(state_dir: &Path) -> Option<Vec<Entry>> {
    let path = state_dir.join(LIST);
    let file = OpenOptions::new().read(true).custom_flags(owner::no_links()).open(path).ok()?;
    let mut text = String::new();
    file.take(LARGEST).read_to_string(&mut text).ok()?;
    serde_json::from_str::<Document>(&text).ok().map(|document| document.repositories)
}

/// The entries stored in the histories themselves.
pub(super) fn from_files(state_dir: &Path) -> Vec<Entry> {
    let Ok(folder) = fs::read_dir(state_dir) else { return Vec::new() };
    let names = folder.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut entries: Vec<Entry> = names
        .filter(|name| is_file_name(name))
        .filter_map(|name| {
            let entry: Entry = serde_json::from_str(&own_entry(&state_dir.join(&name))?).ok()?;
            (entry.file == name).then_some(entry)
        })
        .collect();
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.used));
    entries
}

fn own_entry(path: &Path) -> Option<String> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let connection = Connection::open_with_flags(path, flags).ok()?;
    let query = "SELECT value FROM meta WHERE key = ?1";
    connection.query_row(query, [ENTRY], |row| row.get(0)).optional().ok().flatten()
}

/// Atomically replaces a file by one that only its owner can read.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let draft = path.with_extension(format!("json.{}", std::process::id()));
    let write = || {
        // A temporary file left behind by a dead process with this id.
        match fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(owner::no_links())
            .open(&draft)?;
        if let Some(folder) = path.parent() {
            owner::adopt(&file, File::open(folder)?)?;
        }
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&draft, path)
    };
    write().inspect_err(|_| {
        let _ = fs::remove_file(&draft);
    })
}

/// Writes the list atomically.
///
/// # Errors
/// It cannot be written.
pub(super) fn write_list(state_dir: &Path, entries: &[Entry]) -> Result<()> {
    let document = Document { repositories: entries.to_vec() };
    let text = serde_json::to_string_pretty(&document)
        .map_err(|error| Error::failed("cannot write the list of repositories").because(&error))?;
    let path = state_dir.join(LIST);
    write_private(&path, &text).map_err(|error| {
        Error::failed(format!("cannot write {}", path.display()))
            .because(&error)
            .hint("check whether the disk of `state_dir` is full and whether the user that runs tik-backup may write there")
    })
}
