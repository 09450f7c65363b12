//! What the program asks of the kind `directory`.

use crate::source::kind::Kind;

/// The kind `directory`.
pub(in crate::source) struct DirectoryKind;

/// The kind `directory`.
pub(in crate::source) static KIND: DirectoryKind = DirectoryKind;

impl Kind for DirectoryKind {
    fn name(&self) -> &'static str {
        "directory"
    }
}
