//! One process of `pg_restore`, fed directly from the repository.

use std::{fs::File, sync::Arc, time::Duration};

use parking_lot::Mutex;
use rustix::fs::{MemfdFlags, memfd_create};

use super::{Restore, Target, feed::Feed, filled::Filled, log::Log};
use crate::{
    error::{Error, Result},
    source::{
        postgres::{archive::WithSearchPath, clients::Client, connect::Connection, psql::Psql},
        restore::Options,
    },
    stream::{
        cancel::Cancel,
        child::{Command, into_error, run_capture},
        private::PrivateDir,
    },
};

pub(super) const GOES_ON: &str = "--continue restores everything else, and lists what is missing";
/// `pg_restore` writes nothing to stdout when it restores into a database.
const OUTPUT: usize = 64 << 10;

/// What one process restores.
#[derive(Default)]
pub(super) struct Part<'a> {
    /// The numbers of the entries in the order of the archive; all if absent.
    pub(super) ids: Option<&'a [i32]>,
    /// Replaces the beginning of the dump.
    pub(super) head: Option<&'a [u8]>,
    /// Replaces the statement that sets the search path.
    pub(super) search_path: Option<&'a str>,
}

impl<'a> Part<'a> {
    /// These entries, or all.
    pub(super) fn of(ids: Option<&'a [i32]>) -> Self {
        Self { ids, ..Self::default() }
    }
}

/// How `pg_restore` is started for the target of a restore.
pub(super) struct Process<'a> {
    item: String,
    options: &'a Options,
    client: &'a Client,
    connection: &'a Connection,
    target: &'a Target,
}

impl Restore<'_> {
    /// How its processes are started.
    pub(super) fn process(&self) -> Process<'_> {
        Process {
            item: format!("{}/{}", self.manifest.source, self.manifest.item),
            options: self.options,
            client: self.client,
            connection: &self.connection,
            target: self.target,
        }
    }
}

impl Process<'_> {
    /// Restores a part; the first error ends it.
    pub(super) fn strictly(&self, feed: &Feed<'_>, part: &Part<'_>, cancel: &Cancel) -> Result<()> {
        let lists = PrivateDir::new()?;
        let mut input = self.pg_restore(&lists, part.ids, cancel)?.arg("--exit-on-error").spawn_input()?;
        let copied = feed.copy(self.needs_data_of(part), part.head, &mut input);
        if (part.ids.is_some() || self.options.definitions) && input.had_enough() {
            // After the last selected entry it stops reading.
            return Ok(());
        }
        match copied {
            Err(error) if input.has_stopped() => return Err(error.hint(GOES_ON)),
            copied => copied?,
        }
        input.finish().map_err(|error| error.hint(GOES_ON))?;
        Ok(())
    }

    /// Restores what can be restored of a part.
    pub(super) fn tolerantly(&self, feed: &Feed<'_>, part: &Part<'_>, cancel: &Cancel) -> Result<Filled> {
        let lists = PrivateDir::new()?;
        let log = Arc::new(Mutex::new(Log::default()));
        let heard = Arc::clone(&log);
        // Only verbose output says which entry an error belongs to.
        let command = self.pg_restore(&lists, part.ids, cancel)?.arg("--verbose").observe(move |line| {
            heard.lock().hear(line);
        });
        let mut input = command.spawn_input()?;
        let copied = match part.search_path {
            None => feed.copy(self.needs_data_of(part), part.head, &mut input),
            Some(statement) => {
                let mut archive = WithSearchPath::new(&mut input, statement.to_owned());
                let copied = feed.copy(self.needs_data_of(part), part.head, &mut archive);
                let rest = archive.finish();
                copied.and_then(|()| rest.map_err(into_error))
            }
        };
        if !input.has_stopped() {
            // The repository could not be read.
            copied?;
        }
        cancel.check()?;
        let ended = input.end()?;
        let log = std::mem::take(&mut *log.lock());
        match ended {
            // It did not finish, or what it could not restore is not known.
            Some(error) if !log.whole || log.filled.is_empty() => Err(error),
            _ => Ok(log.filled),
        }
    }

    /// Opens a session in the target, to see whether that is possible. It stays in a transaction: a pooler may give the
    /// connection of an idle session to another one.
    pub(super) fn connect(&self, cancel: &Cancel, limit: Duration) -> Result<Psql> {
        let database = &self.target.database;
        let mut session = Psql::connect_within(self.client, self.connection, database, cancel, limit)?;
        session.set_timeout(limit);
        session.execute("BEGIN")?;
        Ok(session)
    }

    /// Whether the target is a scratch server.
    pub(super) fn is_for_scratch(&self) -> bool {
        self.options.scratch
    }

    /// Restores entries without data by several sessions of one process; the first error ends it.
    pub(super) fn by_sessions(
        &self,
        feed: &Feed<'_>,
        ids: &[i32],
        sessions: usize,
        cancel: &Cancel,
    ) -> Result<()> {
        let head = feed.head().unwrap_or_default();
        let Ok(file) = in_memory(head) else {
            return self.strictly(feed, &Part::of(Some(ids)), cancel);
        };
        let lists = PrivateDir::new()?;
        let command = self
            .pg_restore(&lists, Some(ids), cancel)?
            .arg("--exit-on-error")
            .args(["--jobs", &sessions.to_string()])
            // From a pipe it restores by one session only.
            .arg("/proc/self/fd/0")
            .input(file);
        run_capture(command, OUTPUT).map(drop).map_err(|error| error.hint(GOES_ON))
    }

    /// The entries whose data is read; without rows, none.
    fn needs_data_of<'p>(&self, part: &Part<'p>) -> Option<&'p [i32]> {
        if self.options.definitions { Some(&[]) } else { part.ids }
    }

    fn pg_restore(&self, lists: &PrivateDir, ids: Option<&[i32]>, cancel: &Cancel) -> Result<Command> {
        let mut command = self
            .connection
            .command(self.client.tool("pg_restore"))
            .args(["--format=custom", "--no-password", "--dbname"])
            .arg(self.connection.conninfo(&self.target.database)?)
            .item(self.item.as_str())
            .cancel(cancel);
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
}

/// A file with this content that exists in memory only: definitions may contain passwords.
fn in_memory(content: &[u8]) -> Result<File> {
    let file =
        memfd_create("tik-backup-definitions", MemfdFlags::CLOEXEC).map(File::from).and_then(|mut file| {
            use std::io::Write;
            file.write_all(content).map(|()| file).map_err(|_| rustix::io::Errno::IO)
        });
    file.map_err(|error| Error::failed("cannot keep the definitions of a dump in memory").because(&error))
}
