//! Page blobs and append blobs, which are written in place, in parts.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use md5::{Digest, Md5};
use reqwest::Method;

use super::writing::{Content, MAX_BLOCKS, PART, Sent, Upload, digest, random};
use crate::azure::failure::Failure;

/// The metadata key of an incomplete blob.
const UNFINISHED: &str = "tikbackupunfinished";

impl Upload<'_> {
    pub(super) fn pages(&self, content: &mut Content<'_>) -> Result<Sent, Failure> {
        if !self.bytes.is_multiple_of(512) {
            let what = format!("it has {} bytes: a page blob has pages of 512", self.bytes);
            return Err(Failure::of_file(what).about(format!("cannot write the blob {:?}", self.names[1])));
        }
        if !self.create(Some(self.bytes))? {
            return Ok(Sent::Exists);
        }
        let (mut offset, mut whole) = (0, Md5::new());
        loop {
            let body = content.part(PART)?;
            if body.is_empty() {
                break;
            }
            whole.update(&body);
            let length = body.len() as u64;
            // Pages that were never written are zeros.
            if body.iter().any(|byte| *byte != 0) {
                let request = self
                    .request(Method::PUT, "page")?
                    .header("x-ms-page-write", "update")
                    .header("x-ms-range", &format!("bytes={offset}-{}", offset + length - 1))
                    .header("content-md5", &digest(&body))
                    .body(body);
                self.ask(&request)?;
            }
            offset += length;
        }
        content.finish()?;
        self.complete(STANDARD.encode(whole.finalize()))
    }

    pub(super) fn appends(&self, content: &mut Content<'_>) -> Result<Sent, Failure> {
        if !self.create(None)? {
            return Ok(Sent::Exists);
        }
        let length = PART.max(self.bytes.div_ceil(MAX_BLOCKS));
        let (mut offset, mut whole) = (0, Md5::new());
        loop {
            let body = content.part(length)?;
            if body.is_empty() {
                break;
            }
            whole.update(&body);
            self.append(offset, body.clone())?;
            offset += body.len() as u64;
        }
        content.finish()?;
        self.complete(STANDARD.encode(whole.finalize()))
    }

    fn append(&self, offset: u64, body: Bytes) -> Result<(), Failure> {
        let end = offset + body.len() as u64;
        let request = self
            .request(Method::PUT, "appendblock")?
            .header("x-ms-blob-condition-appendpos", &offset.to_string())
            .header("content-md5", &digest(&body))
            .body(body);
        match self.ask(&request) {
            Ok(_) => Ok(()),
            // An earlier attempt may have succeeded with a lost response: then the blob ends where this part ends.
            Err(failure) if failure.status() == Some(412) && failure.tries() > 1 => {
                let length = self.head()?.and_then(|head| head.header("content-length")?.parse().ok());
                if length == Some(end) { Ok(()) } else { Err(failure) }
            }
            Err(failure) => Err(failure),
        }
    }

    /// Creates the blob, empty and marked as unfinished. False if it exists and must not be replaced.
    fn create(&self, page_bytes: Option<u64>) -> Result<bool, Failure> {
        let mark = random()?;
        let request = self
            .with_headers(self.request(Method::PUT, "")?, None)
            .header("x-ms-blob-type", self.kind.name())
            .header(&format!("x-ms-meta-{UNFINISHED}"), &mark)
            .header_if("x-ms-blob-content-length", page_bytes.map(|bytes| bytes.to_string()).as_deref());
        let failure = match self.ask(&self.unless_exists(request.clone())) {
            Ok(_) => return Ok(true),
            Err(failure) => failure,
        };
        if !self.says_exists(&failure) {
            return Err(failure);
        }
        let Some(head) = self.head()? else { return Err(failure) };
        match (head.header(&format!("x-ms-meta-{UNFINISHED}")), head.header("etag")) {
            // An earlier attempt of this request created it, and its response was lost.
            (Some(there), _) if there == mark => Ok(true),
            // Left behind by an interrupted upload.
            (Some(_), Some(etag)) => {
                self.ask(&request.header("if-match", etag))?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Sets the final properties and metadata of the blob, which removes the mark.
    fn complete(&self, md5: String) -> Result<Sent, Failure> {
        if self.properties.content_md5.is_some() {
            self.ask(&self.with_headers(self.request(Method::PUT, "properties")?, Some(&md5)))?;
        }
        self.ask(&self.with_metadata(self.request(Method::PUT, "metadata")?))?;
        Ok(Sent::Done(md5))
    }
}
