//! Comparing the definitions in the tables of contents of two dumps.

use crate::source::{
    manifest::Manifest,
    postgres::{
        Detail, SchemaObject,
        archive::{self, TocEntry},
        compare,
    },
};

/// Kinds whose definition may be shown: options of servers and the like may hold passwords.
const SHOWN: [&str; 14] = [
    "ACL",
    "CHECK CONSTRAINT",
    "CONSTRAINT",
    "DEFAULT",
    "DEFAULT ACL",
    "DOMAIN",
    "FK CONSTRAINT",
    "INDEX",
    "MATERIALIZED VIEW",
    "SEQUENCE",
    "TABLE",
    "TRIGGER",
    "TYPE",
    "VIEW",
];

/// The first line in which two definitions differ.
pub(super) fn diff(name: &(String, String, String), stored: &[TocEntry], restored: &[TocEntry]) -> String {
    let find = |toc: &[TocEntry]| {
        let of = |entry: &&TocEntry| {
            entry.desc == name.0
                && entry.namespace.as_deref().unwrap_or_default() == name.1
                && entry.tag == name.2
        };
        toc.iter().find(of).map(|entry| (entry.owner.clone().unwrap_or_default(), entry.defn.clone()))
    };
    let (Some((owner, before)), Some((owner_now, after))) = (find(stored), find(restored)) else {
        return String::new();
    };
    if owner != owner_now {
        return format!(": its owner was {owner} and is {owner_now}");
    }
    if !SHOWN.contains(&name.0.as_str()) {
        return String::new();
    }
    let mut lines = before.lines().zip(after.lines());
    match lines.find(|(before, after)| before != after) {
        Some((before, after)) => format!(": `{}` became `{}`", before.trim(), after.trim()),
        None => ": lines were added or are missing".to_owned(),
    }
}

/// The message if they are not.
pub(crate) const NOT_RECORDED: &str = "the definitions in the dump are not those that the manifest recorded";

/// Whether a dump's definitions are those that the manifest recorded.
pub(crate) fn are_recorded(toc: &[TocEntry], manifest: &Manifest) -> bool {
    let of_dump: Vec<SchemaObject> = archive::schema_objects(toc)
        .into_iter()
        .map(|o| SchemaObject { kind: o.desc, schema: o.schema, name: o.name, digest: o.digest })
        .collect();
    let recorded =
        manifest.detail::<Detail>().map(|detail| detail.schema_objects.as_slice()).unwrap_or_default();
    compare::definitions(of_dump.iter()) == compare::definitions(recorded.iter())
}
