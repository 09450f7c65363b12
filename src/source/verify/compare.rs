//! Comparing two manifests: the one that was stored, and the one of what was restored.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
};

use crate::{
    source::{manifest::Object, mongodb, mysql, postgres},
    stream::digest::Digest128,
};

/// A definition by its kind, name space and name, with the digests of all that have this name.
pub(crate) type Definitions = BTreeMap<(String, String, String), Vec<Digest128>>;

/// Tables, collections and the like: rows and content.
pub(crate) fn objects(stored: &[Object], restored: &[Object]) -> Vec<String> {
    let by_name = |objects: &'_ [Object]| -> BTreeMap<(String, String, String), Object> {
        objects
            .iter()
            .map(|o| ((o.kind.clone(), o.schema.clone().unwrap_or_default(), o.name.clone()), o.clone()))
            .collect()
    };
    let (stored, mut restored) = (by_name(stored), by_name(restored));
    let mut differences = Vec::new();
    for (name, object) in &stored {
        let what = shown(name);
        match restored.remove(name) {
            None => differences.push(format!("{what} is missing")),
            Some(found) if found.rows != object.rows => differences.push(format!(
                "{what}: {} {} backed up, {} {} restored",
                crate::output::count(object.rows, "row"),
                were(object.rows),
                found.rows,
                were(found.rows)
            )),
            Some(found) if found.digest != object.digest || found.bytes != object.bytes => {
                differences.push(format!(
                    "{what}: the content of its {} differs",
                    crate::output::count(object.rows, "row")
                ));
            }
            Some(_) => {}
        }
    }
    differences
        .extend(restored.keys().map(|name| format!("{} was restored and never backed up", shown(name))));
    differences
}

/// `table shop.orders`
pub(crate) fn shown((kind, schema, name): &(String, String, String)) -> String {
    if schema.is_empty() || schema == "-" {
        format!("{} {name}", kind.to_lowercase())
    } else {
        format!("{} {schema}.{name}", kind.to_lowercase())
    }
}

/// Definitions of a PostgreSQL database by name.
pub(crate) fn definitions<'o>(objects: impl Iterator<Item = &'o postgres::SchemaObject>) -> Definitions {
    let mut all = Definitions::new();
    for object in objects {
        let name = (object.kind.clone(), object.schema.clone(), object.name.clone());
        all.entry(name).or_default().push(object.digest);
    }
    all.values_mut().for_each(|digests| digests.sort_unstable());
    all
}

/// What is missing or too many, and the names of what is defined otherwise.
pub(crate) fn compare_definitions(
    stored: &Definitions,
    restored: &Definitions,
) -> (Vec<String>, Vec<(String, String, String)>) {
    let (mut differences, mut other) = (Vec::new(), Vec::new());
    for (name, digests) in stored {
        match restored.get(name) {
            None => differences.push(format!("{} is missing", shown(name))),
            Some(found) if found.len() != digests.len() => differences.push(format!(
                "{}: {} {} backed up, {} {} restored",
                shown(name),
                crate::output::count(digests.len(), "definition"),
                were(digests.len() as u64),
                found.len(),
                were(found.len() as u64)
            )),
            Some(found) if found != digests => other.push(name.clone()),
            Some(_) => {}
        }
    }
    let extra = restored.keys().filter(|name| !stored.contains_key(*name));
    differences.extend(extra.map(|name| format!("{} was restored and never backed up", shown(name))));
    (differences, other)
}

/// What PostgreSQL has besides rows and definitions. Notes are what may differ.
pub(crate) fn postgres(
    stored: &postgres::Detail,
    restored: &postgres::Detail,
    notes: &mut Vec<String>,
) -> Vec<String> {
    let mut differences = Vec::new();
    let sequences = |detail: &postgres::Detail| {
        let values = detail.sequences.iter();
        values
            .map(|s| ((s.schema.clone(), s.name.clone()), (s.value, s.is_called)))
            .collect::<BTreeMap<_, _>>()
    };
    let (before, after) = (sequences(stored), sequences(restored));
    for ((schema, name), (value, _)) in &before {
        match after.get(&(schema.clone(), name.clone())) {
            None => differences.push(format!("sequence {schema}.{name} is missing")),
            found if found != before.get(&(schema.clone(), name.clone())) => differences.push(format!(
                "sequence {schema}.{name} stood at {value} and stands at {}",
                found.map_or(0, |(value, _)| *value)
            )),
            Some(_) => {}
        }
    }
    for (schema, name) in after.keys().filter(|name| !before.contains_key(*name)) {
        differences.push(format!("sequence {schema}.{name} was restored and never backed up"));
    }
    let (before, after) = (&stored.large_objects, &restored.large_objects);
    if before != after {
        differences.push(format!(
            "large objects: {} of {} bytes were backed up; {} of {} bytes were restored, or their content differs",
            before.count, before.bytes, after.count, after.bytes
        ));
    }
    for extension in &stored.extensions {
        match restored.extensions.iter().find(|found| found.name == extension.name) {
            None => differences.push(format!("extension {} is missing", extension.name)),
            Some(found) if found.version != extension.version => notes.push(format!(
                "extension {}: the source has version {}, here it is {} (a dump does not say which)",
                extension.name, extension.version, found.version
            )),
            Some(_) => {}
        }
    }
    if let (Some(before), Some(after)) = (&stored.database, &restored.database) {
        database(before, after, &mut differences);
    }
    differences
}

fn database(before: &postgres::Database, after: &postgres::Database, differences: &mut Vec<String>) {
    let mut compare = |what: &str, before: &dyn Debug, after: &dyn Debug| {
        let (before, after) = (format!("{before:?}"), format!("{after:?}"));
        if before != after {
            differences.push(format!("{what} of the database: {before} was backed up, {after} was restored"));
        }
    };
    compare("owner", &before.owner, &after.owner);
    compare("encoding", &before.encoding, &after.encoding);
    compare("collation", &before.collate, &after.collate);
    compare("character type", &before.ctype, &after.ctype);
    // Before version 15 there was no other.
    let provider = |of: &postgres::Database| of.locale_provider.clone().unwrap_or_else(|| "c".to_owned());
    compare("locale provider", &provider(before), &provider(after));
    compare("locale", &before.locale, &after.locale);
    compare("ICU rules", &before.icu_rules, &after.icu_rules);
    compare("connection limit", &before.connection_limit, &after.connection_limit);
    compare("comment", &before.comment, &after.comment);
    compare("privileges", &before.grants, &after.grants);
    if before.settings != after.settings {
        // Values may be secret.
        let names = |of: &postgres::Database| {
            let name = |s: &postgres::Setting| match &s.role {
                Some(role) => format!("{} of {role}", s.name),
                None => s.name.clone(),
            };
            of.settings.iter().map(name).collect::<Vec<_>>().join(", ")
        };
        differences.push(format!(
            "settings of the database, or their values: {} were backed up, {} were restored",
            names(before),
            names(after)
        ));
    }
}

/// What MySQL and MariaDB have besides rows.
pub(crate) fn mysql(stored: &mysql::Detail, restored: &mysql::Detail) -> Vec<String> {
    let mut differences = Vec::new();
    let by_name = |detail: &mysql::Detail| -> BTreeMap<(String, String), (Digest128, Option<String>)> {
        let objects = detail.schema_objects.iter();
        objects.map(|o| ((o.kind.clone(), o.name.clone()), (o.digest, o.definer.clone()))).collect()
    };
    let (before, mut after) = (by_name(stored), by_name(restored));
    for ((kind, name), (digest, definer)) in &before {
        match after.remove(&(kind.clone(), name.clone())) {
            None => differences.push(format!("{kind} {name} is missing")),
            Some((_, found)) if found != *definer => differences.push(format!(
                "{kind} {name}: its definer was {} and is {}",
                definer.as_deref().unwrap_or("nobody"),
                found.as_deref().unwrap_or("nobody")
            )),
            Some((found, _)) if found != *digest => {
                differences.push(format!("{kind} {name} is defined otherwise than it was"));
            }
            Some(_) => {}
        }
    }
    differences
        .extend(after.keys().map(|(kind, name)| format!("{kind} {name} was restored and never backed up")));
    // Manifests of earlier versions have none.
    for counter in &stored.counters {
        match restored.counters.iter().find(|found| found.name == counter.name) {
            Some(found) if found.next == counter.next => {}
            found => differences.push(format!(
                "the counter of {} stood at {} and stands at {}",
                counter.name,
                counter.next,
                found.map_or("its beginning", |found| &found.next)
            )),
        }
    }
    if stored.database != restored.database {
        differences.push(format!(
            "the database itself: {:?} was backed up, {:?} was restored",
            stored.database, restored.database
        ));
    }
    differences
}

/// Whether a collection of MongoDB belongs to the server, as users and roles do: no restore brings it back, and says so.
fn is_of_server(collection: &str) -> bool {
    collection.starts_with("system.") && collection != "system.js"
}

/// Collections of MongoDB: documents and content.
pub(crate) fn collections(stored: &[Object], restored: &[Object]) -> Vec<String> {
    let own = |all: &[Object]| -> Vec<Object> {
        all.iter().filter(|object| !is_of_server(&object.name)).cloned().collect()
    };
    objects(&own(stored), &own(restored))
}

/// What MongoDB has besides documents. `changed` are indexes that the server does not accept as they were, each by its
/// collection and its name: the restore has said so.
pub(crate) fn mongodb(
    stored: &mongodb::Detail,
    restored: &mongodb::Detail,
    changed: &BTreeSet<(String, String)>,
    notes: &mut Vec<String>,
) -> Vec<String> {
    let mut differences = Vec::new();
    let own = |collection: &&mongodb::Collection| !is_of_server(&collection.name);
    let mut after: BTreeMap<&str, &mongodb::Collection> =
        restored.collections.iter().filter(own).map(|c| (c.name.as_str(), c)).collect();
    for before in stored.collections.iter().filter(own) {
        let name = &before.name;
        let Some(found) = after.remove(name.as_str()) else {
            differences.push(format!("{} {name} is missing", before.kind));
            continue;
        };
        if found.kind != before.kind {
            differences.push(format!("{name} was a {} and is a {}", before.kind, found.kind));
        }
        if found.options != before.options {
            differences.push(format!("{} {name}: its options differ", before.kind));
        }
        let is_changed = |index: &&mongodb::Index| changed.contains(&(name.clone(), index.name.clone()));
        for index in before.indexes.iter().filter(|index| !is_changed(index)) {
            match found.indexes.iter().find(|other| other.name == index.name) {
                None => differences.push(format!("{name}: the index {} is missing", index.name)),
                // Every server makes this one as it sees fit; its collation is that of the options.
                Some(other) if index.name != "_id_" && other.digest != index.digest => {
                    differences
                        .push(format!("{name}: the index {} is defined otherwise than it was", index.name));
                }
                Some(_) => {}
            }
        }
        // Servers give a time series indexes of their own.
        let extra = found.indexes.iter().filter(|index| {
            before.kind != "timeseries" && !before.indexes.iter().any(|other| other.name == index.name)
        });
        differences
            .extend(extra.map(|index| format!("{name}: the index {} was never backed up", index.name)));
        if found.search_indexes != before.search_indexes {
            notes.push(format!("{name}: its search indexes are not proven, for only Atlas has them"));
        }
    }
    differences
        .extend(after.keys().map(|name| format!("collection {name} was restored and never backed up")));
    differences
}

/// Lines of two scripts, whatever their order: what the one has and the other lacks.
pub(in crate::source) fn lines(stored: &[String], restored: &[String]) -> Vec<String> {
    let count = |lines: &[String]| {
        let mut counts = BTreeMap::<String, i64>::new();
        lines.iter().for_each(|line| *counts.entry(line.clone()).or_default() += 1);
        counts
    };
    let (before, after) = (count(stored), count(restored));
    let lacks = |one: &BTreeMap<String, i64>, other: &BTreeMap<String, i64>, what: &str| -> Vec<String> {
        let missing = one.iter().filter(|(line, n)| other.get(*line).copied().unwrap_or(0) < **n);
        missing.map(|(line, _)| format!("{what}: {}", without_secret(line))).collect()
    };
    let mut differences = lacks(&before, &after, "missing after the restore");
    differences.extend(lacks(&after, &before, "there after the restore, and never backed up"));
    differences
}

/// A statement without password hashes.
pub(in crate::source) fn without_secret(line: &str) -> String {
    const WORDS: [&str; 6] =
        ["PASSWORD '", " AS '", " AS 0x", " BY PASSWORD '", " USING '", " IDENTIFIED BY '"];
    let mut text = line.to_owned();
    if text.starts_with("ALTER ROLE ")
        && let Some(set) = text.find(" SET ")
        && let Some(to) = text[set..].find(" TO ")
    {
        text.truncate(set + to + " TO ".len());
        text.push('…');
    }
    for word in WORDS {
        let mut from = 0;
        while let Some(at) = text[from..].find(word).map(|at| from + at + word.len()) {
            let rest = &text[at..];
            let end = if word.ends_with("0x") {
                rest.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(rest.len())
            } else {
                rest.find('\'').unwrap_or(rest.len())
            };
            text.replace_range(at..at + end, "…");
            from = at + '…'.len_utf8();
        }
    }
    text
}

/// The verb for so many.
fn were(number: u64) -> &'static str {
    if number == 1 { "was" } else { "were" }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn object(name: &str, rows: u64, content: &[u8]) -> Object {
        let digest = Digest128::of(content);
        Object {
            kind: "table".into(),
            schema: Some("public".into()),
            name: name.into(),
            rows,
            bytes: 9,
            digest,
        }
    }

    #[test]
    fn rows_and_contents_are_compared_one_by_one() {
        let stored = [object("a", 1, b"a"), object("b", 2, b"b"), object("c", 3, b"c"), object("d", 4, b"d")];
        assert!(objects(&stored, &stored).is_empty());
        let restored =
            [object("a", 1, b"a"), object("b", 1, b"b"), object("c", 3, b"x"), object("e", 4, b"d")];
        assert_eq!(
            objects(&stored, &restored),
            [
                "table public.b: 2 rows were backed up, 1 was restored",
                "table public.c: the content of its 3 rows differs",
                "table public.d is missing",
                "table public.e was restored and never backed up",
            ]
        );
    }

    #[test]
    fn what_belongs_to_a_mongodb_server_is_not_compared() {
        let stored = [object("orders", 1, b"a"), object("system.users", 1, b"b")];
        assert!(
            collections(&stored, &[object("orders", 1, b"a"), object("system.version", 1, b"c")]).is_empty()
        );
        assert_eq!(collections(&stored, &[]), ["table public.orders is missing"]);
    }

    #[test]
    fn scripts_are_compared_without_showing_passwords() {
        let line = |text: &str| text.to_owned();
        let stored = [line("CREATE ROLE a;"), line("ALTER ROLE a WITH LOGIN PASSWORD 'SCRAM-SHA-256$x';")];
        let restored = [line("CREATE ROLE a;"), line("CREATE ROLE b;")];
        let found = lines(&stored, &restored);
        assert_eq!(
            found,
            [
                "missing after the restore: ALTER ROLE a WITH LOGIN PASSWORD '…';",
                "there after the restore, and never backed up: CREATE ROLE b;",
            ]
        );
        assert_eq!(
            without_secret("ALTER ROLE app IN DATABASE x SET \"app.secret\" TO 'hunter2';"),
            "ALTER ROLE app IN DATABASE x SET \"app.secret\" TO …"
        );
        let created = "CREATE USER `u`@`%` IDENTIFIED WITH 'caching_sha2_password' AS 0x2441FF REQUIRE NONE";
        assert_eq!(
            without_secret(created),
            "CREATE USER `u`@`%` IDENTIFIED WITH 'caching_sha2_password' AS 0x… REQUIRE NONE"
        );
    }
}
