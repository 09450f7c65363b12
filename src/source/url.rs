//! The URL of a database to restore into.

use crate::error::{Error, Result};

/// A URL `scheme://user@host:port/database?name=value`, decoded.
#[derive(Debug)]
pub(super) struct Url {
    /// The account.
    pub(super) user: Option<String>,
    /// Name or address without brackets; empty for the default.
    pub(super) host: String,
    /// Port.
    pub(super) port: Option<u16>,
    /// The database; empty for a whole server.
    pub(super) database: String,
    /// Names and values after the question mark.
    pub(super) parameters: Vec<(String, String)>,
    example: &'static str,
}

impl Url {
    /// Reads a URL of one of these schemes; `example` shows how to write it. A password in it is refused: arguments are
    /// visible to every user of the machine.
    pub(super) fn parse(url: &str, schemes: &[&str], example: &'static str) -> Result<Self> {
        let url = Self::read(url, schemes, example)?;
        if url.database.is_empty() { Err(url.invalid("the URL names no database")) } else { Ok(url) }
    }

    /// As [`Url::parse`], of a whole server: no database may be named.
    pub(super) fn parse_server(url: &str, schemes: &[&str], example: &'static str) -> Result<Self> {
        let url = Self::read(url, schemes, example)?;
        if url.database.is_empty() {
            return Ok(url);
        }
        let why = "the URL of a whole server must not name a database: each database is restored under its original name";
        Err(Error::usage(format!("--into: {why}")).hint(format!("write {example}")))
    }

    fn read(url: &str, schemes: &[&str], example: &'static str) -> Result<Self> {
        let invalid = |why: &str| fault(example, why);
        let rest = schemes
            .iter()
            .find_map(|scheme| url.strip_prefix(scheme)?.strip_prefix("://"))
            .ok_or_else(|| invalid(&format!("not a {}:// URL", schemes.first().unwrap_or(&""))))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, server) =
            authority.rsplit_once('@').map_or((None, authority), |(user, server)| (Some(user), server));
        if user.is_some_and(|user| user.contains(':')) || query.split('&').any(|p| p.starts_with("password="))
        {
            return Err(no_password());
        }
        let (host, port) = match server.rsplit_once(':') {
            Some((host, port)) if !server.ends_with(']') => {
                (host, Some(port.parse().map_err(|_| invalid("the port is not a number"))?))
            }
            _ => (server, None),
        };
        let mut parameters = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or_else(|| invalid("a parameter has no value"))?;
            parameters.push((decode(name), decode(value)));
        }
        let database = decode(database);
        Ok(Self {
            user: user.filter(|user| !user.is_empty()).map(decode),
            host: decode(host.trim_start_matches('[').trim_end_matches(']')),
            port,
            database,
            parameters,
            example,
        })
    }

    /// An error about another part of the URL.
    pub(super) fn invalid(&self, why: &str) -> Error {
        fault(self.example, why)
    }
}

/// The error for a password in an argument.
pub(super) fn no_password() -> Error {
    Error::usage(
        "--into: the URL must not contain a password, because every user of this machine can read arguments",
    )
    .hint("write the password to a file of mode 0600 and pass the file with --password-file")
}

fn fault(example: &str, why: &str) -> Error {
    Error::usage(format!("--into: {why}"))
        .hint(format!("write {example}, or only a database name to use the source's own server"))
}

fn decode(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}
