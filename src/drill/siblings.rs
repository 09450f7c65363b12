//! The other databases of an item's server: its views may read them.

use crate::{
    error::{Error, Result},
    repository::{Snapshot, SnapshotFiles, SnapshotReader},
    source::{manifest::Manifest, verify},
    stream::files::Files,
};

/// The snapshots of the other databases of one server.
pub(super) struct Siblings<'a> {
    /// All snapshots.
    pub(super) snapshots: &'a [Snapshot],
    /// Reads them.
    pub(super) reader: &'a SnapshotReader,
    /// The item that they are siblings of.
    pub(super) item: &'a Snapshot,
    /// The server, if the source has several.
    pub(super) server: Option<&'a str>,
}

impl<'a> Siblings<'a> {
    /// The snapshot of a database that is nearest in time to the item's.
    fn find(&self, database: &str) -> Option<&'a Snapshot> {
        let name = match self.server {
            Some(server) => format!("{server}/{database}"),
            None => database.to_owned(),
        };
        let time = |snapshot: &Snapshot| snapshot.time.timestamp().as_second();
        let of = time(self.item);
        self.snapshots
            .iter()
            .filter(|other| {
                other.source == self.item.source && other.item == name && other.item != self.item.item
            })
            .min_by_key(|other| time(other).abs_diff(of))
    }
}

impl verify::Siblings for Siblings<'_> {
    fn of(&self) -> String {
        self.item.name()
    }

    fn has(&self, database: &str) -> bool {
        self.find(database).is_some()
    }

    fn open(&self, database: &str) -> Result<(Manifest, Box<dyn Files + '_>)> {
        let none = || Error::failed(format!("there is no snapshot of {database}"));
        let snapshot = self.find(database).ok_or_else(none)?;
        let files = SnapshotFiles::new(self.reader, snapshot);
        let manifest = Manifest::of(&files, &snapshot.source, &snapshot.item)?;
        Ok((manifest, Box::new(files)))
    }
}
