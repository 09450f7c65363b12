//! Connection settings of a server: the environment and connection strings for every libpq tool, with the password in a file of
//! mode 0600.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::settings;
use crate::{
    error::{Error, Result},
    settings::Secret,
    source::trust,
    stream::{child::Command, private::PrivateDir},
};

/// Keepalives: a dead network connection is detected after about two minutes instead of two hours.
const KEEPALIVES: &str = "keepalives=1 keepalives_idle=60 keepalives_interval=10 keepalives_count=6";

/// Connection settings of a server. `None` leaves a setting to libpq's default.
#[derive(Clone, Default)]
pub struct ConnectParams {
    /// A host name, an address or the directory of a Unix socket.
    pub host: String,
    /// The port; 0 means 5432.
    pub port: u16,
    /// The role to log in as.
    pub user: Option<String>,
    /// The password; without one, libpq may still find one in `~/.pgpass`.
    pub password: Option<Arc<Secret>>,
    /// libpq's `sslmode`.
    pub sslmode: Option<String>,
    /// A file of trusted certificates, or `system` for those of the operating system.
    pub sslrootcert: Option<String>,
    /// The client's certificate.
    pub sslcert: Option<PathBuf>,
    /// The key of the client's certificate.
    pub sslkey: Option<PathBuf>,
    /// Settings for each session, as `-c name=value`.
    pub options: Option<String>,
}

impl fmt::Debug for ConnectParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectParams")
            .field("host", &self.host)
            .field("port", &self.port())
            .field("user", &self.user)
            .field("password", &self.password)
            .field("sslmode", &self.sslmode)
            .finish_non_exhaustive()
    }
}

impl ConnectParams {
    /// The port, 5432 unless set.
    pub fn port(&self) -> u16 {
        if self.port == 0 { 5432 } else { self.port }
    }

    /// The server for messages: `host:port`, or the directory of the socket.
    pub fn server(&self) -> String {
        if self.host.starts_with(['/', '@']) {
            format!("{}/.s.PGSQL.{}", self.host, self.port())
        } else {
            format!("{}:{}", self.host, self.port())
        }
    }

    /// Writes the pass file and fixes the environment for tools of this major version.
    pub fn prepare(&self, client_major: u32) -> Result<Connection> {
        let mut env = vec![
            ("PGHOST", self.host.clone()),
            ("PGPORT", self.port().to_string()),
            ("PGCONNECT_TIMEOUT", "30".to_owned()),
            ("PGAPPNAME", "tik-backup".to_owned()),
        ];
        env.extend(self.user.clone().map(|user| ("PGUSER", user)));
        env.extend(self.options.clone().map(|options| ("PGOPTIONS", options)));
        let (rootcert, mode) = self.trust(client_major, trust::ca_bundle().as_deref())?;
        env.extend(mode.map(|mode| ("PGSSLMODE", mode)));
        env.extend(rootcert.map(|file| ("PGSSLROOTCERT", file)));
        for (name, file) in [("PGSSLCERT", &self.sslcert), ("PGSSLKEY", &self.sslkey)] {
            if let Some(file) = file {
                let text = file.to_str().ok_or_else(|| {
                    Error::usage(format!("the path {} is not valid UTF-8", file.display()))
                        .hint("rename the file")
                })?;
                env.push((name, text.to_owned()));
            }
        }
        let mut private = None;
        if let Some(password) = &self.password {
            let dir = PrivateDir::new()?;
            let file = dir.file("pgpass", pass_line(password.expose())?.expose().as_bytes())?;
            env.push(("PGPASSFILE", file.to_string_lossy().into_owned()));
            private = Some(Arc::new(dir));
        }
        if let Some((name, _)) = env.iter().find(|(_, value)| value.contains('\0')) {
            return Err(Error::usage(format!("the value for {name} contains a NUL character")));
        }
        Ok(Connection { env, private, server: self.server() })
    }

    /// `sslrootcert` and `sslmode` for libpq.
    ///
    /// `system` has the same meaning for every client version: libpq supports it since 16, and then requires `verify-full`. As
    /// libpq may be built with other default certificates, the system's bundle is named explicitly if it exists.
    fn trust(&self, client_major: u32, bundle: Option<&Path>) -> Result<(Option<String>, Option<String>)> {
        if self.sslrootcert.as_deref() != Some("system") {
            return Ok((self.sslrootcert.clone(), self.sslmode.clone()));
        }
        match self.sslmode.as_deref() {
            None | Some("verify-full") => {}
            Some(mode) => {
                return Err(Error::usage(format!(
                    "sslrootcert = \"system\" does not go with sslmode = \"{mode}\""
                ))
                .hint("use sslmode = \"verify-full\": otherwise a certificate of any public authority for any host would be accepted"));
            }
        }
        let file = match bundle.and_then(Path::to_str) {
            Some(bundle) => bundle.to_owned(),
            None if client_major >= 16 => "system".to_owned(),
            None => return Err(trust::no_bundle()),
        };
        Ok((Some(file), Some("verify-full".to_owned())))
    }
}

/// Everything that libpq tools need to connect to a server. The pass file lives as long as this or any command made from it.
#[derive(Clone)]
pub struct Connection {
    env: Vec<(&'static str, String)>,
    private: Option<Arc<PrivateDir>>,
    server: String,
}

impl Connection {
    /// A command with the environment set; the database still has to be named, see [`Connection::conninfo`].
    pub fn command(&self, tool: impl Into<PathBuf>) -> Command {
        let command =
            self.env.iter().fold(Command::new(tool), |command, (name, value)| command.env(name, value));
        match &self.private {
            Some(dir) => command.private(Arc::clone(dir)),
            None => command,
        }
    }

    /// For sessions that read rows: with the settings that affect the text of rows.
    #[must_use]
    pub(super) fn for_reading(mut self) -> Self {
        let options = self.options(settings::OPTIONS);
        self.env.retain(|(name, _)| *name != "PGOPTIONS");
        self.env.push(("PGOPTIONS", options));
        self.env.push(("PGTZ", settings::TIME_ZONE.to_owned()));
        self
    }

    /// The value of `PGOPTIONS` that makes these settings besides those of every session.
    pub fn options(&self, more: &str) -> String {
        match self.env.iter().find(|(name, _)| *name == "PGOPTIONS") {
            Some((_, options)) => format!("{options} {more}"),
            None => more.to_owned(),
        }
    }

    /// The value for `--dbname` that selects exactly this database, whatever characters its name has.
    pub fn conninfo(&self, database: &str) -> Result<String> {
        if database.is_empty() || database.contains('\0') {
            return Err(Error::usage(format!("{database:?} is not the name of a database")));
        }
        Ok(format!("dbname={} {KEEPALIVES}", conninfo_value(database)))
    }

    /// The value for `--dbname` of tools that choose the database themselves, such as `pg_dumpall`.
    pub fn conninfo_any(&self) -> &'static str {
        KEEPALIVES
    }

    /// The server for messages.
    pub fn server(&self) -> &str {
        &self.server
    }
}

/// A value in a connection string.
fn conninfo_value(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// The only line of a pass file, which matches any server.
fn pass_line(password: &str) -> Result<Secret> {
    if password.contains(['\n', '\r', '\0']) {
        return Err(Error::usage("the password contains a line break or a NUL character")
            .hint("write the password file without a second line"));
    }
    Ok(Secret::new(format!("*:*:*:*:{}\n", password.replace('\\', "\\\\").replace(':', "\\:"))))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::stream::child::run_capture;

    fn params() -> ConnectParams {
        ConnectParams { host: "db.example".into(), user: Some("backup".into()), ..Default::default() }
    }

    fn environment(params: &ConnectParams, script: &str) -> String {
        let connection = params.prepare(15).unwrap();
        let command = connection.command("/bin/sh").arg("-c").arg(script);
        String::from_utf8(run_capture(command, 65536).unwrap()).unwrap()
    }

    fn secret(text: &str) -> Option<Arc<Secret>> {
        Some(Arc::new(Secret::new(text.to_owned())))
    }

    #[test]
    fn the_password_is_in_a_private_file_only() {
        let params = ConnectParams { password: secret(r"a:b\c"), ..params() };
        let text = environment(&params, "env; echo; cat \"$PGPASSFILE\"; stat -c %a \"$PGPASSFILE\"");
        let (env, file) = text.split_once("\n\n").unwrap();
        for line in ["PGHOST=db.example", "PGUSER=backup", "PGPORT=5432"] {
            assert!(env.lines().any(|l| l == line), "{line} in {env}");
        }
        assert!(!env.contains("PGPASSWORD") && !env.contains(r"b\c") && !env.contains("PGSSL"), "{env}");
        assert_eq!(file, "*:*:*:*:a\\:b\\\\c\n600\n");
        assert!(!format!("{params:?}").contains(r"b\\c"), "{params:?}");
        let path = env.lines().find_map(|line| line.strip_prefix("PGPASSFILE=")).unwrap();
        assert!(!Path::new(path).exists(), "removed with the last user");
        assert!(ConnectParams { password: secret("two\nlines"), ..params.clone() }.prepare(15).is_err());
    }

    #[test]
    fn any_database_name_is_one_quoted_value() {
        let connection = params().prepare(15).unwrap();
        for (name, quoted) in [
            ("shop", "dbname='shop' "),
            ("postgresql://x", "dbname='postgresql://x' "),
            (r"it's a\b = c", r"dbname='it\'s a\\b = c' "),
        ] {
            let conninfo = connection.conninfo(name).unwrap();
            assert!(conninfo.starts_with(quoted) && conninfo.contains("keepalives_idle="), "{conninfo}");
        }
        assert!(connection.conninfo("").is_err(), "libpq would take the name of the user");
    }

    #[test]
    fn system_certificates_work_with_every_client() {
        let bundle = Some(Path::new("/etc/ca.crt"));
        let system = ConnectParams { sslrootcert: Some("system".into()), ..params() };
        let full = |file: &str| (Some(file.to_owned()), Some("verify-full".to_owned()));
        assert_eq!(system.trust(15, bundle).unwrap(), full("/etc/ca.crt"));
        assert_eq!(system.trust(16, None).unwrap(), full("system"));
        let error = system.trust(15, None).unwrap_err();
        assert!(error.hint_text().unwrap().contains("ca-certificates"), "{error}");
        let weak = ConnectParams { sslmode: Some("require".into()), ..system };
        assert!(weak.trust(16, bundle).unwrap_err().to_string().contains("verify-full"));
    }

    #[test]
    fn own_certificates_and_mode_are_passed_on() {
        let params = ConnectParams {
            sslmode: Some("verify-ca".into()),
            sslrootcert: Some("/c/root.crt".into()),
            sslcert: Some("/c/client.crt".into()),
            sslkey: Some("/c/client.key".into()),
            ..params()
        };
        let env = environment(&params, "env");
        for line in [
            "PGSSLMODE=verify-ca",
            "PGSSLROOTCERT=/c/root.crt",
            "PGSSLCERT=/c/client.crt",
            "PGSSLKEY=/c/client.key",
        ] {
            assert!(env.lines().any(|l| l == line), "{line} in {env}");
        }
    }

    #[test]
    fn settings_of_every_session_stay_beside_those_of_one_tool() {
        let params = ConnectParams { options: Some("-c a=1".into()), ..params() };
        assert!(environment(&params, "env").lines().any(|line| line == "PGOPTIONS=-c a=1"));
        assert_eq!(params.prepare(15).unwrap().options("-c b=2"), "-c a=1 -c b=2");
        let plain = ConnectParams { options: None, ..params };
        assert_eq!(plain.prepare(15).unwrap().options("-c b=2"), "-c b=2");
    }

    #[test]
    fn the_server_is_named() {
        assert_eq!(params().server(), "db.example:5432");
        assert_eq!(
            ConnectParams { host: "/run/postgresql".into(), port: 5433, ..params() }.server(),
            "/run/postgresql/.s.PGSQL.5433"
        );
    }
}
