//! Comparing everything except rows: as it was backed up, and as it was restored.

use std::{collections::BTreeMap, fmt::Debug};

use super::{Database, Detail, SchemaObject, Setting};
use crate::{
    source::verify::compare::{shown, were},
    stream::digest::Digest128,
};

/// Definitions by kind, schema and name, with the digests of all that have this name.
pub(crate) type Definitions = BTreeMap<(String, String, String), Vec<Digest128>>;

/// Definitions of a PostgreSQL database by name.
pub(crate) fn definitions<'o>(objects: impl Iterator<Item = &'o SchemaObject>) -> Definitions {
    let mut all = Definitions::new();
    for object in objects {
        let name = (object.kind.clone(), object.schema.clone(), object.name.clone());
        all.entry(name).or_default().push(object.digest);
    }
    all.values_mut().for_each(|digests| digests.sort_unstable());
    all
}

/// Missing and extra definitions, and the names of those that differ.
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
    differences.extend(extra.map(|name| format!("{} was restored but is not in the backup", shown(name))));
    (differences, other)
}

/// Everything except rows and definitions. Permitted differences become notes.
pub(crate) fn details(stored: &Detail, restored: &Detail, notes: &mut Vec<String>) -> Vec<String> {
    let mut differences = Vec::new();
    let sequences = |detail: &Detail| {
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
        differences.push(format!("sequence {schema}.{name} was restored but is not in the backup"));
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

fn database(before: &Database, after: &Database, differences: &mut Vec<String>) {
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
    let provider = |of: &Database| of.locale_provider.clone().unwrap_or_else(|| "c".to_owned());
    compare("locale provider", &provider(before), &provider(after));
    compare("locale", &before.locale, &after.locale);
    compare("ICU rules", &before.icu_rules, &after.icu_rules);
    compare("connection limit", &before.connection_limit, &after.connection_limit);
    compare("comment", &before.comment, &after.comment);
    compare("privileges", &before.grants, &after.grants);
    if before.settings != after.settings {
        // Values may be secret.
        let names = |of: &Database| {
            let name = |s: &Setting| match &s.role {
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
