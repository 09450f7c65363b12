//! What every kind of database server has: a place, TLS, and a choice of databases.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use super::{
    azure::{self, AzureServers},
    patterns::Patterns,
    reader::Reader,
    secret::SecretFile,
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
    let azure = azure::read_servers(reader);
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
        databases: read_databases(reader),
        exclude: reader.patterns("exclude").unwrap_or_default(),
        client_dirs: reader.paths("client_dirs"),
        globals: reader.boolean("globals", true),
    })
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A Unix socket: for PostgreSQL its folder, for MySQL the socket itself.
    Socket(PathBuf),
    /// A name or address.
    Tcp(String),
}

impl Host {
    /// Whether the connection stays within this machine.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Socket(_) => true,
            Self::Tcp(host) => {
                let host = host.trim_end_matches('.').to_ascii_lowercase();
                host == "localhost"
                    || host.ends_with(".localhost")
                    || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
            }
        }
    }

    /// The value for a client's `host`.
    pub fn as_path(&self) -> &Path {
        match self {
            Self::Socket(folder) => folder,
            Self::Tcp(host) => Path::new(host),
        }
    }
}

/// How far TLS is demanded, from the weakest to the strictest; the words are libpq's `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SslMode {
    /// Never TLS.
    Disable,
    /// TLS only if the server insists.
    Allow,
    /// TLS if the server offers it.
    Prefer,
    /// TLS, whoever the server is.
    Require,
    /// TLS, the certificate must be trusted.
    VerifyCa,
    /// TLS, the certificate must be trusted and carry the host's name.
    VerifyFull,
}

const SSL_MODES: [(&str, SslMode); 6] = [
    ("disable", SslMode::Disable),
    ("allow", SslMode::Allow),
    ("prefer", SslMode::Prefer),
    ("require", SslMode::Require),
    ("verify-ca", SslMode::VerifyCa),
    ("verify-full", SslMode::VerifyFull),
];

impl SslMode {
    /// Reads one of the words.
    pub fn parse(text: &str) -> Option<Self> {
        SSL_MODES.iter().find(|(word, _)| *word == text).map(|(_, mode)| *mode)
    }

    /// All words, for messages.
    pub fn names() -> String {
        SSL_MODES.map(|(word, _)| word).join(", ")
    }

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Allow => "allow",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }
}

/// Where trusted certificates come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootCertificates {
    /// Those of the operating system.
    System,
    /// A PEM file.
    File(PathBuf),
}

impl RootCertificates {
    /// `system`, or the path of a file.
    pub fn parse(text: &str) -> Self {
        if text == "system" { Self::System } else { Self::File(text.into()) }
    }
}

/// Reads `host`; `default` is the place of the socket if the key is not there, `socket` what a path means.
fn read_host(reader: &mut Reader<'_>, default: &str, socket: &str) -> Option<Host> {
    let text = match reader.string("host") {
        Some(text) => text,
        None if reader.has("host") => return None,
        None => default.into(),
    };
    if text.starts_with('/') {
        return Some(Host::Socket(text.into()));
    }
    let fault = if text.contains("://") || text.contains('@') {
        // Not shown: a connection URL often carries a password.
        format!("must be a host name, an address or {socket}, not a URL")
    } else if text.starts_with('[') {
        "an IPv6 address is written without brackets".to_owned()
    } else if text.contains(',') {
        "must be one host: give each server a source of its own".to_owned()
    } else if !text.chars().all(|c| c.is_ascii_alphanumeric() || ".-_:%".contains(c)) {
        format!("is neither a host name, nor an address, nor an absolute path ({socket})")
    } else if text.contains(':') && text.split('%').next().is_none_or(|ip| ip.parse::<IpAddr>().is_err()) {
        "must be the host alone: the port is a key of its own, port".to_owned()
    } else {
        return Some(Host::Tcp(text));
    };
    reader.problem("host", &fault);
    None
}

/// Reads `sslmode` and `sslrootcert`: a remote host is verified unless the configuration says otherwise.
fn read_tls(reader: &mut Reader<'_>, host: Option<&Host>) -> (Option<SslMode>, Option<RootCertificates>) {
    let mode = reader.choice("sslmode", &SSL_MODES);
    let wrong = mode.is_none() && reader.has("sslmode");
    let system = reader.is_text("sslrootcert", "system");
    let root = reader.path("sslrootcert");
    let root = root.map(|path| if system { RootCertificates::System } else { RootCertificates::File(path) });
    let Some(host) = host.filter(|_| !wrong) else { return (mode, root) };
    let mode = match host {
        Host::Socket(_) if mode >= Some(SslMode::Require) => {
            let what = "there is no TLS on a Unix socket; leave the key out, or give a host name as host";
            reader.problem("sslmode", what);
            return (mode, root);
        }
        Host::Socket(_) => mode,
        Host::Tcp(_) if host.is_local() => mode.or(Some(SslMode::Prefer)),
        Host::Tcp(_) => mode.or(Some(SslMode::VerifyFull)),
    };
    // libpq refuses the system's certificates with anything weaker than verify-full.
    match (mode, &root) {
        (Some(SslMode::VerifyCa), None) if !reader.has("sslrootcert") => {
            let what = "missing: \"verify-ca\" needs a certificate file; \
                        only \"verify-full\" works with the system's certificates";
            reader.problem("sslrootcert", what);
        }
        (Some(SslMode::VerifyFull), None) => return (mode, Some(RootCertificates::System)),
        (mode, Some(RootCertificates::System)) if mode != Some(SslMode::VerifyFull) => {
            reader.problem("sslrootcert", "\"system\" works only with sslmode = \"verify-full\"");
        }
        _ => {}
    }
    (mode, root)
}

/// Reads `sslcert` and `sslkey`, which go together.
fn read_certificate(reader: &mut Reader<'_>) -> (Option<PathBuf>, Option<PathBuf>) {
    let pair = (reader.path("sslcert"), reader.path("sslkey"));
    for (one, other) in [("sslcert", "sslkey"), ("sslkey", "sslcert")] {
        if reader.has(one) {
            reader.missing(other, &format!("{one} is of use only together with {other}"));
        }
    }
    pair
}

/// Reads `databases`: all unless the key says otherwise.
pub(super) fn read_databases(reader: &mut Reader<'_>) -> Patterns {
    let databases = reader.patterns("databases");
    if databases.as_ref().is_some_and(Patterns::is_empty) {
        let what = "an empty list would back up nothing; leave the key out for all databases";
        reader.problem("databases", what);
    }
    databases.or_else(|| Patterns::new(["*"]).ok()).unwrap_or_default()
}
