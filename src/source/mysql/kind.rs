//! What the program asks of the kind `mysql`.

use std::path::Path;

use super::{selftest, verify::ScratchServers};
use crate::{
    config::DrillConfig,
    source::{kind::Kind, subject::Subjects, verify::Verification},
    stream::cancel::Cancel,
};

/// The kind `mysql`.
pub(in crate::source) struct MysqlKind;

/// The kind `mysql`.
pub(in crate::source) static KIND: MysqlKind = MysqlKind;

impl Kind for MysqlKind {
    fn name(&self) -> &'static str {
        "mysql"
    }

    fn verification(&self) -> Verification {
        Verification::Restore(&ScratchServers)
    }

    fn self_test_subjects(&self, drill: &DrillConfig, dir: &Path, cancel: &Cancel) -> Subjects {
        Subjects::Made(selftest::subjects(drill, dir, cancel))
    }
}
