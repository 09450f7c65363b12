//! The connection string: errors show only its hosts.

use std::{borrow::Cow, fmt, net::IpAddr};

use mongodb::options::{AuthMechanism, ConnectionString, HostInfo, ServerAddress, Tls};

use super::{secrets::Secrets, uri};
use crate::{
    error::{Error, Result},
    settings::{Secret, SecretFile},
};

/// The connection parameters of a deployment. `Debug` and messages show only the hosts.
pub struct Params {
    pub(super) parsed: ConnectionString,
    pub(super) password: Option<Secret>,
    server: String,
    secrets: Secrets,
}

impl Params {
    /// The same once more.
    pub(crate) fn copied(&self) -> Self {
        Self {
            parsed: self.parsed.clone(),
            password: self.password.as_ref().map(|password| Secret::new(password.expose().to_owned())),
            server: self.server.clone(),
            secrets: self.secrets.clone(),
        }
    }

    /// Reads the connection string from its file.
    ///
    /// # Errors
    /// Exit code 2: the file cannot be used, or as for [`Params::parse`].
    pub fn load(file: &SecretFile) -> Result<Self> {
        Self::parse(&file.load()?, &format!("{}: the connection string in {file}", file.key()))
    }

    /// Parses a connection string; `origin` names its source in messages. Nothing is resolved or contacted.
    ///
    /// # Errors
    /// Exit code 2: it is malformed, or it would send data to another machine without TLS and does not say so.
    pub fn parse(uri: &Secret, origin: &str) -> Result<Self> {
        let text = uri.expose().trim();
        let secrets = Secrets::of(text);
        let parsed = ConnectionString::parse(without_compressors(text))
            .map_err(|error| uri::malformed(text, &secrets, origin, &error))?;
        let server = server(&parsed.host_info);
        let srv = matches!(parsed.host_info, HostInfo::DnsRecord(_));
        if parsed.tls.is_none() && !srv && !is_local(&parsed.host_info) {
            return Err(Error::usage(format!("{origin}: it does not request TLS, and {server} is another machine")).hint(
                "add tls=true to its options; tls=false says that data and credentials may cross the network in the \
                 clear",
            ));
        }
        Ok(Self { parsed, password: None, server, secrets })
    }

    /// Sets the password of the user that the connection string names.
    ///
    /// # Errors
    /// Exit code 2: it names no user, or one that authenticates with a certificate.
    pub fn set_password(&mut self, password: Secret) -> Result<()> {
        let named = self.parsed.credential.as_ref().is_some_and(|credential| credential.username.is_some());
        if !named {
            return Err(Error::usage(format!("a password was given for {}, but no user", self.server))
                .hint("name the user in the connection string: mongodb://USER@HOST"));
        }
        let mechanism = self.parsed.credential.as_ref().and_then(|credential| credential.mechanism.as_ref());
        if mechanism == Some(&AuthMechanism::MongoDbX509) {
            return Err(Error::usage(format!(
                "a password was given for {}, which asks for a certificate",
                self.server
            ))
            .hint(uri::NO_PASSWORD));
        }
        self.secrets.push(password.expose());
        self.password = Some(password);
        Ok(())
    }

    /// Whether the connection string itself holds a password.
    pub fn has_password(&self) -> bool {
        self.parsed.credential.as_ref().is_some_and(|credential| credential.password.is_some())
    }

    /// The database that stands in the connection string's path.
    pub fn database(&self) -> Option<&str> {
        self.parsed.default_database.as_deref()
    }

    /// The hosts, for messages.
    pub fn server(&self) -> &str {
        &self.server
    }

    pub(super) fn secrets(&self) -> Secrets {
        self.secrets.clone()
    }
}

impl fmt::Debug for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Params").field("server", &self.server).finish_non_exhaustive()
    }
}

/// Removes the compressors that the driver was not built with: it would refuse the whole string, although servers work
/// without compression.
fn without_compressors(uri: &str) -> Cow<'_, str> {
    let Some((place, options)) = uri.split_once('?') else { return Cow::Borrowed(uri) };
    let kept = options.split('&').filter_map(|option| {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        match name.to_ascii_lowercase().as_str() {
            "zlibcompressionlevel" => None,
            "compressors" => value.split(',').any(|name| name == "zstd").then_some("compressors=zstd"),
            _ => Some(option),
        }
    });
    let kept = kept.collect::<Vec<_>>().join("&");
    Cow::Owned(if kept.is_empty() { place.to_owned() } else { format!("{place}?{kept}") })
}

fn server(hosts: &HostInfo) -> String {
    match hosts {
        HostInfo::HostIdentifiers(hosts) => hosts.iter().map(host).collect::<Vec<_>>().join(","),
        HostInfo::DnsRecord(name) => name.clone(),
        _ => "the deployment".to_owned(),
    }
}

fn host(address: &ServerAddress) -> String {
    match address {
        ServerAddress::Tcp { host, port } if host.contains(':') => {
            let host = host.trim_matches(['[', ']']);
            port.map_or_else(|| format!("[{host}]"), |port| format!("[{host}]:{port}"))
        }
        address => address.to_string(),
    }
}

/// Whether all connections are local.
fn is_local(hosts: &HostInfo) -> bool {
    let HostInfo::HostIdentifiers(hosts) = hosts else { return false };
    hosts.iter().all(|address| match address {
        ServerAddress::Unix { .. } => true,
        ServerAddress::Tcp { host, .. } => {
            let host = host.trim_end_matches('.').trim_matches(['[', ']']).to_ascii_lowercase();
            host == "localhost"
                || host.ends_with(".localhost")
                || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
        }
        _ => false,
    })
}

/// TLS as asked for; certificates are checked against those that this machine trusts unless a file is named.
pub(super) fn trust_system(tls: &mut Option<Tls>) {
    if let Some(Tls::Enabled(options)) = tls
        && options.ca_file_path.is_none()
    {
        options.ca_file_path = crate::source::trust::ca_bundle();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn parse(uri: &str) -> Result<Params> {
        Params::parse(&Secret::new(uri.to_owned()), "sources.shop.uri_file")
    }

    #[test]
    fn only_the_hosts_are_shown() {
        let params = parse("mongodb://jane:s3cr%40t@localhost:2,[::1]:4/shop?authSource=admin").unwrap();
        assert_eq!(params.server(), "localhost:2,[::1]:4");
        assert_eq!(params.database(), Some("shop"));
        assert!(params.has_password());
        let shown = format!("{params:?}");
        assert!(!shown.contains("jane") && !shown.contains("s3cr"), "{shown}");
        let said = params.secrets().clean("user jane failed with s3cr@t or s3cr%40t");
        assert_eq!(said, "user *** failed with *** or ***");
    }

    #[test]
    fn a_malformed_string_is_refused_without_showing_it() {
        for uri in [
            "mongodb://jane:hunter/two@db.example.com/?tls=true",
            "mongodb://jane:hunter@two@db.example.com/?tls=true",
            "mongodb://jane:hunter:two@db.example.com/?tls=true",
            "mongodb://jane:hunter?two=hunter@db.example.com/",
            "mongodb://jane:hunter%two@db.example.com/?tls=true",
            "mongodb://jane:hunter#two@db.example.com:1:2/?tls=true",
            "postgres://jane:hunter-two@db.example.com",
            "jane:hunter-two",
            "mongodb://jane:hunter-two@",
            "mongodb://jane:x@h/?tls=true&tlsCertificateKeyFilePassword=hunter&tlsInsecure=hunter",
            "mongodb://jane:x@h/?tls=hunter&tlsInsecure=true",
        ] {
            let Err(error) = parse(uri) else { continue };
            assert_eq!(error.kind(), Kind::Usage, "{uri}");
            let text = error.to_string();
            assert!(text.starts_with("sources.shop.uri_file"), "{text}");
            assert!(error.hint_text().is_some(), "{text}");
            for secret in ["jane", "hunter", "two"] {
                assert!(!text.contains(secret) || uri.contains("tls=hunter"), "{uri} -> {text}");
            }
        }
        assert!(parse("mongodb://jane:hunter/two@db.example.com/?tls=true").is_err());
        assert!(parse("mongodb://h:1/?tls=true&noSuchOption=1").is_err());
    }

    #[test]
    fn another_machine_is_reached_with_tls_unless_it_is_refused_in_so_many_words() {
        let error = parse("mongodb://u:p@db.example.com/shop").unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        assert!(error.to_string().contains("add tls=true"), "{error}");
        assert!(error.to_string().contains("db.example.com"), "{error}");
        assert!(parse("mongodb://127.0.0.1,10.0.0.7/").is_err(), "one of the hosts is elsewhere");
        for uri in [
            "mongodb://db.example.com/?tls=true",
            "mongodb://db.example.com/?ssl=true",
            "mongodb://db.example.com/?tls=false",
            "mongodb+srv://cluster.example.com/",
            "mongodb://localhost",
            "mongodb://127.0.0.9:1,[::1]:2",
            "mongodb://%2Ftmp%2Fmongodb.sock",
        ] {
            assert!(parse(uri).is_ok(), "{uri}");
        }
    }

    #[test]
    fn compressors_that_the_driver_lacks_are_no_fault() {
        for options in
            ["compressors=snappy", "w=1&compressors=zlib,zstd&zlibCompressionLevel=3", "Compressors=x"]
        {
            assert!(parse(&format!("mongodb://localhost/?{options}")).is_ok(), "{options}");
        }
        let parsed = parse("mongodb://localhost/?compressors=snappy,zstd&appName=x").unwrap().parsed;
        assert_eq!(parsed.compressors.map(|all| all.len()), Some(1));
        assert_eq!(parsed.app_name.as_deref(), Some("x"));
    }

    #[test]
    fn a_password_from_elsewhere_needs_a_user() {
        let mut params = parse("mongodb://jane@localhost/shop").unwrap();
        assert!(!params.has_password());
        params.set_password(Secret::new("hunter2".into())).unwrap();
        assert_eq!(params.secrets().clean("hunter2 refused"), "*** refused");
        let mut params = parse("mongodb://localhost/shop").unwrap();
        assert_eq!(params.set_password(Secret::new("x".into())).unwrap_err().kind(), Kind::Usage);
    }
}
