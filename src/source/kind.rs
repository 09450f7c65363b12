//! The kinds of sources. What the rest of the program needs to know of a kind, it asks through [`Kind`]; a new kind is a
//! folder beside the others and one line in [`KINDS`].

use std::path::Path;

use super::{subject::Subjects, verify::Verification};
use crate::{config::DrillConfig, stream::cancel::Cancel};

/// A kind of source.
pub trait Kind: Sync {
    /// Its name, as written in the configuration and in manifests.
    fn name(&self) -> &'static str;

    /// How its snapshots are proven to restore.
    fn verification(&self) -> Verification;

    /// What a self-test of drills damages, made in `dir`, an empty folder.
    fn self_test_subjects(&self, drill: &DrillConfig, dir: &Path, cancel: &Cancel) -> Subjects;
}

/// All kinds, in the order in which documents list them.
pub static KINDS: [&dyn Kind; 5] = [
    &super::postgres::KIND,
    &super::mysql::KIND,
    &super::mongodb::KIND,
    &super::azure::AZURE,
    &super::directory::KIND,
];

/// The kind of this name.
pub fn kind_named(name: &str) -> Option<&'static dyn Kind> {
    KINDS.into_iter().find(|kind| kind.name() == name)
}
