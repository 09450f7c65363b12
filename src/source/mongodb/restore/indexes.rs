//! Creation of indexes: unchanged, or converted for a newer server, with a comparison afterwards.

use std::slice;

use mongodb::bson::{
    RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf, cstr, raw::CString, raw::RawElement, rawdoc,
};

use super::{
    inventory::Entry,
    legacy::{self, Converted},
    server::{Refusal, Server, is_passing_code},
};
use crate::{
    error::{Error, Result},
    source::restore::Missing,
};

/// Error codes that do not concern the definition of an index: not authorized, refused by the provider, a duplicate
/// key, a missing collection.
const NOT_ABOUT_DEFINITIONS: [i32; 4] = [13, 8000, 11000, 26];
/// Another index has the same keys.
const OPTIONS_CONFLICT: i32 = 85;

/// Changed indexes of a collection.
#[derive(Debug, Default)]
pub(super) struct Changed {
    /// Names of those that were converted or left out.
    pub(super) names: Vec<String>,
    /// How they were converted.
    pub(super) notes: Vec<String>,
    /// Those that were left out.
    pub(super) missing: Vec<Missing>,
}

impl Changed {
    fn converted(&mut self, entry: &Entry, name: String, how: &str) {
        self.notes.push(format!(
            "the index {name} of {} was converted to what this server accepts: {how}",
            entry.name
        ));
        self.names.push(name);
    }

    fn left_out(&mut self, entry: &Entry, name: String, reason: &str) {
        self.missing.push(Missing {
            kind: "INDEX".to_owned(),
            schema: String::new(),
            name: format!("{}.{name}", entry.name),
            reason: reason.to_owned(),
        });
        self.names.push(name);
    }
}

/// Creates the indexes of a collection and verifies them. Returns the changed ones.
pub(super) fn restore(server: &Server<'_>, entry: &Entry) -> Result<Changed> {
    let mut changed = Changed::default();
    let mut wanted = Vec::new();
    for spec in entry.metadata.indexes.iter().filter(|spec| !is_id_index(spec)) {
        if matches!(spec.get("v"), Ok(Some(_))) && version(spec) < 1.0 {
            changed.converted(entry, name_of(spec), "without v");
        }
        wanted.push(adapt(spec, entry)?);
    }
    let created = match create(server, entry, &wanted) {
        Ok(()) => wanted,
        // The server creates all or none: on failure each is created individually, and refused ones are converted.
        Err(refusal) if is_about_definition(&refusal) && wanted.iter().any(|spec| is_legacy(spec)) => {
            create_each(server, entry, wanted, &mut changed)?
        }
        Err(refusal) => return Err(without_indexes(refusal)),
    };
    let found = server.documents(rawdoc! { "listIndexes": entry.name.as_str(), "cursor": {} })?;
    compare(&created, &found, entry.metadata.is_time_series())?;
    Ok(changed)
}

/// Creates indexes one by one, those of old servers in a form that this one accepts; returns what was created.
fn create_each(
    server: &Server<'_>,
    entry: &Entry,
    wanted: Vec<RawDocumentBuf>,
    changed: &mut Changed,
) -> Result<Vec<RawDocumentBuf>> {
    let mut created = Vec::new();
    for spec in wanted {
        let Err(refusal) = create(server, entry, slice::from_ref(&spec)) else {
            created.push(spec);
            continue;
        };
        let converted =
            if is_about_definition(&refusal) { legacy::convert(&spec)? } else { Converted::Nothing };
        match converted {
            Converted::Nothing => return Err(without_indexes(refusal)),
            Converted::Gone(reason) => changed.left_out(entry, name_of(&spec), reason),
            Converted::To(other, how) => match create(server, entry, slice::from_ref(&other)) {
                Ok(()) => {
                    changed.converted(entry, name_of(&spec), &how);
                    created.push(other);
                }
                Err(refusal) if refusal.code == Some(OPTIONS_CONFLICT) => {
                    let reason = format!("another index has the same keys once it is converted ({how})");
                    changed.left_out(entry, name_of(&spec), &reason);
                }
                Err(refusal) => return Err(without_indexes(refusal)),
            },
        }
    }
    Ok(created)
}

fn create(server: &Server<'_>, entry: &Entry, wanted: &[RawDocumentBuf]) -> Result<(), Refusal> {
    if wanted.is_empty() {
        return Ok(());
    }
    let mut specs = RawArrayBuf::new();
    wanted.iter().for_each(|spec| specs.push(spec.as_ref()));
    server.write(rawdoc! { "createIndexes": entry.name.as_str(), "indexes": specs }).map(drop)
}

fn is_about_definition(refusal: &Refusal) -> bool {
    refusal.code.is_some_and(|code| !is_passing_code(code) && !NOT_ABOUT_DEFINITIONS.contains(&code))
}

fn is_legacy(spec: &RawDocument) -> bool {
    legacy::convert(spec).is_ok_and(|converted| converted != Converted::Nothing)
}

fn without_indexes(refusal: Refusal) -> Error {
    Error::from(refusal).context("its documents are restored, but its indexes are not")
}

/// Creates search indexes; returns a note if the server does not do that.
pub(super) fn restore_search(server: &Server<'_>, entry: &Entry) -> Result<Option<String>> {
    if entry.search_indexes.is_empty() {
        return Ok(None);
    }
    let mut specs = RawArrayBuf::new();
    for index in &entry.search_indexes {
        let mut spec = RawDocumentBuf::new();
        for (from, to) in [
            (cstr!("name"), cstr!("name")),
            (cstr!("type"), cstr!("type")),
            (cstr!("latestDefinition"), cstr!("definition")),
        ] {
            if let Ok(Some(value)) = index.get(from) {
                spec.append(to, value);
            }
        }
        specs.push(spec);
    }
    let command = rawdoc! { "createSearchIndexes": entry.name.as_str(), "indexes": specs };
    let Err(refusal) = server.write(command) else { return Ok(None) };
    if refusal.code.is_none() {
        return Err(refusal.into());
    }
    let names: Vec<_> = entry.search_indexes.iter().map(|index| name_of(index)).collect();
    Ok(Some(format!(
        "not restored: the search indexes of {} ({}): {}; their definitions are in the snapshot",
        entry.name,
        names.join(", "),
        refusal.error.summary()
    )))
}

/// The index that every collection has, or that its option `clusteredIndex` makes.
fn is_id_index(spec: &RawDocument) -> bool {
    let Ok(key) = spec.get_document("key") else { return false };
    let mut fields = key.iter_elements().map_while(Result::ok);
    let (Some(field), None) = (fields.next(), fields.next()) else { return false };
    // Old servers stored any value in the definition, such as {_id: ObjectId(…)}.
    let is_named = spec.get_str("name").is_ok_and(|name| name == "_id_");
    field.key().as_str() == "_id"
        && field
            .value()
            .is_ok_and(|value| is_number(value) || (is_named && !matches!(value, RawBsonRef::String(_))))
}

fn is_number(value: RawBsonRef<'_>) -> bool {
    matches!(value, RawBsonRef::Int32(_) | RawBsonRef::Int64(_) | RawBsonRef::Double(_))
}

/// The specification in the form of current servers; all options that they may support are kept.
fn adapt(spec: &RawDocument, entry: &Entry) -> Result<RawDocumentBuf> {
    let version = version(spec);
    let mut adapted = RawDocumentBuf::new();
    let mut has_collation = false;
    for field in spec.iter_elements() {
        let field = field
            .map_err(|error| Error::failed("an index is not described in valid BSON").because(&error))?;
        match field.key().as_str() {
            // The name space; servers since 4.4 do not want it.
            "ns" => continue,
            // Servers no longer build those of 2012.
            "v" if version < 1.0 => continue,
            "collation" => {
                has_collation = true;
                // Servers from 9.0 on report it for old indexes too, which may not have one.
                if version < 2.0 && is_simple(&field) {
                    continue;
                }
            }
            _ => {}
        }
        let value = field
            .value()
            .map_err(|error| Error::failed("an index is not described in valid BSON").because(&error))?;
        adapted.append(CString::from(field.key()), value);
    }
    if !has_collation && has_own_collation(entry) {
        // An index without one compares bytes, but if it is created without one, it gets the collection's.
        adapted.append(cstr!("collation"), rawdoc! { "locale": "simple" });
    }
    Ok(adapted)
}

/// The version of an index; 0 where its definition has none.
fn version(spec: &RawDocument) -> f64 {
    match spec.get("v").ok().flatten() {
        Some(RawBsonRef::Int32(version)) => f64::from(version),
        Some(RawBsonRef::Int64(version)) => version as f64,
        Some(RawBsonRef::Double(version)) => version,
        _ => 0.0,
    }
}

fn is_simple(collation: &RawElement<'_>) -> bool {
    collation.value().ok().and_then(|value| value.as_document()).is_some_and(locale_is_simple)
}

fn locale_is_simple(collation: &RawDocument) -> bool {
    collation.get_str("locale").is_ok_and(|locale| locale == "simple")
}

fn has_own_collation(entry: &Entry) -> bool {
    let collation = entry.metadata.option("collation").and_then(RawBsonRef::as_document);
    collation.is_some_and(|collation| !locale_is_simple(collation))
}

/// Names and keys must be unchanged. Servers create indexes of their own for a time series.
fn compare(wanted: &[RawDocumentBuf], found: &[RawDocumentBuf], may_have_more: bool) -> Result<()> {
    let key = |spec: &RawDocument| spec.get_document("key").map(|key| key.to_owned()).unwrap_or_default();
    let others = |specs: &[RawDocumentBuf]| -> Vec<(String, RawDocumentBuf)> {
        specs.iter().filter(|spec| !is_id_index(spec)).map(|spec| (name_of(spec), key(spec))).collect()
    };
    let (wanted, found) = (others(wanted), others(found));
    let missing =
        wanted.iter().filter(|index| !found.contains(index)).map(|(name, _)| format!("lacks {name}"));
    let surplus = found.iter().filter(|index| !may_have_more && !wanted.contains(index));
    let wrong: Vec<_> = missing.chain(surplus.map(|(name, _)| format!("has {name}"))).take(5).collect();
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Error::failed(format!("its indexes differ from those in the backup: it {}", wrong.join(", it ")))
        .hint("look at the server's log; do not use the database"))
}

fn name_of(spec: &RawDocument) -> String {
    spec.get_str("name").unwrap_or("(without a name)").to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::source::mongodb::format::metadata::Metadata;

    fn entry(options: RawDocumentBuf) -> Entry {
        let metadata = Metadata { options, ..Metadata::named("orders".to_owned()) };
        Entry { name: "orders".to_owned(), metadata, data: None, documents: None, search_indexes: Vec::new() }
    }

    #[test]
    fn an_index_is_created_with_all_it_has_in_its_order() {
        let plain = entry(RawDocumentBuf::new());
        let spec =
            rawdoc! { "v": 2, "key": { "z": 1, "a": -1.0 }, "name": "x", "ns": "shop.orders", "new": [1] };
        let wanted = rawdoc! { "v": 2, "key": { "z": 1, "a": -1.0 }, "name": "x", "new": [1] };
        assert_eq!(adapt(&spec, &plain).unwrap(), wanted);
        let old = rawdoc! { "v": 0, "key": { "a": 1 }, "name": "a_1" };
        assert_eq!(adapt(&old, &plain).unwrap(), rawdoc! { "key": { "a": 1 }, "name": "a_1" });
    }

    #[test]
    fn an_index_does_not_get_the_collation_of_its_collection() {
        let simple = rawdoc! { "locale": "simple" };
        let finnish = rawdoc! { "locale": "fi" };
        let collated = entry(rawdoc! { "collation": finnish.clone() });
        let plain = entry(rawdoc! { "collation": simple.clone() });
        let spec = rawdoc! { "v": 2, "key": { "a": 1 }, "name": "a_1" };
        let wanted = rawdoc! { "v": 2, "key": { "a": 1 }, "name": "a_1", "collation": simple.clone() };
        assert_eq!(adapt(&spec, &collated).unwrap(), wanted);
        assert_eq!(adapt(&spec, &plain).unwrap(), spec);
        assert_eq!(adapt(&wanted, &plain).unwrap(), wanted);
        let own = rawdoc! { "v": 2, "key": { "a": 1 }, "name": "a_1", "collation": finnish };
        assert_eq!(adapt(&own, &collated).unwrap(), own);
        let first = rawdoc! { "v": 1, "key": { "a": 1 }, "name": "a_1", "collation": simple };
        assert_eq!(adapt(&first, &plain).unwrap(), rawdoc! { "v": 1, "key": { "a": 1 }, "name": "a_1" });
    }

    #[test]
    fn only_the_plain_index_of_ids_is_passed_over() {
        assert!(is_id_index(&rawdoc! { "key": { "_id": 1 }, "name": "_id_" }));
        assert!(is_id_index(&rawdoc! { "key": { "_id": 1.0 }, "name": "own name", "clustered": true }));
        assert!(is_id_index(&rawdoc! { "key": { "_id": true }, "name": "_id_" }));
        assert!(!is_id_index(&rawdoc! { "key": { "_id": "hashed" }, "name": "_id_hashed" }));
        assert!(!is_id_index(&rawdoc! { "key": { "_id": "hashed" }, "name": "_id_" }));
        assert!(!is_id_index(&rawdoc! { "key": { "_id": 1, "a": 1 }, "name": "x" }));
        assert!(!is_id_index(&rawdoc! { "name": "x" }));
    }

    #[test]
    fn missing_different_and_surplus_indexes_are_found() {
        let id = rawdoc! { "key": { "_id": 1 }, "name": "_id_" };
        let one = rawdoc! { "key": { "a": 1, "b": 1 }, "name": "x", "v": 1 };
        let newer = rawdoc! { "v": 2, "key": { "a": 1, "b": 1 }, "name": "x" };
        let turned = rawdoc! { "key": { "b": 1, "a": 1 }, "name": "x" };
        assert!(compare(&[id.clone(), one.clone()], &[newer.clone(), id.clone()], false).is_ok());
        let said = |wanted: &[RawDocumentBuf], found: &[RawDocumentBuf], more| {
            compare(wanted, found, more).map_err(|error| error.summary()).err().unwrap_or_default()
        };
        assert!(said(std::slice::from_ref(&one), &[], false).ends_with("it lacks x"));
        assert!(said(std::slice::from_ref(&one), &[turned], false).ends_with("it lacks x, it has x"));
        assert!(said(&[], std::slice::from_ref(&one), false).ends_with("it has x"));
        assert_eq!(said(&[], &[one], true), "");
    }
}
