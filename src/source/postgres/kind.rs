//! What the program asks of the kind `postgres`.

use std::path::Path;

use super::{selftest, verify::ScratchServers};
use crate::{
    config::DrillConfig,
    source::{kind::Kind, subject::Subjects, verify::Verification},
    stream::cancel::Cancel,
};

/// The kind `postgres`.
pub(in crate::source) struct PostgresKind;

/// The kind `postgres`.
pub(in crate::source) static KIND: PostgresKind = PostgresKind;

impl Kind for PostgresKind {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn verification(&self) -> Verification {
        Verification::Restore(&ScratchServers)
    }

    fn self_test_subjects(&self, drill: &DrillConfig, dir: &Path, cancel: &Cancel) -> Subjects {
        Subjects::Made(vec![(self.name().to_owned(), selftest::subject(drill, dir, cancel))])
    }
}
