//! What databases a deployment has.

use futures_util::{StreamExt, stream};
use mongodb::bson::{Bson, Document, doc};

use super::{
    INTERNAL,
    connect::{Deployment, error_code},
};
use crate::{
    config::MongodbConfig,
    error::{Error, Result},
    source::{Discovery, Excluded, GLOBALS, Item},
    stream::cancel::Cancel,
};

/// Databases that belong to the server itself. Only `admin` can be backed up on demand.
const SYSTEM: [&str; 3] = ["admin", "config", "local"];
/// The server refuses to list databases that the account may not see.
const UNAUTHORIZED: i32 = 13;
/// Databases whose sizes are asked for at the same time.
const QUESTIONS: usize = 8;

/// A database as the server lists it.
struct Listed {
    name: String,
    on_disk: Option<u64>,
}

/// All databases, sorted into those to back up and those excluded by a rule.
pub(super) fn databases(
    deployment: &Deployment,
    config: &MongodbConfig,
    cancel: &Cancel,
) -> Result<Discovery> {
    let listed = list(deployment, config, cancel)?;
    let mut found = Discovery::default();
    let names: Vec<&str> = listed.iter().map(|database| database.name.as_str()).collect();
    found.items.extend(missing(config, &names));
    let mut chosen = Vec::new();
    for database in listed {
        match rule(&database.name, config) {
            Some(rule) => found.excluded.push(Excluded { name: database.name, rule }),
            None => chosen.push(database),
        }
    }
    let items = stream::iter(chosen).map(|database| item(deployment, database)).buffered(QUESTIONS);
    let items = deployment.ask(cancel, async { Ok(items.collect::<Vec<_>>().await) })?;
    found.items.extend(items);
    Ok(found)
}

fn list(deployment: &Deployment, config: &MongodbConfig, cancel: &Cancel) -> Result<Vec<Listed>> {
    let all = doc! { "listDatabases": 1, "nameOnly": false, "authorizedDatabases": false };
    let mine = doc! { "listDatabases": 1, "nameOnly": false };
    let ask =
        |command: Document| deployment.run(cancel, super::CATALOG_TIME, deployment.reply("admin", command));
    let reply = match ask(all)? {
        Ok(reply) => reply,
        // Whoever names every database is not in danger of missing one that the account cannot see.
        Err(error)
            if error_code(&error) == Some(UNAUTHORIZED) && !config.databases.iter().all(is_literal) =>
        {
            return Err(deployment
                .explain(&error)
                .context("the account may not list all databases, and some could be missed")
                .hint("grant it the role readAnyDatabase on admin, or name every database in `databases`"));
        }
        Err(error) if error_code(&error).is_some() => {
            ask(mine)?.map_err(|error| deployment.explain(&error).context("cannot list the databases"))?
        }
        Err(error) => return Err(deployment.explain(&error).context("cannot list the databases")),
    };
    let databases = reply.get_array("databases").map_err(|error| unreadable(&error))?;
    let mut listed = Vec::new();
    for database in databases {
        let database = database.as_document().ok_or_else(|| Error::failed(UNREADABLE))?;
        let name = database.get_str("name").map_err(|error| unreadable(&error))?.to_owned();
        listed.push(Listed { name, on_disk: number(database, "sizeOnDisk") });
    }
    listed.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    Ok(listed)
}

const UNREADABLE: &str = "the server listed its databases in a way that cannot be understood";

fn unreadable(error: &(dyn std::error::Error + 'static)) -> Error {
    Error::failed(UNREADABLE).because(error)
}

/// A database with the size of its documents, or else what it takes on the server's disk.
async fn item(deployment: &Deployment, database: Listed) -> Item {
    let stats = deployment.reply(&database.name, doc! { "dbStats": 1 }).await;
    let size = stats.ok().and_then(|stats| number(&stats, "dataSize"));
    let reserved = (database.name == GLOBALS).then(|| {
        format!("the name {GLOBALS} is reserved for users and roles\n  → rename the database or exclude it")
    });
    Item { name: database.name, estimate: size.or(database.on_disk), problem: reserved }
}

fn number(reply: &Document, key: &str) -> Option<u64> {
    match reply.get(key)? {
        Bson::Int32(number) => (*number).try_into().ok(),
        Bson::Int64(number) => (*number).try_into().ok(),
        Bson::Double(number) if *number >= 0.0 => Some(*number as u64),
        _ => None,
    }
}

fn is_literal(pattern: &str) -> bool {
    !pattern.contains(['*', '?', '[', '{', '\\'])
}

/// A name written out means a database that has to be there: a typo must not leave it unprotected.
fn missing(config: &MongodbConfig, names: &[&str]) -> Vec<Item> {
    let named = config.databases.iter().filter(|pattern| is_literal(pattern));
    let problem = "the server has no such database, or hides it from this account, though `databases` names it\n  → \
                   correct the name in the configuration, grant the account read on it, or take it out there if the \
                   database is gone for good";
    named
        .filter(|name| !names.contains(name))
        .map(|name| Item { name: name.to_owned(), estimate: None, problem: Some(problem.to_owned()) })
        .collect()
}

/// The rule that excludes a database.
fn rule(name: &str, config: &MongodbConfig) -> Option<String> {
    let of_server = SYSTEM.contains(&name) || name.starts_with(INTERNAL);
    if of_server && !(name == "admin" && config.include_system) {
        return Some("built-in: system database".to_owned());
    }
    if config.databases.matched(name).is_none() {
        return Some("not in `databases`".to_owned());
    }
    config.exclude.matched(name).map(|pattern| format!("exclude = \"{pattern}\""))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::{MongodbConsistency, Patterns, SecretFile};

    fn config(databases: &[&str], exclude: &[&str], include_system: bool) -> MongodbConfig {
        MongodbConfig {
            uri_file: SecretFile::at("uri_file", "/nowhere"),
            databases: Patterns::new(databases).unwrap(),
            exclude: Patterns::new(exclude).unwrap(),
            include_system,
            parallel_collections: 1,
            consistency: MongodbConsistency::Auto,
        }
    }

    #[test]
    fn every_exclusion_names_its_rule() {
        let all = config(&["*"], &["tmp_*"], false);
        let rule_of = |name: &str| rule(name, &all);
        for name in ["admin", "config", "local", "__mdb_internal_search"] {
            assert_eq!(rule_of(name).as_deref(), Some("built-in: system database"), "{name}");
        }
        assert_eq!(rule_of("tmp_1").as_deref(), Some("exclude = \"tmp_*\""));
        assert_eq!(rule_of("shop"), None);
        assert_eq!(rule("shop", &config(&["blog"], &[], false)).as_deref(), Some("not in `databases`"));
        assert_eq!(rule("admin", &config(&["*"], &[], true)), None);
        assert!(rule("config", &config(&["*"], &[], true)).is_some());
    }

    #[test]
    fn a_name_written_out_has_to_be_there() {
        let config = config(&["shop", "blog", "w*"], &[], false);
        let found = missing(&config, &["shop"]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].name, "blog");
        assert!(found[0].problem.as_ref().is_some_and(|problem| problem.contains("no such database")));
    }
}
