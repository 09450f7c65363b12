//! Maps repositories to history files. Each repository, identified by id and location, has a history for each `host`
//! that uses it. All of them are in one state directory, with a list. Files are never renamed while in use, because
//! SQLite finds the WAL by the path of the database.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::{
    FILE,
    home::Home,
    list::{Entry, from_files, is_file_name, read_list, write_list},
};
use crate::error::{Error, Result};

/// Digits of a repository's id that are shown.
const SHOWN: usize = 8;

/// A repository that was opened.
#[derive(Debug, Clone)]
pub(super) struct Found<'a> {
    /// Its id.
    pub(super) id: &'a str,
    /// Its location with symbolic links resolved, see [`Home::resolved`].
    pub(super) place: Option<String>,
    /// The history chosen before it was opened has snapshots, none of which is in it.
    pub(super) is_foreign: bool,
}

/// The history that belongs to an opened repository.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Met {
    /// The name of its file.
    pub(super) file: String,
    /// A note for the operator about a new history.
    pub(super) note: Option<String>,
}

/// All entries; of those of one location, the last used one comes first. Requires the lock.
#[derive(Clone)]
pub(super) struct List {
    state_dir: PathBuf,
    entries: Vec<Entry>,
    changed: bool,
}

impl List {
    /// Reads the list. If it is lost or cannot be parsed, it is rebuilt from the files.
    pub(super) fn load(state_dir: &Path) -> Self {
        let read = read_list(state_dir);
        let changed = read.is_none();
        let mut entries = read.unwrap_or_else(|| from_files(state_dir));
        // A name with a path would lead out of the directory.
        entries.retain(|entry| is_file_name(&entry.file));
        Self { state_dir: state_dir.to_owned(), entries, changed }
    }

    /// Writes the list if it has changed.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn save(&mut self) -> Result<()> {
        if !self.changed {
            return Ok(());
        }
        write_list(&self.state_dir, &self.entries)?;
        self.changed = false;
        Ok(())
    }

    /// The directory of the files.
    pub(super) fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// The entry of a file.
    pub(super) fn of_file(&self, file: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.file == file)
    }

    fn named(&self, home: &Home) -> Option<usize> {
        let name = home.name.as_ref()?;
        self.entries.iter().position(|entry| entry.is_at(&home.host, name))
    }

    /// Whether the location must be resolved to choose a file, because its current name is not in the list.
    pub(super) fn asks_for_place(&self, home: &Home) -> bool {
        home.name.is_some() && self.named(home).is_none()
    }

    /// The file for a configuration whose repository has not been opened yet: the one last used at its location, or a
    /// new one. `resolved` is the location with symbolic links resolved, if known.
    ///
    /// # Errors
    /// The location is unknown, and there are several histories.
    pub(super) fn choose(&mut self, home: &Home, resolved: Option<String>) -> Result<String> {
        let Some(name) = &home.name else { return self.only(home) };
        if let Some(found) = self.named(home) {
            return Ok(self.entries[found].file.clone());
        }
        let found = resolved
            .as_ref()
            .and_then(|place| self.entries.iter().position(|entry| entry.is_at(&home.host, place)));
        let index = match found {
            Some(found) => found,
            None => {
                // A history from before the list existed belongs to the first repository that is opened.
                let is_free = self.of_file(FILE).is_none();
                let file = if is_free { FILE.to_owned() } else { self.new_file() };
                self.add(home, resolved.unwrap_or_else(|| name.clone()), None, file)
            }
        };
        Ok(self.used(index, name))
    }

    /// If the location cannot be read, the only repository of the host is used.
    fn only(&self, home: &Home) -> Result<String> {
        let mut of_host = self.entries.iter().filter(|entry| !entry.retired && entry.host == home.host);
        match (of_host.next(), of_host.next()) {
            (Some(entry), None) => Ok(entry.file.clone()),
            (None, _) if self.of_file(FILE).is_none() => Ok(FILE.to_owned()),
            _ => Err(Error::failed(
                "the history cannot be selected: the location of the repository cannot be read",
            )
            .hint("`tik-backup config check` says what is wrong with `repository.location_file`")),
        }
    }

    /// Selects the history file of an opened repository. `current` is the one chosen before it was opened.
    pub(super) fn meet(&mut self, home: &Home, current: &str, found: Found<'_>) -> Met {
        let Found { id, place, is_foreign } = found;
        let known = |file: String| Met { file, note: None };
        let Some(name) = &home.name else { return known(current.to_owned()) };
        let place = place.unwrap_or_else(|| name.clone());
        let same = |entry: &Entry| {
            !entry.retired
                && entry.host == home.host
                && entry.location == place
                && entry.id.as_deref() == Some(id)
        };
        if let Some(index) = self.entries.iter().position(same) {
            return known(self.used(index, name));
        }
        let now =
            self.entries.iter().position(|entry| entry.file == current && entry.is_at(&home.host, name));
        if let Some(index) = now {
            let entry = &self.entries[index];
            let unknown = entry.id.is_none();
            // It was recorded when the path could not be resolved.
            let unresolved = entry.id.as_deref() == Some(id) && entry.location == *name;
            if unknown && is_foreign {
                // It stays for the repository that it belongs to.
                self.entries.remove(index);
                self.changed = true;
                let file = self.new_file();
                let index = self.add(home, place, Some(id), file);
                let note = format!(
                    "{current} in `state_dir` is the history of another repository, whose snapshots are not here: the history of \
                     this one begins anew"
                );
                return Met { file: self.used(index, name), note: Some(note) };
            }
            if unknown || unresolved {
                let note = if unknown { self.known_elsewhere(home, &place, id) } else { None };
                let entry = &mut self.entries[index];
                entry.location = place;
                entry.id = Some(id.to_owned());
                self.changed = true;
                return Met { file: self.used(index, name), note };
            }
        }
        let note = self.note(home, now, &place, id);
        let file = self.new_file();
        let index = self.add(home, place, Some(id), file);
        Met { file: self.used(index, name), note }
    }

    /// A note for the operator if a repository is new at a location.
    fn note(&self, home: &Home, now: Option<usize>, place: &str, id: &str) -> Option<String> {
        if let Some(note) = self.known_elsewhere(home, place, id) {
            return Some(note);
        }
        let before = &self.entries[now?];
        let (was, here) = (short(before.id.as_deref()?), short(id));
        Some(format!(
            "the repository at {place} is another one than before (was {was}, is {here}): its history begins anew; that of the \
             other is kept in {}",
            before.file
        ))
    }

    /// A note if a repository with this id is known at another location: it is a copy, or it has moved.
    fn known_elsewhere(&self, home: &Home, place: &str, id: &str) -> Option<String> {
        let is_elsewhere = |entry: &&Entry| {
            !entry.retired
                && entry.host == home.host
                && entry.id.as_deref() == Some(id)
                && entry.location != place
        };
        let entry = self.entries.iter().find(is_elsewhere)?;
        Some(format!(
            "the repository {} was known at {}, whose history is kept in {}; at {place} it begins anew. If the repository has \
             moved and is no copy: `tik-backup init --moved-from '{}'`",
            short(id),
            entry.location,
            entry.file,
            entry.location
        ))
    }

    /// Records that the repository with this id has moved from `old` to the configured location. Returns the file of
    /// its history, and the one begun at the new location, if any, which is no longer used.
    ///
    /// # Errors
    /// Exit code 2 if it was not known at `old`.
    pub(super) fn moved(
        &mut self,
        home: &Home,
        old: &[&str],
        found: Found<'_>,
    ) -> Result<(String, Option<String>)> {
        let Found { id, place, .. } = found;
        let Some(name) = &home.name else {
            return Err(Error::usage("the location of the repository cannot be read"));
        };
        let place = place.unwrap_or_else(|| name.clone());
        let is_it = |entry: &Entry| {
            old.iter().any(|old| entry.is_at(&home.host, old))
                && entry.id.as_deref().is_none_or(|known| known == id)
        };
        let found = self.entries.iter().position(|entry| is_it(entry) && entry.id.is_some());
        let Some(found) = found.or_else(|| self.entries.iter().position(is_it)) else {
            return Err(self.not_known(home, old.first().copied().unwrap_or_default(), id));
        };
        let file = self.entries[found].file.clone();
        let mut retired = None;
        for entry in self.entries.iter_mut().filter(|entry| entry.file != file) {
            let is_here = entry.is_at(&home.host, &place) || entry.is_at(&home.host, name);
            if is_here && entry.id.as_deref().is_none_or(|known| known == id) {
                entry.retired = true;
                retired = Some(entry.file.clone());
            }
        }
        let entry = &mut self.entries[found];
        entry.location = place;
        entry.names.clear();
        entry.id = Some(id.to_owned());
        self.changed = true;
        Ok((self.used(found, name), retired))
    }

    fn not_known(&self, home: &Home, old: &str, id: &str) -> Error {
        let places: Vec<&str> = self
            .entries
            .iter()
            .filter(|entry| !entry.retired && entry.host == home.host && entry.id.as_deref() == Some(id))
            .map(|entry| entry.location.as_str())
            .collect();
        let error = Error::usage(format!("the repository {} was never used at {old}", short(id)));
        if places.is_empty() {
            error.hint(format!("the host {} has no history of this repository at any other place", home.host))
        } else {
            error.hint(format!("its history is known at: {}", places.join(", ")))
        }
    }

    fn add(&mut self, home: &Home, location: String, id: Option<&str>, file: String) -> usize {
        self.changed = true;
        self.entries.push(Entry {
            host: home.host.clone(),
            location,
            names: Vec::new(),
            id: id.map(str::to_owned),
            file,
            used: Timestamp::now(),
            retired: false,
        });
        self.entries.len() - 1
    }

    /// Marks an entry as in use under this name, and returns its file.
    fn used(&mut self, index: usize, name: &str) -> String {
        let entry = &mut self.entries[index];
        if !entry.names.iter().any(|known| known == name) {
            entry.names.push(name.to_owned());
            self.changed = true;
        }
        let (host, file) = (entry.host.clone(), entry.file.clone());
        // The order, not the time, determines which was used last, because clocks may be wrong.
        if self.entries[..index].iter().any(|other| other.is_at(&host, name)) {
            let mut entry = self.entries.remove(index);
            entry.used = Timestamp::now();
            self.entries.insert(0, entry);
            self.changed = true;
        }
        file
    }

    /// An unused file name.
    fn new_file(&self) -> String {
        loop {
            let mut random = [0; 4];
            if getrandom::fill(&mut random).is_err() {
                random = Timestamp::now().subsec_nanosecond().to_be_bytes();
            }
            let file = format!("history-{:08x}.db", u32::from_be_bytes(random));
            if self.of_file(&file).is_none() && !self.state_dir.join(&file).exists() {
                return file;
            }
        }
    }
}

fn short(id: &str) -> &str {
    id.get(..SHOWN).unwrap_or(id)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "files_tests.rs"]
mod tests;
