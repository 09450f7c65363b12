//! What the program asks of the kind `azure-storage`.

use super::restore;
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
    ) -> erased_serde::Result<Option<Box<dyn Detail>>> {
        manifest::read_detail::<super::Detail>(json)
    }

    fn layout(&self) -> Layout {
        Layout::Listed(&restore::Inventory)
    }

    fn schemes(&self) -> &'static [&'static str] {
        &["https", "http"]
    }

    fn target_of_url(&self, url: &str, configured: Option<&SourceKind>) -> Result<Box<dyn RestoreTarget>> {
        Ok(restore::by_url(url, configured))
    }

    fn own_target(
        &self,
        configured: &SourceKind,
        _item: &str,
        into: &str,
        _cancel: &Cancel,
    ) -> Result<Box<dyn RestoreTarget>> {
        match configured {
            SourceKind::AzureStorage(configured) => Ok(restore::on_own_account(configured, into)),
            _ => Err(Error::failed("the source is of another kind")),
        }
    }
}
