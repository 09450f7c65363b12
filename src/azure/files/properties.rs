//! Properties of files and directories, and their headers.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::list;
use crate::{azure::request::Request, error::Result};

/// The attributes that can be set; others, such as `SparseFile`, are only reported.
const SETTABLE: [&str; 8] =
    ["ReadOnly", "Hidden", "System", "Archive", "Temporary", "Offline", "NotContentIndexed", "NoScrubData"];

/// SMB properties of a file or directory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SmbProperties {
    /// Names joined by `|`, such as `Archive|ReadOnly`; empty if it has none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub attributes: String,
    /// When it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// When its content was last written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub written: Option<Timestamp>,
    /// When anything of it last changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed: Option<Timestamp>,
    /// Names its security descriptor, which `FileService::permission` gives. The key is good within one share only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permission_key: Option<String>,
}

/// Properties of a file's content.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FileProperties {
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
    /// The MD5 that its writer gave, base64. The service does not check it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_md5: Option<String>,
    /// Metadata.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

impl FileProperties {
    /// Reads the headers of an answer through `header`, which finds one by its name; `metadata` comes beside it.
    pub(super) fn read<'a>(
        header: impl Fn(&str) -> Option<&'a str>,
        metadata: BTreeMap<String, String>,
    ) -> Self {
        let owned = |name: &str| header(name).filter(|value| !value.is_empty()).map(str::to_owned);
        Self {
            content_type: owned("content-type"),
            content_encoding: owned("content-encoding"),
            content_language: owned("content-language"),
            content_disposition: owned("content-disposition"),
            cache_control: owned("cache-control"),
            // Of a part of a file the checksum of the whole has a header of its own.
            content_md5: owned("x-ms-content-md5").or_else(|| owned("content-md5")),
            metadata,
        }
    }

    /// Adds the headers that set the properties of the content. Others are cleared.
    pub(super) fn put(&self, request: Request) -> Request {
        request
            .header_if("x-ms-content-type", self.content_type.as_deref())
            .header_if("x-ms-content-encoding", self.content_encoding.as_deref())
            .header_if("x-ms-content-language", self.content_language.as_deref())
            .header_if("x-ms-content-disposition", self.content_disposition.as_deref())
            .header_if("x-ms-cache-control", self.cache_control.as_deref())
            .header_if("x-ms-content-md5", self.content_md5.as_deref())
    }
}

impl SmbProperties {
    /// Reads the headers of an answer.
    pub(super) fn read<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Result<Self> {
        let time = |name: &str| header(name).map(list::timestamp).transpose();
        Ok(Self {
            attributes: header("x-ms-file-attributes").map(list::attributes).unwrap_or_default(),
            created: time("x-ms-file-creation-time")?,
            written: time("x-ms-file-last-write-time")?,
            changed: time("x-ms-file-change-time")?,
            permission_key: header("x-ms-file-permission-key").map(str::to_owned),
        })
    }

    /// Adds the headers that set them. Times and permission that are not known stay as they are.
    pub(super) fn put(&self, request: Request, directory: bool) -> Request {
        let known = self.attributes.split('|').filter(|name| SETTABLE.contains(name));
        let names: Vec<_> = directory.then_some("Directory").into_iter().chain(known).collect();
        let attributes = if names.is_empty() { "None".to_owned() } else { names.join("|") };
        request
            .header("x-ms-file-attributes", &attributes)
            .header_if("x-ms-file-creation-time", self.created.map(stamp).as_deref())
            .header_if("x-ms-file-last-write-time", self.written.map(stamp).as_deref())
            .header_if("x-ms-file-change-time", self.changed.map(stamp).as_deref())
            .header_if("x-ms-file-permission-key", self.permission_key.as_deref())
    }
}

/// A moment with the seven decimals that the service keeps.
fn stamp(time: Timestamp) -> String {
    format!("{time:.7}")
}
