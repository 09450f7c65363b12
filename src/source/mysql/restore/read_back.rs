//! Reading a restored database back and comparing it with the backup.

use super::{Deviations, Target, as_made};
use crate::{
    error::Result,
    source::{
        manifest::Object,
        mysql::{Detail, Mysql, clients::Clients, compare as of_kind},
        restore::Restored,
        target::{RestoreJob, named, read_again},
        verify::compare,
    },
};

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
    let source = Mysql::at(&stored.manifest.source, target.params.clone(), clients.clone());
    let again = read_again(&source, &target.database, stored)?;
    if let Some(table) = &stored.options.table {
        return Ok(compare::objects(&named(&stored.manifest.objects, table), &named(&again.objects, table)));
    }
    let deviations: Deviations = done.own();
    // Rows of an engine that stores no rows are not in the database.
    let own = |objects: &[Object]| -> Vec<Object> {
        objects.iter().filter(|object| !deviations.rowless.contains(&object.name)).cloned().collect()
    };
    let mut differences = compare::objects(&own(&stored.manifest.objects), &own(&again.objects));
    if let (Some(before), Some(after)) = (stored.manifest.detail::<Detail>(), again.detail::<Detail>()) {
        let before = &as_made(before, after, &deviations.redefined);
        let mut after = after.clone();
        if !done.created {
            after.database.clone_from(&before.database);
        }
        let other = of_kind::details(&before.without_views(&done.missing), &after);
        // Definitions without definers differ.
        if stored.options.no_owner { notes.extend(other) } else { differences.extend(other) }
    }
    Ok(differences)
}
