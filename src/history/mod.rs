//! The record of everything that happened: an SQLite database in the state folder. It remembers what the repository
//! cannot tell (failures, what was discovered, who was told), and spares reading again what the repository does tell.

mod accept;
pub mod anomaly;
pub mod content;
mod discovery;
pub mod draw;
mod drill;
mod due;
mod entry;
mod good;
mod groups;
pub mod incidents;
pub mod ledger;
mod look;
mod losses;
mod objects;
mod omitted;
mod pack;
pub mod pages;
mod read;
mod rebuild;
mod record;
mod schema;
mod snapshots;

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use jiff::{Timestamp, Zoned, tz::TimeZone};
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};
use rustix::fs::{FlockOperation, flock};

pub use accept::Accepted;
pub use content::Content;
pub use drill::Past;
pub use rebuild::Rebuilt;
pub use record::{RunBegin, RunEnd, RunRecord};

use crate::{
    error::{Error, Result},
    owner,
};

/// Name of the database in the state folder.
pub const FILE: &str = "history.db";
/// Folder in the state folder that holds a locked file for each run that is going on.
const RUNNING: &str = "running";
/// How long to wait for another process that writes.
const BUSY: Duration = Duration::from_secs(30);

/// What was found when the history was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// It was there.
    Present,
    /// There was none.
    New,
    /// It was damaged and has been set aside as this file; a new one was begun.
    Damaged(PathBuf),
    /// It lives in memory only and ends with the process.
    Memory,
}

/// The history of one installation.
pub struct History {
    connection: Mutex<Connection>,
    state_dir: Option<PathBuf>,
    opened: Opened,
}

/// How closely a history is looked at when it is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Only at what is needed.
    Brief,
    /// At every page, which takes about a second for 200 MB.
    Thorough,
}

impl History {
    /// Opens the history in `state_dir`, or begins one. One that is damaged is set aside.
    ///
    /// # Errors
    /// The folder cannot be written, or the history is of a newer version of the program.
    pub fn open(state_dir: &Path, look: Look) -> Result<Self> {
        let cannot = |e: &std::io::Error| {
            Error::failed(format!("cannot use the state folder {}", state_dir.display())).because(e).hint(
                "let the user that runs tik-backup write there, or name another folder with `state_dir`",
            )
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(state_dir.join(RUNNING))
            .and_then(|()| owner::adopt_path(&state_dir.join(RUNNING)))
            .map_err(|e| cannot(&e))?;
        // While it is opened, so that two processes do not both set a damaged one aside.
        let gate = private_file(&state_dir.join("history.lock")).map_err(|e| cannot(&e))?;
        flock(&gate, FlockOperation::LockExclusive).map_err(|e| cannot(&e.into()))?;
        let path = state_dir.join(FILE);
        let new = !path.exists();
        private_file(&path).map_err(|e| cannot(&e))?;
        let mut opened = if new { Opened::New } else { Opened::Present };
        let connection = match prepare(&path, look) {
            Err(error) if is_damage(&error) => {
                opened = Opened::Damaged(set_aside(&path).map_err(|e| cannot(&e))?);
                private_file(&path).map_err(|e| cannot(&e))?;
                prepare(&path, look)
            }
            other => other,
        }
        .map_err(|e| failed(&e).context(path.display()))?;
        schema::require_known(&connection).map_err(|e| e.context(path.display()))?;
        Ok(Self { connection: Mutex::new(connection), state_dir: Some(state_dir.to_owned()), opened })
    }

    /// Whether there is a history in `state_dir`.
    pub fn exists(state_dir: &Path) -> bool {
        state_dir.join(FILE).exists()
    }

    /// A history that ends with the process, for when there is no other.
    ///
    /// # Errors
    /// Memory is short.
    pub fn in_memory() -> Result<Self> {
        let mut connection = Connection::open_in_memory().map_err(|e| failed(&e))?;
        schema::migrate(&mut connection).map_err(|e| failed(&e))?;
        Ok(Self { connection: Mutex::new(connection), state_dir: None, opened: Opened::Memory })
    }

    /// What was found when it was opened.
    pub fn opened(&self) -> &Opened {
        &self.opened
    }

    /// Does the error say that the database is damaged? [`Look::Thorough`] then sets it aside.
    pub fn is_damaged(error: &Error) -> bool {
        error.summary().contains(DAMAGED)
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Reads or writes in one transaction.
    fn change<T>(&self, work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<T> {
        let mut connection = self.lock();
        let run = || {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = work(&transaction)?;
            transaction.commit()?;
            Ok(value)
        };
        run().map_err(|e| failed(&e))
    }

    /// Reads, without keeping anybody from writing.
    fn read<T>(&self, work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<T> {
        let mut connection = self.lock();
        let run = || {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Deferred)?;
            work(&transaction)
        };
        run().map_err(|e| failed(&e))
    }

    /// A value that belongs to the history as a whole.
    fn meta(transaction: &Transaction<'_>, key: &str) -> rusqlite::Result<Option<String>> {
        use rusqlite::OptionalExtension;
        transaction.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0)).optional()
    }

    fn set_meta(transaction: &Transaction<'_>, key: &str, value: &str) -> rusqlite::Result<()> {
        transaction
            .execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)", [key, value])
            .map(|_| ())
    }
}

/// Opens or creates a file that only its owner may read.
fn private_file(path: &Path) -> std::io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(owner::no_links())
        .open(path)?;
    if let Some(folder) = path.parent() {
        owner::adopt(&file, File::open(folder)?)?;
    }
    Ok(file)
}

fn prepare(path: &Path, look: Look) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    // A power cut may take the last transactions, never the database: what counts stands in the repository.
    connection.pragma_update(None, "synchronous", "normal")?;
    connection.pragma_update(None, "foreign_keys", "off")?;
    connection.pragma_update(None, "cache_size", -16_384)?;
    if look == Look::Thorough {
        let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if verdict != "ok" {
            return Err(rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT),
                Some(verdict),
            ));
        }
    }
    schema::migrate(&mut connection)?;
    Ok(connection)
}

fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Renames a damaged database with what belongs to it, and returns its new name.
fn set_aside(path: &Path) -> std::io::Result<PathBuf> {
    let stamp = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let aside = path.with_file_name(format!("{FILE}.damaged-{stamp}"));
    fs::rename(path, &aside)?;
    for end in ["-wal", "-shm"] {
        let name = |path: &Path| {
            let mut name = path.as_os_str().to_owned();
            name.push(end);
            PathBuf::from(name)
        };
        match fs::rename(name(path), name(&aside)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(aside)
}

/// Marks an error that means damage, for [`History::is_damaged`].
const DAMAGED: &str = "the history is damaged";

fn failed(error: &rusqlite::Error) -> Error {
    if is_damage(error) {
        return Error::failed(DAMAGED)
            .because(error)
            .hint("the next backup sets it aside and begins a new one from what the repository tells");
    }
    let error = Error::failed("the history cannot be read or written").because(error);
    error.hint("see whether the disk of `state_dir` is full and whether the user that runs tik-backup may write there")
}

/// Milliseconds since 1970, as times are stored.
pub(crate) fn millis(time: &Zoned) -> i64 {
    time.timestamp().as_millisecond()
}

/// A stored time in this machine's time zone.
pub(crate) fn zoned(millis: i64) -> Zoned {
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(TimeZone::system())
}

/// A count as SQLite holds it.
pub(crate) fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A count as SQLite held it.
pub(crate) fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}
