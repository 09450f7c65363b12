//! What the program asks of the kind `azure-storage`.

use crate::source::kind::Kind;

/// The kind `azure-storage`.
pub(in crate::source) struct AzureStorageKind;

/// The kind `azure-storage`.
pub(in crate::source) static KIND: AzureStorageKind = AzureStorageKind;

impl Kind for AzureStorageKind {
    fn name(&self) -> &'static str {
        "azure-storage"
    }
}
