//! What restores of all kinds have in common.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use super::{manifest::Omitted, mysql::script::Redefined};
use crate::error::{Error, Result};

/// How to restore.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Only this table (`schema.name`) or collection.
    pub table: Option<String>,
    /// Only files of these names or that match these patterns, and what lies below them; all if there are none.
    pub paths: Vec<OsString>,
    /// Do not give objects to their owners; they belong to the connecting account.
    pub no_owner: bool,
    /// Do not restore GRANT and REVOKE.
    pub no_privileges: bool,
    /// Everything goes to the default tablespace.
    pub no_tablespaces: bool,
    /// Do not create missing roles.
    pub no_roles: bool,
    /// Leave out what only a superuser can restore.
    pub skip_superuser: bool,
    /// Replace blobs and files of the same names.
    pub overwrite: bool,
    /// Only definitions, no rows (PostgreSQL).
    pub definitions: bool,
    /// Go on after errors, and list what is missing at the end (PostgreSQL).
    pub keep_going: bool,
    /// Read everything back and compare it with what was backed up.
    pub verify: bool,
    /// Files get setuid and setgid bits and capabilities, and devices are made (`--to`).
    pub privileged: bool,
    /// The server is a scratch server: nothing outside of it may be touched (MySQL, MariaDB).
    pub scratch: bool,
}

impl Options {
    /// The error of a restore whose result is not what was backed up.
    pub(crate) fn wrong(what: &str) -> Error {
        Error::failed(format!("the restored database is not what was backed up: {what}"))
            .hint("do not use it; see the server's log, and try an older snapshot with --at")
    }

    /// Says with an error in what state the database was left. A drill drops this with all other hints of a restore.
    pub(super) fn incomplete(error: Error, database: &str, created: bool) -> Error {
        error.advise(if created {
            format!(
                "the database {database} was created by this restore and is incomplete: drop it before the next try"
            )
        } else {
            format!("the database {database} may hold a part of the data: empty it before the next try")
        })
    }

    /// Refuses options of which this kind of database knows nothing: `given` and name of each.
    pub(super) fn refuse(unknown: &[(bool, &str)], kind: &str, hint: &str) -> Result<()> {
        match unknown.iter().find(|(given, _)| *given) {
            Some((_, name)) => Err(Error::usage(format!("{name} means nothing for {kind}")).hint(hint)),
            None => Ok(()),
        }
    }
}

/// What a restore did.
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
    /// What could not be restored although everything else was.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Missing>,
    /// In what the contents differ from what was backed up, of a restore that goes on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<String>,
    /// What the server warned of while the data was loaded: a value may not be what it was.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// The file that holds the statements of what is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing_file: Option<PathBuf>,
    /// What an operator should know.
    pub notes: Vec<String>,
    /// Tables that were made otherwise than the dump defines them (MySQL, MariaDB).
    #[serde(skip)]
    pub(crate) redefined: Vec<Redefined>,
    /// Tables whose rows were not counted, because their engine keeps none of its own (MySQL, MariaDB).
    #[serde(skip)]
    pub(crate) rowless: Vec<String>,
    /// The statements of what is missing (MySQL).
    #[serde(skip)]
    pub(crate) statements: Vec<u8>,
    /// What was restored, if that may be less than the snapshot holds.
    #[serde(skip)]
    pub(crate) selected: Option<Selected>,
    /// Indexes that are not what they were, as the target does not accept that: collection and name of each.
    #[serde(skip)]
    pub(crate) changed_indexes: BTreeSet<(String, String)>,
}

impl Restored {
    /// Writes the statements of what is missing into a file.
    pub(crate) fn write_statements(&mut self) {
        let statements = std::mem::take(&mut self.statements);
        if statements.is_empty() {
            return;
        }
        match write_statements(&self.database, &statements) {
            Ok(path) => self.missing_file = Some(path),
            Err(error) => self.notes.push(format!(
                "the file with the statements of what is missing could not be written ({error}); the script that --to DIR \
                 gives has them"
            )),
        }
    }
}

/// The part of a database that was restored; schema and name of each.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selected {
    /// Tables whose rows were restored.
    pub(crate) tables: BTreeSet<(String, String)>,
    /// Sequences whose position was restored.
    pub(crate) sequences: BTreeSet<(String, String)>,
}

/// Something that could not be restored.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Missing {
    /// What it is, in `pg_dump`'s words: `TABLE DATA`, `INDEX`, …; of MySQL and MariaDB always `VIEW`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Schema.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub schema: String,
    /// Name.
    pub name: String,
    /// Why, as the server said it; empty where that might hold a secret.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// What was put into a container or share. The field names are a promise.
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
    /// Directories that were made.
    pub directories: u64,
    /// Blobs or files that the snapshot only knows by name, because they could not be read.
    pub missing: u64,
    /// What could not be written although other things were; a thousand at most.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<Failed>,
    /// How many these are in all.
    #[serde(skip_serializing_if = "is_zero")]
    pub failed_count: u64,
    /// What an operator should know.
    pub notes: Vec<String>,
    /// What the snapshot lacks of what was to be restored.
    #[serde(skip)]
    pub(crate) omitted: Vec<Omitted>,
}

/// For `serde`.
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Something that could not be written although other things were. The field names are a promise.
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

/// Writes the statements of what is missing into a new file that only this user can read: in the current folder, or in that
/// for temporary files if nothing can be written there.
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
        let told = Options::incomplete(error(), "shop", true);
        assert!(told.hint_text().unwrap().starts_with("near; the database shop was created"), "{told}");
        assert!(Options::incomplete(error(), "shop", false).hint_text().unwrap().contains("empty it"));
        assert!(Options::wrong("t").hint_text().unwrap().contains("do not use it"));
    }
}
