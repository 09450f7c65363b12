//! Discovering the databases of a server.

use serde::Deserialize;

use super::{
    GLOBALS, content,
    psql::{Psql, quote_literal},
};
use crate::{
    error::{Problem, Result},
    source::postgres::config::PostgresConfig,
    source::{Discovery, Excluded, Item, absent, add_globals, excluded_by, require_databases},
};

/// Databases that belong to the server or to the provider that runs it.
const SYSTEM: [&str; 5] = ["postgres", "azure_maintenance", "azure_sys", "rdsadmin", "cloudsqladmin"];

/// The one of them that users can write to.
const MAINTENANCE: &str = "postgres";
/// Templates that every server has.
const BUILT_IN_TEMPLATES: [&str; 2] = ["template0", "template1"];

/// Properties of a server that a dump depends on.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Server {
    /// The version that the server reports.
    pub(super) version: String,
    /// 150004 for 15.4.
    pub(super) version_num: u32,
    /// Whether it is a hot standby, which has no serializable snapshots.
    pub(super) standby: bool,
    /// May this account read the roles' passwords?
    pub(super) reads_passwords: bool,
    #[serde(skip)]
    pub(super) major: u32,
}

impl Server {
    /// Asks the server.
    pub(super) fn ask(session: &mut Psql) -> Result<Self> {
        let mut server: Self = session.query_one(
            "SELECT current_setting('server_version') AS version, \
                    current_setting('server_version_num')::int AS version_num, \
                    pg_is_in_recovery() AS standby, \
                    has_table_privilege('pg_catalog.pg_authid', 'SELECT') AS reads_passwords",
        )?;
        server.major = server.version_num / 10_000;
        Ok(server)
    }
}

#[derive(Debug, Deserialize)]
struct Row {
    name: String,
    template: bool,
    connections: bool,
    may_connect: bool,
    /// Left behind by an interrupted DROP DATABASE, as servers since the releases of August 2023 mark it.
    half_dropped: bool,
    bytes: Option<u64>,
}

/// Whether the server has a database of this name.
pub(super) fn has(session: &mut Psql, name: &str) -> Result<bool> {
    #[derive(Deserialize)]
    struct There {
        there: bool,
    }
    let there: There = session.query_one(&format!(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = {}) AS there",
        quote_literal(name)
    ))?;
    Ok(there.there)
}

/// All databases, split into those to back up and those excluded by a rule. `look` opens a session in a database, to check
/// whether one that is usually empty contains data.
pub(super) fn databases(
    session: &mut Psql,
    config: &PostgresConfig,
    look: &dyn Fn(&str) -> Result<Psql>,
) -> Result<Discovery> {
    // Querying the size of a database without the privilege to connect is an error.
    let rows: Vec<Row> = session.query(
        "SELECT datname AS name, datistemplate AS template, datallowconn AS connections, \
                has_database_privilege(oid, 'CONNECT') AS may_connect, datconnlimit = -2 AS half_dropped, \
                CASE WHEN has_database_privilege(oid, 'CONNECT') AND datconnlimit <> -2 \
                     THEN pg_database_size(oid) END AS bytes \
         FROM pg_catalog.pg_database ORDER BY datname",
    )?;
    let mut found = Discovery::default();
    add_globals(&mut found, config.server.globals);
    found.items.extend(absent(&config.server.databases, |name| rows.iter().any(|row| row.name == name)));
    let mut wanted_none = 0;
    for row in rows {
        match rule(&row, config, session, look)? {
            Some(rule) => {
                wanted_none += usize::from(!is_builtin(&row) && !row.half_dropped);
                found.excluded.push(Excluded { name: row.name, rule });
            }
            None => {
                let problem = problem(&row);
                found.items.push(Item { name: row.name, estimate: row.bytes, problem });
            }
        }
    }
    require_databases(&mut found, &config.server.exclude, wanted_none);
    Ok(found)
}

/// Why a database that should be backed up cannot be.
fn problem(row: &Row) -> Option<Problem> {
    let name = super::psql::quote_ident(&row.name);
    if row.name == GLOBALS {
        return Some(
            Problem::new(format!("the name {GLOBALS} means the server's roles"))
                .hint("rename the database or exclude it"),
        );
    }
    if !row.connections {
        return Some(
            Problem::new("`databases` names it, and it allows no connections")
                .hint(format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true, or take it out of `databases`")),
        );
    }
    (!row.may_connect).then(|| {
        Problem::new("the backup role may not connect to it")
            .hint(format!("grant it: GRANT CONNECT ON DATABASE {name} TO …, or exclude the database"))
    })
}

/// Whether a database exists on every server, or belongs to the provider.
fn is_builtin(row: &Row) -> bool {
    SYSTEM.contains(&row.name.as_str()) || BUILT_IN_TEMPLATES.contains(&row.name.as_str())
}

/// The rule that excludes a database. A database that the configuration names can only be excluded by `exclude`; one that is
/// usually empty is backed up if it contains user data.
fn rule(
    row: &Row,
    config: &PostgresConfig,
    session: &mut Psql,
    look: &dyn Fn(&str) -> Result<Psql>,
) -> Result<Option<String>> {
    if row.half_dropped {
        return Ok(Some(format!(
            "a DROP DATABASE was interrupted and left it unusable: finish it with DROP DATABASE {}",
            super::psql::quote_ident(&row.name)
        )));
    }
    if let Some(rule) = excluded_by(&config.server.databases, &config.server.exclude, &row.name) {
        return Ok(Some(rule));
    }
    if config.server.databases.names().any(|name| name == row.name) {
        return Ok(None);
    }
    let system = SYSTEM.contains(&row.name.as_str());
    if !row.connections {
        let template = if row.template { "it is a template" } else { "it allows no connections" };
        return Ok(Some(template.to_owned()));
    }
    if system && config.include_system {
        return Ok(None);
    }
    let usual = match (row.template, system) {
        (true, _) => "it is a template",
        (false, true) => "built-in: system database",
        (false, false) => return Ok(None),
    };
    if system && row.name != MAINTENANCE {
        return Ok(Some(usual.to_owned()));
    }
    if !row.may_connect {
        return Ok(Some(format!("{usual}, and this account may not check whether it contains data")));
    }
    let there = if row.name == config.maintenance_db {
        content::is_there(session)
    } else {
        look(&row.name).and_then(|mut session| content::is_there(&mut session))
    };
    Ok(match there {
        Ok(true) => None,
        Ok(false) => Some(format!("{usual}, and it is empty")),
        // Then the backup is tried, and the error is reported for this database alone.
        Err(error) if error.passing().is_some() => None,
        Err(_) => Some(format!("{usual}, and the check whether it contains data failed")),
    })
}
