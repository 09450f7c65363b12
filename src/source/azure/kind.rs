//! What the program asks of the kind `azure-storage`.

use crate::source::{
    kind::Kind,
    manifest::{self, Detail},
};

/// The kind `azure-storage`.
pub(in crate::source) struct AzureStorageKind;

/// The kind `azure-storage`.
pub(in crate::source) static KIND: AzureStorageKind = AzureStorageKind;

impl Kind for AzureStorageKind {
    fn name(&self) -> &'static str {
        super::NAME
    }
    fn detail_key(&self) -> &'static str {
        "azure"
    }

    fn read_detail(
        &self,
        json: &mut dyn erased_serde::Deserializer<'_>,
    ) -> Result<Option<Box<dyn Detail>>, erased_serde::Error> {
        manifest::read_detail::<super::Detail>(json)
    }
}
