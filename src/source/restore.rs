//! Options and results that restores of all kinds have in common.

use std::{
    any::Any,
    ffi::OsString,
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::manifest::Omitted;
use crate::error::{Error, Result};

/// How to restore.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Only this table (`schema.name`) or collection.
    pub table: Option<String>,
    /// Only files with these names or matching these patterns, and their contents; all if empty.
    pub paths: Vec<OsString>,
    /// Do not set owners; objects belong to the connecting account.
    pub no_owner: bool,
    /// Do not restore GRANT and REVOKE.
    pub no_privileges: bool,
    /// Ignore tablespaces; everything goes to the default tablespace.
    pub no_tablespaces: bool,
    /// Do not create missing roles.
    pub no_roles: bool,
    /// Skip objects that only a superuser can restore.
    pub skip_superuser: bool,
    /// Replace existing blobs and files of the same names.
    pub overwrite: bool,
    /// Only definitions, no rows (PostgreSQL).
    pub definitions: bool,
    /// Continue after errors, and list the missing objects at the end (PostgreSQL).
    pub keep_going: bool,
    /// Read everything back and compare it with what was backed up.
    pub verify: bool,
    /// How many connections to the target are used at most; by default as many as this machine has processors, up to four.
    pub jobs: Option<usize>,
    /// Do not count rows, because the caller reads everything back and compares it (PostgreSQL).
    pub uncounted: bool,
    /// Restore setuid and setgid bits and capabilities, and create devices (`--to`).
    pub privileged: bool,
    /// The target is a scratch server: nothing outside of it may be accessed, and it needs no write-ahead log.
    pub scratch: bool,
}

impl Options {
    /// The error of a restore whose result differs from the backup.
    pub(crate) fn wrong(what: &str) -> Error {
        Error::failed(format!("the restored database differs from the backup: {what}"))
            .hint("do not use it; see the server's log, and try an older snapshot with --at")
    }

    /// Adds the state in which the database was left to an error. A drill drops this with all other hints of a restore.
    pub(super) fn incomplete(error: Error, database: &str, created: bool) -> Error {
        error.advise(if created {
            format!(
                "the database {database} was created by this restore and is incomplete: drop it before the next try"
            )
        } else {
            format!("the database {database} may hold a part of the data: empty it before the next try")
        })
    }

    /// Refuses a number of connections for a kind of database or storage that does not use it.
    pub(super) fn refuse_jobs(&self, kind: &str) -> Result<()> {
        let hint = "leave it out: only PostgreSQL, MySQL and MariaDB use it";
        Self::refuse(&[(self.jobs.is_some(), "--jobs")], kind, hint)
    }

    /// Refuses options that this kind of database does not support: `given` and name of each.
    pub(super) fn refuse(unknown: &[(bool, &str)], kind: &str, hint: &str) -> Result<()> {
        match unknown.iter().find(|(given, _)| *given) {
            Some((_, name)) => Err(Error::usage(format!("{name} is not supported for {kind}")).hint(hint)),
            None => Ok(()),
        }
    }
}

/// The result of a restore into a database.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct Restored {
    /// Database restored into.
    pub database: String,
    /// Was it created?
    pub created: bool,
    /// Bytes of the dump.
    pub bytes: u64,
    /// Are they collections of documents?
    #[serde(skip)]
    pub collections: bool,
    /// Tables or collections whose rows or documents were counted and found equal.
    pub tables: u64,
    /// Rows or documents of these.
    pub rows: u64,
    /// Whether the contents were read back and found equal.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub compared: bool,
    /// Roles that were created without login.
    pub roles_created: Vec<String>,
    /// Objects that could not be restored although everything else was.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Missing>,
    /// Differences from the backup, of a restore that continues after errors.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<String>,
    /// Warnings of the server while the data was loaded: a value may have changed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// The file with the statements of the missing objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing_file: Option<PathBuf>,
    /// Notes for the operator.
    pub notes: Vec<String>,
    /// The statements of the missing objects, for [`Self::write_statements`].
    #[serde(skip)]
    pub(crate) statements: Vec<u8>,
    /// What the kind must know of this restore to compare the database with the backup: a type of its own.
    #[serde(skip)]
    pub(super) own: Option<Arc<dyn Any + Send + Sync>>,
}

impl Restored {
    /// What the kind has kept; the default if there is nothing.
    pub(super) fn own<T: Any + Clone + Default>(&self) -> T {
        self.own.as_deref().and_then(|own| own.downcast_ref::<T>()).cloned().unwrap_or_default()
    }

    /// Keeps this instead of what was kept before.
    pub(super) fn keep<T: Any + Send + Sync>(&mut self, own: T) {
        self.own = Some(Arc::new(own));
    }

    /// Writes the statements of the missing objects into a file.
    pub(crate) fn write_statements(&mut self) {
        let statements = std::mem::take(&mut self.statements);
        if statements.is_empty() {
            return;
        }
        match write_statements(&self.database, &statements) {
            Ok(path) => self.missing_file = Some(path),
            Err(error) => self.notes.push(format!(
                "the file with the statements of the missing objects could not be written ({error}); the script that --to DIR \
                 gives has them"
            )),
        }
    }
}

/// Something that could not be restored.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Missing {
    /// Its kind as `pg_dump` names it: `TABLE DATA`, `INDEX`, …; for MySQL and MariaDB always `VIEW`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Schema.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub schema: String,
    /// Name.
    pub name: String,
    /// The server's error message; empty if it might contain a secret.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// The result of a restore into a container or share. The field names are part of the interface.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct Storage {
    /// Account and container or share.
    pub into: String,
    /// Was it created?
    pub created: bool,
    /// Blobs or files that were written.
    pub files: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Directories that were created.
    pub directories: u64,
    /// Blobs or files without content in the snapshot, because they were unreadable.
    pub missing: u64,
    /// Entries that could not be written although others were; a thousand at most.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<Failed>,
    /// Total number of these.
    #[serde(skip_serializing_if = "is_zero")]
    pub failed_count: u64,
    /// Notes for the operator.
    pub notes: Vec<String>,
    /// Selected objects that are missing from the snapshot.
    #[serde(skip)]
    pub(crate) omitted: Vec<Omitted>,
}

/// For `serde`.
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// An entry that could not be written although others were. The field names are part of the interface.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Failed {
    /// `blob`, `file` or `directory`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Name of the blob, or path in the share.
    pub name: String,
    /// Why, in one sentence without a full stop.
    pub reason: String,
}

/// Writes the statements of the missing objects into a new file of mode 0600: in the current directory, or in the directory
/// for temporary files if the current one is not writable.
pub(super) fn write_statements(database: &str, content: &[u8]) -> io::Result<PathBuf> {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '_' };
    let database: String = database.chars().map(plain).take(60).collect();
    let time = jiff::Zoned::now().strftime("%Y%m%dT%H%M%S").to_string();
    let name = format!("tik-backup-missing-{database}-{time}.sql");
    let here = std::env::current_dir().unwrap_or_default();
    write_new(&here, &name, content).or_else(|_| write_new(&std::env::temp_dir(), &name, content))
}

fn write_new(folder: &Path, name: &str, content: &[u8]) -> io::Result<PathBuf> {
    let path = folder.join(name);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    file.write_all(content)?;
    Ok(path)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_file_is_new_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = write_new(folder.path(), "missing.sql", b"SELECT 1;").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(write_new(folder.path(), "missing.sql", b"").is_err(), "what is there is never written to");
    }

    #[test]
    fn what_to_do_with_the_target_comes_after_what_was_said_before() {
        let error = || Error::failed("no").hint("near");
        let advised = Options::incomplete(error(), "shop", true);
        assert!(advised.hint_text().unwrap().starts_with("near; the database shop was created"), "{advised}");
        assert!(Options::incomplete(error(), "shop", false).hint_text().unwrap().contains("empty it"));
        assert!(Options::wrong("t").hint_text().unwrap().contains("do not use it"));
    }
}
