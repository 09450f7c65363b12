//! Reading a restored database back and comparing it with the backup.

use super::Target;
use crate::{
    error::Result,
    source::{
        mongodb::{Detail, Mongodb, compare as of_kind},
        restore::Restored,
        target::{RestoreJob, named, read_again},
        verify::compare,
    },
};

/// The differences between a restored database and its backup.
///
/// # Errors
/// It cannot be read.
pub(super) fn differences(
    target: &Target,
    stored: &RestoreJob<'_>,
    done: &Restored,
    notes: &mut Vec<String>,
) -> Result<Vec<String>> {
    let source = Mongodb::at(&stored.manifest.source, target.params.copied());
    let again = read_again(&source, &target.database, stored)?;
    if let Some(table) = &stored.options.table {
        return Ok(compare::objects(&named(&stored.manifest.objects, table), &named(&again.objects, table)));
    }
    let mut differences = of_kind::collections(&stored.manifest.objects, &again.objects);
    if let (Some(before), Some(after)) = (stored.manifest.detail::<Detail>(), again.detail::<Detail>()) {
        differences.extend(of_kind::details(before, after, &done.own::<of_kind::ChangedIndexes>(), notes));
    }
    Ok(differences)
}
