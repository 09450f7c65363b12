//! Nodes of restic's trees: names are quoted as by Go's `strconv.Quote`, file modes have the bits of Go's `fs.FileMode`.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
};

use rustic_core::repofile::{Metadata, NodeType};

use crate::stream::files::{Attributes, NodeKind, Special};

/// Go's bits beyond the nine permission bits.
const DIR: u32 = 1 << 31;
const SYMLINK: u32 = 1 << 27;
const DEVICE: u32 = 1 << 26;
const FIFO: u32 = 1 << 25;
const SOCKET: u32 = 1 << 24;
const SETUID: u32 = 1 << 23;
const SETGID: u32 = 1 << 22;
const CHAR_DEVICE: u32 = 1 << 21;
const STICKY: u32 = 1 << 20;
/// Unix bits with their counterparts.
const SPECIAL_BITS: [(u32, u32); 3] = [(0o4000, SETUID), (0o2000, SETGID), (0o1000, STICKY)];

/// The metadata of a node but for extended attributes; `mode` is the permission used if the attributes have none.
pub(super) fn metadata(attributes: &Attributes, tpe: &NodeType, mode: u32, size: u64) -> Metadata {
    let permissions = attributes.mode.unwrap_or(mode);
    let mut mode = permissions & 0o777;
    for (unix, go) in SPECIAL_BITS {
        if permissions & unix != 0 {
            mode |= go;
        }
    }
    mode |= match tpe {
        NodeType::File => 0,
        NodeType::Dir => DIR,
        NodeType::Symlink { .. } => SYMLINK,
        NodeType::Dev { .. } => DEVICE,
        NodeType::Chardev { .. } => DEVICE | CHAR_DEVICE,
        NodeType::Fifo => FIFO,
        NodeType::Socket => SOCKET,
    };
    Metadata {
        mode: Some(mode),
        mtime: attributes.mtime,
        atime: attributes.atime.or(attributes.mtime),
        ctime: attributes.ctime.or(attributes.mtime),
        uid: Some(attributes.uid.unwrap_or_else(|| rustix::process::getuid().as_raw())),
        gid: Some(attributes.gid.unwrap_or_else(|| rustix::process::getgid().as_raw())),
        user: attributes.user.clone(),
        group: attributes.group.clone(),
        inode: attributes.inode,
        device_id: attributes.device,
        size,
        links: attributes.links,
        // Their type is not public; they are written from the attributes.
        extended_attributes: Vec::new(),
    }
}

/// Converts a node's metadata.
pub(super) fn attributes(meta: Metadata) -> Attributes {
    // A mode of 0 is omitted in a tree.
    let go = meta.mode.unwrap_or(0);
    let special = SPECIAL_BITS.iter().filter(|(_, bit)| go & bit != 0).map(|(unix, _)| unix);
    Attributes {
        mode: Some(special.fold(go & 0o777, |mode, bit| mode | bit)),
        mtime: meta.mtime,
        atime: meta.atime,
        ctime: meta.ctime,
        uid: meta.uid,
        gid: meta.gid,
        user: meta.user,
        group: meta.group,
        inode: meta.inode,
        device: meta.device_id,
        links: meta.links,
        xattrs: meta
            .extended_attributes
            .into_iter()
            .map(|attribute| (attribute.name, attribute.value.unwrap_or_default()))
            .collect(),
    }
}

/// The node type of a special entry.
pub(super) fn node_type(special: &Special) -> NodeType {
    match special {
        Special::Symlink(target) => NodeType::from_link(target.as_ref()),
        Special::Fifo => NodeType::Fifo,
        Special::Socket => NodeType::Socket,
        Special::CharDevice(device) => NodeType::Chardev { device: *device },
        Special::BlockDevice(device) => NodeType::Dev { device: *device },
    }
}

/// The type of a node.
pub(super) fn kind(tpe: &NodeType, size: u64) -> NodeKind {
    match tpe {
        NodeType::File => NodeKind::File(size),
        NodeType::Dir => NodeKind::Folder,
        NodeType::Symlink { linktarget, linktarget_raw } => {
            let target = match linktarget_raw {
                Some(raw) => OsString::from_vec(raw.clone()),
                None => OsString::from(linktarget),
            };
            NodeKind::Special(Special::Symlink(target))
        }
        NodeType::Dev { device } => NodeKind::Special(Special::BlockDevice(*device)),
        NodeType::Chardev { device } => NodeKind::Special(Special::CharDevice(*device)),
        NodeType::Fifo => NodeKind::Special(Special::Fifo),
        NodeType::Socket => NodeKind::Special(Special::Socket),
    }
}

/// A name as restic stores it: quoted as Go does, without the quotes.
pub(super) fn quote(name: &OsStr) -> String {
    let mut quoted = String::with_capacity(name.len());
    for chunk in name.as_bytes().utf8_chunks() {
        chunk.valid().chars().for_each(|c| quote_char(&mut quoted, c));
        for byte in chunk.invalid() {
            quoted.push_str(&format!("\\x{byte:02x}"));
        }
    }
    quoted
}

fn quote_char(quoted: &mut String, c: char) {
    match c {
        '\\' => quoted.push_str("\\\\"),
        '"' => quoted.push_str("\\\""),
        '\u{7}' => quoted.push_str("\\a"),
        '\u{8}' => quoted.push_str("\\b"),
        '\u{c}' => quoted.push_str("\\f"),
        '\n' => quoted.push_str("\\n"),
        '\r' => quoted.push_str("\\r"),
        '\t' => quoted.push_str("\\t"),
        '\u{b}' => quoted.push_str("\\v"),
        ' '..='~' => quoted.push(c),
        '\0'..='\u{7f}' => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
        _ if is_printable(c) => quoted.push(c),
        '\0'..='\u{ffff}' => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
        _ => quoted.push_str(&format!("\\U{:08x}", u32::from(c))),
    }
}

/// Whether a non-ASCII character is printable. The standard library exposes this only by escaping; a combining character is
/// escaped only at the beginning of a text.
fn is_printable(c: char) -> bool {
    let mut text = [b'a', 0, 0, 0, 0];
    let length = 1 + c.encode_utf8(&mut text[1..]).len();
    std::str::from_utf8(&text[..length]).is_ok_and(|text| text.escape_debug().nth(1) != Some('\\'))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use rustic_core::repofile::Node;

    #[test]
    fn names_are_quoted_as_go_does_and_read_back() {
        for (name, quoted) in [
            (&b"plain name.txt"[..], "plain name.txt"),
            (b"a\\b\"c", "a\\\\b\\\"c"),
            (b"line\nfeed\x01\x7f", "line\\nfeed\\x01\\x7f"),
            ("häß 日本 e\u{301} 🙂".as_bytes(), "häß 日本 e\u{301} 🙂"),
            ("zero\u{200b}width\u{ad}nbsp\u{a0}".as_bytes(), "zero\\u200bwidth\\u00adnbsp\\u00a0"),
            ("\u{f0000}\u{fffd}".as_bytes(), "\\U000f0000\u{fffd}"),
            (b"raw\xff\xc3", "raw\\xff\\xc3"),
        ] {
            let name = OsStr::from_bytes(name);
            assert_eq!(quote(name), quoted);
            let node = Node { name: quoted.to_owned(), ..Node::default() };
            assert_eq!(node.name(), name, "{quoted}");
        }
    }

    #[test]
    fn modes_survive_the_way_there_and_back() {
        for mode in [0, 0o644, 0o7777, 0o4755, 0o2700, 0o1777] {
            for tpe in [NodeType::File, NodeType::Dir, NodeType::Fifo, NodeType::Socket] {
                let there = metadata(&Attributes { mode: Some(mode), ..Attributes::default() }, &tpe, 0, 0);
                assert_eq!(attributes(there).mode, Some(mode));
            }
        }
        let folder = metadata(&Attributes::default(), &NodeType::Dir, 0o700, 0);
        assert_eq!(folder.mode, Some(0o20_000_000_700));
    }
}
