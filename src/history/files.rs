//! Which file holds the history of which repository. Each repository, known by its id and by where it lies, has a history of
//! its own for each host that it is used as; all of them are in one state folder, where a list names them. Files are named
//! once and never renamed while they are in use: SQLite finds what belongs to a database by its path.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, OptionalExtension};
use serde::{Deserialize, Serialize};

use super::FILE;
use crate::{
    config::Config,
    error::{Error, Result},
    owner,
};

/// Name of the list in the state folder.
const LIST: &str = "repositories.json";
/// What is larger than this, in bytes, is no list of ours.
const LARGEST: u64 = 1 << 20;
/// The key in a history under which its entry of the list stands as well.
pub(super) const ENTRY: &str = "repository";
/// How long a storage may take to say where a path leads.
const PATIENCE: Duration = Duration::from_secs(2);
/// Digits of a repository's id that are shown.
const SHOWN: usize = 8;
/// Options of storages that say which place is meant: the same location with others is another place.
const PLACE_OPTIONS: [&str; 11] = [
    "account_name",
    "bucket",
    "bucket_id",
    "container",
    "container_name",
    "endpoint",
    "filesystem",
    "name",
    "root",
    "share_name",
    "tenant_name",
];

/// What decides which history a configuration has, beside the id of its repository.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    /// The state folder.
    pub(super) state_dir: PathBuf,
    host: String,
    /// The place as the configuration names it. It is not known where it stands in a file that cannot be read.
    name: Option<String>,
    /// The same as a path.
    path: Option<PathBuf>,
}

impl Home {
    /// That of a configuration.
    pub(crate) fn of(config: &Config) -> Self {
        let repository = &config.repository;
        let location = repository.location.load().ok();
        Self {
            state_dir: config.state_dir.clone(),
            host: repository.host.clone(),
            name: location.as_ref().map(|location| with_options(location.place(), &repository.options)),
            path: location.as_ref().and_then(|location| location.path()).map(Path::to_owned),
        }
    }

    /// That of a repository which does not exist, for tests.
    #[cfg(test)]
    pub(crate) fn example(state_dir: &Path, host: &str, place: &str) -> Self {
        let path = Some(PathBuf::from(place));
        Self { state_dir: state_dir.to_owned(), host: host.to_owned(), name: Some(place.to_owned()), path }
    }

    /// The place with links followed. This asks the storage, which may take for ever: never behind the gate.
    pub(super) fn resolved(&self) -> Option<String> {
        match &self.path {
            Some(path) => path.canonicalize().ok().map(|path| path.display().to_string()),
            None => self.name.clone(),
        }
    }

    fn resolved_soon(&self) -> Option<String> {
        if self.path.is_none() {
            return self.name.clone();
        }
        let (sender, receiver) = std::sync::mpsc::channel();
        let home = self.clone();
        let resolve = move || drop(sender.send(home.resolved()));
        std::thread::Builder::new().name("place".to_owned()).spawn(resolve).ok()?;
        receiver.recv_timeout(PATIENCE).ok().flatten()
    }
}

fn with_options(place: String, options: &BTreeMap<String, String>) -> String {
    let mut named = place;
    for (name, value) in options.iter().filter(|(name, _)| PLACE_OPTIONS.contains(&name.as_str())) {
        named.push_str(&format!(" {name}={value}"));
    }
    named
}

/// A repository and the file of its history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// The host that it is used as.
    host: String,
    /// Where it lies: without credentials, with links followed.
    location: String,
    /// What configurations have called that place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    names: Vec<String>,
    /// Its id, once it was opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// Name of the file.
    file: String,
    /// When it came into use, or back into use after another one of the same place.
    used: Timestamp,
    /// Another file has taken its place.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    retired: bool,
}

impl Entry {
    fn is_at(&self, host: &str, place: &str) -> bool {
        !self.retired
            && self.host == host
            && (self.location == place || self.names.iter().any(|name| name == place))
    }

    /// Is the id of the repository known?
    pub(super) fn is_met(&self) -> bool {
        self.id.is_some()
    }

    /// The entry as it stands in its own file.
    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// A repository that was opened.
#[derive(Debug, Clone)]
pub(super) struct Found<'a> {
    /// Its id.
    pub(super) id: &'a str,
    /// Where it lies, with links followed, see [`Home::resolved`].
    pub(super) place: Option<String>,
    /// The history that was chosen before it was opened knows snapshots, and it has none of them.
    pub(super) is_foreign: bool,
}

/// What a look at a repository says about its history.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Met {
    /// Name of its file.
    pub(super) file: String,
    /// What an operator should know about a history that begins.
    pub(super) note: Option<String>,
}

#[derive(Default, Serialize, Deserialize)]
struct Document {
    repositories: Vec<Entry>,
}

/// All entries; of those of one place the one used last comes first. Only who holds the gate may have it.
pub(super) struct List {
    state_dir: PathBuf,
    entries: Vec<Entry>,
    changed: bool,
}

impl List {
    /// Reads the list. One that is lost or cannot be understood is made anew from the files.
    pub(super) fn load(state_dir: &Path) -> Self {
        let read = read_list(&state_dir.join(LIST));
        let changed = read.is_none();
        let mut entries = read.unwrap_or_else(|| from_files(state_dir));
        // A name with a path in it would lead out of the folder.
        entries.retain(|entry| is_file_name(&entry.file));
        Self { state_dir: state_dir.to_owned(), entries, changed }
    }

    /// Writes the list down if it has changed.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn save(&mut self) -> Result<()> {
        if !self.changed {
            return Ok(());
        }
        let document = Document { repositories: self.entries.clone() };
        let text = serde_json::to_string_pretty(&document)
            .map_err(|error| Error::failed("cannot write the list of repositories").because(&error))?;
        let path = self.state_dir.join(LIST);
        write_private(&path, &text).map_err(|error| {
            Error::failed(format!("cannot write {}", path.display()))
                .because(&error)
                .hint("see whether the disk of `state_dir` is full and whether the user that runs tik-backup may write there")
        })?;
        self.changed = false;
        Ok(())
    }

    /// The entry of a file.
    pub(super) fn of_file(&self, file: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.file == file)
    }

    /// The file for a configuration whose repository has not been opened yet: the one last used at its place, or a new one.
    ///
    /// # Errors
    /// The place is not known, and there are several.
    pub(super) fn choose(&mut self, home: &Home) -> Result<String> {
        let Some(name) = &home.name else { return self.only(home) };
        if let Some(found) = self.entries.iter().position(|entry| entry.is_at(&home.host, name)) {
            return Ok(self.entries[found].file.clone());
        }
        let resolved = home.resolved_soon();
        let found = resolved
            .as_ref()
            .and_then(|place| self.entries.iter().position(|entry| entry.is_at(&home.host, place)));
        let index = match found {
            Some(found) => found,
            None => {
                // The history of an installation from before there was a list is that of the first who comes.
                let is_free = self.of_file(FILE).is_none();
                let file = if is_free { FILE.to_owned() } else { self.new_file() };
                self.add(home, resolved.unwrap_or_else(|| name.clone()), None, file)
            }
        };
        Ok(self.used(index, name))
    }

    /// Where the location cannot be read, what happens still belongs to the only repository of the host.
    fn only(&self, home: &Home) -> Result<String> {
        let mut of_host = self.entries.iter().filter(|entry| !entry.retired && entry.host == home.host);
        match (of_host.next(), of_host.next()) {
            (Some(entry), None) => Ok(entry.file.clone()),
            (None, _) if self.of_file(FILE).is_none() => Ok(FILE.to_owned()),
            _ => Err(Error::failed(
                "it is not known whose history is meant: the location of the repository cannot be read",
            )
            .hint("`tik-backup config check` says what is wrong with `repository.location_file`")),
        }
    }

    /// A repository was opened: which file is its history? `current` is the one chosen before.
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
            // It was written down while the storage could not say where the path leads.
            let unresolved = entry.id.as_deref() == Some(id) && entry.location == *name;
            if unknown && is_foreign {
                // It waits for the repository that it is of.
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
                let entry = &mut self.entries[index];
                entry.location = place;
                entry.id = Some(id.to_owned());
                self.changed = true;
                return known(self.used(index, name));
            }
        }
        let note = self.note(home, now, &place, id);
        let file = self.new_file();
        let index = self.add(home, place, Some(id), file);
        Met { file: self.used(index, name), note }
    }

    /// What an operator should know when a repository was never met at a place before.
    fn note(&self, home: &Home, now: Option<usize>, place: &str, id: &str) -> Option<String> {
        let here = short(id);
        let elsewhere = self.entries.iter().find(|entry| {
            !entry.retired
                && entry.host == home.host
                && entry.id.as_deref() == Some(id)
                && entry.location != place
        });
        if let Some(entry) = elsewhere {
            return Some(format!(
                "the repository {here} was known at {}, whose history is kept in {}; at {place} it begins anew. If the \
                 repository has moved and is no copy: `tik-backup init --moved-from '{}'`",
                entry.location, entry.file, entry.location
            ));
        }
        let before = &self.entries[now?];
        let was = short(before.id.as_deref()?);
        Some(format!(
            "the repository at {place} is another one than before (was {was}, is {here}): its history begins anew; that of the \
             other is kept in {}",
            before.file
        ))
    }

    /// The repository of this id, which was known at `old`, lies where the configuration says now. Returns the file of its
    /// history, and the one that is no longer used, if one was begun here.
    ///
    /// # Errors
    /// Exit code 2 if it was not known there.
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

    /// Notes that an entry is in use under this name, and returns its file.
    fn used(&mut self, index: usize, name: &str) -> String {
        let entry = &mut self.entries[index];
        if !entry.names.iter().any(|known| known == name) {
            entry.names.push(name.to_owned());
            self.changed = true;
        }
        let (host, file) = (entry.host.clone(), entry.file.clone());
        // The order and not the time says which was used last: clocks are wrong now and then.
        if self.entries[..index].iter().any(|other| other.is_at(&host, name)) {
            let mut entry = self.entries.remove(index);
            entry.used = Timestamp::now();
            self.entries.insert(0, entry);
            self.changed = true;
        }
        file
    }

    /// A name that no file has.
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

fn is_file_name(file: &str) -> bool {
    let digits = file.strip_prefix("history-").and_then(|rest| rest.strip_suffix(".db"));
    file == FILE
        || digits.is_some_and(|digits| digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// The list as it was written, or `None` if there is none that can be understood.
fn read_list(path: &Path) -> Option<Vec<Entry>> {
    let file = OpenOptions::new().read(true).custom_flags(owner::no_links()).open(path).ok()?;
    let mut text = String::new();
    file.take(LARGEST).read_to_string(&mut text).ok()?;
    serde_json::from_str::<Document>(&text).ok().map(|document| document.repositories)
}

/// The entries that stand in the histories themselves.
fn from_files(state_dir: &Path) -> Vec<Entry> {
    let Ok(folder) = fs::read_dir(state_dir) else { return Vec::new() };
    let names = folder.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut entries: Vec<Entry> = names
        .filter(|name| is_file_name(name))
        .filter_map(|name| {
            let entry: Entry = serde_json::from_str(&own_entry(&state_dir.join(&name))?).ok()?;
            (entry.file == name).then_some(entry)
        })
        .collect();
    entries.sort_by(|a, b| b.used.cmp(&a.used));
    entries
}

fn own_entry(path: &Path) -> Option<String> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let connection = Connection::open_with_flags(path, flags).ok()?;
    let query = "SELECT value FROM meta WHERE key = ?1";
    connection.query_row(query, [ENTRY], |row| row.get(0)).optional().ok().flatten()
}

/// Replaces a file in one step by one that only its owner may read.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let draft = path.with_extension(format!("json.{}", std::process::id()));
    let write = || {
        // What a dead process of this number left behind.
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "files_tests.rs"]
mod tests;
