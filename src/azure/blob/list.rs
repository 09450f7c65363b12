//! Lists of containers and of blobs, page by page.

use std::{io::BufReader, sync::atomic::Ordering};

use reqwest::Method;

use super::{
    Blob, BlobService, Container, Page,
    entries::{blob, container},
};
use crate::{
    azure::{
        failure::{Failure, NOT_AZURE, Scope},
        markers::Markers,
        request::Request,
        xml::{self, Entry},
    },
    error::Result,
    stream::cancel::Cancel,
};

/// The blobs of a container, page by page.
pub struct Listing {
    service: BlobService,
    container: String,
    prefix: Option<String>,
    markers: Markers,
}

impl Listing {
    /// The next page, which may be empty although further pages follow. `None` only after the service has reported that
    /// there are no more.
    ///
    /// # Errors
    /// The service refuses or does not answer, or its pages repeat. A blob whose entry is not supported, for example
    /// of an unknown type, is not left out: [`Blob::odd`] has the reason.
    pub fn next(&mut self, cancel: &Cancel) -> Result<Option<Page>, Failure> {
        let Some(marker) = self.markers.next() else { return Ok(None) };
        let (page, next) = self.service.page(&self.container, marker, self.prefix.as_deref(), cancel)?;
        let list = format!("the list of the container {:?}", self.container);
        self.markers.turn(&list, page.blobs.len(), next)?;
        Ok(Some(page))
    }
}

impl BlobService {
    /// All containers of the account.
    ///
    /// # Errors
    /// The service refuses or does not answer, or an entry cannot be understood.
    pub fn containers(&self, cancel: &Cancel) -> Result<Vec<Container>> {
        let (mut found, mut markers) = (Vec::new(), Markers::default());
        while let Some(marker) = markers.next() {
            let request = self
                .request(Method::GET, &[])?
                .query("comp", "list")
                .query("include", "metadata")
                .query("maxresults", &self.page.to_string())
                .query("marker", marker);
            let (page, next) = self.entries(&request, "Containers", cancel, &container)?;
            markers.turn("the list of containers", page.len(), next)?;
            found.extend(page);
        }
        Ok(found)
    }

    /// The blobs of a container whose names begin with `prefix`. Sends nothing yet.
    pub fn listing(&self, container: &str, prefix: Option<&str>) -> Listing {
        Listing {
            service: self.clone(),
            container: container.to_owned(),
            prefix: prefix.map(str::to_owned),
            markers: Markers::default(),
        }
    }

    /// The name of a container's first blob or directory. None only if there is none.
    ///
    /// # Errors
    /// Like [`Listing::next`].
    pub fn has_blobs(&self, container: &str, cancel: &Cancel) -> Result<Option<String>> {
        let mut listing = self.listing(container, None);
        while let Some(page) = listing.next(cancel)? {
            if let Some(blob) = page.blobs.into_iter().next() {
                return Ok(Some(blob.name));
            }
        }
        Ok(None)
    }

    /// The blob of this name as it is now. None only if a complete answer says that there is none: neither does the list
    /// contain it, nor is it found by its name.
    ///
    /// # Errors
    /// Like [`Listing::next`], or the list does not show a blob that is there.
    pub fn find(&self, container: &str, name: &str, cancel: &Cancel) -> Result<Option<Blob>, Failure> {
        // It may be rewritten between the two requests.
        for _ in 0..3 {
            if let Some(found) = self.listed(container, name, cancel)? {
                return Ok(Some(found));
            }
            if self.is_there(container, name, cancel)? != Some(true) {
                return Ok(None);
            }
        }
        let what = format!("the blob {name:?} is there, but the container's list does not show it");
        Err(Failure::local(what).of_object())
    }

    /// The blob of this name as the list shows it.
    fn listed(&self, container: &str, name: &str, cancel: &Cancel) -> Result<Option<Blob>, Failure> {
        let mut listing = self.listing(container, Some(name));
        let mut asked = false;
        while let Some(page) = listing.next(cancel)? {
            // If all names of the list begin with the requested one, they come after it.
            let passed = !page.blobs.is_empty() && page.blobs.iter().all(|blob| blob.name.starts_with(name));
            if let Some(found) = page.blobs.into_iter().find(|blob| blob.name == name && !blob.directory) {
                return Ok(Some(found));
            }
            if passed && !asked {
                asked = true;
                if self.is_there(container, name, cancel)? == Some(false) {
                    return Ok(None);
                }
            }
        }
        Ok(None)
    }

    /// Whether a blob exists. `None` if its name cannot be requested.
    fn is_there(&self, container: &str, name: &str, cancel: &Cancel) -> Result<Option<bool>, Failure> {
        let Ok(request) = self.request(Method::HEAD, &[container, name]) else { return Ok(None) };
        match self.send(&request, cancel) {
            Ok(answer) => Ok(Some(answer.header("x-ms-resource-type") != Some("directory"))),
            Err(failure) if failure.is_gone() => Ok(Some(false)),
            // A blob whose properties may not be read exists.
            Err(failure) if failure.scope() == Scope::Object => Ok(Some(true)),
            Err(failure) => Err(failure),
        }
    }

    /// One page of a container's blobs, and the marker of the next.
    fn page(
        &self,
        container: &str,
        marker: &str,
        prefix: Option<&str>,
        cancel: &Cancel,
    ) -> Result<(Page, Option<String>), Failure> {
        let request = |include: &str| -> Result<Request, Failure> {
            Ok(self
                .request(Method::GET, &[container])?
                .query("restype", "container")
                .query("comp", "list")
                .query("include", include)
                .query("maxresults", &self.page.to_string())
                .query("marker", marker)
                .query("prefix", prefix.unwrap_or_default()))
        };
        if self.has_tags() {
            match self.entries(&request("metadata,tags")?, "Blobs", cancel, &blob) {
                // The reason may be the tags: an account without them, or a credential that may not read them.
                Err(failure) if matches!(failure.status(), Some(400 | 403 | 409)) => {
                    cancel.check()?;
                }
                result => {
                    let (blobs, next) = result?;
                    return Ok((Page { blobs, tags: true }, next));
                }
            }
        }
        let (blobs, next) = self.entries(&request("metadata")?, "Blobs", cancel, &blob)?;
        self.untagged.store(true, Ordering::Relaxed);
        Ok((Page { blobs, tags: false }, next))
    }

    /// The entries of one page, and the marker of the next.
    fn entries<T>(
        &self,
        request: &Request,
        list: &str,
        cancel: &Cancel,
        read: &dyn Fn(&Entry) -> Result<T>,
    ) -> Result<(Vec<T>, Option<String>), Failure> {
        self.http.exchange(&self.access, request, cancel, &mut |answer| {
            let mut entries = Vec::new();
            let body = BufReader::with_capacity(64 * 1024, answer.into_body());
            let rest = xml::list(body, list, &mut |entry| {
                entries.push(read(&entry)?);
                Ok(())
            })?;
            // Without it, this may be any document: an error page must not be read as an empty list.
            if !rest.has_list {
                let what = format!("it has no {list}");
                return Err(Failure::unexpected(&request.describe(), what).hint(NOT_AZURE));
            }
            Ok((entries, rest.next))
        })
    }
}
