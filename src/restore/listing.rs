//! What a snapshot holds, name by name, in the order in which it is stored: nothing is collected.

use std::{ffi::OsString, path::Path};

use jiff::{Timestamp, Zoned};
use serde::Serialize;

use super::{Reading, folder};
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

/// What to list.
#[derive(Debug, Clone)]
pub struct ListRequest {
    /// Source name.
    pub source: String,
    /// Item name.
    pub item: String,
    /// Which snapshot.
    pub at: At,
    /// A file, a folder with what lies below it, or a pattern; everything if there is none.
    pub path: Option<OsString>,
}

/// What is listed. The field names are a promise.
#[derive(Debug, Clone, Serialize)]
pub struct ListHeader {
    /// Source name.
    pub source: String,
    /// Item name.
    pub item: String,
    /// Id of the snapshot.
    pub snapshot: String,
    /// The moment of which it shows the data.
    #[serde(with = "crate::moment")]
    pub time: Zoned,
}

/// Something in a snapshot. The field names are a promise.
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
    /// The access tier if it was chosen for this blob.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    /// Why its content is not in the snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

/// Takes a list as it is made.
pub trait Lister {
    /// Comes first, once it is known that there is something to list.
    ///
    /// # Errors
    /// Ends the listing.
    fn begin(&mut self, header: &ListHeader) -> Result<()>;

    /// One after the other.
    ///
    /// # Errors
    /// Ends the listing.
    fn entry(&mut self, entry: &ListEntry) -> Result<()>;
}

/// Lists what a snapshot holds.
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

/// A snapshot and what is to be listed of it.
struct Listing<'a> {
    files: &'a dyn Files,
    layout: Layout,
    selection: Option<Selection>,
    omitted: Vec<Omitted>,
    cancel: &'a Cancel,
}

/// The name of what lies at a path of a snapshot.
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
                // Of a container or share, a name that was never listed is not in its list.
                Some(survey.finish_listing(&snapshot.name(), !matches!(layout, Layout::Listed(_)))?)
            }
        };
        // The list of a container or share has what could not be read as well.
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
    // Folders are called directories in lists.
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
