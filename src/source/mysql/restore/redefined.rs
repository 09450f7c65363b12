//! Tables that are created differently from their definition in the dump: notes about them, and the comparison.

use crate::source::mysql::{
    Detail,
    script::{Made, Redefined},
};

/// What must be known of a restore to compare the database with the backup.
#[derive(Clone, Default)]
pub(crate) struct Deviations {
    /// Tables that were created differently from their definition in the dump.
    pub(crate) redefined: Vec<Redefined>,
    /// Tables whose rows were not counted, because their engine stores no rows.
    pub(crate) rowless: Vec<String>,
}

/// Notes for the operator.
pub(crate) fn notes(redefined: &[Redefined]) -> Vec<String> {
    let mut notes = Vec::new();
    let moved: Vec<&str> = redefined
        .iter()
        .filter(|table| matches!(table.made, Made::InPlace(_)))
        .map(|table| table.table.as_str())
        .collect();
    if !moved.is_empty() {
        notes.push(format!(
            "restored without DATA DIRECTORY, INDEX DIRECTORY and TABLESPACE, so that all files are in the server's data \
             directory: {}",
            few(&moved)
        ));
    }
    for table in redefined {
        if let Made::StandIn(engine) = &table.made {
            notes.push(format!(
                "the definition of table {} is not proven: its engine {engine} accesses data outside of the server, so it was \
                 replaced by an empty table with the same columns",
                table.table
            ));
        }
    }
    notes
}

/// The first names, and how many more there are.
fn few(names: &[&str]) -> String {
    const SHOWN: usize = 10;
    match names.len().checked_sub(SHOWN) {
        None | Some(0) => names.join(", "),
        Some(more) => format!("{} and {more} more", names[..SHOWN].join(", ")),
    }
}

/// The expected result: `stored` with the definitions as they were created. `restored` is the actual result.
pub(crate) fn as_made(stored: &Detail, restored: &Detail, redefined: &[Redefined]) -> Detail {
    let mut expected = stored.clone();
    for object in expected.schema_objects.iter_mut().filter(|object| object.kind == "table") {
        let made = redefined.iter().find(|made| made.table == object.name && made.dumped == object.digest);
        match made.map(|made| &made.made) {
            Some(Made::InPlace(digest)) => object.digest = *digest,
            Some(Made::StandIn(_)) => {
                let mut found = restored.schema_objects.iter();
                let found = found.find(|found| found.kind == object.kind && found.name == object.name);
                object.digest = found.map_or(object.digest, |found| found.digest);
            }
            None => {}
        }
    }
    expected
}
