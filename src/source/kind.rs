//! The kinds of sources. What the rest of the program needs to know of a kind, it asks through [`Kind`]; a new kind is a
//! folder beside the others and one line in [`KINDS`].

use super::{
    layout::Layout,
    manifest::Detail,
    target::{RestoreTarget, WholeServer},
};
use crate::{
    config::SourceKind,
    error::{Error, Result},
    stream::cancel::Cancel,
};

/// A kind of source.
pub trait Kind: Sync {
    /// Its name, as written in the configuration and in manifests.
    fn name(&self) -> &'static str;

    /// The key under which its part stands in `manifest.json`. Neither another kind nor a field of all manifests has it.
    fn detail_key(&self) -> &'static str;

    /// Reads its part of `manifest.json`, which earlier versions may have written.
    ///
    /// # Errors
    /// It is not what this kind writes.
    fn read_detail(
        &self,
        json: &mut dyn erased_serde::Deserializer<'_>,
    ) -> erased_serde::Result<Option<Box<dyn Detail>>>;

    /// How the names of what was backed up stand in its snapshots.
    fn layout(&self) -> Layout {
        Layout::Dump
    }

    /// What it calls rows, and what they stand in.
    fn rows_and_tables(&self) -> (&'static str, &'static str) {
        ("row", "table")
    }

    /// The schemes of URLs that name targets of this kind.
    fn schemes(&self) -> &'static [&'static str] {
        &[]
    }

    /// The target that a URL of one of its schemes names. `configured` is the source whose item is restored, which may be of
    /// another kind.
    ///
    /// # Errors
    /// It is not the URL of a target.
    fn target_of_url(&self, _url: &str, _configured: Option<&SourceKind>) -> Result<Box<dyn RestoreTarget>> {
        Err(Error::usage(format!("items of kind {} are not restored into a URL", self.name())))
    }

    /// The target of this name where a source of this kind has its items, one of which is or was `item`.
    ///
    /// # Errors
    /// There is none of this name, or the source cannot be asked.
    fn own_target(
        &self,
        configured: &SourceKind,
        item: &str,
        into: &str,
        cancel: &Cancel,
    ) -> Result<Box<dyn RestoreTarget>>;

    /// Whether a source, of whatever kind, is of this kind and finds its servers by itself: then the names of its items begin
    /// with that of the server.
    fn has_servers(&self, _configured: &SourceKind) -> bool {
        false
    }

    /// How all of a server is restored with one command, of kinds that can.
    fn whole_server(&self) -> Option<&'static dyn WholeServer> {
        None
    }
}

/// All kinds, in the order in which documents list them.
pub static KINDS: [&dyn Kind; 5] = [
    &super::postgres::KIND,
    &super::mysql::KIND,
    &super::mongodb::KIND,
    &super::azure::KIND,
    &super::directory::KIND,
];

/// The kind of this name.
pub fn kind_named(name: &str) -> Option<&'static dyn Kind> {
    KINDS.into_iter().find(|kind| kind.name() == name)
}

/// The kind that has this scheme of URLs.
pub fn kind_of_scheme(scheme: &str) -> Option<&'static dyn Kind> {
    KINDS.into_iter().find(|kind| kind.schemes().contains(&scheme))
}

/// Whether a source finds its servers by itself: see [`Kind::has_servers`].
pub fn has_servers(configured: &SourceKind) -> bool {
    KINDS.into_iter().any(|kind| kind.has_servers(configured))
}
