//! The database file of a history: opens it, sets a damaged one aside, and converts SQLite's errors.

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode};

use super::{Check, schema};
use crate::{
    error::{Error, Kind},
    fs::owner,
};

/// How long to wait for another writer.
const BUSY: Duration = Duration::from_secs(30);
/// The error text for a history that is not damaged.
const CANNOT: &str = "the history cannot be read or written";

/// Opens a database and upgrades it to the current schema.
pub(super) fn prepare(path: &Path, check: Check) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    // A power cut may lose the last transactions, but not the database. The important data is in the repository.
    connection.pragma_update(None, "synchronous", "normal")?;
    connection.pragma_update(None, "foreign_keys", "off")?;
    connection.pragma_update(None, "cache_size", -16_384)?;
    if check == Check::Full {
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

/// Whether an SQLite error means that the file is damaged or not a database.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Renames a damaged database with its WAL files, and returns its new name. A process that still has it open continues
/// with the renamed file; SQLite notices the move and does not touch the files of the new database on close.
pub(super) fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let stamp = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let with = |path: &Path, end: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    let mut aside = with(path, &format!(".damaged-{stamp}"));
    let mut number = 1;
    while fs::symlink_metadata(&aside).is_ok() {
        number += 1;
        aside = with(path, &format!(".damaged-{stamp}-{number}"));
    }
    fs::rename(path, &aside)?;
    for end in ["-wal", "-shm"] {
        match fs::rename(with(path, end), with(&aside, end)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(aside)
}

/// Converts an SQLite error.
pub(super) fn failed(error: &rusqlite::Error) -> Error {
    if is_damage(error) {
        return Error::new(Kind::DamagedHistory, "the history is damaged")
            .because(error)
            .hint("the next backup sets it aside and builds a new one from the repository");
    }
    Error::failed(CANNOT)
        .because(error)
        .hint("check whether the disk of `state_dir` is full, and whether its files belong to the user that runs tik-backup")
}

/// As [`failed`], for a database file; names the owner if permissions are the reason.
pub(super) fn failed_at(path: &Path, error: &rusqlite::Error) -> Error {
    let denied = matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied)
    );
    let with = |end: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    // The WAL files may belong to another user, and SQLite needs them all.
    let hint = [with(""), with("-wal"), with("-shm")].into_iter().find_map(|file| {
        let options = OpenOptions::new().read(true).write(true).custom_flags(owner::no_links()).open(&file);
        owner::writing_hint(&file, &options.err()?)
    });
    let said = match hint.filter(|_| denied) {
        Some(hint) => Error::failed(CANNOT).because(error).hint(hint),
        None => failed(error),
    };
    said.context(path.display())
}
