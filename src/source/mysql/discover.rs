//! Discovering the databases of a server, and whether the account may read them completely.

use std::collections::BTreeMap;

use super::{
    GLOBALS,
    clients::{Flavour, Version},
    privileges::Privileges,
    session::Session,
};
use crate::{
    error::{Error, Problem, Result},
    settings::Patterns,
    source::server::ServerConfig,
    source::{Discovery, Excluded, Item, absent, add_globals, excluded_by, require_databases},
};

/// Schemas that belong to the server.
const SYSTEM: [&str; 5] = ["mysql", "information_schema", "performance_schema", "sys", "ndbinfo"];
/// The prefix under which a server lists a foreign directory in its data directory.
const FOREIGN: &str = "#mysql50#";

/// Numbers that need seventeen digits, the largest and the smallest ones.
const DOUBLES: [f64; 6] = [
    0.010516252368688583,
    -0.30000000000000004,
    5e-324,
    2.2250738585072014e-308,
    1.7976931348623157e308,
    9007199254740993e3,
];

/// Properties of a server that a dump depends on.
#[derive(Debug, Clone)]
pub(super) struct Server {
    /// Its family.
    pub(super) flavour: Flavour,
    /// Its version.
    pub(super) version: Version,
    /// Its version, as it reports it.
    pub(super) version_text: String,
    /// How it treats upper case in the names of tables: 0 distinguishes, 1 stores lower case, 2 compares lower case.
    pub(super) lower_case_table_names: u32,
    /// Whether it writes numbers of type `DOUBLE` exactly.
    pub(super) writes_doubles: bool,
    /// The privileges of the account.
    pub(super) privileges: Privileges,
}

impl Server {
    /// Asks the server.
    pub(super) fn ask(session: &Session<'_>) -> Result<Self> {
        let numbers = DOUBLES.map(|number| format!("{number:e}")).join(", ");
        let [version_text, comment, case, doubles @ ..]: [String; 3 + DOUBLES.len()] = session
            .row(&format!("SELECT VERSION(), @@version_comment, @@lower_case_table_names, {numbers}"))?;
        let same = |(text, number): (&String, f64)| text.parse().is_ok_and(|read: f64| read == number);
        let flavour = Flavour::of(&format!("{version_text} {comment}"));
        let version = Version::find(&version_text)
            .ok_or_else(|| Error::failed(format!("the server's version cannot be parsed: {version_text}")))?;
        let privileges = Privileges::ask(session, flavour, version)?;
        Ok(Self {
            flavour,
            version,
            version_text: format!("{flavour} {version_text}"),
            lower_case_table_names: case.parse().unwrap_or(0),
            writes_doubles: doubles.iter().zip(DOUBLES).all(same),
            privileges,
        })
    }
}

/// All databases, split into those to back up and those excluded by a rule.
pub(super) fn databases(session: &Session<'_>, server: &Server, config: &ServerConfig) -> Result<Discovery> {
    let all_named = config.databases.names().count() == config.databases.iter().count();
    if !server.privileges.everywhere("SHOW DATABASES") && !all_named {
        return Err(Error::failed(
            "the account may not see all databases: some could exist and would not be backed up",
        )
        .hint("GRANT SHOW DATABASES ON *.* TO …, or name every database in `databases`"));
    }
    let names: Vec<String> = session.rows("SHOW DATABASES")?.into_iter().map(|[name]| name).collect();
    let sizes: BTreeMap<String, u64> = session
        .rows(
            "SELECT TABLE_SCHEMA, CAST(SUM(IFNULL(DATA_LENGTH, 0)) AS UNSIGNED) FROM information_schema.TABLES \
             GROUP BY TABLE_SCHEMA",
        )?
        .into_iter()
        .filter_map(|[name, bytes]| Some((name, bytes.parse().ok()?)))
        .collect();
    let mut found = Discovery::default();
    add_globals(&mut found, config.globals);
    found.items.extend(absent(&config.databases, |name| names.iter().any(|there| there == name)));
    let mut excluded = 0;
    for name in names {
        match rule(&name, &config.databases, &config.exclude) {
            Some(rule) => {
                excluded +=
                    usize::from(excluded_by(&config.databases, &config.exclude, &name).is_some_and(|_| {
                        !SYSTEM.contains(&name.to_ascii_lowercase().as_str()) && !name.starts_with(FOREIGN)
                    }));
                found.excluded.push(Excluded { name, rule });
            }
            None => {
                let problem = problem(server, &name);
                // A database without tables has no size.
                let estimate = Some(sizes.get(&name).copied().unwrap_or(0));
                found.items.push(Item { name, estimate, problem });
            }
        }
    }
    require_databases(&mut found, &config.exclude, excluded);
    Ok(found)
}

/// Whether the server has a database of this name.
pub(super) fn has(session: &Session<'_>, name: &str) -> Result<bool> {
    let names: Vec<[String; 1]> = session.rows("SHOW DATABASES")?;
    Ok(names.iter().any(|[there]| there == name))
}

/// Why a database cannot be dumped completely.
fn problem(server: &Server, name: &str) -> Option<Problem> {
    if name == GLOBALS {
        return Some(
            Problem::new(format!("the name {GLOBALS} means the server's users"))
                .hint("rename the database or exclude it"),
        );
    }
    let missing = server.privileges.missing(server, name)?;
    let what = format!("the account lacks {}: without it the dump would be incomplete", missing.what);
    Some(Problem::new(what).hint(missing.grants))
}

/// The rule that excludes a database.
fn rule(name: &str, databases: &Patterns, exclude: &Patterns) -> Option<String> {
    if SYSTEM.contains(&name.to_ascii_lowercase().as_str()) {
        return Some("built-in: system database".to_owned());
    }
    if name.starts_with(FOREIGN) {
        return Some("built-in: a folder in the data directory that is no database".to_owned());
    }
    excluded_by(databases, exclude, name)
}

#[cfg(test)]
impl Default for Server {
    fn default() -> Self {
        Self {
            flavour: Flavour::Mysql,
            version: Version(8, 4, 0),
            version_text: "MySQL 8.4.0".to_owned(),
            lower_case_table_names: 0,
            writes_doubles: true,
            privileges: Privileges::default(),
        }
    }
}
