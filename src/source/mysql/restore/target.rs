//! The database to restore into.

use crate::{
    error::{Error, Result},
    settings::{Host, RootCertificates, SslMode},
    source::{
        mysql::{
            Database,
            code::{self, Code},
            connect::ConnectParams,
            session::{Session, quote_ident, quote_literal, quote_text},
        },
        url::Url,
    },
};

/// The target of a restore.
#[derive(Debug, Clone)]
pub struct Target {
    /// How to reach the server.
    pub params: ConnectParams,
    /// Database to restore into.
    pub database: String,
}

/// Reads `mysql://user@host:port/database?sslmode=…`, or `mysql:///database?socket=/path` for a socket. A password in it
/// is refused: arguments are visible to every user of the machine.
pub fn parse_url(text: &str) -> Result<Target> {
    let url = Url::parse(text, &["mysql", "mariadb"], "mysql://user@host:3306/database")?;
    Ok(Target { params: params(&url)?, database: url.database })
}

/// Reads the URL of a server, as [`parse_url`] without a database.
pub fn parse_server_url(text: &str) -> Result<ConnectParams> {
    params(&Url::parse_server(text, &["mysql", "mariadb"], "mysql://user@host:3306")?)
}

fn params(url: &Url) -> Result<ConnectParams> {
    let mut host = match url.host.as_str() {
        "" => Host::Socket("/run/mysqld/mysqld.sock".into()),
        host => Host::Tcp(host.to_owned()),
    };
    let (mut mode, mut root, mut cert, mut key) = (None, None, None, None);
    for (name, value) in &url.parameters {
        match name.as_str() {
            "socket" => host = Host::Socket(value.into()),
            "sslmode" => {
                mode = Some(SslMode::parse(value).ok_or_else(|| {
                    url.invalid(&format!("sslmode={value} is none of {}", SslMode::names()))
                })?);
            }
            "sslrootcert" => root = Some(RootCertificates::parse(value)),
            "sslcert" => cert = Some(value.into()),
            "sslkey" => key = Some(value.into()),
            other => return Err(url.invalid(&format!("unknown parameter `{other}`"))),
        }
    }
    let default = match &host {
        Host::Socket(_) => None,
        host if host.is_local() => Some(SslMode::Prefer),
        Host::Tcp(_) => Some(SslMode::VerifyFull),
    };
    Ok(ConnectParams {
        port: url.port.unwrap_or(3306),
        user: url.user.clone(),
        password: None,
        sslmode: mode.or(default),
        sslrootcert: root,
        sslcert: cert,
        sslkey: key,
        host,
    })
}

/// Refuses a database that is not empty, and returns whether it exists.
pub(super) fn require_empty(session: &Session<'_>, database: &str) -> Result<bool> {
    let name = quote_literal(database);
    let rows = session.rows::<1>(&format!(
        "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = {name}"
    ))?;
    if rows.is_empty() {
        return Ok(false);
    }
    let content: Vec<[String; 1]> = session.rows(&format!(
        "SELECT CONCAT('table ', TABLE_NAME) FROM information_schema.TABLES WHERE TABLE_SCHEMA = {name} \
         UNION ALL SELECT CONCAT(LOWER(ROUTINE_TYPE), ' ', ROUTINE_NAME) FROM information_schema.ROUTINES \
            WHERE ROUTINE_SCHEMA = {name} \
         UNION ALL SELECT CONCAT('event ', EVENT_NAME) FROM information_schema.EVENTS WHERE EVENT_SCHEMA = {name} \
         LIMIT 5"
    ))?;
    if content.is_empty() {
        return Ok(true);
    }
    let list: Vec<_> = content.into_iter().map(|[what]| what).collect();
    Err(Error::failed(format!("the database {database} is not empty: {}", list.join(", ")))
        .hint("nothing was changed; restore under another name, or drop that database first"))
}

/// Creates the database like the original, or alters an empty one.
pub(super) fn create(session: &Session<'_>, database: &str, like: &Database, exists: bool) -> Result<()> {
    let verb = if exists { "ALTER" } else { "CREATE" };
    // The value comes from a manifest: only a single word may get into the statement.
    let word = |text: &str| -> Result<String> {
        let valid = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if valid {
            Ok(text.to_owned())
        } else {
            Err(Error::failed(format!("the manifest contains an invalid character set: {text}")))
        }
    };
    let comment =
        like.comment.as_ref().map(|text| format!(" COMMENT {}", quote_text(text))).unwrap_or_default();
    session
        .query(&format!(
            "{verb} DATABASE {} CHARACTER SET {} COLLATE {}{comment}",
            quote_ident(database),
            word(&like.charset)?,
            word(&like.collation)?
        ))
        .map(drop)
        .map_err(|error| {
            let what = Error::failed(format!("cannot create the database {database}"));
            let what = if code::is(&error, code::number::DATABASE_DENIED) {
                what.hint(
                    "restore as an account that may create it: --into mysql://ACCOUNT@HOST/DATABASE --password-file FILE",
                )
            } else {
                what
            };
            what.caused_by(error)
        })
}

/// Sets the options of a restored database that would have prevented loading it. Refused options are reported.
pub(super) fn finish(session: &Session<'_>, database: &str, like: &Database) -> Vec<String> {
    let name = quote_ident(database);
    // Existing tables have the encryption in their definition: this is the default for new ones.
    let wanted = [
        (like.encrypted, "DEFAULT ENCRYPTION 'Y'", "new tables were encrypted by default on the original"),
        (like.read_only, "READ ONLY = 1", "the original was read only"),
    ];
    let missing = wanted.into_iter().filter(|(wanted, ..)| *wanted).filter_map(|(_, clause, what)| {
        let error = session.query(&format!("ALTER DATABASE {name} {clause}")).err()?;
        let why = Code::of(&error).map_or_else(|| error.summary(), |code| code.text.to_owned());
        Some(format!(
            "{what}, but the server refused that here: {why}; set it by hand: ALTER DATABASE {name} {clause}"
        ))
    });
    missing.collect()
}

/// Makes a database writable again that [`finish`] made read only.
pub(crate) fn make_writable(session: &Session<'_>, database: &str) -> Result<()> {
    session.query(&format!("ALTER DATABASE {} READ ONLY = 0", quote_ident(database))).map(drop)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_a_server_or_a_socket() {
        let target = parse_url("mysql://adm%40x@db.example:3307/sh%2Fop?sslmode=require").unwrap();
        assert_eq!(target.database, "sh/op");
        assert_eq!(target.params.user.as_deref(), Some("adm@x"));
        assert_eq!(target.params.server(), "db.example:3307");
        assert_eq!(target.params.sslmode, Some(SslMode::Require));
        let target = parse_url("mysql://root@localhost/x?socket=/run/my.sock").unwrap();
        assert_eq!(target.params.host, Host::Socket("/run/my.sock".into()));
        assert_eq!(target.params.sslmode, None);
        assert_eq!(
            parse_url("mariadb://u@db.example/x").unwrap().params.sslmode,
            Some(SslMode::VerifyFull),
            "a remote server is verified unless something else is said"
        );
    }

    #[test]
    fn a_server_has_no_database() {
        for url in [
            "mysql://root@localhost",
            "mysql://root@localhost/",
            "mariadb://root@localhost/?socket=/run/my.sock",
        ] {
            assert_eq!(parse_server_url(url).unwrap().user.as_deref(), Some("root"), "{url}");
        }
        let socket = parse_server_url("mysql://root@localhost?socket=/run/my.sock").unwrap();
        assert_eq!(socket.host, Host::Socket("/run/my.sock".into()));
        for url in
            ["mysql://root@localhost/shop", "mysql://root:secret@localhost", "postgresql://root@localhost"]
        {
            assert!(parse_server_url(url).is_err(), "{url}");
        }
    }

    #[test]
    fn passwords_and_nonsense_are_refused() {
        for url in ["mysql://u:secret@h/x", "mysql://u@h/x?password=secret"] {
            let error = parse_url(url).unwrap_err();
            assert!(error.hint_text().unwrap().contains("--password-file"), "{error}");
            assert!(!error.to_string().contains("secret"));
        }
        for url in ["mysql://u@h", "mysql://u@h/", "mysql://u@h:x/d", "mysql://u@h/d?sslmode=maybe"] {
            assert!(parse_url(url).is_err(), "{url}");
        }
    }
}
