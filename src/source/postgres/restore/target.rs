//! The database to restore into.

use serde::Deserialize;

use super::{Restore, preflight::TargetServer, present::Present};
use crate::{
    error::{Error, Result},
    source::{
        postgres::{
            Database, Detail, Role,
            code::SqlState,
            connect::ConnectParams,
            content,
            hints::READ_ONLY,
            psql::{Psql, quote_ident, quote_literal},
        },
        target::RestoreJob,
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
    /// Database to connect to for creating it.
    pub maintenance_db: String,
}

/// Reads `postgresql://user@host:port/database?sslmode=…`. A password in it is refused: arguments are visible to
/// every user of the machine.
pub fn parse_url(url: &str) -> Result<Target> {
    let url = Url::parse(url, &["postgresql", "postgres"], "postgresql://user@host:5432/database")?;
    let mut params = ConnectParams {
        host: url.host.clone(),
        port: url.port.unwrap_or(0),
        user: url.user.clone(),
        ..ConnectParams::default()
    };
    let mut maintenance_db = "postgres".to_owned();
    for (name, value) in url.parameters.clone() {
        match name.as_str() {
            "host" => params.host = value,
            "port" => params.port = value.parse().map_err(|_| url.invalid("the port is not a number"))?,
            "user" => params.user = Some(value),
            "sslmode" => params.sslmode = Some(value),
            "sslrootcert" => params.sslrootcert = Some(value),
            "sslcert" => params.sslcert = Some(value.into()),
            "sslkey" => params.sslkey = Some(value.into()),
            "maintenance_db" => maintenance_db = value,
            other => return Err(url.invalid(&format!("unknown parameter `{other}`"))),
        }
    }
    if params.host.is_empty() {
        params.host = "/run/postgresql".to_owned();
    }
    Ok(Target { params, database: url.database, maintenance_db })
}

#[derive(Debug, Deserialize)]
struct Existing {
    encoding: String,
    tablespace: String,
}

/// The roles of the server that a snapshot is of.
pub(super) fn roles<'a>(job: &RestoreJob<'a>) -> &'a [Role] {
    let detail = job.globals.and_then(|globals| globals.detail::<Detail>());
    detail.map(|detail| detail.roles.as_slice()).unwrap_or_default()
}

impl Restore<'_> {
    fn existing(&self, session: &mut Psql) -> Result<Option<Existing>> {
        let mut rows = session.query(&format!(
            "SELECT pg_encoding_to_char(d.encoding) AS encoding, s.spcname AS tablespace \
             FROM pg_catalog.pg_database d JOIN pg_catalog.pg_tablespace s ON s.oid = d.dattablespace \
             WHERE d.datname = {}",
            quote_literal(&self.target.database)
        ))?;
        Ok(rows.pop())
    }

    pub(super) fn in_target(&self) -> Result<Psql> {
        Psql::connect(self.client, &self.connection, &self.target.database, self.cancel)
    }

    /// Refuses a database that is not empty, before anything is changed. Returns its extensions.
    pub(super) fn check_target_first(&self, session: &mut Psql) -> Result<Present> {
        #[derive(Deserialize)]
        struct Table {}
        let database = &self.target.database;
        let Some(existing) = self.existing(session)? else { return Ok(Present::default()) };
        let wanted = &self.original()?.encoding;
        if existing.encoding != *wanted {
            return Err(Error::failed(format!(
                "the database {database} has encoding {}, the original {wanted}",
                existing.encoding
            ))
            .hint("name a database that does not exist: it will be created with the right encoding"));
        }
        let mut inside = self.in_target()?;
        if let Some(table) = &self.options.table {
            let (schema, name) = table.split_once('.').unwrap_or(("public", table));
            let there: Vec<Table> = inside.query(&format!(
                "SELECT c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n \
                 ON n.oid = c.relnamespace WHERE n.nspname = {} AND c.relname = {}",
                quote_literal(schema),
                quote_literal(name)
            ))?;
            if there.is_empty() {
                return Present::ask(&mut inside);
            }
            return Err(Error::failed(format!(
                "the database {database} has a table {schema}.{name} already"
            ))
            .hint("restore into a new database and copy the rows that you need from there"));
        }
        let list = content::found(&mut inside)?;
        if list.is_empty() {
            return Present::ask(&mut inside);
        }
        Err(Error::failed(format!("the database {database} is not empty, it has: {}", list.join(", ")))
            .hint("restore into a database that does not exist yet, under another name; then rename"))
    }

    /// The original as the manifest describes it.
    pub(super) fn original(&self) -> Result<&Database> {
        self.detail
            .database
            .as_ref()
            .ok_or_else(|| Error::failed("the manifest does not describe the database"))
    }

    /// Creates the database like the original, if it does not exist.
    pub(super) fn create_database(
        &self,
        session: &mut Psql,
        server: &TargetServer,
        notes: &mut Vec<String>,
    ) -> Result<bool> {
        let original = self.original()?;
        let database = &self.target.database;
        if let Some(existing) = self.existing(session)? {
            let other = original.tablespace.as_deref().filter(|space| *space != existing.tablespace);
            notes.extend(other.filter(|_| !self.options.no_tablespaces).map(|space| {
                format!(
                    "the database lies in the tablespace {}, the original in {space}",
                    existing.tablespace
                )
            }));
            return Ok(false);
        }
        let space = self.tablespace(session, original, notes)?;
        if let Err(error) = session.execute(&create_statement(database, original, space, server)) {
            let error = error.context(format!("cannot create the database {database}"));
            let takes_no_changes = SqlState::of(&error) == Some(SqlState::READ_ONLY);
            return Err(error.hint(if takes_no_changes {
                READ_ONLY
            } else {
                "the account needs CREATEDB and the server the original's locale; or create an empty database by hand \
                 and restore into that"
            }));
        }
        if !self.options.no_owner && self.options.table.is_none() {
            session.execute(&format!(
                "ALTER DATABASE {} OWNER TO {}",
                quote_ident(database),
                quote_ident(&original.owner)
            ))?;
        }
        Ok(true)
    }

    /// The tablespace for the new database: the original's, if the server has it and the account may use it.
    fn tablespace<'d>(
        &self,
        session: &mut Psql,
        original: &'d Database,
        notes: &mut Vec<String>,
    ) -> Result<Option<&'d str>> {
        #[derive(Deserialize)]
        struct Space {
            usable: bool,
        }
        let Some(name) = original.tablespace.as_deref().filter(|name| *name != "pg_default") else {
            return Ok(None);
        };
        if self.options.no_tablespaces {
            return Ok(None);
        }
        let spaces: Vec<Space> = session.query(&format!(
            "SELECT pg_catalog.has_tablespace_privilege(oid, 'CREATE') AS usable FROM pg_catalog.pg_tablespace \
             WHERE spcname = {}",
            quote_literal(name)
        ))?;
        let why = match spaces.first() {
            Some(space) if space.usable => return Ok(Some(name)),
            Some(_) => "this account may not use it",
            None => "the target does not have it",
        };
        notes.push(format!(
            "the database lies in the default tablespace: the original's is {name}, and {why}"
        ));
        Ok(None)
    }

    /// The schema of a single table, which its entries do not include.
    pub(super) fn create_schema(&self) -> Result<()> {
        if let Some(table) = &self.options.table {
            let schema = table.split_once('.').map_or("public", |(schema, _)| schema);
            self.in_target()?.execute(&format!("CREATE SCHEMA IF NOT EXISTS {}", quote_ident(schema)))?;
        }
        Ok(())
    }
}

fn create_statement(
    name: &str,
    original: &Database,
    tablespace: Option<&str>,
    server: &TargetServer,
) -> String {
    let mut sql = format!(
        "CREATE DATABASE {} TEMPLATE template0 ENCODING {} LC_COLLATE {} LC_CTYPE {}",
        quote_ident(name),
        quote_literal(&original.encoding),
        quote_literal(&original.collate),
        quote_literal(&original.ctype)
    );
    if let Some(space) = tablespace {
        sql.push_str(&format!(" TABLESPACE {}", quote_ident(space)));
    }
    let provider = match original.locale_provider.as_deref() {
        _ if server.major < 15 => None,
        Some("i") => Some(("icu", "ICU_LOCALE")),
        Some("b") if server.major >= 17 => Some(("builtin", "BUILTIN_LOCALE")),
        // Before version 15 there was no other.
        Some("c") | None => Some(("libc", "")),
        _ => None,
    };
    if let Some((provider, option)) = provider {
        sql.push_str(&format!(" LOCALE_PROVIDER {provider}"));
        if let (false, Some(locale)) = (option.is_empty(), &original.locale) {
            sql.push_str(&format!(" {option} {}", quote_literal(locale)));
        }
        if let (true, Some(rules)) = (server.major >= 16, &original.icu_rules) {
            sql.push_str(&format!(" ICU_RULES {}", quote_literal(rules)));
        }
    }
    sql
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read() {
        let target = parse_url("postgresql://me%40corp@db.example:6432/my%20db?sslmode=verify-full").unwrap();
        assert_eq!(target.database, "my db");
        assert_eq!(target.params.host, "db.example");
        assert_eq!(target.params.port, 6432);
        assert_eq!(target.params.user.as_deref(), Some("me@corp"));
        assert_eq!(target.params.sslmode.as_deref(), Some("verify-full"));
        let socket = parse_url("postgres:///shop?host=/run/postgresql").unwrap();
        assert_eq!(socket.params.host, "/run/postgresql");
        assert_eq!(parse_url("postgres://[::1]:99/x").unwrap().params.host, "::1");
    }

    #[test]
    fn passwords_in_urls_are_refused_and_not_repeated() {
        for url in ["postgres://me:hunter2@db/x", "postgres://me@db/x?password=hunter2"] {
            let error = parse_url(url).unwrap_err().to_string();
            assert!(error.contains("--password-file") && !error.contains("hunter2"), "{error}");
        }
        for url in [
            "mysql://x/y",
            "postgres://host",
            "postgres://host/",
            "postgres://h:p/x",
            "postgres://h/x?nope=1",
        ] {
            assert!(parse_url(url).is_err(), "{url}");
        }
    }
}
