//! `[dashboard]`: the address of the dashboard, and who may see it.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use crate::settings::{SecretFile, reader::Reader};

const REFRESH: Duration = Duration::from_secs(60);
const PORT: u16 = 8740;

/// The dashboard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DashboardConfig {
    /// The address that it listens on.
    pub listen: Listen,
    /// File with the token that every visitor must give.
    pub token_file: Option<SecretFile>,
    /// Whether a reverse proxy in front of it decides who may see it.
    pub behind_proxy: bool,
    /// Time between two surveys of the repository.
    pub refresh: Duration,
}

/// An address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// An address of this machine.
    Tcp(SocketAddr),
    /// A socket in the file system. The permissions of its directory decide who can connect.
    Unix(PathBuf),
}

impl Default for DashboardConfig {
    fn default() -> Self {
        let listen = Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], PORT)));
        Self { listen, token_file: None, behind_proxy: false, refresh: REFRESH }
    }
}

impl std::str::FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = PathBuf::from(path);
            return if path.is_absolute() {
                Ok(Self::Unix(path))
            } else {
                Err("after \"unix:\" comes an absolute path".to_owned())
            };
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self::Tcp(address));
        }
        if let Some(Ok(port)) = text.strip_prefix("localhost:").map(str::parse::<u16>) {
            return Ok(Self::Tcp(SocketAddr::from(([127, 0, 0, 1], port))));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Tcp(SocketAddr::from((address, PORT))));
        }
        Err("must be an address and a port such as \"127.0.0.1:8740\", or \"unix:/path\"".to_owned())
    }
}

impl std::fmt::Display for Listen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl DashboardConfig {
    /// The reason to refuse these settings, if there is one.
    pub fn refusal(&self) -> Option<String> {
        let open = match &self.listen {
            Listen::Tcp(address) => !address.ip().is_loopback(),
            Listen::Unix(_) => false,
        };
        (open && self.token_file.is_none() && !self.behind_proxy).then(|| {
            format!(
                "other machines can reach {} without authentication: listen on 127.0.0.1, set token_file, or set \
                 behind_proxy = true if a reverse proxy authenticates visitors",
                self.listen
            )
        })
    }
}

/// Reads the section; `None` if there is none.
pub(super) fn read(mut reader: Reader<'_>) -> Option<DashboardConfig> {
    let is_present = reader.is_present();
    let defaults = DashboardConfig::default();
    let listen = reader
        .string("listen")
        .and_then(|text| text.parse().map_err(|fault: String| reader.problem("listen", &fault)).ok());
    let dashboard = DashboardConfig {
        listen: listen.unwrap_or(defaults.listen),
        token_file: reader.secret_file("token_file"),
        behind_proxy: reader.boolean("behind_proxy", false),
        refresh: reader
            .duration("refresh", Duration::from_secs(5)..=Duration::from_secs(86_400))
            .unwrap_or(defaults.refresh),
    };
    if let Some(refusal) = dashboard.refusal() {
        reader.problem("listen", &refusal);
    }
    reader.finish();
    is_present.then_some(dashboard)
}
