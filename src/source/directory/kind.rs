//! What the program asks of the kind `directory`.

use crate::source::{
    kind::Kind,
    manifest::{self, Detail},
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
    ) -> Result<Option<Box<dyn Detail>>, erased_serde::Error> {
        manifest::read_detail::<super::Detail>(json)
    }
}
