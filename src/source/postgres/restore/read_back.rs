//! Reading a restored database back and comparing it with the backup, as a drill does in a scratch server.

use std::collections::BTreeSet;

use super::{Target, drop_database, quiet_params, read_toc, restore, select::Selected, target::roles};
use crate::{
    error::{Error, Result},
    source::{
        manifest::Object,
        postgres::{
            Detail, Postgres, Sequence,
            clients::Clients,
            compare::{self as of_kind, Definitions},
            verify::{definitions as by_definitions, tables as by_tables},
        },
        restore::{Options, Restored},
        target::{RestoreJob, read_again},
        verify::compare::shown,
    },
};

/// The restored tables of a manifest, and tables that only the other manifest has.
fn tables(objects: &[Object], selected: &Selected, others: Option<&[Object]>) -> Vec<Object> {
    let stored: BTreeSet<_> = others.unwrap_or_default().iter().map(name_of).collect();
    let keep = |object: &&Object| {
        let name = name_of(object);
        selected.tables.contains(&name) || (others.is_some() && !stored.contains(&name))
    };
    objects.iter().filter(keep).cloned().collect()
}

fn name_of(object: &Object) -> (String, String) {
    (object.schema.clone().unwrap_or_default(), object.name.clone())
}

/// The differences between a restored database and the backup.
///
/// # Errors
/// It cannot be read.
pub(super) fn differences(
    target: &Target,
    clients: &Clients,
    stored: &RestoreJob<'_>,
    done: &Restored,
    notes: &mut Vec<String>,
) -> Result<Vec<String>> {
    let manifest = stored.manifest;
    let source = quiet(target, clients, stored)?;
    let mut again = read_again(&source, &target.database, stored)?;
    let selected = &done.own::<Selected>();
    let one_table = stored.options.table.is_some();
    let restored = tables(&again.objects, selected, (!one_table).then_some(manifest.objects.as_slice()));
    let mut chosen = manifest.clone();
    chosen.objects = tables(&manifest.objects, selected, None);
    again.objects = restored;
    let compared = by_tables::compare(&chosen, &mut again, stored.files, notes)?;
    let mut differences = compared.differences;
    notes.extend((!compared.unclear.is_empty()).then(|| {
        format!(
            "rows counted, but not compared, because an earlier version recorded them otherwise: {}",
            compared.unclear.join(", ")
        )
    }));
    let (Some(before), Some(after)) = (manifest.detail::<Detail>(), again.detail::<Detail>()) else {
        return Ok(differences);
    };
    let (mut before, mut after) = (before.clone(), after.clone());
    let is_selected = |s: &Sequence| selected.sequences.contains(&(s.schema.clone(), s.name.clone()));
    let known: BTreeSet<_> = before.sequences.iter().map(|s| (s.schema.clone(), s.name.clone())).collect();
    before.sequences.retain(is_selected);
    after
        .sequences
        .retain(|s| is_selected(s) || (!one_table && !known.contains(&(s.schema.clone(), s.name.clone()))));
    if stored.options.skip_superuser || stored.options.keep_going || one_table {
        // Omitted and missing objects are reported elsewhere.
        before.extensions.retain(|e| after.extensions.iter().any(|there| there.name == e.name));
    }
    if one_table {
        before.large_objects = after.large_objects.clone();
    }
    let databases = (before.database.take(), after.database.take());
    differences.extend(of_kind::details(&before, &after, notes));
    if !one_table {
        // A different name, owner or tablespace of the database may be intended.
        let only = |database| Detail { database, ..Detail::default() };
        notes.extend(of_kind::details(&only(databases.0), &only(databases.1), &mut Vec::new()));
        differences.extend(definitions(target, clients, stored, (&before, &after), notes));
    }
    Ok(differences)
}

/// The target as a source; its event triggers do not fire when it is read.
fn quiet(target: &Target, clients: &Clients, stored: &RestoreJob<'_>) -> Result<Postgres> {
    let params = quiet_params(target, clients, stored.cancel)?;
    Ok(Postgres::at(&stored.manifest.source, params, clients.clone(), &target.maintenance_db))
}

/// Servers write some definitions differently after a reload, even more so servers of another version. To see whether that is
/// the only difference, the stored definitions are loaded once more, without rows, into a database that is dropped afterwards.
fn definitions(
    target: &Target,
    clients: &Clients,
    stored: &RestoreJob<'_>,
    (before, after): (&Detail, &Detail),
    notes: &mut Vec<String>,
) -> Vec<String> {
    let recorded = of_kind::definitions(before.schema_objects.iter());
    let mut restored = of_kind::definitions(after.schema_objects.iter());
    if recorded == restored {
        return Vec::new();
    }
    // Both loads use the same dump; the manifest proves that it is the one that was backed up.
    match read_toc(stored.files) {
        Ok(toc) if by_definitions::are_recorded(&toc, stored.manifest) => {}
        Ok(_) => return vec![by_definitions::NOT_RECORDED.to_owned()],
        Err(error) => return vec![error.summary()],
    }
    match loaded_again(target, clients, stored) {
        // Loaded without rows it has no large objects: their number and content are compared in any case.
        Ok(mut canonical) => {
            canonical.retain(|name, _| !is_of_large_object(name));
            restored.retain(|name, _| !is_of_large_object(name));
            differing(&canonical, &restored)
        }
        Err(error) => {
            let differing = differing(&recorded, &restored).len();
            notes.push(format!(
                "the text of {differing} definitions differs from the backup; whether the meaning differs could not be \
                 checked, because they could not be loaded into another database for comparison: {}",
                error.summary()
            ));
            Vec::new()
        }
    }
}

/// How this server writes the stored definitions.
fn loaded_again(target: &Target, clients: &Clients, stored: &RestoreJob<'_>) -> Result<Definitions> {
    let mut random = [0_u8; 8];
    getrandom::fill(&mut random).map_err(|error| {
        Error::failed("the system gives no random numbers").because_text(error.to_string())
    })?;
    let name = format!("tik_backup_verify_{:016x}", u64::from_ne_bytes(random));
    let again = Target { database: name.clone(), ..target.clone() };
    let options = Options { definitions: true, verify: false, no_roles: true, ..stored.options.clone() };
    let loaded = restore(
        stored.manifest,
        stored.files,
        roles(stored),
        &again,
        clients,
        &options,
        stored.cancel,
        &|_| {},
    )
    .and_then(|_| read_again(&quiet(target, clients, stored)?, &name, stored));
    // The name is random, so only the database just created can have it.
    let dropped = drop_database(&again, clients, stored.cancel);
    let canonical = loaded?;
    dropped.map_err(|error| {
        error.context(format!("the database {name}, made for comparison, is still there"))
    })?;
    let detail = canonical.into_detail::<Detail>().unwrap_or_default();
    Ok(of_kind::definitions(detail.schema_objects.iter()))
}

/// Whether a definition belongs to a large object.
fn is_of_large_object((kind, _, name): &(String, String, String)) -> bool {
    kind.starts_with("BLOB") || name.starts_with("LARGE OBJECT")
}

fn differing(expected: &Definitions, found: &Definitions) -> Vec<String> {
    let (mut differences, other) = of_kind::compare_definitions(expected, found);
    let otherwise = |name| format!("{} is defined otherwise than it was", shown(name));
    differences.extend(other.iter().map(otherwise));
    differences
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::digest::Digest128;

    fn object(name: &str) -> Object {
        Object {
            kind: "table".to_owned(),
            schema: Some("public".to_owned()),
            name: name.to_owned(),
            rows: 1,
            bytes: 1,
            digest: Digest128::of(b"x"),
        }
    }

    #[test]
    fn what_was_left_out_is_not_compared_and_what_nobody_restored_is() {
        let stored = [object("kept"), object("left_out")];
        let there = [object("kept"), object("left_out"), object("surplus")];
        let selected = Selected {
            tables: [("public".to_owned(), "kept".to_owned())].into(),
            sequences: BTreeSet::new(),
        };
        let names = |objects: Vec<Object>| objects.into_iter().map(|o| o.name).collect::<Vec<_>>();
        assert_eq!(names(tables(&stored, &selected, None)), ["kept"]);
        assert_eq!(names(tables(&there, &selected, Some(&stored))), ["kept", "surplus"]);
        assert_eq!(names(tables(&there, &selected, None)), ["kept"]);
    }

    #[test]
    fn definitions_differ_by_name_and_by_text() {
        let of = |names: &[(&str, &str)]| -> Definitions {
            let entry = |(name, text): &(&str, &str)| {
                let key = ("VIEW".to_owned(), "public".to_owned(), (*name).to_owned());
                (key, vec![Digest128::of(text.as_bytes())])
            };
            names.iter().map(entry).collect()
        };
        let (before, after) =
            (of(&[("a", "1"), ("b", "1"), ("c", "1")]), of(&[("a", "1"), ("b", "2"), ("d", "1")]));
        assert_eq!(
            differing(&before, &after),
            [
                "view public.c is missing",
                "view public.d was restored but is not in the backup",
                "view public.b is defined otherwise than it was",
            ]
        );
    }
}
