//! Parsing of listed containers and blobs.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Blob, BlobType, Container, Properties, model::rfc3339};
use crate::{
    azure::xml::{Entry, metadata},
    error::{Error, Result},
};

/// The maximum length of a blob in bytes: the largest blob has about 200 TB. Sums of these lengths cannot overflow.
const LONGEST: u64 = 1 << 50;

/// A container as listed.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ContainerXml {
    properties: Option<ContainerPropertiesXml>,
    #[serde(default, deserialize_with = "metadata")]
    metadata: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ContainerPropertiesXml {
    public_access: Option<String>,
}

pub(super) fn container(entry: &Entry) -> Result<Container> {
    let name = entry.name()?;
    let ContainerXml { properties, metadata } = entry.read()?;
    let public_access = properties.and_then(|properties| some(properties.public_access));
    Ok(Container { name, public_access, metadata })
}

/// A blob as listed.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BlobXml {
    properties: Option<PropertiesXml>,
    #[serde(default, deserialize_with = "metadata")]
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

/// A text; an empty one counts as missing.
fn some(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

pub(super) fn blob(entry: &Entry) -> Result<Blob> {
    let name = entry.name()?;
    let refuse = |what: &str| {
        Error::failed(format!("the entry of the blob {name:?} in the list is not supported: {what}"))
            .hint("a newer version of this program may support it")
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
            Ok(bytes) => Err(format!("{bytes} is not a valid length of a blob")),
            Err(_) => Err("its length is not a number".to_owned()),
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
    // A tier inherited from the account is not a property of the blob.
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
    use crate::azure::xml;

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
            ("<Content-Length>-1</Content-Length><BlobType>BlockBlob</BlobType>", "not a number"),
            ("<BlobType>BlockBlob</BlobType>", "no length"),
            (
                "<Content-Length>18446744073709551615</Content-Length><BlobType>BlockBlob</BlobType>",
                "18446744073709551615 is not a valid length of a blob",
            ),
        ] {
            let odd = read(properties, "").unwrap().odd.unwrap();
            assert!(odd.contains(what), "{odd}");
        }
    }
}
