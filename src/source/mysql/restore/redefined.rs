//! Tables that are made otherwise than the dump defines them: what is said of them, and how their definitions are compared.

use crate::source::mysql::{
    Detail,
    script::{Made, Redefined},
};

/// What an operator should know.
pub(crate) fn notes(redefined: &[Redefined]) -> Vec<String> {
    let mut notes = Vec::new();
    let moved: Vec<&str> = redefined
        .iter()
        .filter(|table| matches!(table.made, Made::InPlace(_)))
        .map(|table| table.table.as_str())
        .collect();
    if !moved.is_empty() {
        notes.push(format!(
            "restored without DATA DIRECTORY, INDEX DIRECTORY and TABLESPACE, so that all files are in the server's own \
             folder: {}",
            few(&moved)
        ));
    }
    for table in redefined {
        if let Made::StandIn(engine) = &table.made {
            notes.push(format!(
                "the definition of table {} is not proven: its engine {engine} reaches outside of the server, so an empty \
                 table with the same columns stood in for it",
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

/// What the restored database must be: `stored` with the definitions as they were made. `restored` is what was found there.
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
