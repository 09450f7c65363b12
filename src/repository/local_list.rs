//! Lists the packs of a repository in a directory. They are spread over 256 directories; on a network file system, listing one
//! is mostly waiting, so several are listed at a time.

use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
};

use rustic_core::{FileType, Id};
use rustix::{
    fs::{self as rfs, AtFlags},
    io::Errno,
};

use super::{
    local_files::{TMP_MARK, each_entry, entries},
    pack_list::PackList,
    root::Root,
};
use crate::workers;

/// Directories that are listed at the same time.
const LISTERS: usize = 16;

/// All packs with their sizes. Unlike a plain directory walk, this fails if an entry cannot be read.
pub(super) fn packs(root: &Root) -> io::Result<PackList> {
    let names = root.attempt(|dir, _| entries(dir, "data"))?;
    let folders: Vec<String> =
        names.into_iter().filter(|name| name.len() == 2).map(|name| format!("data/{name}")).collect();
    let has_failed = AtomicBool::new(false);
    let listed = workers::map(&folders, LISTERS, |folder| {
        if has_failed.load(Ordering::Relaxed) {
            return None;
        }
        let listed = sized(root, folder, FileType::Pack);
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

/// The files of one directory with their sizes. A missing directory below `data` has none.
pub(super) fn sized(root: &Root, folder: &str, tpe: FileType) -> io::Result<PackList> {
    let listed = root.attempt(|dir, _| {
        let mut list = PackList::default();
        each_entry(dir, folder, |within, name| {
            if name.contains(TMP_MARK) {
                list.unfinished.push(format!("{folder}/{name}"));
                return Ok(());
            }
            let Some(id) = Id::parse_some(name, tpe) else { return Ok(()) };
            match rfs::statat(within, name, AtFlags::empty()) {
                // An intact repository has no files beyond 4 GiB; a larger file is reported as damaged, not as absent.
                Ok(stat) => list.packs.push((id, u32::try_from(stat.st_size).unwrap_or(u32::MAX))),
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
            Ok(())
        })?;
        Ok(list)
    });
    match listed {
        Err(e) if tpe == FileType::Pack && e.kind() == io::ErrorKind::NotFound => Ok(PackList::default()),
        other => other,
    }
}
