//! Refusals of the service during a restore. A refusal of one blob or file affects only that one; any other ends the restore.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use parking_lot::{Mutex, MutexGuard};
use xxhash_rust::xxh3::xxh3_128;

use crate::{
    azure::failure::{Failure, Scope},
    error::{Error, Result},
    output,
    source::restore::Failed,
};

/// The maximum number listed.
const LISTED: usize = 1000;
/// After this number of refusals because of missing permission, without a success, the restore ends.
const FORBIDDEN: u64 = 32;
/// The hint for this case.
const MAY_NOT_WRITE: &str = "give the service principal the role \"Storage Blob Data Contributor\" (of a share \"Storage File Data \
     Privileged Contributor\") on the storage account, or name a key or a shared access signature that may write with \
     --password-file";

/// Collects from several threads.
#[derive(Default)]
pub(super) struct Refused {
    first: Mutex<Vec<Failed>>,
    count: AtomicU64,
    files: AtomicU64,
    bytes: AtomicU64,
    /// Hashes of directories, which are written twice.
    directories: Mutex<HashSet<u128>>,
    /// How many were refused because the credential may not write them.
    forbidden: AtomicU64,
    /// Whether anything was written.
    written: AtomicBool,
}

impl Refused {
    /// A blob, file or directory was written.
    pub(super) fn wrote(&self) {
        self.written.store(true, Ordering::Relaxed);
    }

    /// A blob or file of this length could not be written.
    ///
    /// # Errors
    /// The failure is not about this one alone, or nothing at all may be written.
    pub(super) fn content(&self, kind: &str, name: &str, bytes: u64, failure: Failure) -> Result<()> {
        self.add(kind, name, failure)?;
        self.files.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// A directory could not be made, or not be given its attributes.
    ///
    /// # Errors
    /// The failure is not about this one alone, or nothing at all may be written.
    pub(super) fn directory(&self, name: &str, failure: Failure) -> Result<()> {
        if locked(&self.directories).insert(xxh3_128(name.as_bytes())) {
            self.add("directory", name, failure)?;
        }
        Ok(())
    }

    /// Whether this directory could not be made.
    pub(super) fn has_directory(&self, name: &str) -> bool {
        locked(&self.directories).contains(&xxh3_128(name.as_bytes()))
    }

    fn add(&self, kind: &str, name: &str, failure: Failure) -> Result<()> {
        if !matches!(failure.scope(), Scope::Object) {
            return Err(Error::from(failure).context(format!("{kind} {}", output::name(name))));
        }
        // Every further content would be read and sent, and then refused.
        if failure.is_forbidden()
            && self.forbidden.fetch_add(1, Ordering::Relaxed) + 1 >= FORBIDDEN
            && !self.written.load(Ordering::Relaxed)
        {
            let error = Error::from(failure.hint(MAY_NOT_WRITE));
            let what = format!("{kind} {}", output::name(name));
            return Err(error.context(what).context("nothing was written, and writing is not allowed"));
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        let mut first = locked(&self.first);
        if first.len() < LISTED {
            first.push(Failed { kind: kind.to_owned(), name: name.to_owned(), reason: failure.reason() });
        }
        Ok(())
    }

    /// How many blobs or files, and their bytes.
    pub(super) fn contents(&self) -> (u64, u64) {
        (self.files.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }

    /// How many there are, and the first of them in the order of their names.
    pub(super) fn into_list(self) -> (u64, Vec<Failed>) {
        let mut first = self.first.into_inner();
        first.sort();
        (self.count.into_inner(), first)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::azure::{
        refusal,
        request::{Endpoint, Request, Service},
    };
    use reqwest::Method;

    fn refusal(status: u16, code: &str) -> Failure {
        let endpoint = Endpoint::parse(Service::Blob, "https://host").unwrap();
        let request = Request::new(Method::PUT, &endpoint, &["c", "b"]).unwrap();
        refusal::failure(&request, status, Some(code), None, b"")
    }

    /// The error that ends a restore of which everything is refused in this way, and after how many.
    fn ends(refused: &Refused, status: u16, code: &str) -> Option<(u64, Error)> {
        (1..=1000).find_map(|number| {
            let failure = refusal(status, code);
            refused.content("blob", &format!("b{number}"), 1, failure).err().map(|error| (number, error))
        })
    }

    #[test]
    fn a_restore_ends_when_nothing_may_be_written() {
        let (number, error) = ends(&Refused::default(), 403, "AuthorizationPermissionMismatch").unwrap();
        assert_eq!(number, FORBIDDEN);
        assert!(
            error.summary().starts_with("nothing was written, and writing is not allowed: blob b32: PUT")
        );
        let hint = error.hint_text().unwrap();
        assert!(hint.contains("\"Storage Blob Data Contributor\"") && !hint.contains("Reader"), "{hint}");
    }

    #[test]
    fn a_restore_goes_on_where_something_was_written_or_is_refused_for_another_reason() {
        let refused = Refused::default();
        refused.wrote();
        assert!(ends(&refused, 403, "AuthorizationPermissionMismatch").is_none());
        assert_eq!(refused.contents(), (1000, 1000));
        assert!(ends(&Refused::default(), 412, "LeaseIdMissing").is_none());
        assert!(
            ends(&Refused::default(), 403, "UnauthorizedBlobOverwrite").is_none(),
            "new blobs may be written"
        );
    }
}
