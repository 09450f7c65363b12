use std::{fs, sync::atomic::AtomicUsize};

use super::*;
use crate::repository::objects::{Listed, Missing, ObjectError, ObjectStorage, Objects, Result};

const PACK: &[u8] = b"a pack of directories";

#[derive(Debug, Default)]
struct Reads {
    wholes: AtomicUsize,
    parts: AtomicUsize,
}

/// A storage with [`PACK`].
#[derive(Debug)]
struct Packs {
    reads: Arc<Reads>,
    /// Whether a whole pack can be read.
    is_readable: bool,
}

impl Objects for Packs {
    fn location(&self) -> String {
        "test".to_owned()
    }

    fn list(&self, _: Vec<String>, _: Missing) -> Result<Vec<Listed>> {
        Ok(Vec::new())
    }

    fn length(&self, _: &str) -> Result<u64> {
        Ok(1)
    }

    fn read(&self, _: &str) -> Result<Bytes> {
        self.reads.wholes.fetch_add(1, Ordering::Relaxed);
        if self.is_readable { Ok(Bytes::from_static(PACK)) } else { Err(ObjectError::Cut) }
    }

    fn read_part(&self, _: &str, offset: u64, length: usize) -> Result<Bytes> {
        self.reads.parts.fetch_add(1, Ordering::Relaxed);
        Ok(Bytes::from_static(&PACK[offset as usize..][..length]))
    }

    fn write(&self, _: &str, _: &[Bytes]) -> Result<()> {
        Ok(())
    }

    fn remove(&self, _: &str) -> Result<()> {
        Ok(())
    }

    fn create(&self, _: Vec<String>) -> Result<()> {
        Ok(())
    }
}

#[test]
fn a_pack_is_not_read_again_for_each_directory() {
    for (takes_copies, is_readable, expected) in
        [(true, true, (1, 0)), (false, true, (1, 3)), (true, false, (1, 4)), (false, false, (1, 4))]
    {
        let state = tempfile::tempdir().unwrap();
        let cache = Cache::open(state.path(), "11aa", Trust::Kept).unwrap();
        if !takes_copies {
            let trees = state.path().join("cache/11aa/trees");
            fs::remove_dir_all(&trees).ok();
            fs::write(&trees, "a file").unwrap();
        }
        let slot = Slot::default();
        slot.set(cache);
        let reads = Arc::new(Reads::default());
        let packs = ObjectStorage(Packs { reads: reads.clone(), is_readable });
        let cached = Cached::new(Arc::new(packs), &slot, true);
        let id = hash(PACK);
        cached.note_listed(FileType::Pack, &[(id, PACK.len() as u32)]);
        for _ in 0..4 {
            assert_eq!(&*cached.read_partial(FileType::Pack, &id, true, 2, 4).unwrap(), b"pack");
        }
        let counted = (reads.wholes.load(Ordering::Relaxed), reads.parts.load(Ordering::Relaxed));
        assert_eq!(counted, expected, "takes copies: {takes_copies}, readable: {is_readable}");
    }
}
