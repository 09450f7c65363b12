//! Index and snapshot files that were read before. A command needs them several times, and on a network storage each reading
//! costs several requests. They are named by their content, so what was read stays right.

use std::collections::HashMap;

use bytes::Bytes;
use parking_lot::Mutex;
use rustic_core::{FileType, Id};

use super::crypto::hash;

/// The limit for the total size of the files.
const MOST_BYTES: usize = 16 << 20;

/// The contents of files that this process has read, by their ids.
#[derive(Debug, Default)]
pub(super) struct ReadBefore {
    files: Mutex<Files>,
}

#[derive(Debug, Default)]
struct Files {
    contents: HashMap<Id, Bytes>,
    bytes: usize,
}

impl ReadBefore {
    /// The content of a file that was read before.
    pub(super) fn get(&self, tpe: FileType, id: &Id) -> Option<Bytes> {
        if is_kept(tpe) { self.files.lock().contents.get(id).cloned() } else { None }
    }

    /// Keeps the content of a file that was read, if it matches its name and there is room.
    pub(super) fn keep(&self, tpe: FileType, id: &Id, content: &Bytes) {
        if !is_kept(tpe) || content.len() > MOST_BYTES || hash(content) != *id {
            return;
        }
        let mut files = self.files.lock();
        if files.bytes + content.len() <= MOST_BYTES && !files.contents.contains_key(id) {
            files.bytes += content.len();
            files.contents.insert(*id, content.clone());
        }
    }

    /// Forgets a file that was removed.
    pub(super) fn forget(&self, id: &Id) {
        let mut files = self.files.lock();
        if let Some(content) = files.contents.remove(id) {
            files.bytes -= content.len();
        }
    }
}

fn is_kept(tpe: FileType) -> bool {
    matches!(tpe, FileType::Index | FileType::Snapshot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_small_files_that_match_their_names_are_kept_until_they_are_removed() {
        let (files, content) = (ReadBefore::default(), Bytes::from_static(b"an index"));
        let id = hash(&content);
        files.keep(FileType::Pack, &id, &content);
        files.keep(FileType::Index, &Id::new([1; 32]), &content);
        assert!(files.get(FileType::Index, &id).is_none());
        files.keep(FileType::Index, &id, &content);
        files.keep(FileType::Index, &id, &content);
        assert_eq!(files.get(FileType::Index, &id), Some(content));
        assert!(files.get(FileType::Pack, &id).is_none());
        let large = Bytes::from(vec![0; MOST_BYTES]);
        files.keep(FileType::Index, &hash(&large), &large);
        assert!(files.get(FileType::Index, &hash(&large)).is_none(), "there is no room beside the other");
        files.forget(&id);
        assert!(files.get(FileType::Index, &id).is_none());
        files.keep(FileType::Index, &hash(&large), &large);
        assert!(files.get(FileType::Index, &hash(&large)).is_some());
    }
}
