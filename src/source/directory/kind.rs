//! What the program asks of the kind `directory`.

use crate::{
    config::SourceKind,
    error::{Error, Result},
    source::{
        kind::Kind,
        layout::Layout,
        manifest::{self, Detail},
        target::RestoreTarget,
    },
    stream::cancel::Cancel,
};

/// The kind `directory`.
pub(in crate::source) struct DirectoryKind;

/// The kind `directory`.
pub(in crate::source) static KIND: DirectoryKind = DirectoryKind;

impl Kind for DirectoryKind {
    fn name(&self) -> &'static str {
        "directory"
    }
    fn detail_key(&self) -> &'static str {
        "directory"
    }

    fn read_detail(
        &self,
        json: &mut dyn erased_serde::Deserializer<'_>,
    ) -> erased_serde::Result<Option<Box<dyn Detail>>> {
        manifest::read_detail::<super::Detail>(json)
    }

    fn layout(&self) -> Layout {
        Layout::Tree
    }

    fn own_target(
        &self,
        _configured: &SourceKind,
        _item: &str,
        _into: &str,
        _cancel: &Cancel,
    ) -> Result<Box<dyn RestoreTarget>> {
        Err(Error::usage("a folder is restored with --to DIR"))
    }
}
