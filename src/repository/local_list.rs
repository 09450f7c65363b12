//! Lists the packs of a repository in a directory. They are spread over 256 directories; on a network file system, listing one
//! is mostly waiting, so several are listed at a time.

use std::{
    io,
    os::fd::OwnedFd,
    sync::atomic::{AtomicBool, Ordering},
};

use rustic_core::{FileType, Id};
use rustix::{
    fs::{self as rfs, AtFlags},
    io::Errno,
};

use super::{
    local_files::{TMP_MARK, each_entry, names, open_directory},
    pack_list::PackList,
    root::Root,
};
use crate::workers;

/// Directories that are listed at the same time.
const LISTERS: usize = 16;

/// All packs with their sizes. Unlike a plain directory walk, this fails if an entry cannot be read.
pub(super) fn packs(root: &Root) -> io::Result<PackList> {
    // Directories are opened relative to this handle: a network file system asks again and again whether those on a path are
    // still the same.
    let (data, mut folders) = root.attempt(|dir, _| {
        let data = open_directory(dir, "data")?;
        let all = names(&data)?;
        Ok((data, all))
    })?;
    folders.retain(|name| name.len() == 2);
    let has_failed = AtomicBool::new(false);
    let listed = workers::map(&folders, LISTERS, |name| {
        if has_failed.load(Ordering::Relaxed) {
            return None;
        }
        let folder = format!("data/{name}");
        let listed = root.attempt(|dir, again| {
            // After an error the storage may have been mounted again.
            let (within, path) = if again { (dir, &folder) } else { (&data, name) };
            list(within, path, &folder, FileType::Pack)
        });
        let listed = match listed {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(PackList::default()),
            other => other,
        };
        has_failed.fetch_or(listed.is_err(), Ordering::Relaxed);
        Some(listed)
    });
    let mut all = PackList::default();
    for part in listed.into_iter().flatten() {
        let PackList { packs, unfinished } = part?;
        all.packs.extend(packs);
        all.unfinished.extend(unfinished);
    }
    Ok(all)
}

/// The files of another directory with their sizes.
pub(super) fn sized(root: &Root, folder: &str, tpe: FileType) -> io::Result<Vec<(Id, u32)>> {
    Ok(root.attempt(|dir, _| list(dir, folder, folder, tpe))?.packs)
}

/// The files of the directory at `path` in `dir`, which is `folder` of the repository.
fn list(dir: &OwnedFd, path: &str, folder: &str, tpe: FileType) -> io::Result<PackList> {
    let (within, mut list) = (open_directory(dir, path)?, PackList::default());
    each_entry(&within, |name| {
        if name.contains(TMP_MARK) {
            list.unfinished.push(format!("{folder}/{name}"));
            return Ok(());
        }
        let Some(id) = Id::parse_some(name, tpe) else { return Ok(()) };
        match rfs::statat(&within, name, AtFlags::empty()) {
            // An intact repository has no files beyond 4 GiB; a larger file is reported as damaged, not as absent.
            Ok(stat) => list.packs.push((id, u32::try_from(stat.st_size).unwrap_or(u32::MAX))),
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    })?;
    Ok(list)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;
    use crate::repository::retry::Patience;

    #[test]
    fn packs_come_with_their_sizes_and_files_of_interrupted_writes_apart() {
        let dir = tempfile::tempdir().unwrap();
        let mut expected: Vec<(Id, u32)> = Vec::new();
        for number in 0..=255_u8 {
            let id = Id::new([number; 32]);
            let folder = dir.path().join(format!("data/{number:02x}"));
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(id.to_hex().as_str()), vec![0; usize::from(number)]).unwrap();
            expected.push((id, number.into()));
        }
        let half = format!("data/07/{}{TMP_MARK}123", Id::new([7; 32]).to_hex().as_str());
        for other in [half.as_str(), "data/07/no pack", "data/notes"] {
            fs::write(dir.path().join(other), "something").unwrap();
        }
        let root = Root::open(dir.path(), None, &Patience::short()).unwrap();
        let mut listed = packs(&root).unwrap();
        listed.packs.sort_unstable();
        assert_eq!((listed.packs, listed.unfinished), (expected, vec![half]));
    }

    #[test]
    fn a_directory_that_cannot_be_listed_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("data")).unwrap();
        fs::create_dir(dir.path().join("data/00")).unwrap();
        fs::write(dir.path().join("data/01"), "a file").unwrap();
        let root = Root::open(dir.path(), None, &Patience::short()).unwrap();
        assert!(packs(&root).is_err());
        fs::remove_file(dir.path().join("data/01")).unwrap();
        assert!(packs(&root).unwrap().packs.is_empty());
    }
}
