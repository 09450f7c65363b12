//! What is configured of every database server that is reached by its own clients: a place, an account, TLS, and a choice
//! of databases.

use std::path::{Path, PathBuf};

use super::{GLOBALS, Source, azure, recovery::EXAMPLE};
use crate::{
    azure::Engine,
    error::Result,
    settings::{
        AzureServers, Host, Patterns, RootCertificates, SecretFile, SourceSettings, SslMode,
        azure::read_servers,
        reader::Reader,
        server::{read_certificate, read_host, read_tls},
    },
};

/// What is configured of every database server that is reached by its own clients.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerConfig {
    /// Where the server listens. Empty if the servers are found in Azure.
    pub host: Host,
    /// How to find the servers in Azure, if that is how.
    pub azure: Option<AzureServers>,
    /// TCP port; of PostgreSQL also the number in the socket's file name.
    pub port: u16,
    /// Account to connect as. `None` only for sockets: the name of the user that runs the program.
    pub user: Option<String>,
    /// File with the account's password.
    pub password_file: Option<SecretFile>,
    /// TLS demand; `None` for sockets.
    pub sslmode: Option<SslMode>,
    /// Certificates that the server's one is checked against.
    pub sslrootcert: Option<RootCertificates>,
    /// Client certificate; set together with `sslkey`.
    pub sslcert: Option<PathBuf>,
    /// Key of the client certificate.
    pub sslkey: Option<PathBuf>,
    /// Databases to back up.
    pub databases: Patterns,
    /// Databases to leave out.
    pub exclude: Patterns,
    /// Folders to search for the clients; empty: the usual places.
    pub client_dirs: Vec<PathBuf>,
    /// Whether what belongs to the server as a whole is backed up as `@globals`.
    pub globals: bool,
}

impl ServerConfig {
    /// A server with its address alone. The caller supplies credentials and everything else.
    pub(crate) fn bare(host: Host, port: u16) -> Self {
        Self {
            host,
            azure: None,
            port,
            user: None,
            password_file: None,
            sslmode: None,
            sslrootcert: None,
            sslcert: None,
            sslkey: None,
            databases: Patterns::default(),
            exclude: Patterns::default(),
            client_dirs: Vec::new(),
            globals: false,
        }
    }

    /// One of the servers found in Azure: as configured, but at this host.
    pub(super) fn at(&self, host: Host) -> Self {
        Self { host, azure: None, ..self.clone() }
    }

    /// All files with secrets that it names.
    pub(super) fn secret_files(&self) -> Vec<&SecretFile> {
        let principal = self.azure.iter().flat_map(|azure| azure.principal.secret_files());
        self.password_file.iter().chain(principal).collect()
    }

    /// Files with certificates and their keys, each with the key of the configuration that names it.
    pub(super) fn certificates(&self) -> Vec<(&'static str, &Path)> {
        let root = match &self.sslrootcert {
            Some(RootCertificates::File(path)) => Some(path),
            _ => None,
        };
        let files =
            [("sslrootcert", root), ("sslcert", self.sslcert.as_ref()), ("sslkey", self.sslkey.as_ref())];
        files.into_iter().filter_map(|(key, path)| Some((key, path?.as_path()))).collect()
    }

    /// What it needs of the file system: its socket, certificates, folders with clients.
    pub(super) fn needed(&self) -> Vec<PathBuf> {
        let socket = match &self.host {
            Host::Socket(path) => Some(path.clone()),
            Host::Tcp(_) => None,
        };
        let certificates = self.certificates().into_iter().map(|(_, path)| path.to_owned());
        socket.into_iter().chain(certificates).chain(self.client_dirs.iter().cloned()).collect()
    }

    /// Names for items that it would have, where none is known.
    pub(super) fn example_items(&self) -> Vec<&'static str> {
        match self.azure {
            Some(_) => vec!["SERVER/NAME"],
            None => self.globals.then_some(GLOBALS).into_iter().chain([EXAMPLE]).collect(),
        }
    }
}

/// The source that finds its servers in Azure; `open` makes that of one server, which is reached at this host.
pub(super) fn on_azure(
    source: &SourceSettings,
    engine: Engine,
    azure: &AzureServers,
    open: impl Fn(&SourceSettings, Host) -> Result<Box<dyn Source>> + Send + Sync + 'static,
) -> Result<Box<dyn Source>> {
    let idle_timeout = source.idle_timeout;
    let open = move |name: &str, host: &str| {
        let source = SourceSettings { idle_timeout, ..SourceSettings::named(name) };
        open(&source, Host::Tcp(host.to_owned()))
    };
    Ok(Box::new(azure::AzureServers::new(source.name.as_str(), engine, azure, Box::new(open))?))
}

/// What differs between the kinds of server.
pub(super) struct Defaults {
    /// Place of the socket if there is no `host`.
    pub(super) socket: &'static str,
    /// What a path as `host` means.
    pub(super) path: &'static str,
    /// TCP port.
    pub(super) port: u16,
    /// What a name to log in by is called.
    pub(super) account: &'static str,
}

/// Reads the keys that every kind of server has.
pub(super) fn read(reader: &mut Reader<'_>, defaults: &Defaults) -> Option<ServerConfig> {
    let azure = read_servers(reader);
    let host = match &azure {
        Some(_) => Some(Host::Tcp(String::new())),
        None => read_host(reader, defaults.socket, defaults.path),
    };
    let user = reader.string("user");
    if user.is_none() && matches!(host, Some(Host::Tcp(_))) {
        reader.missing("user", &format!("a connection over TCP needs the name of {}", defaults.account));
    }
    let port =
        reader.integer("port", 1..=65_535).and_then(|port| port.try_into().ok()).unwrap_or(defaults.port);
    let password_file = reader.secret_file("password_file");
    let (sslmode, sslrootcert) = read_tls(reader, host.as_ref());
    let (sslcert, sslkey) = read_certificate(reader);
    Some(ServerConfig {
        host: host?,
        azure: match azure {
            Some(servers) => Some(servers?),
            None => None,
        },
        port,
        user,
        password_file,
        sslmode,
        sslrootcert,
        sslcert,
        sslkey,
        databases: reader.databases(),
        exclude: reader.patterns("exclude").unwrap_or_default(),
        client_dirs: reader.paths("client_dirs"),
        globals: reader.boolean("globals", true),
    })
}
