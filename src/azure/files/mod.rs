//! Azure's File service: shares are read from snapshots, which are removed afterwards, and restored to live shares.
//!
//! <https://learn.microsoft.com/rest/api/storageservices/file-service-rest-api>

mod list;
mod live;
mod properties;
mod read;
mod snapshot;
mod walk;
mod write;

use std::{fmt, time::Duration};

use reqwest::Method;

pub use list::{Entry, Page, Protocol, Share};
pub use properties::{FileProperties, SmbProperties};
pub use read::{Content, Progress};
pub use snapshot::{ExistingSnapshot, ShareSnapshot, SnapshotId};
pub use write::Uploaded;

pub use super::witness::Witness;

use super::{
    STORAGE_VERSION,
    auth::{Access, Credential},
    failure::Failure,
    http::{Answer, Http},
    request::{Endpoint, Request, Service},
};
use crate::{
    error::{Error, Result},
    stream::cancel::Cancel,
};

/// The file service of a storage account; clones share connections and the state of the credential.
#[derive(Clone)]
pub struct FileService {
    http: Http,
    endpoint: Endpoint,
    access: Access,
}

impl FileService {
    /// The service at an address such as `https://account.file.core.windows.net/`.
    ///
    /// # Errors
    /// Exit code 2: it is not a valid address, or not an encrypted one.
    pub fn new(http: &Http, endpoint: &str, account: &str, credential: Credential) -> Result<Self> {
        let endpoint = Endpoint::parse(Service::File, endpoint)?;
        Ok(Self { http: http.clone(), endpoint, access: Access::storage(account, credential) })
    }

    /// The same service, whose requests are tried for no longer than this time.
    #[must_use]
    pub fn for_at_most(&self, total: Duration) -> Self {
        Self { http: self.http.for_at_most(total), ..self.clone() }
    }

    /// The storage account's name.
    pub fn account(&self) -> &str {
        self.access.account()
    }

    /// A request for a share (an empty path) or for a path in it.
    fn request(&self, method: Method, share: &str, path: &str) -> Result<Request, Failure> {
        // Without a share a path would address the service itself.
        let mut names = vec![share];
        if !path.is_empty() {
            names.extend(path.split('/'));
        }
        Ok(self.prepare(Request::new(method, &self.endpoint, &names)?))
    }

    /// Adds what every request needs. Without the second header the service cuts dots from the ends of names; the
    /// third one is for tokens, which without it reach only what the access lists of the files let them.
    fn prepare(&self, request: Request) -> Request {
        request
            .header("x-ms-version", STORAGE_VERSION)
            .header("x-ms-allow-trailing-dot", "true")
            .header("x-ms-file-request-intent", "backup")
    }

    fn send(&self, request: Request, cancel: &Cancel) -> Result<Answer, Failure> {
        self.http.send(&self.access, &request, cancel)
    }

    fn exchange<T>(
        &self,
        request: &Request,
        cancel: &Cancel,
        read: &mut dyn FnMut(Answer) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.http.exchange(&self.access, request, cancel, read)
    }
}

impl fmt::Debug for FileService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileService").field("account", &self.account()).finish_non_exhaustive()
    }
}

fn failed(failure: Failure, what: String) -> Error {
    Error::from(failure).context(what)
}
