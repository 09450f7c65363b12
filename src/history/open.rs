//! Opens a history: selects the file, sets a damaged one aside, and excludes other processes meanwhile.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use jiff::Zoned;
use parking_lot::{Mutex, MutexGuard};
use rusqlite::Connection;
use rustix::fs::{FlockOperation, flock};

use super::{
    History, RUNNING, damage,
    database::{failed, failed_at, is_damage, prepare, set_aside},
    files::{Found, List},
    home::Home,
    list::{ENTRY, Entry},
    schema,
};
use crate::{
    config::Config,
    error::{Error, Kind, Result},
    fs::{
        owner::{self, Account},
        private_file,
    },
    repository::Repository,
    settings::place_of,
};

/// How the history was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// It existed.
    Present,
    /// There was none; a new one was begun.
    New,
    /// It was damaged and has been set aside as this file; a new one was begun.
    Damaged(PathBuf),
    /// Its file, which is named here, is missing; a new one was begun.
    Lost(PathBuf),
    /// It is in memory only.
    Memory,
}

/// How thoroughly a history is checked when it is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// Only the pages that are used.
    Quick,
    /// Every page, which takes about a second for 200 MB.
    Full,
}

/// The current file of a history.
#[derive(Debug, Clone)]
pub(super) struct Current {
    /// Its name in the state directory.
    file: String,
    /// Its inode: another process may have set the file aside and begun a new one.
    inode: u64,
    opened: Opened,
}

impl Current {
    /// No file.
    pub(super) fn memory() -> Self {
        Self { file: String::new(), inode: 0, opened: Opened::Memory }
    }
}

impl History {
    /// Opens the history of the repository last found at the configured location, or begins one. A damaged one is set
    /// aside. [`History::meet`] selects the right one once the repository is open.
    ///
    /// # Errors
    /// The directory cannot be written, or the history is from a newer version of the program.
    pub fn open(config: &Config, check: Check) -> Result<Self> {
        create_state_dir(config);
        Self::open_home(Home::of(config), check)
    }

    /// As [`History::open`].
    pub(crate) fn open_home(home: Home, check: Check) -> Result<Self> {
        // This accesses the storage, which may not answer: do it before taking the lock, so that no other process
        // waits.
        let asks = List::load(&home.state_dir).asks_for_place(&home);
        let place = if asks { home.resolved_soon() } else { None };
        let _gate = gate(&home.state_dir)?;
        let mut list = List::load(&home.state_dir);
        let was = list.clone();
        let file = list.choose(&home, place)?;
        let (connection, current) = open_file(&was, &file, check)?;
        settle(&mut list, &file, &connection)?;
        Ok(Self {
            connection: Mutex::new(connection),
            home: Some(home),
            current: Mutex::new(current),
            failure: Mutex::default(),
        })
    }

    /// Switches to the history of the repository found at the configured location, which may be another one than
    /// before. Returns a note for the operator about a new history. No run may be in progress.
    ///
    /// # Errors
    /// That history cannot be opened.
    pub fn meet(&self, repository: &Repository, check: Check) -> Result<Option<String>> {
        let Some(home) = &self.home else { return Ok(None) };
        let before = self.current().clone();
        let id = repository.id();
        let found = self.found(home, &before.file, &id, repository)?;
        let _gate = gate(&home.state_dir)?;
        let mut list = List::load(&home.state_dir);
        let was = list.clone();
        let met = list.meet(home, &before.file, found);
        let same_file =
            met.file == before.file && inode(&home.state_dir.join(&met.file)) == Some(before.inode);
        if same_file {
            settle(&mut list, &met.file, &self.lock())?;
        } else {
            let (connection, current) = open_file(&was, &met.file, check)?;
            settle(&mut list, &met.file, &connection)?;
            *self.lock() = connection;
            *self.current() = current;
        }
        if let Some(note) = &met.note {
            let now = Zoned::now().strftime("%Y-%m-%d %H:%M").to_string();
            self.change(|tx| Self::set_meta(tx, BEGUN, &format!("since {now}: {note}")))?;
        }
        Ok(met.note)
    }

    /// Fails if this is not the history of the repository: a run is recorded in one history.
    ///
    /// # Errors
    /// The repository is another one (exit code 4), or the list of repositories cannot be written.
    pub fn require(&self, repository: &Repository) -> Result<()> {
        let Some(home) = &self.home else { return Ok(()) };
        let (file, id) = (self.current().file.clone(), repository.id());
        let found = self.found(home, &file, &id, repository)?;
        let _gate = gate(&home.state_dir)?;
        let mut list = List::load(&home.state_dir);
        let met = list.meet(home, &file, found);
        if met.file == file {
            return settle(&mut list, &file, &self.lock());
        }
        Err(Error::repository(format!(
            "the repository at {} was replaced by another one during this run",
            repository.location()
        ))
        .hint("check that the right storage is mounted, and run the backup again: each repository has its own history"))
    }

    /// Reopens the same history, after it was found to be damaged.
    ///
    /// # Errors
    /// As [`History::open`].
    pub fn reopen(&self, check: Check) -> Result<()> {
        let Some(home) = &self.home else { return Ok(()) };
        let _gate = gate(&home.state_dir)?;
        let file = self.current().file.clone();
        let mut list = List::load(&home.state_dir);
        let (connection, current) = open_file(&list, &file, check)?;
        settle(&mut list, &file, &connection)?;
        *self.lock() = connection;
        *self.current() = current;
        Ok(())
    }

    /// Records that the repository has moved from the location `old` to the configured one, so that its history
    /// continues. Returns a sentence about what was done.
    ///
    /// # Errors
    /// It was not known at `old` (exit code 2), or its history cannot be written.
    pub fn moved_from(config: &Config, repository: &Repository, old: &str) -> Result<String> {
        let home = Home::of(config);
        let (place, id) = (place_of(old)?, repository.id());
        let found = Found { id: &id, place: home.resolved(), is_foreign: false };
        let _gate = gate(&home.state_dir)?;
        let mut list = List::load(&home.state_dir);
        let was = list.clone();
        let (file, retired) = list.moved(&home, &[&place, old], found)?;
        let (connection, _) = open_file(&was, &file, Check::Quick)?;
        if let Some(retired) = &retired {
            let (other, _) = open_file(&was, retired, Check::Quick)?;
            write_entry(&list, retired, &other)?;
        }
        settle(&mut list, &file, &connection)?;
        let rest = retired.map_or_else(String::new, |file| {
            format!("; {file}, which was begun at the new place, is no longer used and can be removed")
        });
        Ok(format!("the history of this repository, {file} in `state_dir`, goes on{rest}"))
    }

    /// A note for the operator about the start of this history.
    pub fn begun_note(&self) -> Result<Option<String>> {
        self.read(|tx| Self::meta(tx, BEGUN))
    }

    /// How it was opened.
    pub fn opened(&self) -> Opened {
        self.current().opened.clone()
    }

    /// Does the error say that the database is damaged? [`Check::Full`] then sets it aside.
    pub fn is_damaged(error: &Error) -> bool {
        error.kind() == Kind::DamagedHistory
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock()
    }

    /// Directory of the lock files of runs.
    pub(super) fn state_dir(&self) -> Option<&Path> {
        self.home.as_ref().map(|home| home.state_dir.as_path())
    }

    /// Resolves the location on the storage. Must not be called with the lock held: a hanging storage would block every
    /// process that opens a history.
    fn found<'a>(&self, home: &Home, file: &str, id: &'a str, repository: &Repository) -> Result<Found<'a>> {
        let list = List::load(&home.state_dir);
        let is_unknown = list.of_file(file).is_none_or(|entry| !entry.is_met());
        let is_foreign = is_unknown && self.is_foreign(repository)?;
        Ok(Found { id, place: home.resolved(), is_foreign })
    }

    /// Whether it has snapshots, none of which is in the repository.
    fn is_foreign(&self, repository: &Repository) -> Result<bool> {
        let known: std::collections::HashSet<[u8; 32]> = self.read(|tx| {
            let mut statement = tx.prepare("SELECT id FROM snapshot")?;
            let rows = statement.query_map([], |row| row.get(0))?;
            rows.collect()
        })?;
        if known.is_empty() {
            return Ok(false);
        }
        Ok(!repository.snapshot_ids()?.iter().any(|id| known.contains(id)))
    }
}

/// Key of the note about the start of a history.
const BEGUN: &str = "begun";

/// Creates a missing state directory when run as root, owned by the services' user: a manual command must not lock out
/// the services.
fn create_state_dir(config: &Config) {
    if !rustix::process::geteuid().is_root() || config.state_dir.exists() {
        return;
    }
    let service = Account::find(&config.systemd.user, &config.systemd.group);
    // Opening the history reports why it cannot be created.
    let _ = owner::create_directory(&config.state_dir, service.as_ref());
}

/// Creates the directory and takes the lock that serialises opening histories there.
fn gate(state_dir: &Path) -> Result<File> {
    let cannot = |e: io::Error| {
        let other = "set `state_dir` to another directory";
        let hint = match owner::writing_hint(state_dir, &e) {
            Some(hint) => format!("{hint}; or {other}"),
            None if e.kind() == io::ErrorKind::NotADirectory => format!("it is not a directory: {other}"),
            None => format!("check whether its disk is full or mounted read-only, or {other}"),
        };
        Error::failed(format!("cannot use the state directory {}", state_dir.display()))
            .because(&e)
            .hint(hint)
    };
    let running = state_dir.join(RUNNING);
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&running)
        .and_then(|()| owner::adopt_path(&running))
        .map_err(cannot)?;
    let gate = private_file(&state_dir.join("history.lock")).map_err(cannot)?;
    flock(&gate, FlockOperation::LockExclusive).map_err(|e| cannot(e.into()))?;
    Ok(gate)
}

/// Opens or begins the history in a file; a damaged one is set aside. `list` names the files that should exist. The
/// caller holds the lock.
fn open_file(list: &List, file: &str, check: Check) -> Result<(Connection, Current)> {
    let path = list.state_dir().join(file);
    let cannot = |e: io::Error| {
        let other = "set `state_dir` to another directory";
        let hint =
            owner::writing_hint(&path, &e).unwrap_or_else(|| "check whether its disk works".to_owned());
        Error::failed(format!("cannot use the history {}", path.display()))
            .because(&e)
            .hint(format!("{hint}; or {other}"))
    };
    let found = match fs::symlink_metadata(&path) {
        Ok(found) => Some(found),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(cannot(error)),
    };
    // SQLite treats an empty file as an empty database, but a database that was in use is not empty.
    let broken =
        found.as_ref().is_some_and(|found| !found.is_symlink() && (!found.is_file() || found.len() == 0));
    let mut opened = match &found {
        Some(_) => Opened::Present,
        None if list.of_file(file).is_some() => Opened::Lost(path.clone()),
        None => Opened::New,
    };
    if broken {
        opened = Opened::Damaged(set_aside(&path).map_err(cannot)?);
    }
    private_file(&path).map_err(cannot)?;
    let connection = match prepare(&path, check) {
        Err(error) if is_damage(&error) && !broken => {
            opened = Opened::Damaged(set_aside(&path).map_err(cannot)?);
            private_file(&path).map_err(cannot)?;
            prepare(&path, check)
        }
        other => other,
    };
    let connection = connection.map_err(|error| {
        // Remove a new file that could not be set up, as on a full disk: otherwise the next start takes it for a
        // damaged one.
        if fs::symlink_metadata(&path).is_ok_and(|found| found.is_file() && found.len() == 0) {
            let _ = fs::remove_file(&path);
        }
        failed_at(&path, &error)
    })?;
    schema::require_known(&connection).map_err(|e| e.context(path.display()))?;
    let lost = match &opened {
        Opened::Damaged(aside) => Some((aside, false)),
        Opened::Lost(path) => Some((path, true)),
        _ => None,
    };
    if let Some((lost, gone)) = lost {
        damage::write_down(&connection, lost, gone).map_err(|e| failed_at(&path, &e))?;
    }
    let inode = inode(&path).unwrap_or_default();
    Ok((connection, Current { file: file.to_owned(), inode, opened }))
}

fn inode(path: &Path) -> Option<u64> {
    fs::symlink_metadata(path).ok().map(|found| found.ino())
}

/// Writes the list, and each entry into its own file too, from which a lost list is rebuilt.
fn settle(list: &mut List, file: &str, connection: &Connection) -> Result<()> {
    write_entry(list, file, connection)?;
    list.save()
}

fn write_entry(list: &List, file: &str, connection: &Connection) -> Result<()> {
    let Some(entry) = list.of_file(file).map(Entry::text) else { return Ok(()) };
    let query = "SELECT value FROM meta WHERE key = ?1";
    // Errors are ignored: the damage of another history is found when that is opened.
    let known: Option<String> = connection.query_row(query, [ENTRY], |row| row.get(0)).ok();
    if known.as_deref() == Some(entry.as_str()) {
        return Ok(());
    }
    connection
        .execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)", [ENTRY, entry.as_str()])
        .map(|_| ())
        .map_err(|e| failed(&e))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "open_tests.rs"]
mod tests;
