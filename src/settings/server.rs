//! The address of a server, and the TLS that its connection requires.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use super::reader::Reader;

/// The address of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A Unix socket: for PostgreSQL its directory, for MySQL the socket itself.
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

/// The required TLS, from the weakest to the strictest; the names are those of libpq's `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SslMode {
    /// Never TLS.
    Disable,
    /// TLS only if the server requires it.
    Allow,
    /// TLS if the server offers it.
    Prefer,
    /// TLS, without verifying the server.
    Require,
    /// TLS with a trusted certificate.
    VerifyCa,
    /// TLS with a trusted certificate for the host's name.
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

    /// Its name in the configuration.
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

/// Reads `host`; `default` is the path of the socket without the key, `socket` describes in messages what a path is.
pub(crate) fn read_host(reader: &mut Reader<'_>, default: &str, socket: &str) -> Option<Host> {
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

/// Reads `sslmode` and `sslrootcert`: the certificate of a remote host is verified by default.
pub(crate) fn read_tls(
    reader: &mut Reader<'_>,
    host: Option<&Host>,
) -> (Option<SslMode>, Option<RootCertificates>) {
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
pub(crate) fn read_certificate(reader: &mut Reader<'_>) -> (Option<PathBuf>, Option<PathBuf>) {
    let pair = (reader.path("sslcert"), reader.path("sslkey"));
    for (one, other) in [("sslcert", "sslkey"), ("sslkey", "sslcert")] {
        if reader.has(one) {
            reader.missing(other, &format!("{one} is of use only together with {other}"));
        }
    }
    pair
}
