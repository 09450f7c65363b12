//! Starting scratch servers.

use std::{collections::BTreeMap, path::PathBuf};

use super::{MAINTENANCE, Scratch, globals, needs::Needs, roles, source};
use crate::{
    error::{Error, Result},
    scratch::{Rules, ScratchDir},
    settings::DrillConfig,
    source::{
        Kind,
        manifest::Manifest,
        postgres::{
            Detail,
            clients::{Client, Clients, major_of},
            config::RolePasswords,
            connect::ConnectParams,
            kind::KIND,
            psql::quote_ident,
            scratch::{PostgresServer, SERVER_TOOLS, SUPERUSER},
        },
        verify::{Fault, Globals, Prepared, Setup, free_name, server_dirs},
    },
    stream::cancel::Cancel,
};

/// Since this version the script of the roles has no settings for single databases.
const SCRIPTS_WITHOUT_DATABASES: u32 = 11;

/// An empty server that does not run yet.
struct Created {
    server: PostgresServer,
    // Removed after the server has stopped.
    dir: ScratchDir,
}

impl Created {
    fn new(drill: &DrillConfig, client: &Client, first_role: &str, cancel: &Cancel) -> Result<Self> {
        let dir = ScratchDir::new(drill.dir.as_deref())?;
        let server = PostgresServer::create(client, dir.path(), first_role, &Rules::of(drill), cancel)?;
        Ok(Self { server, dir })
    }

    fn run(mut self, settings: BTreeMap<String, String>, cancel: &Cancel) -> Result<Self> {
        self.server.run(settings, cancel)?;
        Ok(self)
    }
}

/// The PostgreSQL version that a snapshot needs.
pub(super) fn version(manifest: &Manifest) -> Result<u32> {
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
pub(in crate::source::postgres) fn installations(dirs: &[PathBuf]) -> Vec<Client> {
    let named = if dirs.is_empty() { Vec::new() } else { Clients::find(dirs).all().to_vec() };
    let usual = Clients::find(&[]);
    named.into_iter().chain(usual.all().iter().cloned()).filter(|client| client.has(&SERVER_TOOLS)).collect()
}

/// Creates a server of the only version that is installed here: no other can be needed and be proven.
pub(super) fn prepare(drill: &DrillConfig, client_dirs: &[PathBuf], cancel: &Cancel) -> Option<Prepared> {
    let all = installations(&server_dirs(drill, client_dirs));
    let client = all.first().filter(|first| all.iter().all(|client| client.major == first.major))?;
    match Created::new(drill, client, SUPERUSER, cancel) {
        Ok(created) => Some(Box::new(created)),
        Err(error) => {
            tracing::debug!(%error, "no scratch server was prepared");
            None
        }
    }
}

impl Scratch {
    /// Starts an empty server of this version, with a superuser for the drill.
    pub(super) fn start(
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
        let Created { server, dir } = Self::server(setup, &client, &first_role, settings)?;
        let mut session = server.session("template1", setup.cancel)?;
        session.execute(&format!("CREATE ROLE {} SUPERUSER LOGIN", quote_ident(&ours)))?;
        // Faster than to create one, unless a process of a library is connected to it. The source's own database of that name is
        // created when it is restored.
        let rename = format!("ALTER DATABASE postgres RENAME TO {MAINTENANCE}");
        if major < SCRIPTS_WITHOUT_DATABASES || session.execute(&rename).is_err() {
            session.execute(&format!("CREATE DATABASE {MAINTENANCE} TEMPLATE template0"))?;
        }
        drop(session);
        let params = ConnectParams { user: Some(ours.clone()), ..server.params() };
        let source = source(&server, &ours, RolePasswords::Auto)?;
        Ok(Self { server, clients, params, source, ours, first_role, _dir: dir })
    }

    /// Starts the server. If it does not start with the source's libraries, it is started without them: most dumps can be
    /// loaded all the same.
    fn server(
        setup: &Setup<'_>,
        client: &Client,
        first_role: &str,
        mut settings: BTreeMap<String, String>,
    ) -> Result<Created, Fault> {
        let prepared = setup.ahead.take::<Created>(KIND.name()).filter(|created| {
            created.server.client().dir == client.dir && created.server.superuser() == first_role
        });
        if let Some(prepared) = prepared {
            match prepared.run(settings.clone(), setup.cancel) {
                Ok(started) => return Ok(started),
                // A new one is started, or tells why none can be.
                Err(error) => {
                    tracing::debug!(%error, "the scratch server that was prepared cannot be started")
                }
            }
        }
        let start = |settings: &BTreeMap<String, String>| {
            Created::new(setup.drill, client, first_role, setup.cancel)
                .and_then(|created| created.run(settings.clone(), setup.cancel))
                .map_err(|error| error.context("a scratch server cannot be started"))
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
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{collections::BTreeSet, os::unix::fs::PermissionsExt};

    use super::*;
    use crate::{settings::SandboxRule, source::verify::Ahead};

    #[test]
    fn a_server_that_was_created_in_advance_is_used_if_it_fits() {
        let all = installations(&[]);
        let versions: BTreeSet<u32> = all.iter().map(|client| client.major).collect();
        if versions.len() != 1 {
            return testkit::skip("a single version of PostgreSQL's server");
        }
        let parent = tempfile::Builder::new().prefix("tik-").tempdir_in("/tmp").unwrap();
        std::fs::set_permissions(parent.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let drill = DrillConfig {
            dir: Some(parent.path().to_owned()),
            sandbox: SandboxRule::BestEffort,
            ..DrillConfig::default()
        };
        let cancel = Cancel::new();
        // The directory that was prepared, and the one of the server that starts with this first role.
        let started = |first_role: &str| {
            let prepared = prepare(&drill, &[], &cancel).unwrap().downcast::<Created>().unwrap();
            let path = prepared.dir.path().to_owned();
            let ahead = Ahead::holding(KIND.name(), prepared);
            let setup = Setup {
                drill: &drill,
                client_dirs: Vec::new(),
                processes: 1,
                eager: false,
                ahead: &ahead,
                cancel: &cancel,
                notice: &|_| {},
            };
            let server = Scratch::server(&setup, &all[0], first_role, BTreeMap::new()).unwrap();
            server.server.session("postgres", &cancel).unwrap();
            assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 1, "the other one is gone");
            (path, server.dir.path().to_owned())
        };
        let (prepared, used) = started(SUPERUSER);
        assert_eq!(prepared, used);
        let (prepared, used) = started("another role");
        assert_ne!(prepared, used);
        cancel.cancel("enough");
        assert!(prepare(&drill, &[], &cancel).is_none());
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0, "nothing is left");
    }
}
