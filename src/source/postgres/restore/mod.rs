//! Restoring a database: a new or empty database like the original, `pg_restore` fed directly from the repository, and
//! afterwards a comparison of row counts with the manifest.

mod announce;
mod feed;
mod fill;
mod filled;
mod into;
mod log;
mod missing;
mod parallel;
mod partitions;
mod plan;
mod preflight;
mod present;
mod process;
mod properties;
mod read_back;
mod roles;
mod select;
mod target;
mod verify;

use std::{io, io::Write};

pub(in crate::source) use into::{by_url, on_own_server};
pub use target::{Target, parse_url};

use self::{preflight::TargetServer, select::Selection};
use super::{
    DUMP, Detail, GLOBALS_SQL, Role,
    archive::{ArchiveReader, ArchiveSummary, TocEntry},
    clients::{Client, Clients, major_of},
    connect::{ConnectParams, Connection},
    psql::{Psql, quote_ident, quote_literal},
};
use crate::{
    error::{Error, Result},
    source::{
        manifest::{Digested, Manifest},
        restore::{Options, Restored},
    },
    stream::{cancel::Cancel, files::Files},
};

/// The context of a restore.
pub(super) struct Restore<'a> {
    manifest: &'a Manifest,
    detail: &'a Detail,
    options: &'a Options,
    client: &'a Client,
    connection: Connection,
    target: &'a Target,
    cancel: &'a Cancel,
    notice: &'a dyn Fn(&str),
}

/// Restores a database from `files` into `target`. `roles` are those of the `@globals` snapshot that goes with it.
#[allow(clippy::too_many_arguments)] // as the restores of the other kinds, and `roles`
pub fn restore(
    manifest: &Manifest,
    files: &dyn Files,
    roles: &[Role],
    target: &Target,
    clients: &Clients,
    options: &Options,
    cancel: &Cancel,
    notice: &dyn Fn(&str),
) -> Result<Restored> {
    let detail = manifest.detail::<Detail>().filter(|detail| detail.database.is_some()).ok_or_else(|| {
        Error::usage("this snapshot contains no PostgreSQL database")
            .hint(format!("for roles use --to DIR and feed {GLOBALS_SQL} to psql"))
    })?;
    let mut session = maintenance(target, clients, cancel)?;
    let server = preflight::ask(&mut session)?;
    preflight::require_writable(&server)?;
    let client = choose_client(clients, manifest, server.major)?;
    let connection = server.params(&target.params).prepare(client.major)?;
    let restore = Restore { manifest, detail, options, client, connection, target, cancel, notice };

    let toc = read_toc(files)?;
    let present = restore.check_target_first(&mut session)?;
    let selection = restore.select(&toc, &server, &present)?;
    let mut done =
        Restored { database: target.database.clone(), notes: selection.notes.clone(), ..Restored::default() };
    let missing = if options.no_roles || (options.no_owner && options.no_privileges) {
        Vec::new()
    } else {
        roles::missing(&mut session, roles, &selection.entries, detail, &server)?
    };
    restore.require_owners(&mut session, &selection, &missing, &server)?;
    restore.require_tablespaces(&mut session, &selection)?;
    restore.announce(&mut session, &selection)?;
    done.roles_created = roles::create(&mut session, &missing, &server, &mut done.notes)?;
    done.created = restore.create_database(&mut session, &server, &mut done.notes)?;
    match restore.content(files, &selection, &mut session, &server, &mut done) {
        Ok(()) => Ok(done),
        Err(error) => Err(Options::incomplete(error, &target.database, done.created)),
    }
}

impl Restore<'_> {
    /// The content of the database, its properties, and the list of missing objects.
    fn content(
        &self,
        files: &dyn Files,
        selection: &Selection,
        session: &mut Psql,
        server: &TargetServer,
        done: &mut Restored,
    ) -> Result<()> {
        self.create_schema()?;
        let filled = self.fill(files, selection, server)?;
        done.bytes = filled.bytes;
        done.notes.extend(filled.others.iter().map(|error| format!("pg_restore: {error}")));
        if self.options.definitions {
            return Ok(());
        }
        done.missing = missing::list(selection, &filled.failed);
        done.keep(selection.selected(&filled.failed));
        let mut rest =
            if self.options.uncounted { Ok(()) } else { self.verify(selection, &filled.failed, done) };
        if rest.is_ok() && self.options.table.is_none() {
            // Last: a connection limit could block this session.
            rest = self.database_properties(session, server, &mut done.notes);
        }
        if !done.missing.is_empty() {
            // The list helps whatever else went wrong.
            self.write_missing(selection, &filled.failed, done);
        }
        rest.map_err(|error| match &done.missing_file {
            Some(file) => error.hint(format!("what else is missing is listed in {}", file.display())),
            None => error,
        })
    }
}

/// The connection settings for the target, with event triggers disabled.
pub(crate) fn quiet_params(target: &Target, clients: &Clients, cancel: &Cancel) -> Result<ConnectParams> {
    Ok(preflight::ask(&mut maintenance(target, clients, cancel)?)?.params(&target.params))
}

/// Drops the database of the target. Subscriptions in it, which would keep it, go first: they were restored disabled and
/// without a slot.
pub(crate) fn drop_database(target: &Target, clients: &Clients, cancel: &Cancel) -> Result<()> {
    #[derive(serde::Deserialize)]
    struct Found {
        name: String,
    }
    let mut session = maintenance(target, clients, cancel)?;
    let literal = quote_literal(&target.database);
    let there: Vec<Found> = session
        .query(&format!("SELECT datname AS name FROM pg_catalog.pg_database WHERE datname = {literal}"))?;
    if there.is_empty() {
        return Ok(());
    }
    let subscriptions: Vec<Found> = session.query(&format!(
        "SELECT s.subname AS name FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = s.subdbid \
         WHERE d.datname = {literal}"
    ))?;
    if !subscriptions.is_empty() {
        let newest = clients.newest()?;
        let connection = target.params.prepare(newest.major)?;
        let mut inside = Psql::connect(newest, &connection, &target.database, cancel)?;
        for subscription in subscriptions {
            let name = quote_ident(&subscription.name);
            inside.execute(&format!("ALTER SUBSCRIPTION {name} SET (slot_name = NONE)"))?;
            inside.execute(&format!("DROP SUBSCRIPTION {name}"))?;
        }
    }
    session.execute(&format!("DROP DATABASE {}", quote_ident(&target.database)))
}

/// A session in the database from which others are created.
fn maintenance(target: &Target, clients: &Clients, cancel: &Cancel) -> Result<Psql> {
    let newest = clients.newest()?;
    Psql::connect(newest, &target.params.prepare(newest.major)?, &target.maintenance_db, cancel)
}

/// The client tools for the restore: able to read the archive, and fit for the server.
fn choose_client<'a>(clients: &'a Clients, manifest: &Manifest, server: u32) -> Result<&'a Client> {
    let made_by = manifest
        .tools
        .iter()
        .find(|t| t.name == "pg_dump")
        .and_then(|t| major_of(&t.version))
        .unwrap_or(server);
    if server < made_by {
        let original = major_of(&manifest.server_version).unwrap_or(made_by);
        return Err(Error::failed(format!(
            "the dump was made with pg_dump {made_by} of a server {original}, the target is PostgreSQL {server}: an \
             older server cannot load a newer dump"
        ))
        .hint(format!("restore into PostgreSQL {made_by} or newer, or take the files with --to DIR")));
    }
    clients.choose(server)
}

/// Reads just the table of contents of the dump.
pub(crate) fn read_toc(files: &dyn Files) -> Result<Vec<TocEntry>> {
    struct Head {
        archive: ArchiveReader,
        enough: bool,
    }
    impl Write for Head {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            if self.archive.has_toc() {
                self.enough = true;
                return Err(io::Error::other("the table of contents is complete"));
            }
            self.archive.feed(data);
            Ok(data.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut head = Head { archive: ArchiveReader::new(), enough: false };
    let copied = files.copy(DUMP, &mut head);
    if !head.enough {
        copied?;
    }
    let ArchiveSummary { toc, undigested, .. } = head.archive.finish();
    if toc.is_empty() {
        return Err(Error::failed("the dump's table of contents cannot be read")
            .because_text(undigested.unwrap_or_default())
            .hint("take the files with --to DIR and restore them with pg_restore"));
    }
    Ok(toc)
}

/// May the rows be compared with the manifest?
fn countable(manifest: &Manifest) -> bool {
    manifest.digested == Digested::Yes
}
