//! `pg_restore`, fed directly from the repository: stopping at the first error, or continuing after errors.
//!
//! With `--continue`, everything possible is restored; the data comes before indexes, constraints and triggers. Failed entries
//! are tried again after all others, with an ordinary search path instead of the empty one that a dump sets: then a function
//! that names others without their schema, or a check that reads another table, works.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use parking_lot::Mutex;

use super::{Restore, select::Selection};
use crate::{
    error::Result,
    source::postgres::{
        DUMP,
        archive::{TocEntry, WithSearchPath},
        psql::{quote_ident, quote_literal},
    },
    stream::{
        child::{Command, into_error},
        files::Files,
        private::PrivateDir,
    },
};

/// Maximum number of retries of failed entries, as long as each makes progress.
const AGAIN: usize = 5;
/// At most this many errors that belong to no entry are kept.
const OTHERS: usize = 5;
const GOES_ON: &str = "--continue restores everything else, and lists what is missing";

/// The result of a restore.
#[derive(Debug, Default)]
pub(super) struct Filled {
    /// Bytes of the dump.
    pub(super) bytes: u64,
    /// The entries that failed, and why.
    pub(super) failed: BTreeMap<i32, String>,
    /// Errors that belong to no entry.
    pub(super) others: Vec<String>,
}

impl Restore<'_> {
    /// Restores the selection.
    pub(super) fn fill(&self, files: &dyn Files, selection: &Selection) -> Result<Filled> {
        if self.options.keep_going {
            self.fill_what_can_be(files, selection)
        } else {
            self.fill_strictly(files, selection)
        }
    }

    /// The first error ends it.
    fn fill_strictly(&self, files: &dyn Files, selection: &Selection) -> Result<Filled> {
        let lists = PrivateDir::new()?;
        let command = self.pg_restore(&lists, selection.ids.as_deref())?.arg("--exit-on-error");
        let mut input = command.spawn_input()?;
        let copied = files.copy(DUMP, &mut input);
        if (selection.ids.is_some() || self.options.definitions) && input.had_enough() {
            // After the last selected entry it stops reading.
            return Ok(Filled { bytes: self.dump_bytes(), ..Filled::default() });
        }
        let bytes = match copied {
            Err(error) if input.has_stopped() => return Err(error.hint(GOES_ON)),
            copied => copied?,
        };
        input.finish().map_err(|error| error.hint(GOES_ON))?;
        Ok(Filled { bytes, ..Filled::default() })
    }

    fn fill_what_can_be(&self, files: &dyn Files, selection: &Selection) -> Result<Filled> {
        let mut filled = self.pass(files, selection.ids.as_deref(), None)?;
        let mut last = filled.failed.clone();
        let path = set_search_path(&self.usual_search_path(&selection.entries));
        for _ in 0..AGAIN {
            if last.is_empty() {
                break;
            }
            (self.notice)(&format!(
                "{} of the dump failed: trying again",
                crate::output::count(last.len(), "entry")
            ));
            let ids: Vec<i32> =
                selection.entries.iter().map(|e| e.dump_id).filter(|id| last.contains_key(id)).collect();
            let again = self.pass(files, Some(&ids), Some(&path))?;
            let helped = again.failed.len() < last.len();
            last = again.failed;
            if !helped {
                break;
            }
        }
        // The first error says more: "already exists" only means that the first attempt created a part.
        filled.failed.retain(|id, _| last.contains_key(id));
        for (id, reason) in last {
            let first = filled.failed.entry(id).or_insert_with(|| reason.clone());
            if *first != reason {
                first.push_str(&format!("; when it was tried again: {reason}"));
            }
        }
        Ok(filled)
    }

    /// Runs `pg_restore` once over these entries, or all; with another search path if one is given.
    fn pass(&self, files: &dyn Files, ids: Option<&[i32]>, search_path: Option<&str>) -> Result<Filled> {
        let lists = PrivateDir::new()?;
        let log = Arc::new(Mutex::new(Log::default()));
        let heard = Arc::clone(&log);
        // Only verbose output says which entry an error belongs to.
        let command = self.pg_restore(&lists, ids)?.arg("--verbose").observe(move |line| {
            heard.lock().hear(line);
        });
        let mut input = command.spawn_input()?;
        let copied = match search_path {
            None => files.copy(DUMP, &mut input),
            Some(statement) => {
                let mut archive = WithSearchPath::new(&mut input, statement.to_owned());
                let copied = files.copy(DUMP, &mut archive);
                let rest = archive.finish();
                copied.and_then(|bytes| rest.map(|()| bytes).map_err(into_error))
            }
        };
        if !input.has_stopped() {
            // The repository could not be read.
            copied.as_ref().map_err(Clone::clone)?;
        }
        self.cancel.check()?;
        let ended = input.end()?;
        let log = std::mem::take(&mut *log.lock());
        match ended {
            // It did not finish.
            Some(error) if !log.whole => Err(error),
            _ => Ok(Filled {
                bytes: copied.unwrap_or_else(|_| self.dump_bytes()),
                failed: log.failed,
                others: log.others,
            }),
        }
    }

    fn pg_restore(&self, lists: &PrivateDir, ids: Option<&[i32]>) -> Result<Command> {
        let mut command = self
            .connection
            .command(self.client.tool("pg_restore"))
            .args(["--format=custom", "--no-password", "--dbname"])
            .arg(self.connection.conninfo(&self.target.database)?)
            .item(format!("{}/{}", self.manifest.source, self.manifest.item))
            .cancel(self.cancel);
        let options = [
            (self.options.definitions, "--schema-only"),
            (self.options.no_owner, "--no-owner"),
            (self.options.no_tablespaces, "--no-tablespaces"),
            (self.options.no_privileges, "--no-privileges"),
        ];
        for (_, option) in options.iter().filter(|(wanted, _)| *wanted) {
            command = command.arg(option);
        }
        if let Some(ids) = ids {
            let list: String = ids.iter().map(|id| format!("{id};\n")).collect();
            command = command.arg("--use-list").arg(lists.file("list", list.as_bytes())?);
        }
        Ok(command)
    }

    fn dump_bytes(&self) -> u64 {
        self.manifest.files.iter().filter(|file| file.path == DUMP).map(|file| file.bytes).sum()
    }

    /// The search path of a session in the original: the database's setting or the default, followed by all other schemas.
    pub(super) fn usual_search_path(&self, entries: &[TocEntry]) -> String {
        let database = self.detail.database.as_ref();
        let own = database
            .and_then(|database| {
                database.settings.iter().find(|s| s.role.is_none() && s.name == "search_path")
            })
            .map(|setting| setting.value.trim().to_owned())
            .filter(|value| !value.is_empty());
        let mut path = own.unwrap_or_else(|| "\"$user\", public".to_owned());
        let schemas: BTreeSet<&str> = entries
            .iter()
            .filter_map(|entry| entry.namespace.as_deref())
            .filter(|n| *n != "public")
            .collect();
        for schema in schemas {
            path.push_str(", ");
            path.push_str(&quote_ident(schema));
        }
        path
    }
}

/// The statement that sets it, as written in archives.
pub(super) fn set_search_path(path: &str) -> String {
    format!("SELECT pg_catalog.set_config('search_path', {}, false);\n", quote_literal(path))
}

/// Collects the messages of `pg_restore --verbose` about failed entries. No other code parses them.
#[derive(Debug, Default)]
struct Log {
    current: Option<i32>,
    failed: BTreeMap<i32, String>,
    others: Vec<String>,
    /// Whether it processed the whole list.
    whole: bool,
}

impl Log {
    fn hear(&mut self, line: &str) {
        let Some(text) = line.strip_prefix("pg_restore: ") else { return };
        // The second form is that of versions before 12.
        let entry = ["from TOC entry ", "[archiver (db)] Error from TOC entry "]
            .iter()
            .find_map(|start| text.strip_prefix(start))
            .and_then(|rest| rest.split_once(';')?.0.trim().parse().ok());
        if let Some(id) = entry {
            self.current = Some(id);
            self.failed.entry(id).or_default();
        } else if text.starts_with("warning: errors ignored on restore")
            || text.starts_with("WARNING: errors ignored")
        {
            self.whole = true;
        } else if let Some(reason) =
            text.strip_prefix("error: ").or_else(|| text.strip_prefix("[archiver (db)] "))
        {
            self.reason(reason);
        }
    }

    fn reason(&mut self, reason: &str) {
        match self.current.and_then(|id| self.failed.get_mut(&id)) {
            Some(said) if said.is_empty() => reason.clone_into(said),
            Some(_) => {}
            None if self.others.len() < OTHERS => self.others.push(reason.to_owned()),
            None => {}
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn entries_that_failed_are_read_from_what_pg_restore_says() {
        let said = "pg_restore: connecting to database for restore\n\
            pg_restore: creating TABLE \"public.from TOC entry 7;\"\n\
            pg_restore: while PROCESSING TOC:\n\
            pg_restore: from TOC entry 3360; 0 16392 TABLE DATA a1 postgres\n\
            pg_restore: error: COPY failed for table \"a1\": ERROR:  relation \"lim\" does not exist\n\
            LINE 1: $1 <= (select max(m) from lim)\n\
            CONTEXT:  pg_restore: from TOC entry 8;\n\
            pg_restore: creating INDEX \"public.fi\"\n\
            pg_restore: from TOC entry 3214; 1259 16396 INDEX fi postgres\n\
            pg_restore: error: could not execute query: ERROR:  function g(integer) does not exist\n\
            pg_restore: error: could not execute query: ERROR:  another\n";
        let mut log = Log::default();
        said.lines().for_each(|line| log.hear(line));
        assert!(!log.whole, "it ended before its end");
        log.hear("pg_restore: warning: errors ignored on restore: 2");
        assert!(log.whole);
        let failed: Vec<_> = log.failed.into_iter().collect();
        assert_eq!(failed.len(), 2);
        assert_eq!(failed[0].0, 3214);
        assert_eq!(failed[0].1, "could not execute query: ERROR:  function g(integer) does not exist");
        assert!(failed[1].1.starts_with("COPY failed for table"));
    }

    #[test]
    fn errors_of_no_entry_are_kept_apart() {
        let mut log = Log::default();
        (0..20).for_each(|n| log.hear(&format!("pg_restore: error: could not execute query: {n}")));
        assert!(log.failed.is_empty());
        assert_eq!(log.others.len(), OTHERS);
    }

    #[test]
    fn the_search_path_is_one_literal() {
        assert_eq!(
            set_search_path("\"$user\", public, \"it's\""),
            "SELECT pg_catalog.set_config('search_path', '\"$user\", public, \"it''s\"', false);\n"
        );
    }
}
