//! Lists the names in a snapshot, in the order in which they are stored, without collecting them in memory.

use std::{ffi::OsString, path::Path};

use jiff::{Timestamp, Zoned};
use serde::Serialize;

use super::{folder, reading::Reading};
use crate::{
    config::Config,
    error::Result,
    known::Name,
    repository::{At, Patience, Snapshot, SnapshotFiles},
    source::{
        layout::{Entry, Layout, survey},
        manifest::{Manifest, Omitted},
        select::{Selection, shown},
    },
    stream::{
        cancel::Cancel,
        files::{Files, Node, NodeKind, Special},
    },
};

/// The arguments of a listing.
#[derive(Debug, Clone)]
pub struct ListRequest {
    /// Source name.
    pub source: String,
    /// Item name.
    pub item: String,
    /// Which snapshot.
    pub at: At,
    /// A file, a directory with everything below it, or a pattern; everything if absent.
    pub path: Option<OsString>,
}

/// The listed snapshot. The field names are stable.
#[derive(Debug, Clone, Serialize)]
pub struct ListHeader {
    /// Source name.
    pub source: String,
    /// Item name.
    pub item: String,
    /// Id of the snapshot.
    pub snapshot: String,
    /// The time of the data in it.
    #[serde(with = "crate::moment")]
    pub time: Zoned,
}

/// An entry of a snapshot. The field names are stable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListEntry {
    /// Its name in the source; bytes that are not UTF-8 are written as `\xff`.
    pub path: String,
    /// `file`, `directory`, `symlink`, `fifo`, `socket`, `char-device`, `block-device`; of blobs `block`, `append` or `page`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Length of a file or blob in bytes.
    pub bytes: Option<u64>,
    /// Last change of the content.
    pub modified: Option<Timestamp>,
    /// What a symbolic link points to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The access tier if it was set for this blob.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    /// Why its content is not in the snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

/// Receives the entries of a listing.
pub trait Lister {
    /// Called first, once there is something to list.
    ///
    /// # Errors
    /// Ends the listing.
    fn begin(&mut self, header: &ListHeader) -> Result<()>;

    /// Called for each entry.
    ///
    /// # Errors
    /// Ends the listing.
    fn entry(&mut self, entry: &ListEntry) -> Result<()>;
}

/// Lists the content of a snapshot.
///
/// # Errors
/// There is no such snapshot, or nothing in it that matches; it cannot be read; or `lister` fails.
pub fn list(
    config: &Config,
    request: &ListRequest,
    lister: &mut dyn Lister,
    notice: &dyn Fn(&str),
    cancel: &Cancel,
) -> Result<()> {
    let name = format!("{}/{}", request.source, request.item);
    let reading = Reading::begin(config, notice, &Patience::short(), cancel)?;
    let wanted = Name { source: &request.source, item: Some(&request.item) };
    let snapshot = &reading.choose(config, "ls", wanted, &request.at, notice)?;
    let reader = reading.repository.reader()?;
    let files = SnapshotFiles::new(&reader, snapshot);
    let listing =
        Listing::new(&files, snapshot, request.path.as_ref(), cancel).map_err(|e| e.context(&name))?;
    lister.begin(&ListHeader {
        source: request.source.clone(),
        item: request.item.clone(),
        snapshot: snapshot.id.clone(),
        time: snapshot.time.clone(),
    })?;
    listing.run(lister)
}

/// A snapshot, and the selection to list.
struct Listing<'a> {
    files: &'a dyn Files,
    layout: Layout,
    selection: Option<Selection>,
    omitted: Vec<Omitted>,
    cancel: &'a Cancel,
}

/// The name in the source of a path in a snapshot.
fn name_of(layout: Layout) -> fn(&Path) -> Option<&[u8]> {
    if layout.is_tree() { folder::in_directory } else { whole }
}

/// The path as it is.
fn whole(path: &Path) -> Option<&[u8]> {
    Some(path.as_os_str().as_encoded_bytes())
}

impl<'a> Listing<'a> {
    fn new(
        files: &'a dyn Files,
        snapshot: &Snapshot,
        path: Option<&OsString>,
        cancel: &'a Cancel,
    ) -> Result<Self> {
        let layout = Layout::of(&snapshot.kind);
        let manifest = Manifest::of(files, &snapshot.source, &snapshot.item);
        let selection = match path {
            None => None,
            Some(path) => {
                let patterns = [path.clone()];
                let survey = match (layout, &manifest) {
                    (Layout::Listed(list), Ok(manifest)) => survey(list, manifest, files, &patterns, cancel)?,
                    (Layout::Listed(_), Err(error)) => return Err(error.clone()),
                    (_, manifest) => {
                        let omitted = manifest.as_ref().map(|m| m.omitted.as_slice()).unwrap_or_default();
                        // Of a dump these are tables and views.
                        let omitted = if layout.is_tree() { omitted } else { &[] };
                        folder::survey(files, &patterns, name_of(layout), omitted, cancel)?
                    }
                };
                // For a container or share, a missing name is one that is not in its list.
                Some(survey.finish_listing(&snapshot.name(), !matches!(layout, Layout::Listed(_)))?)
            }
        };
        // The list of a container or share includes unreadable entries.
        let omitted = match manifest {
            Ok(manifest) if layout.is_tree() => manifest.omitted,
            _ => Vec::new(),
        };
        Ok(Self { files, layout, selection, omitted, cancel })
    }

    fn run(&self, lister: &mut dyn Lister) -> Result<()> {
        if let Layout::Listed(list) = self.layout {
            return list.each(self.files, &mut |entry| {
                self.cancel.check()?;
                if !self.takes(entry.name.as_bytes(), entry.is_directory()) {
                    return Ok(());
                }
                lister.entry(&of_list(entry))
            });
        }
        let name_of = name_of(self.layout);
        let enters = |folder: &Path| match (&self.selection, name_of(folder)) {
            (Some(selection), Some(name)) => name.is_empty() || selection.enters(name),
            (_, name) => name.is_some(),
        };
        self.files.walk_into(&enters, &mut |node| {
            self.cancel.check()?;
            match name_of(node.path) {
                Some(name) if !name.is_empty() && self.takes(name, node.kind == NodeKind::Folder) => {
                    lister.entry(&of_node(name, &node))
                }
                _ => Ok(()),
            }
        })?;
        let concerned = |omitted: &&Omitted| {
            self.selection.as_ref().is_none_or(|selection| folder::concerns(selection, omitted))
        };
        self.omitted.iter().filter(concerned).try_for_each(|omitted| lister.entry(&of_omitted(omitted)))
    }

    fn takes(&self, name: &[u8], folder: bool) -> bool {
        self.selection.as_ref().is_none_or(|selection| selection.takes(name, folder))
    }
}

fn of_list(entry: Entry) -> ListEntry {
    let bytes = (!entry.is_directory()).then_some(entry.bytes);
    ListEntry {
        path: entry.name,
        kind: entry.kind,
        bytes,
        modified: entry.modified,
        target: None,
        tier: entry.tier,
        missing: entry.lacking,
    }
}

fn of_node(name: &[u8], node: &Node<'_>) -> ListEntry {
    let (kind, bytes, target) = match &node.kind {
        NodeKind::File(bytes) => ("file", Some(*bytes), None),
        NodeKind::Folder => ("directory", None, None),
        NodeKind::Special(special) => match special {
            Special::Symlink(target) => ("symlink", None, Some(shown(target.as_encoded_bytes()))),
            Special::Fifo => ("fifo", None, None),
            Special::Socket => ("socket", None, None),
            Special::CharDevice(_) => ("char-device", None, None),
            Special::BlockDevice(_) => ("block-device", None, None),
        },
    };
    ListEntry {
        path: shown(name),
        kind: kind.to_owned(),
        bytes,
        modified: node.attributes.mtime,
        target,
        tier: None,
        missing: None,
    }
}

fn of_omitted(omitted: &Omitted) -> ListEntry {
    // Manifests call a directory `folder`, lists call it `directory`.
    let kind = if omitted.kind == "folder" { "directory" } else { omitted.kind.as_str() };
    ListEntry {
        path: omitted.name.clone(),
        kind: kind.to_owned(),
        bytes: None,
        modified: None,
        target: None,
        tier: None,
        missing: Some(omitted.reason.clone()),
    }
}
