//! Proving databases and roles of a PostgreSQL server.

pub(crate) mod definitions;
mod globals;
mod needs;
mod prepared;
mod roles;
pub(crate) mod tables;
mod toc;

use std::{collections::BTreeMap, path::PathBuf, time::Instant};

use self::{needs::Needs, toc::WithToc};

use super::{
    Detail, Postgres, Role,
    archive::TocEntry,
    clients::{Client, Clients, major_of},
    compare,
    config::{PostgresConfig, RolePasswords},
    connect::ConnectParams,
    lacks,
    psql::{Psql, quote_ident},
    restore::{self, Target},
    scratch::{PostgresServer, SERVER_TOOLS},
};
use crate::{
    error::{Error, Result},
    scratch::{Rules, ScratchDir},
    settings::Host,
    source::{
        Item, Source,
        manifest::Manifest,
        restore::Options,
        verify::{
            Database, Fault, Globals, Proof, Proven, ScratchServer, Setup, Verifier, compare::shown,
            free_name, inflict, of_restore, require_digested, require_understood, scratch_server,
            scratch_source, sink::NullSink,
        },
    },
    stream::sink::Sink,
};

/// The database from which others are created and dropped.
const MAINTENANCE: &str = "tik_backup_drill_maintenance";

/// A scratch server with the roles of the source.
struct Scratch {
    // The server must stop before its directory is removed: fields are dropped in this order.
    server: PostgresServer,
    clients: Clients,
    params: ConnectParams,
    ours: String,
    first_role: String,
    _dir: ScratchDir,
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

/// The PostgreSQL version that a snapshot needs.
fn version(manifest: &Manifest) -> Result<u32> {
    let dumped_by = manifest.tools.iter().filter_map(|tool| major_of(&tool.version)).max();
    let server = major_of(&manifest.server_version);
    server
        .max(dumped_by)
        .ok_or_else(|| Error::failed("the manifest does not contain the version of the server"))
}

/// The installation that has a server of this version: in the configured directories, or where it usually is.
fn installation(dirs: &[PathBuf], major: u32) -> Result<Client> {
    let all = installations(dirs);
    if let Some(client) = all.iter().find(|client| client.major == major) {
        return Ok(client.clone());
    }
    let others: Vec<_> =
        all.iter().map(|client| format!("{} in {}", client.major, client.dir.display())).collect();
    let error = Error::failed(format!(
        "no server of PostgreSQL {major} (initdb, postgres) is installed on this machine"
    ));
    let error = if others.is_empty() {
        error
    } else {
        error.because_text(format!("there are only others: {}", others.join(", ")))
    };
    Err(error.hint(format!(
        "install `postgresql-{major}` (Debian) or `pkgs.postgresql_{major}` (NixOS), or name its directory in \
         `drill.server_dirs`"
    )))
}

/// All installations that have a server.
pub(super) fn installations(dirs: &[PathBuf]) -> Vec<Client> {
    let named = if dirs.is_empty() { Vec::new() } else { Clients::find(dirs).all().to_vec() };
    let usual = Clients::find(&[]);
    named.into_iter().chain(usual.all().iter().cloned()).filter(|client| client.has(&SERVER_TOOLS)).collect()
}

impl Scratch {
    /// Starts an empty server of this version, with a superuser for the drill.
    fn start(
        setup: &Setup<'_>,
        major: u32,
        needs: &Needs,
        globals: Option<&Globals<'_>>,
    ) -> Result<Self, Fault> {
        let client = installation(&setup.dirs(), major).map_err(Fault::Cannot)?;
        let clients = Clients::find(std::slice::from_ref(&client.dir));
        let detail = globals.and_then(|globals| globals.manifest.detail::<Detail>());
        let known = detail.map(|detail| detail.roles.as_slice()).unwrap_or_default();
        // If it cannot be read, the proof of the roles fails; databases can be tried all the same.
        let script = globals.and_then(|globals| globals::text(globals.files).ok()).unwrap_or_default();
        let first_role = roles::first_role(detail.and_then(|d| d.first_role.as_deref()), known, &script);
        let ours = free_name(known.iter().map(|role| role.name.as_str()).chain([first_role.as_str()]));
        let (settings, lacking) = needs.settings(&client, &setup.drill.postgres_settings);
        if !lacking.is_empty() {
            (setup.notice)(&format!(
                "the source's server loads libraries that PostgreSQL {major} does not have on this machine, and the scratch \
                 server does without: {}",
                lacking.join(", ")
            ));
        }
        let (dir, server) = Self::server(setup, &client, &first_role, settings)?;
        let mut session = server.session("postgres", setup.cancel)?;
        session.execute(&format!("CREATE ROLE {} SUPERUSER LOGIN", quote_ident(&ours)))?;
        session.execute(&format!("CREATE DATABASE {MAINTENANCE}"))?;
        drop(session);
        let params = ConnectParams { user: Some(ours.clone()), ..server.params() };
        Ok(Self { server, clients, params, ours, first_role, _dir: dir })
    }

    /// Starts the server. If it does not start with the source's libraries, it is started without them: most dumps can be
    /// loaded all the same.
    fn server(
        setup: &Setup<'_>,
        client: &Client,
        first_role: &str,
        mut settings: BTreeMap<String, String>,
    ) -> Result<(ScratchDir, PostgresServer), Fault> {
        let rules = Rules::of(setup.drill);
        let start = |settings: &BTreeMap<String, String>| -> Result<(ScratchDir, PostgresServer)> {
            let dir = ScratchDir::new(setup.drill.dir.as_deref())?;
            let server = PostgresServer::start_with(
                client,
                dir.path(),
                first_role,
                settings.clone(),
                &rules,
                setup.cancel,
            )
            .map_err(|error| error.context("a scratch server cannot be started"))?;
            Ok((dir, server))
        };
        let error = match start(&settings) {
            Ok(started) => return Ok(started),
            Err(error) => error,
        };
        let configured = &setup.drill.postgres_settings;
        let before = settings.len();
        settings.retain(|name, _| !name.ends_with("_preload_libraries") || configured.contains_key(name));
        if settings.len() == before || setup.cancel.is_cancelled() {
            return Err(Fault::Cannot(error));
        }
        (setup.notice)(&format!(
            "starting the scratch server without the libraries that the source's server loads: {error}"
        ));
        start(&settings).map_err(Fault::Cannot)
    }

    fn prove(&self, setup: &Setup<'_>, of: &Database<'_>) -> Proven {
        require_digested(of.manifest)?;
        let unlike = self.require_extensions(setup, of.manifest)?;
        self.require_parameters(setup, of.manifest)?;
        self.drop_database(setup, of.name)?;
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
        let options = Options { scratch: true, ..Options::default() };
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
        let mut again = self.dump(setup, name, true, &sink)?;
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
        let mut session = self.session(setup, MAINTENANCE)?;
        // A template cannot be dropped.
        session.execute(&format!(
            "UPDATE pg_catalog.pg_database SET datistemplate = false WHERE datname = {}",
            crate::source::postgres::psql::quote_literal(name)
        ))?;
        session.execute(&format!("DROP DATABASE IF EXISTS {}", quote_ident(name)))?;
        Ok(())
    }

    /// Reads a database or the roles as a backup would.
    fn dump(&self, setup: &Setup<'_>, item: &str, passwords: bool, sink: &dyn Sink) -> Result<Manifest> {
        let host = Host::Socket(self.server.socket_dir());
        let config = PostgresConfig {
            server: scratch_server(
                host,
                self.server.port(),
                &self.ours,
                vec![self.server.client().dir.clone()],
            ),
            maintenance_db: MAINTENANCE.to_owned(),
            include_system: true,
            role_passwords: if passwords { RolePasswords::Auto } else { RolePasswords::Never },
        };
        let source = scratch_source();
        let item = Item { name: item.to_owned(), estimate: None, problem: None };
        Postgres::new(&source, &config)?.dump(&item, sink, setup.cancel)
    }
}
