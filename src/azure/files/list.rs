//! Lists of shares and of directories, as the File service sends them in XML.
//!
//! <https://learn.microsoft.com/rest/api/storageservices/list-shares>,
//! <https://learn.microsoft.com/rest/api/storageservices/list-directories-and-files>

use std::{collections::BTreeMap, io::BufRead};

use jiff::Timestamp;
use serde::Deserialize;

use super::{ExistingSnapshot, SmbProperties, SnapshotId};
use crate::{
    azure::{
        failure::{Failure, NOT_AZURE},
        xml::{self, Entry as Listed, metadata},
    },
    error::{Error, Result},
};

/// The maximum length of a file in bytes: the largest has 4 TiB. Sums of these lengths cannot overflow.
const LONGEST: u64 = 1 << 50;

/// The protocol of a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Windows file sharing.
    Smb,
    /// NFS 4.1, with owners and modes instead of attributes and access lists.
    Nfs,
}

/// A live share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// Its name.
    pub name: String,
    /// Its protocol.
    pub protocol: Protocol,
    /// The most that it may hold, in GiB.
    pub quota: u64,
    /// Its metadata.
    pub metadata: BTreeMap<String, String>,
    /// Its snapshots, in the order of the service.
    pub snapshots: Vec<ExistingSnapshot>,
}

/// A file or directory of a share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name, without the path.
    pub name: String,
    /// Its id in the service, if it has one.
    pub id: Option<String>,
    /// Whether it is a directory.
    pub directory: bool,
    /// The length of a file's content; 0 for a directory.
    pub bytes: u64,
    /// Changes with content and properties; empty if the service gives none.
    pub etag: String,
    /// Attributes, times and permission.
    pub smb: SmbProperties,
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// Its content.
    pub items: Vec<T>,
    /// The marker of the next page, unless this is the last.
    pub next: Option<String>,
}

/// One of the list of shares: a live one or, with an id, a snapshot.
#[derive(Debug)]
pub(super) struct ShareItem {
    pub share: Share,
    pub snapshot: Option<SnapshotId>,
}

/// Reads a page of shares and snapshots. Shares that were deleted and can still be brought back are left out.
pub(super) fn shares(body: impl BufRead) -> Result<Page<ShareItem>, Failure> {
    read(body, "Shares", &mut |item| {
        let content: ShareXml = item.read()?;
        match content.deleted.as_deref() {
            Some("true") => Ok(None),
            _ => Ok(Some(share(item, content)?)),
        }
    })
}

/// A share as listed.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ShareXml {
    snapshot: Option<String>,
    deleted: Option<String>,
    properties: Option<SharePropertiesXml>,
    #[serde(default, deserialize_with = "metadata")]
    metadata: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SharePropertiesXml {
    enabled_protocols: Option<String>,
    quota: Option<String>,
}

fn share(item: &Listed, content: ShareXml) -> Result<ShareItem> {
    let name = name(item)?;
    let properties = content.properties.ok_or_else(|| broken("a share has no Properties"))?;
    let protocol = match some(&properties.enabled_protocols) {
        None | Some("SMB") => Protocol::Smb,
        Some("NFS") => Protocol::Nfs,
        Some(other) => return Err(broken(&format!("the share {name:?} has the protocol {other:?}"))),
    };
    let quota = number(some(&properties.quota).unwrap_or("0"))?;
    let metadata = content.metadata;
    let snapshot = content.snapshot.map(SnapshotId::new).transpose()?;
    Ok(ShareItem { share: Share { name, protocol, quota, metadata, snapshots: Vec::new() }, snapshot })
}

/// Assigns snapshots to their shares. A snapshot of a share that is not live is left out.
pub(super) fn join(items: Vec<ShareItem>) -> Vec<Share> {
    let mut shares = Vec::<Share>::new();
    let mut snapshots = BTreeMap::<String, Vec<ExistingSnapshot>>::new();
    for ShareItem { share, snapshot } in items {
        match snapshot {
            None => shares.push(share),
            Some(id) => {
                let metadata = share.metadata;
                snapshots.entry(share.name).or_default().push(ExistingSnapshot { id, metadata });
            }
        }
    }
    for share in &mut shares {
        share.snapshots = snapshots.remove(&share.name).unwrap_or_default();
    }
    shares
}

/// Reads a page of a directory.
pub(super) fn entries(body: impl BufRead) -> Result<Page<Entry>, Failure> {
    read(body, "Entries", &mut |item| entry(item).map(Some))
}

/// A file or directory as listed.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct EntryXml {
    file_id: Option<String>,
    #[serde(default)]
    properties: PropertiesXml,
    attributes: Option<String>,
    permission_key: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase")]
struct PropertiesXml {
    #[serde(rename = "Content-Length")]
    content_length: Option<String>,
    creation_time: Option<String>,
    last_write_time: Option<String>,
    change_time: Option<String>,
    etag: Option<String>,
}

fn entry(item: &Listed) -> Result<Entry> {
    let directory = match item.kind() {
        "File" => false,
        "Directory" => true,
        // Skipping unknown entries would make the backup incomplete.
        other => return Err(broken(&format!("it has an entry of the unknown kind {other:?}"))),
    };
    let name = name(item)?;
    let EntryXml { file_id, properties, attributes: flags, permission_key } = item.read()?;
    let bytes = match some(&properties.content_length) {
        _ if directory => 0,
        Some(length) => number(length)?,
        None => return Err(broken(&format!("the file {name:?} has no length"))),
    };
    if bytes > LONGEST {
        return Err(broken(&format!("{bytes} is not a valid length of the file {name:?}")));
    }
    let time = |text: &Option<String>| some(text).map(timestamp).transpose();
    let smb = SmbProperties {
        attributes: some(&flags).map(attributes).unwrap_or_default(),
        created: time(&properties.creation_time)?,
        written: time(&properties.last_write_time)?,
        changed: time(&properties.change_time)?,
        permission_key: permission_key.filter(|key| !key.is_empty()),
    };
    let id = file_id.filter(|id| !id.is_empty());
    let etag = properties.etag.unwrap_or_default();
    Ok(Entry { name, id, directory, bytes, etag, smb })
}

/// A text; an empty one counts as missing.
fn some(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|text| !text.is_empty())
}

fn read<T>(
    body: impl BufRead,
    list: &str,
    each: &mut dyn FnMut(&Listed) -> Result<Option<T>>,
) -> Result<Page<T>, Failure> {
    let mut items = Vec::new();
    let rest = xml::list(body, list, &mut |item| {
        items.extend(each(&item)?);
        Ok(())
    })?;
    if !rest.has_list {
        return Err(broken(&format!("it has no {list}")).hint(NOT_AZURE).into());
    }
    Ok(Page { items, next: rest.next })
}

fn name(item: &Listed) -> Result<String> {
    match item.name()? {
        name if name.is_empty() => Err(broken("an entry has an empty name")),
        name => Ok(name),
    }
}

/// A time in the format of the File service: RFC 3339 with up to seven decimals.
pub(super) fn timestamp(text: &str) -> Result<Timestamp> {
    text.parse().map_err(|error: jiff::Error| broken(&format!("{text:?} is not a time")).because(&error))
}

/// Attributes as the service writes them, with or without spaces, in one spelling: `Archive|ReadOnly`. That an entry
/// is a directory, or has none, is not among them.
pub(super) fn attributes(text: &str) -> String {
    let names = text.split(['|', ',']).map(str::trim);
    let names: Vec<_> = names.filter(|name| !matches!(*name, "" | "None" | "Directory" | "Normal")).collect();
    names.join("|")
}

fn number(text: &str) -> Result<u64> {
    text.trim().parse().map_err(|_| broken(&format!("{text:?} is not a number")))
}

fn broken(what: &str) -> Error {
    Error::failed(format!("the File service sent a list that cannot be read: {what}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn directory(entries: &str) -> Result<Page<Entry>, Failure> {
        let text = format!(
            "\u{feff}<?xml version=\"1.0\"?><EnumerationResults ShareName=\"s\"><Entries>{entries}</Entries>\
             <NextMarker>a&amp;b</NextMarker></EnumerationResults>"
        );
        super::entries(text.as_bytes())
    }

    fn list(shares: &str) -> Result<Vec<Share>, Failure> {
        let text = format!("<EnumerationResults><Shares>{shares}</Shares><NextMarker/></EnumerationResults>");
        super::shares(text.as_bytes()).map(|page| join(page.items))
    }

    #[test]
    fn files_and_directories_may_come_mixed() {
        let page = directory(
            "<File><Name> a&amp;b.</Name><FileId>7</FileId><Properties><Content-Length>12</Content-Length>\
             <CreationTime>2020-09-04T18:06:54.1234567Z</CreationTime><Etag>\"0x8\"</Etag></Properties>\
             <Attributes>ReadOnly | Archive</Attributes><PermissionKey>1*2</PermissionKey></File>\
             <Directory><Name Encoded=\"true\">%01x</Name><Properties/><Attributes>Directory</Attributes></Directory>\
             <File><Name>c</Name><Properties><Content-Length>0</Content-Length></Properties></File>",
        )
        .unwrap();
        assert_eq!(page.next.as_deref(), Some("a&b"));
        let [file, directory, last] = &page.items[..] else { panic!("{page:?}") };
        assert_eq!((file.name.as_str(), file.bytes, file.directory), (" a&b.", 12, false));
        assert_eq!((file.id.as_deref(), file.etag.as_str()), (Some("7"), "\"0x8\""));
        assert_eq!(file.smb.created, Some("2020-09-04T18:06:54.1234567Z".parse().unwrap()));
        assert_eq!(
            (file.smb.attributes.as_str(), file.smb.permission_key.as_deref()),
            ("ReadOnly|Archive", Some("1*2"))
        );
        assert_eq!((directory.name.as_str(), directory.directory), ("\u{1}x", true));
        assert_eq!(directory.smb, SmbProperties::default());
        assert_eq!((last.name.as_str(), last.smb.written), ("c", None));
    }

    #[test]
    fn what_is_not_understood_is_an_error_and_not_left_out() {
        for (entries, says) in [
            ("<Link><Name>a</Name></Link>", "unknown kind \"Link\""),
            ("<File><Name>a</Name><Properties/></File>", "has no length"),
            ("<File><Name/><Properties/></File>", "empty name"),
            ("<Directory><Properties/></Directory>", "no name"),
            (
                "<File><Name>a</Name><Properties><Content-Length>x</Content-Length></Properties></File>",
                "not a number",
            ),
            (
                "<File><Name>a</Name><Properties><Content-Length>18446744073709551615</Content-Length></Properties></File>",
                "18446744073709551615 is not a valid length of the file \"a\"",
            ),
            (
                "<Directory><Name>a</Name><Properties><ChangeTime>now</ChangeTime></Properties></Directory>",
                "not a time",
            ),
        ] {
            let text = directory(entries).unwrap_err().to_string();
            assert!(text.contains(says), "{text}");
        }
        for other in ["<Error><Code>x</Code></Error>", "<EnumerationResults/>", ""] {
            assert!(super::entries(other.as_bytes()).is_err(), "{other}");
        }
        assert!(list("<Share><Name>a</Name><Properties><EnabledProtocols>FTP</EnabledProtocols></Properties></Share>").is_err());
        assert!(
            list("<Share><Name>a</Name><Snapshot></Snapshot><Properties/></Share>").is_err(),
            "not a live share"
        );
    }

    #[test]
    fn snapshots_belong_to_live_shares() {
        let shares = list(
            "<Share><Name>a</Name><Snapshot>s1</Snapshot><Properties/><Metadata><k>v</k></Metadata></Share>\
             <Share><Name>a</Name><Properties><Quota>5</Quota></Properties></Share>\
             <Share><Name>gone</Name><Deleted>true</Deleted><Properties/></Share>\
             <Share><Name>gone</Name><Snapshot>s2</Snapshot><Properties/></Share>",
        )
        .unwrap();
        let [a] = &shares[..] else { panic!("{shares:?}") };
        assert_eq!((a.name.as_str(), a.quota, a.protocol), ("a", 5, Protocol::Smb));
        assert_eq!((a.snapshots[0].id.as_str(), &*a.snapshots[0].metadata["k"]), ("s1", "v"));
    }

    #[test]
    fn attributes_have_one_spelling() {
        for (text, plain) in [
            ("None", ""),
            ("Directory", ""),
            ("Archive | ReadOnly", "Archive|ReadOnly"),
            ("Directory|Hidden", "Hidden"),
            ("", ""),
        ] {
            assert_eq!(attributes(text), plain, "{text}");
        }
    }
}
