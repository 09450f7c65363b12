//! What the program asks of the kind `azure-storage`.

use std::path::Path;

use super::{selftest, verify::Contents};
use crate::{
    config::DrillConfig,
    source::{kind::Kind, subject::Subjects, verify::Verification},
    stream::cancel::Cancel,
};

/// The kind `azure-storage`.
pub(in crate::source) struct AzureStorageKind;

/// The kind `azure-storage`.
pub(in crate::source) static KIND: AzureStorageKind = AzureStorageKind;

impl Kind for AzureStorageKind {
    fn name(&self) -> &'static str {
        "azure-storage"
    }

    fn verification(&self) -> Verification {
        Verification::ReadBack(&Contents)
    }

    fn self_test_subjects(&self, _drill: &DrillConfig, _dir: &Path, _cancel: &Cancel) -> Subjects {
        Subjects::Made(vec![(self.name().to_owned(), Ok(selftest::container()))])
    }
}
