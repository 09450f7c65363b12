//! Writing blobs back: content, properties, metadata, tags and tier.

use std::{collections::BTreeMap, io::Read};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use md5::{Digest, Md5};
use quick_xml::escape::escape;
use reqwest::Method;

use super::{
    BlobService, BlobType, Properties,
    writing::{BLOCK, Content, MAX_BLOCKS, Sent, Upload, digest, random},
};
use crate::{
    azure::{failure::Failure, http::Answer, request::Request},
    error::{Error, Result},
    stream::cancel::Cancel,
};

/// The result of an attempt to write a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Uploaded {
    /// It is complete; each note names a property that could not be set.
    Done {
        /// Notes, for example that the account does not support the tier.
        notes: Vec<String>,
    },
    /// The name existed before, and must not be replaced.
    Exists,
}

impl BlobService {
    /// Creates a container, without public access. Returns whether it did not exist before.
    ///
    /// # Errors
    /// The service refuses or does not answer.
    pub fn create_container(
        &self,
        name: &str,
        metadata: &BTreeMap<String, String>,
        cancel: &Cancel,
    ) -> Result<bool> {
        let request = self
            .request(Method::PUT, &[name])?
            .query("restype", "container")
            .metadata(metadata.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        match self.send(&request, cancel) {
            Ok(_) => Ok(true),
            Err(failure) if failure.is("ContainerAlreadyExists") => Ok(false),
            Err(failure) => Err(failure.into()),
        }
    }

    /// Writes a blob of exactly `bytes` bytes. Without `replace` an existing one stays as it is. Block blobs appear
    /// when they are complete; page and append blobs grow, and until they are complete their metadata says
    /// `tikbackupunfinished`: a marked blob, left behind by a crash, is always replaced.
    ///
    /// Metadata names arrive in lower case; Azure compares them regardless of it.
    ///
    /// # Errors
    /// `content` fails or has another length, the service refuses or does not answer, or its name cannot be part of
    /// a web address (`.` and `..`). [`Failure::scope`] says whether it is about this blob alone.
    // A blob has many parts, which each caller has separately.
    #[allow(clippy::too_many_arguments)]
    pub fn upload(
        &self,
        container: &str,
        name: &str,
        kind: BlobType,
        properties: &Properties,
        bytes: u64,
        content: &mut dyn Read,
        replace: bool,
        cancel: &Cancel,
    ) -> Result<Uploaded, Failure> {
        let names = [container, name];
        let upload = Upload { service: self, names, kind, properties, bytes, replace, cancel };
        let sent = upload.send(&mut Content::new(content, bytes, name))?;
        let Sent::Done(md5) = sent else { return Ok(Uploaded::Exists) };
        let mut notes = Vec::new();
        if properties.content_md5.as_ref().is_some_and(|recorded| *recorded != md5) {
            notes.push(
                "its recorded Content-MD5 did not match its content; the MD5 of the content was set instead"
                    .to_owned(),
            );
        }
        upload.set_tags(&mut notes)?;
        upload.set_tier(&mut notes)?;
        Ok(Uploaded::Done { notes })
    }
}

impl Upload<'_> {
    fn send(&self, content: &mut Content<'_>) -> Result<Sent, Failure> {
        match self.kind {
            BlobType::Block if self.bytes <= BLOCK => self.whole(content),
            BlobType::Block => self.blocks(content),
            BlobType::Page => self.pages(content),
            BlobType::Append => self.appends(content),
        }
    }

    fn whole(&self, content: &mut Content<'_>) -> Result<Sent, Failure> {
        let body = content.part(self.bytes)?;
        content.finish()?;
        let md5 = STANDARD.encode(Md5::digest(&body));
        let request = self
            .with_metadata(self.with_headers(self.request(Method::PUT, "")?, None))
            .header("x-ms-blob-type", self.kind.name())
            .header("content-md5", &md5)
            .body(body);
        self.commit(self.unless_exists(request), md5)
    }

    fn blocks(&self, content: &mut Content<'_>) -> Result<Sent, Failure> {
        if !self.replace && self.head()?.is_some() {
            return Ok(Sent::Exists);
        }
        let length = BLOCK.max(self.bytes.div_ceil(MAX_BLOCKS));
        // Blocks of another upload of the same blob must not be used.
        let run = random()?;
        let (mut list, mut whole, mut number) = (String::from("<BlockList>"), Md5::new(), 0_u32);
        loop {
            let body = content.part(length)?;
            if body.is_empty() {
                break;
            }
            whole.update(&body);
            let id = STANDARD.encode(format!("{run}-{number:06}"));
            let request = self.request(Method::PUT, "block")?.query("blockid", &id);
            self.ask(&request.header("content-md5", &digest(&body)).body(body))?;
            list.push_str(&format!("<Latest>{id}</Latest>"));
            number += 1;
        }
        content.finish()?;
        list.push_str("</BlockList>");
        let md5 = STANDARD.encode(whole.finalize());
        let request = self.with_headers(self.request(Method::PUT, "blocklist")?, Some(&md5));
        self.commit(self.unless_exists(self.with_metadata(request)).body(list), md5)
    }

    /// Sends the request that creates the blob.
    fn commit(&self, request: Request, md5: String) -> Result<Sent, Failure> {
        match self.ask(&request) {
            Ok(_) => Ok(Sent::Done(md5)),
            Err(failure) if self.says_exists(&failure) => {
                let ours = failure.tries() > 1 && self.is_ours(&md5)?;
                Ok(if ours { Sent::Done(md5) } else { Sent::Exists })
            }
            Err(failure) => Err(failure),
        }
    }

    fn set_tags(&self, notes: &mut Vec<String>) -> Result<(), Failure> {
        if self.properties.tags.is_empty() {
            return Ok(());
        }
        let tag = |(key, value): (&String, &String)| {
            format!("<Tag><Key>{}</Key><Value>{}</Value></Tag>", escape(key), escape(value))
        };
        let set: String = self.properties.tags.iter().map(tag).collect();
        let body = format!("<?xml version=\"1.0\" encoding=\"utf-8\"?><Tags><TagSet>{set}</TagSet></Tags>");
        let request = self.request(Method::PUT, "tags")?.header("content-type", "application/xml");
        self.note("its tags were not set", self.ask(&request.body(body)), notes)
    }

    fn set_tier(&self, notes: &mut Vec<String>) -> Result<(), Failure> {
        let Some(tier) = &self.properties.tier else { return Ok(()) };
        let request = self.request(Method::PUT, "tier")?.header("x-ms-access-tier", tier);
        self.note(&format!("its tier {tier} was not set"), self.ask(&request), notes)
    }

    /// A refusal is only reported; a connection failure is an error.
    fn note(
        &self,
        what: &str,
        result: Result<Answer, Failure>,
        notes: &mut Vec<String>,
    ) -> Result<(), Failure> {
        match result {
            Ok(_) => Ok(()),
            Err(failure) if matches!(failure.status(), Some(400..=499)) && !failure.is_transient() => {
                notes.push(format!("{what}: {}", Error::from(failure).summary()));
                Ok(())
            }
            Err(failure) => Err(failure),
        }
    }
}
