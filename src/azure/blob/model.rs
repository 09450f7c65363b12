//! Containers and blobs as reported by the blob service.

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its name; `$root` and `$web` are containers too.
    pub name: String,
    /// `blob` or `container` if it is public.
    pub public_access: Option<String>,
    /// Its metadata.
    pub metadata: BTreeMap<String, String>,
}

/// One page of a container's list.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The blobs in the order of their names. It may be empty although there are further pages.
    pub blobs: Vec<Blob>,
    /// Whether tags were read. They are not if the account has none (hierarchical namespace) or if the
    /// credential may not read them.
    pub tags: bool,
}

/// How a blob is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BlobType {
    /// An ordinary blob, written in blocks.
    Block,
    /// One that only grows, such as a log.
    Append,
    /// Random access in pages of 512 bytes, such as a disk.
    Page,
}

impl BlobType {
    /// As in the header `x-ms-blob-type`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Block => "BlockBlob",
            Self::Append => "AppendBlob",
            Self::Page => "PageBlob",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        [Self::Block, Self::Append, Self::Page].into_iter().find(|kind| kind.name() == name)
    }
}

impl fmt::Display for BlobType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A blob as listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// Its name, decoded.
    pub name: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// Its version tag without quotes; any change, of metadata too, gives a new one.
    pub etag: String,
    /// How it is stored.
    pub kind: BlobType,
    /// Whether it is a directory of a hierarchical namespace, which has no content.
    pub directory: bool,
    /// The properties besides the content.
    pub properties: Properties,
    /// Why its entry in the list is not supported, if so: then it cannot be read.
    pub odd: Option<String>,
}

impl Blob {
    /// Whether its content is in the archive tier and cannot be read.
    pub fn is_archived(&self) -> bool {
        self.properties.tier.as_deref() == Some("Archive")
    }
}

/// The properties of a blob besides its content. Unset ones are left out when it is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Properties {
    /// `Content-Type`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// `Content-Encoding`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_encoding: Option<String>,
    /// `Content-Language`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_language: Option<String>,
    /// `Content-Disposition`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_disposition: Option<String>,
    /// `Cache-Control`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<String>,
    /// The MD5 digest of the content in base64. Blobs written in several parts have one only if their writer gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_md5: Option<String>,
    /// The access tier (`Cool`, `P10`, …) if it was chosen for this blob; none if it is the account's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    /// When it was last changed, RFC 3339 in UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<String>,
    /// When it was created, RFC 3339 in UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Metadata; the names are distinct regardless of case.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Index tags.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// Converts a time from the format of HTTP to RFC 3339 in UTC; an invalid time is returned unchanged.
pub(super) fn rfc3339(text: &str) -> String {
    let moment: Option<Timestamp> = jiff::fmt::rfc2822::parse(text).ok().map(|moment| moment.timestamp());
    moment.map_or_else(|| text.to_owned(), |moment| moment.to_string())
}
