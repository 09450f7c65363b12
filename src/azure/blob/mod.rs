//! The blob service of a storage account: list, read, and write back. Nothing here deletes.

mod download;
mod entries;
mod list;
mod model;
mod pages;
mod parts;
mod upload;
mod writing;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use reqwest::Method;

pub use download::{Body, Download};
pub use list::Listing;
pub use model::{Blob, BlobType, Container, Page, Properties};
pub use upload::Uploaded;

pub use super::witness::{Witness, is_changed, is_gone};

use super::{
    STORAGE_VERSION,
    auth::{Access, Credential},
    failure::Failure,
    http::{Answer, Http},
    request::{Endpoint, Request, Service},
};
use crate::{error::Result, stream::cancel::Cancel};

/// The most entries that the service gives in one page of a list.
const PAGE: u32 = 5000;

/// The blob service of one account. Clones share connections and what was learned about the account.
#[derive(Clone)]
pub struct BlobService {
    http: Http,
    endpoint: Endpoint,
    access: Access,
    page: u32,
    /// Set once a list with tags was refused and one without them was not.
    untagged: Arc<AtomicBool>,
}

impl BlobService {
    /// The service at this address, for example `https://shop.blob.core.windows.net/`. Sends nothing yet.
    ///
    /// # Errors
    /// The endpoint is no address (exit code 2).
    pub fn new(http: Http, endpoint: &str, account: &str, credential: Credential) -> Result<Self> {
        let endpoint = Endpoint::parse(Service::Blob, endpoint)?;
        let access = Access::storage(account, credential);
        Ok(Self { http, endpoint, access, page: PAGE, untagged: Arc::default() })
    }

    /// The same with pages of fewer entries, at least one.
    #[must_use]
    pub fn with_page_size(mut self, entries: u32) -> Self {
        self.page = entries.clamp(1, PAGE);
        self
    }

    /// The same service, whose requests are tried for no longer than this time.
    #[must_use]
    pub fn for_at_most(&self, total: Duration) -> Self {
        Self { http: self.http.for_at_most(total), ..self.clone() }
    }

    fn request(&self, method: Method, names: &[&str]) -> Result<Request, Failure> {
        Ok(Request::new(method, &self.endpoint, names)?.header("x-ms-version", STORAGE_VERSION))
    }

    fn send(&self, request: &Request, cancel: &Cancel) -> Result<Answer, Failure> {
        self.http.send(&self.access, request, cancel)
    }

    fn has_tags(&self) -> bool {
        !self.untagged.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for BlobService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobService")
            .field("host", &self.endpoint.host())
            .field("access", &self.access)
            .finish()
    }
}
