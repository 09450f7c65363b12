//! Proving databases and roles of a PostgreSQL server.

pub(crate) mod definitions;
mod globals;
mod needs;
mod prepared;
mod roles;
mod start;
pub(crate) mod tables;
mod toc;

use std::{path::PathBuf, time::Instant};

pub(super) use self::start::installations;
use self::{needs::Needs, start::version, toc::WithToc};

use super::{
    Detail, Postgres, Role,
    archive::TocEntry,
    clients::Clients,
    compare,
    config::{PostgresConfig, RolePasswords},
    connect::ConnectParams,
    divide::Division,
    lacks,
    psql::{Psql, quote_ident, quote_literal},
    restore::{self, Target},
    scratch::PostgresServer,
};
use crate::{
    error::{Error, Result},
    scratch::ScratchDir,
    settings::{DrillConfig, Host},
    source::{
        Item, Source,
        manifest::Manifest,
        restore::Options,
        verify::{
            Database, Fault, Globals, Prepared, Proof, Proven, ScratchServer, Setup, Verifier,
            compare::shown, inflict, of_restore, require_digested, require_understood, scratch_server,
            scratch_source, sink::NullSink,
        },
    },
    stream::{cancel::Cancel, sink::Sink},
};

/// The database from which others are created and dropped.
const MAINTENANCE: &str = "tik_backup_drill_maintenance";

/// A scratch server with the roles of the source.
struct Scratch {
    // The server must stop before its directory is removed: fields are dropped in this order.
    server: PostgresServer,
    clients: Clients,
    params: ConnectParams,
    /// It as a source, to be read as a backup would.
    source: Postgres,
    ours: String,
    first_role: String,
    _dir: ScratchDir,
}

/// A scratch server as a source, with the account of the drill.
fn source(server: &PostgresServer, ours: &str, role_passwords: RolePasswords) -> Result<Postgres> {
    let host = Host::Socket(server.socket_dir());
    let config = PostgresConfig {
        server: scratch_server(host, server.port(), ours, vec![server.client().dir.clone()]),
        maintenance_db: MAINTENANCE.to_owned(),
        include_system: true,
        role_passwords,
    };
    Postgres::new(&scratch_source(), &config)
}

/// Drops a database if it exists.
fn drop_database(session: &mut Psql, name: &str) -> Result<(), Fault> {
    // A template cannot be dropped.
    session.execute(&format!(
        "UPDATE pg_catalog.pg_database SET datistemplate = false WHERE datname = {}",
        quote_literal(name)
    ))?;
    session.execute(&format!("DROP DATABASE IF EXISTS {}", quote_ident(name)))?;
    Ok(())
}

/// Scratch servers of PostgreSQL.
pub(super) struct ScratchServers;

impl Verifier for ScratchServers {
    fn server_key(&self, setup: &Setup<'_>, manifest: &Manifest) -> Result<String, Fault> {
        let needs = Needs::of(manifest, setup.drill.jobs);
        Ok(format!("{} {}", version(manifest)?, needs.key()))
    }

    fn has_globals(&self) -> bool {
        true
    }

    fn prepare(&self, drill: &DrillConfig, client_dirs: &[PathBuf], cancel: &Cancel) -> Option<Prepared> {
        start::prepare(drill, client_dirs, cancel)
    }

    fn start(
        &self,
        setup: &Setup<'_>,
        manifest: &Manifest,
        globals: Option<&Globals<'_>>,
    ) -> Result<Box<dyn ScratchServer>, Fault> {
        let needs = Needs::of(manifest, setup.drill.jobs);
        let started = version(manifest)
            .map_err(Fault::from)
            .and_then(|major| Scratch::start(setup, major, &needs, globals));
        Ok(Box::new(started.map_err(|fault| fault.judged(lacks::said))?))
    }
}

impl ScratchServer for Scratch {
    fn globals(&self, setup: &Setup<'_>, globals: &Globals<'_>, damage: Option<&str>) -> Proven {
        let end = self.server.log_end();
        self.roles(setup, globals, damage).map_err(|fault| {
            lacks::by_state(fault.judged(lacks::said), &self.server.refused_since(end), None)
        })
    }

    fn stand_ins(&self, setup: &Setup<'_>, globals: &Globals<'_>) -> Result<(), Fault> {
        self.name_roles(setup, globals).map_err(|fault| fault.judged(lacks::said))
    }

    fn database(&self, setup: &Setup<'_>, database: &Database<'_>) -> Proven {
        self.prove(setup, database).map_err(|fault| fault.judged(lacks::said))
    }

    fn is_dead(&self) -> bool {
        self.server.is_dead()
    }

    fn death(&mut self) -> Option<Error> {
        self.server.death()
    }

    fn unconfined(&self) -> &[String] {
        self.server.unconfined()
    }
}

/// The roles that go with a database.
fn roles_of<'a>(database: &Database<'a>) -> &'a [Role] {
    let detail = database.globals.and_then(|globals| globals.manifest.detail::<Detail>());
    detail.map(|detail| detail.roles.as_slice()).unwrap_or_default()
}

impl Scratch {
    fn prove(&self, setup: &Setup<'_>, of: &Database<'_>) -> Proven {
        require_digested(of.manifest)?;
        let mut session = self.session(setup, MAINTENANCE)?;
        let unlike = self.require_extensions(&mut session, of.manifest)?;
        prepared::require_parameters(&mut session, of.manifest)?;
        drop_database(&mut session, of.name)?;
        drop(session);
        let end = self.server.log_end();
        let proven = self.restore_and_compare(setup, of).map_err(|fault| {
            let refused = self.server.refused_since(end);
            let fault = lacks::by_state(fault.judged(lacks::said), &refused, unlike.as_deref());
            if of.globals.is_none() { lacks::without_globals(fault, &refused) } else { fault }
        });
        // A database that cannot be dropped is removed with the server; this says nothing about the backup.
        let _: Result<(), Fault> = self.drop_database(setup, of.name);
        proven
    }

    fn restore_and_compare(&self, setup: &Setup<'_>, of: &Database<'_>) -> Proven {
        let Database { manifest, files, name, damage, .. } = *of;
        let roles = roles_of(of);
        let begin = Instant::now();
        // Everything is read back below, and more of it is compared.
        let options =
            Options { uncounted: true, scratch: true, jobs: Some(setup.processes), ..Options::default() };
        restore::restore(
            manifest,
            files,
            roles,
            &self.target(name),
            &self.clients,
            &options,
            setup.cancel,
            &|text| setup.notice_about(manifest, text),
        )
        .map_err(of_restore)?;
        let restore = begin.elapsed();
        tracing::debug!(seconds = restore.as_secs_f64(), "the item is restored and is compared");
        inflict(damage, |sql| self.session(setup, name)?.execute(sql).map(drop))?;
        let sink = WithToc::default();
        let mut again = self.read(setup, name, &sink)?;
        require_understood(&again)?;
        again.forget_omitted(manifest);
        let mut notes = Vec::new();
        let compared = tables::compare(manifest, &mut again, files, &mut notes)?;
        let mut differences = compared.differences;
        if let (Some(before), Some(after)) = (manifest.detail::<Detail>(), again.detail::<Detail>()) {
            differences.extend(compare::details(before, after, &mut notes));
            let (stored, restored) = (
                compare::definitions(before.schema_objects.iter()),
                compare::definitions(after.schema_objects.iter()),
            );
            let (missing, other) = compare::compare_definitions(&stored, &restored);
            differences.extend(missing);
            if !other.is_empty() {
                let toc = sink.toc();
                differences.extend(self.definitions(setup, of, &restored, &other, &toc)?);
            }
        }
        let proof = Proof::of(manifest, restore, notes).unless(differences)?;
        if compared.unclear.is_empty() { Ok(proof) } else { Err(prepared::unclear(&compared.unclear)) }
    }

    /// Servers write some definitions differently after a reload (a check on a list of words, for example). To see whether
    /// that is the only difference, the stored definitions are loaded once more, without rows, and read back.
    fn definitions(
        &self,
        setup: &Setup<'_>,
        of: &Database<'_>,
        restored: &compare::Definitions,
        other: &[(String, String, String)],
        toc: &[TocEntry],
    ) -> Result<Vec<String>, Fault> {
        let Database { manifest, files, name, .. } = *of;
        let roles = roles_of(of);
        let stored_toc = restore::read_toc(files)?;
        if !definitions::are_recorded(&stored_toc, manifest) {
            return Ok(vec![definitions::NOT_RECORDED.to_owned()]);
        }
        let options = Options { definitions: true, scratch: true, ..Options::default() };
        // It replaces the first one, which has been read: some extensions can only be in the database of that name.
        self.drop_database(setup, name)?;
        let loaded = restore::restore(
            manifest,
            files,
            roles,
            &self.target(name),
            &self.clients,
            &options,
            setup.cancel,
            &|_| {},
        );
        loaded.map_err(of_restore)?;
        let canonical = self.dump(setup, name, true, &NullSink::default())?;
        let canonical = canonical
            .into_detail::<Detail>()
            .map(|d| compare::definitions(d.schema_objects.iter()))
            .unwrap_or_default();
        Ok(other
            .iter()
            .filter(|what| canonical.get(*what) != restored.get(*what))
            .map(|what| {
                format!(
                    "{} is defined otherwise than it was{}",
                    shown(what),
                    definitions::diff(what, &stored_toc, toc)
                )
            })
            .collect())
    }

    fn target(&self, database: &str) -> Target {
        Target {
            params: self.params.clone(),
            database: database.to_owned(),
            maintenance_db: MAINTENANCE.to_owned(),
        }
    }

    fn session(&self, setup: &Setup<'_>, database: &str) -> Result<Psql> {
        let client = self.server.client();
        Psql::connect(client, &self.params.prepare(client.major)?, database, setup.cancel)
    }

    fn drop_database(&self, setup: &Setup<'_>, name: &str) -> Result<(), Fault> {
        drop_database(&mut self.session(setup, MAINTENANCE)?, name)
    }

    /// Reads a database or the roles as a backup would.
    fn dump(&self, setup: &Setup<'_>, item: &str, passwords: bool, sink: &dyn Sink) -> Result<Manifest> {
        let item = Item { name: item.to_owned(), estimate: None, problem: None };
        if passwords {
            return self.source.dump(&item, sink, setup.cancel);
        }
        source(&self.server, &self.ours, RolePasswords::Never)?.dump(&item, sink, setup.cancel)
    }

    /// Reads a database as a backup would, by several processes if it is large.
    fn read(&self, setup: &Setup<'_>, name: &str, sink: &dyn Sink) -> Result<Manifest> {
        let division = Division { processes: setup.processes, eager: setup.eager };
        match self.source.read(name, division, sink, setup.cancel) {
            Err(error) if self.is_worth_another_try(setup) => {
                tracing::warn!(%error, "the database is read again by a single process");
                self.source.read(name, Division::NONE, sink, setup.cancel)
            }
            read => read,
        }
    }

    /// Whether a single process may succeed where several failed. A self-test shows the failure instead.
    fn is_worth_another_try(&self, setup: &Setup<'_>) -> bool {
        setup.processes > 1 && !setup.eager && !setup.cancel.is_cancelled() && !self.server.is_dead()
    }
}
