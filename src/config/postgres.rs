//! `kind = "postgres"`: how to reach a PostgreSQL server and what to take from it.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use super::{patterns::Patterns, reader::Reader, secret::SecretFile};

/// A PostgreSQL server.
#[derive(Debug, Clone, PartialEq)]
pub struct PostgresConfig {
    /// Where the server listens.
    pub host: PostgresHost,
    /// TCP port, or the number in the socket's file name.
    pub port: u16,
    /// Role to connect as. `None` only for sockets: the name of the user that runs the program, as libpq has it.
    pub user: Option<String>,
    /// File with the role's password.
    pub password_file: Option<SecretFile>,
    /// Database to connect to for discovery.
    pub maintenance_db: String,
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
    /// Whether the built-in databases are backed up too.
    pub include_system: bool,
    /// Folders to search for `pg_dump` and its like; empty: the usual places.
    pub client_dirs: Vec<PathBuf>,
    /// Whether roles and tablespaces are backed up as `@globals`.
    pub globals: bool,
    /// Whether the roles' password hashes are part of `@globals`.
    pub role_passwords: RolePasswords,
}

/// Where a PostgreSQL server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PostgresHost {
    /// The folder of a Unix socket.
    Socket(PathBuf),
    /// A name or address.
    Tcp(String),
}

impl PostgresHost {
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

    /// The value for libpq's `host`.
    pub fn as_path(&self) -> &Path {
        match self {
            Self::Socket(folder) => folder,
            Self::Tcp(host) => Path::new(host),
        }
    }
}

/// libpq's `sslmode`, from the weakest to the strictest.
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
    /// The value for libpq.
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
    /// Those of the operating system (libpq 16 and later).
    System,
    /// A PEM file.
    File(PathBuf),
}

/// What to do about the password hashes of roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RolePasswords {
    /// Take them if the backup role may read them.
    Auto,
    /// Never take them.
    Never,
}

/// Reads the keys of this kind.
pub(super) fn read(reader: &mut Reader<'_>) -> Option<PostgresConfig> {
    let host = read_host(reader);
    let user = reader.string("user");
    if user.is_none() && matches!(host, Some(PostgresHost::Tcp(_))) {
        reader.missing("user", "a connection over TCP needs the name of a role");
    }
    let port = reader.integer("port", 1..=65_535).and_then(|port| port.try_into().ok()).unwrap_or(5432);
    let password_file = reader.secret_file("password_file");
    let maintenance_db = reader.string("maintenance_db").unwrap_or_else(|| "postgres".into());
    let (sslmode, sslrootcert) = read_tls(reader, host.as_ref());
    let (sslcert, sslkey) = (reader.path("sslcert"), reader.path("sslkey"));
    for (one, other) in [("sslcert", "sslkey"), ("sslkey", "sslcert")] {
        if reader.has(one) {
            reader.missing(other, &format!("{one} is of use only together with {other}"));
        }
    }
    let databases = reader.patterns("databases");
    if databases.as_ref().is_some_and(Patterns::is_empty) {
        let what = "an empty list would back up nothing; leave the key out for all databases";
        reader.problem("databases", what);
    }
    let role_passwords = [("auto", RolePasswords::Auto), ("never", RolePasswords::Never)];
    Some(PostgresConfig {
        host: host?,
        port,
        user,
        password_file,
        maintenance_db,
        sslmode,
        sslrootcert,
        sslcert,
        sslkey,
        databases: databases.or_else(|| Patterns::new(["*"]).ok()).unwrap_or_default(),
        exclude: reader.patterns("exclude").unwrap_or_default(),
        include_system: reader.boolean("include_system", false),
        client_dirs: reader.paths("client_dirs"),
        globals: reader.boolean("globals", true),
        role_passwords: reader.choice("role_passwords", &role_passwords).unwrap_or(RolePasswords::Auto),
    })
}

fn read_host(reader: &mut Reader<'_>) -> Option<PostgresHost> {
    let text = match reader.string("host") {
        Some(text) => text,
        None if reader.has("host") => return None,
        None => "/run/postgresql".into(),
    };
    if text.starts_with('/') {
        return Some(PostgresHost::Socket(text.into()));
    }
    let fault = if text.contains("://") || text.contains('@') {
        // Not shown: a connection URL often carries a password.
        "must be a host name, an address or the folder of a socket, not a URL"
    } else if text.starts_with('[') {
        "an IPv6 address is written without brackets"
    } else if text.contains(',') {
        "must be one host: give each server a source of its own"
    } else if !text.chars().all(|c| c.is_ascii_alphanumeric() || ".-_:%".contains(c)) {
        "is neither a host name, nor an address, nor the absolute path of a socket's folder"
    } else if text.contains(':') && text.split('%').next().is_none_or(|ip| ip.parse::<IpAddr>().is_err()) {
        "must be the host alone: the port is a key of its own, port"
    } else {
        return Some(PostgresHost::Tcp(text));
    };
    reader.problem("host", fault);
    None
}

fn read_tls(
    reader: &mut Reader<'_>,
    host: Option<&PostgresHost>,
) -> (Option<SslMode>, Option<RootCertificates>) {
    let mode = reader.choice("sslmode", &SSL_MODES);
    let wrong = mode.is_none() && reader.has("sslmode");
    let system = reader.is_text("sslrootcert", "system");
    let root = reader.path("sslrootcert");
    let root = root.map(|path| if system { RootCertificates::System } else { RootCertificates::File(path) });
    let Some(host) = host.filter(|_| !wrong) else { return (mode, root) };
    let mode = match host {
        PostgresHost::Socket(_) if mode >= Some(SslMode::Require) => {
            let what = "there is no TLS on a Unix socket; leave the key out, or give a host name as host";
            reader.problem("sslmode", what);
            return (mode, root);
        }
        PostgresHost::Socket(_) => mode,
        PostgresHost::Tcp(_) if host.is_local() => mode.or(Some(SslMode::Prefer)),
        PostgresHost::Tcp(_) => mode.or(Some(SslMode::VerifyFull)),
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
