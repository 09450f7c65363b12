//! Implementation of the kind `azure-storage`.

use std::{path::Path, sync::Arc};

use super::{
    AzureStorage,
    config::{self, AzureStorageConfig},
    recovery, restore, selftest,
    verify::Contents,
};
use crate::{
    error::Result,
    settings::{DrillConfig, SecretFile, SourceSettings, reader::Reader},
    source::{
        Source,
        kind::{Kind, KindConfig, OwnPlaces},
        layout::Layout,
        manifest::{self, Detail},
        recovery::{Commands, Opening, Piece},
        subject::Subjects,
        target::RestoreTarget,
        verify::Verification,
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

    fn other_names(&self) -> &'static [(&'static [&'static str], &'static str)] {
        &[(
            &["azure", "azure-blob", "azure-blobs", "azure-files", "azblob", "blob", "storage"],
            "write \"azure-storage\" for blobs and file shares; servers that Azure hosts are \"postgres\" or \"mysql\" with a \
             section azure",
        )]
    }

    fn read_config(&self, reader: &mut Reader<'_>, _own: &OwnPlaces<'_>) -> Option<Arc<dyn KindConfig>> {
        Some(Arc::new(config::read(reader)?))
    }

    fn packages(&self) -> &'static [&'static str] {
        &["rclone"]
    }

    fn verification(&self) -> Verification {
        Verification::ReadBack(&Contents)
    }

    fn self_test_subjects(&self, _drill: &DrillConfig, _dir: &Path, _cancel: &Cancel) -> Subjects {
        Subjects::Made(vec![(self.name().to_owned(), Ok(selftest::container()))])
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

    fn target_of_url(
        &self,
        url: &str,
        configured: Option<&(dyn KindConfig + 'static)>,
    ) -> Result<Box<dyn RestoreTarget>> {
        Ok(restore::by_url(url, configured))
    }
}

impl KindConfig for AzureStorageConfig {
    fn kind(&self) -> &'static dyn Kind {
        &KIND
    }

    fn open(&self, source: &SourceSettings) -> Result<Box<dyn Source>> {
        Ok(Box::new(AzureStorage::new(source, self)?))
    }

    fn secret_files(&self) -> Vec<&SecretFile> {
        self.principal.secret_files().to_vec()
    }

    fn is_prefixed(&self) -> bool {
        true
    }

    fn example_items(&self) -> Vec<&'static str> {
        vec!["ACCOUNT/CONTAINER"]
    }

    fn opening(&self, _variables: &str) -> Opening {
        recovery::opening()
    }

    fn commands(&self, piece: &Piece<'_>, _variables: &str) -> Commands {
        recovery::commands(piece)
    }

    fn target(&self, _item: &str, into: &str, _cancel: &Cancel) -> Result<Box<dyn RestoreTarget>> {
        Ok(restore::on_own_account(self, into))
    }
}
