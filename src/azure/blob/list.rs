//! Lists of containers and of blobs, page by page.

use std::{collections::BTreeMap, io::BufReader, sync::atomic::Ordering};

use reqwest::Method;
use serde::Deserialize;

use super::{Blob, BlobService, BlobType, Container, Page, Properties, model::rfc3339};
use crate::{
    azure::{
        failure::{Failure, NOT_AZURE, Scope},
        markers::Markers,
        request::Request,
        xml::{self, Entry},
    },
    error::{Error, Result},
    stream::cancel::Cancel,
};

/// No blob is longer, in bytes: the largest blob has some 200 TB. Sums of such lengths cannot overflow.
const LONGEST: u64 = 1 << 50;

/// The blobs of a container, page by page.
pub struct Listing {
    service: BlobService,
    container: String,
    prefix: Option<String>,
    markers: Markers,
}

impl Listing {
    /// The next page, which may be empty although there are further ones. None only once the service has said that
    /// there are no more.
    ///
    /// # Errors
    /// The service refuses or does not answer, or its pages go in a circle. A blob whose entry cannot be understood, such as one
    /// of a type that this program does not know, is not left out: [`Blob::odd`] says what is odd about it.
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

    /// The blobs of a container whose names begin with `prefix`. Asks for nothing yet.
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
    /// As [`Listing::next`].
    pub fn has_blobs(&self, container: &str, cancel: &Cancel) -> Result<Option<String>> {
        let mut listing = self.listing(container, None);
        while let Some(page) = listing.next(cancel)? {
            if let Some(blob) = page.blobs.into_iter().next() {
                return Ok(Some(blob.name));
            }
        }
        Ok(None)
    }

    /// The blob of this name as it is now. None only if a complete answer says that there is none: neither the list
    /// shows it, nor is it there when it is asked for.
    ///
    /// # Errors
    /// As [`Listing::next`], or the list does not show a blob that is there.
    pub fn find(&self, container: &str, name: &str, cancel: &Cancel) -> Result<Option<Blob>, Failure> {
        // It may be written anew between the two questions.
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
            // Where all names of the list begin with the one that is looked for, they come after it.
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

    /// Whether a blob is there. None if its name cannot be asked for.
    fn is_there(&self, container: &str, name: &str, cancel: &Cancel) -> Result<Option<bool>, Failure> {
        let Ok(request) = self.request(Method::HEAD, &[container, name]) else { return Ok(None) };
        match self.send(&request, cancel) {
            Ok(answer) => Ok(Some(answer.header("x-ms-resource-type") != Some("directory"))),
            Err(failure) if failure.is_gone() => Ok(Some(false)),
            // One whose properties may not be read is there.
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
                // It may be for the tags: an account without them, or a credential that may not read them.
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
            // Without it, this may be any document: an empty list must not be read out of an error page.
            if !rest.has_list {
                let what = format!("it has no {list}");
                return Err(Failure::unexpected(&request.describe(), what).hint(NOT_AZURE));
            }
            Ok((entries, rest.next))
        })
    }
}

/// A container as it stands in a list.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ContainerXml {
    properties: Option<ContainerPropertiesXml>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ContainerPropertiesXml {
    public_access: Option<String>,
}

fn container(entry: &Entry) -> Result<Container> {
    let name = entry.name()?;
    let ContainerXml { properties, metadata } = entry.read()?;
    let public_access = properties.and_then(|properties| some(properties.public_access));
    Ok(Container { name, public_access, metadata })
}

/// A blob as it stands in a list.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BlobXml {
    properties: Option<PropertiesXml>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
    #[serde(default)]
    tags: TagsXml,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PropertiesXml {
    resource_type: Option<String>,
    etag: Option<String>,
    blob_type: Option<String>,
    #[serde(rename = "Content-Length")]
    length: Option<String>,
    #[serde(rename = "Content-Type")]
    content_type: Option<String>,
    #[serde(rename = "Content-Encoding")]
    content_encoding: Option<String>,
    #[serde(rename = "Content-Language")]
    content_language: Option<String>,
    #[serde(rename = "Content-Disposition")]
    content_disposition: Option<String>,
    #[serde(rename = "Cache-Control")]
    cache_control: Option<String>,
    #[serde(rename = "Content-MD5")]
    content_md5: Option<String>,
    access_tier: Option<String>,
    access_tier_inferred: Option<String>,
    #[serde(rename = "Last-Modified")]
    last_modified: Option<String>,
    #[serde(rename = "Creation-Time")]
    created: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase")]
struct TagsXml {
    #[serde(default)]
    tag_set: TagSetXml,
}

#[derive(Deserialize, Default)]
struct TagSetXml {
    #[serde(rename = "Tag", default)]
    tags: Vec<TagXml>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct TagXml {
    key: String,
    value: String,
}

/// A text; an empty one counts as none.
fn some(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

fn blob(entry: &Entry) -> Result<Blob> {
    let name = entry.name()?;
    let refuse = |what: &str| {
        Error::failed(format!("the list's entry of the blob {name:?} cannot be understood: {what}"))
            .hint("a newer version of this program may know it")
    };
    if entry.kind() != "Blob" {
        return Err(refuse(entry.kind()));
    }
    let BlobXml { properties, metadata, tags } = entry.read()?;
    let properties = properties.ok_or_else(|| refuse("it has no properties"))?;
    let directory = properties.resource_type.as_deref() == Some("directory");
    let mut odd = None;
    let etag = some(properties.etag).unwrap_or_else(|| {
        odd = Some("it has no ETag".to_owned());
        String::new()
    });
    let kind = match some(properties.blob_type) {
        Some(kind) => BlobType::from_name(&kind).ok_or_else(|| format!("its type is {kind:?}")),
        None if directory => Ok(BlobType::Block),
        None => Err("it has no type".to_owned()),
    };
    let bytes = match some(properties.length) {
        Some(bytes) => match bytes.parse() {
            Ok(bytes @ 0..=LONGEST) => Ok(bytes),
            Ok(bytes) => Err(format!("{bytes} is no length of a blob")),
            Err(_) => Err("its length is no number".to_owned()),
        },
        None if directory => Ok(0),
        None => Err("it has no length".to_owned()),
    };
    let kind = kind.unwrap_or_else(|what| {
        odd = Some(what);
        BlobType::Block
    });
    let bytes = bytes.unwrap_or_else(|what| {
        odd = Some(what);
        0
    });
    // A tier that the blob has only because it is the account's is not one of its properties.
    let inferred = properties.access_tier_inferred.as_deref() == Some("true");
    let properties = Properties {
        content_type: some(properties.content_type),
        content_encoding: some(properties.content_encoding),
        content_language: some(properties.content_language),
        content_disposition: some(properties.content_disposition),
        cache_control: some(properties.cache_control),
        content_md5: some(properties.content_md5),
        tier: some(properties.access_tier).filter(|_| !inferred),
        last_modified: some(properties.last_modified).as_deref().map(rfc3339),
        created: some(properties.created).as_deref().map(rfc3339),
        metadata,
        tags: tags.tag_set.tags.into_iter().map(|tag| (tag.key, tag.value)).collect(),
    };
    let etag = etag.trim_matches('"').to_owned();
    Ok(Blob { etag, bytes, kind, directory, properties, odd, name })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(properties: &str, rest: &str) -> Result<Blob> {
        let text = format!(
            "<R><Blobs><Blob><Name>n</Name><Properties><Etag>0x1</Etag>{properties}</Properties>{rest}</Blob>\
             </Blobs></R>"
        );
        let mut found = None;
        xml::list(text.as_bytes(), "Blobs", &mut |entry| {
            found = Some(blob(&entry));
            Ok(())
        })
        .unwrap();
        found.unwrap()
    }

    #[test]
    fn all_that_is_listed_is_kept() {
        let blob = read(
            "<Creation-Time>Wed, 01 Jan 2025 00:00:00 GMT</Creation-Time><Last-Modified>Fri, 03 Jan 2025 10:00:01 \
             GMT</Last-Modified><Content-Length>7</Content-Length><Content-Type>text/plain</Content-Type>\
             <Content-Encoding/><Cache-Control>no-store</Cache-Control><Content-MD5>bQ==</Content-MD5><BlobType>\
             AppendBlob</BlobType><AccessTier>Cool</AccessTier>",
            "<Metadata><Author>größe</Author></Metadata><Tags><TagSet><Tag><Key>k &amp;</Key><Value/></Tag></TagSet>\
             </Tags>",
        )
        .unwrap();
        let json = serde_json::to_value(&blob.properties).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "content_type": "text/plain", "cache_control": "no-store", "content_md5": "bQ==", "tier": "Cool",
                "last_modified": "2025-01-03T10:00:01Z", "created": "2025-01-01T00:00:00Z",
                "metadata": { "Author": "größe" }, "tags": { "k &": "" },
            })
        );
        assert_eq!(serde_json::from_value::<Properties>(json).unwrap(), blob.properties);
        assert_eq!(
            (blob.bytes, blob.kind, blob.directory, blob.etag.as_str()),
            (7, BlobType::Append, false, "0x1")
        );
    }

    #[test]
    fn directories_and_tiers_of_the_account_are_told_apart() {
        let blob = read("<ResourceType>directory</ResourceType>", "").unwrap();
        assert!(blob.directory && blob.bytes == 0 && !blob.is_archived());
        let base = "<Content-Length>1</Content-Length><BlobType>BlockBlob</BlobType>";
        let hot = format!("{base}<AccessTier>Hot</AccessTier><AccessTierInferred>true</AccessTierInferred>");
        assert_eq!(read(&hot, "").unwrap().properties.tier, None);
        assert!(read(&format!("{base}<AccessTier>Archive</AccessTier>"), "").unwrap().is_archived());
    }

    #[test]
    fn what_is_not_understood_is_odd_and_not_left_out() {
        for (properties, what) in [
            ("<Content-Length>1</Content-Length><BlobType>CubeBlob</BlobType>", "CubeBlob"),
            ("<Content-Length>1</Content-Length>", "no type"),
            ("<Content-Length>-1</Content-Length><BlobType>BlockBlob</BlobType>", "no number"),
            ("<BlobType>BlockBlob</BlobType>", "no length"),
            (
                "<Content-Length>18446744073709551615</Content-Length><BlobType>BlockBlob</BlobType>",
                "18446744073709551615 is no length of a blob",
            ),
        ] {
            let odd = read(properties, "").unwrap().odd.unwrap();
            assert!(odd.contains(what), "{odd}");
        }
    }
}
