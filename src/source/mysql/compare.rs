//! Comparing everything except rows: as it was backed up, and as it was restored.

use std::collections::BTreeMap;

use super::Detail;
use crate::stream::digest::Digest128;

/// Everything except rows.
pub(crate) fn details(stored: &Detail, restored: &Detail) -> Vec<String> {
    let mut differences = Vec::new();
    let by_name = |detail: &Detail| -> BTreeMap<(String, String), (Digest128, Option<String>)> {
        let objects = detail.schema_objects.iter();
        objects.map(|o| ((o.kind.clone(), o.name.clone()), (o.digest, o.definer.clone()))).collect()
    };
    let (before, mut after) = (by_name(stored), by_name(restored));
    for ((kind, name), (digest, definer)) in &before {
        match after.remove(&(kind.clone(), name.clone())) {
            None => differences.push(format!("{kind} {name} is missing")),
            Some((_, found)) if found != *definer => differences.push(format!(
                "{kind} {name}: its definer was {} and is {}",
                definer.as_deref().unwrap_or("none"),
                found.as_deref().unwrap_or("none")
            )),
            Some((found, _)) if found != *digest => {
                differences.push(format!("{kind} {name} is defined otherwise than it was"));
            }
            Some(_) => {}
        }
    }
    differences.extend(
        after.keys().map(|(kind, name)| format!("{kind} {name} was restored but is not in the backup")),
    );
    // Manifests of earlier versions have none.
    for counter in &stored.counters {
        match restored.counters.iter().find(|found| found.name == counter.name) {
            Some(found) if found.next == counter.next => {}
            found => differences.push(format!(
                "the counter of {} stood at {} and stands at {}",
                counter.name,
                counter.next,
                found.map_or("its beginning", |found| &found.next)
            )),
        }
    }
    if stored.database != restored.database {
        differences.push(format!(
            "the database itself: {:?} was backed up, {:?} was restored",
            stored.database, restored.database
        ));
    }
    differences
}
