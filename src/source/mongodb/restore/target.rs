//! Where to restore to.

use crate::{
    error::{Error, Result},
    settings::Secret,
    source::{mongodb::connect::Params, url::no_password},
};

/// Databases that belong to the servers.
const OF_SERVERS: [&str; 2] = ["config", "local"];

/// The database to restore into. `Debug` shows no secret.
#[derive(Debug)]
pub struct Target {
    /// How to reach the deployment.
    pub params: Params,
    /// Database to restore into.
    pub database: String,
}

impl Target {
    /// A database of a deployment, for example of a configured source's own.
    ///
    /// # Errors
    /// Exit code 2: the name is empty or is that of a database that belongs to the servers.
    pub fn new(params: Params, database: impl Into<String>) -> Result<Self> {
        let database = database.into();
        if database.is_empty() {
            return Err(Error::usage("--into names no database")
                .hint("write mongodb://user@host/database, or its name alone"));
        }
        if OF_SERVERS.contains(&database.as_str()) {
            return Err(Error::usage(format!("--into: the database {database} belongs to the servers"))
                .hint("name another one"));
        }
        Ok(Self { params, database })
    }
}

/// Reads `mongodb://user@host:port/database?option=value` or `mongodb+srv://…`. Its options are those of the driver. A
/// password in it is refused: arguments are visible to every user of the machine. [`Params::set_password`] sets it.
///
/// # Errors
/// Exit code 2: it holds a password or another secret, names no database, or as for [`Params::parse`].
pub fn parse_url(url: &str) -> Result<Target> {
    // Checked before other errors: the invalid character of a URL may be part of the password.
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let user_info = rest.rsplit_once('@').map_or("", |(user_info, _)| user_info);
    let options = rest.split_once('?').map_or("", |(_, options)| options).to_ascii_lowercase();
    if user_info.contains(':') || options.contains("password=") || options.contains("session_token:") {
        return Err(no_password());
    }
    let params = Params::parse(&Secret::new(url.to_owned()), "--into")?;
    if params.has_password() {
        return Err(no_password());
    }
    let database = params.database().unwrap_or_default().to_owned();
    Target::new(params, database)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn urls_name_a_server_and_a_database() {
        let target = parse_url("mongodb://jane@localhost:2,127.0.0.1:3/sh%C3%B6p?replicaSet=rs").unwrap();
        assert_eq!(target.database, "shöp");
        assert_eq!(target.params.server(), "localhost:2,127.0.0.1:3");
        let target = parse_url("mongodb+srv://jane@cluster.example.com/shop?authSource=admin").unwrap();
        assert_eq!((target.database.as_str(), target.params.server()), ("shop", "cluster.example.com"));
        let mut target = parse_url("mongodb://jane@localhost/shop").unwrap();
        target.params.set_password(Secret::new("hunter2".to_owned())).unwrap();
        let shown = format!("{target:?}");
        assert!(shown.contains("shop") && !shown.contains("hunter2") && !shown.contains("jane"), "{shown}");
    }

    #[test]
    fn passwords_in_arguments_are_refused() {
        for url in [
            "mongodb://jane:hunter2@localhost/shop",
            "mongodb://jane:hunter@2@localhost/shop",
            "mongodb://jane:hunter2@db.example.com/shop",
            "mongodb://localhost/shop?tls=true&tlsCertificateKeyFilePassword=hunter2",
            "mongodb://jane@localhost/shop?authMechanism=MONGODB-AWS&authMechanismProperties=AWS_SESSION_TOKEN:hunter2",
        ] {
            let error = parse_url(url).unwrap_err();
            assert_eq!(error.kind(), Kind::Usage);
            assert!(error.hint_text().unwrap().contains("--password-file"), "{url}: {error}");
            assert!(!error.to_string().contains("hunter"), "{error}");
        }
    }

    #[test]
    fn what_cannot_be_a_target_is_refused() {
        for (url, said) in [
            ("mongodb://localhost", "names no database"),
            ("mongodb://localhost/", "names no database"),
            ("mongodb://localhost/local", "belongs to the servers"),
            ("mongodb://db.example.com/shop", "does not request TLS"),
            ("mongodb://localhost/shop?noSuchOption=1", "is not valid"),
            ("postgres://localhost/shop", "does not begin with"),
        ] {
            let error = parse_url(url).unwrap_err();
            assert_eq!(error.kind(), Kind::Usage);
            assert!(
                error.to_string().contains(said) && error.to_string().contains("--into"),
                "{url}: {error}"
            );
            assert!(error.hint_text().is_some(), "{error}");
        }
    }
}
