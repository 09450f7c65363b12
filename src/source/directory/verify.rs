//! Proving a directory: everything in its snapshot is read back and compared with its manifest.

use std::{
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use rustix::fs::FileType;

use super::{Detail, tally::Entry};
use crate::{
    error::{Error, Result},
    output::paths::shown,
    source::{
        layout::CONTENT,
        manifest::Manifest,
        verify::{ReadBack, Verified},
    },
    stream::{
        cancel::Cancel,
        digest::Digest128,
        files::{Files, Node, NodeKind, Special},
    },
};

/// Directories are proven by reading them back.
pub(super) struct Contents;

impl ReadBack for Contents {
    fn read_back(
        &self,
        manifest: &Manifest,
        files: &dyn Files,
        chosen: &(dyn Fn(&Path) -> bool + Sync),
        cancel: &Cancel,
    ) -> Result<Verified> {
        let detail = manifest.detail::<Detail>();
        let detail = detail.ok_or_else(|| Error::failed("the manifest has no details about files"))?;
        verify(files, detail, chosen, cancel)
    }
}

/// Reads the files in `chosen`, and compares names, types, permissions, lengths and identities of all.
///
/// # Errors
/// Data cannot be read. Differences in readable data are in the result.
fn verify(
    files: &dyn Files,
    detail: &Detail,
    chosen: &dyn Fn(&Path) -> bool,
    cancel: &Cancel,
) -> Result<Verified> {
    let mut found = Verified::default();
    let mut digest = Digest128::ZERO;
    let (mut folders, mut others) = (0_u64, 0_u64);
    files.walk(&mut |node| {
        cancel.check()?;
        let Ok(path) = node.path.strip_prefix(CONTENT) else { return Ok(()) };
        if path.as_os_str().is_empty() {
            return Ok(());
        }
        let (tpe, bytes, content) = kind(&node);
        match tpe {
            FileType::RegularFile => {
                found.files += 1;
                found.bytes += bytes;
                if chosen(path) {
                    read(&node, bytes, path, &mut found)?;
                }
            }
            FileType::Directory => folders += 1,
            _ => others += 1,
        }
        digest += Entry { path, tpe, attributes: node.attributes, bytes, content: &content }.digest();
        Ok(())
    })?;
    let mut count = |what: &str, stored: u64, is: u64| {
        if stored != is {
            found.differences.push(format!("{what}: the manifest says {stored}, the snapshot has {is}"));
        }
    };
    let (of_files, of_bytes) = (found.files, found.bytes);
    count("files", detail.files, of_files);
    count("bytes", detail.bytes, of_bytes);
    count("directories", detail.folders, folders);
    count("links, pipes, sockets and devices", detail.symlinks + detail.others, others);
    if found.differences.is_empty() && digest != detail.digest {
        found.differences.push(
            "names, types, permissions or contents differ from those recorded during the backup".to_owned(),
        );
    }
    Ok(found)
}

fn read(node: &Node<'_>, bytes: u64, path: &Path, found: &mut Verified) -> Result<()> {
    let failed = |error: Error| error.context(PathBuf::from(path).display());
    let length = node.content.copy(&mut io::sink()).map_err(failed)?;
    found.read_files += 1;
    found.read_bytes += length;
    if length != bytes {
        found.differences.push(format!("{}: {length} bytes instead of {bytes}", shown(path)));
    }
    Ok(())
}

/// Type, length and content, as used in the digest.
fn kind(node: &Node<'_>) -> (FileType, u64, Vec<u8>) {
    match &node.kind {
        NodeKind::File(bytes) => {
            (FileType::RegularFile, *bytes, node.content.identity().map(|id| id.to_vec()).unwrap_or_default())
        }
        NodeKind::Folder => (FileType::Directory, 0, Vec::new()),
        NodeKind::Special(special) => match special {
            Special::Symlink(target) => (FileType::Symlink, 0, target.as_bytes().to_vec()),
            Special::Fifo => (FileType::Fifo, 0, Vec::new()),
            Special::Socket => (FileType::Socket, 0, Vec::new()),
            Special::CharDevice(device) => (FileType::CharacterDevice, 0, device.to_le_bytes().to_vec()),
            Special::BlockDevice(device) => (FileType::BlockDevice, 0, device.to_le_bytes().to_vec()),
        },
    }
}
