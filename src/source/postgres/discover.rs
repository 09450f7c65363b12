//! What databases a server has.

use serde::Deserialize;

use super::{GLOBALS, psql::Psql};
use crate::{
    config::PostgresConfig,
    error::Result,
    source::{Discovery, Excluded, Item, absent, add_globals, excluded_by},
};

/// Databases that belong to the server or to the provider that runs it.
const SYSTEM: [&str; 5] = ["postgres", "azure_maintenance", "azure_sys", "rdsadmin", "cloudsqladmin"];

/// What has to be known of a server before it can be dumped.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Server {
    /// Version as the server tells it.
    pub(super) version: String,
    /// 150004 for 15.4.
    pub(super) version_num: u32,
    /// A hot standby: it knows no serializable snapshots.
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
    bytes: Option<u64>,
}

/// All databases, sorted into those to back up and those excluded by a rule.
pub(super) fn databases(session: &mut Psql, config: &PostgresConfig) -> Result<Discovery> {
    // The size of a database that we may not connect to must not be asked for: that is an error.
    let rows: Vec<Row> = session.query(
        "SELECT datname AS name, datistemplate AS template, datallowconn AS connections, \
                has_database_privilege(oid, 'CONNECT') AS may_connect, \
                CASE WHEN has_database_privilege(oid, 'CONNECT') THEN pg_database_size(oid) END AS bytes \
         FROM pg_catalog.pg_database ORDER BY datname",
    )?;
    let mut found = Discovery::default();
    add_globals(&mut found, config.server.globals);
    found.items.extend(absent(&config.server.databases, |name| rows.iter().any(|row| row.name == name)));
    for row in rows {
        match rule(&row, config) {
            Some(rule) => found.excluded.push(Excluded { name: row.name, rule }),
            None => {
                let reserved = (row.name == GLOBALS).then(|| {
                    format!(
                        "the name {GLOBALS} means the server's roles\n  → rename the database or exclude it"
                    )
                });
                let problem = reserved.or_else(|| (!row.may_connect).then(|| {
                    format!(
                        "the backup role may not connect to it\n  → grant it: GRANT CONNECT ON DATABASE {} TO …, or \
                         exclude the database",
                        super::psql::quote_ident(&row.name)
                    )
                }));
                found.items.push(Item { name: row.name, estimate: row.bytes, problem });
            }
        }
    }
    Ok(found)
}

/// The rule that excludes a database.
fn rule(row: &Row, config: &PostgresConfig) -> Option<String> {
    if row.template {
        return Some("it is a template".to_owned());
    }
    if !row.connections {
        return Some("it allows no connections".to_owned());
    }
    if !config.include_system && SYSTEM.contains(&row.name.as_str()) {
        return Some("built-in: system database".to_owned());
    }
    excluded_by(&config.server.databases, &config.server.exclude, &row.name)
}
