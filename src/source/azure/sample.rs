//! An artificial container with the layout of a real one, for self-tests.

use std::path::Path;

use md5::{Digest, Md5 as Md5Hasher};

use super::{
    Detail, NAME,
    container::{Dumped, INVENTORY, Line, TOP, row},
    inventory::{self, Md5},
    names::Paths,
};
use crate::{
    azure::blob::Properties,
    error::Result,
    source::manifest::Manifest,
    stream::{digest::RowDigest, files::Attributes, sink::Sink},
};

/// Stores these blobs as the container `account/container` would be stored.
pub(super) fn store(
    source: &str,
    account: &str,
    container: &str,
    blobs: &[(String, Vec<u8>)],
    sink: &dyn Sink,
) -> Result<Manifest> {
    let mut manifest = Manifest::begin(source, &format!("{account}/{container}"), NAME);
    let mut detail =
        Detail { account: account.to_owned(), container: Some(container.to_owned()), ..Detail::default() };
    let mut content = RowDigest::default();
    let attributes = Attributes { links: 1, ..Attributes::default() };
    let mut paths = Paths::new(TOP, false);
    let ((), stored) = inventory::store(sink, INVENTORY, &attributes, |lines| {
        for (name, data) in blobs {
            let (path, _) = paths.file(name);
            let md5 = Md5(Md5Hasher::digest(data).into());
            sink.put(Path::new(&path), &attributes, &mut data.as_slice())?;
            detail.listed += 1;
            detail.stored += 1;
            detail.bytes += data.len() as u64;
            content.add_hashed(data.len() as u64, row(name, &md5));
            lines.line(&Line {
                name: name.clone(),
                kind: "block".to_owned(),
                path: Some(path),
                reason: None,
                unsearched: false,
                bytes: data.len() as u64,
                etag: String::new(),
                md5: Some(md5),
                properties: Properties::default(),
            })?;
        }
        Ok(())
    })?;
    let dumped =
        Dumped { detail, content, inventory_bytes: stored.bytes, omitted: Vec::new(), notes: Vec::new() };
    manifest.finish_azure(dumped, "container", INVENTORY);
    Ok(manifest)
}
