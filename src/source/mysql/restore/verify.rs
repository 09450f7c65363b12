//! After a restore: comparing the database with the manifest.

use std::time::Duration;

use super::Deviations;
use crate::{
    error::{Error, Result},
    source::{
        manifest::{Digested, Manifest, Object},
        mysql::{
            Detail,
            inventory::{Inventory, Objects, listed},
            session::{Session, quote_ident},
        },
        restore::{Options, Restored},
    },
};

/// Counting a large table takes long.
const COUNT_WITHIN: Duration = Duration::from_secs(24 * 3600);
/// Number of tables in one counting query.
const TOGETHER: usize = 100;

/// Counts the rows of every restored table and checks that every object exists.
pub(super) fn verify(
    session: Session<'_>,
    manifest: &Manifest,
    expected: &Objects,
    options: &Options,
    done: &mut Restored,
) -> Result<()> {
    if manifest.digested != Digested::Yes {
        done.notes
            .push("the rows could not be compared: the dump was not digested when it was made".to_owned());
        return Ok(());
    }
    let found = Inventory::ask(&session, &done.database)?;
    // No server lists masking policies where objects of a database are listed.
    let listable = |object: &&(String, String)| object.0 != "masking policy";
    let missing: Vec<_> = expected.difference(&found.objects).filter(listable).collect();
    if !missing.is_empty() {
        return Err(Options::wrong(&format!("it lacks {}", listed(missing))));
    }
    if options.scratch {
        // A drill reads all rows back, which counts them too.
        return Ok(());
    }
    let session = session.limit(COUNT_WITHIN);
    let table = options.table.as_deref();
    let (rowless, tables): (Vec<&Object>, Vec<&Object>) = manifest
        .objects
        .iter()
        .filter(|object| table.is_none_or(|name| object.name == name))
        .partition(|object| found.is_rowless(&object.name));
    if !rowless.is_empty() {
        let rowless: Vec<_> = rowless.into_iter().map(|object| object.name.clone()).collect();
        done.notes.push(format!("not counted, because their engine stores no rows: {}", rowless.join(", ")));
        done.keep(Deviations { rowless, ..done.own() });
    }
    // With its history, a table's count includes all earlier rows.
    let history = manifest.detail::<Detail>().map(|detail| detail.history.as_slice()).unwrap_or_default();
    let mut different = Vec::new();
    for some in tables.chunks(TOGETHER) {
        let counts = some.iter().map(|object| {
            let all = if history.contains(&object.name) { " FOR SYSTEM_TIME ALL" } else { "" };
            format!("SELECT COUNT(*) FROM {}.{}{all}", quote_ident(&done.database), quote_ident(&object.name))
        });
        let counts: Vec<[String; 1]> = session.rows(&counts.collect::<Vec<_>>().join("; "))?;
        for (object, [count]) in some.iter().zip(&counts) {
            if *count == object.rows.to_string() {
                done.tables += 1;
                done.rows += object.rows;
            } else {
                different.push(format!("{} has {count} rows instead of {}", object.name, object.rows));
            }
        }
        if counts.len() != some.len() {
            return Err(Error::failed("the server did not return the row counts of all tables"));
        }
    }
    if different.is_empty() {
        return Ok(());
    }
    let more = different.len().saturating_sub(5);
    different.truncate(5);
    let rest = if more > 0 { format!("; and {more} more") } else { String::new() };
    Err(Options::wrong(&format!("{}{rest}", different.join("; "))))
}
