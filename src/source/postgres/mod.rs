//! The source `postgres`: every database of a PostgreSQL server, and its roles.

pub mod archive;
pub mod clients;
pub(crate) mod code;
pub(crate) mod compare;
pub mod config;
pub mod connect;
mod content;
mod detail;
mod discover;
mod divide;
mod dump;
mod globals;
mod hints;
mod inventory;
pub(in crate::source) mod kind;
mod lacks;
mod moment;
pub mod psql;
mod recovery;
pub mod restore;
pub mod scratch;
mod selftest;
mod settings;
mod tap;
pub(crate) mod verify;

use std::{path::PathBuf, sync::OnceLock, time::Duration};

pub use detail::{
    Database, Detail, Extension, Grant, LargeObjectCount, Membership, Role, SchemaObject, Sequence,
    ServerSetting, Setting,
};
use parking_lot::{Mutex, MutexGuard};

use self::{
    clients::{Client, Clients},
    connect::{ConnectParams, Connection},
    discover::Server,
    divide::Division,
    psql::Psql,
};
use super::{Begun, Discovery, GLOBALS, Item, Source, manifest::Manifest};
use crate::{
    error::{Error, Result},
    settings::{Host, IDLE_TIMEOUT, RootCertificates, SourceSettings},
    source::{
        postgres::config::{PostgresConfig, RolePasswords},
        server::ServerConfig,
    },
    stream::{cancel::Cancel, sink::Sink},
};

/// Name of a database's dump in its snapshots: PostgreSQL's custom format, not compressed.
pub const DUMP: &str = "database.dump";
/// Name of the roles' script in the snapshots of `@globals`.
pub const GLOBALS_SQL: &str = "globals.sql";

/// A PostgreSQL server.
pub struct Postgres {
    name: String,
    config: PostgresConfig,
    idle_timeout: Duration,
    params: ConnectParams,
    clients: Clients,
    server: Mutex<Option<Server>>,
    /// The settings of this server that the target of a restore needs, queried once.
    settings: OnceLock<Vec<ServerSetting>>,
}

impl Postgres {
    /// A source as configured. Reads the password's file.
    pub fn new(source: &SourceSettings, config: &PostgresConfig) -> Result<Self> {
        Ok(Self {
            name: source.name.to_string(),
            config: config.clone(),
            idle_timeout: source.idle_timeout,
            params: params(config)?,
            clients: Clients::find(&config.server.client_dirs),
            server: Mutex::new(None),
            settings: OnceLock::new(),
        })
    }

    /// A server that is not configured as a source, such as the target of a restore.
    pub(crate) fn at(name: &str, params: ConnectParams, clients: Clients, maintenance_db: &str) -> Self {
        let config = PostgresConfig {
            server: ServerConfig::bare(Host::Tcp(params.host.clone()), params.port()),
            maintenance_db: maintenance_db.to_owned(),
            include_system: true,
            role_passwords: RolePasswords::Never,
        };
        let (idle_timeout, server) = (IDLE_TIMEOUT, Mutex::new(None));
        Self {
            name: name.to_owned(),
            config,
            idle_timeout,
            params,
            clients,
            server,
            settings: OnceLock::new(),
        }
    }

    fn item_name(&self, item: &str) -> String {
        format!("{}/{item}", self.name)
    }

    /// Opens a session with the newest installed client.
    fn session(&self, database: &str, cancel: &Cancel) -> Result<Psql> {
        let client = self.clients.newest()?;
        Psql::connect(client, &self.params.prepare(client.major)?, database, cancel)
    }

    /// The client tools for this server, with the connection settings.
    fn tools(&self, server: &Server) -> Result<(&Client, Connection)> {
        let client = self.clients.choose(server.major)?;
        Ok((client, self.params.prepare(client.major)?))
    }

    fn known_server(&self) -> MutexGuard<'_, Option<Server>> {
        self.server.lock()
    }

    /// The settings that the target of a restore needs.
    fn settings(&self, session: &mut Psql) -> Result<Vec<ServerSetting>> {
        match self.settings.get() {
            Some(known) => Ok(known.clone()),
            None => {
                let asked = settings::settings(session)?;
                Ok(self.settings.get_or_init(|| asked).clone())
            }
        }
    }

    /// Reads a database as a backup would, by several processes. Everything is digested, but not everything goes into `sink`:
    /// not the rows of large tables.
    fn read(&self, database: &str, division: Division, sink: &dyn Sink, cancel: &Cancel) -> Result<Manifest> {
        let server = self.server(cancel)?;
        Box::new(dump::begin(self, &server, database, division, cancel)?).store(sink)
    }

    /// The properties of the server, queried unless discovery has done so.
    fn server(&self, cancel: &Cancel) -> Result<Server> {
        if let Some(server) = &*self.known_server() {
            return Ok(server.clone());
        }
        let server = Server::ask(&mut self.session(&self.config.maintenance_db, cancel)?)?;
        *self.known_server() = Some(server.clone());
        Ok(server)
    }
}

impl Source for Postgres {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> &'static str {
        "postgres"
    }

    fn discover(&self, cancel: &Cancel) -> Result<Discovery> {
        let mut session = self.session(&self.config.maintenance_db, cancel)?;
        let server = Server::ask(&mut session)?;
        let found =
            discover::databases(&mut session, &self.config, &|database| self.session(database, cancel))?;
        // Reported once rather than for each database: no client can dump this server.
        self.clients.choose(server.major)?;
        *self.known_server() = Some(server);
        Ok(found)
    }

    fn is_gone(&self, item: &Item, cancel: &Cancel) -> bool {
        item.name != GLOBALS
            && self
                .session(&self.config.maintenance_db, cancel)
                .is_ok_and(|mut session| discover::has(&mut session, &item.name).is_ok_and(|there| !there))
    }

    fn begin(&self, item: &Item, cancel: &Cancel) -> Option<Result<Box<dyn Begun>>> {
        if item.name == GLOBALS {
            return None;
        }
        let begun = self
            .server(cancel)
            .and_then(|server| dump::begin(self, &server, &item.name, Division::NONE, cancel));
        Some(begun.map(|begun| Box::new(begun) as Box<dyn Begun>))
    }

    fn dump(&self, item: &Item, sink: &dyn Sink, cancel: &Cancel) -> Result<Manifest> {
        let server = self.server(cancel)?;
        if item.name == GLOBALS {
            globals::dump(self, &server, sink, cancel)
        } else {
            Box::new(dump::begin(self, &server, &item.name, Division::NONE, cancel)?).store(sink)
        }
    }
}

/// The connection settings of the configured server.
pub fn params(config: &PostgresConfig) -> Result<ConnectParams> {
    let text = |path: &PathBuf| {
        path.to_str()
            .map(str::to_owned)
            .ok_or_else(|| Error::usage(format!("{} is not valid UTF-8", path.display())))
    };
    Ok(ConnectParams {
        host: text(&config.server.host.as_path().to_owned())?,
        port: config.server.port,
        user: config.server.user.clone(),
        password: config.server.password_file.as_ref().map(|file| file.load().map(Into::into)).transpose()?,
        sslmode: config.server.sslmode.map(|mode| mode.as_str().to_owned()),
        sslrootcert: match &config.server.sslrootcert {
            Some(RootCertificates::System) => Some("system".to_owned()),
            Some(RootCertificates::File(path)) => Some(text(path)?),
            None => None,
        },
        sslcert: config.server.sslcert.clone(),
        sslkey: config.server.sslkey.clone(),
        options: None,
    })
}
