use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::*;

/// A storage in memory.
#[derive(Debug, Default)]
struct Memory {
    files: Mutex<BTreeMap<String, Vec<u8>>>,
    listings: Mutex<Vec<usize>>,
}

impl Objects for Memory {
    fn location(&self) -> String {
        "memory".to_owned()
    }

    fn list(&self, directories: Vec<String>, missing: Missing) -> Result<Vec<Listed>> {
        self.listings.lock().push(directories.len());
        let files = self.files.lock();
        let exists = |directory: &String| files.keys().any(|path| path.starts_with(&format!("{directory}/")));
        if missing == Missing::Refused && !directories.iter().all(exists) {
            return Err(ObjectError::Absent);
        }
        let listed = files.iter().filter_map(|(path, content)| {
            let (directory, name) = path.rsplit_once('/')?;
            let bytes = content.len() as u64;
            directories
                .iter()
                .any(|other| other == directory)
                .then(|| Listed { name: name.to_owned(), bytes })
        });
        Ok(listed.collect())
    }

    fn length(&self, path: &str) -> Result<u64> {
        self.files.lock().get(path).map(|content| content.len() as u64).ok_or(ObjectError::Absent)
    }

    fn read(&self, path: &str) -> Result<Bytes> {
        self.files.lock().get(path).cloned().map(Bytes::from).ok_or(ObjectError::Absent)
    }

    fn read_part(&self, path: &str, offset: u64, length: usize) -> Result<Bytes> {
        let (content, start) = (self.read(path)?, offset as usize);
        if content.len() < start + length {
            Err(ObjectError::Cut)
        } else {
            Ok(content.slice(start..start + length))
        }
    }

    fn write(&self, path: &str, content: &[Bytes]) -> Result<()> {
        self.files.lock().insert(path.to_owned(), content.concat());
        Ok(())
    }

    fn remove(&self, path: &str) -> Result<()> {
        self.files.lock().remove(path).map(drop).ok_or(ObjectError::Absent)
    }

    fn create(&self, _: Vec<String>) -> Result<()> {
        Ok(())
    }
}

#[test]
fn files_have_the_paths_of_restic_and_are_listed_at_once() {
    let storage = ObjectStorage(Memory::default());
    assert!(storage.list(FileType::Config).unwrap().is_empty());
    let id = Id::new([0xab; 32]);
    for tpe in [FileType::Config, FileType::Key, FileType::Index, FileType::Snapshot, FileType::Pack] {
        storage.write_bytes(tpe, &id, false, vec![1, 2, 3].into()).unwrap();
    }
    storage.0.write("index/README", &[]).unwrap();
    storage.0.write(&format!("data/ab/{}-tmp-7", id.to_hex().as_str()), &[]).unwrap();
    let name = id.to_hex();
    let mut expected = vec![
        "config".to_owned(),
        format!("data/ab/{}", name.as_str()),
        format!("data/ab/{}-tmp-7", name.as_str()),
        "index/README".to_owned(),
    ];
    expected.extend(["index", "keys", "snapshots"].map(|folder| format!("{folder}/{}", name.as_str())));
    expected.sort();
    assert_eq!(storage.0.files.lock().keys().cloned().collect::<Vec<_>>(), expected);
    assert_eq!(storage.list(FileType::Config).unwrap().len(), 1);
    for tpe in [FileType::Key, FileType::Index, FileType::Snapshot, FileType::Pack] {
        assert_eq!(storage.list_with_size(tpe).unwrap(), [(id, 3)], "{tpe:?}");
        assert_eq!(&*storage.read_partial(tpe, &id, false, 1, 2).unwrap(), [2, 3]);
    }
    assert_eq!(*storage.0.listings.lock(), [1, 1, 1, 256], "one call lists all packs");
    let error = storage.read_partial(FileType::Pack, &id, false, 2, 2).unwrap_err();
    assert!(!crate::repository::remote_errors::passes(&*error), "a file that was cut off stays so");
}

#[test]
fn a_repository_that_is_away_is_not_an_empty_one() {
    use crate::repository::remote_errors::{is_absent, passes};
    let storage = ObjectStorage(Memory::default());
    let id = Id::new([0xab; 32]);
    for tpe in [FileType::Key, FileType::Index, FileType::Snapshot, FileType::Pack] {
        for error in [
            storage.list_with_size(tpe).map(drop).unwrap_err(),
            storage.read_full(tpe, &id).map(drop).unwrap_err(),
            storage.read_partial(tpe, &id, false, 0, 1).map(drop).unwrap_err(),
            storage.remove(tpe, &id, false).unwrap_err(),
        ] {
            assert!(passes(&*error) && !is_absent(&*error), "{tpe:?}: {error}");
        }
    }
    // A new repository has no `config` yet.
    assert!(storage.list(FileType::Config).unwrap().is_empty());
    assert!(is_absent(&*storage.read_full(FileType::Config, &id).unwrap_err()));
    // Now it is there.
    storage.write_bytes(FileType::Config, &id, false, vec![1].into()).unwrap();
    assert!(storage.list(FileType::Pack).unwrap().is_empty());
    storage.remove(FileType::Snapshot, &id, false).unwrap();
    assert!(is_absent(&*storage.read_full(FileType::Pack, &id).unwrap_err()));
    let error = storage.list(FileType::Snapshot).unwrap_err();
    assert!(!passes(&*error), "a directory that was removed is not waited for");
}
