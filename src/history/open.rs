//! Opening a history: which file it is, what is done about a damaged one, and that two processes do not do so at once.

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
    files::{ENTRY, Found, List},
    home::Home,
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

/// What was found when the history was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// It was there.
    Present,
    /// There was none.
    New,
    /// It was damaged and has been set aside as this file; a new one was begun.
    Damaged(PathBuf),
    /// There was one, and this file of it is gone; a new one was begun.
    Lost(PathBuf),
    /// It lives in memory only and ends with the process.
    Memory,
}

/// How closely a history is looked at when it is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Only at what is needed.
    Brief,
    /// At every page, which takes about a second for 200 MB.
    Thorough,
}

/// The file that a history is in at present.
#[derive(Debug, Clone)]
pub(super) struct Current {
    /// Its name in the state folder.
    file: String,
    /// Its number: another process may have set the file aside and begun a new one.
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
    /// Opens the history of the repository that was last seen at the configured place, or begins one. One that is damaged is
    /// set aside. [`History::meet`] takes the right one once the repository itself is open.
    ///
    /// # Errors
    /// The folder cannot be written, or the history is of a newer version of the program.
    pub fn open(config: &Config, look: Look) -> Result<Self> {
        create_state_dir(config);
        Self::open_home(Home::of(config), look)
    }

    /// As [`History::open`].
    pub(crate) fn open_home(home: Home, look: Look) -> Result<Self> {
        // Asks the storage, which may not answer: before the gate, so that no other process waits for that.
        let asks = List::load(&home.state_dir).asks_for_place(&home);
        let place = if asks { home.resolved_soon() } else { None };
        let _gate = gate(&home.state_dir)?;
        let mut list = List::load(&home.state_dir);
        let was = list.clone();
        let file = list.choose(&home, place)?;
        let (connection, current) = open_file(&was, &file, look)?;
        settle(&mut list, &file, &connection)?;
        Ok(Self {
            connection: Mutex::new(connection),
            home: Some(home),
            current: Mutex::new(current),
            failure: Mutex::default(),
        })
    }

    /// Goes on in the history of the repository that was found at the configured place: it may be another one than before.
    /// Returns what an operator should know about a history that has just begun. No run may be being written down.
    ///
    /// # Errors
    /// That history cannot be opened.
    pub fn meet(&self, repository: &Repository, look: Look) -> Result<Option<String>> {
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
            let (connection, current) = open_file(&was, &met.file, look)?;
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

    /// Fails if the repository is another one than that whose history this is: a run is written into one history.
    ///
    /// # Errors
    /// It is another one (exit code 4), or the list of repositories cannot be written.
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
            "the repository at {} is not the one that was there before, in whose history this run was begun",
            repository.location()
        ))
        .hint("see that the right storage is mounted, and run the backup again: what belongs to this repository is kept apart"))
    }

    /// Opens the same history again, for when it turned out to be damaged.
    ///
    /// # Errors
    /// As [`History::open`].
    pub fn reopen(&self, look: Look) -> Result<()> {
        let Some(home) = &self.home else { return Ok(()) };
        let _gate = gate(&home.state_dir)?;
        let file = self.current().file.clone();
        let mut list = List::load(&home.state_dir);
        let (connection, current) = open_file(&list, &file, look)?;
        settle(&mut list, &file, &connection)?;
        *self.lock() = connection;
        *self.current() = current;
        Ok(())
    }

    /// Says that the repository, which was known at the place `old`, lies where the configuration says now, so that its history
    /// goes on. Returns what was done, in a sentence.
    ///
    /// # Errors
    /// It was not known there (exit code 2), or its history cannot be written.
    pub fn moved_from(config: &Config, repository: &Repository, old: &str) -> Result<String> {
        let home = Home::of(config);
        let (place, id) = (place_of(old)?, repository.id());
        let found = Found { id: &id, place: home.resolved(), is_foreign: false };
        let _gate = gate(&home.state_dir)?;
        let mut list = List::load(&home.state_dir);
        let was = list.clone();
        let (file, retired) = list.moved(&home, &[&place, old], found)?;
        let (connection, _) = open_file(&was, &file, Look::Brief)?;
        if let Some(retired) = &retired {
            let (other, _) = open_file(&was, retired, Look::Brief)?;
            write_entry(&list, retired, &other)?;
        }
        settle(&mut list, &file, &connection)?;
        let rest = retired.map_or_else(String::new, |file| {
            format!("; {file}, which was begun at the new place, is no longer used and can be removed")
        });
        Ok(format!("the history of this repository, {file} in `state_dir`, goes on{rest}"))
    }

    /// What an operator should know about the begin of this history.
    pub fn begun_note(&self) -> Result<Option<String>> {
        self.read(|tx| Self::meta(tx, BEGUN))
    }

    /// What was found when it was opened.
    pub fn opened(&self) -> Opened {
        self.current().opened.clone()
    }

    /// Does the error say that the database is damaged? [`Look::Thorough`] then sets it aside.
    pub fn is_damaged(error: &Error) -> bool {
        error.kind() == Kind::DamagedHistory
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock()
    }

    /// Where the files of runs lie.
    pub(super) fn state_dir(&self) -> Option<&Path> {
        self.home.as_ref().map(|home| home.state_dir.as_path())
    }

    /// What must be asked of the storage. Not behind the gate: one that hangs would hold everybody who opens a history.
    fn found<'a>(&self, home: &Home, file: &str, id: &'a str, repository: &Repository) -> Result<Found<'a>> {
        let list = List::load(&home.state_dir);
        let is_unknown = list.of_file(file).is_none_or(|entry| !entry.is_met());
        let is_foreign = is_unknown && self.is_foreign(repository)?;
        Ok(Found { id, place: home.resolved(), is_foreign })
    }

    /// Whether it knows snapshots, of which the repository has none.
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

/// The key of what an operator should know about the begin of a history.
const BEGUN: &str = "begun";

/// Creates the state folder if this is root and it is missing: a command by hand must not close it to the services.
fn create_state_dir(config: &Config) {
    if !rustix::process::geteuid().is_root() || config.state_dir.exists() {
        return;
    }
    let service = Account::find(&config.systemd.user, &config.systemd.group);
    // Why it cannot be created is told by whoever opens it.
    let _ = owner::create_directory(&config.state_dir, service.as_ref());
}

/// Makes the folder, and waits until no other process opens a history there.
fn gate(state_dir: &Path) -> Result<File> {
    let cannot = |e: io::Error| {
        let other = "name another folder with `state_dir`";
        let hint = match owner::writing_hint(state_dir, &e) {
            Some(hint) => format!("{hint}; or {other}"),
            None if e.kind() == io::ErrorKind::NotADirectory => format!("it is no folder: {other}"),
            None => format!("see whether its disk is full or mounted read-only, or {other}"),
        };
        Error::failed(format!("cannot use the state folder {}", state_dir.display())).because(&e).hint(hint)
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

/// Opens or begins the history in a file; a damaged one is set aside. `list` names the files that there should be. The caller
/// holds the gate.
fn open_file(list: &List, file: &str, look: Look) -> Result<(Connection, Current)> {
    let path = list.state_dir().join(file);
    let cannot = |e: io::Error| {
        let other = "name another folder with `state_dir`";
        let hint = owner::writing_hint(&path, &e).unwrap_or_else(|| "see whether its disk works".to_owned());
        Error::failed(format!("cannot use the history {}", path.display()))
            .because(&e)
            .hint(format!("{hint}; or {other}"))
    };
    let found = match fs::symlink_metadata(&path) {
        Ok(found) => Some(found),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(cannot(error)),
    };
    // SQLite takes a file of no bytes for an empty database; one that was in use has some.
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
    let connection = match prepare(&path, look) {
        Err(error) if is_damage(&error) && !broken => {
            opened = Opened::Damaged(set_aside(&path).map_err(cannot)?);
            private_file(&path).map_err(cannot)?;
            prepare(&path, look)
        }
        other => other,
    };
    let connection = connection.map_err(|error| {
        // What was just made, on a full disk, must not be taken for a damaged one the next time.
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

/// Writes the list down, and the entry of a file into that file as well, from which a list that is lost is made anew.
fn settle(list: &mut List, file: &str, connection: &Connection) -> Result<()> {
    write_entry(list, file, connection)?;
    list.save()
}

fn write_entry(list: &List, file: &str, connection: &Connection) -> Result<()> {
    let Some(entry) = list.of_file(file).map(super::files::Entry::text) else { return Ok(()) };
    let query = "SELECT value FROM meta WHERE key = ?1";
    // A history that cannot be read is another's concern: the damage is found where it matters.
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
