//! What the program asks of the kind `directory`.

use std::path::Path;

use super::{selftest, verify::Contents};
use crate::{
    config::DrillConfig,
    source::{kind::Kind, subject::Subjects, verify::Verification},
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

    fn verification(&self) -> Verification {
        Verification::ReadBack(&Contents)
    }

    fn self_test_subjects(&self, _drill: &DrillConfig, dir: &Path, _cancel: &Cancel) -> Subjects {
        Subjects::Made(vec![(self.name().to_owned(), selftest::folder(dir))])
    }
}
