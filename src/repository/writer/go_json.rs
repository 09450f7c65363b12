//! Writes trees byte for byte as restic does: restic considers a tree that it would write differently as needing repair.

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use rustic_core::repofile::{Node, NodeType};
use serde::{Serialize, Serializer};

use crate::error::{Error, Result};

/// A node with restic's fields in restic's order.
#[derive(Serialize)]
struct GoNode<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    tpe: &'static str,
    #[serde(skip_serializing_if = "is_zero")]
    mode: u32,
    mtime: String,
    atime: String,
    ctime: String,
    uid: u32,
    gid: u32,
    #[serde(skip_serializing_if = "str::is_empty")]
    user: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    group: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    inode: u64,
    #[serde(skip_serializing_if = "is_zero")]
    device_id: u64,
    #[serde(skip_serializing_if = "is_zero")]
    size: u64,
    #[serde(skip_serializing_if = "is_zero")]
    links: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    linktarget: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    linktarget_raw: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    extended_attributes: Vec<GoAttribute<'a>>,
    #[serde(skip_serializing_if = "is_zero")]
    device: u64,
    content: Option<Vec<rustic_core::Id>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subtree: Option<rustic_core::Id>,
}

#[derive(Serialize)]
struct GoAttribute<'a> {
    name: &'a str,
    #[serde(serialize_with = "base64")]
    value: &'a [u8],
}

fn base64<S: Serializer>(value: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(value))
}

fn is_zero<T: Default + PartialEq>(number: &T) -> bool {
    *number == T::default()
}

/// The text before the nodes of a tree, …
pub(super) const START: &str = "{\"nodes\":[";
/// … between two of them, …
pub(super) const BETWEEN: &str = ",";
/// … and after them: there is a newline at the end.
pub(super) const END: &str = "]}\n";

/// Appends the JSON of one node, with extended attributes of names and values, to `out`.
pub(super) fn append_node(node: &Node, xattrs: &[(String, Vec<u8>)], out: &mut Vec<u8>) -> Result<()> {
    let (tpe, link, raw, device) = match &node.node_type {
        NodeType::File => ("file", "", None, 0),
        NodeType::Dir => ("dir", "", None, 0),
        NodeType::Symlink { linktarget, linktarget_raw } => {
            ("symlink", linktarget.as_str(), linktarget_raw.as_ref(), 0)
        }
        NodeType::Dev { device } => ("dev", "", None, *device),
        NodeType::Chardev { device } => ("chardev", "", None, *device),
        NodeType::Fifo => ("fifo", "", None, 0),
        NodeType::Socket => ("socket", "", None, 0),
    };
    let meta = &node.meta;
    let go = GoNode {
        name: &node.name,
        tpe,
        mode: meta.mode.unwrap_or_default(),
        mtime: time(meta.mtime),
        atime: time(meta.atime),
        ctime: time(meta.ctime),
        uid: meta.uid.unwrap_or_default(),
        gid: meta.gid.unwrap_or_default(),
        user: meta.user.as_deref().unwrap_or_default(),
        group: meta.group.as_deref().unwrap_or_default(),
        inode: meta.inode,
        device_id: meta.device_id,
        size: meta.size,
        links: meta.links,
        linktarget: link,
        linktarget_raw: raw.map(|raw| STANDARD.encode(raw)),
        extended_attributes: xattrs.iter().map(|(name, value)| GoAttribute { name, value }).collect(),
        device,
        content: node.content.as_ref().map(|ids| ids.iter().map(|id| **id).collect()),
        subtree: node.subtree.map(|id| *id),
    };
    let json = serde_json::to_string(&go).map_err(|e| Error::failed("cannot write a tree").because(&e))?;
    let mut plain = 0;
    for (at, c) in json.char_indices() {
        // Go escapes these in every string; they do not occur outside of strings.
        if matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}') {
            out.extend_from_slice(&json.as_bytes()[plain..at]);
            out.extend_from_slice(format!("\\u{:04x}", u32::from(c)).as_bytes());
            plain = at + c.len_utf8();
        }
    }
    out.extend_from_slice(&json.as_bytes()[plain..]);
    Ok(())
}

/// A time in Go's format: UTC, with as many decimals as needed.
fn time(time: Option<Timestamp>) -> String {
    time.unwrap_or_default().to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use rustic_core::repofile::Metadata;

    fn written(node: &Node, xattrs: &[(String, Vec<u8>)]) -> String {
        let mut out = Vec::new();
        append_node(node, xattrs, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_node_is_written_as_restic_does() {
        let time = Some("2026-11-22T22:45:47.5Z".parse().unwrap());
        let meta = Metadata {
            mode: Some(0o600),
            mtime: time,
            atime: time,
            ctime: time,
            size: 3,
            links: 1,
            ..Metadata::default()
        };
        let file = Node { name: "a<b&c".to_owned(), meta, content: Some(Vec::new()), ..Node::default() };
        let expected = concat!(
            r#"{"name":"a\u003cb\u0026c","type":"file","mode":384,"mtime":"2026-11-22T22:45:47.5Z","#,
            r#""atime":"2026-11-22T22:45:47.5Z","ctime":"2026-11-22T22:45:47.5Z","uid":0,"gid":0,"size":3,"#,
            r#""links":1,"content":[]}"#,
        );
        assert_eq!(written(&file, &[]), expected);
    }

    #[test]
    fn links_devices_and_attributes_stand_in_their_order() {
        let meta = Metadata {
            mode: Some(0o777),
            uid: Some(7),
            user: Some("ann".to_owned()),
            inode: 5,
            device_id: 6,
            links: 2,
            ..Metadata::default()
        };
        let node_type =
            NodeType::Symlink { linktarget: "there".to_owned(), linktarget_raw: Some(vec![0xff]) };
        let link = Node { name: "l".to_owned(), node_type, meta, ..Node::default() };
        let epoch = "1970-01-01T00:00:00Z";
        let expected = format!(
            r#"{{"name":"l","type":"symlink","mode":511,"mtime":"{epoch}","atime":"{epoch}","ctime":"{epoch}","uid":7,"gid":0,"user":"ann","inode":5,"device_id":6,"links":2,"linktarget":"there","linktarget_raw":"/w==","extended_attributes":[{{"name":"user.x","value":"eQ=="}}],"content":null}}"#
        );
        assert_eq!(written(&link, &[("user.x".to_owned(), b"y".to_vec())]), expected);
        let device = Node { node_type: NodeType::Chardev { device: 259 }, ..Node::default() };
        assert!(written(&device, &[]).ends_with(r#""uid":0,"gid":0,"device":259,"content":null}"#));
    }
}
