//! Proving a container or share: every content in its snapshot is read back and compared with the length and the MD5 that
//! were recorded when it was read from the service.

use std::{
    collections::BTreeSet,
    io::{self, Write},
    path::Path,
};

use md5::{Digest, Md5 as Md5Hasher};
use parking_lot::{Mutex, MutexGuard};

use super::{
    Detail,
    container::{self, row},
    inventory::Md5,
    restore::content::each_parallel,
    share,
};
use crate::{
    error::{Error, Result},
    source::{
        manifest::Manifest,
        verify::{ReadBack, Verified},
    },
    stream::{
        cancel::Cancel,
        digest::RowDigest,
        files::{Files, NodeKind},
    },
};

/// The maximum number of named differences.
const NAMED: usize = 20;

/// A blob or file according to the inventory.
struct Listed {
    name: String,
    path: String,
    bytes: u64,
    md5: Option<Md5>,
}

struct Found {
    verified: Verified,
    content: RowDigest,
}

/// Containers and shares are proven by reading them back.
pub(super) struct Contents;

impl ReadBack for Contents {
    fn read_back(
        &self,
        manifest: &Manifest,
        files: &dyn Files,
        chosen: &(dyn Fn(&Path) -> bool + Sync),
        cancel: &Cancel,
    ) -> Result<Verified> {
        verify(manifest, files, chosen, cancel)
    }
}

/// Reads and compares the contents in `chosen`; checks that the others exist.
///
/// # Errors
/// Data cannot be read. Differences in readable data are in the result.
fn verify(
    manifest: &Manifest,
    files: &dyn Files,
    chosen: &(dyn Fn(&Path) -> bool + Sync),
    cancel: &Cancel,
) -> Result<Verified> {
    let detail = manifest
        .detail::<Detail>()
        .ok_or_else(|| Error::failed("the manifest has no details about a container"))?;
    let found = Mutex::new(Found { verified: Verified::default(), content: RowDigest::default() });
    let one = |listed: Listed| compare(files, &listed, chosen(Path::new(&listed.path)), &found);
    let top = if detail.share.is_some() {
        each_parallel(files, share::INVENTORY, cancel, &|line: share::Line| {
            // Directories have no content, and unreadable objects are not stored.
            match line.path.filter(|_| line.kind != "directory") {
                Some(path) => one(Listed { name: line.name, path, bytes: line.bytes, md5: line.md5 }),
                None => Ok(()),
            }
        })?;
        share::TOP
    } else {
        each_parallel(files, container::INVENTORY, cancel, &|line: container::Line| match line.path {
            Some(path) => one(Listed { name: line.name, path, bytes: line.bytes, md5: line.md5 }),
            None => Ok(()),
        })?;
        container::TOP
    };
    let Found { mut verified, content } = found.into_inner();
    let mut there = 0_u64;
    files.walk(&mut |node| {
        there += u64::from(matches!(node.kind, NodeKind::File(_)) && node.path.starts_with(top));
        cancel.check()
    })?;
    let recorded = manifest.objects.first();
    let checks = [
        ("contents in the list", detail.stored, verified.files),
        ("bytes in the list", detail.bytes, verified.bytes),
        ("contents in the snapshot", detail.stored, there),
        ("contents in the manifest", recorded.map_or(0, |object| object.rows), content.rows),
    ];
    for (what, recorded, is) in checks {
        if recorded != is {
            verified.differences.push(format!("{what}: {recorded} recorded, {is} found"));
        }
    }
    if verified.differences.is_empty() && recorded.map(|object| object.digest) != Some(content.digest) {
        verified.differences.push("names or contents differ from those recorded in the manifest".to_owned());
    }
    let names: BTreeSet<String> = std::mem::take(&mut verified.differences).into_iter().collect();
    verified.differences = names.into_iter().collect();
    Ok(verified)
}

fn compare(files: &dyn Files, listed: &Listed, read: bool, found: &Mutex<Found>) -> Result<()> {
    let Listed { name, path, bytes, md5 } = listed;
    let mut is = *md5;
    let mut length = *bytes;
    if read {
        let mut sum = Sum(Md5Hasher::new());
        length = files.copy(path, &mut sum).map_err(|error| error.context(format!("{name:?}")))?;
        is = Some(Md5(sum.0.finalize().into()));
    }
    let mut found: MutexGuard<'_, Found> = found.lock();
    let Found { verified, content } = &mut *found;
    verified.files += 1;
    verified.bytes += length;
    if read {
        verified.read_files += 1;
        verified.read_bytes += length;
    }
    if let Some(is) = &is {
        content.add_hashed(*bytes, row(name, is));
    }
    let mut differs = |what: String| {
        if verified.differences.len() < NAMED {
            verified.differences.push(what);
        }
    };
    if length != *bytes {
        differs(format!("{name:?}: {length} bytes instead of {bytes}"));
    } else if is != *md5 {
        differs(format!("{name:?}: its content differs from the content read from the service"));
    }
    Ok(())
}

struct Sum(Md5Hasher);

impl Write for Sum {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.update(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
