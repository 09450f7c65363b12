//! The entries of a container or share according to its inventory, by their names in the service.

use super::super::{Detail, container, inventory, share};
use crate::{
    error::Result,
    source::{
        MANIFEST,
        layout::{DIRECTORY, Entry, List},
        manifest::Manifest,
    },
    stream::files::Files,
};

/// The list of a container or share.
pub(in crate::source) struct Inventory;

impl List for Inventory {
    fn each(&self, files: &dyn Files, visit: &mut dyn FnMut(Entry) -> Result<()>) -> Result<()> {
        let manifest = Manifest::from_json(&files.read(MANIFEST)?)?;
        each_of(files, manifest.detail::<Detail>().is_some_and(|detail| detail.share.is_some()), visit)
    }

    fn renamed(
        &self,
        files: &dyn Files,
        room: usize,
        wanted: &dyn Fn(&str) -> bool,
    ) -> Result<(u64, Vec<(String, String)>)> {
        super::renamed(files, room, wanted)
    }
}

/// Why a blob has no content in the snapshot; `None` if it has, or is a directory.
pub(super) fn blob_lacks(line: &container::Line) -> Option<String> {
    if line.path.is_some() || line.kind == DIRECTORY {
        return None;
    }
    // Earlier versions left out what was in the archive tier, and nothing else.
    let archived = line.properties.tier.as_deref() == Some("Archive");
    let reason = if archived { "it was in the archive tier" } else { NOT_READ };
    Some(line.reason.clone().unwrap_or_else(|| reason.to_owned()))
}

/// Like [`blob_lacks`], of a share.
pub(super) fn file_lacks(line: &share::Line) -> Option<String> {
    let lacking = line.path.is_none() && line.kind != DIRECTORY;
    lacking.then(|| line.reason.clone().unwrap_or_else(|| NOT_READ.to_owned()))
}

const NOT_READ: &str = "it could not be read";

impl From<container::Line> for Entry {
    fn from(line: container::Line) -> Self {
        let lacking = blob_lacks(&line);
        let container::Line { name, kind, path, bytes, properties, .. } = line;
        let modified = properties.last_modified.as_deref().and_then(|time| time.parse().ok());
        Self { name, kind, path, bytes, modified, tier: properties.tier, lacking }
    }
}

impl From<share::Line> for Entry {
    fn from(line: share::Line) -> Self {
        let lacking = file_lacks(&line);
        let share::Line { name, kind, path, bytes, smb, .. } = line;
        Self { name, kind, path, bytes, modified: smb.written, tier: None, lacking }
    }
}

/// Passes on all entries of the inventory of a container or share, in the order of the service.
pub(super) fn each_of(
    files: &dyn Files,
    is_share: bool,
    visit: &mut dyn FnMut(Entry) -> Result<()>,
) -> Result<()> {
    if is_share {
        inventory::each::<share::Line>(files, share::INVENTORY, &mut |line| visit(line.into()))
    } else {
        inventory::each::<container::Line>(files, container::INVENTORY, &mut |line| visit(line.into()))
    }
}
