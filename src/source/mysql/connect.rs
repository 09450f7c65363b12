//! Connection settings of a server: an option file of mode 0600 for every client tool.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use zeroize::Zeroizing;

use super::clients::{Client, Flavour};
use crate::{
    error::{Error, Result},
    settings::{Host, RootCertificates, Secret, SslMode},
    source::server::ServerConfig,
    source::trust,
    stream::{child::Command, private::PrivateDir},
};

/// Capacity for an option file: the longest password with every character quoted, and a few paths.
const OPTION_FILE: usize = 192 * 1024;

/// Connection settings of a server.
#[derive(Debug, Clone)]
pub struct ConnectParams {
    /// Host or socket.
    pub host: Host,
    /// TCP port.
    pub port: u16,
    /// The account to log in as.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<Arc<Secret>>,
    /// TLS mode; `None` for sockets.
    pub sslmode: Option<SslMode>,
    /// Trusted certificates for verifying the server's certificate.
    pub sslrootcert: Option<RootCertificates>,
    /// The client's certificate.
    pub sslcert: Option<PathBuf>,
    /// The key of the client's certificate.
    pub sslkey: Option<PathBuf>,
}

impl ConnectParams {
    /// The settings of a configured server. Reads the password file.
    pub fn configured(server: &ServerConfig) -> Result<Self> {
        Ok(Self {
            host: server.host.clone(),
            port: server.port,
            user: server.user.clone(),
            password: server.password_file.as_ref().map(|file| file.load()).transpose()?.map(Arc::new),
            sslmode: server.sslmode,
            sslrootcert: server.sslrootcert.clone(),
            sslcert: server.sslcert.clone(),
            sslkey: server.sslkey.clone(),
        })
    }

    /// The server for messages.
    pub fn server(&self) -> String {
        match &self.host {
            Host::Socket(path) => path.display().to_string(),
            Host::Tcp(host) if host.contains(':') => format!("[{host}]:{}", self.port),
            Host::Tcp(host) => format!("{host}:{}", self.port),
        }
    }

    /// Writes the option file for the tools of one installation.
    pub fn prepare(&self, client: &Client) -> Result<Connection> {
        let dir = PrivateDir::new()?;
        let options = dir.file("client.cnf", self.option_file(client.flavour)?.as_bytes())?;
        Ok(Connection {
            client: client.clone(),
            options,
            no_login_file: dir.path().join("none"),
            private: Arc::new(dir),
            password: self.password.clone(),
            server: self.server(),
        })
    }

    /// All tools read the group `[client]`, so it contains only options that all of them support.
    fn option_file(&self, flavour: Flavour) -> Result<Zeroizing<String>> {
        // The full capacity from the start: a growing text would leave copies of the password behind.
        let mut lines = Zeroizing::new(String::with_capacity(OPTION_FILE));
        lines.push_str("[client]\n");
        let mut set = |name: &str, value: &str| -> Result<()> {
            let value = quoted(name, value)?;
            lines.extend([name, "=", value.as_str(), "\n"]);
            Ok(())
        };
        match &self.host {
            Host::Socket(path) => {
                set("protocol", "SOCKET")?;
                set("socket", utf8(path)?)?;
            }
            Host::Tcp(host) => {
                set("protocol", "TCP")?;
                set("host", host)?;
                set("port", &self.port.to_string())?;
            }
        }
        if let Some(user) = &self.user {
            set("user", user)?;
        }
        if let Some(password) = &self.password {
            set("password", password.expose())?;
        }
        for (name, file) in [("ssl-cert", &self.sslcert), ("ssl-key", &self.sslkey)] {
            if let Some(file) = file {
                set(name, utf8(file)?)?;
            }
        }
        if let Some(mode) = self.sslmode {
            let verify = mode >= SslMode::VerifyCa;
            match &self.sslrootcert {
                Some(RootCertificates::File(file)) => set("ssl-ca", utf8(file)?)?,
                _ if verify => set("ssl-ca", utf8(&trust::ca_bundle().ok_or_else(trust::no_bundle)?)?)?,
                _ => {}
            }
            lines.extend(tls(flavour, mode, self.host.is_local()).iter().flat_map(|line| [*line, "\n"]));
        }
        // No server or script may request files of this machine. MariaDB's client would send them by default.
        lines.push_str("[mysql]\nlocal-infile=0\nconnect-timeout=15\n");
        Ok(lines)
    }
}

/// The lines that require TLS.
fn tls(flavour: Flavour, mode: SslMode, local: bool) -> &'static [&'static str] {
    match (flavour, mode) {
        // Without TLS the newer authentication needs the server's key; on a local connection it cannot be forged.
        (Flavour::Mysql, SslMode::Disable) if local => &["ssl-mode=DISABLED", "get-server-public-key"],
        (Flavour::Mysql, SslMode::Disable) => &["ssl-mode=DISABLED"],
        (Flavour::Mysql, SslMode::Allow | SslMode::Prefer) if local => {
            &["ssl-mode=PREFERRED", "get-server-public-key"]
        }
        (Flavour::Mysql, SslMode::Allow | SslMode::Prefer) => &["ssl-mode=PREFERRED"],
        (Flavour::Mysql, SslMode::Require) => &["ssl-mode=REQUIRED"],
        (Flavour::Mysql, SslMode::VerifyCa) => &["ssl-mode=VERIFY_CA"],
        (Flavour::Mysql, SslMode::VerifyFull) => &["ssl-mode=VERIFY_IDENTITY"],
        (Flavour::Mariadb, SslMode::Disable) => &["skip-ssl"],
        (Flavour::Mariadb, SslMode::Allow | SslMode::Prefer) => &["skip-ssl-verify-server-cert"],
        (Flavour::Mariadb, SslMode::Require) => &["ssl", "skip-ssl-verify-server-cert"],
        // This client cannot check the certificate without the host name: the stricter check is used.
        (Flavour::Mariadb, SslMode::VerifyCa | SslMode::VerifyFull) => &["ssl", "ssl-verify-server-cert"],
    }
}

fn utf8(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| {
        Error::usage(format!("the path {} is not valid UTF-8", path.display())).hint("rename the file")
    })
}

/// A value of an option file.
fn quoted(name: &str, value: &str) -> Result<Zeroizing<String>> {
    if value.contains(['\n', '\r', '\0']) {
        let error = Error::usage(format!("the {name} contains a line break or a NUL character"));
        return Err(if name == "password" {
            error.hint("write the password file without a second line")
        } else {
            error
        });
    }
    let mut quoted = Zeroizing::new(String::with_capacity(2 * value.len() + 2));
    quoted.push('"');
    for c in value.chars() {
        if matches!(c, '\\' | '"') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    Ok(quoted)
}

/// The client tools of one installation with the connection settings of a server. The option file exists as long as this
/// value or any command created from it.
#[derive(Clone)]
pub struct Connection {
    /// The installation.
    pub client: Client,
    options: PathBuf,
    no_login_file: PathBuf,
    private: Arc<PrivateDir>,
    password: Option<Arc<Secret>>,
    server: String,
}

impl Connection {
    /// The password, which is replaced in everything that the tools print.
    pub(super) fn password(&self) -> Option<&Secret> {
        self.password.as_deref()
    }

    /// The dump tool, without any further argument.
    pub fn dump(&self) -> Command {
        self.command(&self.client.dump)
    }

    /// The SQL client, without any further argument.
    pub fn sql(&self) -> Command {
        self.command(&self.client.sql)
    }

    fn command(&self, tool: &Path) -> Command {
        let mut argument = std::ffi::OsString::from("--defaults-file=");
        argument.push(&self.options);
        let command = Command::new(tool)
            // It must come first, and disables the option files of system and user.
            .arg(argument)
            // The login path file is read all the same, unless its path is changed.
            .env("MYSQL_TEST_LOGIN_FILE", &self.no_login_file)
            .private(Arc::clone(&self.private));
        match &self.password {
            Some(password) => command.redact(password.expose()),
            None => command,
        }
    }

    /// The server for messages.
    pub fn server(&self) -> &str {
        &self.server
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn params(host: Host) -> ConnectParams {
        ConnectParams {
            host,
            port: 3306,
            user: Some("backup".into()),
            password: None,
            sslmode: None,
            sslrootcert: None,
            sslcert: None,
            sslkey: None,
        }
    }

    #[test]
    fn any_password_is_one_quoted_value_and_nothing_shows_it() {
        let mut params = params(Host::Socket("/run/my.sock".into()));
        params.password = Some(Arc::new(Secret::new(r#"a"b\c #d"#.into())));
        let text = params.option_file(Flavour::Mysql).unwrap().as_str().to_owned();
        assert!(text.contains("\nsocket=\"/run/my.sock\"\n"), "{text}");
        assert!(text.contains("\n[mysql]\nlocal-infile=0\n"), "{text}");
        assert!(text.contains("\npassword=\"a\\\"b\\\\c #d\"\n"), "{text}");
        assert!(!format!("{params:?}").contains("c #d"));
        params.password = Some(Arc::new(Secret::new("two\nlines".into())));
        let error = params.option_file(Flavour::Mysql).map(drop).unwrap_err();
        assert!(error.hint_text().unwrap().contains("second line") && !error.to_string().contains("lines\n"));
    }

    #[test]
    fn a_remote_server_is_verified_in_the_words_of_each_family() {
        let mut params = params(Host::Tcp("db.example".into()));
        params.sslmode = Some(SslMode::VerifyFull);
        params.sslrootcert = Some(RootCertificates::File("/c/root.crt".into()));
        let text = params.option_file(Flavour::Mysql).unwrap().as_str().to_owned();
        assert!(
            text.contains("ssl-mode=VERIFY_IDENTITY") && text.contains("ssl-ca=\"/c/root.crt\""),
            "{text}"
        );
        let text = params.option_file(Flavour::Mariadb).unwrap().as_str().to_owned();
        assert!(
            text.contains("\nssl\nssl-verify-server-cert\n") && text.contains("protocol=\"TCP\""),
            "{text}"
        );
        assert_eq!(params.server(), "db.example:3306");
    }
}
