//! Putting a database back: a new or empty database like the original, `pg_restore` fed straight from the repository,
//! and afterwards the rows counted and compared with the manifest.

mod partitions;
mod preflight;
mod roles;
mod target;
mod verify;

use std::{collections::BTreeSet, io, io::Write};

pub use target::{Target, parse_url};

use super::{
    DUMP, Detail, GLOBALS_SQL, Role,
    archive::{ArchiveReader, ArchiveSummary, TocEntry, entries_for_table, left_out_for_table},
    clients::{Client, Clients, major_of},
    connect::Connection,
    psql::Psql,
};
use crate::{
    error::{Error, Result},
    source::{
        Files,
        manifest::{Digested, Manifest},
        restore::{Options, Restored, incomplete},
    },
    stream::{cancel::Cancel, private::PrivateDir},
};

/// What a restore works with.
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
#[allow(clippy::too_many_arguments)]
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
    let detail = manifest.postgres.as_ref().filter(|detail| detail.database.is_some()).ok_or_else(|| {
        Error::usage("this snapshot holds no PostgreSQL database")
            .hint(format!("for roles use --to DIR and feed {GLOBALS_SQL} to psql"))
    })?;
    let newest = clients.newest()?;
    let mut session =
        Psql::connect(newest, &target.params.prepare(newest.major)?, &target.maintenance_db, cancel)?;
    let server = preflight::ask(&mut session)?;
    let client = choose_client(clients, manifest, server.major)?;
    let connection = target.params.prepare(client.major)?;
    let restore = Restore { manifest, detail, options, client, connection, target, cancel, notice };

    let toc = read_toc(files)?;
    let selection = restore.select(&toc, &server)?;
    let mut done = Restored { database: target.database.clone(), ..Restored::default() };
    restore.check_target_first(&mut session)?;
    let missing = if options.no_roles || (options.no_owner && options.no_privileges) {
        Vec::new()
    } else {
        roles::missing(&mut session, roles, &selection.entries, detail, &server)?
    };
    restore.require_owners(&mut session, &selection, &missing, &server)?;
    restore.require_tablespaces(&mut session, &selection)?;
    done.notes.clone_from(&selection.notes);
    done.roles_created = roles::create(&mut session, &missing, &server)?;
    done.created = restore.create_database(&mut session, &server)?;
    let filled = restore
        .create_schema()
        .and_then(|()| restore.fill(files, &selection))
        .and_then(|bytes| {
            done.bytes = bytes;
            if options.definitions {
                return Ok(());
            }
            restore.verify(&selection, &mut done)?;
            if options.table.is_none() {
                // Last: a limit of connections would keep us out.
                restore.database_properties(&mut session, &server, &mut done.notes)?;
            }
            Ok(())
        })
        .map_err(|error| incomplete(error, &target.database, done.created));
    filled.map(|()| done)
}

/// The part of an archive that is restored.
pub(super) struct Selection {
    entries: Vec<TocEntry>,
    /// The ids, if it is not all.
    ids: Option<Vec<i32>>,
    /// What is left out although nobody asked for that, because it cannot matter.
    notes: Vec<String>,
}

impl Restore<'_> {
    fn select(&self, toc: &[TocEntry], server: &preflight::TargetServer) -> Result<Selection> {
        let mut ids: Option<BTreeSet<i32>> = None;
        if let Some(table) = &self.options.table {
            let (schema, name) = table.split_once('.').unwrap_or(("public", table));
            let chosen = entries_for_table(toc, schema, name);
            if chosen.is_empty() {
                return Err(Error::usage(format!("the snapshot has no table {schema}.{name}"))
                    .hint("write it as schema.name, in the case in which it was created"));
            }
            let left_out = left_out_for_table(toc, &chosen);
            for entry in toc.iter().filter(|e| left_out.dropped.contains(&e.dump_id)) {
                (self.notice)(&format!("not restored with the table: {}", preflight::describe(entry)));
            }
            for entry in toc.iter().filter(|e| left_out.needed.contains(&e.dump_id) && e.desc != "SCHEMA") {
                (self.notice)(&format!(
                    "the table needs, and the target must have: {}",
                    preflight::describe(entry)
                ));
            }
            ids = Some(chosen.into_iter().collect());
        }
        let is_chosen = |id: i32| ids.as_ref().is_none_or(|ids| ids.contains(&id));
        let mut chosen: Vec<TocEntry> = toc.iter().filter(|e| is_chosen(e.dump_id)).cloned().collect();
        if ids.is_some() {
            partitions::require_roots(&chosen)?;
        }
        let mut notes = Vec::new();
        if !server.superuser && chosen.iter().any(preflight::is_extension_comment) {
            // It comes with the extension itself; only a superuser can set it again.
            chosen.retain(|entry| !preflight::is_extension_comment(entry));
            notes.push(
                "comments on extensions are those of the installed version: only a superuser can set them"
                    .to_owned(),
            );
        }
        let (blocked, dependent) =
            if server.superuser { Default::default() } else { preflight::superuser_only(&chosen, server) };
        if blocked.is_empty() {
            // In the order of the archive, which pg_restore follows and a pipe cannot be read otherwise.
            let partial = ids.is_some() || !notes.is_empty();
            let ids = partial.then(|| chosen.iter().map(|entry| entry.dump_id).collect());
            return Ok(Selection { entries: chosen, ids, notes });
        }
        let list: Vec<_> = blocked.iter().map(|entry| preflight::describe(entry)).collect();
        if !self.options.skip_superuser {
            return Err(Error::failed(format!(
                "the account {} is no superuser and cannot restore: {}",
                server.account,
                list.join("; ")
            ))
            .hint("nothing was changed; leave these out with --skip-superuser-objects, or use a superuser"));
        }
        list.iter()
            .for_each(|what| (self.notice)(&format!("left out, only a superuser can restore it: {what}")));
        for entry in &dependent {
            (self.notice)(&format!("left out, it needs what is left out: {}", preflight::describe(entry)));
        }
        let blocked: BTreeSet<i32> = blocked.iter().chain(&dependent).map(|entry| entry.dump_id).collect();
        let entries: Vec<_> = chosen.into_iter().filter(|e| !blocked.contains(&e.dump_id)).collect();
        let ids = entries.iter().map(|entry| entry.dump_id).collect();
        Ok(Selection { entries, ids: Some(ids), notes })
    }

    /// Feeds `pg_restore` from the repository.
    fn fill(&self, files: &dyn Files, selection: &Selection) -> Result<u64> {
        let mut command = self
            .connection
            .command(self.client.tool("pg_restore"))
            .args(["--format=custom", "--exit-on-error", "--no-password", "--dbname"])
            .arg(self.connection.conninfo(&self.target.database)?)
            .item(format!("{}/{}", self.manifest.source, self.manifest.item))
            .cancel(self.cancel);
        if self.options.definitions {
            command = command.arg("--schema-only");
        }
        if self.options.no_owner {
            command = command.arg("--no-owner");
        }
        if self.options.no_tablespaces {
            command = command.arg("--no-tablespaces");
        }
        if self.options.no_privileges {
            command = command.arg("--no-privileges");
        }
        let lists = PrivateDir::new()?;
        if let Some(ids) = &selection.ids {
            let list: String = ids.iter().map(|id| format!("{id};\n")).collect();
            command = command.arg("--use-list").arg(lists.file("list", list.as_bytes())?);
        }
        let mut input = command.spawn_input()?;
        let copied = files.copy(DUMP, &mut input);
        if (selection.ids.is_some() || self.options.definitions) && input.had_enough() {
            // After the last entry of the list, or the last definition, it reads no further.
            return Ok(self
                .manifest
                .files
                .iter()
                .filter(|file| file.path == DUMP)
                .map(|file| file.bytes)
                .sum());
        }
        let bytes = copied?;
        input.finish()?;
        Ok(bytes)
    }
}

/// The tools to restore with: able to read the archive, not newer than the server understands.
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
