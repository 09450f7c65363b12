//! Discovery of the databases of a deployment.

use futures_util::{StreamExt, stream};
use mongodb::bson::{Bson, Document, doc};

use super::{
    INTERNAL,
    connect::{Deployment, error_code},
};
use crate::{
    error::{Error, Problem, Result},
    source::mongodb::config::MongodbConfig,
    source::{Discovery, Excluded, GLOBALS, Item, absent, excluded_by},
    stream::cancel::Cancel,
};

/// Databases that belong to the server itself. Only `admin` can be backed up on demand.
const SYSTEM: [&str; 3] = ["admin", "config", "local"];
/// The server refuses to list databases that the account may not see.
const UNAUTHORIZED: i32 = 13;
/// The number of databases whose sizes are requested in parallel.
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
    found.items.extend(absent(&config.databases, |name| names.contains(&name)));
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
        // If every database is named, a database that the account cannot see is not missed.
        Err(error) if error_code(&error) == Some(UNAUTHORIZED) && !all_named(config) => {
            return Err(deployment
                .explain(&error)
                .context("the account may not list all databases, so some could be missing")
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

const UNREADABLE: &str = "the server sent an invalid list of databases";

fn unreadable(error: &(dyn std::error::Error + 'static)) -> Error {
    Error::failed(UNREADABLE).because(error)
}

/// A database with the size of its documents, or else its size on the server's disk.
async fn item(deployment: &Deployment, database: Listed) -> Item {
    let stats = deployment.reply(&database.name, doc! { "dbStats": 1 }).await;
    let size = stats.ok().and_then(|stats| number(&stats, "dataSize"));
    let reserved = (database.name == GLOBALS).then(|| {
        Problem::new(format!("the name {GLOBALS} is reserved for users and roles"))
            .hint("rename the database or exclude it")
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

fn all_named(config: &MongodbConfig) -> bool {
    config.databases.names().count() == config.databases.iter().count()
}

/// The rule that excludes a database.
fn rule(name: &str, config: &MongodbConfig) -> Option<String> {
    let of_server = SYSTEM.contains(&name) || name.starts_with(INTERNAL);
    if of_server && !(name == "admin" && config.include_system) {
        return Some("built-in: system database".to_owned());
    }
    excluded_by(&config.databases, &config.exclude, name)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{
        settings::{Patterns, SecretFile},
        source::mongodb::config::MongodbConsistency,
    };

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
}
