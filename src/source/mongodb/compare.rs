//! Comparison of a backed-up MongoDB database with the restored one.

use std::collections::{BTreeMap, BTreeSet};

use super::{Collection, Detail, Index};
use crate::source::{manifest::Object, verify::compare};

/// Indexes that a server did not accept unchanged: collection and name of each.
pub(crate) type ChangedIndexes = BTreeSet<(String, String)>;

/// Whether a collection of MongoDB belongs to the server, such as users and roles: a restore leaves it out with a note.
fn is_of_server(collection: &str) -> bool {
    collection.starts_with("system.") && collection != "system.js"
}

/// Collections of MongoDB: documents and content.
pub(crate) fn collections(stored: &[Object], restored: &[Object]) -> Vec<String> {
    let own = |all: &[Object]| -> Vec<Object> {
        all.iter().filter(|object| !is_of_server(&object.name)).cloned().collect()
    };
    compare::objects(&own(stored), &own(restored))
}

/// Definitions besides documents. The restore has reported the `changed` indexes.
pub(crate) fn details(
    stored: &Detail,
    restored: &Detail,
    changed: &ChangedIndexes,
    notes: &mut Vec<String>,
) -> Vec<String> {
    let mut differences = Vec::new();
    let own = |collection: &&Collection| !is_of_server(&collection.name);
    let mut after: BTreeMap<&str, &Collection> =
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
        let is_changed = |index: &&Index| changed.contains(&(name.clone(), index.name.clone()));
        for index in before.indexes.iter().filter(|index| !is_changed(index)) {
            match found.indexes.iter().find(|other| other.name == index.name) {
                None => differences.push(format!("{name}: the index {} is missing", index.name)),
                // The server creates this one itself; its collation is that of the options.
                Some(other) if index.name != "_id_" && other.digest != index.digest => {
                    differences.push(format!("{name}: the definition of the index {} differs", index.name));
                }
                Some(_) => {}
            }
        }
        // Servers create indexes of their own for a time series.
        let extra = found.indexes.iter().filter(|index| {
            before.kind != "timeseries" && !before.indexes.iter().any(|other| other.name == index.name)
        });
        differences
            .extend(extra.map(|index| format!("{name}: the index {} is not in the backup", index.name)));
        if found.search_indexes != before.search_indexes {
            notes
                .push(format!("{name}: its search indexes are not proven, because only Atlas supports them"));
        }
    }
    differences
        .extend(after.keys().map(|name| format!("collection {name} was restored but is not in the backup")));
    differences
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::digest::Digest128;

    fn object(name: &str) -> Object {
        Object {
            kind: "collection".into(),
            schema: None,
            name: name.into(),
            rows: 1,
            bytes: 9,
            digest: Digest128::of(name.as_bytes()),
        }
    }

    #[test]
    fn what_belongs_to_a_mongodb_server_is_not_compared() {
        let stored = [object("orders"), object("system.users")];
        assert!(collections(&stored, &[object("orders"), object("system.version")]).is_empty());
        assert_eq!(collections(&stored, &[]), ["collection orders is missing"]);
    }
}
