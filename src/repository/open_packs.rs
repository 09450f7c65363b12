//! Packs from which parts were read last, kept open: the directories of a snapshot are usually in the same pack, and on a
//! network storage opening it again costs more than reading.

use std::{fs::File, sync::Arc};

use parking_lot::Mutex;
use rustic_core::Id;

/// The maximum number of open packs. The library reads directories with four threads.
const MOST: usize = 8;

/// Open packs by their ids, the most recently used last.
#[derive(Debug, Default)]
pub(super) struct OpenPacks {
    files: Mutex<Vec<(Id, Arc<File>)>>,
}

impl OpenPacks {
    /// An open pack.
    pub(super) fn get(&self, id: &Id) -> Option<Arc<File>> {
        let mut files = self.files.lock();
        let at = files.iter().position(|(pack, _)| pack == id)?;
        files[at..].rotate_left(1);
        files.last().map(|(_, file)| file.clone())
    }

    /// Keeps a pack open.
    pub(super) fn keep(&self, id: Id, file: File) {
        let mut files = self.files.lock();
        if files.iter().any(|(pack, _)| *pack == id) {
            return;
        }
        files.push((id, Arc::new(file)));
        let oldest = if files.len() > MOST { Some(files.remove(0)) } else { None };
        drop(files);
        // Closing may wait for the storage.
        drop(oldest);
    }

    /// Closes a pack: it is to be removed, or reading it has failed.
    pub(super) fn forget(&self, id: &Id) {
        let mut files = self.files.lock();
        let at = files.iter().position(|(pack, _)| pack == id);
        let closed = at.map(|at| files.remove(at));
        drop(files);
        drop(closed);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_packs_used_last_stay_open() {
        let packs = OpenPacks::default();
        let id = |number: usize| Id::new([u8::try_from(number).unwrap(); 32]);
        for number in 0..MOST {
            packs.keep(id(number), tempfile::tempfile().unwrap());
        }
        assert!(packs.get(&id(0)).is_some());
        packs.keep(id(MOST), tempfile::tempfile().unwrap());
        assert!(packs.get(&id(1)).is_none(), "it was not used for the longest time");
        assert!(packs.get(&id(0)).is_some() && packs.get(&id(MOST)).is_some());
        packs.forget(&id(0));
        assert!(packs.get(&id(0)).is_none() && packs.get(&id(2)).is_some());
    }
}
