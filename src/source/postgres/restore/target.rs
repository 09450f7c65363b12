//! The database to restore into.

use serde::Deserialize;

use super::{Restore, preflight::TargetServer};
use crate::{
    error::{Error, Result},
    source::{
        postgres::{
            Database,
            connect::ConnectParams,
            psql::{Psql, quote_ident, quote_literal},
        },
        url::Url,
    },
};

/// Where to restore to.
#[derive(Debug, Clone)]
pub struct Target {
    /// How to reach the server.
    pub params: ConnectParams,
    /// Database to restore into.
    pub database: String,
    /// Database to connect to for creating that one.
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
}

/// Things in a database that a restore would mix with. Extensions that a new database has from its template do not
/// count, nor does what belongs to an extension.
const CONTENT: &str = "SELECT what FROM ( \
      SELECT 'table ' || quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS what, c.oid, 'pg_class'::regclass AS class \
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
        WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' \
      UNION ALL SELECT 'function ' || p.oid::regprocedure, p.oid, 'pg_proc'::regclass \
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace \
        WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' \
      UNION ALL SELECT 'type ' || t.oid::regtype, t.oid, 'pg_type'::regclass \
        FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace \
        WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND t.typrelid = 0 AND t.typelem = 0 \
      UNION ALL SELECT 'schema ' || quote_ident(nspname), oid, 'pg_namespace'::regclass FROM pg_namespace \
        WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'public') \
      UNION ALL SELECT 'large object ' || oid, oid, 'pg_largeobject'::regclass FROM pg_largeobject_metadata \
    ) found \
    WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = found.class AND d.objid = found.oid AND d.deptype = 'e') \
    ORDER BY what LIMIT 5";

impl Restore<'_> {
    fn existing(&self, session: &mut Psql) -> Result<Option<Existing>> {
        let mut rows = session.query(&format!(
            "SELECT pg_encoding_to_char(encoding) AS encoding FROM pg_catalog.pg_database WHERE datname = {}",
            quote_literal(&self.target.database)
        ))?;
        Ok(rows.pop())
    }

    fn in_target(&self) -> Result<Psql> {
        Psql::connect(self.client, &self.connection, &self.target.database, self.cancel)
    }

    /// Refuses, before anything is changed, a database that holds something.
    pub(super) fn check_target_first(&self, session: &mut Psql) -> Result<()> {
        #[derive(Deserialize)]
        struct Content {
            what: String,
        }
        let database = &self.target.database;
        let Some(existing) = self.existing(session)? else { return Ok(()) };
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
            let there: Vec<Content> = inside.query(&format!(
                "SELECT c.relname AS what FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n \
                 ON n.oid = c.relnamespace WHERE n.nspname = {} AND c.relname = {}",
                quote_literal(schema),
                quote_literal(name)
            ))?;
            if there.is_empty() {
                return Ok(());
            }
            return Err(Error::failed(format!(
                "the database {database} has a table {schema}.{name} already"
            ))
            .hint("restore into a new database and copy from there what is needed"));
        }
        let found: Vec<Content> = inside.query(CONTENT)?;
        if found.is_empty() {
            return Ok(());
        }
        let list: Vec<_> = found.into_iter().map(|content| content.what).collect();
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
    pub(super) fn create_database(&self, session: &mut Psql, server: &TargetServer) -> Result<bool> {
        let created = self.existing(session)?.is_none();
        if created {
            let original = self.original()?;
            session.execute(&create_statement(&self.target.database, original, server)).map_err(|error| {
                error.context(format!("cannot create the database {}", self.target.database)).hint(
                    "the account needs CREATEDB and the server the original's locale; or create an empty database \
                     by hand and restore into that",
                )
            })?;
            if !self.options.no_owner && self.options.table.is_none() {
                session.execute(&format!(
                    "ALTER DATABASE {} OWNER TO {}",
                    quote_ident(&self.target.database),
                    quote_ident(&original.owner)
                ))?;
            }
        }
        Ok(created)
    }

    /// The schema of a single table, which its entries do not include.
    pub(super) fn create_schema(&self) -> Result<()> {
        if let Some(table) = &self.options.table {
            let schema = table.split_once('.').map_or("public", |(schema, _)| schema);
            self.in_target()?.execute(&format!("CREATE SCHEMA IF NOT EXISTS {}", quote_ident(schema)))?;
        }
        Ok(())
    }

    /// What belongs to the database but not to its dump under another name: settings, comment, privileges, limit.
    pub(super) fn database_properties(
        &self,
        session: &mut Psql,
        server: &TargetServer,
        notes: &mut Vec<String>,
    ) -> Result<()> {
        let original = self.original()?;
        let name = quote_ident(&self.target.database);
        let mut statements = Vec::new();
        if let Some(comment) = &original.comment {
            statements.push(format!("COMMENT ON DATABASE {name} IS {}", quote_literal(comment)));
        }
        if original.connection_limit >= 0 {
            statements.push(format!("ALTER DATABASE {name} CONNECTION LIMIT {}", original.connection_limit));
        }
        for setting in &original.settings {
            match setting_statement(&name, setting) {
                Some(statement) => statements.push(statement),
                None => notes.push(format!(
                    "not restored: the setting {}, whose value is no list of names",
                    setting.name
                )),
            }
        }
        if !self.options.no_privileges && !original.default_grants {
            statements.push(format!("REVOKE ALL ON DATABASE {name} FROM PUBLIC"));
            if !self.options.no_owner {
                // The owner too may have given something up.
                statements
                    .push(format!("REVOKE ALL ON DATABASE {name} FROM {}", quote_ident(&original.owner)));
            }
            for grant in &original.grants {
                let to = grant.grantee.as_deref().map_or("PUBLIC".to_owned(), quote_ident);
                let option = if grant.grantable { " WITH GRANT OPTION" } else { "" };
                statements.push(format!("GRANT {} ON DATABASE {name} TO {to}{option}", grant.privilege));
            }
        }
        for statement in statements {
            match session.execute(&statement) {
                Ok(()) => {}
                // A superuser restores everything; any other account is told what it could not.
                Err(error) if !server.superuser => {
                    // Not the whole statement: a setting may hold a secret.
                    let what = statement.split(" = ").next().unwrap_or_default();
                    notes.push(format!("not restored: {what} ({})", error.summary()));
                }
                Err(error) => return Err(error.context("cannot restore the database's properties")),
            }
        }
        Ok(())
    }
}

/// The statement that restores a setting. `None` if a list does not read as the server would read it: its value may
/// come from anybody who can log in, and must not become SQL.
fn setting_statement(database: &str, setting: &crate::source::postgres::Setting) -> Option<String> {
    /// Parameters whose value is a list, which must not be quoted as a whole.
    const LISTS: [&str; 6] = [
        "search_path",
        "temp_tablespaces",
        "session_preload_libraries",
        "local_preload_libraries",
        "shared_preload_libraries",
        "unix_socket_directories",
    ];
    let value = if LISTS.contains(&setting.name.as_str()) {
        let names = split_list(&setting.value)?;
        if names.is_empty() {
            "''".to_owned()
        } else {
            names.iter().map(|n| quote_literal(n)).collect::<Vec<_>>().join(", ")
        }
    } else {
        quote_literal(&setting.value)
    };
    let name: Vec<_> = setting.name.split('.').map(quote_ident).collect();
    let set = format!("SET {} = {value}", name.join("."));
    Some(match &setting.role {
        Some(role) => format!("ALTER ROLE {} IN DATABASE {database} {set}", quote_ident(role)),
        None => format!("ALTER DATABASE {database} {set}"),
    })
}

/// Takes a list such as `public, "odd name"` apart.
fn split_list(value: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut rest = value.trim();
    while !rest.is_empty() {
        let after = if let Some(mut quoted) = rest.strip_prefix('"') {
            let mut name = String::new();
            loop {
                let end = quoted.find('"')?;
                name.push_str(&quoted[..end]);
                quoted = &quoted[end + 1..];
                match quoted.strip_prefix('"') {
                    Some(more) => {
                        name.push('"');
                        quoted = more;
                    }
                    None => break,
                }
            }
            names.push(name);
            quoted.trim_start()
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            let name = rest[..end].trim_end();
            if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c == '"') {
                return None;
            }
            names.push(name.to_owned());
            &rest[end..]
        };
        rest = match after.strip_prefix(',') {
            Some(more) if !more.trim().is_empty() => more.trim_start(),
            None if after.is_empty() => after,
            _ => return None,
        };
    }
    Some(names)
}

fn create_statement(name: &str, original: &Database, server: &TargetServer) -> String {
    let mut sql = format!(
        "CREATE DATABASE {} TEMPLATE template0 ENCODING {} LC_COLLATE {} LC_CTYPE {}",
        quote_ident(name),
        quote_literal(&original.encoding),
        quote_literal(&original.collate),
        quote_literal(&original.ctype)
    );
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
    fn settings_cannot_smuggle_sql() {
        let setting = |value: &str| {
            let setting = crate::source::postgres::Setting {
                role: None,
                name: "search_path".to_owned(),
                value: value.to_owned(),
            };
            setting_statement("\"d\"", &setting)
        };
        let set = "ALTER DATABASE \"d\" SET \"search_path\" = ";
        assert_eq!(setting("\"$user\", public").unwrap(), format!("{set}'$user', 'public'"));
        assert_eq!(setting("\"o\"\"dd, name\",x").unwrap(), format!("{set}'o\"dd, name', 'x'"));
        assert_eq!(setting("").unwrap(), format!("{set}''"));
        assert_eq!(
            setting("public;create/**/role/**/evil").unwrap(),
            format!("{set}'public;create/**/role/**/evil'")
        );
        assert_eq!(setting("public; create role evil"), None);
        assert_eq!(setting("\"open"), None);
        assert_eq!(setting("a,"), None);
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
