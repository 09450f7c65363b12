//! The configuration common to database servers that are accessed with their own client programs: address, account, TLS, and
//! the selection of databases.

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

/// The configuration common to database servers that are accessed with their own client programs.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerConfig {
    /// Address of the server. Empty if the servers are discovered in Azure.
    pub host: Host,
    /// How to discover the servers in Azure, if they are.
    pub azure: Option<AzureServers>,
    /// TCP port; of PostgreSQL also the number in the socket's file name.
    pub port: u16,
    /// Account to connect as. `None` only for sockets: the user that runs the program.
    pub user: Option<String>,
    /// File with the account's password.
    pub password_file: Option<SecretFile>,
    /// TLS mode; `None` for sockets.
    pub sslmode: Option<SslMode>,
    /// Trusted certificates for verifying the server's certificate.
    pub sslrootcert: Option<RootCertificates>,
    /// Client certificate; set together with `sslkey`.
    pub sslcert: Option<PathBuf>,
    /// Key of the client certificate.
    pub sslkey: Option<PathBuf>,
    /// Databases to back up.
    pub databases: Patterns,
    /// Databases to leave out.
    pub exclude: Patterns,
    /// Directories to search for the client programs; if empty, the usual places.
    pub client_dirs: Vec<PathBuf>,
    /// Whether `@globals` is backed up.
    pub globals: bool,
}

impl ServerConfig {
    /// A configuration with an address only. The caller supplies credentials and everything else.
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

    /// The configuration for one of the servers discovered in Azure: the same, with this host.
    pub(super) fn at(&self, host: Host) -> Self {
        Self { host, azure: None, ..self.clone() }
    }

    /// All secret files that it names.
    pub(super) fn secret_files(&self) -> Vec<&SecretFile> {
        let principal = self.azure.iter().flat_map(|azure| azure.principal.secret_files());
        self.password_file.iter().chain(principal).collect()
    }

    /// Certificate and key files, each with the configuration key that names it.
    pub(super) fn certificates(&self) -> Vec<(&'static str, &Path)> {
        let root = match &self.sslrootcert {
            Some(RootCertificates::File(path)) => Some(path),
            _ => None,
        };
        let files =
            [("sslrootcert", root), ("sslcert", self.sslcert.as_ref()), ("sslkey", self.sslkey.as_ref())];
        files.into_iter().filter_map(|(key, path)| Some((key, path?.as_path()))).collect()
    }

    /// Paths that it needs: its socket, certificates, directories with client programs.
    pub(super) fn needed(&self) -> Vec<PathBuf> {
        let socket = match &self.host {
            Host::Socket(path) => Some(path.clone()),
            Host::Tcp(_) => None,
        };
        let certificates = self.certificates().into_iter().map(|(_, path)| path.to_owned());
        socket.into_iter().chain(certificates).chain(self.client_dirs.iter().cloned()).collect()
    }

    /// Example item names, for use where no item is known.
    pub(super) fn example_items(&self) -> Vec<&'static str> {
        match self.azure {
            Some(_) => vec!["SERVER/NAME"],
            None => self.globals.then_some(GLOBALS).into_iter().chain([EXAMPLE]).collect(),
        }
    }
}

/// The source that discovers its servers in Azure; `open` opens the source of one server, at this host.
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

/// Defaults that differ between the kinds of server.
pub(super) struct Defaults {
    /// Path of the socket if there is no `host`.
    pub(super) socket: &'static str,
    /// The meaning of a path as `host`.
    pub(super) path: &'static str,
    /// TCP port.
    pub(super) port: u16,
    /// The word for a login name.
    pub(super) account: &'static str,
}

/// Reads the keys common to all kinds of server.
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
