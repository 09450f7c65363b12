//! The source `mysql`: every database of a MySQL or MariaDB server, and its users.

mod broken;
pub mod clients;
pub(crate) mod code;
pub(crate) mod compare;
pub mod config;
pub mod connect;
mod detail;
mod dialogue;
mod discover;
mod dump;
mod ends;
mod events;
mod exact;
mod faults;
mod globals;
mod hints;
mod inventory;
pub(in crate::source) mod kind;
mod lacks;
mod privileges;
mod recovery;
pub mod restore;
pub mod scratch;
pub mod script;
mod selftest;
pub mod session;
mod shares;
mod verify;
mod versioned;

use std::{collections::BTreeMap, time::Duration};

pub use detail::{Account, Counter, Database, Detail, SchemaObject};
use parking_lot::{Mutex, MutexGuard};

use self::{
    clients::{Client, Clients, Flavour},
    connect::ConnectParams,
    discover::Server,
    session::Session,
};
use super::{Discovery, GLOBALS, Item, Source, manifest::Manifest};
use crate::{
    error::{Error, Passing, Result},
    settings::{IDLE_TIMEOUT, Patterns, SourceSettings, SslMode},
    source::{mysql::config::MysqlConfig, server::ServerConfig},
    stream::{cancel::Cancel, sink::Sink},
};

/// Name of a database's dump in its snapshots: an SQL script.
pub const DUMP: &str = "database.sql";
/// Name of the users' script in the snapshots of `@globals`.
pub const GLOBALS_SQL: &str = "globals.sql";

/// Name of the script with the definitions of objects that are left out of a dump because they cannot be read.
pub const LEFT_OUT: &str = "left-out.sql";

/// A MySQL or MariaDB server.
pub struct Mysql {
    name: String,
    config: ServerConfig,
    exclude_tables: Patterns,
    /// Whether the history of tables with system versioning is dumped where that is possible.
    history: bool,
    /// The number of dump tools that read a database at the same time: 1 wherever others may write.
    shares: usize,
    idle_timeout: Duration,
    params: ConnectParams,
    clients: Clients,
    server: Mutex<Option<Server>>,
    /// Unreadable tables on which a dump failed, by database, with the reason: the next attempt leaves them out.
    unreadable: Mutex<BTreeMap<String, BTreeMap<String, String>>>,
}

impl Mysql {
    /// A source as configured. Reads the password's file.
    pub fn new(source: &SourceSettings, config: &MysqlConfig) -> Result<Self> {
        Ok(Self {
            name: source.name.to_string(),
            config: config.server.clone(),
            exclude_tables: config.exclude_tables.clone(),
            history: true,
            shares: 1,
            idle_timeout: source.idle_timeout,
            params: ConnectParams::configured(&config.server)?,
            clients: Clients::find(&config.server.client_dirs),
            server: Mutex::new(None),
            unreadable: Mutex::default(),
        })
    }

    /// A server that is not configured as a source, such as the target of a restore.
    pub(crate) fn at(name: &str, params: ConnectParams, clients: Clients) -> Self {
        let config = ServerConfig::bare(params.host.clone(), params.port);
        let (idle_timeout, server) = (IDLE_TIMEOUT, Mutex::new(None));
        Self {
            name: name.to_owned(),
            config,
            exclude_tables: Patterns::default(),
            history: true,
            shares: 1,
            idle_timeout,
            params,
            clients,
            server,
            unreadable: Mutex::default(),
        }
    }

    /// Dumps of tables with system versioning only the current rows, as all dumps of earlier versions did.
    pub(crate) fn without_history(mut self) -> Self {
        self.history = false;
        self
    }

    /// Several dump tools read a database at the same time, each some of its tables. Nothing may be written meanwhile.
    pub(crate) fn in_shares(mut self, number: usize) -> Self {
        self.shares = number.max(1);
        self
    }

    fn item_name(&self, item: &str) -> String {
        format!("{}/{item}", self.name)
    }

    /// The tables of a database that a dump has failed on.
    fn unreadable(&self, database: &str) -> BTreeMap<String, String> {
        let known = self.unreadable.lock();
        known.get(database).cloned().unwrap_or_default()
    }

    /// Checks whether a dump failed because of a single unreadable table: then it is tried again without this table.
    /// `read` is the table that could not be read beside the dump.
    fn found_unreadable(&self, database: &str, read: Option<(String, String)>, error: Error) -> Error {
        let found = read.or_else(|| faults::unreadable(&error));
        let Some((table, reason)) = found else { return error };
        let mut known = self.unreadable.lock();
        let new = known.entry(database.to_owned()).or_default().insert(table, reason).is_none();
        if new { error.passes(Passing::Changed) } else { error }
    }

    fn known_server(&self) -> MutexGuard<'_, Option<Server>> {
        self.server.lock()
    }

    /// The properties of the server, queried unless discovery has done so.
    fn server(&self, cancel: &Cancel) -> Result<Server> {
        if let Some(server) = &*self.known_server() {
            return Ok(server.clone());
        }
        let server = ask(&self.params, &self.clients, cancel)?;
        *self.known_server() = Some(server.clone());
        Ok(server)
    }
}

/// Queries a server of unknown family with the available clients: a client of the other family may lack its authentication.
fn ask(params: &ConnectParams, clients: &Clients, cancel: &Cancel) -> Result<Server> {
    let mut first = None;
    for client in clients.all()? {
        let connection = params.prepare(client)?;
        let session = Session::new(&connection, cancel);
        match require_encrypted(params, client, &session).and_then(|()| Server::ask(&session)) {
            Ok(server) => return Ok(server),
            Err(error) => {
                let other_family = code::may_be_of_the_other_family(&error);
                let error = first.get_or_insert(error);
                if !other_family {
                    return Err(error.clone());
                }
            }
        }
    }
    Err(first.unwrap_or_else(|| Error::failed("no client could connect to the server")))
}

/// MariaDB's client enforces TLS only if it verifies the server: with `require` it would continue unencrypted.
fn require_encrypted(params: &ConnectParams, client: &Client, session: &Session<'_>) -> Result<()> {
    if params.sslmode != Some(SslMode::Require) || client.flavour == Flavour::Mysql {
        return Ok(());
    }
    let [_, cipher] = session.row("SHOW SESSION STATUS LIKE 'Ssl_cipher'")?;
    if cipher.is_empty() {
        return Err(Error::failed(format!("{} offers no TLS, which sslmode demands", session.server()))
            .hint("enable TLS on the server, or lower `sslmode` if the network is trusted")
            .with(code::NoTls));
    }
    Ok(())
}

impl Source for Mysql {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> &'static str {
        "mysql"
    }

    fn discover(&self, cancel: &Cancel) -> Result<Discovery> {
        let server = ask(&self.params, &self.clients, cancel)?;
        // Reported once rather than for each database: no client can dump this server.
        let client = self.clients.choose(server.flavour, server.version)?;
        let connection = self.params.prepare(client)?;
        let found = discover::databases(&Session::new(&connection, cancel), &server, &self.config)?;
        *self.known_server() = Some(server);
        Ok(found)
    }

    fn is_gone(&self, item: &Item, cancel: &Cancel) -> bool {
        let there = || -> Result<bool> {
            let server = self.server(cancel)?;
            let connection = self.params.prepare(self.clients.choose(server.flavour, server.version)?)?;
            discover::has(&Session::new(&connection, cancel), &item.name)
        };
        item.name != GLOBALS && there().is_ok_and(|there| !there)
    }

    fn dump(&self, item: &Item, sink: &dyn Sink, cancel: &Cancel) -> Result<Manifest> {
        let server = self.server(cancel)?;
        if item.name == GLOBALS {
            globals::dump(self, &server, sink, cancel)
        } else {
            dump::dump(self, &server, &item.name, sink, cancel)
        }
    }
}
