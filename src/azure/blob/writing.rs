//! The upload of one blob, common to all types of blobs: its content, and its requests.

use std::io::Read;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use md5::{Digest, Md5};
use reqwest::Method;

use super::{BlobService, BlobType, Properties};
use crate::{
    azure::{failure::Failure, http::Answer, request::Request},
    error::{Error, Result},
    stream::cancel::Cancel,
};

/// Up to this length a block blob is sent in one request; a longer one in blocks of this length.
pub(super) const BLOCK: u64 = 8 * 1024 * 1024;
/// The most blocks that a block blob or an append blob may have.
pub(super) const MAX_BLOCKS: u64 = 50_000;
/// The length of a part of a page blob or an append blob.
pub(super) const PART: u64 = 4 * 1024 * 1024;

/// Whether a blob was written.
pub(super) enum Sent {
    /// With the MD5 digest of its content in base64.
    Done(String),
    Exists,
}

/// The content, which must have the length that was announced.
pub(super) struct Content<'a> {
    input: &'a mut dyn Read,
    left: u64,
    bytes: u64,
    name: &'a str,
}

impl<'a> Content<'a> {
    pub(super) fn new(input: &'a mut dyn Read, bytes: u64, name: &'a str) -> Self {
        Self { input, left: bytes, bytes, name }
    }

    /// The next bytes: as many as wanted, or all that are left.
    pub(super) fn part(&mut self, wanted: u64) -> Result<Bytes> {
        let wanted = wanted.min(self.left);
        let mut part = Vec::with_capacity(usize::try_from(wanted).unwrap_or_default());
        (&mut *self.input).take(wanted).read_to_end(&mut part).map_err(|error| self.unread(error))?;
        self.left -= part.len() as u64;
        if (part.len() as u64) < wanted {
            let there = self.bytes - self.left;
            return Err(self.wrong(&format!("ended after {there} of {} bytes", self.bytes)));
        }
        Ok(part.into())
    }

    /// Checks that no content is left.
    pub(super) fn finish(&mut self) -> Result<()> {
        let mut byte = Vec::new();
        (&mut *self.input).take(1).read_to_end(&mut byte).map_err(|error| self.unread(error))?;
        if byte.is_empty() {
            Ok(())
        } else {
            Err(self.wrong(&format!("is longer than {} bytes", self.bytes)))
        }
    }

    fn unread(&self, error: std::io::Error) -> Error {
        Error::from_io(format!("cannot read the content of {:?}", self.name), error)
    }

    fn wrong(&self, what: &str) -> Error {
        Error::failed(format!("the content of {:?} {what}", self.name))
    }
}

/// The upload of one blob.
pub(super) struct Upload<'a> {
    pub service: &'a BlobService,
    pub names: [&'a str; 2],
    pub kind: BlobType,
    pub properties: &'a Properties,
    pub bytes: u64,
    pub replace: bool,
    pub cancel: &'a Cancel,
}

impl Upload<'_> {
    /// A request for this blob; `component` is the value of `comp`, or empty.
    pub(super) fn request(&self, method: Method, component: &str) -> Result<Request, Failure> {
        Ok(self.service.request(method, &self.names)?.query("comp", component))
    }

    pub(super) fn ask(&self, request: &Request) -> Result<Answer, Failure> {
        self.service.send(request, self.cancel)
    }

    /// Adds the properties besides the content, except metadata.
    pub(super) fn with_headers(&self, request: Request, md5: Option<&str>) -> Request {
        let properties = self.properties;
        request
            .header_if("x-ms-blob-content-type", properties.content_type.as_deref())
            .header_if("x-ms-blob-content-encoding", properties.content_encoding.as_deref())
            .header_if("x-ms-blob-content-language", properties.content_language.as_deref())
            .header_if("x-ms-blob-content-disposition", properties.content_disposition.as_deref())
            .header_if("x-ms-blob-cache-control", properties.cache_control.as_deref())
            .header_if("x-ms-blob-content-md5", md5)
    }

    pub(super) fn with_metadata(&self, request: Request) -> Request {
        request.metadata(self.properties.metadata.iter().map(|(key, value)| (key.as_str(), value.as_str())))
    }

    /// The request that creates the blob, refused if it exists and must not be replaced.
    pub(super) fn unless_exists(&self, request: Request) -> Request {
        request.header_if("if-none-match", (!self.replace).then_some("*"))
    }

    /// Whether this failure reports an existing blob that must not be replaced.
    pub(super) fn says_exists(&self, failure: &Failure) -> bool {
        !self.replace
            && (failure.is("BlobAlreadyExists")
                || failure.is("ConditionNotMet")
                || failure.status() == Some(412))
    }

    /// The blob as it is, if there is one.
    pub(super) fn head(&self) -> Result<Option<Answer>, Failure> {
        match self.ask(&self.request(Method::HEAD, "")?) {
            Ok(answer) => Ok(Some(answer)),
            Err(failure) if failure.status() == Some(404) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Whether the existing blob is the one just written: the response may have been lost, and the
    /// second attempt was then refused.
    pub(super) fn is_ours(&self, md5: &str) -> Result<bool, Failure> {
        let Some(head) = self.head()? else { return Ok(false) };
        Ok(head.header("content-md5") == Some(md5)
            && head.header("content-length") == Some(self.bytes.to_string().as_str()))
    }
}

/// The MD5 digest of a part in base64, for the service to check what arrives.
pub(super) fn digest(body: &Bytes) -> String {
    STANDARD.encode(Md5::digest(body))
}

/// Eight random hexadecimal digits.
pub(super) fn random() -> Result<String> {
    let number = getrandom::u32().map_err(|error| {
        Error::failed("the system gives no random numbers").because_text(error.to_string())
    })?;
    Ok(format!("{number:08x}"))
}
