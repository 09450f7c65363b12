//! What the program asks of the kind `mongodb`.

use std::path::Path;

use super::{selftest, verify::ScratchServers};
use crate::{
    config::DrillConfig,
    source::{kind::Kind, subject::Subjects, verify::Verification},
    stream::cancel::Cancel,
};

/// The kind `mongodb`.
pub(in crate::source) struct MongodbKind;

/// The kind `mongodb`.
pub(in crate::source) static KIND: MongodbKind = MongodbKind;

impl Kind for MongodbKind {
    fn name(&self) -> &'static str {
        "mongodb"
    }

    fn verification(&self) -> Verification {
        Verification::Restore(&ScratchServers)
    }

    fn self_test_subjects(&self, drill: &DrillConfig, dir: &Path, cancel: &Cancel) -> Subjects {
        Subjects::Made(vec![(self.name().to_owned(), selftest::subject(drill, dir, cancel))])
    }
}
