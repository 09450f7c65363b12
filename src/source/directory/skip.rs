//! Entries that a walk leaves out without a pattern: protected places and the content of caches.

use std::{
    ffi::{CStr, CString},
    os::fd::BorrowedFd,
    path::Path,
};

use rustix::fs::{FileType, Stat};

use super::{
    dump::not_into_itself,
    protected::{COPY, Repository, read_start},
    walk::Walk,
};
use crate::{error::Result, fs::open::identity};

/// The file that marks a directory whose content can be recreated, and its signature: <https://bford.info/cachedir/>.
const CACHE_TAG: &CStr = c"CACHEDIR.TAG";
const CACHE_SIGNATURE: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

impl Walk<'_> {
    /// Whether a directory is a copy of the repository, which is left out. Other repositories are named.
    pub(super) fn is_protected(
        &self,
        folder: BorrowedFd<'_>,
        names: &[(CString, FileType)],
        path: &Path,
        top: bool,
    ) -> Result<bool> {
        let below = self.below(path);
        match self.protected.repository(folder, names) {
            None => Ok(false),
            Some(Repository::Other) => {
                self.tally.other_repository(if top { self.top } else { below });
                Ok(false)
            }
            // Known before the walk, unless it became one during the walk.
            Some(Repository::Own) if top => Err(not_into_itself(&format!(
                "{} is {COPY}, which is not backed up into itself",
                self.top.display()
            ))),
            Some(Repository::Own) => {
                self.tally.protected(below, COPY);
                Ok(true)
            }
        }
    }

    /// Leaves out the content of a directory with a valid cache tag, except the tag.
    pub(super) fn leave_out_cache(&self, folder: BorrowedFd<'_>, names: &mut Vec<(CString, FileType)>) {
        let Ok(tag) = names.binary_search_by(|(name, _)| name.as_c_str().cmp(CACHE_TAG)) else { return };
        let start = read_start(folder, CACHE_TAG, CACHE_SIGNATURE.len() as u64);
        if start.as_deref() == Some(CACHE_SIGNATURE) {
            // The rule after those of `exclude`.
            self.tally.excluded(self.excludes.patterns().len(), names.len() as u64 - 1);
            let tag = names.swap_remove(tag);
            *names = vec![tag];
        }
    }

    /// Whether a directory must not be backed up; if so, it is named.
    pub(super) fn is_place(&self, path: &Path, stat: &Stat) -> bool {
        let what = self.protected.at(identity(stat));
        what.inspect(|what| self.tally.protected(self.below(path), what)).is_some()
    }
}
