//! Checks of the options, the dump and the target before a restore, and notes for the operator.

use super::super::{
    Detail, GLOBALS_SQL,
    clients::{Client, Clients, Version},
    discover::Server,
    globals,
    inventory::Objects,
    session::Session,
};
use crate::{
    error::{Error, Result},
    source::{manifest::Manifest, restore::Options},
};

/// Refuses options that these dumps do not know.
pub(super) fn require_known_options(options: &Options) -> Result<()> {
    Options::refuse(
        &[
            (options.no_privileges, "--no-privileges"),
            (options.no_roles, "--no-roles"),
            (options.skip_superuser, "--skip-superuser-objects"),
        ],
        "MySQL and MariaDB",
        "their database dumps contain no grants; --no-owner drops all definers",
    )?;
    Options::refuse(
        &[(options.keep_going, "--continue")],
        "MySQL and MariaDB",
        "restore the script with --to DIR and load it with their client and --force",
    )
}

/// Fails if the table is known not to be in the dump.
pub(super) fn require_table(manifest: &Manifest, table: &str) -> Result<()> {
    // A dump that was not digested may have tables that are not in the manifest.
    let known = manifest.digested != crate::source::manifest::Digested::Yes
        || manifest.objects.iter().any(|object| object.name == table);
    if known { Ok(()) } else { Err(no_such_table(manifest, table)) }
}

/// The error for a table that is not in the dump.
pub(super) fn no_such_table(manifest: &Manifest, table: &str) -> Error {
    let names = manifest.objects.iter().map(|object| object.name.as_str());
    let error = Error::failed(format!("the snapshot has no table {table}"));
    match names.min_by_key(|name| strsim::damerau_levenshtein(name, table)) {
        Some(nearest) => error.hint(format!("did you mean {nearest}?")),
        None => error,
    }
}

/// A client of the target's family; the dump must be of that family too.
pub(super) fn choose_client<'a>(
    clients: &'a Clients,
    manifest: &Manifest,
    detail: &Detail,
    server: &Server,
) -> Result<&'a Client> {
    if detail.flavour != server.flavour {
        return Err(Error::failed(format!(
            "the dump is of {}, the target is {}: each family writes what the other cannot load",
            manifest.server_version, server.version_text
        ))
        .hint(format!(
            "restore into {}, or restore the files with --to DIR and adapt the script",
            detail.flavour
        )));
    }
    let original = Version::find(manifest.server_version.split_whitespace().nth(1).unwrap_or_default());
    if original.is_some_and(|original| (original.0, original.1) > (server.version.0, server.version.1)) {
        return Err(Error::failed(format!(
            "the dump is of {}, the target is the older {}: it may not support features that the dump uses",
            manifest.server_version, server.version_text
        ))
        .hint("restore into a server of that version or newer, or restore the files with --to DIR"));
    }
    clients.choose(server.flavour, server.version)
}

/// The objects that must be in the database afterwards.
pub(super) fn expected(detail: &Detail, options: &Options) -> Objects {
    let wanted = |kind: &str, name: &str| match &options.table {
        None => true,
        Some(table) => kind == "table" && name == table,
    };
    detail
        .schema_objects
        .iter()
        .filter(|object| wanted(&object.kind, &object.name))
        .map(|object| (object.kind.clone(), object.name.clone()))
        .collect()
}

/// A note with the definers that the target lacks: their views and routines exist, but fail when they are used.
pub(super) fn definers(session: &Session<'_>, detail: &Detail, expected: &Objects) -> Result<Option<String>> {
    let mut definers: Vec<String> = detail
        .schema_objects
        .iter()
        .filter(|object| expected.contains(&(object.kind.clone(), object.name.clone())))
        .filter_map(|object| object.definer.clone())
        .collect();
    definers.sort();
    definers.dedup();
    Ok(match globals::missing(session, &definers)? {
        Some(missing) if missing.is_empty() => None,
        Some(missing) => Some(format!(
            "definers that do not exist here: {}; their objects fail when they are used until the definers are created (see \
             {GLOBALS_SQL} of @globals), or the restore is repeated with --no-owner",
            missing.join(", ")
        )),
        None => {
            Some(format!("it could not be checked whether these definers exist: {}", definers.join(", ")))
        }
    })
}

/// Events start to run where they are restored.
pub(super) fn events(detail: &Detail, options: &Options) -> Option<String> {
    let count = detail.schema_objects.iter().filter(|object| object.kind == "event").count();
    (count > 0 && options.table.is_none()).then(|| {
        format!(
            "{} restored as {}: those enabled run on this server from now on, if its event scheduler is on",
            if count == 1 { "1 event was".to_owned() } else { format!("{count} events were") },
            if count == 1 { "it was" } else { "they were" }
        )
    })
}
