//! Trees written byte for byte as restic writes them: it takes a tree that it would write otherwise for one that needs
//! repair.

use jiff::Timestamp;
use rustic_core::repofile::{Node, NodeType};
use serde::Serialize;

use crate::error::{Error, Result};

/// A node with restic's fields in restic's order.
#[derive(Serialize)]
struct GoNode<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    tpe: &'static str,
    mode: u32,
    mtime: String,
    atime: String,
    ctime: String,
    uid: u32,
    gid: u32,
    #[serde(skip_serializing_if = "is_zero")]
    size: u64,
    #[serde(skip_serializing_if = "is_zero")]
    links: u64,
    content: Option<Vec<rustic_core::Id>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subtree: Option<rustic_core::Id>,
}

#[derive(Serialize)]
struct GoTree<'a> {
    nodes: Vec<GoNode<'a>>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The JSON of a tree of files and folders, with the newline that ends it.
pub(super) fn tree(nodes: &[Node]) -> Result<Vec<u8>> {
    let nodes = nodes
        .iter()
        .map(|node| GoNode {
            name: &node.name,
            tpe: if matches!(node.node_type, NodeType::Dir) { "dir" } else { "file" },
            mode: node.meta.mode.unwrap_or_default(),
            mtime: time(node.meta.mtime),
            atime: time(node.meta.atime),
            ctime: time(node.meta.ctime),
            uid: node.meta.uid.unwrap_or_default(),
            gid: node.meta.gid.unwrap_or_default(),
            size: node.meta.size,
            links: node.meta.links,
            content: node.content.as_ref().map(|ids| ids.iter().map(|id| **id).collect()),
            subtree: node.subtree.map(|id| *id),
        })
        .collect();
    let json = serde_json::to_string(&GoTree { nodes })
        .map_err(|e| Error::failed("cannot write a tree").because(&e))?;
    let mut escaped = String::with_capacity(json.len() + 1);
    for c in json.chars() {
        match c {
            // Go escapes these in every string; outside of strings they do not occur.
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                escaped.push_str(&format!("\\u{:04x}", u32::from(c)))
            }
            other => escaped.push(other),
        }
    }
    escaped.push('\n');
    Ok(escaped.into_bytes())
}

/// A time as Go writes it: UTC, with as many decimals as it needs.
fn time(time: Option<Timestamp>) -> String {
    time.unwrap_or_default().to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use rustic_core::repofile::Metadata;

    #[test]
    fn a_tree_is_written_as_restic_does() {
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
            r#"{"nodes":[{"name":"a\u003cb\u0026c","type":"file","mode":384,"mtime":"2026-11-22T22:45:47.5Z","#,
            r#""atime":"2026-11-22T22:45:47.5Z","ctime":"2026-11-22T22:45:47.5Z","uid":0,"gid":0,"size":3,"#,
            r#""links":1,"content":[]}]}"#,
            "\n"
        );
        assert_eq!(String::from_utf8(tree(&[file]).unwrap()).unwrap(), expected);
    }
}
