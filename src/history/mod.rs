//! The history of all runs: an SQLite database in the state directory. It stores facts that are not in the repository
//! (failures, discovered items, sent alerts), and caches facts from the repository.

mod accept;
pub mod anomaly;
pub mod builder;
pub mod content;
mod damage;
mod database;
mod details;
mod discovery;
mod drill;
mod due;
mod entry;
mod files;
mod good;
mod groups;
mod home;
pub mod incidents;
mod judge;
pub mod ledger;
mod list;
mod losses;
pub mod message;
mod missed;
mod objects;
mod omitted;
mod open;
mod pack;
pub mod pages;
mod read;
mod rebuild;
mod record;
mod repository_damage;
mod rows;
mod schema;
mod shared;
mod snapshots;
mod summary;

use jiff::{Timestamp, Zoned, tz::TimeZone};

use parking_lot::{Mutex, MutexGuard};
use rusqlite::{Connection, Transaction, TransactionBehavior};

pub use accept::Accepted;
pub use content::Content;
pub use damage::Damage;
pub use discovery::Dropped;
pub use drill::Past;
pub(crate) use due::Due;
pub(crate) use entry::{FromTheFuture, from_the_future};
#[cfg(test)]
pub(crate) use home::Home;
pub use open::{Check, Opened};
pub use rebuild::Rebuilt;
pub use record::{RunBegin, RunEnd, RunRecord};

use crate::error::{Error, Result};
use database::failed;
use open::Current;

/// Name of the first database in the state directory; see [`files`] for others.
pub const FILE: &str = "history.db";
/// Directory in the state directory with a locked file for each run in progress.
const RUNNING: &str = "running";

/// The history of one repository, as one host knows it.
pub struct History {
    connection: Mutex<Connection>,
    /// The key that selects its file; `None` for a history in memory.
    home: Option<home::Home>,
    current: Mutex<Current>,
    /// Why it cannot be written, if so.
    failure: Mutex<Option<Error>>,
}

impl History {
    /// Whether there is a history of any repository in `state_dir`.
    pub fn exists(state_dir: &std::path::Path) -> bool {
        state_dir.join(FILE).exists() || state_dir.join(list::LIST).exists()
    }

    /// A history in memory, for use if there is no other.
    ///
    /// # Errors
    /// Memory is short.
    pub fn in_memory() -> Result<Self> {
        let mut connection = Connection::open_in_memory().map_err(|e| failed(&e))?;
        schema::migrate(&mut connection).map_err(|e| failed(&e))?;
        Ok(Self {
            connection: Mutex::new(connection),
            home: None,
            current: Mutex::new(Current::memory()),
            failure: Mutex::default(),
        })
    }

    /// As [`History::in_memory`], as a replacement for an unusable history: its ledgers have the reason as a problem.
    ///
    /// # Errors
    /// Memory is short.
    pub fn in_memory_because(error: &Error) -> Result<Self> {
        let history = Self::in_memory()?;
        history.fails_with(error);
        Ok(history)
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock()
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

    /// Reads without blocking writers.
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

/// Milliseconds since 1970, as times are stored.
pub(crate) fn millis(time: &Zoned) -> i64 {
    time.timestamp().as_millisecond()
}

/// A stored time in this machine's time zone.
pub(crate) fn zoned(millis: i64) -> Zoned {
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(TimeZone::system())
}

/// Bytes as hex digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A count as SQLite holds it.
pub(crate) fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A count as SQLite held it.
pub(crate) fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}
