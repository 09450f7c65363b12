//! Brings a directory of units up to date: writes new and changed units, and removes those that no source needs any more.
//! Files that this program did not write are never touched.

use std::{fs, io, os::unix::fs::DirBuilderExt, path::Path};

use serde::Serialize;

use crate::{
    error::{Error, Result},
    fs::write_atomically,
    systemd::units::{MARK, PREFIX, TARGET, Unit},
};

/// The state of a unit in the directory, or what was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// It is up to date.
    Unchanged,
    /// It did not exist.
    Added,
    /// Its content differed.
    Changed,
    /// It is no longer needed.
    Removed,
}

impl Change {
    /// Its name, as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::Added => "added",
            Self::Changed => "changed",
            Self::Removed => "removed",
        }
    }
}

/// Names of units with their changes.
pub type Changes = Vec<(String, Change)>;

/// Compares a directory with the units that it should hold.
///
/// # Errors
/// The directory cannot be read, or a file that this program did not write has the name of a unit.
pub fn compare(folder: &Path, units: &[Unit]) -> Result<Changes> {
    let mut changes = Vec::new();
    for unit in units {
        let path = folder.join(&unit.name);
        let change = match fs::read_to_string(&path) {
            Ok(text) if text == unit.text() => Change::Unchanged,
            Ok(text) if is_ours(&text) => Change::Changed,
            Ok(_) => {
                return Err(Error::failed(format!("{} was not written by this program", path.display()))
                    .hint("move it away: as a drop-in it can go on changing the unit"));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Change::Added,
            Err(error) => return Err(unreadable(&path, &error)),
        };
        changes.push((unit.name.clone(), change));
    }
    changes.extend(leftovers(folder, units)?.into_iter().map(|name| (name, Change::Removed)));
    Ok(changes)
}

/// Brings a directory up to date with these units, and returns the changes.
///
/// # Errors
/// As for [`compare`], or it cannot be written.
pub fn write(folder: &Path, units: &[Unit]) -> Result<Changes> {
    // With any umask: only the owner may write to files that systemd reads.
    // Only the last directory of the path is created: with a typo before it, systemd would not read the units.
    match fs::DirBuilder::new().mode(0o755).create(folder) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let above = folder.parent().unwrap_or(folder).display();
            return Err(Error::usage(format!(
                "cannot create {}: there is no directory {above}",
                folder.display()
            ))
            .hint(format!("correct --output, or create it first: mkdir -p {above}")));
        }
        Err(error) => {
            return Err(Error::failed(format!("cannot create {}", folder.display())).because(&error));
        }
    }
    let changes = compare(folder, units)?;
    for (name, change) in &changes {
        let path = folder.join(name);
        match change {
            Change::Unchanged => {}
            Change::Added | Change::Changed => {
                if let Some(unit) = units.iter().find(|unit| unit.name == *name) {
                    write_atomically(&path, &unit.text())?;
                }
            }
            Change::Removed => fs::remove_file(&path).map_err(|error| {
                Error::failed(format!("cannot remove {}", path.display())).because(&error)
            })?,
        }
    }
    Ok(changes)
}

/// Units that this program wrote for sources that are no longer configured.
fn leftovers(folder: &Path, units: &[Unit]) -> Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(folder, &error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| unreadable(folder, &error))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let candidate = name == TARGET
            || name.starts_with(PREFIX) && (name.ends_with(".service") || name.ends_with(".timer"));
        if !candidate || units.iter().any(|unit| unit.name == name) {
            continue;
        }
        if fs::read_to_string(entry.path()).is_ok_and(|text| is_ours(&text)) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn is_ours(text: &str) -> bool {
    text.lines().next() == Some(MARK)
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    Error::failed(format!("cannot read {}", path.display())).because(error)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_in_the_path_creates_nothing() {
        let room = tempfile::tempdir().unwrap();
        let error = write(&room.path().join("sytemd/system"), &[]).unwrap_err();
        assert!(error.code() == 2 && error.hint_text().is_some(), "{error}");
        assert_eq!(fs::read_dir(room.path()).unwrap().count(), 0);
        assert!(write(&room.path().join("units"), &[]).unwrap().is_empty());
    }
}
