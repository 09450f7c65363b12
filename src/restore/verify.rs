//! Reading a restored database back and comparing it with what was backed up: what a drill does in a scratch server, here
//! in the database that was restored into.

use std::collections::BTreeSet;

use super::{Options, Restored, target::Target};
use crate::{
    error::{Error, Result},
    source::{
        Item, Source,
        manifest::{Digested, Manifest, Object},
        mongodb::{self, Mongodb},
        mysql::{self, Mysql},
        postgres::{
            self, Postgres, Role,
            compare::Definitions,
            verify::{definitions as by_definitions, tables as by_tables},
        },
        restore::Selected,
        verify::{
            compare::{self, shown},
            sink::Nowhere,
        },
    },
    stream::{cancel::Cancel, files::Files},
};

/// So many differences are listed.
const LISTED: usize = 20;

/// What was restored, and how.
pub(super) struct Stored<'a> {
    pub(super) manifest: &'a Manifest,
    pub(super) files: &'a dyn Files,
    pub(super) roles: &'a [Role],
    pub(super) options: &'a Options,
    pub(super) notice: &'a dyn Fn(&str),
    pub(super) cancel: &'a Cancel,
}

/// Fails if a database is not what was backed up.
pub(super) fn verify(target: &Target, stored: &Stored<'_>, done: &mut Restored) -> Result<()> {
    if let Digested::No(reason) = &stored.manifest.digested {
        return Err(Error::failed(
            "the contents cannot be compared: the dump was not understood when it was made",
        )
        .because_text(reason));
    }
    (stored.notice)("reading everything back to compare it");
    let mut notes = Vec::new();
    let differences = match target {
        Target::Postgres { target, clients } => of_postgres(target, clients, stored, done, &mut notes)?,
        Target::Mysql { target, clients } => of_mysql(target, clients, stored, done, &mut notes)?,
        Target::Mongodb(target) => of_mongodb(target, stored, done, &mut notes)?,
        Target::Storage(_) => return Ok(()),
    };
    done.notes.append(&mut notes);
    done.compared = differences.is_empty();
    if done.compared {
        return Ok(());
    }
    if stored.options.keep_going {
        // An error would hide what else is missing.
        done.differences = differences;
        return Ok(());
    }
    let more = differences.len().saturating_sub(LISTED);
    let listed = differences.into_iter().take(LISTED).collect::<Vec<_>>().join("; ");
    let rest = if more > 0 { format!("; and {more} more") } else { String::new() };
    Err(Options::wrong(&format!("{listed}{rest}")))
}

/// Reads what the server has, as a backup would. What the backup lacks is not compared.
fn read(source: &dyn Source, database: &str, stored: &Stored<'_>) -> Result<Manifest> {
    let item = Item { name: database.to_owned(), estimate: None, problem: None };
    let mut again = source
        .dump(&item, &Nowhere::default(), stored.cancel)
        .map_err(|error| error.context("the restored database cannot be read back"))?;
    again.forget_omitted(stored.manifest);
    match &again.digested {
        Digested::Yes => Ok(again),
        Digested::No(reason) => {
            Err(Error::failed("what was restored could not be understood when it was read back")
                .because_text(reason))
        }
    }
}

/// The tables of a manifest that were restored; of another one also those that it alone has.
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

fn of_postgres(
    target: &postgres::restore::Target,
    clients: &postgres::clients::Clients,
    stored: &Stored<'_>,
    done: &Restored,
    notes: &mut Vec<String>,
) -> Result<Vec<String>> {
    let manifest = stored.manifest;
    let source = quiet(target, clients, stored)?;
    let again = read(&source, &target.database, stored)?;
    let everything = Selected::default();
    let selected = done.selected.as_ref().unwrap_or(&everything);
    let one_table = stored.options.table.is_some();
    let restored = tables(&again.objects, selected, (!one_table).then_some(manifest.objects.as_slice()));
    let chosen = Manifest { objects: tables(&manifest.objects, selected, None), ..manifest.clone() };
    let mut again = Manifest { objects: restored, ..again };
    let compared = by_tables::compare(&chosen, &mut again, stored.files, notes)?;
    let mut differences = compared.differences;
    notes.extend((!compared.unclear.is_empty()).then(|| {
        format!(
            "rows counted, but not compared, because an earlier version recorded them otherwise: {}",
            compared.unclear.join(", ")
        )
    }));
    let (Some(before), Some(after)) = (&manifest.postgres, &again.postgres) else { return Ok(differences) };
    let (mut before, mut after) = (before.clone(), after.clone());
    let is_selected =
        |s: &postgres::Sequence| selected.sequences.contains(&(s.schema.clone(), s.name.clone()));
    let known: BTreeSet<_> = before.sequences.iter().map(|s| (s.schema.clone(), s.name.clone())).collect();
    before.sequences.retain(is_selected);
    after
        .sequences
        .retain(|s| is_selected(s) || (!one_table && !known.contains(&(s.schema.clone(), s.name.clone()))));
    if stored.options.skip_superuser || stored.options.keep_going || one_table {
        // What was left out or is missing is said elsewhere.
        before.extensions.retain(|e| after.extensions.iter().any(|there| there.name == e.name));
    }
    if one_table {
        before.large_objects = after.large_objects.clone();
    }
    let databases = (before.database.take(), after.database.take());
    differences.extend(postgres::compare::details(&before, &after, notes));
    if !one_table {
        // Another name, owner or place of the whole may be what was asked for.
        let only = |database| postgres::Detail { database, ..postgres::Detail::default() };
        notes.extend(postgres::compare::details(&only(databases.0), &only(databases.1), &mut Vec::new()));
        differences.extend(definitions(target, clients, stored, (&before, &after), notes));
    }
    Ok(differences)
}

/// The target as a source, whose event triggers do not fire when it is read.
fn quiet(
    target: &postgres::restore::Target,
    clients: &postgres::clients::Clients,
    stored: &Stored<'_>,
) -> Result<Postgres> {
    let params = postgres::restore::quiet_params(target, clients, stored.cancel)?;
    Ok(Postgres::at(&stored.manifest.source, params, clients.clone(), &target.maintenance_db))
}

/// Servers write some definitions otherwise once they have been loaded, those of another version more so. Whether that is all
/// is seen by loading the stored definitions once more, without rows, into a database that is dropped afterwards.
fn definitions(
    target: &postgres::restore::Target,
    clients: &postgres::clients::Clients,
    stored: &Stored<'_>,
    (before, after): (&postgres::Detail, &postgres::Detail),
    notes: &mut Vec<String>,
) -> Vec<String> {
    let recorded = postgres::compare::definitions(before.schema_objects.iter());
    let mut restored = postgres::compare::definitions(after.schema_objects.iter());
    if recorded == restored {
        return Vec::new();
    }
    // What is loaded twice is equal to itself: that it is what was backed up, the manifest says.
    match postgres::restore::read_toc(stored.files) {
        Ok(toc) if by_definitions::are_recorded(&toc, stored.manifest) => {}
        Ok(_) => return vec![by_definitions::NOT_RECORDED.to_owned()],
        Err(error) => return vec![error.summary()],
    }
    match loaded_again(target, clients, stored) {
        // Loaded without rows it has no large objects: how many they are, and their content, is compared in any case.
        Ok(mut canonical) => {
            canonical.retain(|name, _| !is_of_large_object(name));
            restored.retain(|name, _| !is_of_large_object(name));
            differing(&canonical, &restored)
        }
        Err(error) => {
            let differing = differing(&recorded, &restored).len();
            notes.push(format!(
                "{differing} definitions read otherwise than in the backup; whether they mean the same could not be found \
                 out, because they could not be loaded into another database for comparison: {}",
                error.summary()
            ));
            Vec::new()
        }
    }
}

/// How this server writes the stored definitions.
fn loaded_again(
    target: &postgres::restore::Target,
    clients: &postgres::clients::Clients,
    stored: &Stored<'_>,
) -> Result<Definitions> {
    let mut random = [0_u8; 8];
    getrandom::fill(&mut random).map_err(|error| {
        Error::failed("the system gives no random numbers").because_text(error.to_string())
    })?;
    let name = format!("tik_backup_verify_{:016x}", u64::from_ne_bytes(random));
    let again = postgres::restore::Target { database: name.clone(), ..target.clone() };
    let options = Options { definitions: true, verify: false, no_roles: true, ..stored.options.clone() };
    let loaded = postgres::restore::restore(
        stored.manifest,
        stored.files,
        stored.roles,
        &again,
        clients,
        &options,
        stored.cancel,
        &|_| {},
    )
    .and_then(|_| read(&quiet(target, clients, stored)?, &name, stored));
    // Its name is random: nothing but what was just created can have it.
    let dropped = postgres::restore::drop_database(&again, clients, stored.cancel);
    let canonical = loaded?;
    dropped.map_err(|error| {
        error.context(format!("the database {name}, made for comparison, is still there"))
    })?;
    let detail = canonical.postgres.unwrap_or_default();
    Ok(postgres::compare::definitions(detail.schema_objects.iter()))
}

/// Whether a definition belongs to a large object.
fn is_of_large_object((kind, _, name): &(String, String, String)) -> bool {
    kind.starts_with("BLOB") || name.starts_with("LARGE OBJECT")
}

fn differing(expected: &Definitions, found: &Definitions) -> Vec<String> {
    let (mut differences, other) = postgres::compare::compare_definitions(expected, found);
    let otherwise = |name| format!("{} is defined otherwise than it was", shown(name));
    differences.extend(other.iter().map(otherwise));
    differences
}

fn of_mysql(
    target: &mysql::restore::Target,
    clients: &mysql::clients::Clients,
    stored: &Stored<'_>,
    done: &Restored,
    notes: &mut Vec<String>,
) -> Result<Vec<String>> {
    let source = Mysql::at(&stored.manifest.source, target.params.clone(), clients.clone());
    let again = read(&source, &target.database, stored)?;
    if let Some(table) = &stored.options.table {
        return Ok(compare::objects(&named(&stored.manifest.objects, table), &named(&again.objects, table)));
    }
    // What an engine shows that keeps no rows of its own is not in the database.
    let own = |objects: &[Object]| -> Vec<Object> {
        objects.iter().filter(|object| !done.rowless.contains(&object.name)).cloned().collect()
    };
    let mut differences = compare::objects(&own(&stored.manifest.objects), &own(&again.objects));
    if let (Some(before), Some(after)) = (&stored.manifest.mysql, &again.mysql) {
        let before = &mysql::restore::as_made(before, after, &done.redefined);
        let mut after = after.clone();
        if !done.created {
            after.database.clone_from(&before.database);
        }
        let other = mysql::compare::details(&before.without_views(&done.missing), &after);
        // Without their definers, definitions are others.
        if stored.options.no_owner { notes.extend(other) } else { differences.extend(other) }
    }
    Ok(differences)
}

fn of_mongodb(
    target: &mongodb::restore::Target,
    stored: &Stored<'_>,
    done: &Restored,
    notes: &mut Vec<String>,
) -> Result<Vec<String>> {
    let source = Mongodb::at(&stored.manifest.source, target.params.copied());
    let again = read(&source, &target.database, stored)?;
    if let Some(table) = &stored.options.table {
        return Ok(compare::objects(&named(&stored.manifest.objects, table), &named(&again.objects, table)));
    }
    let mut differences = mongodb::compare::collections(&stored.manifest.objects, &again.objects);
    if let (Some(before), Some(after)) = (&stored.manifest.mongodb, &again.mongodb) {
        differences.extend(mongodb::compare::details(before, after, &done.changed_indexes, notes));
    }
    Ok(differences)
}

fn named(objects: &[Object], name: &str) -> Vec<Object> {
    objects.iter().filter(|object| object.name == name).cloned().collect()
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
                "view public.d was restored and never backed up",
                "view public.b is defined otherwise than it was",
            ]
        );
    }
}
